// What a scheduler is, in a dialog: the idea, the equation, the paper, the names it has elsewhere,
// and the places where diffusers, which it follows, leaves the mathematics.

import { h } from "./dom.js";
import { plural } from "./format.js";
import { icon } from "./icons.js";

// ``code`` in a description.
function marked(text) {
  return text.split(/``(.+?)``/).map((part, k) => (k % 2 ? h("code", {}, part) : part));
}

function quirk(entry) {
  return h("article", { class: "ss-quirk", "data-quirk": entry.slug },
    h("h4", {}, entry.title, h("span", {}, ` · ${entry.where}`)),
    h("dl", {},
      h("dt", {}, "diffusers"), h("dd", {}, entry.upstream),
      h("dt", {}, "paper"), h("dd", {}, entry.mathematics),
      h("dt", {}, "shows as"), h("dd", {}, entry.shows),
      ...(entry.why ? [h("dt", {}, "here"), h("dd", {},
        entry.ours === "mathematics" ? "As in the paper, always. " : "As in diffusers, always. ",
        entry.why)] : [])));
}

// The quirks of a class as a chip: how many, and how many a run with these settings meets.
export function quirkChip(scheduler, active) {
  const followed = scheduler.quirks.filter((entry) => entry.ours !== "mathematics").length;
  if (!followed) return [];
  return [{
    id: "quirks", level: "info", why: " ",
    text: plural(active.length, "quirk"),
    title: `${active.length} of ${plural(followed, "known place")} where diffusers leaves the mathematics`,
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
    : "Schedulers here give the same images as diffusers, and so do what it does. In a few "
      + "places that is not what the paper says.";
  return [
    h("p", { class: "ss-why-what" }, h("b", {}, "Where diffusers leaves the mathematics")),
    h("p", {}, lead),
    ...met.map(quirk),
    rest.length ? h("details", { class: "ss-fold" },
      h("summary", {}, icon("chevron"), h("span", {}, met.length
        ? `${rest.length} more, not met by this run` : `${rest.length} known, none met by this run`)),
      rest.map(quirk)) : null,
    switches && (paper || met.some((entry) => entry.ours === "switch"))
      ? h("p", { class: "ss-remedy" }, h("button", {
        type: "button", class: "ss-button", "data-action": "compat",
        onclick: (event) => set(other, event),
      }, "Set ", h("code", {}, `compat="${other}"`))) : null,
  ].filter(Boolean);
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
      h("p", {}, marked(about.sentence)),
      scheduler.good_for ? h("p", {}, h("b", {}, "Good for: "), scheduler.good_for) : "",
      ...about.blocks.map((block) => (block.kind === "math"
        ? h("pre", { class: "ss-math", tabindex: "0" }, block.text) : h("p", {}, marked(block.text)))),
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
