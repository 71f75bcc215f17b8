// Formulas as the docstrings write them, set as MathML: "sqrt(sigma'^2 - s^2) eps" and the like.
// Names of Greek letters become letters, _ lowers, ^ raises, x0 and eps are the model's predictions.

const SPACE = "http://www.w3.org/1998/Math/MathML";
const LETTERS = {
  alpha: "α", beta: "β", gamma: "γ", sigma: "σ", lam: "λ", rho: "ρ", tau: "τ", eta: "η", phi: "φ",
  psi: "ψ", kappa: "κ", pi: "π", int: "∫", sum: "∑",
};
const SIGNS = { "-": "−", "*": "·", "..": "…", "<=": "≤", ">=": "≥", "<-": "←" };
// What is a name of code even inside a formula.
const CODE = /^(timestep_scaling|solver_order|correct_steps|sampling_eps)$/;
const TOKEN = /\s+|\[-?\w\]|\d+(?:\.\d+)?(?:e-?\d+)?(?![A-Za-z])|\d+|[A-Za-z]+\d*(?:_[A-Za-z]+)*|\.\.|<=|>=|<-|'|./gu;

function m(tag, ...children) {
  const element = document.createElementNS(SPACE, tag);
  element.append(...children);
  return element;
}

// Brackets keep the size of the text: nothing here is taller than a power.
function sign(text) {
  if (text === "." || text === "!") return m("mtext", text);
  if (/^\[-?\w\]$/.test(text)) return m("mtext", text.replace("-", "−")); // of an earlier call
  const element = m("mo", SIGNS[text] ?? text);
  element.setAttribute("stretchy", "false");
  return element;
}

// A letter under a hat.
function hatted(letter) {
  const element = m("mover", m("mi", letter), sign("^"));
  element.setAttribute("accent", "true");
  return element;
}

function row(children) {
  return children.length === 1 ? children[0] : m("mrow", ...children);
}

class Reader {
  constructor(text) {
    this.tokens = text.match(TOKEN) ?? [];
    this.at = 0;
  }

  get next() {
    return this.tokens[this.at];
  }

  // Everything up to the end, or to a closing bracket.
  sequence(closing = null) {
    const out = [];
    while (this.at < this.tokens.length && this.next !== closing) {
      if (/^\s/.test(this.next)) {
        const wide = this.tokens[this.at++].length > 1 && !/^(=|<-)$/.test(this.next);
        // Signs bring their own space; products are set apart.
        const product = out.length && out.at(-1).localName !== "mo" && /^[\w([]/.test(this.next ?? "");
        if (wide || product) {
          const gap = m("mspace");
          gap.setAttribute("width", wide ? "1.2em" : "0.2em");
          out.push(gap);
        }
      } else out.push(this.item());
    }
    return out;
  }

  bracket() {
    this.at += 1;
    const inside = this.sequence(")");
    this.at += 1;
    return inside;
  }

  // One symbol with its primes, index and exponent.
  item() {
    if (this.next === "sqrt" && this.tokens[this.at + 1] === "(") {
      this.at += 1;
      return m("msqrt", ...this.bracket());
    }
    const name = this.tokens[this.at++];
    if (name === "(") {
      this.at -= 1;
      const inside = m("mrow", sign("("), ...this.bracket(), sign(")"));
      return this.#raised(inside, null, "");
    }
    if (!/^[A-Za-z]/.test(name)) {
      return /^\d/.test(name) ? this.#raised(m("mn", name), null, "")
        : name.startsWith("[-") ? this.#raised(sign(name), null, "") : sign(name);
    }
    if (CODE.test(name)) return m("mtext", name);
    const [stem, ...tail] = name.split("_");
    let index = tail.length ? m("mtext", tail.join(" ")) : null;
    let base;
    if (tail[0] === "hat") {
      base = hatted(LETTERS[stem] ?? stem);
      index = null;
    } else if (stem === "x0") {
      base = hatted("x");
      index = m("mn", "0");
    } else if (stem === "eps") {
      base = hatted("ε");
    } else if (/^[A-Za-z]\d$/.test(stem)) {
      base = m("mi", stem[0]);
      index = m("mn", stem[1]);
    } else if (/^(int|sum)$/.test(stem)) {
      base = m("mo", LETTERS[stem]);
      base.setAttribute("largeop", "true");
    } else base = m("mi", LETTERS[stem] ?? stem);
    if (tail.length === 1 && LETTERS[tail[0]]) index = m("mi", LETTERS[tail[0]]);
    else if (tail.length === 1 && tail[0].length === 1) index = m("mi", tail[0]);
    else if (tail.length === 2 && LETTERS[tail[0]]) index = m("msub", m("mi", LETTERS[tail[0]]), m("mtext", tail[1]));
    if (this.next === "_") {
      this.at += 1;
      index = /^\d/.test(this.next) ? m("mn", this.tokens[this.at++]) : this.#argument();
    }
    let primes = "";
    while (this.next === "'") { primes += "′"; this.at += 1; }
    return this.#raised(base, index, primes);
  }

  #argument() {
    return this.next === "(" ? row(this.bracket()) : this.item();
  }

  #raised(base, index, primes) {
    const marked = primes ? m("mrow", base, m("mtext", primes)) : base;
    let power = null;
    if (this.next === "^") {
      this.at += 1;
      power = this.#argument();
    }
    if (index && power) return m("msubsup", marked, index, power);
    if (index) return m("msub", marked, index);
    return power ? m("msup", marked, power) : marked;
  }
}

// A formula as an element that screen readers speak and browsers set; the text is kept for copying.
export function formula(text) {
  const element = m("math", row(new Reader(text).sequence()));
  element.setAttribute("alttext", text);
  return element;
}

const GREEK = "alpha|beta|gamma|sigma|lam|rho|tau|psi|kappa";
const INLINE = new RegExp(`(?<![\\w"])(?:(?:${GREEK})(?![\\w-]*[=(])(?:_(?:next|prev|hat|min|max|mid|down|up|\\d))?|x_(?:next|hat|high|low)|D\\d|[A-Za-z]_[a-z0-9])'?(?:\\^2)?(?![\\w"])`, "g");

// Whether something between code marks is mathematics rather than Python.
function isFormula(text) {
  if (/["[]|\/\/|\w\.[a-z]|\w=\S|[a-z]{3,}_[a-z]{3,}/.test(text.replace(/\[-?\w\]|sigma_\w+|alpha_\w+|lam_\w+|beta_m\w+|c_skip|s_noise/g, "σ"))) return false;
  return /^(x0|eps|out|[A-Za-z](_\w)?)'*$|^\w \/ \w$/.test(text) || new RegExp(`\\b(?:${GREEK})(?:\\b|_)|\\b(?:exp|log|sqrt)\\(|[\\^]| = `).test(text);
}

// Running text: ``code`` stays code, ``formulas`` and names of Greek letters are set.
export function prose(text) {
  return text.split(/``(.+?)``/).flatMap((part, k) => {
    if (k % 2) return [isFormula(part) ? formula(part) : Object.assign(document.createElement("code"), { textContent: part })];
    const out = [];
    let at = 0;
    for (const found of part.matchAll(INLINE)) {
      out.push(part.slice(at, found.index), formula(found[0]));
      at = found.index + found[0].length;
    }
    return [...out, part.slice(at)];
  });
}
