// A row of short truths about this run. A warning opens its reason and its fix.

import { quirkPanel } from "./about.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";

// Numbers stand out: they are what one looks for.
function emphasised(text) {
  return text.split(/(−?\d+(?:[.,]\d+)*(?:e[−-]?\d+)?)/u).map((part, k) => (k % 2 ? h("b", {}, part) : part));
}

// A setting as it is written in code: clip_sample=False.
function written(key, value) {
  const name = key.slice(key.indexOf(".") + 1);
  const names = { true: "True", false: "False", null: "None" };
  return `${name}=${names[value] ?? (typeof value === "string" ? `"${value}"` : Array.isArray(value) ? `[… ${value.at(-1)}]` : value)}`;
}

export class Chips {
  // apply(changes, event) puts a warning's remedy into the settings.
  // setting(key) tells a present value.
  constructor(apply, setting) {
    this.apply = apply;
    this.setting = setting;
    this.list = h("ul", { class: "ss-chips", "aria-label": "About this run" });
    this.panel = h("div", { class: "ss-why", id: "ss-why", hidden: true });
    this.element = h("div", { class: "ss-chiprow" }, this.list, this.panel);
    this.open = null;
    this.chips = [];
    this.extra = [];
    this.link = [];
  }

  // What the link said and the page could not use; told at once, until something changes.
  setLink(notes) {
    if (notes.length === this.link.length) return;
    this.link = notes;
    if (notes.length) this.open = "link";
    this.#draw();
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
    // Many warnings share one chip: two rows hold them all.
    const told = warn.length > 2 ? [warn[0], {
      id: "more", level: "warn", text: `${warn.length - 1} more warnings`, why: "", several: warn.slice(1),
    }] : warn;
    const all = [...this.#linkChip(), ...told, ...info, ...this.extra];
    this.shown = all;
    const key = JSON.stringify(all);
    if (key === this.drawn) return;
    this.drawn = key;
    if (!all.some((chip) => chip.id === this.open)) this.open = null;
    const focused = document.activeElement?.dataset?.chip;
    this.list.replaceChildren(...all.map((chip) => h("li", { "data-level": chip.level }, this.#chip(chip))));
    if (focused) this.list.querySelector(`[data-chip="${CSS.escape(focused)}"]`)?.focus();
    this.#explain();
  }

  #linkChip() {
    const { link } = this;
    if (!link.length) return [];
    return [{
      id: "link", level: "warn", why: link.join("\n"),
      text: `${link.length} ${link.length === 1 ? "part" : "parts"} of the link not understood`,
      fix: "Nothing: the rest of the link holds, and what was left out has its usual value. "
        + "Copy link gives a clean one.",
    }];
  }

  #chip(chip) {
    const attributes = {
      class: `ss-chip ss-chip-${chip.level}`, "data-chip": chip.id, title: chip.title || chip.text,
    };
    const content = [chip.level === "warn" ? icon("warn") : null, h("span", {}, emphasised(chip.text))];
    if (!chip.why && !chip.fix && !chip.several) return h("span", attributes, content);
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
    const chip = this.shown.find((entry) => entry.id === this.open);
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
      ...(chip.several || [chip]).flatMap((one) => this.#reasons(one)));
  }

  #reasons(chip) {
    if (chip.quirks) {
      return quirkPanel(chip.quirks, this.setting("compat"),
        (compat, event) => this.apply({ "config.compat": compat }, event));
    }
    return [
      h("p", { class: "ss-why-what" }, h("b", {}, chip.text)),
      ...(chip.why ? chip.why.split("\n").map((line) => h("p", {}, line)) : []),
      ...(chip.fix ? [h("p", { class: "ss-fix" }, h("b", {}, "What to do: "), chip.fix)] : []),
      ...(chip.set ? [h("p", { class: "ss-remedy" }, h("button", {
        type: "button", class: "ss-button", "data-action": "apply",
        onclick: (event) => this.apply(chip.set, event),
      }, "Set ", h("code", {}, Object.entries(chip.set).map(([k, v]) => written(k, v)).join(", "))))] : []),
    ];
  }
}
