// Films: payload in, something that draws any frame of any sample anywhere. One class for each
// kind of model: images, points in the plane, points on a line.

import { h, unpack } from "./dom.js";
import { ramp } from "./colour.js";

const STRIP_POINTS = 220;

async function bitmap(source) {
  const answer = await fetch(source);
  return createImageBitmap(await answer.blob());
}

// Raw bytes [frames, samples, height, width, 3] laid out on one canvas.
function sheetFromBytes(payload) {
  const bytes = unpack(payload);
  const [frames, samples, height, width] = payload.shape;
  const across = Math.max(1, Math.min(frames, Math.floor(8192 / width)));
  const canvas = h("canvas", {
    width: across * width, height: Math.ceil(frames / across) * samples * height,
  });
  const context = canvas.getContext("2d");
  const tile = context.createImageData(width, height);
  const words = new Uint32Array(tile.data.buffer);
  let at = 0;
  for (let f = 0; f < frames; f += 1) {
    for (let s = 0; s < samples; s += 1) {
      for (let p = 0; p < width * height; p += 1, at += 3) {
        words[p] = 0xff000000 | (bytes[at + 2] << 16) | (bytes[at + 1] << 8) | bytes[at];
      }
      context.putImageData(tile, (f % across) * width, (Math.floor(f / across) * samples + s) * height);
    }
  }
  return { image: canvas, width, height, across, samples };
}

async function sheet(payload, tile) {
  if (payload.u8 !== undefined) return sheetFromBytes(payload);
  const image = await bitmap(payload.sheet);
  const [width, height] = tile;
  return { image, width, height, across: payload.cols, samples: payload.rows };
}

class Film {
  constructor(payload) {
    this.kind = payload.kind;
    this.frames = payload.frames;
    // Long films keep some frames only; indices says which.
    const { indices } = payload;
    this.length = indices?.length ? indices[indices.length - 1] + 1 : payload.frames;
    this.kept = indices && indices.length < this.length ? indices : null;
    this.samples = payload.samples;
    this.key = payload.key;
    this.ms = payload.ms;
    this.device = payload.device;
    this.cached = payload.cached;
    this.particles = payload.particles ?? null;
  }

  // The frame that belongs to column i of count. While a drag changes the number of steps, the
  // film on screen may be of another length than the schedule; it is stretched until its own comes.
  at(i, count) {
    if (count === this.length || count < 2) return Math.min(i, this.length - 1);
    return Math.round((i / (count - 1)) * (this.length - 1));
  }

  // Where a frame lies among those kept: the next kept one stands for its neighbours.
  place(frame) {
    if (!this.kept) return Math.min(frame, this.frames - 1);
    const list = this.kept;
    let low = 0;
    let high = list.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[middle] < frame) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  has() {
    return true;
  }
}

class ImageFilm extends Film {
  static async make(payload) {
    const film = new ImageFilm(payload);
    [film.prev, film.x0] = await Promise.all([
      sheet(payload.prev, payload.tile), sheet(payload.x0, payload.tile),
    ]);
    film.width = film.prev.width;
    film.height = film.prev.height;
    return film;
  }

  draw(context, which, frame, sample, x, y, size) {
    const { image, width, height, across, samples } = this[which];
    const f = this.place(frame);
    const sx = (f % across) * width;
    const sy = (Math.floor(f / across) * samples + Math.min(sample, samples - 1)) * height;
    context.imageSmoothingEnabled = this.width > 64;
    context.drawImage(image, sx, sy, width, height, x, y, size, size);
  }
}

// Frames arriving one by one while the server samples.
export class LiveFilm extends Film {
  constructor(kind, frames, samples) {
    super({ kind, frames, samples, key: null, ms: null });
    this.parts = { prev: new Array(frames).fill(null), x0: new Array(frames).fill(null) };
    this.latest = -1;
    this.width = 32;
    this.height = 32;
  }

