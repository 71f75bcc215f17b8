// The page: one spec object is all state that is computed from; the views only show.
//
//   input -> spec -> address bar
//                 -> schedule request (latest wins) -> chart, chips, words   (curve painted)
//                 -> film request (latest wins)     -> strips, frames        (film painted)

import { quirkChip } from "./about.js";
import { Chips } from "./chips.js";
import { isDark } from "./colour.js";
import { Detail } from "./detail.js";
import { clamp, h, setText } from "./dom.js";
import { LiveFilm, decodeFilm } from "./film.js";
import { milliseconds, plural } from "./format.js";
import { icon } from "./icons.js";
import { decode, decodeView, mended, sync, unknown } from "./link.js";
import { Player } from "./player.js";
import { everyCall, QUANTITIES, X_AXES, Y_AXES } from "./quantities.js";
import { Latest } from "./requests.js";
import { Sidebar } from "./sidebar.js";
import { Timeline } from "./timeline.js";

const PHONE = window.matchMedia("(max-width: 860px)");
const THEME_KEY = "sigmascope-theme";
const SLOW = 300; // ms after which a run is said to be under way
const ADDRESS_EVERY = 250; // ms: browsers limit how often the address may change
const INSTEAD = "Below is the default view instead.";
const SILENCE = 4000; // ms without a word of a run after which the server is asked
const LOST = "The server did not answer. It may be restarting.";
const PLACE = 0.72; // where the cursor stands in a first view
const VIEW = { x: "step", y: "rho", bars: "spacing", log: {}, tall: false };
const INVALID = "A setting is not valid: mend it first";
const COPY = "Copy a link to exactly this state";

class Explore {
  // host: {server, trigger}
  constructor(element, boot, host) {
    this.boot = boot;
    this.host = host;
    this.schema = boot.schema;
    this.view = { ...VIEW };
    this.place = PLACE; // where the cursor stands in the run, kept when the length changes
    this.refused = {}; // what a server answer says is wrong, by control
    this.unread = new Map(); // what was typed and cannot be read, by control
    this.limit = Infinity; // the last computed step of a run that was stopped
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
      reset: () => this.resetView(),
      refused: (key, message) => {
        if (message) this.unread.set(key, message);
        else this.unread.delete(key);
        this.#judge();
      },
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
    this.chips = new Chips((changes, event) => this.sidebar.apply(changes, event),
      (name) => this.sidebar.setting(name));
    this.schedules = new Latest((spec) => host.server.schedule(spec),
      (answer, meta) => this.gotSchedule(answer, meta), () => this.lost());
    this.films = new Latest((spec) => host.server.film(this.#placed(spec)),
      (answer, meta) => this.gotFilm(answer, meta), () => this.lostFilm());

    this.#theme();
    this.#build(element);
    this.#keys();
    // A link to another view of the run that is shown: the browser alone would stay where it is.
    window.addEventListener("hashchange", () => window.location.reload());
    this.#watchTheme();
    this.#open();
  }

  // ---- frame ---------------------------------------------------------------------------------

  #build(element) {
    const button = (name, title, glyph, act, text = null) => h("button", {
      type: "button", class: "ss-quiet", "data-action": name, title,
      "aria-label": text ? null : title, onclick: act,
    }, icon(glyph), text ? h("span", {}, text) : null);
    this.copyButton = button("copy", COPY, "link", () => this.copy(), "Copy link");
    this.presentButton = button("present", "Presentation: large type, settings folded (P)", "present", () => this.present(), "Present");
    this.themeButton = button("theme", "Light or dark", isDark() ? "sun" : "moon", () => this.switchTheme());
    this.foldButton = button("fold", "Settings", "settings", () => this.fold(), "Settings");
    this.heading = h("p", { class: "ss-heading" });
    this.banner = h("div", { class: "ss-banner", role: "alert", hidden: true });
    this.progressPlace = h("div", { class: "ss-progress", hidden: true });
    const top = h("header", { class: "ss-top" }, this.foldButton, this.heading, this.progressPlace,
      h("div", { class: "ss-actions" }, this.copyButton, this.presentButton, this.themeButton));
    this.main = h("main", { class: "ss-main" }, top, this.chips.element, this.banner,
      this.timeline.element, this.detail.element);
    this.shade = h("div", { class: "ss-shade", onclick: () => this.fold(true) });
    const framed = window.parent !== window;
    const skip = h("a", {
      class: "ss-skip", href: "#chart",
      onclick: (event) => {
        event.preventDefault();
        this.timeline.element.focus();
        this.timeline.element.scrollIntoView({ block: "start" });
      },
    }, "To the chart");
    this.timeline.element.tabIndex = -1;
    this.root = h("div", { class: framed ? "ss-app ss-framed" : "ss-app" }, skip,
      this.sidebar.element, this.shade, this.main);
    // A press with the mouse leaves no focus behind, so that space plays and arrows step.
    this.root.addEventListener("click", (event) => {
      const pressed = event.target.closest("button, input[type=radio]");
      if (event.detail > 0 && pressed) pressed.blur();
    });
    this.root.addEventListener("pointerdown", (event) => {
      if (!this.chips.element.contains(event.target)) this.chips.close();
    });
    element.replaceChildren(this.root);
    const settle = () => {
      // On a phone Run live and the seed stay in sight while the settings are folded away.
      (PHONE.matches ? this.root : this.sidebar.element).append(this.sidebar.foot);
      if (PHONE.matches && this.root.classList.contains("ss-present")) this.present(false);
      this.fold(PHONE.matches);
    };
    settle();
    PHONE.addEventListener("change", settle);
  }

