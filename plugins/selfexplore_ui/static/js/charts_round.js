// Charts of one round: the funnel of counts, first pits by step, the curves of preference training, what it cost.

import { chart, distinct, groupBy, legend, series, thinned } from "./chart.js";
import { compact, count, duration, number, percent } from "./format.js";
import { dataTable } from "./table.js";

const BAR = 44; // px a line: its text above its bar
const MOST_POINTS = 2000; // drawn of a training curve

/** Counts from problems to pairs as bars. */
export function funnelChart(steps) {
  const rows = steps.map((row) => ({ ...row, text: `${row.label}: ${count(row.count)}` }));
  return barChart({
    title: "From problems to pairs",
    note: "What the round made of its problems; why rows went no further is listed beside it.",
    rows,
    value: (row) => row.count,
    axis: { label: "Count", tickFormat: compact },
    columns: [
      { name: "Step", value: (row) => row.label },
      { name: "Count", value: (row) => row.count, numeric: true },
      { name: "Dropped", value: (row) => Object.values(row.drops).reduce((sum, one) => sum + one, 0), numeric: true },
    ],
  });
}

/** Explored rationales by the step of their first pit. */
export function pitChart(pits) {
  const total = pits.reduce((sum, row) => sum + row.count, 0);
  const rows = pits.map((row) => ({
    ...row,
    name: row.step === null ? "no pit" : String(row.step),
    share: row.count / (total || 1),
  }));
  return chart({
    title: "Where wrong rationales first go wrong",
    note: `First pit of ${count(total)} explored rationales: the first step from which no rollout succeeds.`,
    label: `First pits by step. ${rows.map((row) => `${row.step === null ? "No pit" : `Step ${row.step}`}: ${count(row.count)}`).join(". ")}`,
    columns: [
      { name: "First pit at step", value: (row) => row.name },
      { name: "Rationales", value: (row) => row.count, numeric: true },
      { name: "Share", value: (row) => row.share, cell: (row) => percent(row.share), numeric: true },
    ],
    rows,
    draw: (width) => pitPlot(rows, width),
  });
}

function pitPlot(rows, width) {
  const Plot = window.Plot;
  const names = rows.map((row) => row.name);
  const ticks = thinned(names, width);
  const numbered = ticks.length === names.length ? rows : []; // crowded numbers cannot be read: the table has them
  return {
    height: 240,
    x: { label: "Step", type: "band", domain: names, ticks, padding: 0.25 },
    y: {
      label: "Rationales",
      grid: true,
      tickFormat: compact,
      domain: [0, 1.12 * Math.max(...rows.map((row) => row.count))],
    },
    marks: [
      Plot.barY(rows, {
        x: "name",
        y: "count",
        z: null,
        fill: (row) => (row.step === null ? "var(--series-6)" : "var(--series-1)"),
      }),
      Plot.text(numbered, { x: "name", y: "count", text: (row) => count(row.count), dy: -8, fill: "currentColor" }),
      Plot.ruleY([0], { stroke: "var(--line)" }),
    ],
  };
}

const CURVES = [
  { key: "loss", title: "DPO loss by step", axis: "Loss" },
  { key: "margin", title: "Reward margin by step", axis: "Chosen minus rejected reward" },
  { key: "chosen_logprob", title: "Log-probability of chosen answers by step", axis: "Log-probability, nats" },
  { key: "rejected_logprob", title: "Log-probability of rejected answers by step", axis: "Log-probability, nats" },
  { key: "reward_accuracy", title: "Pairs ranked right by step", axis: "Share of pairs" },
  { key: "grad_norm", title: "Gradient norm by step", axis: "Norm" },
];

/** Curves of what the round's preference trainings logged; a quantity that none logged has no chart. */
export function trainingCharts(points) {
  if (new Set(points.map((point) => point.step)).size < 2) return [trainingTable(points)];
  const names = distinct(points.map((point) => point.model_id));
  return CURVES.flatMap((curve) => {
    const rows = points.filter((point) => point[curve.key] !== null && Number.isFinite(point[curve.key]));
    return rows.length ? [trainingChart(curve, rows, names)] : [];
  });
}

function trainingTable(points) {
  const columns = CURVES.map(({ key, axis, title }) => ({
    name: title.replace(/ by step$/, ""),
    title: axis,
    value: (row) => row[key],
    cell: (row) => number(row[key]),
    numeric: true,
  }));
  const all = [
    { name: "Model", value: (row) => row.model_id },
    { name: "Step", value: (row) => row.step, numeric: true },
    ...columns,
  ];
  return dataTable(all, points, { caption: "What the trainings logged: a single step each" });
}