  async add(message) {
    const { index } = message;
    this.latest = Math.max(this.latest, index);
    for (const which of ["prev", "x0"]) {
      const part = message[which];
      if (this.kind === "image") {
        const source = typeof part === "string" ? part : part.sheet;
        // One frame may hold every sample, one under another.
        const image = source ? await bitmap(source) : sheetFromBytes(part).image;
        this.parts[which][index] = image;
        this.height = image.height / this.samples;
        this.width = this.height;
      } else {
        this.parts[which][index] = unpack(part);
      }
    }
    if (message.density) (this.densities ||= [])[index] = unpack(message.density);
    if (message.extent) this.extent = message.extent;
  }

  // Steps that no message told of show the last one before them.
  has(frame) {
    return frame <= this.latest && this.#at("prev", frame) !== null;
  }

  // The frame itself or the newest one before it.
  #at(which, frame) {
    const list = this.parts[which];
    for (let i = Math.min(frame, this.latest); i >= 0; i -= 1) if (list[i]) return list[i];
    return null;
  }

  draw(context, which, frame, sample, x, y, size, colours, options) {
    const part = this.#at(which, frame);
    if (!part) return;
    if (this.kind === "image") {
      const height = part.height / this.samples;
      context.imageSmoothingEnabled = part.width > 64;
      context.drawImage(part, 0, height * Math.min(sample, this.samples - 1), part.width, height,
        x, y, size, size);
    } else if (this.kind === "plane") {
      drawPoints(context, part, 0, part.length / 2, x, y, size, options);
    } else {
      const bins = histogram(part, 0, part.length, this.extent || 3, 48);
      drawHistogram(context, bins, null, x, y, size, size, colours, options);
    }
  }

  values(which, frame) {
    return this.#at(which, frame);
  }
}

// Points as small squares: fast for tens of thousands.
function drawPoints(context, data, from, count, x, y, size, { colour, dot = 2, most = Infinity, opacity = 0.7 }) {
  context.fillStyle = colour;
  context.globalAlpha = opacity;
  const stride = Math.max(1, Math.ceil(count / most));
  const k = size / 65535;
  const half = dot / 2;
  for (let i = 0; i < count; i += stride) {
    const a = (from + i) * 2;
    context.fillRect(x + data[a] * k - half, y + size - data[a + 1] * k - half, dot, dot);
  }
  context.globalAlpha = 1;
}

class PlaneFilm extends Film {
  static make(payload) {
    const film = new PlaneFilm(payload);
    film.prev = unpack(payload.prev);
    film.x0 = unpack(payload.x0);
    film.reference = payload.reference ? unpack(payload.reference) : null;
    film.count = payload.prev.shape[1];
    film.extent = payload.extent;
    return film;
  }

  draw(context, which, frame, sample, x, y, size, colours, options = {}) {
    const small = size < 90;
    if (this.reference && !small) {
      drawPoints(context, this.reference, 0, this.reference.length / 2, x, y, size, {
        colour: colours.faint, dot: 1.5, opacity: 0.5,
      });
    }
    drawPoints(context, this[which], this.place(frame) * this.count, this.count, x, y, size, {
      colour: options.colour, dot: small ? 1.2 : 2.2, most: small ? STRIP_POINTS : Infinity,
      opacity: small ? 0.8 : 0.65,
    });
  }
}

function histogram(data, from, count, extent, bins) {
  const heights = new Float32Array(bins);
  for (let i = 0; i < count; i += 1) {
    const k = Math.floor(((data[from + i] / extent + 1) / 2) * bins);
    if (k >= 0 && k < bins) heights[k] += 1;
  }
  const unit = (count * 2 * extent) / bins;
  for (let k = 0; k < bins; k += 1) heights[k] /= unit || 1;
  return heights;
}

