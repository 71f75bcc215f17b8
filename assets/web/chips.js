// A row of short truths about this run. A warning opens its reason and its fix.

import { h } from "./dom.js";
import { icon } from "./icons.js";

// Numbers stand out: they are what one looks for.
function emphasised(text) {
  return text.split(/(−?\d+(?:[.,]\d+)*(?:e[−-]?\d+)?)/u).map((part, k) => (k % 2 ? h("b", {}, part) : part));
}

export class Chips {
  constructor() {
    this.list = h("ul", { class: "ss-chips", "aria-label": "About this run" });
    this.panel = h("div", { class: "ss-why", id: "ss-why", hidden: true });
    this.element = h("div", { class: "ss-chiprow" }, this.list, this.panel);
    this.open = null;
    this.chips = [];
    this.extra = [];
  }

  set(chips) {
    this.chips = chips;
    this.#draw();
  }

  // Facts the browser knows: the time of the run, where it ran.
  setExtra(extra) {
    this.extra = extra;
    this.#draw();
  }

  #draw() {
    const info = this.chips.filter((chip) => chip.level !== "warn");
    const warn = this.chips.filter((chip) => chip.level === "warn");
    const all = [...info, ...this.extra, ...warn];
    const key = JSON.stringify(all);
    if (key === this.drawn) return;
    this.drawn = key;
    if (!all.some((chip) => chip.id === this.open)) this.open = null;
    const focused = document.activeElement?.dataset?.chip;
    this.list.replaceChildren(...all.map((chip) => h("li", {}, this.#chip(chip))));
    if (focused) this.list.querySelector(`[data-chip="${CSS.escape(focused)}"]`)?.focus();
    this.#explain();
  }

  #chip(chip) {
    const attributes = { class: `ss-chip ss-chip-${chip.level}`, "data-chip": chip.id };
    const content = [chip.level === "warn" ? icon("warn") : null, h("span", {}, emphasised(chip.text))];
    if (!chip.why && !chip.fix) return h("span", { ...attributes, title: chip.title || null }, content);
    return h("button", {
      ...attributes, type: "button", "aria-expanded": String(this.open === chip.id),
      "aria-controls": "ss-why",
      onclick: () => { this.open = this.open === chip.id ? null : chip.id; this.#explain(); },
    }, content);
  }

  close() {
    this.open = null;
    this.#explain();
  }

  #explain() {
    const chip = this.chips.find((entry) => entry.id === this.open);
    for (const button of this.list.querySelectorAll("button")) {
      button.setAttribute("aria-expanded", String(button.dataset.chip === this.open));
    }
    this.panel.hidden = !chip;
    if (!chip) return;
    this.panel.className = `ss-why ss-why-${chip.level}`;
    this.panel.replaceChildren(
      h("button", {
        type: "button", class: "ss-quiet ss-why-close", "aria-label": "Close", onclick: () => this.close(),
      }, icon("close")),
      h("p", {}, h("b", {}, chip.text)),
      ...(chip.why ? [h("p", {}, chip.why)] : []),
      ...(chip.fix ? [h("p", { class: "ss-fix" }, h("b", {}, "What to do: "), chip.fix)] : []));
  }
}
