// The choice of a scheduler: a button that says what is chosen, and a dialog with a search field
// over a list in families. Classes are found by title, class name and purpose, and by every name
// that other programs give them; a name is a choice of its own, since it brings settings along.

import { h, setText, uid } from "./dom.js";
import { icon } from "./icons.js";

const GAP = 6; // px between the button and the list
const EDGE = 12; // px that the list keeps from the window's edge
const NEAR = 0.4; // from here on a name looks like another
const TRY = "Try a part of a name (euler, 2m, karras), a class (DDIMScheduler) or a purpose (inversion, few steps).";
const PHONE = window.matchMedia("(max-width: 860px)");

// Without case, spaces and punctuation, but with plus signs: "DPM++ 2M" and "dpm++2m" are one.
function plain(text) {
  return text.toLowerCase().replace(/[^a-z0-9+]/g, "");
}

// How well a query fits an entry: 0 not at all, up to 3 for one of its names exactly. A class of
// which only a name below it fits is shown above that name, but is not what was meant.
function fit(entry, query, words) {
  if (entry.names.includes(query)) return 3;
  if (entry.names.some((name) => name.startsWith(query))) return 2;
  const has = (text) => words.every((word) => text.includes(word)
    || entry.names.some((name) => name.includes(plain(word) || word)));
  if (has(entry.text) || entry.names.some((name) => name.includes(query))) return 1;
  return has(`${entry.text} ${entry.below}`) ? 0.5 : 0;
}

// How alike two names are, 0 to 1: the share of neighbouring letters that they have in common
// (Dice's coefficient), so that a slip of the finger still finds its name.
function alike(a, b) {
  const pairs = (text) => Array.from({ length: text.length - 1 }, (_, k) => text.slice(k, k + 2));
  const [left, right] = [pairs(a), pairs(b)];
  const common = left.filter((pair) => right.includes(pair)).length;
  return (2 * common) / Math.max(1, left.length + right.length);
}

