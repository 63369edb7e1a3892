// The page of one experiment as parts: Airflow's page and the report show the same.

import { groupBy } from "./chart.js";
import { costCharts, funnelChart, pitChart, trainingCharts } from "./charts_round.js";
import { accuracyCharts, armCharts, passRateChart } from "./charts_rounds.js";
import { badge, h, notice, replace, section } from "./dom.js";
import {
  compact,
  count,
  dateTime,
  duration,
  leveledInterval,
  levelText,
  number,
  percentInterval,
  points,
  pointsInterval,
  UNKNOWN,
} from "./format.js";
import { dataTable } from "./table.js";

const STATES = {
  running: "info",
  idle: "neutral",
  new: "neutral",
  paused: "warning",
  cancelled: "error",
  ended: "success",
  unreadable: "error",
};

/** The state of an experiment as a badge. */
export function stateBadge(state) {
  return badge(state, STATES[state] ?? "neutral");
}

/** The few numbers that matter most. */
export function summary(row) {
  const facts = [
    [
      "Champion",
      row.champion ?? UNKNOWN,
      row.champion === null
        ? "no round is finished yet"
        : percentInterval(row.champion_accuracy, row.champion_low, row.champion_high),
    ],
    [
      "Last gain",
      points(row.gain),
      row.gain === null
        ? ""
        : `${spaced(row.decision)}, ${pointsInterval(row.gain, row.gain_low, row.gain_high)}${levelOf(row)}`,
    ],
    ["Rounds", row.last_round === null ? UNKNOWN : `${row.last_round} of ${row.max_rounds}`, "after round 0"],
    ["Time", duration(row.seconds), costLabel(row)],
  ];
  return h(
    "dl",
    { class: "facts" },
    facts.map(([name, value, more]) =>
      h("div", { class: "fact" }, h("dt", {}, name), h("dd", {}, h("strong", {}, value), h("span", {}, more))),
    ),
  );
}

/** The tokens of an experiment; what a fork took over is counted where it was made. */
export function costLabel(row) {
  return `${compact(row.tokens)} tokens${row.forked_from ? ", since the fork" : ""}`;
}

function levelOf(row) {
  return row.gain_level ? `, a ${levelText(row.gain_level)} interval` : "";
}

function spaced(decision) {
  return (decision ?? "").replaceAll("_", " ");
}

/**
 * Everything below the numbers. `linkToRound(round)` gives a link to its problems, or null where there is none;
 * `round` is the one to show (null: the last), and `onRound(round)` hears of another choice.
 */
export function experimentParts(page, { linkToRound = () => null, round = null, onRound = () => {} } = {}) {
  const accuracy = accuracyCharts(page.accuracy);
  return [
    page.experiment.stop_reason ? notice("info", h("strong", {}, "Ended: "), page.experiment.stop_reason) : null,
    section(
      "Accuracy",
      accuracy.length
        ? h("div", { class: "charts" }, accuracy)
        : h("p", { class: "empty" }, "No model is evaluated yet."),
    ),
    section("Rounds and decisions", decisionTable(page.rounds, linkToRound)),
    oneRound(page, round, onRound),
    section("Recipe", recipeTable(page.recipe)),
  ];
}

function decisionTable(rounds, linkToRound) {
  const columns = [
    { name: "Round", value: (row) => row.round, cell: (row) => linkToRound(row.round) ?? row.round, numeric: true },
    {
      name: "Decision",
      value: (row) => row.decision,
      cell: (row) => badge(spaced(row.decision), row.promoted ? "success" : "neutral"),
    },
    { name: "Candidate", value: (row) => row.candidate },
    { name: "Champion after", value: (row) => row.champion },
    {
      name: "Gain on dev, points [interval] (its level)",
      title: "The gate's interval, with its level: it leaves out on each side what the round may spend of alpha",
      value: (row) => row.gain,
      cell: (row) => leveledInterval(row.gain, row.gain_low, row.gain_high, row.gain_level),
      numeric: true,
    },
    { name: "p-value", value: (row) => row.p_value, cell: (row) => number(row.p_value), numeric: true },
    { name: "Alpha spent", value: (row) => row.alpha_spent, cell: (row) => number(row.alpha_spent), numeric: true },
    { name: "Gain on test", value: (row) => row.test_gain, cell: (row) => points(row.test_gain), numeric: true },
    { name: "Reason", value: (row) => row.decision_reason, wide: true },
  ];
  const table = dataTable(columns, rounds, {
    caption: "What the gate decided after each round",
    cards: true,
    empty: "No round is finished yet.",
  });
  const note = "The gate's interval is made for its decision: it has the level that stands behind it, not always 95%.";
  return [table, rounds.length ? h("p", { class: "chart-note" }, note) : null];
}

