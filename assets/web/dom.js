// Building elements, without a framework: h("button", {class: "x", onclick: f}, "text", child).

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "html") element.innerHTML = value;
    else if (name in element && typeof value === "boolean") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// Sets text only when it differs, so that unchanged nodes cost no layout.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Sizes a canvas to CSS pixels at the screen's density and returns a context in CSS pixels.
export function fit(canvas, width, height) {
  const density = Math.min(window.devicePixelRatio || 1, 3);
  const w = Math.max(1, Math.round(width * density));
  const hgt = Math.max(1, Math.round(height * density));
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== hgt) canvas.height = hgt;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(density, 0, 0, density, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

let serial = 0;
export function uid(stem) {
  serial += 1;
  return `${stem}-${serial}`;
}

export function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

// Decodes base64 to a typed array of the given element type.
export function typed(base64, Type) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return Type === Uint8Array ? bytes : new Type(bytes.buffer);
}

// One of the page's array payloads: {"f32"|"u16"|"u8": base64, "shape": [...]}.
export function unpack(payload) {
  if (payload.f32 !== undefined) return typed(payload.f32, Float32Array);
  if (payload.u16 !== undefined) return typed(payload.u16, Uint16Array);
  return typed(payload.u8, Uint8Array);
}