  fold(folded = !this.root.classList.contains("ss-folded")) {
    this.root.classList.toggle("ss-folded", folded);
    this.foldButton.setAttribute("aria-expanded", String(!folded));
    this.sidebar.element.inert = folded;
  }

  present(on = !this.root.classList.contains("ss-present")) {
    if (on && PHONE.matches) return; // There is nothing to be read from a last row.
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
    this.view.log = readLog(view.log);
    this.timeline.zoom = readZoom(view.zoom);
    if (/^\d{1,2}$/.test(view.sample ?? "")) this.sample = Math.max(0, Number(view.sample) - 1);
    this.timeline.view = this.view;
    if (view.step) this.pendingStep = Number(view.step) - 1;
    this.spec = linked || structuredClone(this.schema.default);
    this.linkNotes = unknown(window.location.search, window.location.hash);
    for (const [name, names] of [["x", X_AXES], ["y", Y_AXES]]) {
      if (view[name] && !names.includes(view[name])) {
        this.linkNotes.push(`“${view[name]}” is no quantity for the axis ${name}: ${names.join(", ")}.`);
      }
    }
    this.chips.setLink(this.linkNotes);
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
    this.linkNotes = [];
    this.chips.setLink([]);
    const at = event?.timeStamp || performance.now();
    this.schedules.send(spec, { at, spec });
  }

  // How the page looks at a run goes back to the first view, too.
  resetView() {
    this.view = { ...VIEW, tall: this.view.tall };
    this.timeline.zoom.clear();
    this.pick(0);
    this.place = PLACE;
    this.anew = true;
    this.look({});
  }

