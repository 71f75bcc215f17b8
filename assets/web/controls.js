// One control for each description the server sends: label with the parameter's real name, a
// typed number and a slider, a switch, a list or a line of text; one short sentence; the reason
// when it has no effect; the error when it caused one.

import { clamp, h, setText, uid } from "./dom.js";
import { fmt, plain } from "./format.js";
import { icon } from "./icons.js";

const NOTCHES = 1000;

// Slider position <-> value: linear or logarithmic, snapped to the description's step.
export function toPosition(about, value) {
  const { slider_low: low, slider_high: high } = about;
  if (value === null || value === undefined || typeof value !== "number") return 0;
  const v = clamp(value, low, high);
  if (about.log && low > 0) {
    return Math.round((Math.log(v / low) / Math.log(high / low)) * NOTCHES);
  }
  return Math.round(((v - low) / (high - low)) * NOTCHES);
}

export function toValue(about, position) {
  const { slider_low: low, slider_high: high } = about;
  const part = position / NOTCHES;
  let value = about.log && low > 0 ? low * (high / low) ** part : low + (high - low) * part;
  if (about.kind === "int") {
    const step = about.slider_step || 1;
    value = low + Math.round((value - low) / step) * step;
    return Math.round(clamp(value, low, high));
  }
  if (about.slider_step && !about.log) {
    value = low + Math.round((value - low) / about.slider_step) * about.slider_step;
  } else if (about.log) {
    value = Number(value.toPrecision(3));
  }
  return Number(clamp(value, low, high).toPrecision(10));
}

function hasSlider(about) {
  return typeof about.slider_low === "number" && typeof about.slider_high === "number";
}

// A comma may be a decimal point (0,02) or, in whole numbers, part the thousands (1,000).
function decimal(kind, text) {
  if (kind === "int" && /^[-+]?\d{1,3}(,\d{3})+$/.test(text)) return text.replace(/,/g, "");
  if ((kind === "int" || kind === "float") && /^[-+]?\d*,\d+(e[-+]?\d+)?$/i.test(text)) {
    return text.replace(",", ".");
  }
  if (kind === "numbers" && text.includes(";")) return text.replace(/,/g, ".");
  return text;
}

// A parameter's name may break after its underscores.
function breakable(label) {
  return label.split(/(?<=_)/).flatMap((part, k) => (k ? [h("wbr"), part] : [part]));
}

// Reads what was typed. Returns {value} or {problem}.
export function read(about, text) {
  const name = about.label;
  const clean = decimal(about.kind, text.trim().replace(/−/g, "-"));
  if (clean === "" || clean.toLowerCase() === "none") {
    if (about.optional) return { value: null };
    return { problem: `${name} needs a value; the default is ${plain(about.default) || "empty"}.` };
  }
  if (about.kind === "numbers") {
    const values = clean.split(/[\s,;]+/).filter(Boolean).map(Number);
    if (values.some((v) => !Number.isFinite(v))) {
      return { problem: `${name} takes numbers separated by commas.` };
    }
    return { value: values };
  }
  if (about.kind === "text") return { value: clean };
  const value = Number(clean);
  if (!Number.isFinite(value)) return { problem: `${name} takes a number, not “${clean}”.` };
  if (about.kind === "int" && !Number.isInteger(value)) {
    return { problem: `${name} takes a whole number, not ${clean}.` };
  }
  return { value };
}

function same(a, b) {
  return a === b || JSON.stringify(a ?? null) === JSON.stringify(b ?? null);
}

export class Control {
  // about: {key, label, kind, default, optional, low, high, slider_*, log, choices, unit, text}
  // change(key, value, event) is called for every movement.
  // refused(key, message or null) is called when what was typed cannot be read, and when that ends.
  constructor(about, change, refused = () => {}) {
    this.about = about;
    this.change = change;
    this.refused = refused;
    this.id = uid("ss-control");
    this.value = about.default;
    this.typing = false;
    this.own = null;

    this.label = h("label", { for: this.id, class: about.code === false ? "" : "ss-code" }, breakable(about.label));
    this.undo = h("button", {
      type: "button", class: "ss-undo", title: `Back to ${fmt(about.default) || "the default"}`,
      "aria-label": `Reset ${about.label}`, hidden: true,
      onclick: (event) => this.#send(about.default, event),
    }, icon("reset"));
    this.note = h("p", { class: "ss-note", id: `${this.id}-note` }, about.text || "");
    this.error = h("p", { class: "ss-error", id: `${this.id}-error`, role: "alert", hidden: true });
    this.inputs = [];
    const body = this.#build();
    this.element = h("div", {
      class: `ss-control ss-control-${about.kind}`, "data-control": about.key,
    }, body, this.note, this.error);
    this.set(about.default);
  }

