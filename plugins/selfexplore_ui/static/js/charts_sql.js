// A simple chart of a query's result: a column across, a column up, a kind of mark.

import { chart } from "./chart.js";
import { append, h, replace } from "./dom.js";
import { shorten } from "./format.js";

const KINDS = { bar: "Bars", line: "Line", dot: "Dots" };
const MOST_MARKS = 2000;
const NUMERIC = /INT|DOUBLE|FLOAT|DECIMAL|REAL|HUGE/i;

/** Whether a column's DuckDB type is a number. */
export function isNumeric(type) {
  return NUMERIC.test(type) && !/[[(]\]|MAP|STRUCT|LIST/i.test(type);
}

/** A chart with its choices; null where the result has no column of numbers. */
export function resultChart(result) {
  const names = result.columns.map((column) => column.name);
  const numeric = names.filter((_, index) => isNumeric(result.columns[index].type));
  if (numeric.length === 0 || result.rows.length === 0) return null;
  const x = names.find((name) => !numeric.includes(name)) ?? names[0];
  const choice = { x, y: numeric.at(-1), kind: repeats(result, names.indexOf(x)) ? "dot" : "bar" };
  const place = h("div", {});
  const draw = () => replace(place, drawn(result, names, choice));
  const select = (name, label, options) => {
    const input = h("select", {
      id: `chart-${name}`,
      class: "input",
      onchange: (event) => {
        choice[name] = event.target.value;
        draw();
      },
    });
    append(
      input,
      Object.entries(options).map(([value, word]) => h("option", { value }, word)),
    );
    input.value = choice[name];
    return [h("label", { for: `chart-${name}` }, label), input];
  };
  const same = (values) => Object.fromEntries(values.map((value) => [value, value]));
  draw();
  return h(
    "div",
    {},
    h(
      "div",
      { class: "toolbar" },
      select("kind", "Kind", KINDS),
      select("x", "Across", same(names)),
      select("y", "Up", same(numeric)),
    ),
    place,
  );
}

/** Whether a column holds a value twice. */
function repeats(result, index) {
  return new Set(result.rows.map((row) => row[index])).size < result.rows.length;
}

function drawn(result, names, { x, y, kind }) {
  const [across, up] = [names.indexOf(x), names.indexOf(y)];
  const rows = result.rows
    .filter((row) => row[across] !== null && row[up] !== null)
    .map((row) => ({ x: row[across], y: Number(row[up]) }))
    .filter((row) => Number.isFinite(row.y))
    .slice(0, MOST_MARKS);
  const isNumber = rows.every((row) => typeof row.x === "number");
  const flat = rows.map((row) => ({ ...row, x: isNumber ? row.x : String(row.x) }));
  const isSum = kind === "bar" && repeats(result, across);
  const title = `${isSum ? "Sum of " : ""}${y} by ${x}`;
  const notes = [
    isSum ? `${x} repeats: a bar adds up its rows.` : null,
    result.rows.length > MOST_MARKS ? `The first ${MOST_MARKS} rows.` : null,
  ];
  return chart({
    title,
    note: notes.filter(Boolean).join(" "),
    label: `${title}, ${flat.length} rows`,
    columns: [
      { name: x, value: (row) => row.x },
      { name: y, value: (row) => row.y, numeric: true },
    ],
    rows: flat,
    draw: (width) => resultPlot(flat, x, y, kind, isNumber, width),
  });
}

function resultPlot(rows, x, y, kind, isNumber, width) {
  const Plot = window.Plot;
  const isBand = kind === "bar" || !isNumber;
  const domain = [...new Set(rows.map((row) => row.x))];
  const every = Math.ceil(domain.length / Math.max(2, Math.floor(width / 70)));
  const colour = "var(--series-1)";
  const marks = {
    bar: () => [
      Plot.barY(rows, Plot.groupX({ y: "sum" }, { x: "x", y: "y", fill: colour })),
      Plot.ruleY([0], { stroke: "var(--line)" }),
    ],
    line: () => [Plot.line(rows, { x: "x", y: "y", stroke: colour, strokeWidth: 2, sort: isNumber ? "x" : null })],
    dot: () => [Plot.dot(rows, { x: "x", y: "y", fill: colour, r: 3 })],
  };
  return {
    height: 300,
    marginBottom: 56,
    x: isBand
      ? {
          label: x,
          type: kind === "bar" ? "band" : "point",
          domain,
          ticks: domain.filter((_, index) => index % every === 0),
          tickFormat: (value) => shorten(String(value), 16),
        }
      : { label: x, inset: 8 },
    y: { label: y, grid: true },
    marks: marks[kind](),
  };
}