// Upright histogram with the exact density over it.
function drawHistogram(context, bins, density, x, y, width, height, colours, { colour }) {
  let top = 1e-6;
  for (const v of bins) top = Math.max(top, v);
  if (density) for (const v of density) top = Math.max(top, v);
  const base = y + height - 1;
  const k = (height - 8) / top;
  context.fillStyle = colour;
  context.globalAlpha = 0.55;
  const step = width / bins.length;
  bins.forEach((v, i) => context.fillRect(x + i * step + 0.5, base - v * k, Math.max(1, step - 1), v * k));
  context.globalAlpha = 1;
  if (density) {
    context.beginPath();
    density.forEach((v, i) => {
      const px = x + ((i + 0.5) / density.length) * width;
      if (i === 0) context.moveTo(px, base - v * k);
      else context.lineTo(px, base - v * k);
    });
    context.strokeStyle = colours.ink;
    context.lineWidth = 1.5;
    context.stroke();
  }
  context.fillStyle = colours.line;
  context.fillRect(x, base, width, 1);
}

class LineFilm extends Film {
  static make(payload) {
    const film = new LineFilm(payload);
    film.prev = unpack(payload.prev);
    film.x0 = unpack(payload.x0);
    film.initial = payload.initial ? unpack(payload.initial) : null;
    film.count = payload.prev.shape[1];
    film.extent = payload.extent;
    film.density = payload.density ? unpack(payload.density) : null;
    film.bins = payload.density ? payload.density.shape[1] : 0;
    return film;
  }

  draw(context, which, frame, sample, x, y, size, colours, options = {}) {
    const f = this.place(frame);
    const bins = histogram(this[which], f * this.count, this.count, this.extent, 64);
    const density = which === "prev" && this.density
      ? this.density.subarray(f * this.bins, (f + 1) * this.bins) : null;
    drawHistogram(context, bins, density, x, y, size, size, colours, options);
  }

  // The whole row at once: density as shade, a few particles as paths through the columns.
  // The paths lead only through the calls that were taken.
  drawRow(context, which, columns, count, centre, step, height, colours, rhos, taken) {
    const y = (v) => height / 2 - (v / this.extent) * (height / 2 - 2);
    if (which === "prev" && this.density) this.#shade(context, columns, count, centre, step, height, colours, rhos);
    const paths = Math.min(32, this.count);
    context.lineWidth = 1;
    context.lineJoin = "round";
    context.globalAlpha = which === "prev" ? 0.45 : 0.3;
    context.strokeStyle = colours.ink;
    for (let p = 0; p < paths; p += 1) {
      context.beginPath();
      taken.forEach((i, k) => {
        const py = y(this[which][this.place(this.at(i, count)) * this.count + p]);
        if (k === 0) context.moveTo(centre(i), py);
        else context.lineTo(centre(i), py);
      });
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  // One pixel for each column and bin, enlarged smoothly: the density flows between the columns.
  #shade(context, columns, count, centre, step, height, colours, rhos) {
    const n = columns.length;
    const image = new ImageData(n, this.bins);
    columns.forEach((i, k) => {
      const f = this.place(this.at(i, count)) * this.bins;
      let peak = 1e-6;
      for (let b = 0; b < this.bins; b += 1) peak = Math.max(peak, this.density[f + b]);
      const [red, green, blue] = ramp(rhos[i], colours.dark).match(/\d+/g).map(Number);
      for (let b = 0; b < this.bins; b += 1) {
        const at = ((this.bins - 1 - b) * n + k) * 4;
        image.data[at] = red;
        image.data[at + 1] = green;
        image.data[at + 2] = blue;
        image.data[at + 3] = Math.sqrt(this.density[f + b] / peak) * 125;
      }
    });
    const small = h("canvas", { width: n, height: this.bins });
    small.getContext("2d").putImageData(image, 0, 0);
    context.imageSmoothingEnabled = true;
    context.drawImage(small, centre(columns[0]) - step / 2, 2, step * n, height - 4);
  }
}

export async function decodeFilm(payload) {
  if (payload.kind === "image") return ImageFilm.make(payload);
  if (payload.kind === "plane") return PlaneFilm.make(payload);
  return LineFilm.make(payload);
}
