// What a scheduler is, in a dialog: the idea, the equation, the paper, the names it has elsewhere,
// and the places where diffusers, which it follows, leaves the mathematics.

import { h } from "./dom.js";
import { plural } from "./format.js";
import { icon } from "./icons.js";
import { formula, prose } from "./math.js";

// Whom a scheduler follows at a quirk, and how to change that.
const OURS = {
  switch: ["As in diffusers; ", h("code", {}, 'compat="paper"'), " follows the paper."],
  mathematics: ["As in the paper, always. "],
  upstream: ["As in diffusers, always. "],
};

function quirk(entry) {
  return h("article", { class: "ss-quirk", "data-quirk": entry.slug },
    h("h4", {}, entry.title, h("span", {}, ` · ${entry.where}`)),
    h("dl", {},
      h("dt", {}, "diffusers"), h("dd", {}, prose(entry.upstream)),
      h("dt", {}, "paper"), h("dd", {}, prose(entry.mathematics)),
      h("dt", {}, "you see"), h("dd", {}, prose(entry.shows)),
      h("dt", {}, "here"), h("dd", {}, OURS[entry.ours].map((part) => part.cloneNode?.(true) ?? part), entry.why)));
}

// The quirks of a class as a chip: how many, and how many a run with these settings meets.
export function quirkChip(scheduler, active) {
  const followed = scheduler.quirks.filter((entry) => entry.ours !== "mathematics").length;
  if (!followed) return [];
  return [{
    id: "quirks", level: "info", why: " ",
    text: active.length ? `unlike the paper in ${plural(active.length, "place")}` : "like the paper",
    title: `diffusers, which schedulers here follow, leaves the mathematics of this one in ${plural(followed, "known place")}; this run meets ${active.length}`,
    quirks: { scheduler: scheduler.id, all: scheduler.quirks, active },
  }];
}

// What the chip opens. set(compat, event) switches whom to follow.
export function quirkPanel({ all, active }, compat, set) {
  const met = all.filter((entry) => active.includes(entry.slug));
  const rest = all.filter((entry) => !active.includes(entry.slug));
  const switches = all.some((entry) => entry.ours === "switch");
  const paper = compat === "paper";
  const other = paper ? "diffusers" : "paper";
  const lead = paper
    ? "This run follows the mathematics of the paper wherever diffusers leaves it."
    : "Schedulers here give the same images as diffusers, and so do what it does. In some places "
      + "(quirks) that is not what the paper says. "
      + (met.length ? `This run meets ${plural(met.length, "quirk")}.` : "This run meets none of them.");
  return [
    h("p", { class: "ss-why-what" }, h("b", {}, "Where diffusers leaves the mathematics")),
    h("p", {}, lead),
    ...met.map(quirk),
    rest.length ? h("details", { class: "ss-fold" },
      h("summary", {}, icon("chevron"), h("span", {}, met.length
        ? `${rest.length} more, not met by this run` : `${plural(rest.length, "place")}, none met by this run`)),
      rest.map(quirk)) : null,
    switches && (paper || met.some((entry) => entry.ours === "switch"))
      ? h("p", { class: "ss-remedy" }, h("button", {
        type: "button", class: "ss-button", "data-action": "compat",
        onclick: (event) => set(other, event),
      }, "Set ", h("code", {}, `compat="${other}"`))) : null,
  ].filter(Boolean);
}

// Text, equations line by line, or a piece of code.
function blockOf({ kind, text }) {
  if (kind === "text") return h("p", {}, prose(text));
  if (kind === "code") return h("pre", { class: "ss-math", tabindex: "0" }, text);
  // A line may name its case ("first call:"); the next ones of that case are indented.
  return h("div", { class: "ss-math", tabindex: "0" }, text.split("\n").map((line) => {
    const [, lead, rest] = line.match(/^([^=:]*:|\w = \w+:|\s+)?\s*(.*)$/);
    return h("p", {}, lead === undefined ? null : h("span", {}, prose(lead.includes("=") ? `\`\`${lead.slice(0, -1)}\`\`:` : lead.trim())), formula(rest));
  }));
}

export class AboutDialog {
  constructor() {
    this.body = h("div", { class: "ss-about-body" });
    this.title = h("h2", { id: "ss-about-title" });
    this.dialog = h("dialog", {
      class: "ss-about", "aria-labelledby": "ss-about-title",
      onclick: (event) => { if (event.target === this.dialog) this.dialog.close(); },
    }, h("header", {}, this.title, h("button", {
      type: "button", class: "ss-quiet", "aria-label": "Close", onclick: () => this.dialog.close(),
    }, icon("close"))), this.body);
  }

  open(scheduler, names) {
    const { about, reference } = scheduler;
    this.title.textContent = scheduler.title;
    const called = names.filter((entry) => entry.scheduler === scheduler.id).map((e) => e.name);
    const copy = h("button", {
      type: "button", class: "ss-button", "data-action": "bibtex",
      onclick: () => this.#copy(copy, reference.bibtex),
    }, "Copy BibTeX");
    const section = (title, ...content) => h("section", {}, h("h3", {}, title), ...content);
    this.body.replaceChildren(
      h("p", { class: "ss-note" }, h("code", {}, scheduler.id), ` · ${scheduler.family}`),
      h("p", {}, prose(about.sentence)),
      scheduler.good_for ? h("p", {}, h("b", {}, "Good for: "), scheduler.good_for) : "",
      ...about.blocks.map(blockOf),
      called.length ? section("Names elsewhere", h("p", {}, called.join(", "))) : "",
      section("Paper",
        h("p", {}, reference.url
          ? h("a", { href: reference.url, target: "_blank", rel: "noreferrer" }, reference.title)
          : reference.title, `. ${reference.authors}, ${reference.year}. ${reference.note}`),
        about.sources ? h("p", { class: "ss-note" }, `Sources: ${about.sources}`) : "",
        h("p", {}, copy)),
      scheduler.quirks.length ? section("Where diffusers leaves the mathematics",
        ...scheduler.quirks.map(quirk)) : "",
    );
    this.dialog.showModal();
    this.body.scrollTop = 0;
  }

  async #copy(button, text) {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      done = false;
    }
    button.textContent = done ? "Copied" : "Copying is not allowed here";
  }
}
