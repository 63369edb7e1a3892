// Charts over all rounds of an experiment: accuracy, and the differences between its models.

import { chart, distinct, groupBy, legend, series, thinned } from "./chart.js";
import { h } from "./dom.js";
import { count, percent, percentInterval, pointsInterval } from "./format.js";

const RING = 8; // px, radius of the mark of a promotion
const SPREAD = 0.36; // of a round, over which its models stand beside each other

/** One chart of accuracy by round for every benchmark and split, all on one scale. */
export function accuracyCharts(points) {
  if (points.length === 0) return [];
  const names = distinct(points.map((point) => point.model));
  const span = {
    low: Math.max(0, Math.min(...points.map((point) => point.low)) - 0.03),
    high: Math.min(1, Math.max(...points.map((point) => point.high)) + 0.03),
  };
  const groups = groupBy(points, (point) => `${point.benchmark}, ${point.split} problems`);
  return [...groups].map(([name, group]) => accuracyChart(name, group, names, span));
}

function accuracyChart(name, points, names, span) {
  const beside = groupBy(points, (point) => point.round);
  const offset = (point) => {
    const models = beside.get(point.round).map((one) => one.model);
    return models.length < 2 ? 0 : (models.indexOf(point.model) / (models.length - 1) - 0.5) * SPREAD;
  };
  const rows = points.map((point) => ({ ...point, x: point.round + offset(point), accuracyText: interval(point) }));
  const promoted = rows.filter((row) => row.promoted);
  const rounds = distinct(rows.map((row) => row.round));
  return chart({
    title: `Accuracy by round: ${name}`,
    note: `Share of ${count(points.at(-1).problem_count)} problems that the model solves; bars are 95% intervals.`,
    label: `Accuracy by round on ${name}. ${promoted.map((row) => `Round ${row.round}, ${row.model}, promoted: ${row.accuracyText}`).join(". ")}`,
    legend: legend(names, [[h("span", { class: "swatch ring" }), "promoted to champion"]]),
    columns: [
      { name: "Round", value: (row) => row.round, numeric: true },
      { name: "Model", value: (row) => row.model },
      { name: "Accuracy [95% interval]", value: (row) => row.accuracyText, numeric: true },
      { name: "Problems", value: (row) => row.problem_count, numeric: true },
      { name: "Promoted", value: (row) => (row.promoted ? "yes" : "") },
    ],
    rows,
    draw: (width) => accuracyPlot(rows, promoted, thinned(rounds, width), names, span),
  });
}

function interval(point) {
  return percentInterval(point.accuracy, point.low, point.high);
}

function accuracyPlot(rows, promoted, ticks, names, span) {
  const Plot = window.Plot;
  const rounds = rows.map((row) => row.round);
  const ends = [Math.min(...rounds) - 0.5, Math.max(...rounds) + 0.5];
  return {
    height: 260,
    ...series(names),
    x: { label: "Round", domain: ends, ticks, tickFormat: (round) => String(round) },
    y: { label: "Problems solved, %", domain: [100 * span.low, 100 * span.high], grid: true, nice: true },
    marks: [
      Plot.line(promoted, { x: "x", y: (row) => 100 * row.accuracy, stroke: "var(--line)", strokeDasharray: "3 3" }),
      Plot.ruleX(rows, {
        x: "x",
        y1: (row) => 100 * row.low,
        y2: (row) => 100 * row.high,
        stroke: "model",
        strokeWidth: 2,
      }),
      Plot.dot(rows, { x: "x", y: (row) => 100 * row.accuracy, fill: "model", symbol: "model", r: 4 }),
      Plot.dot(promoted, { x: "x", y: (row) => 100 * row.accuracy, stroke: "currentColor", r: RING, strokeWidth: 1.5 }),
      Plot.tip(
        rows,
        Plot.pointer({
          x: "x",
          y: (row) => 100 * row.accuracy,
          title: (row) => `Round ${row.round}, ${row.model}${row.promoted ? " (promoted)" : ""}\n${row.accuracyText}`,
        }),
      ),
    ],
  };
}

/** One chart of paired differences for every benchmark and split; the zero line is "no better". */
export function armCharts(differences) {
  const groups = groupBy(differences, (row) => `${row.benchmark}, ${row.split} problems`);
  return [...groups].map(([name, rows]) =>
    differenceChart(`Paired differences: ${name}`, rows, (row) => `${row.model_id} − ${row.baseline_id}`),
  );
}

