// A chart with everything around it: a title that says what it shows, a text for who cannot see it, its numbers as a
// table. Drawn by Observable Plot (global `Plot`, vendored) in colours of the page, so that a new theme needs no redraw.

import { h, replace } from "./dom.js";
import { dataTable } from "./table.js";

const SERIES = [
  "var(--series-1)",
  "var(--series-2)",
  "var(--series-3)",
  "var(--series-4)",
  "var(--series-5)",
  "var(--series-6)",
];
const SYMBOLS = ["circle", "square", "triangle", "diamond", "cross", "star"];
const SVG = "http://www.w3.org/2000/svg";
const NARROW = 420; // px
const TICK = 32; // px, the least between two marks of an axis

/** Scales that give every name a colour and a symbol, the same in every chart of a page. */
export function series(names) {
  return {
    color: { type: "ordinal", domain: names, range: names.map((_, index) => SERIES[index % SERIES.length]) },
    symbol: { domain: names, range: names.map((_, index) => SYMBOLS[index % SYMBOLS.length]) },
  };
}

/** The names of a legend: the series' symbol in its colour before each. */
export function legend(names, extra = []) {
  const entries = names.map((name, index) => h("li", {}, symbolMark(index), name));
  return h(
    "ul",
    { class: "legend" },
    entries,
    extra.map((entry) => h("li", {}, entry)),
  );
}

function symbolMark(index) {
  const symbol = SYMBOLS[index % SYMBOLS.length];
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", window.d3.symbol(window.d3[`symbol${symbol[0].toUpperCase()}${symbol.slice(1)}`], 70)());
  path.setAttribute("fill", SERIES[index % SERIES.length]);
  const mark = document.createElementNS(SVG, "svg");
  for (const [name, value] of [
    ["width", "13"],
    ["height", "13"],
    ["viewBox", "-7 -7 14 14"],
    ["aria-hidden", "true"],
  ]) {
    mark.setAttribute(name, value);
  }
  mark.append(path);
  return mark;
}

/**
 * A figure. `draw(width)` returns options of `Plot.plot`; `columns` and `rows` are its numbers as a table; `label` is
 * read out in the place of the drawing; `legend` stands above it.
 */
export function chart({ title, note, label, draw, columns, rows, legend: names = null }) {
  const plot = h("div", { class: "plot" });
  const table = h("div", { class: "chart-table", hidden: true });
  const toggle = h("button", { type: "button", class: "button small", "aria-expanded": "false" }, "Show as table");
  toggle.addEventListener("click", () => {
    const opened = table.hidden;
    table.hidden = !opened;
    toggle.setAttribute("aria-expanded", String(opened));
    toggle.textContent = opened ? "Hide table" : "Show as table";
    if (opened && !table.hasChildNodes()) table.append(dataTable(columns, rows, { caption: title, pageSize: 200 }));
  });
  redrawOnResize(plot, (width) => drawing(draw(width), width, label));
  return h(
    "figure",
    { class: "chart" },
    h(
      "figcaption",
      {},
      h("span", { class: "chart-title" }, title),
      note ? h("span", { class: "chart-note" }, note) : null,
    ),
    names,
    plot,
    h("div", { class: "chart-foot" }, toggle),
    table,
  );
}

function drawing(options, width, label) {
  const plot = window.Plot.plot({
    width,
    marginLeft: width < NARROW ? 44 : 52,
    marginBottom: 38,
    ...options,
    style: { background: "none", fontSize: "12px", fontFamily: "inherit", overflow: "visible", ...options.style },
  });
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", label);
  return plot;
}

function redrawOnResize(plot, draw) {
  let drawn = 0;
  new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width < 50 || width === drawn) return;
    drawn = width;
    replace(plot, draw(width));
  }).observe(plot);
}

/**
 * Those of the values of an axis that get a mark on `width` pixels: all, or the multiples of 2, 5, 10, …; a word gets
 * one always, and then none that stands close before it.
 */
export function thinned(values, width) {
  const room = Math.max(2, Math.floor(width / TICK));
  let every = 1;
  for (let next = 0; values.length / every > room; next += 1) every = [2, 5, 10][next % 3] * 10 ** Math.floor(next / 3);
  const isWord = (value) => Number.isNaN(Number(value));
  const word = values.findIndex(isWord);
  const isClear = (index) => every === 1 || word < index || word - index >= every;
  return values.filter((value, index) => isWord(value) || (Number(value) % every === 0 && isClear(index)));
}

/** Groups of rows by a key, in the order in which the keys appear. */
export function groupBy(rows, key) {
  const groups = new Map();
  for (const row of rows) {
    const value = key(row);
    if (groups.has(value)) groups.get(value).push(row);
    else groups.set(value, [row]);
  }
  return groups;
}

/** Distinct values in the order in which they appear. */
export function distinct(values) {
  return [...new Set(values)];
}