export class SchedulerPicker {
  // pick(value, event) gets "class:<id>" or "name:<name>".
  constructor(schema, pick) {
    this.pick = pick;
    this.entries = [];
    this.value = null;
    const id = uid("ss-schedulers");
    this.label = h("span", {});
    this.button = h("button", {
      type: "button", class: "ss-pick", "data-control": "scheduler", "aria-haspopup": "dialog",
      "aria-expanded": "false", onclick: () => this.open(),
      onkeydown: (event) => {
        if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
        event.preventDefault();
        this.open();
      },
    }, this.label, icon("chevron"));
    this.search = h("input", {
      type: "text", role: "combobox", "aria-expanded": "true", "aria-controls": id,
      "aria-autocomplete": "list", "aria-label": "Search a scheduler", spellcheck: "false",
      autocomplete: "off", placeholder: "Name or class, as you know it",
      oninput: () => this.#filter(), onkeydown: (event) => this.#key(event),
    });
    this.list = h("div", { role: "listbox", id, "aria-label": "Schedulers", class: "ss-families" },
      this.#families(schema));
    this.none = h("p", { class: "ss-note ss-nothing", role: "status", hidden: true });
    this.dialog = h("dialog", {
      class: "ss-chooser", "aria-label": "Choose a scheduler",
      onclose: () => this.button.setAttribute("aria-expanded", "false"),
      onclick: (event) => { if (event.target === this.dialog) this.dialog.close(); },
    }, h("div", { class: "ss-search" }, icon("search"), this.search, h("button", {
      type: "button", class: "ss-quiet", "aria-label": "Close", onclick: () => this.dialog.close(),
    }, icon("close"))), this.none, this.list);
    window.addEventListener("resize", () => { if (this.dialog.open) this.#place(); });
  }

  #families(schema) {
    const families = new Map();
    for (const scheduler of schema.schedulers) {
      if (!families.has(scheduler.family)) families.set(scheduler.family, []);
      families.get(scheduler.family).push(scheduler);
    }
    return [...families].map(([family, members]) => {
      const id = uid("ss-family");
      return h("div", { role: "group", "aria-labelledby": id, class: "ss-family" },
        h("h3", { id, role: "presentation" }, family),
        members.map((scheduler) => this.#member(schema, scheduler)));
    });
  }

  #member(schema, scheduler) {
    const named = schema.names.filter((entry) => entry.scheduler === scheduler.id);
    const bare = named.filter((entry) => Object.keys(entry.config).length === 0);
    const own = this.#option(`class:${scheduler.id}`, "ss-member", {
      names: [scheduler.title, scheduler.id, scheduler.id.replace(/Scheduler$/, ""),
        ...bare.flatMap((entry) => [entry.name, ...entry.also])],
      text: `${scheduler.title} ${scheduler.id} ${scheduler.family} ${scheduler.good_for}`,
      below: named.map((entry) => entry.name).join(" "),
    }, h("span", { class: "ss-member-name" }, h("b", {}, scheduler.title), h("code", {}, scheduler.id)),
    scheduler.good_for ? h("span", { class: "ss-note" }, scheduler.good_for) : null);
    const names = named
      .filter((entry) => plain(entry.name) !== plain(scheduler.title))
      .map((entry) => this.#option(`name:${entry.name}`, "ss-known", {
        names: [entry.name, ...entry.also], text: `${entry.name} ${scheduler.id}`,
      }, entry.name));
    const row = h("div", { class: "ss-names", role: "presentation" }, names);
    return h("div", { class: "ss-entry", role: "presentation" }, own, names.length ? row : null);
  }

  #option(value, kind, found, ...content) {
    const element = h("div", {
      role: "option", id: uid("ss-option"), class: kind, "data-value": value,
      "aria-selected": "false", onclick: (event) => this.#take(entry, event),
    }, ...content);
    const entry = {
      value, element, names: [...new Set(found.names.map(plain))],
      text: found.text.toLowerCase(), below: (found.below || "").toLowerCase(),
    };
    this.entries.push(entry);
    return element;
  }

  has(value) {
    return this.entries.some((entry) => entry.value === value);
  }

  // Shows what is chosen: its value, and what it is called.
  show(value, label, title) {
    this.value = value;
    setText(this.label, label);
    this.button.title = title;
    this.button.setAttribute("aria-label", `Scheduler: ${label}`);
    for (const { element, value: own } of this.entries) {
      element.setAttribute("aria-selected", String(own === value));
    }
  }

  open() {
    if (this.dialog.open) return;
    this.search.value = "";
    this.dialog.showModal();
    this.button.setAttribute("aria-expanded", "true");
    this.#place();
    this.#filter();
    this.search.focus();
    this.active?.element.scrollIntoView({ block: "center" });
  }

  // Below the button, as high as the window leaves room; on a phone it takes the window.
  #place() {
    if (PHONE.matches) {
      this.dialog.removeAttribute("style");
      return;
    }
    const box = this.button.getBoundingClientRect();
    const room = window.innerHeight - box.bottom - GAP - EDGE;
    this.dialog.style.left = `${box.left}px`;
    this.dialog.style.top = `${box.bottom + GAP}px`;
    this.dialog.style.maxHeight = `${Math.max(260, Math.min(640, room))}px`;
  }

  #filter() {
    const typed = this.search.value.trim().toLowerCase();
    const query = plain(typed);
    const words = typed.split(/\s+/).filter(Boolean);
    let best = null;
    let most = 0;
    for (const entry of this.entries) {
      const score = typed ? fit(entry, query, words) : 1;
      entry.element.hidden = score === 0;
      if (score > most || (!typed && entry.value === this.value)) {
        best = entry;
        most = typed ? score : 3;
      }
    }
    this.none.hidden = most > 0;
    if (most > 0) setText(this.none, "");
    else this.#nearest(query);
    for (const part of this.list.querySelectorAll(".ss-family, .ss-entry, .ss-names")) {
      part.hidden = !part.querySelector("[role=option]:not([hidden])");
    }
    this.#activate(best);
  }

  // What to try where nothing fits: the names that look most like what was typed.
  #nearest(query) {
    const close = this.entries
      .map((entry) => [Math.max(...entry.names.map((name) => alike(query, name))), entry])
      .filter(([score]) => score >= NEAR)
      .sort(([a], [b]) => b - a)
      .slice(0, 3);
    for (const [, { element }] of close) element.hidden = false;
    const typed = `No scheduler is called “${this.search.value.trim()}”.`;
    setText(this.none, close.length ? `${typed} The nearest names:` : `${typed} ${TRY}`);
  }

  #activate(entry) {
    this.active?.element.classList.remove("ss-active");
    this.active = entry;
    if (!entry) {
      this.search.removeAttribute("aria-activedescendant");
      return;
    }
    entry.element.classList.add("ss-active");
    entry.element.scrollIntoView({ block: "nearest" });
    this.search.setAttribute("aria-activedescendant", entry.element.id);
  }

  #key(event) {
    const shown = this.entries.filter((entry) => !entry.element.hidden);
    const at = shown.indexOf(this.active);
    const move = {
      ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 8, PageUp: at - 8,
    }[event.key];
    if (move !== undefined && shown.length) {
      event.preventDefault();
      this.#activate(shown[Math.max(0, Math.min(shown.length - 1, move))]);
    } else if (event.key === "Enter" && this.active) {
      event.preventDefault();
      this.#take(this.active, event);
    }
  }

  #take(entry, event) {
    this.dialog.close();
    this.pick(entry.value, event);
  }
}
