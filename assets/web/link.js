// The link is the state: ?v=1&scheduler=...&steps=20&...&c.beta_start=0.00085&o.patch=9
// Config keys carry "c.", model options "o."; values are JSON scalars with strings left bare;
// timesteps and sigmas are comma lists. The Python side (RunSpec.to_query) writes the same.

const PLAIN = ["scheduler", "model", "cond"];
const WHOLE = ["steps", "seed", "samples"];
const LISTS = ["timesteps", "sigmas"];

function write(value) {
  if (Array.isArray(value)) return value.map(write).join(",");
  if (typeof value === "string") return value;
  return JSON.stringify(value);
}

function scalar(text) {
  if (text === "true") return true;
  if (text === "false") return false;
  if (text === "null") return null;
  if (/^-?\d+(\.\d+)?(e[-+]?\d+)?$/i.test(text)) return Number(text);
  return text;
}

function list(text) {
  return text.split(",").filter((part) => part.trim() !== "").map((part) => scalar(part.trim()));
}

export function encode(spec) {
  const query = [["v", "1"]];
  for (const name of ["scheduler", "steps", "model", "cond", "seed", "samples"]) {
    query.push([name, write(spec[name])]);
  }
  for (const name of LISTS) if (spec[name]) query.push([name, write(spec[name])]);
  for (const [prefix, values] of [["c.", spec.config], ["o.", spec.options]]) {
    for (const name of Object.keys(values).sort()) query.push([prefix + name, write(values[name])]);
  }
  // Commas stay readable; everything else is escaped as usual.
  return query
    .map(([k, v]) => `${encodeURIComponent(k)}=${encodeURIComponent(v).replace(/%2C/g, ",")}`)
    .join("&");
}

// Reads a query over a base spec; null when it names no state of ours. isList says which config
// keys hold lists of numbers, so that "0.1,0.2" becomes an array there and stays text elsewhere.
export function decode(search, base, isList = () => false) {
  // We never write a space, so a bare plus is a plus (dpmsolver++).
  const query = new URLSearchParams(search.replace(/\+/g, "%2B"));
  if (!query.has("v") && !query.has("scheduler")) return null;
  const spec = { ...structuredClone(base), cond: "", seed: 0, config: {}, options: {} };
  for (const [name, text] of query) {
    if (PLAIN.includes(name)) spec[name] = text;
    else if (WHOLE.includes(name)) spec[name] = scalar(text);
    else if (LISTS.includes(name)) spec[name] = list(text);
    else if (name.startsWith("c.")) {
      const key = name.slice(2);
      spec.config[key] = isList(key) && text !== "null" ? list(text) : scalar(text);
    } else if (name.startsWith("o.")) spec.options[name.slice(2)] = scalar(text);
  }
  return spec;
}

// Names that hosts and advertisers add to any link.
const FOREIGN = /^(__|utm_)|^(fbclid|gclid|ref|logs|source)$/;
const VIEW = ["step", "x", "y", "bars", "log", "sample", "zoom"];

// What a link says that this page does not know, a sentence each. A link without state of ours is
// none of our business.
export function unknown(search, hash) {
  const query = new URLSearchParams(search.replace(/\+/g, "%2B"));
  if (!query.has("v") && !query.has("scheduler")) return [];
  const known = ["v", ...PLAIN, ...WHOLE, ...LISTS];
  const parts = [...query].filter(([name]) => !known.includes(name) && !/^[co]\./.test(name) && !FOREIGN.test(name))
    .map(([name, text]) => `“${name}=${text}” is no setting of this page: ${known.slice(1).join(", ")}, `
      + "or c. before the name of a scheduler's parameter, o. before a model's option.");
  if (query.has("v") && query.get("v") !== "1") {
    parts.unshift(`The link is of version ${query.get("v")}; this page reads version 1.`);
  }
  for (const name of Object.keys(decodeView(hash))) {
    if (name && !VIEW.includes(name)) parts.push(`“${name}” is nothing to look at here: ${VIEW.join(", ")}.`);
  }
  return parts;
}

// The spec without what the server refused; null where the link did not say it. A refusal may name
// several settings that do not go together: it ends when the first of them is gone.
export function mended(spec, errors, base) {
  const next = structuredClone(spec);
  const ended = new Set();
  for (const [key, message] of Object.entries(errors)) {
    if (!ended.has(message) && dropped(next, key, base)) ended.add(message);
  }
  const messages = Object.values(errors);
  return messages.length && messages.every((message) => ended.has(message)) ? next : null;
}

// Take a setting out of a spec; whether it was there.
function dropped(next, key, base) {
  const [where, name] = key.split(/\.(.*)/s);
  if (name !== undefined && name in (next[where] ?? {})) delete next[where][name];
  else if (key === "scheduler" && next.scheduler !== base.scheduler) Object.assign(next, { scheduler: base.scheduler, config: {} });
  else if (key === "model" && next.model !== base.model) Object.assign(next, { model: base.model, cond: "", options: {} });
  else if (key === "cond" && next.cond) next.cond = "";
  else if (LISTS.includes(key) && next[key]) next[key] = null;
  else if (WHOLE.includes(key) && next[key] !== base[key]) next[key] = base[key];
  else return false;
  return true;
}

// What is looked at (step, axes), not what is computed: kept in the fragment.
export function encodeView(view) {
  return Object.entries(view)
    .filter(([, v]) => v !== null && v !== undefined)
    .map(([k, v]) => `${k}=${encodeURIComponent(v)}`)
    .join("&");
}

export function decodeView(hash) {
  return Object.fromEntries(new URLSearchParams(hash.replace(/^#/, "")));
}

// Parameters of the host (theme, signature) that are not ours and must stay.
function foreign(search) {
  return [...new URLSearchParams(search)].filter(([name]) => name.startsWith("__"));
}

// Where the page is framed by a Space, the Space's own address follows.
function spaceOrigin() {
  if (window.parent === window) return null;
  const origin = window.location.ancestorOrigins?.[0]
    ?? (document.referrer ? new URL(document.referrer).origin : "");
  return /^https:\/\/([a-z0-9-]+\.)*huggingface\.co$/.test(origin) ? origin : null;
}

export function sync(spec, view) {
  const kept = foreign(window.location.search)
    .map(([k, v]) => `${encodeURIComponent(k)}=${encodeURIComponent(v)}`);
  const query = [encode(spec), ...kept].join("&");
  const hash = encodeView(view);
  const address = `${window.location.pathname}?${query}${hash ? `#${hash}` : ""}`;
  try {
    window.history.replaceState(window.history.state, "", address);
  } catch {
    return; // Browsers limit how often the address may change; the next change catches up.
  }
  const space = spaceOrigin();
  if (space) window.parent.postMessage({ queryString: query, hash }, space);
}
