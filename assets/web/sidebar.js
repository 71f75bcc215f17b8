// The settings: scheduler, model, and every parameter of the class as a control, in groups.

import { AboutDialog } from "./about.js";
import { Control } from "./controls.js";
import { clamp, h, setText, uid } from "./dom.js";
import { plural } from "./format.js";
import { icon } from "./icons.js";
import { SchedulerPicker } from "./picker.js";

const GROUPS = ["scheduler", "model", "solver", "noise schedule", "spacing", "stochasticity", "prediction"];
const GROUP_TITLES = {
  scheduler: "Scheduler",
  model: "Model",
  solver: "Solver",
  "noise schedule": "Noise schedule",
  spacing: "Spacing",
  stochasticity: "Stochasticity",
  prediction: "Prediction",
};
// Settings of the noise schedule and the prediction belong to the model, so they stay when the
// scheduler changes; the rest starts from the new class's defaults.
// What the class calls its own parameters stands below the model, so that both pickers are in sight.
const PLACES = { scheduler: "solver" };
const CARRIED = ["noise schedule", "prediction"];

// A docstring's text without its marks.
function plainText(text) {
  return text.replace(/``/g, "");
}

function copy(value) {
  return structuredClone(value);
}

export class Sidebar {
  // changed(spec, event) is called with a new spec for every change.
  constructor(schema, actions) {
    this.schema = schema;
    this.actions = actions;
    this.controls = new Map();
    this.spec = copy(schema.default);
    this.errors = {};
    this.inert = {};
    this.groups = {};
    this.carried = {};
    this.element = this.#build();
    this.#fillScheduler();
    this.#fillModel();
  }

  scheduler(id = this.spec.scheduler) {
    return this.schema.schedulers.find((entry) => entry.id === id) || this.schema.schedulers[0];
  }

  model(id = this.spec.model) {
    return this.schema.models.find((entry) => entry.id === id) || this.schema.models[0];
  }

  isList(key) {
    return this.schema.schedulers.some((s) =>
      s.parameters.some((p) => p.name === key && p.kind === "numbers"));
  }

