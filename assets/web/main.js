// The page: one spec object is all state that is computed from; the views only show.
//
//   input -> spec -> address bar
//                 -> schedule request (latest wins) -> chart, chips, words   (curve painted)
//                 -> film request (latest wins)     -> strips, frames        (film painted)

import { Chips } from "./chips.js";
import { isDark } from "./colour.js";
import { Detail } from "./detail.js";
import { clamp, h, setText } from "./dom.js";
import { LiveFilm, decodeFilm } from "./film.js";
import { milliseconds, plural } from "./format.js";
import { icon } from "./icons.js";
import { decode, decodeView, sync } from "./link.js";
import { Player } from "./player.js";
import { X_AXES, Y_AXES } from "./quantities.js";
import { Latest } from "./requests.js";
import { Sidebar } from "./sidebar.js";
import { Timeline } from "./timeline.js";

const PHONE = window.matchMedia("(max-width: 860px)");
const THEME_KEY = "sigmascope-theme";
const SLOW = 300; // ms after which a run is said to be under way
const ADDRESS_EVERY = 250; // ms: browsers limit how often the address may change
const LOST = "The server did not answer. It may be restarting; change any setting to try again.";

class Explore {
  // host: {server, trigger}
  constructor(element, boot, host) {
    this.boot = boot;
    this.host = host;
    this.schema = boot.schema;
    this.view = { x: "step", y: "rho", bars: "spacing", log: {}, tall: false };
    this.place = 0.72; // where the cursor stands in the run, kept when the length changes
    this.cursor = 0;
    this.sample = 0;
    this.schedule = null;
    this.film = null;
    this.running = null;
    this.timings = { curve: [], film: [], first: null };
    window.sigmascope = { timings: this.timings, get spec() { return app.spec; } };
    const app = this;

    this.sidebar = new Sidebar(this.schema, {
      changed: (spec, event) => this.change(spec, event),
      run: () => (this.running ? this.stop() : this.run()),
      close: () => this.fold(true),
    });
    this.player = new Player((by) => this.advance(by), (playing) => this.detail.setPlaying(playing));
    this.timeline = new Timeline(this.view, {
      select: (i) => this.select(i, true),
      view: (changes) => this.look(changes),
    });
    this.detail = new Detail({
      select: (i) => this.select(i, true),
      step: (by) => this.select(this.cursor + by, true),
      toggle: () => this.play(),
      speed: (value) => { this.player.speed = value; },
      pick: (k) => this.pick(k),
    });
    this.chips = new Chips();
    this.schedules = new Latest((spec) => host.server.schedule(spec),
      (answer, meta) => this.gotSchedule(answer, meta), () => this.lost());
    this.films = new Latest((spec) => host.server.film(this.#placed(spec)),
      (answer, meta) => this.gotFilm(answer, meta), () => this.lostFilm());

    this.#theme();
    this.#build(element);
    this.#keys();
    this.#watchTheme();
    this.#open();
  }

  // ---- frame ---------------------------------------------------------------------------------

  #build(element) {
    const button = (name, title, glyph, act, text = null) => h("button", {
      type: "button", class: "ss-quiet", "data-action": name, title,
      "aria-label": text ? null : title, onclick: act,
    }, icon(glyph), text ? h("span", {}, text) : null);
    this.copyButton = button("copy", "Copy a link to exactly this state", "link", () => this.copy(), "Copy link");
    this.presentButton = button("present", "Presentation: large type, settings folded (P)", "present", () => this.present(), "Present");
    this.themeButton = button("theme", "Light or dark", isDark() ? "sun" : "moon", () => this.switchTheme());
    this.foldButton = button("fold", "Settings", "settings", () => this.fold(), "Settings");
    this.heading = h("p", { class: "ss-heading" });
    this.banner = h("div", { class: "ss-banner", role: "alert", hidden: true });
    const top = h("header", { class: "ss-top" }, this.foldButton, this.heading,
      h("div", { class: "ss-actions" }, this.copyButton, this.presentButton, this.themeButton));
    this.main = h("main", { class: "ss-main" }, top, this.chips.element, this.banner,
      this.timeline.element, this.detail.element);
    this.shade = h("div", { class: "ss-shade", onclick: () => this.fold(true) });
    const framed = window.parent !== window;
    this.root = h("div", { class: framed ? "ss-app ss-framed" : "ss-app" }, this.sidebar.element, this.shade, this.main);
    // A press with the mouse leaves no focus behind, so that space plays and arrows step.
    this.root.addEventListener("click", (event) => {
      const pressed = event.target.closest("button, input[type=radio]");
      if (event.detail > 0 && pressed) pressed.blur();
    });
    element.replaceChildren(this.root);
    this.fold(PHONE.matches);
    PHONE.addEventListener("change", () => this.fold(PHONE.matches));
  }