/** Differences as dots with intervals, one line each, its name above it. `nameOf(row)` says what was subtracted. */
export function differenceChart(title, rows, nameOf) {
  const lines = rows.map((row, index) => ({
    ...row,
    key: String(index),
    name: nameOf(row),
    text: pointsInterval(row.difference, row.low, row.high),
  }));
  const reach = 100 * Math.max(0.01, ...lines.flatMap((row) => [Math.abs(row.low), Math.abs(row.high)]));
  return chart({
    title,
    note: "In percentage points, over the same problems; bars are 95% bootstrap intervals. Right of zero is better.",
    label: `${title}. ${lines.map((row) => `${row.name}: ${row.text} points`).join(". ")}`,
    columns: differenceColumns(nameOf),
    rows,
    draw: () => differencePlot(lines, reach),
  });
}

function differencePlot(lines, reach) {
  const Plot = window.Plot;
  const colour = (row) => (row.low > 0 ? "var(--good)" : row.high < 0 ? "var(--bad)" : "var(--series-6)");
  return {
    height: 46 + 44 * lines.length,
    marginLeft: 8,
    marginRight: 8,
    x: { label: "Difference, percentage points", domain: [-1.08 * reach, 1.08 * reach], grid: true },
    y: { axis: null, domain: lines.map((row) => row.key), type: "band" },
    marks: [
      Plot.ruleX([0], { stroke: "var(--line)", strokeWidth: 1.5 }),
      Plot.ruleY(lines, {
        y: "key",
        x1: (row) => 100 * row.low,
        x2: (row) => 100 * row.high,
        stroke: colour,
        z: null,
        strokeWidth: 2,
        dy: 8,
      }),
      Plot.dot(lines, { y: "key", x: (row) => 100 * row.difference, fill: colour, z: null, r: 5, dy: 8 }),
      Plot.text(lines, {
        y: "key",
        text: (row) => `${row.name}:  ${row.text}`,
        frameAnchor: "left",
        dy: -10,
        fontSize: 12,
        fill: "currentColor",
        stroke: "var(--surface)",
        strokeWidth: 4,
      }),
    ],
  };
}

/** Columns of a table of differences. */
export function differenceColumns(nameOf) {
  return [
    { name: "Models", value: nameOf },
    { name: "Benchmark", value: (row) => `${row.benchmark} ${row.split}` },
    {
      name: "Difference, points [95% interval]",
      value: (row) => row.difference,
      cell: (row) => pointsInterval(row.difference, row.low, row.high),
      numeric: true,
    },
    { name: "Gained", value: (row) => row.gained, numeric: true, title: "Problems that only the first model solves" },
    { name: "Lost", value: (row) => row.lost, numeric: true, title: "Problems that only the second model solves" },
    { name: "Problems", value: (row) => row.problem_count, numeric: true },
  ];
}

/** Pass rate of rollouts by the step they start behind, a line for each round. */
export function passRateChart(rates) {
  const rounds = distinct(rates.map((row) => `round ${row.round}`)).slice(-6);
  const rows = rates.map((row) => ({ ...row, name: `round ${row.round}` })).filter((row) => rounds.includes(row.name));
  if (rows.length === 0) return null;
  return chart({
    title: "Pass rate by step",
    note: "Share of rollouts that still reach the gold answer when they start behind a step of a wrong rationale.",
    label: `Pass rate by step. ${rows.map((row) => `${row.name}, step ${row.step}: ${percent(row.pass_rate)}`).join(". ")}`,
    legend: legend(rounds),
    columns: [
      { name: "Round", value: (row) => row.round, numeric: true },
      { name: "Step", value: (row) => row.step, numeric: true },
      { name: "Pass rate", value: (row) => row.pass_rate, cell: (row) => percent(row.pass_rate), numeric: true },
      { name: "Rationales", value: (row) => row.rationale_count, numeric: true },
      { name: "Rollouts", value: (row) => row.draw_count, numeric: true },
    ],
    rows,
    draw: (width) => passRatePlot(rows, rounds, width),
  });
}

function passRatePlot(rows, rounds, width) {
  const Plot = window.Plot;
  const up = (row) => 100 * row.pass_rate;
  const title = (row) =>
    `${row.name}, step ${row.step}\n${percent(row.pass_rate)} of ${count(row.draw_count)} rollouts`;
  return {
    height: 240,
    ...series(rounds),
    x: {
      label: "Step behind which the rollout starts",
      ticks: thinned(distinct(rows.map((row) => row.step)), width),
      tickFormat: (step) => String(step),
      inset: 12,
    },
    y: { label: "Rollouts that reach the answer, %", grid: true, zero: true },
    marks: [
      Plot.ruleY([0], { stroke: "var(--line)" }),
      Plot.line(rows, { x: "step", y: up, stroke: "name", strokeWidth: 2 }),
      Plot.dot(rows, { x: "step", y: up, fill: "name", symbol: "name", r: 4 }),
      Plot.tip(rows, Plot.pointer({ x: "step", y: up, title })),
    ],
  };
}