  #build() {
    const title = h("div", { class: "ss-brand" },
      h("div", {},
        h("h1", {}, "Sigmascope"),
        h("p", {}, "See what your scheduler does.")),
      h("div", { class: "ss-brand-actions" },
        h("button", {
          type: "button", class: "ss-quiet", "data-action": "reset",
          title: "Back to the first view", onclick: (e) => this.#reset(e),
        }, icon("reset"), "Reset"),
        h("button", {
          type: "button", class: "ss-quiet ss-only-phone", "aria-label": "Close settings",
          onclick: () => this.actions.close(),
        }, icon("close"))));
    const form = h("div", { class: "ss-form" });
    for (const name of GROUPS) {
      const id = uid("ss-group");
      const body = h("div", { class: "ss-group-body" });
      const rare = h("div", { class: "ss-rare" });
      const summary = h("summary", {}, icon("chevron"), h("span", {}, "More"));
      const fold = h("details", { class: "ss-fold", hidden: true }, summary, rare);
      const section = h("section", { class: "ss-group", "aria-labelledby": id, "data-group": name },
        h("h2", { id }, GROUP_TITLES[name]), body, fold);
      this.groups[name] = { section, body, rare, fold, summary };
      form.append(section);
    }
    this.#pickers();
    this.run = h("button", {
      type: "button", class: "ss-primary", "data-action": "run",
      title: "Compute every step on the server and show it as it comes",
      onclick: () => this.actions.run(),
    }, icon("play"), h("span", {}, "Run live"));
    this.seed = this.#add({
      key: "seed", label: "seed", kind: "int", default: this.schema.default.seed, low: 0,
      high: 2 ** 32 - 1, text: "", code: false,
    });
    this.seed.element.classList.add("ss-seed");
    const dice = h("button", {
      type: "button", class: "ss-button", "data-action": "randomise", title: "A new seed",
      "aria-label": "Randomise the seed",
      onclick: (event) => this.#set("seed", Math.floor(Math.random() * 100000), event),
    }, icon("dice"));
    this.foot = h("div", { class: "ss-foot" }, this.run, this.seed.element, dice);
    return h("aside", { class: "ss-side", "aria-label": "Settings" }, title, form, this.foot);
  }

  #pickers() {
    const { schema } = this;
    this.picker = new SchedulerPicker(schema, (value, event) => this.#pickScheduler(value, event));
    this.about = new AboutDialog();
    this.goodFor = h("p", { class: "ss-note" });
    this.className = h("p", { class: "ss-note ss-class" });
    this.schedulerError = h("p", { class: "ss-error", role: "alert", hidden: true });
    this.groups.scheduler.body.append(h("div", { class: "ss-control" },
      this.picker.button, this.goodFor, this.className, this.schedulerError,
      this.picker.dialog, this.about.dialog));

    this.steps = this.#add({
      key: "steps", label: "steps", kind: "int", default: schema.default.steps, low: 1,
      high: schema.limits.steps,
      slider_low: 1, slider_high: 100, slider_step: 1, text: "", code: false,
    });
    this.groups.scheduler.body.append(this.steps.element);

    const modelId = uid("ss-model");
    this.modelPicker = h("select", {
      id: modelId, "data-control": "model", onchange: (e) => this.#pickModel(e),
    }, schema.models.map((entry) => h("option", { value: entry.id }, entry.title)));
    this.modelNote = h("p", { class: "ss-note" });
    this.modelError = h("p", { class: "ss-error", role: "alert", hidden: true });
    const classId = uid("ss-class");
    this.classPicker = h("select", {
      id: classId, "data-control": "cond", onchange: (e) => this.#set("cond", e.target.value, e),
    });
    this.classRow = h("div", { class: "ss-control" },
      h("label", { for: classId }, "class"),
      h("div", { class: "ss-select" }, this.classPicker, icon("chevron")));
    this.groups.model.body.append(
      h("div", { class: "ss-control" },
        h("label", { for: modelId, class: "ss-hidden" }, "Model"),
        h("div", { class: "ss-select ss-large" }, this.modelPicker, icon("chevron")),
        this.modelNote, this.modelError),
      this.classRow);
    this.options = h("div", { class: "ss-options" });
    this.samples = this.#add({
      key: "samples", label: "samples", kind: "int", default: schema.default.samples, low: 1,
      high: 64, slider_low: 1, slider_high: 16, slider_step: 1, code: false,
      text: "Each from its own noise; the first stay the same.",
    });
    this.groups.model.body.append(this.options, this.samples.element, this.#devicePicker());
  }

  // Where to compute: chosen by the server, overridable here, no part of the link.
  #devicePicker() {
    const { devices, device } = this.schema;
    this.device = device;
    const id = uid("ss-device");
    const alone = devices.length < 2;
    const picker = h("select", {
      id, "data-control": "device", disabled: alone,
      onchange: (event) => { this.device = picker.value; this.#emit(copy(this.spec), event); },
    }, devices.map((d) => h("option", { value: d.id, selected: d.id === device }, d.title)));
    this.deviceError = h("p", { class: "ss-error", role: "alert", hidden: true });
    return h("div", { class: alone ? "ss-control ss-inert" : "ss-control" },
      h("label", { for: id }, "device"),
      h("div", { class: "ss-select" }, picker, icon("chevron")),
      h("p", { class: "ss-note" }, alone ? "The only one on this machine." : "The film is the same on each, up to rounding."),
      this.deviceError);
  }

  #add(about) {
    const control = new Control(
      { optional: false, log: false, unit: "", text: "", code: true, ...about },
      (key, value, event) => this.#set(key, value, event),
      (key, message) => this.actions.refused(key, message),
    );
    this.controls.set(about.key, control);
    return control;
  }

  #clear(prefix) {
    for (const key of [...this.controls.keys()]) {
      if (key.startsWith(prefix) || (prefix === "config." && (key === "timesteps" || key === "sigmas"))) {
        this.controls.get(key).forget();
        this.controls.get(key).element.remove();
        this.controls.delete(key);
      }
    }
  }

  // One control for each parameter of the class.
  #fillScheduler() {
    const entry = this.scheduler();
    this.#clear("config.");
    const rare = Object.fromEntries(GROUPS.map((name) => [name, 0]));
    const place = (about, group, advanced) => {
      const control = this.#add(about);
      const { body, rare: fold } = this.groups[group];
      (advanced ? fold : body).append(control.element);
      if (advanced) rare[group] += 1;
    };
    for (const parameter of entry.parameters) {
      const { name, group, advanced, ...about } = parameter;
      // A default that JSON cannot write is infinite: no limit, and none to be typed.
      const optional = about.optional || about.default === null;
      place({ ...about, optional, key: `config.${name}`, label: name },
        PLACES[group] ?? (this.groups[group] ? group : "solver"), advanced);
    }
    for (const [key, text] of Object.entries(entry.grids)) {
      place({ key, label: key, kind: "numbers", default: null, optional: true, text: plainText(text) }, "spacing", true);
    }
    for (const name of GROUPS) {
      const { section, body, fold, summary } = this.groups[name];
      const hidden = [...fold.querySelectorAll(".ss-control")].length;
      fold.hidden = hidden === 0;
      setText(summary.lastChild, body.children.length ? `${hidden} more` : plural(hidden, "setting"));
      section.hidden = body.children.length === 0 && hidden === 0;
    }
    const { reference } = entry;
    setText(this.goodFor, entry.good_for);
    this.className.replaceChildren(h("code", {}, entry.id));
    if (reference?.title) {
      const authors = reference.authors.split(", ");
      // The names of all of them stand in About.
      const credit = `${authors.length > 3 ? `${authors[0]} et al.` : reference.authors}, ${reference.year}`;
      this.className.append(" · ", reference.url
        ? h("a", { href: reference.url, target: "_blank", rel: "noreferrer", title: reference.title }, credit)
        : h("span", { title: reference.title }, credit));
    }
    this.className.append(" · ", h("button", {
      type: "button", class: "ss-linkish", "data-action": "about",
      "aria-haspopup": "dialog", onclick: () => this.about.open(entry, this.schema.names),
    }, "About"));
    this.filled = entry.id;
  }

  #fillModel() {
    const entry = this.model();
    this.#clear("options.");
    this.options.replaceChildren();
    for (const option of entry.options) {
      const whole = Number.isInteger(option.default) && Number.isInteger(option.step ?? 1);
      const kind = option.choices?.length ? "choice"
        : typeof option.default === "boolean" ? "bool" : whole ? "int" : "float";
      const control = this.#add({
        key: `options.${option.name}`, label: option.title || option.name, kind,
        default: option.default, low: option.low, high: option.high, slider_low: option.low,
        slider_high: option.high, slider_step: option.step, choices: option.choices,
        text: option.text, code: false,
      });
      this.options.append(control.element);
    }
    this.classPicker.replaceChildren(
      ...entry.classes.map((c) => h("option", { value: c.id }, c.title)));
    this.classRow.hidden = entry.classes.length < 2;
    setText(this.modelNote, entry.text);
    const each = this.schema.limits.particles_per_sample;
    this.samples.setNote(entry.kind === "image" || !each
      ? "Each from its own noise; the first stay the same."
      : `${each} particles each; the first stay the same.`);
    this.filledModel = entry.id;
  }

  #emit(spec, event) {
    this.show(spec);
    this.actions.changed(spec, event);
  }

  #set(key, value, event) {
    const spec = copy(this.spec);
    const [where, name] = key.includes(".") ? [key.split(".")[0], key.slice(key.indexOf(".") + 1)] : [null, key];
    if (where) {
      const about = this.controls.get(key).about;
      if (JSON.stringify(value ?? null) === JSON.stringify(about.default ?? null)) delete spec[where][name];
      else spec[where][name] = value;
    } else spec[name] = value;
    if (key === "timesteps" && value) spec.sigmas = null;
    if (key === "sigmas" && value) spec.timesteps = null;
    this.#emit(spec, event);
  }

  #pickScheduler(value, event) {
    const [kind, ...rest] = value.split(":");
    const name = rest.join(":");
    const named = kind === "name" ? this.schema.names.find((entry) => entry.name === name) : null;
    const id = named ? named.scheduler : name;
    const target = this.scheduler(id);
    const spec = copy(this.spec);
    // What holds now goes along, also where the old class has it by default: the model stays the
    // same, so its betas and what it predicts do. A class without them (Karras VE) keeps them for
    // the next one.
    for (const { name: key, group, default: usual } of this.scheduler().parameters) {
      if (CARRIED.includes(group)) this.carried[key] = spec.config[key] ?? usual;
    }
    const kept = {};
    for (const parameter of target.parameters) {
      const value = this.carried[parameter.name];
      if (value === undefined || !CARRIED.includes(parameter.group)) continue;
      if (JSON.stringify(value) === JSON.stringify(parameter.default)) continue;
      const chosen = parameter.kind === "choice" && value !== null;
      if (chosen && !parameter.choices.includes(value)) continue;
      if (value === null && !parameter.optional) continue;
      kept[parameter.name] = value;
    }
    spec.scheduler = id;
    spec.config = { ...kept, ...(named ? named.config : {}) };
    spec.timesteps = null;
    spec.sigmas = null;
    this.#emit(spec, event);
  }

  #pickModel(event) {
    const spec = copy(this.spec);
    spec.model = this.modelPicker.value;
    spec.cond = this.model(spec.model).default_class;
    spec.options = {};
    this.#emit(spec, event);
  }

  #reset(event) {
    for (const control of this.controls.values()) control.forget();
    this.carried = {};
    this.actions.reset();
    this.#emit(copy(this.schema.default), event);
  }

  // The present value of a parameter of the class.
  setting(name) {
    const described = this.scheduler().parameters.find((p) => p.name === name);
    return this.spec.config[name] ?? described?.default ?? null;
  }

  // A remedy: several settings at once, by the names that errors use ("config.eta", "steps").
  apply(changes, event) {
    const spec = copy(this.spec);
    for (const [key, value] of Object.entries(changes)) {
      const dot = key.indexOf(".");
      const about = this.controls.get(key)?.about;
      if (dot > 0 && JSON.stringify(about?.default) === JSON.stringify(value)) {
        delete spec[key.slice(0, dot)][key.slice(dot + 1)];
      } else if (dot > 0) spec[key.slice(0, dot)][key.slice(dot + 1)] = value;
      else spec[key] = value;
      this.controls.get(key)?.forget();
    }
    this.#emit(spec, event);
  }

  // The name people know for this class and these settings, if there is one.
  nameOf(spec) {
    let best = null;
    let most = -1;
    const described = this.scheduler(spec.scheduler).parameters;
    const now = (key) => spec.config[key] ?? described.find((p) => p.name === key)?.default;
    const telling = new Set(this.schema.names
      .filter((entry) => entry.scheduler === spec.scheduler)
      .flatMap((entry) => Object.keys(entry.config)));
    for (const entry of this.schema.names) {
      if (entry.scheduler !== spec.scheduler) continue;
      const agrees = [...telling].every((key) => {
        const wanted = entry.config[key] ?? described.find((p) => p.name === key)?.default;
        return JSON.stringify(now(key)) === JSON.stringify(wanted);
      });
      const size = Object.keys(entry.config).length;
      if (agrees && size > most) { best = entry; most = size; }
    }
    return best;
  }

  // Shows a spec in the controls without asking for anything.
  show(spec) {
    this.spec = copy(spec);
    if (this.filled !== this.scheduler().id) {
      this.inert = {};
      this.#fillScheduler();
    }
    if (this.filledModel !== this.model().id) this.#fillModel();
    const named = this.nameOf(spec);
    const entry = this.scheduler();
    const known = named && this.picker.has(`name:${named.name}`);
    this.picker.show(known ? `name:${named.name}` : `class:${entry.id}`,
      named ? named.name : entry.title, entry.id);
    this.modelPicker.value = spec.model;
    this.classPicker.value = spec.cond;
    this.#boundSteps(spec);
    for (const [key, control] of this.controls) {
      const dot = key.indexOf(".");
      const value = dot > 0 ? spec[key.slice(0, dot)][key.slice(dot + 1)] : spec[key];
      control.set(value === undefined ? control.about.default : value);
    }
    for (const { fold, rare } of Object.values(this.groups)) {
      const changed = [...rare.querySelectorAll(".ss-undo:not([hidden])")].length > 0;
      fold.classList.toggle("ss-changed", changed);
      if (changed && !fold.dataset.seen) { fold.open = true; fold.dataset.seen = "1"; }
    }
  }

  // A class may have fewer levels than the page allows steps.
  #boundSteps(spec) {
    const { bounds_steps: names, parameters } = this.scheduler();
    const levels = names.map((name) => (
      spec.config[name] ?? parameters.find((p) => p.name === name).default));
    const most = Math.min(this.schema.limits.steps, ...levels);
    this.steps.about.high = most;
    this.steps.about.slider_high = clamp(most, 2, 100);
    this.fewSteps = most < this.schema.limits.steps ? `at most ${plural(most, "step")}` : "";
  }

  showInert(inert) {
    this.inert = inert;
    for (const [key, control] of this.controls) {
      const name = key.startsWith("config.") ? key.slice(7) : key;
      const reason = inert[name] || inert[key] || null;
      if ((control.inert || null) !== reason) control.setInert(reason);
    }
  }

  // Returns the messages that belong to no parameter's control.
  showErrors(errors) {
    this.errors = errors;
    const left = { ...errors };
    for (const [key, control] of this.controls) {
      control.setError(errors[key] || null);
      if (errors[key]) control.element.closest("details")?.setAttribute("open", "");
      delete left[key];
    }
    for (const [keys, place] of [[["scheduler"], this.schedulerError], [["model", "cond"], this.modelError], [["device"], this.deviceError]]) {
      const message = keys.map((k) => errors[k]).filter(Boolean).join(" ");
      place.hidden = !message;
      setText(place, message);
    }
    return Object.values(left);
  }

  showCalls(steps, calls) {
    const note = calls === null ? "" : calls === steps
      ? `${plural(calls, "model call")} (NFE)`
      : `${plural(calls, "model call")} (NFE) for ${plural(steps, "step")}`;
    this.steps.setNote([note, this.fewSteps].filter(Boolean).join(" · "));
  }

  // Why there is nothing to run now; null when there is.
  setReady(reason) {
    this.run.disabled = Boolean(reason) && this.run.dataset.action === "run";
    this.run.title = reason || "Compute every step on the server and show it as it comes";
  }

  showRunning(running) {
    this.run.replaceChildren(icon(running ? "stop" : "play"), h("span", {}, running ? "Stop" : "Run live"));
    this.run.dataset.action = running ? "stop" : "run";
  }
}
