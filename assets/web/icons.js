// Line icons, 16 x 16, drawn with the text's colour.

const PATHS = {
  play: '<path d="M4.5 2.8v10.4L13 8z" fill="currentColor" stroke="none"/>',
  pause: '<path d="M4 3h3v10H4zM9 3h3v10H9z" fill="currentColor" stroke="none"/>',
  stop: '<path d="M3.5 3.5h9v9h-9z" fill="currentColor" stroke="none"/>',
  back: '<path d="M11 3 5 8l6 5"/>',
  forward: '<path d="m5 3 6 5-6 5"/>',
  first: '<path d="M12 3 6.5 8l5.5 5M4 3v10"/>',
  last: '<path d="m4 3 5.5 5L4 13M12 3v10"/>',
  link: '<path d="M6.6 9.4a3 3 0 0 0 4.2 0l2.1-2.1a3 3 0 0 0-4.2-4.2l-.9.9M9.4 6.6a3 3 0 0 0-4.2 0L3.1 8.7a3 3 0 0 0 4.2 4.2l.9-.9"/>',
  check: '<path d="m3 8.5 3.2 3.2L13 4.8"/>',
  present: '<path d="M1.8 3h12.4M2.8 3v7.2h10.4V3M8 10.2V12M5.2 14 8 12l2.8 2"/>',
  moon: '<path d="M13.2 9.6A5.6 5.6 0 0 1 6.4 2.8a5.6 5.6 0 1 0 6.8 6.8z"/>',
  sun: '<circle cx="8" cy="8" r="2.8"/><path d="M8 1.3v1.6M8 13.1v1.6M1.3 8h1.6M13.1 8h1.6M3.3 3.3l1.1 1.1M11.6 11.6l1.1 1.1M12.7 3.3l-1.1 1.1M4.4 11.6l-1.1 1.1"/>',
  dice: '<rect x="2.5" y="2.5" width="11" height="11" rx="2.2"/><path d="M5.6 5.6h.01M10.4 5.6h.01M8 8h.01M5.6 10.4h.01M10.4 10.4h.01" stroke-width="1.9"/>',
  reset: '<path d="M3 8a5 5 0 1 0 1.6-3.7L3 5.8M3 2.6v3.2h3.2"/>',
  settings: '<path d="M2 4.5h6M12 4.5h2M2 11.5h2M8 11.5h6"/><circle cx="10" cy="4.5" r="1.8"/><circle cx="6" cy="11.5" r="1.8"/>',
  close: '<path d="m3.5 3.5 9 9M12.5 3.5l-9 9"/>',
  chevron: '<path d="m4 6 4 4 4-4"/>',
  warn: '<path d="M8 2.2 14.6 13.6H1.4zM8 6.4v3.4M8 11.7v.1"/>',
  search: '<circle cx="7" cy="7" r="4.4"/><path d="m10.3 10.3 3.5 3.5"/>',
  zoomout: '<circle cx="7" cy="7" r="4.4"/><path d="m10.3 10.3 3.5 3.5M5 7h4"/>',
};

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "ss-icon");
  svg.innerHTML = PATHS[name];
  return svg;
}
