// The chart is the timeline: schedule, spacing bars and both film strips share one horizontal
// axis, column by column, and one cursor goes through all of them.

import { clamp, fit, h, setText } from "./dom.js";
import { SHARE, fmt, level } from "./format.js";
import { palette, ramp } from "./colour.js";
import { icon } from "./icons.js";
import { QUANTITIES, X_AXES, Y_AXES, extent, read, scale, trainingCurve } from "./quantities.js";

const DRAG = 6; // pixels before a press becomes a drag

function segmented(name, values, title, chosen) {
  const buttons = new Map();
  const group = h("div", { class: "ss-segment", role: "radiogroup", "aria-label": title });
  for (const value of values) {
    const { label, title: tip } = typeof value === "string" ? QUANTITIES[value] : value;
    const id = typeof value === "string" ? value : value.id;
    const input = h("input", {
      type: "radio", name, value: id, "aria-label": label, onchange: () => chosen(id),
    });
    buttons.set(id, input);
    group.append(h("label", { title: tip }, input, h("span", {}, label)));
  }
  return { group, show: (id) => { buttons.get(id).checked = true; } };
}

export class Timeline {
  // actions: select(index), view(changes), run()
  constructor(view, actions) {
    this.view = view;
    this.actions = actions;
    this.schedule = null;
    this.film = null;
    this.cursor = 0;
    this.hover = null;
    this.zoom = new Map();
    this.sample = 0;
    this.#build();
    // In a presentation the chart takes what height the card is given.
    const observer = new ResizeObserver(() => this.resize());
    observer.observe(this.scroller);
    observer.observe(this.element);
  }

  #build() {
    this.xPick = segmented("ss-x", X_AXES, "Horizontal axis", (x) => this.actions.view({ x }));
    this.yPick = segmented("ss-y", Y_AXES, "Vertical axis", (y) => this.actions.view({ y }));
    this.logButton = h("button", {
      type: "button", class: "ss-toggle", "aria-pressed": "false", "data-action": "log",
      title: "Logarithmic vertical axis",
      onclick: () => this.actions.view({ log: { ...this.view.log, [this.view.y]: !this.isLog(this.view.y) } }),
    }, "log");
    this.zoomButton = h("button", {
      type: "button", class: "ss-toggle", "data-action": "zoom-out", title: "Show everything again",
      hidden: true, onclick: () => this.resetZoom(),
    }, icon("zoomout"), "Zoom out");
    this.title = h("h2", {}, "Noise level of every step");
    this.legend = h("p", { class: "ss-note", hidden: true }, "dashed: tried and rejected");
    const header = h("header", { class: "ss-card-head" }, this.title, this.legend,
      h("div", { class: "ss-tools" },
        this.zoomButton,
        h("div", { class: "ss-axis" }, h("span", { class: "ss-axis-name" }, "across"), this.xPick.group),
        h("div", { class: "ss-axis" },
          h("span", { class: "ss-axis-name" }, "up"), this.yPick.group, this.logButton)));

