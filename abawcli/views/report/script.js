"use strict";
// The interactive part of a report: sections, sorting, filters, and groups; timeline.js, which comes
// before it in the page, has the timelines.
// Everything that is read comes from the JSON in the page; text is set as text, never as HTML.

const LOOK = JSON.parse(document.getElementById("look").textContent);
const { classes: CLASSES, colours: COLOURS, sources: SOURCES } = LOOK;
const { units: UNITS_PER_S, levels: LEVELS, unknown: UNKNOWN } = LOOK; // of numbers in the data
const PLOT = 96, BAND = 18, THIN = 10, GAP = 4, HEAD = 20, AXIS = 20; // pixels of the timeline

const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const readData = (section) => JSON.parse(find("script.data", section).textContent);

function make(tag, text, attributes = {}) {
  const kind = ["svg", "circle", "line", "text"].includes(tag) ? "2000/svg" : "1999/xhtml";
  const node = document.createElementNS(`http://www.w3.org/${kind}`, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  return node;
}

function formatTime(seconds, digits = 0) {
  const unit = 10 ** digits, rounded = Math.round(Math.abs(seconds) * unit) / unit;
  const rest = (rounded % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return `${seconds < 0 && rounded ? "-" : ""}${Math.floor(rounded / 60)}:${rest}`;
}

// One section is shown at a time, the one that the address names; the index keeps its place.
const timelines = new Map();
let scrolled = 0;

function showSection(event) {
  const sections = all("section.view"), old = sections.find((section) => !section.hidden);
  const [name, time] = location.hash.slice(1).split("@"); // such as #video-2@12.5
  const shown = sections.find((section) => section.id === name) ?? sections[0];
  if (event && old.id === "index") scrolled = scrollY;
  find("video", old)?.pause();
  for (const section of sections) section.hidden = section !== shown;
  if (shown.id !== "index" && !timelines.has(shown)) timelines.set(shown, new Timeline(shown));
  if (time) timelines.get(shown)?.seekTime(Number(time) + 1 / UNITS_PER_S);
  document.title = find("h1", shown).textContent;
  if (!event) return;
  find("h1", shown).focus({ preventScroll: true });
  scrollTo(0, shown.id === "index" ? scrolled : 0);
}

// Sorting: numbers as numbers, text as people count (P2 before P10), nothing always last.
const compareText = new Intl.Collator(undefined, { numeric: true }).compare;
const compare = (a, b) => (Number.isNaN(a - b) ? compareText(a, b) : a - b);

function sortTable(head) {
  const table = head.closest("table"), down = head.getAttribute("aria-sort") === "ascending";
  const read = (row) => row.cells[head.cellIndex].dataset.value;
  const rows = [...table.tBodies[0].rows].sort((one, other) => {
    const [a, b] = [read(one), read(other)];
    return (a === "") - (b === "") || (down ? compare(b, a) : compare(a, b));
  });
  for (const other of all("th[aria-sort]", table)) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  table.tBodies[0].append(...rows);
}

// The index: filters, and mean shares of groups.
function startIndex(section) {
  const data = readData(section), rows = [...find("#videos", section).tBodies[0].rows];
  const [name, count, by] = ["filter-name", "filter-count", "group-by"].map((id) => document.getElementById(id));
  const filters = all("select.filter", section);
  const update = () => {
    const kept = rows.map((row, k) => {
      const called = row.cells[0].dataset.value.toLowerCase().includes(name.value.trim().toLowerCase());
      return called && filters.every((f) => !f.value || data[k].person[f.dataset.column] === f.value);
    });
    rows.forEach((row, k) => { row.hidden = !kept[k]; });
    count.textContent = `${kept.filter(Boolean).length} of ${rows.length} rows`;
    drawGroups(section, data.filter((_, k) => kept[k]), by.value);
  };
  if (by.options.length > 1) by.selectedIndex = 1;
  [name, by, ...filters].forEach((control) => control.addEventListener("input", update));
  update();
}

function groupRows(data, by) { // [value, its rows], without rows that have none
  const read = (row) => (by ? row.person[by] : "all");
  const values = [...new Set(data.map(read))].filter(Boolean).sort(compareText);
  return values.map((value) => [value, data.filter((row) => read(row) === value)]);
}

function measure(rows, k) {
  const values = rows.map((row) => row.shares[k]).filter((value) => value !== null);
  const n = values.length, mean = values.reduce((a, b) => a + b, 0) / n;
  const sd = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / (n - 1));
  return { values, n, mean, sd };
}

function drawGroups(section, data, by) {
  const groups = groupRows(data, by), table = find("#group-table", section);
  const [top, head, body] = ["thead", "tr", "tbody"].map((tag) => make(tag, null));
  top.append(head);
  head.append(...[by || "group", "n", ...CLASSES].map((text) => make("th", text, { scope: "col" })));
  for (const [key, rows] of groups) {
    const cells = CLASSES.map((_, k) => measure(rows, k)), row = make("tr", null);
    row.append(make("th", key, { scope: "row" }), make("td", cells[0].n));
    row.append(...cells.map(({ n, mean, sd }) =>
      make("td", n ? `${(100 * mean).toFixed(1)}${n > 1 ? ` ± ${(100 * sd).toFixed(1)}` : ""} %` : "–")));
    body.append(row);
  }
  table.replaceChildren(table.caption, top, body);
  const most = [0.1, 0.25, 0.5].find((end) => data.every((row) => row.shares.every((share) => share <= end))) ?? 1;
  find("#group-plots", section).replaceChildren(...CLASSES.map((name, k) => drawClass(name, k, groups, most)));
}

function drawClass(name, k, groups, most) {
  const left = 110, width = 280, step = 24, height = groups.length * step + 22;
  const x = (share) => left + share / most * (width - left - 24);
  const title = `Share of ${name}; the table below has the numbers`;
  const svg = make("svg", null, { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  for (const share of [0, most / 2, most]) {
    svg.append(make("line", null, { class: "axis", x1: x(share), x2: x(share), y1: 0, y2: height - 18 }));
    svg.append(make("text", `${100 * share} %`, { x: x(share), y: height - 5, "text-anchor": "middle" }));
  }
  groups.forEach(([key, rows], g) => {
    const { values, n, mean, sd } = measure(rows, k), y = g * step + step / 2;
    const called = `${key.length > 12 ? `${key.slice(0, 11)}…` : key} (${n})`;
    svg.append(make("text", called, { x: left - 6, y: y + 4, "text-anchor": "end" }));
    const line = (kind, x1, x2, reach, thick) => svg.append(make("line", null,
      { class: kind, x1: x(x1), x2: x(x2), y1: y - reach, y2: y + reach, "stroke-width": thick }));
    values.forEach((value, i) => svg.append(make("circle", null,
      { cx: x(value), cy: y + ((i * 7) % 11) - 5, r: 2.5, fill: COLOURS[k], class: "dot" })));
    if (n > 1) line("spread", clamp(mean - sd, 0, 1), clamp(mean + sd, 0, most), 0, 1.5);
    if (n) line("mean", mean, mean, 9, 3);
  });
  const figure = make("figure", null), caption = make("figcaption", ` ${name}`);
  caption.prepend(make("i", null, { class: "swatch", style: `background:${COLOURS[k]}` }));
  figure.append(caption, svg);
  return figure;
}

for (const head of all("th[aria-sort]")) find("button", head).addEventListener("click", () => sortTable(head));
if (document.getElementById("index")) startIndex(document.getElementById("index"));
addEventListener("hashchange", showSection);
showSection();
