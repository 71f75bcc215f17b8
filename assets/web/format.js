// Numbers as people read them: a true minus, few digits, no trailing noise.

export function fmt(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return value > 0 ? "∞" : value < 0 ? "−∞" : "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  let text;
  if (size >= 1e5 || size < 1e-4) {
    text = value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e");
  } else if (Number.isInteger(value)) {
    text = String(value);
  } else {
    text = size >= 1000 ? value.toFixed(0) : Number(value.toPrecision(digits)).toString();
  }
  return text.replace(/-/g, "−");
}

// A noise level or a distance of two, where null is infinity, for which JSON has no number.
export function level(value, digits = 3) {
  return value === null ? "∞" : fmt(value, digits);
}

// The value as it is typed back: full precision, plain minus.
export function plain(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value !== "number") return String(value);
  return String(Number(value.toPrecision(12)));
}

// What a call's share means wherever it is shown; the server computes and writes it.
export const SHARE = "How much of the result is this call's clean prediction x̂₀: the weights of this "
  + "and the later steps, multiplied out. Below zero: the rule takes it away, to carry on the change "
  + "to newer predictions. All shares make about 100 %. What a call changes in later predictions is "
  + "not counted. Where the last call's own x̂₀ is the result, the others are measured in the sample "
  + "that it is shown.";

export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 10000) return `${(value / 1000).toFixed(0)} s`;
  if (value >= 1000) return `${(value / 1000).toFixed(1)} s`;
  return value >= 10 ? `${value.toFixed(0)} ms` : `${value.toFixed(1)} ms`;
}

export function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