  fold(folded = !this.root.classList.contains("ss-folded")) {
    this.root.classList.toggle("ss-folded", folded);
    this.foldButton.setAttribute("aria-expanded", String(!folded));
    this.sidebar.element.inert = folded;
  }

  present(on = !this.root.classList.contains("ss-present")) {
    this.root.classList.toggle("ss-present", on);
    this.presentButton.setAttribute("aria-pressed", String(on));
    this.fold(on || PHONE.matches);
    this.view = { ...this.view, tall: on };
    this.timeline.laid = null;
    this.timeline.setView(this.view);
    this.detail.drawFrames();
  }

  #theme() {
    let kept = null;
    try {
      kept = window.localStorage.getItem(THEME_KEY);
    } catch {
      return; // Storage may be closed to framed pages; the system's choice holds then.
    }
    const asked = new URLSearchParams(window.location.search).get("__theme");
    if (kept && !asked) document.body.classList.toggle("dark", kept === "dark");
  }

  switchTheme() {
    const dark = !isDark();
    document.body.classList.toggle("dark", dark);
    try {
      window.localStorage.setItem(THEME_KEY, dark ? "dark" : "light");
    } catch {
      return;
    }
  }

  #watchTheme() {
    new MutationObserver(() => {
      this.themeButton.replaceChildren(icon(isDark() ? "sun" : "moon"));
      this.timeline.draw();
      this.detail.drawFrames();
    }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  }

  // ---- state ---------------------------------------------------------------------------------

  #open() {
    const linked = decode(window.location.search, this.schema.default, (key) => this.sidebar.isList(key));
    const view = decodeView(window.location.hash);
    if (X_AXES.includes(view.x)) this.view.x = view.x;
    if (Y_AXES.includes(view.y)) this.view.y = view.y;
    if (view.bars === "weight") this.view.bars = "weight";
    this.timeline.view = this.view;
    if (view.step) this.pendingStep = Number(view.step) - 1;
    this.spec = linked || structuredClone(this.schema.default);
    if (linked && !linked.cond) linked.cond = this.sidebar.model(linked.model).default_class;
    this.sidebar.show(this.spec);
    const now = { at: performance.now(), spec: this.spec, first: true };
    if (!linked && this.boot.schedule) {
      // The default view travels with the page: nothing to wait for.
      this.gotSchedule(this.boot.schedule, { ...now, still: Boolean(this.boot.film) });
      if (this.boot.film) this.gotFilm(this.boot.film, now);
    } else {
      this.schedules.send(this.spec, now);
    }
  }

  change(spec, event) {
    this.spec = spec;
    const at = event?.timeStamp || performance.now();
    this.schedules.send(spec, { at, spec });
    this.#address();
  }

  // A question about a run also says where to compute it.
  #placed(spec) {
    return { ...spec, device: this.sidebar.device };
  }

  #address() {
    if (this.addressTimer) return;
    this.addressTimer = setTimeout(() => {
      this.addressTimer = null;
      sync(this.spec, this.#viewState());
    }, ADDRESS_EVERY);
  }

  #viewState() {
    const { x, y, bars } = this.view;
    return {
      step: this.schedule ? this.cursor + 1 : null,
      x: x === "step" ? null : x,
      y: y === "rho" ? null : y,
      bars: bars === "spacing" ? null : bars,
    };
  }

  look(changes) {
    this.view = { ...this.view, ...changes };
    this.timeline.setView(this.view);
    this.#address();
  }

  // ---- answers -------------------------------------------------------------------------------

  gotSchedule(answer, meta) {
    if (!answer.ok) {
      this.#wrong(answer.errors || {});
      return;
    }
    this.#right(answer);
    const longer = !this.schedule || this.schedule.nfe !== answer.nfe;
    this.schedule = answer;
    if (longer) {
      const wanted = this.pendingStep ?? Math.round(this.place * (answer.nfe - 1));
      this.cursor = clamp(wanted, 0, answer.nfe - 1);
    }
    if (this.pendingStep !== undefined) {
      this.place = answer.nfe > 1 ? this.cursor / (answer.nfe - 1) : 0;
      this.pendingStep = undefined;
    }
    this.timeline.cursor = this.cursor;
    this.detail.cursor = this.cursor;
    this.timeline.view = this.view;
    if (meta.first) {
      this.timeline.setSchedule(answer);
      this.timeline.draw();
      this.timeline.setCursor(this.cursor);
    } else {
      this.timeline.setSchedule(answer);
    }
    this.detail.setSchedule(answer);
    this.sidebar.showInert(answer.inert);
    this.sidebar.showCalls(answer.steps, answer.nfe);
    this.chips.set(answer.chips);
    this.#head();
    this.#painted("curve", meta);
    if (this.running) {
      this.host.trigger("stop");
      this.#endRun();
    }
    if (meta.still) return;
    if (answer.live) {
      this.timeline.setNotice(null);
      this.films.send(meta.spec, meta);
      this.busyTimer ??= setTimeout(() => {
        this.chips.setExtra([{ id: "run", level: "info", text: "running" }]);
      }, SLOW);
    } else {
      this.films.drop();
      this.#tooLarge(answer);
    }
  }

  #idle() {
    clearTimeout(this.busyTimer);
    this.busyTimer = undefined;
  }

  async gotFilm(answer, meta) {
    this.#idle();
    if (!answer.ok) {
      this.#wrong(answer.errors || {});
      return;
    }
    const film = await decodeFilm(answer);
    // A newer film may have overtaken this one while it was decoded, or a live run begun.
    if (this.running || (this.filmAt !== undefined && meta.at < this.filmAt)) return;
    this.filmAt = meta.at;
    this.#showFilm(film);
    this.chips.setExtra(this.#runChips(film));
    this.#painted("film", meta);
  }

  #showFilm(film) {
    this.film = film;
    this.sample = Math.min(this.sample, film.samples - 1);
    this.timeline.sample = this.sample;
    this.timeline.setStale(!this.banner.hidden || film.length !== this.schedule?.nfe);
    if (film.length === this.schedule?.nfe) this.timeline.setNotice(null);
    this.timeline.setFilm(film);
    this.detail.sample = this.sample;
    this.detail.setFilm(film);
    this.root.dataset.film = film.key || "";
  }

  #runChips(film) {
    if (film.ms === null || film.ms === undefined) return [];
    const title = this.schema.devices.find((d) => d.id === film.device)?.title || film.device;
    return [{
      id: "run", level: "info", text: `run ${milliseconds(film.ms)} on ${title}`,
      title: film.cached ? "Computed before, and kept" : "Time of the last run",
    }];
  }

  #head() {
    const named = this.sidebar.nameOf(this.spec);
    const model = this.sidebar.model();
    const cond = model.classes.find((c) => c.id === this.spec.cond);
    const scheduler = named ? named.name : this.sidebar.scheduler().title;
    setText(this.heading, `${scheduler} · ${model.title}${cond && model.classes.length > 1 ? ` · ${cond.title}` : ""}`);
  }

  // Honest to the person: from the input event to the frame that shows its result.
  #painted(what, meta) {
    requestAnimationFrame(() => requestAnimationFrame(() => {
      const end = performance.now();
      performance.measure(`sigmascope:${what}`, { start: meta.at, end });
      if (meta.first) {
        if (what === "film") {
          this.timings.first = end;
          this.root.dataset.ready = "true";
        }
      } else this.timings[what].push(end - meta.at);
    }));
  }

  #wrong(errors) {
    const first = !this.schedule && this.boot.schedule;
    if (first) {
      // A link that cannot be used still opens on something: the default view, dimmed.
      const meta = { at: performance.now(), spec: this.schema.default, first: true, still: true };
      this.gotSchedule(this.boot.schedule, meta);
      if (this.boot.film) this.gotFilm(this.boot.film, meta);
    }
    const general = this.sidebar.showErrors(errors);
    this.timeline.setStale(true);
    this.sidebar.showCalls(null, null);
    const culprits = [...this.sidebar.controls.values()].filter((c) => errors[c.about.key]);
    this.banner.hidden = false;
    this.banner.replaceChildren(icon("warn"), h("div", {},
      ...general.map((message) => h("p", {}, message)),
      ...culprits.map((control) => h("p", {}, errors[control.about.key], " ", h("button", {
        type: "button", class: "ss-linkish",
        onclick: () => { this.fold(false); control.focus(); },
      }, `Go to ${control.about.label}`))),
      h("p", { class: "ss-note" }, first ? "Below is the default view instead." : "Below is the last setting that worked.")));
    this.root.dataset.ready = "true";
  }

  #right() {
    this.sidebar.showErrors({});
    this.banner.hidden = true;
    this.timeline.setStale(false);
  }

  lost() {
    this.timeline.setStale(true);
    this.banner.hidden = false;
    this.banner.replaceChildren(icon("warn"), h("div", {}, h("p", {}, LOST)));
  }

  lostFilm() {
    this.#idle();
    this.timeline.setStale(true);
    this.timeline.setNotice(h("div", { class: "ss-notice-box" }, h("p", {}, h("b", {}, "No film came back.")),
      h("p", {}, "The schedule above is right; the run failed on the server. Change a setting, or try again."),
      h("button", {
        type: "button", class: "ss-button", onclick: () => this.schedules.send(this.spec, { at: performance.now(), spec: this.spec }),
      }, "Try again")));
  }

  #tooLarge(answer) {
    const { samples } = this.spec;
    this.chips.setExtra([]);
    this.timeline.setStale(true);
    this.root.dataset.ready = "true";
    this.timeline.setNotice(h("div", { class: "ss-notice-box" },
      h("p", {}, h("b", {}, `${plural(answer.nfe, "model call")}${samples > 1 ? ` for ${samples} samples` : ""}`),
        " is too much to repeat at every touch."),
      h("p", {}, "The schedule above is live. Run it once to see the film."),
      h("button", { type: "button", class: "ss-primary", onclick: () => this.run() }, icon("play"), "Run live")));
  }

  // ---- run live ------------------------------------------------------------------------------

  run() {
    if (this.running || !this.schedule) return;
    this.player.stop();
    this.films.drop();
    const spec = structuredClone(this.spec);
    this.running = { id: Math.random().toString(36).slice(2), started: performance.now(), film: null, spec };
    this.root.dataset.running = "true";
    this.sidebar.showRunning(true);
    this.timeline.setStale(false);
    this.timeline.setNotice(null);
    if (PHONE.matches) this.fold(true);
    this.#progress(0, this.schedule.nfe);
    this.host.trigger("live", { spec: this.#placed(spec), id: this.running.id });
  }

  stop() {
    if (!this.running) return;
    this.host.trigger("stop", {});
    const at = this.running.film ? this.running.film.latest + 1 : 0;
    this.#endRun();
    this.chips.setExtra([{ id: "run", level: "info", text: `stopped after ${at} of ${this.schedule.nfe}` }]);
  }

  #endRun() {
    this.running = null;
    this.root.dataset.running = "false";
    this.sidebar.showRunning(false);
    this.progress?.remove();
    this.progress = null;
  }

  #progress(done, total) {
    if (!this.progress) {
      this.bar = h("progress", { max: total, value: done, "aria-label": "Progress of the run" });
      this.progressText = h("span", {});
      this.progress = h("div", { class: "ss-progress" }, this.bar, this.progressText,
        h("button", {
          type: "button", class: "ss-button", "data-action": "stop-run", onclick: () => this.stop(),
        }, icon("stop"), "Stop"));
      this.timeline.element.querySelector(".ss-card-head").after(this.progress);
    }
    this.bar.max = total;
    this.bar.value = done;
    setText(this.progressText, `${done} of ${plural(total, "model call")}`);
  }

  // Messages of the generator, one per model call (or a few, where they coalesce).
  async gotLive(message) {
    const { running } = this;
    if (!running || !message || message.id !== running.id) return;
    if (message.ok === false) {
      this.#endRun();
      this.#wrong(message.errors || {});
      return;
    }
    if (message.done && message.stopped) {
      this.#endRun();
      this.chips.setExtra([{ id: "run", level: "info", text: `run ${message.reason}` }]);
      return;
    }
    if (message.done) {
      await this.#finishRun(running, message);
      return;
    }
    if (!running.film) {
      running.film = new LiveFilm(this.sidebar.model(running.spec.model).kind, message.frames,
        running.spec.samples);
    }
    const { film } = running;
    await film.add(message);
    if (this.running !== running || message.index < film.latest) return;
    this.#progress(message.index + 1, message.frames);
    this.#frame(film, message.index);
  }

  // The whole film replaces the streamed frames, some of which may have been left out.
  async #finishRun(running, message) {
    let answer = null;
    try {
      answer = await this.host.server.film(this.#placed(running.spec));
    } catch {
      answer = null;
    }
    const film = answer?.ok ? await decodeFilm(answer) : running.film;
    if (this.running !== running) return;
    this.#endRun();
    if (!film) {
      this.lostFilm();
      return;
    }
    this.filmAt = performance.now();
    this.#showFilm(film);
    this.chips.setExtra(this.#runChips(film));
    this.select(this.schedule.nfe - 1, false);
    if (message.cached) {
      // Nothing was left to compute: show the film from its start instead.
      this.select(0, false);
      this.play();
    }
  }

  // At most one repaint per displayed frame, however fast the steps come.
  #frame(film, index) {
    this.liveIndex = index;
    if (this.liveQueued) return;
    this.liveQueued = true;
    requestAnimationFrame(() => {
      this.liveQueued = false;
      if (this.running?.film !== film) return;
      if (this.film !== film) this.#showFilm(film);
      else this.timeline.drawStrips();
      this.select(this.liveIndex, false);
    });
  }

  // ---- cursor --------------------------------------------------------------------------------

  select(index, byHand) {
    if (!this.schedule) return;
    if (byHand) this.player.stop();
    const last = this.schedule.nfe - 1;
    this.cursor = clamp(index, 0, last);
    this.place = last ? this.cursor / last : 0;
    this.timeline.setCursor(this.cursor);
    this.detail.setCursor(this.cursor);
    if (!this.player.playing) this.#address();
  }

  advance(by) {
    const last = this.schedule.nfe - 1;
    this.select(Math.min(last, this.cursor + by), false);
    return this.cursor < last;
  }

  play() {
    if (!this.schedule) return;
    if (!this.player.playing && this.cursor >= this.schedule.nfe - 1) this.select(0, false);
    this.player.toggle(this.schedule.nfe);
    if (!this.player.playing) this.#address();
  }

  pick(sample) {
    this.sample = sample;
    this.timeline.setSample(sample);
    this.timeline.drawOverlay();
    this.detail.setSample(sample);
  }

  #keys() {
    document.addEventListener("keydown", (event) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      const { target } = event;
      const tag = target.tagName;
      const scrubs = target.classList?.contains("ss-scrubber");
      if (!scrubs && (tag === "INPUT" || tag === "SELECT" || tag === "TEXTAREA" || target.isContentEditable)) return;
      const pressable = tag === "BUTTON" || tag === "SUMMARY" || tag === "A";
      if (pressable && (event.key === " " || event.key === "Enter")) return;
      const stride = event.shiftKey ? 10 : 1;
      const act = {
        ArrowRight: () => this.select(this.cursor + stride, true),
        ArrowLeft: () => this.select(this.cursor - stride, true),
        Home: () => this.select(0, true),
        End: () => this.select(Infinity, true),
        " ": () => this.play(),
        p: () => this.present(),
        Escape: () => {
          if (this.root.classList.contains("ss-present")) this.present(false);
          this.chips.close();
        },
      }[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    });
  }

  async copy() {
    sync(this.spec, this.#viewState());
    const address = window.location.href;
    let done = true;
    try {
      await navigator.clipboard.writeText(address);
    } catch {
      done = false;
    }
    this.copyButton.replaceChildren(icon(done ? "check" : "link"),
      h("span", {}, done ? "Copied" : "Link is in the address bar"));
    clearTimeout(this.copyTimer);
    this.copyTimer = setTimeout(() => {
      this.copyButton.replaceChildren(icon("link"), h("span", {}, "Copy link"));
    }, 2000);
  }
}

let current = null;

// Called by the page component's js_on_load.
export function mount(element, props, server, trigger) {
  const holder = element.querySelector("[data-sigmascope]") || element;
  current = new Explore(holder, JSON.parse(props.boot), { server, trigger });
}

// Called by the stream component for each message of a live run.
export function receive(message) {
  if (current && message) current.gotLive(typeof message === "string" ? JSON.parse(message) : message);
}