/** What belongs to one round, with a choice of the round. */
function oneRound(page, wanted, onRound) {
  const rounds = [...groupBy([...page.funnel, ...page.costs], (row) => row.round).keys()].sort(
    (left, right) => left - right,
  );
  if (rounds.length === 0) return null;
  const body = h("div", {});
  const show = (round) => replace(body, roundParts(page, round));
  const choose = (round) => {
    show(round);
    onRound(round);
  };
  const select = h(
    "select",
    { id: "round-shown", class: "input", onchange: (event) => choose(Number(event.target.value)) },
    rounds.map((round) => h("option", { value: String(round) }, `Round ${round}`)),
  );
  const first = rounds.includes(wanted) ? wanted : rounds.at(-1);
  select.value = String(first);
  show(first);
  return section(
    "One round",
    h("div", { class: "toolbar" }, h("label", { for: "round-shown" }, "Round"), select),
    body,
  );
}

function roundParts(page, round) {
  const of = (rows) => rows.filter((row) => row.round === round);
  const [funnel, pits, training, costs, arms] = [
    page.funnel,
    page.first_pits,
    page.training,
    page.costs,
    page.arms,
  ].map(of);
  const alarms = of(page.rounds).flatMap((row) => row.alarms);
  return [
    h(
      "div",
      { class: "charts" },
      funnel.length ? [funnelChart(funnel), dropTable(funnel)] : null,
      pits.length ? pitChart(pits) : null,
      passRateChart(page.pass_rates.filter((row) => row.round <= round)),
    ),
    training.length || alarms.length ? h("h3", {}, "Preference training") : null,
    alarms.map((alarm) => notice("warning", h("strong", {}, "Alarm: "), alarm)),
    training.length
      ? h(
          "div",
          { class: new Set(training.map((point) => point.step)).size < 2 ? null : "charts" },
          trainingCharts(training),
        )
      : null,
    arms.length ? [h("h3", {}, "Compared models"), h("div", { class: "charts" }, armCharts(arms))] : null,
    costs.length ? [h("h3", {}, "Cost"), h("div", { class: "charts" }, costCharts(costs))] : null,
  ];
}

function dropTable(funnel) {
  const rows = funnel.flatMap((step) =>
    Object.entries(step.drops).map(([reason, dropped]) => ({ step: step.label, reason, dropped })),
  );
  const columns = [
    { name: "Step", value: (row) => row.step },
    { name: "Why", value: (row) => row.reason.replaceAll("_", " ") },
    { name: "Rows", value: (row) => row.dropped, cell: (row) => count(row.dropped), numeric: true },
  ];
  return h(
    "div",
    { class: "chart" },
    h("p", { class: "chart-title" }, "Why rows went no further"),
    dataTable(columns, rows, { caption: "Rows dropped, by step and reason", empty: "Nothing was dropped." }),
  );
}

function recipeTable(recipe) {
  const rows = flattened(recipe, "").map(([path, value]) => ({ path, value }));
  const columns = [
    { name: "Field", value: (row) => row.path, cell: (row) => h("code", {}, row.path) },
    { name: "Value", value: (row) => row.value, cell: (row) => h("code", {}, row.value), wide: true },
  ];
  return h(
    "details",
    {},
    h("summary", {}, `All ${count(rows.length)} fields`),
    dataTable(columns, rows, { caption: "Fields of the recipe" }),
  );
}

function flattened(value, path) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [[path, JSON.stringify(value)]];
  return Object.entries(value).flatMap(([key, inner]) => flattened(inner, path ? `${path}.${key}` : key));
}

/** Where an experiment comes from, in one line. */
export function origin(row) {
  const fork = row.forked_from ? `, forked from ${row.forked_from}` : "";
  return `Recipe ${row.recipe} (${row.recipe_hash.slice(0, 12)}), made ${dateTime(row.created_at)}${fork}`;
}