  // A question about a run also says where to compute it.
  #placed(spec) {
    return { ...spec, device: this.sidebar.device };
  }

  #address() {
    if (this.addressTimer) return;
    this.addressTimer = setTimeout(() => {
      this.addressTimer = null;
      sync(this.good ?? this.spec, this.#viewState());
    }, ADDRESS_EVERY);
  }

  #viewState() {
    const { x, y, bars } = this.view;
    return {
      step: this.schedule ? this.cursor + 1 : null,
      x: x === "step" ? null : x,
      y: y === "rho" ? null : y,
      bars: bars === "spacing" ? null : bars,
      log: writeLog(this.view.log),
      sample: this.sample ? this.sample + 1 : null,
      zoom: writeZoom(this.timeline.zoom),
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
      if (!this.#mendLink(answer.errors || {}, meta)) this.#wrong(answer.errors || {});
      return;
    }
    this.refused = {};
    this.good = meta.spec;
    this.limit = Infinity;
    this.sidebar.showErrors({});
    this.#judge();
    if (!meta.first) this.#address();
    const longer = this.anew || !this.schedule || this.schedule.nfe !== answer.nfe;
    answer = everyCall(answer);
    this.schedule = answer;
    this.anew = false;
    if (longer) {
      if (!answer.ahead && (this.pendingStep >= answer.nfe || this.pendingStep < 0)) {
        this.linkNotes.push(`“step=${this.pendingStep + 1}”: this run has 1 to ${answer.nfe}.`);
        this.chips.setLink([...this.linkNotes]);
      }
      const wanted = this.pendingStep ?? Math.round(this.place * (answer.nfe - 1));
      this.cursor = clamp(wanted, 0, answer.nfe - 1);
    }
    // A run whose error decides its steps tells how many there are when it was made.
    if (this.pendingStep !== undefined && !answer.ahead) {
      this.place = answer.nfe > 1 ? this.cursor / (answer.nfe - 1) : 0;
      this.pendingStep = undefined;
    }
    this.timeline.cursor = this.cursor;
    this.detail.cursor = this.cursor;
    this.timeline.view = this.view;
    this.timeline.setSchedule(answer);
    if (meta.first) {
      this.timeline.draw();
      this.timeline.setCursor(this.cursor);
    }
    this.detail.setSchedule(answer);
    this.sidebar.showInert(answer.inert);
    this.sidebar.showCalls(answer.steps, answer.nfe);
    this.chips.set([...answer.chips,
      ...quirkChip(this.sidebar.scheduler(answer.spec.scheduler), answer.quirks)]);
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
        this.setStale(true);
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
    if (answer.schedule) this.gotSchedule(answer.schedule, { ...meta, still: true });
    this.#showFilm(film);
    this.chips.setExtra(this.#runChips(film));
    this.#painted("film", meta);
  }

  #showFilm(film) {
    this.film = film;
    this.sample = Math.min(this.sample, film.samples - 1);
    this.timeline.sample = this.sample;
    this.setStale(!this.banner.hidden || film.length !== this.schedule?.nfe);
    if (film.length === this.schedule?.nfe) this.timeline.setNotice(null);
    this.timeline.setFilm(film);
    this.detail.sample = this.sample;
    this.detail.setFilm(film);
    this.root.dataset.film = film.key || "";
  }

  #runChips(film) {
    if (film.ms === null || film.ms === undefined) return [];
    const { devices } = this.schema;
    const title = devices.find((d) => d.id === film.device)?.title || film.device;
    return [{
      id: "run", level: "info", text: `run ${milliseconds(film.ms)}${devices.length > 1 ? ` on ${title}` : ""}`,
      title: film.cached ? "Computed before, and kept" : "Time of the last run",
    }];
  }

  #head() {
    const named = this.sidebar.nameOf(this.spec);
    const model = this.sidebar.model();
    const cond = model.classes.find((c) => c.id === this.spec.cond);
    const scheduler = named ? named.name : this.sidebar.scheduler().title;
    setText(this.heading, `${scheduler} · ${model.title}${cond && model.classes.length > 1 ? ` · ${cond.title}` : ""}`);
    this.heading.title = this.heading.textContent;
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

  // What a link asks for and cannot have is left out and told; the rest of the link holds.
  #mendLink(errors, meta) {
    const next = meta.first && !this.schedule ? mended(meta.spec, errors, this.schema.default) : null;
    if (!next) return false;
    this.linkNotes = [...this.linkNotes, ...new Set(Object.values(errors))];
    this.chips.setLink(this.linkNotes);
    if (!next.cond) next.cond = this.sidebar.model(next.model).default_class;
    this.spec = next;
    this.sidebar.show(next);
    this.schedules.send(next, { ...meta, spec: next });
    return true;
  }

  #wrong(errors) {
    this.instead = this.#standIn() ? INSTEAD : null;
    this.refused = errors;
    this.sidebar.showErrors(errors);
    this.sidebar.showCalls(null, null);
    this.#judge();
    this.root.dataset.ready = "true";
  }

  // A link that cannot be shown still opens on something: the default view, dimmed.
  #standIn() {
    if (this.schedule || !this.boot.schedule) return false;
    const meta = { at: performance.now(), spec: this.schema.default, first: true, still: true };
    this.gotSchedule(this.boot.schedule, meta);
    if (this.boot.film) this.gotFilm(this.boot.film, meta);
    return true;
  }

  // One place says what is wrong now: what the server refused and what could not be read. While
  // anything is, there is nothing to link to and nothing to run.
  #judge() {
    const wrong = new Map([...Object.entries(this.refused), ...this.unread]);
    const invalid = wrong.size > 0;
    if (!invalid) this.instead = null;
    const lines = [...wrong].map(([key, message]) => {
      const control = this.sidebar.controls.get(key);
      return h("p", {}, message, control ? " " : null, control ? h("button", {
        type: "button", class: "ss-linkish",
        onclick: () => { this.fold(false); control.focus(); },
      }, `Go to ${control.about.label}`) : null);
    });
    this.#announce(invalid ? [...lines,
      h("p", { class: "ss-note" }, this.instead ?? "Below is the last setting that worked.")] : null);
    this.copyButton.disabled = invalid;
    this.copyButton.title = invalid ? INVALID : COPY;
    this.sidebar.setReady(invalid ? INVALID : null);
  }

  // The banner above the chart; what is below it is old while it stands there.
  #announce(content) {
    this.banner.hidden = !content;
    this.banner.replaceChildren(...(content ? [icon("warn"), h("div", {}, ...content)] : []));
    this.setStale(Boolean(content));
  }

  // The film on screen belongs to settings that no longer hold.
  setStale(stale) {
    this.root.classList.toggle("ss-stale", stale);
    this.timeline.setStale(stale);
    this.detail.setStale(stale);
  }

  #again() {
    return h("button", {
      type: "button", class: "ss-button", "data-action": "again",
      onclick: () => this.schedules.send(this.spec, { at: performance.now(), spec: this.spec }),
    }, "Try again");
  }

  lost() {
    const note = this.#standIn() ? h("p", { class: "ss-note" }, INSTEAD) : null;
    this.#announce([h("p", {}, LOST), ...(note ? [note] : []), h("p", {}, this.#again())]);
    this.root.dataset.ready = "true";
  }

  lostFilm() {
    this.#idle();
    this.setStale(true);
    this.timeline.setNotice(h("div", { class: "ss-notice-box" }, h("p", {}, h("b", {}, "No film came back.")),
      h("p", {}, "The schedule above is right; the run failed on the server. Change a setting, or try again."),
      this.#again()));
  }

  #tooLarge(answer) {
    const { samples } = this.spec;
    this.chips.setExtra([]);
    this.setStale(true);
    this.root.dataset.ready = "true";
    this.timeline.setNotice(h("div", { class: "ss-notice-box" },
      h("p", {}, h("b", {}, `${plural(answer.nfe, "model call")}${samples > 1 ? ` for ${samples} samples` : ""}`),
        " is too much to repeat at every touch."),
      h("p", {}, "The schedule above is live. Run it once to see the film."),
      h("button", { type: "button", class: "ss-primary", onclick: () => this.run() }, icon("play"), "Run live")));
  }

  // ---- run live ------------------------------------------------------------------------------

  run() {
    if (this.running || !this.schedule || !this.banner.hidden) return;
    this.player.stop();
    this.films.drop();
    const spec = structuredClone(this.spec);
    this.running = { id: Math.random().toString(36).slice(2), started: performance.now(), film: null, spec };
    this.root.dataset.running = "true";
    this.sidebar.showRunning(true);
    this.film = null;
    this.limit = Infinity;
    this.timeline.kind = this.sidebar.model(spec.model).kind;
    this.timeline.setFilm(null);
    this.detail.setFilm(null);
    this.setStale(false);
    this.timeline.setNotice(null);
    if (PHONE.matches) this.fold(true);
    this.#progress(0, this.schedule.nfe);
    this.host.trigger("live", { spec: this.#placed(spec), id: this.running.id });
    this.#listen(this.running);
  }

  // A run that falls silent may be waiting for its turn, or its server is gone: a question tells.
  #listen(running) {
    running.heard = performance.now();
    running.listener = setInterval(async () => {
      if (performance.now() - running.heard < SILENCE) return;
      running.heard = performance.now();
      const answer = await this.host.server.schedule(running.spec).catch(() => null);
      if (answer || this.running !== running) return;
      this.#keep(running.film);
      this.#endRun();
      this.lost();
    }, SILENCE / 4);
  }

  stop() {
    if (!this.running) return;
    this.host.trigger("stop", {});
    const at = this.running.film ? this.running.film.latest + 1 : 0;
    this.#keep(this.running.film);
    this.#endRun();
    this.chips.setExtra([{ id: "run", level: "info", text: `stopped after ${at} of ${this.schedule.nfe}` }]);
  }

  // What came before a run was stopped stays to be looked at.
  #keep(film) {
    if (!film || film.latest < 0) return;
    this.limit = film.latest;
    this.filmAt = performance.now();
    this.#showFilm(film);
    this.select(Math.min(this.cursor, this.limit), false);
  }

  #endRun() {
    clearInterval(this.running?.listener);
    this.running = null;
    this.root.dataset.running = "false";
    this.sidebar.showRunning(false);
    this.progressPlace.hidden = true;
  }

  #progress(done, total) {
    if (!this.progress) {
      this.bar = h("progress", { max: total, value: done, "aria-label": "Progress of the run" });
      this.progressText = h("span", {});
      this.progressPlace.replaceChildren(this.bar, this.progressText, h("button", {
        type: "button", class: "ss-button", "data-action": "stop-run", onclick: () => this.stop(),
      }, icon("stop"), "Stop"));
      this.progress = this.progressPlace;
    }
    this.progressPlace.hidden = false;
    this.bar.max = total;
    this.bar.value = done;
    setText(this.progressText, `${done} of ${plural(total, "model call")}`);
  }

  // Messages of the generator, one per model call (or a few, where they coalesce).
  async gotLive(message) {
    const { running } = this;
    if (!running || !message || message.id !== running.id) return;
    running.heard = performance.now();
    if (message.ok === false) {
      this.#endRun();
      this.#wrong(message.errors || {});
      return;
    }
    if (message.done && message.stopped) {
      this.#keep(running.film);
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
    if (answer?.schedule) {
      this.gotSchedule(answer.schedule, { at: this.filmAt, spec: running.spec, still: true });
    }
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
    this.cursor = clamp(index, 0, this.#end());
    this.place = last ? this.cursor / last : 0;
    this.timeline.setCursor(this.cursor);
    this.detail.setCursor(this.cursor);
    if (!this.player.playing) this.#address();
  }

  // The last step that can be shown.
  #end() {
    const computed = this.running?.film ? this.running.film.latest : this.limit;
    return Math.min(this.schedule.nfe - 1, computed);
  }

  advance(by) {
    const last = this.#end();
    this.select(Math.min(last, this.cursor + by), false);
    return this.cursor < last;
  }

  play() {
    if (!this.schedule) return;
    if (!this.player.playing && this.cursor >= this.#end()) this.select(0, false);
    this.player.toggle(this.schedule.nfe);
    if (!this.player.playing) this.#address();
  }

  pick(sample) {
    this.sample = sample;
    this.timeline.setSample(sample);
    this.timeline.drawOverlay();
    this.detail.setSample(sample);
    this.#address();
  }

  #keys() {
    document.addEventListener("keydown", (event) => {
      if (document.querySelector("dialog[open]")) return;
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
    sync(this.good ?? this.spec, this.#viewState());
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

// The view's parts as text for the link: log=rho:0, zoom=step:2:9,y!rho:0.1:4 ("!" for ":" in a
// name). What does not name a quantity and numbers is left out.

function writeLog(log) {
  const changed = Object.entries(log).filter(([name, on]) => on !== QUANTITIES[name].log);
  return changed.length ? changed.map(([name, on]) => `${name}:${on ? 1 : 0}`).join(",") : null;
}

function readLog(text) {
  const pairs = (text || "").split(",").map((part) => part.split(":"));
  return Object.fromEntries(pairs
    .filter(([name, on]) => Object.hasOwn(QUANTITIES, name) && (on === "0" || on === "1"))
    .map(([name, on]) => [name, on === "1"]));
}

function writeZoom(zoom) {
  const parts = [...zoom].map(([key, [low, high]]) => `${key.replace(":", "!")}:${Number(low.toPrecision(6))}:${Number(high.toPrecision(6))}`);
  return parts.length ? parts.join(",") : null;
}

function readZoom(text) {
  const zoom = new Map();
  for (const part of (text || "").split(",")) {
    const [name, ...ends] = part.split(":");
    const [low, high] = ends.map(Number);
    const [way, quantity] = name.split("!");
    const axes = { x: X_AXES, y: Y_AXES }[way];
    const known = name === "step" ? low >= 0 && Number.isInteger(low) && Number.isInteger(high)
      : axes?.includes(quantity);
    if (known && ends.length === 2 && Number.isFinite(low) && low < high) zoom.set(name.replace("!", ":"), [low, high]);
  }
  return zoom;
}

// What many schedulers list is written once in the schema, and listed by position.
function unpacked(schema) {
  for (const scheduler of schema.schedulers) {
    for (const key of schema.packed) scheduler[key] = scheduler[key].map((k) => schema.shared[k]);
  }
  return schema;
}

let current = null;

// Called by the page component's js_on_load.
export function mount(element, props, server, trigger) {
  const holder = element.querySelector("[data-sigmascope]") || element;
  const boot = JSON.parse(props.boot);
  unpacked(boot.schema);
  current = new Explore(holder, boot, { server, trigger });
}

// Called by the stream component for each message of a live run.
export function receive(message) {
  if (current && message) current.gotLive(typeof message === "string" ? JSON.parse(message) : message);
}