    this.ticks = h("canvas", { class: "ss-ticks" });
    this.barsButton = h("button", {
      type: "button", class: "ss-rowname ss-rowname-button", "data-action": "bars",
      onclick: () => this.actions.view({ bars: this.view.bars === "weight" ? "spacing" : "weight" }),
    });
    this.names = {
      bars: this.barsButton,
      prev: h("span", { class: "ss-rowname", title: "The sample after each step" }, "prev_", h("wbr"), "sample"),
      x0: h("span", { class: "ss-rowname", title: "The clean sample the model predicts at each step (pred_original_sample)" }, "pred_", h("wbr"), "x0"),
    };
    this.gutter = h("div", { class: "ss-gutter" }, this.ticks, ...Object.values(this.names));
    this.canvases = {
      chart: h("canvas", {
        class: "ss-chart", "data-row": "chart", role: "img", "aria-label": "Noise level of every step",
      }),
      bars: h("canvas", { "data-row": "bars", role: "img", "aria-label": "Spacing of the steps" }),
      prev: h("canvas", { "data-row": "prev", role: "img", "aria-label": "Film of prev_sample" }),
      x0: h("canvas", { "data-row": "x0", role: "img", "aria-label": "Film of pred_x0" }),
    };
    this.overlay = h("canvas", { class: "ss-overlay" });
    this.track = h("div", { class: "ss-track" }, ...Object.values(this.canvases), this.overlay);
    this.scroller = h("div", { class: "ss-scroller" }, this.track);
    this.tip = h("div", { class: "ss-tip", role: "status", hidden: true });
    this.notice = h("div", { class: "ss-notice", hidden: true });
    this.body = h("div", { class: "ss-timeline" }, this.gutter, this.scroller, this.notice, this.tip);
    this.summary = h("p", { class: "ss-hidden", "aria-live": "polite" });
    this.element = h("section", {
      class: "ss-card ss-timeline-card", "aria-label": "Schedule and film, column by column",
    }, header, this.body, this.summary);
    this.#listen();
  }

  // ---- state ---------------------------------------------------------------------------------

  isLog(name) {
    if (QUANTITIES[name].signed) return false;
    return this.view.log?.[name] ?? QUANTITIES[name].log;
  }

  setView(view) {
    this.view = view;
    this.draw();
  }

  setSchedule(schedule) {
    this.schedule = schedule;
    this.curve = trainingCurve(schedule);
    this.cursor = clamp(this.cursor, 0, schedule.nfe - 1);
    this.#clampZoom();
    this.layout();
    this.drawChart();
    this.drawBars();
    this.drawOverlay();
    const { rho, accepted } = schedule.columns;
    this.legend.hidden = accepted.every(Boolean);
    setText(this.summary, `${schedule.steps} steps, ${schedule.nfe} model calls, noise level from `
      + `${level(rho[0])} to ${level(rho[rho.length - 1])}.`);
  }

  setFilm(film) {
    this.film = film;
    if (film) this.kind = film.kind;
    this.layout();
    this.drawStrips();
    this.drawOverlay();
  }

  setSample(sample) {
    this.sample = sample;
    this.drawStrips();
  }

  setCursor(index, follow = true) {
    this.cursor = index;
    this.drawOverlay();
    if (follow) this.#reveal();
  }

  setNotice(content) {
    this.notice.hidden = !content;
    this.notice.replaceChildren(...(content ? [content].flat() : []));
    this.#placeNotice();
  }

  setStale(stale) {
    if (this.stale === stale) return;
    this.stale = stale;
    this.drawOverlay();
  }

  // ---- geometry ------------------------------------------------------------------------------

  get count() {
    return this.schedule ? this.schedule.nfe : 0;
  }

  layout() {
    const wide = this.scroller.clientWidth || 600;
    this.colours = palette(this.element);
    const u = this.colours.unit;
    const n = Math.max(1, this.count);
    const phone = wide < 560;
    const width = phone ? Math.max(wide, Math.min(n, 60) * 34 * u) : wide;
    this.width = width;
    const { kind } = this;
    this.tile = this.#tileSize();
    const row = kind === "line" ? 96 * u : this.tile + 8;
    const rows = { chart: phone ? 190 : 250, bars: 44 * u, prev: row, x0: row };
    if (this.view.tall && !phone) {
      rows.chart = Math.max(130, this.#room() - rows.bars - 2 * row);
    }
    const key = [width, ...Object.values(rows)].join();
    if (key !== this.laid) {
      this.laid = key;
      this.track.style.width = `${width}px`;
      for (const [name, height] of Object.entries(rows)) {
        if (name !== "chart") this.names[name].style.height = `${height}px`;
        this.canvases[name].style.height = `${height}px`;
        this.canvases[name].style.width = `${width}px`;
      }
      this.ticks.style.height = `${rows.chart}px`;
    }
    this.rows = rows;
    this.tops = { chart: 0, bars: rows.chart, prev: rows.chart + rows.bars, x0: rows.chart + rows.bars + row };
    this.height = rows.chart + rows.bars + 2 * row;
    this.plot = { top: 12, bottom: rows.chart - 24 * u };
    this.#placeNotice();
  }

  // The height that the card leaves for the columns.
  #room() {
    const style = getComputedStyle(this.element);
    const head = this.element.querySelector(".ss-card-head");
    return this.element.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom)
      - head.offsetHeight - parseFloat(getComputedStyle(head).marginBottom);
  }

  #placeNotice() {
    if (!this.rows || this.notice.hidden) return;
    this.notice.style.top = `${this.tops.prev}px`;
    this.notice.style.height = `${this.rows.prev + this.rows.x0}px`;
  }

  resize() {
    if (!this.schedule) return;
    const size = `${this.scroller.clientWidth} ${this.view.tall ? this.element.clientHeight : ""}`;
    if (size === this.size) return;
    this.size = size;
    this.laid = null;
    this.draw();
  }

  draw() {
    if (!this.schedule) return;
    this.xPick.show(this.view.x);
    this.yPick.show(this.view.y);
    this.logButton.disabled = Boolean(QUANTITIES[this.view.y].signed);
    this.logButton.setAttribute("aria-pressed", String(this.isLog(this.view.y)));
    const { x, y } = this.view;
    // One column a call, which is a step only where no step has more of them.
    const { steps, nfe } = this.schedule;
    const over = x === "step" && steps !== nfe ? "of every call" : QUANTITIES[x].over;
    const title = `${QUANTITIES[y].name} ${over ?? `over ${QUANTITIES[x].label}`}`;
    setText(this.title, title);
    this.canvases.chart.setAttribute("aria-label", title);
    this.layout();
    this.drawChart();
    this.drawBars();
    this.drawStrips();
    this.drawOverlay();
  }

  // The visible range of columns, in column edges; all rows follow it.
  #range() {
    const zoom = this.zoom.get("step");
    return zoom || [0, this.count];
  }

  centre(i) {
    const [a, b] = this.#range();
    return ((i + 0.5 - a) / (b - a)) * this.width;
  }

  columnWidth() {
    const [a, b] = this.#range();
    return this.width / (b - a);
  }

  columnAt(x) {
    const [a, b] = this.#range();
    return clamp(Math.floor(a + (x / this.width) * (b - a)), 0, this.count - 1);
  }

  #clampZoom() {
    const zoom = this.zoom.get("step");
    if (zoom && zoom[0] >= this.count - 1) this.zoom.delete("step");
    else if (zoom && zoom[1] > this.count) zoom[1] = this.count;
    this.zoomButton.hidden = this.zoom.size === 0;
  }

  #axes() {
    const { columns } = this.schedule;
    const { x, y } = this.view;
    const log = { x: x !== "step" && this.isLog(x), y: this.isLog(y) };
    const curve = x !== "step" && this.curve && this.curve[x] && this.curve[y] ? this.curve : null;
    const values = (name) => Array.from({ length: this.count }, (_, i) => read(columns, name, i));
    const xs = values(x);
    const ys = values(y);
    const yAll = extent(curve ? [ys, curve[y]] : [ys], log.y, 0.07);
    const xAll = x === "step" ? null : extent(curve ? [xs, curve[x]] : [xs], log.x, 0.03);
    const domain = {
      x: x === "step" ? null : this.zoom.get(`x:${x}`) || xAll,
      y: this.zoom.get(`y:${y}`) || yAll,
    };
    // Noise falls from left to right on every axis, as it does along the run.
    const flip = x === "t" || x === "rho";
    const { top, bottom } = this.plot;
    const sy = domain.y ? scale(domain.y, log.y) : null;
    const sx = domain.x ? scale(domain.x, log.x) : null;
    const toX = sx
      ? (v) => (flip ? 1 - sx.to(v) : sx.to(v)) * this.width
      : null;
    const fromX = sx ? (px) => sx.from(flip ? 1 - px / this.width : px / this.width) : null;
    return {
      x, y, xs, ys, log, curve, domain, sx, sy, flip, toX, fromX,
      px: (i) => (x === "step" ? this.centre(i) : sx && sx.ok(xs[i]) ? toX(xs[i]) : null),
      py: (i) => (sy && sy.ok(ys[i]) ? bottom - sy.to(ys[i]) * (bottom - top) : null),
      yOf: (v) => bottom - sy.to(v) * (bottom - top),
      fromY: (py) => sy.from((bottom - py) / (bottom - top)),
    };
  }

  // ---- drawing -------------------------------------------------------------------------------

  drawChart() {
    const c = this.colours;
    const u = c.unit;
    const context = fit(this.canvases.chart, this.width, this.rows.chart);
    const gutterWidth = this.gutter.clientWidth;
    const gutter = fit(this.ticks, gutterWidth, this.rows.chart);
    const axes = this.#axes();
    this.axes = axes;
    const { top, bottom } = this.plot;
    gutter.font = `${11 * u}px ${c.sans}`;
    gutter.textBaseline = "middle";
    gutter.textAlign = "right";
    gutter.fillStyle = c.soft;
    if (!axes.sy) {
      context.font = `${13 * u}px ${c.sans}`;
      context.fillStyle = c.soft;
      context.textAlign = "center";
      this.#nothing(axes.y).forEach((line, k) => context.fillText(line,
        Math.min(this.width, this.scroller.clientWidth) / 2, (top + bottom) / 2 + (k - 0.5) * 20 * u));
      return;
    }
    context.fillStyle = c.line;
    for (const v of axes.sy.ticks(Math.max(3, Math.round((bottom - top) / (34 * u))))) {
      const y = Math.round(axes.yOf(v));
      if (y < top - 6 || y > bottom + 2) continue;
      context.fillRect(0, y, this.width, 1);
      gutter.fillText(fmt(v, 4), gutterWidth - 8, y);
    }
    this.#drawAcross(context, axes);
    context.save();
    context.beginPath();
    context.rect(0, 0, this.width, bottom + 6);
    context.clip();
    if (axes.curve) this.#drawCurve(context, axes);
    this.#drawVisited(context, axes);
    context.restore();
  }

  // Why a quantity has no value to draw at any step, in two lines.
  #nothing(name) {
    const { label } = QUANTITIES[name];
    if (name === "beta") return [`This noise schedule has no ${label}:`, "it is continuous."];
    const start = this.schedule.columns.rho[0] === 0 ? "a clean image" : "pure noise";
    return [`There is no finite ${label} to draw:`, `the only step starts from ${start}.`];
  }

  #drawAcross(context, axes) {
    const c = this.colours;
    const u = c.unit;
    const y = this.plot.bottom + 15 * u;
    context.font = `${11 * u}px ${c.sans}`;
    context.fillStyle = c.soft;
    context.textAlign = "center";
    context.textBaseline = "middle";
    if (axes.x === "step") {
      const gap = 30 * u;
      const every = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((k) => k * this.columnWidth() >= gap) || 1000;
      for (let i = 0; i < this.count; i += 1) {
        if ((i + 1) % every !== 0 && !(i === 0 && every > 1)) continue;
        if (i === 0 && every > 1 && every * this.columnWidth() < gap * 1.4) continue;
        const x = this.centre(i);
        if (x < 0 || x > this.width) continue;
        const half = context.measureText(String(i + 1)).width / 2;
        context.fillText(String(i + 1), clamp(x, half, this.width - half), y);
      }
      return;
    }
    for (const v of axes.sx.ticks(Math.max(3, Math.round(this.width / (90 * u))))) {
      const x = axes.toX(v);
      if (x < 12 || x > this.width - 12) continue;
      context.fillText(fmt(v, 4), x, y);
      context.fillRect(Math.round(x), this.plot.bottom + 3, 1, 4);
    }
  }

  #gradient(context, axes, opacity) {
    const gradient = context.createLinearGradient(0, 0, this.width, 0);
    const stops = [];
    const put = (x, rho) => {
      const at = x / this.width;
      if (at >= 0 && at <= 1) stops.push([at, ramp(rho, this.colours.dark, opacity)]);
    };
    if (axes.curve) {
      const { rho } = axes.curve;
      const stride = Math.max(1, Math.floor(rho.length / 40));
      for (let i = 0; i < rho.length; i += stride) put(axes.toX(axes.curve[axes.x][i]), rho[i]);
    } else {
      const stride = Math.max(1, Math.floor(this.count / 40));
      for (let i = 0; i < this.count; i += stride) {
        const x = axes.px(i);
        if (x !== null) put(x, this.schedule.columns.rho[i]);
      }
    }
    if (stops.length === 0) return this.colours.curve;
    for (const [at, colour] of stops) gradient.addColorStop(at, colour);
    return gradient;
  }

  #drawCurve(context, axes) {
    const { curve, x, y } = axes;
    context.beginPath();
    let open = false;
    for (let i = 0; i < curve.t.length; i += 1) {
      const vx = curve[x][i];
      const vy = curve[y][i];
      if (!axes.sx.ok(vx) || !axes.sy.ok(vy)) { open = false; continue; }
      const px = axes.toX(vx);
      const py = axes.yOf(vy);
      if (open) context.lineTo(px, py);
      else context.moveTo(px, py);
      open = true;
    }
    context.lineWidth = 2;
    context.lineJoin = "round";
    context.strokeStyle = this.#gradient(context, axes, 0.5);
    context.stroke();
  }

  #drawVisited(context, axes) {
    const { columns } = this.schedule;
    const n = this.count;
    // Where the training curve is drawn the dots lie on it; chords would be a second curve.
    if (!axes.curve) {
      const { taken, tried } = this.#paths();
      context.lineWidth = 1.5;
      context.strokeStyle = this.colours.curve;
      this.#join(context, axes, taken);
      context.setLineDash([3, 4]);
      for (const path of tried) this.#join(context, axes, path);
      context.setLineDash([]);
    }
    const room = axes.x === "step" ? this.columnWidth() : this.width / n;
    const radius = clamp(room * 0.2, 1.5, 4.5 * this.colours.unit);
    for (let i = 0; i < n; i += 1) {
      const x = axes.px(i);
      const y = axes.py(i);
      if (x === null || x < -10 || x > this.width + 10) continue;
      if (y === null && axes.y === "rho") {
        // Pure noise, where a flow starts, lies infinitely far up; a clean image, where an
        // inversion starts, infinitely far down in the logarithm.
        const clean = columns.rho[i] === 0;
        context.fillStyle = ramp(columns.rho[i], this.colours.dark);
        context.font = `${13 * this.colours.unit}px ${this.colours.sans}`;
        context.textAlign = "center";
        context.textBaseline = clean ? "bottom" : "top";
        context.fillText(clean ? "0" : "∞", x, clean ? this.plot.bottom : this.plot.top);
      }
      if (y === null) continue;
      const colour = ramp(columns.rho[i], this.colours.dark);
      const hollow = this.#rejected(i);
      context.beginPath();
      context.arc(x, y, radius, 0, 7);
      context.fillStyle = hollow ? this.colours.card : colour;
      context.fill();
      if (hollow) {
        context.lineWidth = 1.5;
        context.strokeStyle = colour;
        context.stroke();
      } else if (radius > 3) {
        context.lineWidth = 1.5;
        context.strokeStyle = this.colours.card;
        context.stroke();
      }
    }
    this.radius = radius;
  }

  // A call of a step that an adaptive scheduler tried and did not take.
  #rejected(i) {
    return this.schedule.columns.accepted?.[i] === false;
  }

  // The calls that lead from the start to the end, and the ways that branch off: each is tried
  // from the last call that was taken, and a second try begins where the noise level jumps back.
  #paths() {
    const { rho } = this.schedule.columns;
    const taken = [];
    const tried = [];
    for (let i = 0; i < this.count; i += 1) {
      if (!this.#rejected(i)) taken.push(i);
      else if (i > 0 && this.#rejected(i - 1) && rho[i] < rho[i - 1]) tried.at(-1).push(i);
      else tried.push([...taken.slice(-1), i]);
    }
    return { taken, tried };
  }

  #join(context, axes, path) {
    context.beginPath();
    let open = false;
    for (const i of path) {
      const x = axes.px(i);
      const y = axes.py(i);
      const there = x !== null && y !== null;
      if (there && open) context.lineTo(x, y);
      else if (there) context.moveTo(x, y);
      open = there;
    }
    context.stroke();
  }

  barValues() {
    return this.view.bars === "weight"
      ? this.schedule.equations.map((equation) => equation.call_weight)
      : this.schedule.columns.dlogrho;
  }

  // A run of one step has one column; what marks it need not fill the page.
  #widest() {
    return Math.max(120 * this.colours.unit, this.tile + 8);
  }

  drawBars() {
    const c = this.colours;
    const weight = this.view.bars === "weight";
    this.barsButton.replaceChildren(...(weight
      ? ["share of", h("br"), "result"] : ["spacing", h("br"), "Δ log σ/α"]));
    this.barsButton.title = weight
      ? `${SHARE} Press for the spacing`
      : "How far each step moves in log(σ/α). Press for each call's share of the result";
    const { bars: height } = this.rows;
    const context = fit(this.canvases.bars, this.width, height);
    const values = this.barValues();
    let top = 0;
    let low = 0;
    for (const v of values) {
      if (v === null || !Number.isFinite(v)) continue;
      top = Math.max(top, v);
      low = Math.min(low, v);
    }
    const span = top - low || 1;
    const area = height - 12;
    const base = 6 + (top / span) * area;
    const column = this.columnWidth();
    const gap = column > 12 ? 4 : column > 4 ? 1 : 0;
    const { rho } = this.schedule.columns;
    for (let i = 0; i < this.count; i += 1) {
      const x = this.centre(i) - column / 2;
      if (x > this.width || x + column < 0) continue;
      const v = values[i];
      const wide = clamp(column - gap, 1, this.#widest());
      const left = x + (column - wide) / 2;
      if (v === null || v === undefined) {
        // The last step lands on a clean sample: infinitely far in log(sigma/alpha).
        context.fillStyle = ramp(rho[i], c.dark, 0.16);
        context.fillRect(left, 6, wide, area);
        context.fillStyle = ramp(rho[i], c.dark);
        context.font = `${12 * c.unit}px ${c.sans}`;
        context.textAlign = "center";
        context.textBaseline = "middle";
        if (wide > 14) context.fillText("∞", left + wide / 2, 6 + area / 2);
        continue;
      }
      const tall = (Math.abs(v) / span) * area;
      context.fillStyle = ramp(rho[i], c.dark, this.#rejected(i) ? 0.3 : 0.85);
      const y = v >= 0 ? base - tall : base;
      context.beginPath();
      if (wide > 6 && tall > 4) context.roundRect(left, y, wide, tall, 2);
      else context.rect(left, y, wide, Math.max(1, tall));
      context.fill();
    }
    context.fillStyle = c.line;
    context.fillRect(0, Math.round(base), this.width, 1);
  }

  // With more columns than room a tile stands for several, and is as large as they are together.
  #perTile() {
    const [a, b] = this.#range();
    const { unit } = this.colours;
    if (this.columnWidth() >= 26 * unit) return 1;
    return (b - a) / Math.max(1, Math.min(b - a, Math.floor(this.width / (40 * unit))));
  }

  #tileSize() {
    return clamp(this.#perTile() * this.columnWidth() - 4, 12, 58 * this.colours.unit);
  }

  #tiles() {
    const [a, b] = this.#range();
    const step = this.#perTile();
    const list = [];
    for (let k = 0; k < this.#slots(); k += 1) {
      const from = a + k * step;
      const to = from + step;
      // The last tile shows the end of the film, the others the middle of their columns.
      const frame = to > this.count - 0.5 ? this.count - 1 : Math.floor((from + to) / 2);
      list.push({ frame, centre: (from + to) / 2 - 0.5 });
    }
    return list;
  }

  #slots() {
    const [a, b] = this.#range();
    return Math.max(1, Math.round((b - a) / this.#perTile()));
  }

  inRange(i) {
    const [a, b] = this.#range();
    return i >= a && i < b;
  }

  // Where the tile that stands for the cursor lies: its own column, or the place in a thinned film
  // that is nearest to it.
  #slotCentre() {
    const [a] = this.#range();
    const step = this.#perTile();
    if (step === 1) return this.cursor;
    const k = clamp(Math.floor((this.cursor + 0.5 - a) / step), 0, this.#slots() - 1);
    return a + (k + 0.5) * step - 0.5;
  }

  drawStrips() {
    const { rows, colours: c, film } = this;
    if (!rows) return;
    const list = this.#tiles();
    const after = this.schedule.columns.rho_next;
    const here = this.schedule.columns.rho;
    for (const which of ["prev", "x0"]) {
      const context = fit(this.canvases[which], this.width, rows[which]);
      const size = this.tile;
      const y = (rows[which] - size) / 2;
      if (film?.drawRow) {
        const all = Array.from({ length: this.count }, (_, i) => i);
        const shown = all.length > 300 ? all.filter((i) => i % Math.ceil(all.length / 300) === 0) : all;
        const step = this.columnWidth() * (this.count / shown.length);
        film.drawRow(context, which, shown, this.count, (i) => this.centre(i), step, rows[which], c, after,
          shown.filter((i) => !this.#rejected(i)));
        for (const i of shown) this.#crossOut(context, i, this.centre(i) - step / 2, 2, step, rows[which] - 4);
        continue;
      }
      for (const { frame: i, centre } of list) {
        const x = this.centre(centre) - size / 2;
        if (x > this.width || x + size < 0) continue;
        const frame = film ? film.at(i, this.count) : 0;
        const ready = film && film.has(frame);
        if (!ready || film.kind !== "image") {
          context.fillStyle = c.dark ? "rgb(255 255 255 / 0.05)" : "rgb(30 20 70 / 0.045)";
          context.beginPath();
          context.roundRect(x, y, size, size, 4);
          context.fill();
        }
        if (!ready) continue;
        context.save();
        context.beginPath();
        context.roundRect(x, y, size, size, 4);
        context.clip();
        film.draw(context, which, frame, this.sample, x, y, size, c, {
          colour: ramp(which === "prev" ? after[i] : here[i], c.dark),
        });
        this.#crossOut(context, i, x, y, size, size);
        context.restore();
      }
    }
  }

  // A call of a step that was tried and not taken: veiled, with a stroke across.
  #crossOut(context, i, x, y, wide, high) {
    if (!this.#rejected(i)) return;
    context.fillStyle = this.colours.dark ? "rgb(20 16 40 / 0.6)" : "rgb(255 255 255 / 0.6)";
    context.fillRect(x, y, wide, high);
    context.strokeStyle = this.colours.dark ? "#ff9aa2" : "#b3261e";
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(x, y + high);
    context.lineTo(x + wide, y);
    context.stroke();
  }

  drawOverlay() {
    if (!this.schedule || !this.axes) return;
    const c = this.colours;
    const context = fit(this.overlay, this.width, this.height);
    const column = this.columnWidth();
    const { axes } = this;
    const band = (i, colour, inChart) => {
      if (!this.inRange(i)) return;
      const wide = clamp(column, 2, this.#widest());
      const x = this.centre(i) - wide / 2;
      context.fillStyle = colour;
      const top = inChart ? 4 : this.tops.bars;
      const bottom = this.#perTile() > 1 && !this.film?.drawRow ? this.tops.prev : this.height;
      context.beginPath();
      context.roundRect(x, top, wide, bottom - top, 6);
      context.fill();
    };
    const stepAxis = axes.x === "step";
    if (this.hover !== null && this.hover !== this.cursor) band(this.hover, c.band, stepAxis);
    band(this.cursor, c.band, stepAxis);
    const x = axes.px(this.cursor);
    const y = axes.py(this.cursor);
    if (!stepAxis && x !== null && x >= 0 && x <= this.width && this.inRange(this.cursor)) {
      // From the point on the curve down to its column.
      context.strokeStyle = c.accent;
      context.globalAlpha = 0.45;
      context.lineWidth = 1.5;
      context.beginPath();
      context.moveTo(x, y ?? this.plot.top);
      context.lineTo(x, this.plot.bottom);
      context.lineTo(this.centre(this.cursor), this.tops.bars + 4);
      context.stroke();
      context.globalAlpha = 1;
    }
    for (const [i, big] of [[this.hover, false], [this.cursor, true]]) {
      if (i === null) continue;
      const px = axes.px(i);
      const py = axes.py(i);
      if (px === null || py === null || py > this.plot.bottom + 6 || px < 0 || px > this.width) continue;
      const radius = Math.max(big ? 6.5 : 5.5, (this.radius || 4) + 2);
      context.beginPath();
      // Whole at both ends, where a column is narrower than the dot.
      context.arc(clamp(px, radius, this.width - radius), py, radius, 0, 7);
      context.fillStyle = ramp(this.schedule.columns.rho[i], c.dark);
      context.fill();
      context.lineWidth = 2;
      context.strokeStyle = c.card;
      context.stroke();
    }
    this.#drawFrames(context);
    if (this.box) {
      const { x0, x1, y0, y1 } = this.box;
      context.fillStyle = c.band;
      context.fillRect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
      context.strokeStyle = c.accent;
      context.lineWidth = 1;
      context.strokeRect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
    }
  }

  // The current frame, framed, above the cursor's tint and in its own column even where the film
  // is thinned out.
  #drawFrames(context) {
    const { film, colours: c } = this;
    if (!this.inRange(this.cursor)) {
      this.#drawElsewhere(context);
      return;
    }
    if (!film || film.drawRow) return;
    const frame = film.at(this.cursor, this.count);
    const size = this.tile;
    for (const which of ["prev", "x0"]) {
      const x = this.centre(this.#slotCentre()) - size / 2;
      const y = this.tops[which] + (this.rows[which] - size) / 2;
      if (film.has(frame)) {
        context.save();
        context.beginPath();
        context.roundRect(x, y, size, size, 4);
        context.clip();
        context.fillStyle = c.card;
        context.fillRect(x, y, size, size);
        film.draw(context, which, frame, this.sample, x, y, size, c, {
          colour: ramp(this.schedule.columns[which === "prev" ? "rho_next" : "rho"][this.cursor], c.dark),
        });
        this.#crossOut(context, this.cursor, x, y, size, size);
        if (this.stale) {
          context.globalAlpha = 0.65;
          context.fillStyle = c.card;
          context.fillRect(x, y, size, size);
        }
        context.restore();
      }
      context.beginPath();
      context.roundRect(x - 2, y - 2, size + 4, size + 4, 6);
      context.lineWidth = 2;
      context.strokeStyle = c.accent;
      context.stroke();
    }
  }

  // The cursor is outside the zoom: an arrow at the edge says on which side.
  #drawElsewhere(context) {
    const before = this.cursor < this.#range()[0];
    const edge = before ? 3 : this.width - 3;
    const inward = before ? 7 : -7;
    context.strokeStyle = this.colours.accent;
    context.lineWidth = 2;
    context.lineJoin = "round";
    for (const name of ["bars", "prev", "x0"]) {
      const y = this.tops[name] + this.rows[name] / 2;
      context.beginPath();
      context.moveTo(edge + inward, y - 7);
      context.lineTo(edge, y);
      context.lineTo(edge + inward, y + 7);
      context.stroke();
    }
  }

  #reveal() {
    const { scroller } = this;
    if (this.width <= scroller.clientWidth + 1) return;
    const x = this.centre(this.cursor);
    const pad = this.columnWidth() * 1.5;
    if (x - pad < scroller.scrollLeft || x + pad > scroller.scrollLeft + scroller.clientWidth) {
      scroller.scrollLeft = x - scroller.clientWidth / 2;
    }
  }

  // ---- pointer -------------------------------------------------------------------------------

  #point(event) {
    const box = this.track.getBoundingClientRect();
    const x = event.clientX - box.left;
    const y = event.clientY - box.top;
    const row = y < this.tops.bars ? "chart" : y < this.tops.prev ? "bars" : y < this.tops.x0 ? "prev" : "x0";
    return { x, y, row };
  }

  #nearest(x, y, row) {
    if (row !== "chart" || this.axes.x === "step") return this.columnAt(x);
    let best = 0;
    let least = Infinity;
    for (let i = 0; i < this.count; i += 1) {
      const px = this.axes.px(i);
      if (px !== null && Math.abs(px - x) < least) { least = Math.abs(px - x); best = i; }
    }
    return best;
  }

  #listen() {
    const { track } = this;
    let press = null;
    track.addEventListener("pointerdown", (event) => {
      if (!this.schedule || event.button !== 0) return;
      const point = this.#point(event);
      press = { ...point, mouse: event.pointerType === "mouse", dragging: false };
      if (press.mouse && point.row !== "chart") {
        track.setPointerCapture(event.pointerId);
        this.actions.select(this.columnAt(point.x));
      }
    });
    track.addEventListener("pointermove", (event) => {
      if (!this.schedule) return;
      const point = this.#point(event);
      if (press?.mouse && event.buttons & 1) {
        if (press.row !== "chart") {
          this.actions.select(this.columnAt(point.x));
          return;
        }
        if (!press.dragging && Math.hypot(point.x - press.x, point.y - press.y) > DRAG) {
          press.dragging = true;
          track.setPointerCapture(event.pointerId);
        }
        if (press.dragging) {
          const { top, bottom } = this.plot;
          this.box = {
            x0: press.x, x1: clamp(point.x, 0, this.width),
            y0: clamp(press.y, top, bottom), y1: clamp(point.y, top, bottom),
          };
          this.#hide();
          this.drawOverlay();
          return;
        }
      }
      if (event.pointerType === "mouse") this.#show(this.#nearest(point.x, point.y, point.row), point);
    });
    const end = (event) => {
      if (press?.dragging && this.box) this.#zoomTo(this.box);
      else if (press && event.type === "pointerup") {
        const point = this.#point(event);
        if (Math.hypot(point.x - press.x, point.y - press.y) <= DRAG) {
          const index = this.#nearest(point.x, point.y, point.row);
          this.actions.select(index);
          if (!press.mouse) this.#show(index, point);
        }
      }
      press = null;
      this.box = null;
      this.drawOverlay();
    };
    track.addEventListener("pointerup", end);
    track.addEventListener("pointercancel", end);
    track.addEventListener("pointerleave", () => this.#hide());
    track.addEventListener("dblclick", () => this.resetZoom());
    track.addEventListener("wheel", (event) => {
      if (!(event.ctrlKey || event.metaKey) || !this.schedule) return;
      event.preventDefault();
      const point = this.#point(event);
      const factor = Math.exp(clamp(event.deltaY, -100, 100) * 0.004);
      this.#zoomTo({
        x0: point.x - point.x * factor, x1: point.x + (this.width - point.x) * factor,
        y0: null, y1: null,
      });
    }, { passive: false });
    this.scroller.addEventListener("scroll", () => this.#hide(), { passive: true });
  }

  #zoomTo({ x0, x1, y0, y1 }) {
    const { axes } = this;
    const left = Math.min(x0, x1);
    const right = Math.max(x0, x1);
    if (right - left < 8) return;
    if (axes.x === "step") {
      const [a, b] = this.#range();
      const at = (px) => a + (px / this.width) * (b - a);
      const low = Math.max(0, Math.floor(at(left) + 0.2));
      const high = Math.min(this.count, Math.ceil(at(right) - 0.2));
      if (high - low >= this.count) this.zoom.delete("step");
      else if (high > low) this.zoom.set("step", [low, high]);
    } else {
      const ends = [axes.fromX(left), axes.fromX(right)].sort((a, b) => a - b);
      this.zoom.set(`x:${axes.x}`, ends);
    }
    if (y0 !== null && Math.abs(y1 - y0) > 12) {
      this.zoom.set(`y:${axes.y}`, [axes.fromY(Math.max(y0, y1)), axes.fromY(Math.min(y0, y1))]);
    }
    this.zoomed();
  }

  resetZoom() {
    this.zoom.clear();
    this.zoomed();
  }

  zoomed() {
    this.zoomButton.hidden = this.zoom.size === 0;
    this.actions.view({});
  }

  #show(index, point) {
    if (this.hover !== index) {
      this.hover = index;
      this.drawOverlay();
    }
    if (point.row === "chart" || point.row === "bars") this.#tell(index);
    else this.tip.hidden = true;
  }

  #hide() {
    this.tip.hidden = true;
    if (this.hover === null) return;
    this.hover = null;
    this.drawOverlay();
  }

  #tell(i) {
    const { columns, equations, steps, nfe } = this.schedule;
    const rows = [
      ["t", fmt(columns.t[i], 5)],
      ["σ/α", `${level(columns.rho[i], 4)} → ${level(columns.rho_next[i], 4)}`],
      ["σ", fmt(columns.sigma[i], 4)],
      ["α", fmt(columns.alpha[i], 4)],
      ["ᾱ", fmt(columns.alphas_cumprod[i], 4)],
      ["β", fmt(columns.beta?.[i] ?? null, 4)],
      ["SNR", level(columns.snr[i], 4)],
      ["logSNR", fmt(columns.logsnr[i] ?? (columns.rho[i] === 0 ? Infinity : -Infinity), 4)],
      ["Δ log σ/α", level(columns.dlogrho[i])],
      ["order", fmt(columns.order[i])],
      ...(equations[i]?.weight_text ? [["share of result", equations[i].weight_text]] : []),
      ...(this.#rejected(i) ? [["step", "rejected"]] : []),
    ];
    this.tip.replaceChildren(
      h("strong", {}, steps === nfe ? `Step ${i + 1}` : `Call ${i + 1}`),
      h("dl", {}, rows.flatMap(([k, v]) => [h("dt", {}, k), h("dd", {}, v)])));
    this.tip.hidden = false;
    const x = this.axes.px(i) ?? this.centre(i);
    const at = this.gutter.clientWidth + x - this.scroller.scrollLeft;
    const wide = this.tip.offsetWidth;
    const room = this.body.clientWidth;
    const left = at + 18 + wide < room ? at + 18 : at - 18 - wide;
    this.tip.style.left = `${clamp(left, 0, Math.max(0, room - wide))}px`;
    this.tip.style.top = `${this.plot.top}px`;
  }
}
