// What the axes can show. Each quantity is read from the visited levels (columns) or from the
// training curve; null means that it does not exist there (a beta of a continuous schedule).

import { unpack } from "./dom.js";

export const QUANTITIES = {
  step: { label: "step", over: "of every step", title: "Position in the run, one column per model call", log: false },
  t: { label: "t", over: "over time t", title: "Time the model is told, in training steps", log: false },
  rho: { label: "σ/α", name: "Noise level σ/α", title: "Noise over signal. k-diffusion, A1111 and ComfyUI call this sigma", log: true },
  sigma: { label: "σ", name: "Noise σ", title: "Standard deviation of the noise in x = α x₀ + σ ε", log: true },
  alpha: { label: "α", name: "Signal scale α", title: "Scale of the clean sample in x = α x₀ + σ ε", log: false },
  alphas_cumprod: { label: "ᾱ", name: "Share of signal ᾱ", title: "alphas_cumprod: α² / (α² + σ²), the share of signal", log: false },
  beta: { label: "β", name: "Noise β of one training step", title: "betas: variance added by one training step", log: false },
  snr: { label: "SNR", name: "Signal-to-noise ratio", title: "Signal-to-noise ratio α² / σ²", log: true },
  logsnr: { label: "logSNR", name: "Log signal-to-noise ratio", title: "Natural logarithm of the SNR", log: false, signed: true },
};

export const X_AXES = ["step", "t", "rho", "logsnr"];
export const Y_AXES = ["rho", "sigma", "alpha", "alphas_cumprod", "beta", "snr", "logsnr"];

export function read(columns, name, i) {
  if (name === "step") return i + 1;
  return columns[name]?.[i] ?? null;
}

// Of a very long run the server tells some calls (`told`); one between two of them shows what the
// one before it shows.
export function everyCall(schedule) {
  const { told, nfe } = schedule;
  if (!told) return schedule;
  const source = new Uint32Array(nfe);
  for (let i = 0, k = 0; i < nfe; i += 1) {
    if (told[k + 1] <= i) k += 1;
    source[i] = k;
  }
  const whole = (list) => Array.from(source, (k) => list[k]);
  const columns = Object.fromEntries(
    Object.entries(schedule.columns).map(([name, list]) => [name, whole(list)]),
  );
  return { ...schedule, columns, equations: whole(schedule.equations) };
}

// The whole training curve in the scheduler's own parametrisation. Variance-exploding schedulers
// keep alpha = 1, so there sigma is the ratio.
export function trainingCurve(schedule) {
  const { training, columns } = schedule;
  if (!training) return null;
  const t = unpack(training.t);
  const bar = unpack(training.alphas_cumprod);
  const beta = unpack(training.betas);
  const exploding = columns.alpha.every((a) => a === 1);
  const n = t.length;
  const curve = { t, beta, alphas_cumprod: bar };
  for (const name of ["rho", "sigma", "alpha", "snr", "logsnr"]) curve[name] = new Float64Array(n);
  for (let i = 0; i < n; i += 1) {
    const snr = bar[i] / (1 - bar[i]);
    const rho = Math.sqrt(1 / snr);
    curve.rho[i] = rho;
    curve.alpha[i] = exploding ? 1 : Math.sqrt(bar[i]);
    curve.sigma[i] = exploding ? rho : Math.sqrt(1 - bar[i]);
    curve.snr[i] = snr;
    curve.logsnr[i] = Math.log(snr);
  }
  return curve;
}

// A scale: data -> [0, 1], its inverse, and its ticks.
export function scale(domain, log) {
  const [low, high] = domain;
  if (log) {
    const a = Math.log(low);
    const span = Math.log(high) - a || 1;
    return {
      to: (v) => (Math.log(v) - a) / span,
      from: (p) => Math.exp(a + p * span),
      ok: (v) => v !== null && v > 0 && Number.isFinite(v),
      ticks: (count) => logTicks(low, high, count),
    };
  }
  const span = high - low || 1;
  return {
    to: (v) => (v - low) / span,
    from: (p) => low + p * span,
    ok: (v) => v !== null && Number.isFinite(v),
    ticks: (count) => linearTicks(low, high, count),
  };
}

export function linearTicks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough) || rough;
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) {
    ticks.push(Number((k * step).toPrecision(12)));
  }
  return ticks;
}

export function logTicks(low, high, count) {
  const decades = Math.log10(high / low);
  if (decades < 0.35) return linearTicks(low, high, count).filter((v) => v > 0);
  const mantissas = decades * 3 <= count + 1 ? [1, 2, 5] : decades * 2 <= count + 2 ? [1, 3] : [1];
  const stride = Math.max(1, Math.ceil(decades / Math.max(1, count)));
  const ticks = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e += 1) {
    if (((e % stride) + stride) % stride !== 0) continue;
    for (const m of mantissas) {
      const value = Number(`${m}e${e}`);
      if (value >= low * 0.999 && value <= high * 1.001) ticks.push(value);
    }
  }
  return ticks;
}

// The extent of the finite values, with a little air.
export function extent(lists, log, air = 0.05) {
  let low = Infinity;
  let high = -Infinity;
  for (const list of lists) {
    for (let i = 0; i < list.length; i += 1) {
      const v = list[i];
      if (v === null || !Number.isFinite(v) || (log && v <= 0)) continue;
      if (v < low) low = v;
      if (v > high) high = v;
    }
  }
  if (low > high) return null;
  if (log) {
    const factor = low === high ? 1.5 : (high / low) ** air;
    return [low / factor, high * factor];
  }
  const pad = low === high ? Math.abs(low) * 0.1 || 1 : (high - low) * air;
  return [low - pad, high + pad];
}