function trainingChart({ key, title, axis }, rows, names) {
  const Plot = window.Plot;
  const ends = [...groupBy(rows, (row) => row.model_id)].map(
    ([name, group]) =>
      `${name}: ${number(group[0][key])} at step ${group[0].step}, ${number(group.at(-1)[key])} at step ${group.at(-1).step}`,
  );
  const drawn = rows.filter((_, index) => index % Math.ceil(rows.length / MOST_POINTS) === 0);
  return chart({
    title,
    label: `${title}. ${ends.join(". ")}`,
    legend: legend(names),
    columns: [
      { name: "Model", value: (row) => row.model_id },
      { name: "Step", value: (row) => row.step, numeric: true },
      { name: axis, value: (row) => row[key], cell: (row) => number(row[key]), numeric: true },
    ],
    rows,
    draw: () => ({
      height: 200,
      marginLeft: 72, // a curve that hardly moves has marks of many digits
      ...series(names),
      x: { label: "Optimiser step", inset: 6, ticks: wholeTicks(drawn), tickFormat: count },
      y: { label: axis, grid: true, ticks: 5 },
      marks: [
        Plot.line(drawn, { x: "step", y: key, stroke: "model_id", strokeWidth: 2 }),
        Plot.dot(drawn.length > 60 ? [] : drawn, { x: "step", y: key, fill: "model_id", symbol: "model_id", r: 2.5 }),
        Plot.tip(
          drawn,
          Plot.pointer({ x: "step", y: key, title: (row) => `${row.model_id}, step ${row.step}\n${number(row[key])}` }),
        ),
      ],
    }),
  });
}

/** At most six marks on the axis of steps, each a whole step. */
function wholeTicks(rows) {
  const steps = rows.map((row) => row.step);
  return window.d3.ticks(Math.min(...steps), Math.max(...steps), 5).filter(Number.isInteger);
}

/** Seconds and tokens of every stage of a round against what was expected of it. */
export function costCharts(costs) {
  const charts = [
    costChart(costs, "seconds", "estimated_seconds", "Time by stage", duration, { label: "Seconds" }),
    costChart(costs, "tokens", "estimated_tokens", "Tokens by stage", compact, {
      label: "Tokens, generated or trained on",
      tickFormat: compact,
    }),
  ];
  return charts.filter((one) => one !== null);
}

function costChart(costs, key, estimateKey, title, format, axis) {
  const rows = costs
    .filter((row) => row[key] > 0 || row[estimateKey] > 0)
    .map((row) => ({ ...row, text: costText(row, key, estimateKey, format) }));
  if (rows.length === 0) return null;
  return barChart({
    title,
    note: rows.some((row) => row[estimateKey] !== null) ? "Bar: what it took. Upright line: what was expected." : null,
    rows,
    value: (row) => row[key],
    mark: (row) => row[estimateKey],
    axis,
    columns: [
      { name: "Stage", value: (row) => row.stage },
      { name: title.split(" ")[0], value: (row) => row[key], cell: (row) => format(row[key]), numeric: true },
      { name: "Expected", value: (row) => row[estimateKey], cell: (row) => format(row[estimateKey]), numeric: true },
    ],
  });
}

function costText(row, key, estimateKey, format) {
  const expected = row[estimateKey] === null ? "" : ` (expected ${format(row[estimateKey])})`;
  return `${row.stage}: ${format(row[key])}${expected}`;
}

/** Bars that lie, each with its text above it, so that long names fit on a narrow screen. */
function barChart({ title, note, rows, value, mark = null, axis, columns }) {
  const Plot = window.Plot;
  const lines = rows.map((row, index) => ({ row, key: String(index) }));
  const marked = mark === null ? [] : lines.filter((line) => mark(line.row) !== null);
  const most = Math.max(1e-9, ...lines.map((line) => value(line.row)), ...marked.map((line) => mark(line.row)));
  return chart({
    title,
    note,
    label: `${title}. ${rows.map((row) => row.text).join(". ")}`,
    columns,
    rows,
    draw: (width) => ({
      height: 42 + BAR * rows.length,
      marginLeft: 8,
      marginRight: 14,
      x: { ...axis, domain: [0, most], grid: true, ticks: width < 420 ? 4 : 7 },
      y: { axis: null, type: "band", domain: lines.map((line) => line.key), padding: 0 },
      marks: [
        Plot.barX(lines, {
          y: "key",
          x: (line) => value(line.row),
          fill: "var(--series-1)",
          insetTop: 23,
          insetBottom: 6,
        }),
        Plot.tickX(marked, {
          y: "key",
          x: (line) => mark(line.row),
          stroke: "currentColor",
          strokeWidth: 2,
          insetTop: 19,
          insetBottom: 2,
        }),
        Plot.text(lines, {
          y: "key",
          x: 0,
          text: (line) => line.row.text,
          textAnchor: "start",
          dx: 2,
          dy: -11,
          fill: "currentColor",
          stroke: "var(--surface)",
          strokeWidth: 4,
        }),
        Plot.ruleX([0], { stroke: "var(--line)" }),
      ],
    }),
  });
}
