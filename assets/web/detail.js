// Below the timeline: the current frame large, what the step does, and the transport.

import { fit, h, setText } from "./dom.js";
import { SHARE, fmt, level } from "./format.js";
import { palette, ramp } from "./colour.js";
import { icon } from "./icons.js";

const SPEEDS = [0.5, 1, 2, 4];
const SYMBOLS = { x: ["x"], x0: ["x̂", "0"], eps: ["ε̂"], noise: ["z"] };
const MEANINGS = {
  x: "the sample", x0: "the model's clean prediction", eps: "the model's noise prediction",
  noise: "fresh noise",
};

const ago = (lag) => (lag === 1 ? "of the call before" : `of ${lag} calls before`);

export class Detail {
  // actions: select(index), step(by), toggle(), speed(value), pick(sample)
  constructor(actions) {
    this.actions = actions;
    this.schedule = null;
    this.film = null;
    this.cursor = 0;
    this.sample = 0;
    this.#build();
    new ResizeObserver(() => this.drawFrames()).observe(this.frames);
  }

  #build() {
    this.canvases = { prev: h("canvas", { role: "img" }), x0: h("canvas", { role: "img" }) };
    this.captions = { prev: h("figcaption"), x0: h("figcaption") };
    this.frames = h("div", { class: "ss-frames" },
      ["prev", "x0"].map((which) => h("figure", { "data-frame": which },
        h("div", { class: "ss-frame" }, this.canvases[which]), this.captions[which])));
    this.picker = h("div", {
      class: "ss-picker", role: "listbox", "aria-label": "Samples", hidden: true,
    });
    this.pickerNote = h("p", { class: "ss-note", hidden: true });
    this.title = h("h2", {});
    this.levels = h("p", { class: "ss-levels" });
    this.equation = h("div", { class: "ss-equation", role: "math" });
    this.legend = h("p", { class: "ss-note ss-legend" });
    this.sentence = h("p", { class: "ss-sentence" });
    const button = (name, label, keys, act) => h("button", {
      type: "button", class: "ss-button", "data-action": name, title: `${label} (${keys})`,
      "aria-label": label, onclick: act,
    }, icon({ first: "first", back: "back", next: "forward", last: "last", play: "play" }[name]));
    this.play = button("play", "Play", "space", () => this.actions.toggle());
    this.play.append(h("span", {}, "Play"));
    this.play.classList.add("ss-play");
    this.speeds = h("div", { class: "ss-segment", role: "radiogroup", "aria-label": "Speed" },
      SPEEDS.map((speed) => h("label", {},
        h("input", {
          type: "radio", name: "ss-speed", value: speed, checked: speed === 1,
          "aria-label": `${speed} times`, onchange: () => this.actions.speed(speed),
        }),
        h("span", {}, speed === 0.5 ? "½×" : `${speed}×`))));
    this.scrubber = h("input", {
      type: "range", class: "ss-slider ss-scrubber", min: 0, max: 1, step: 1, value: 0,
      "aria-label": "Position in the film",
      oninput: () => this.actions.select(Number(this.scrubber.value)),
    });
    this.position = h("output", { class: "ss-position" });
    this.transport = h("div", { class: "ss-transport" },
      h("div", { class: "ss-scrub" }, this.scrubber, this.position),
      h("div", { class: "ss-buttons" },
        button("first", "First step", "Home", () => this.actions.select(0)),
        button("back", "One step back", "left arrow", () => this.actions.step(-1)),
        this.play,
        button("next", "One step on", "right arrow", () => this.actions.step(1)),
        button("last", "Last step", "End", () => this.actions.select(Infinity)),
        this.speeds));
    this.text = h("div", { class: "ss-explain" },
      h("header", { class: "ss-explain-head" }, this.title, this.levels),
      this.equation, this.legend, this.sentence, this.transport);
    this.element = h("section", { class: "ss-card ss-detail", "aria-label": "The current step" },
      h("div", { class: "ss-view" }, this.frames, this.picker, this.pickerNote), this.text);
  }

  noun() {
    return this.schedule && this.schedule.steps !== this.schedule.nfe ? "call" : "step";
  }

  setSchedule(schedule) {
    this.schedule = schedule;
    this.scrubber.max = String(schedule.nfe - 1);
    this.tell();
  }

  setFilm(film) {
    this.film = film;
    this.#caption();
    if (!film) {
      for (const canvas of Object.values(this.canvases)) {
        canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
      }
      return;
    }
    this.sample = Math.min(this.sample, film.samples - 1);
    this.#buildPicker();
    this.drawFrames();
  }

  setCursor(index) {
    this.cursor = index;
    this.tell();
    this.drawFrames();
    this.#drawPicker();
  }

  setPlaying(playing) {
    this.play.replaceChildren(icon(playing ? "pause" : "play"), h("span", {}, playing ? "Pause" : "Play"));
    this.play.setAttribute("aria-label", playing ? "Pause" : "Play");
    this.play.dataset.playing = String(playing);
  }

  // ---- words ---------------------------------------------------------------------------------

  tell() {
    const { schedule } = this;
    if (!schedule) return;
    const i = Math.min(this.cursor, schedule.nfe - 1);
    const { columns } = schedule;
    const noun = this.noun();
    setText(this.title, `What ${noun} ${i + 1} does`);
    this.#tellEquation(schedule.equations[i]);
    const within = this.#withinStep(i);
    this.levels.replaceChildren(...[
      ["step", within, "A step may ask the model more than once"],
      ["t", fmt(columns.t[i], 4), "Time the model is told, in training steps"],
      ["σ/α", `${level(columns.rho[i])} → ${level(columns.rho_next[i])}`, "Noise over signal, before and after"],
      ["share of result", schedule.equations[i]?.weight_text, SHARE],
    ].filter(([, value]) => value).map(([name, value, title]) => h("span", { title }, `${name} `, h("b", {}, value))));
    setText(this.sentence, schedule.equations[i]?.sentence || "");
    this.scrubber.value = String(i);
    this.scrubber.style.setProperty("--fill", `${schedule.nfe > 1 ? (i / (schedule.nfe - 1)) * 100 : 0}%`);
    const spoken = `${noun} ${i + 1} of ${schedule.nfe}${within ? `, step ${within}` : ""}`;
    this.scrubber.setAttribute("aria-valuetext", `${spoken}, noise level ${level(columns.rho[i])}`);
    setText(this.position, `${i + 1} / ${schedule.nfe}`);
    this.#caption();
  }

  // Which step a call is part of, and which of its calls it is; nothing where steps are calls.
  #withinStep(i) {
    const { columns, steps, nfe, told } = this.schedule;
    if (steps === nfe) return null;
    const calls = told ? 1 : columns.step.filter((step) => step === columns.step[i]).length;
    return `${columns.step[i] + 1}${calls > 1 ? `, call ${columns.part[i] + 1} of ${calls}` : ""}`;
  }

  #tellEquation(equation) {
    const terms = equation?.terms ?? [];
    const parts = [h("i", {}, "x"), " ← "];
    terms.forEach((term, k) => {
      const negative = term.w < 0;
      if (k > 0 || negative) parts.push(h("span", { class: "ss-op" }, negative ? (k ? " − " : "−") : " + "));
      const [letter, index] = SYMBOLS[term.symbol];
      parts.push(h("span", { class: "ss-term" }, term.size ? `${term.size} ` : null,
        h("i", { title: this.#meaning(term) }, letter, index ? h("sub", {}, index) : null,
          term.lag ? h("span", { class: "ss-lag" }, `[−${term.lag}]`) : null)));
    });
    if (terms.length === 0) parts.push("0");
    this.equation.replaceChildren(...parts);
    // Spoken as words: screen readers spell hats and brackets.
    const spoken = terms.map((term, k) => `${term.w < 0 ? "minus " : k ? "plus " : ""}`
      + `${term.size ? `${term.size} times ` : ""}${this.#meaning(term)}`);
    this.equation.setAttribute("aria-label", `The next sample is ${spoken.join(" ") || "zero"}.`);
    this.#tellLegend(terms);
  }

  // What the letters stand for, each once.
  #tellLegend(terms) {
    const letters = [...new Set(terms.map((term) => term.symbol))].flatMap((symbol) => [
      h("i", {}, SYMBOLS[symbol][0], SYMBOLS[symbol][1] ? h("sub", {}, SYMBOLS[symbol][1]) : null),
      ` ${MEANINGS[symbol]} · `,
    ]);
    const lags = terms.map((term) => term.lag).filter(Boolean);
    const older = lags.length ? [...new Set(lags)].sort((a, b) => a - b)
      .map((lag) => `[−${lag}] ${ago(lag)}`).join(", ") : null;
    if (!older && letters.length) letters.push(letters.pop().replace(/ · $/, ""));
    this.legend.replaceChildren(...letters, ...(older ? [older] : []));
  }

  #meaning({ symbol, lag }) {
    return `${MEANINGS[symbol]}${lag ? ` ${ago(lag)}` : ""}`;
  }

  // ---- pictures ------------------------------------------------------------------------------

  drawFrames() {
    const { film, schedule } = this;
    if (!film || !schedule) return;
    const c = palette(this.element);
    const i = Math.min(this.cursor, schedule.nfe - 1);
    const noun = this.noun();
    const columns = schedule.columns;
    const frame = film.at(i, schedule.nfe);
    for (const which of ["prev", "x0"]) {
      const canvas = this.canvases[which];
      const side = canvas.parentElement.clientWidth;
      if (!side) continue;
      const colour = ramp(which === "prev" ? columns.rho_next[i] : columns.rho[i], c.dark);
      if (film.kind === "image") {
        const size = film.width;
        if (canvas.width !== size) canvas.width = size;
        if (canvas.height !== size) canvas.height = size;
        canvas.style.width = "100%";
        canvas.style.height = "100%";
        canvas.classList.toggle("ss-pixels", size <= 64);
        const context = canvas.getContext("2d");
        context.setTransform(1, 0, 0, 1, 0, 0);
        context.clearRect(0, 0, size, size);
        film.draw(context, which, frame, this.sample, 0, 0, size, c, {});
      } else {
        canvas.classList.remove("ss-pixels");
        const context = fit(canvas, side, side);
        film.draw(context, which, frame, this.sample, 0, 0, side, c, { colour });
      }
      canvas.setAttribute("aria-label",
        which === "prev" ? `The sample after ${noun} ${i + 1}` : `The clean sample predicted at ${noun} ${i + 1}`);
    }
  }

  setStale(stale) {
    if (this.stale === stale) return;
    this.stale = stale;
    this.#caption();
  }

  #caption() {
    if (!this.schedule) return;
    const at = `${this.noun()} ${Math.min(this.cursor, this.schedule.nfe - 1) + 1}`;
    const old = this.stale && this.film;
    this.captions.prev.replaceChildren(h("code", {}, "prev_sample"), old ? " from the last run" : ` after ${at}`);
    this.captions.x0.replaceChildren(h("code", {}, "pred_x0"), old ? " from the last run" : ` at ${at}`);
  }

  // Many images: a grid of predictions at this step, one of them picked for strips and frames.
  #buildPicker() {
    const { film } = this;
    const many = film.kind === "image" && film.samples > 1;
    this.picker.hidden = !many;
    const words = film.particles
      ? `${film.particles} particles at x / √(α² + σ²). ${film.kind === "plane"
        ? "Faint points are the data." : "The line is the exact density."}`
      : "";
    this.pickerNote.hidden = !words;
    setText(this.pickerNote, words);
    if (!many) {
      this.picker.replaceChildren();
      return;
    }
    if (this.picker.children.length !== film.samples) {
      this.picker.replaceChildren(...Array.from({ length: film.samples }, (_, k) => h("button", {
        type: "button", role: "option", "aria-label": `Sample ${k + 1}`,
        onclick: () => this.actions.pick(k),
      }, h("canvas", { class: "ss-pixels" }))));
    }
    this.#drawPicker();
  }

  #drawPicker() {
    const { film } = this;
    if (!film || !this.schedule || this.picker.hidden) return;
    const i = film.at(this.cursor, this.schedule.nfe);
    [...this.picker.children].forEach((button, k) => {
      button.setAttribute("aria-selected", String(k === this.sample));
      const canvas = button.firstChild;
      const size = film.width;
      if (canvas.width !== size) { canvas.width = size; canvas.height = size; }
      const context = canvas.getContext("2d");
      context.clearRect(0, 0, size, size);
      film.draw(context, "x0", i, k, 0, 0, size, null, {});
    });
  }

  setSample(sample) {
    this.sample = sample;
    this.drawFrames();
    this.#drawPicker();
  }
}
