// One ramp means noise level everywhere: indigo (noise) through magenta to amber (clean),
// by log(sigma / alpha). On dark ground the indigo end is lightened until a dot is seen.

const NOISY = Math.log(80);
const CLEAN = Math.log(0.01);

const STOPS = {
  light: [[217, 122, 8], [217, 83, 96], [176, 56, 145], [106, 45, 166], [53, 42, 142]],
  dark: [[252, 184, 66], [246, 134, 124], [222, 110, 198], [178, 128, 244], [146, 142, 255]],
};

const TABLES = Object.fromEntries(
  Object.entries(STOPS).map(([mode, stops]) => [
    mode,
    Array.from({ length: 256 }, (_, i) => {
      const place = (i / 255) * (stops.length - 1);
      const k = Math.min(stops.length - 2, Math.floor(place));
      const part = place - k;
      return stops[k].map((c, j) => Math.round(c + (stops[k + 1][j] - c) * part));
    }),
  ]),
);

// 0 = clean, 1 = noise. A missing ratio is pure noise (alpha = 0), zero is clean.
export function noisiness(rho) {
  if (rho === null || rho === undefined || rho === Infinity) return 1;
  if (rho <= 0) return 0;
  return Math.min(1, Math.max(0, (Math.log(rho) - CLEAN) / (NOISY - CLEAN)));
}

export function ramp(rho, dark, opacity = 1) {
  const [r, g, b] = TABLES[dark ? "dark" : "light"][Math.round(noisiness(rho) * 255)];
  return opacity === 1 ? `rgb(${r} ${g} ${b})` : `rgb(${r} ${g} ${b} / ${opacity})`;
}

export function isDark() {
  return document.body.classList.contains("dark");
}

// The page's colours for canvases, read from the style sheet once per repaint.
export function palette(element) {
  const style = getComputedStyle(element);
  const get = (name) => style.getPropertyValue(name).trim();
  return {
    dark: isDark(),
    ink: get("--ss-ink"),
    soft: get("--ss-soft"),
    faint: get("--ss-faint"),
    line: get("--ss-line"),
    card: get("--ss-card"),
    accent: get("--ss-accent"),
    band: get("--ss-band"),
    curve: get("--ss-curve"),
    sans: get("--ss-sans"),
    mono: get("--ss-mono"),
    unit: parseFloat(get("--u")) || 1,
  };
}