  #build() {
    const { about } = this;
    const described = `${this.id}-note ${this.id}-error`;
    if (about.kind === "bool") {
      this.box = h("input", {
        type: "checkbox", id: this.id, role: "switch", "aria-describedby": described,
        onchange: (event) => this.#send(this.box.checked, event),
      });
      this.inputs.push(this.box);
      return h("div", { class: "ss-row" }, this.label, this.undo, this.box);
    }
    if (about.kind === "choice") {
      this.values = about.optional ? [null, ...about.choices] : [...about.choices];
      this.select = h("select", {
        id: this.id, "aria-describedby": described,
        onchange: (event) => this.#send(this.values[Number(this.select.value)], event),
      }, this.values.map((choice, i) => h("option", { value: i }, String(choice ?? "none"))));
      this.inputs.push(this.select);
      return [h("div", { class: "ss-row" }, this.label, this.undo), this.#wrapped(this.select)];
    }
    this.field = h("input", {
      type: "text", id: this.id, class: "ss-number", spellcheck: "false", autocomplete: "off",
      inputmode: about.kind === "numbers" || about.kind === "text" ? "text" : "decimal",
      placeholder: about.optional ? "none" : "",
      "aria-describedby": described,
      onfocus: () => { this.typing = true; this.field.value = plain(this.value); this.field.select(); },
      onblur: () => { this.typing = false; if (!this.own) this.set(this.value); },
      onchange: (event) => this.#typed(event),
      onkeydown: (event) => this.#nudge(event),
    });
    this.inputs.push(this.field);
    if (about.kind === "numbers" || about.kind === "text") {
      return [h("div", { class: "ss-row" }, this.label, this.undo), this.field];
    }
    const unit = about.unit ? h("span", { class: "ss-unit" }, about.unit) : null;
    const head = h("div", { class: "ss-row" }, this.label, this.undo, this.field, unit);
    if (!hasSlider(about)) return head;
    this.slider = h("input", {
      type: "range", min: 0, max: NOTCHES, step: 1, class: "ss-slider",
      "aria-label": about.label, "aria-describedby": described,
      oninput: (event) => this.#slide(event),
      onkeydown: (event) => this.#nudge(event),
    });
    this.inputs.push(this.slider);
    return [head, this.slider];
  }

  #wrapped(select) {
    return h("div", { class: "ss-select" }, select, icon("chevron"));
  }

  #slide(event) {
    const value = toValue(this.about, Number(this.slider.value));
    if (same(value, this.value)) return;
    this.#send(value, event);
  }

  #typed(event) {
    const { value, problem } = read(this.about, this.field.value);
    if (problem) {
      this.own = problem;
      this.#showError(problem);
      this.refused(this.about.key, problem);
      return;
    }
    this.forget();
    if (same(value, this.value)) this.#showError(null);
    this.#send(value, event);
  }

  // Arrow keys move by one step of the value, not by one notch of the slider.
  #nudge(event) {
    if (event.key === "Enter") return;
    const { about } = this;
    const upward = event.key === "ArrowUp" || (event.target === this.slider && event.key === "ArrowRight");
    const downward = event.key === "ArrowDown" || (event.target === this.slider && event.key === "ArrowLeft");
    if (!upward && !downward) return;
    if (about.kind !== "int" && about.kind !== "float") return;
    event.preventDefault();
    const now = typeof this.value === "number" ? this.value : about.slider_low ?? 0;
    let next;
    if (about.log && now > 0) next = Number((now * 1.05 ** (upward ? 1 : -1)).toPrecision(3));
    else {
      const step = about.slider_step
        || (about.kind === "int" ? 1 : ((about.slider_high ?? 1) - (about.slider_low ?? 0)) / 100);
      next = Number((now + (upward ? step : -step)).toPrecision(10));
    }
    if (about.kind === "int") next = Math.round(about.log && next === now ? now + (upward ? 1 : -1) : next);
    if (about.low !== null && about.low !== undefined) next = Math.max(about.low, next);
    if (about.high !== null && about.high !== undefined) next = Math.min(about.high, next);
    this.#send(next, event);
    if (this.typing) this.field.value = plain(next);
  }

  // What was typed and could not be read is given up.
  forget() {
    if (!this.own) return;
    this.own = null;
    this.#showError(null);
    this.refused(this.about.key, null);
  }

  #send(value, event) {
    this.forget();
    this.set(value);
    this.change(this.about.key, value, event);
  }

  set(value) {
    this.value = value;
    const { about } = this;
    if (this.box) this.box.checked = Boolean(value);
    if (this.select) this.select.value = String(this.values.findIndex((v) => same(v, value)));
    if (this.field && !(this.typing && document.activeElement === this.field)) {
      this.field.value = about.kind === "float" ? this.#shown(value) : plain(value);
    }
    if (this.slider) {
      const position = toPosition(about, value);
      this.slider.value = String(position);
      this.slider.style.setProperty("--fill", `${(position / NOTCHES) * 100}%`);
      this.slider.setAttribute("aria-valuetext", value === null ? "none" : plain(value));
      this.slider.classList.toggle("ss-none", value === null);
    }
    this.undo.hidden = about.required || same(value, about.default);
  }

  #shown(value) {
    if (typeof value !== "number") return plain(value);
    return plain(Number(value.toPrecision(6)));
  }

  setNote(text) {
    this.about.text = text;
    if (!this.inert) setText(this.note, text);
  }

  setInert(reason) {
    this.inert = reason || null;
    this.element.classList.toggle("ss-inert", Boolean(reason));
    for (const input of this.inputs) input.disabled = Boolean(reason);
    setText(this.note, reason ? `No effect: ${reason}` : this.about.text || "");
  }

  setError(message) {
    // The text in the field is the nearer cause.
    this.#showError(this.own || message || null);
  }

  #showError(message) {
    this.error.hidden = !message;
    setText(this.error, message || "");
    this.element.classList.toggle("ss-wrong", Boolean(message));
    for (const input of this.inputs) {
      if (message) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
  }

  focus() {
    this.element.closest("details")?.setAttribute("open", "");
    this.inputs[0]?.focus();
    this.element.scrollIntoView({ block: "center" });
  }
}
