// All experiments, live: what runs, how good the champions are, what it cost, and the hand on the wheel.

import { get, post } from "../api.js";
import { ask, toast } from "../dialog.js";
import { badge, h, notice, replace } from "../dom.js";
import { stateBadge } from "../experiment_parts.js";
import { compact, count, duration, percent, percentInterval, pointsInterval, UNKNOWN } from "../format.js";
import { go, routeTo } from "../route.js";
import { dataTable } from "../table.js";

const LIVE_MS = 3_000; // between two looks while something runs
const IDLE_MS = 15_000;
const SLUG = "[A-Za-z0-9][A-Za-z0-9_\\-]{0,63}(\\.[A-Za-z0-9_\\-]+)*";

/** The list of experiments. */
export async function experimentsView(route, signal) {
  const table = h("div", { id: "experiments" });
  const status = h("p", { class: "soft" });
  let shownText = "";
  const refresh = async () => {
    const rows = await get("experiments", {}, {}, signal);
    const text = JSON.stringify(rows);
    if (text !== shownText) replace(table, experimentTable(rows, refresh));
    shownText = text;
    status.textContent = summaryLine(rows);
    return rows;
  };
  const rows = await refresh();
  poll(refresh, rows, status, signal);
  const start = h("a", { class: "button primary", href: routeTo("start") }, "Start an experiment");
  return {
    title: "Experiments",
    content: [h("div", { class: "page-head" }, h("div", {}, h("h1", {}, "Experiments"), status), start), table],
  };
}

function summaryLine(rows) {
  const running = rows.filter((row) => row.state === "running").length;
  if (rows.length === 0) return "";
  return `${count(rows.length)} ${rows.length === 1 ? "experiment" : "experiments"}, ${running} running`;
}

async function poll(refresh, first, status, signal) {
  let rows = first;
  while (!signal.aborted) {
    const isLive = rows.some((row) => row.state === "running" || row.live.length > 0);
    await new Promise((resolve) => window.setTimeout(resolve, isLive ? LIVE_MS : IDLE_MS));
    if (signal.aborted) return;
    if (document.hidden) continue;
    try {
      rows = await refresh();
    } catch (error) {
      if (signal.aborted) return;
      status.textContent = `${error.message} What you see may be old.`;
    }
  }
}

function experimentTable(rows, refresh) {
  if (rows.length === 0) {
    return notice(
      "info",
      "There is no experiment yet. ",
      h("a", { href: routeTo("start") }, "Start the first one"),
      ".",
    );
  }
  const columns = [
    { name: "Experiment", value: (row) => row.experiment, cell: nameCell },
    { name: "State", value: (row) => row.state, cell: stateCell },
    { name: "Progress", value: (row) => row.last_round, cell: progressCell },
    { name: "Champion's accuracy", value: (row) => row.champion_accuracy, cell: championCell },
    { name: "Last gain, points", value: (row) => row.gain, cell: gainCell },
    {
      name: "Cost",
      value: (row) => row.seconds,
      cell: (row) => twoLines(duration(row.seconds), `${compact(row.tokens)} tokens`),
    },
    { name: "Actions", value: () => "", cell: (row) => actions(row, refresh) },
  ];
  return dataTable(columns, rows, { caption: "Experiments", cards: true });
}

function twoLines(main, more) {
  return h("div", {}, h("span", { class: "cell-main" }, main), more ? h("span", { class: "cell-more" }, more) : null);
}

function nameCell(row) {
  const link = h("a", { href: routeTo("experiment", [row.experiment]), id: `open-${row.experiment}` }, row.experiment);
  return twoLines(link, row.forked_from ? `${row.recipe}, forked from ${row.forked_from}` : row.recipe);
}

function stateCell(row) {
  return h(
    "div",
    {},
    stateBadge(row.state),
    row.stop_reason ? h("span", { class: "cell-more" }, row.stop_reason) : null,
  );
}

function progressCell(row) {
  if (row.live.length > 0) return h("div", {}, row.live.map(liveStage));
  const done = row.last_round === null ? "no round finished" : `round ${row.last_round} of ${row.max_rounds} finished`;
  return h("span", { class: "soft" }, done);
}

/** A stage that runs: a bar with how much is done and how long it will take. */
export function liveStage(stage) {
  const known = stage.done !== null && stage.total;
  const name = `Round ${stage.round}, ${stage.stage.replaceAll("_", " ")}${stage.shard ? ` ${stage.shard}` : ""}`;
  const left = stage.seconds_left === null ? "" : `${duration(stage.seconds_left)} left`;
  const done = known ? `${count(stage.done)} of ${count(stage.total)} ${stage.unit ?? ""}` : "working";
  return h(
    "div",
    { class: "live" },
    h(
      "div",
      { class: "live-line" },
      h("span", {}, name),
      h("span", { class: "soft" }, known ? percent(stage.done / stage.total, 0) : ""),
    ),
    h("progress", {
      max: known ? String(stage.total) : null,
      value: known ? stage.done : null,
      "aria-label": `${name}: ${done}`,
    }),
    h("div", { class: "live-line soft" }, h("span", {}, done), h("span", {}, left)),
    stage.note ? h("span", { class: "cell-more" }, stage.note) : null,
  );
}

function championCell(row) {
  if (row.champion === null) return UNKNOWN;
  return twoLines(percentInterval(row.champion_accuracy, row.champion_low, row.champion_high), row.champion);
}

function gainCell(row) {
  if (row.decision === null) return UNKNOWN;
  const decision = badge(row.decision.replaceAll("_", " "), row.decision === "promoted" ? "success" : "neutral");
  return h(
    "div",
    {},
    h("span", { class: "cell-main" }, pointsInterval(row.gain, row.gain_low, row.gain_high)),
    decision,
  );
}

function actions(row, refresh) {
  return h("div", { class: "actions" }, actionsOf(row, refresh));
}

/** The buttons that an experiment's state allows; `refresh` runs after one of them did its work. */
export function actionsOf(row, refresh) {
  const slug = row.experiment;
  const button = (name, act) =>
    h(
      "button",
      { type: "button", class: "button small", id: `${name}-${slug}`, "aria-label": `${name} ${slug}`, onclick: act },
      name,
    );
  const stopped = row.state === "paused" || row.state === "cancelled";
  const finished = row.state === "ended";
  return [
    stopped ? button("Resume", () => control(slug, "resume", refresh)) : null,
    !stopped && !finished ? button("Pause", () => control(slug, "pause", refresh)) : null,
    row.state !== "cancelled" && !finished ? button("Cancel", () => control(slug, "cancel", refresh)) : null,
    row.last_round === null ? null : button("Fork", () => fork(row)),
  ];
}

const QUESTIONS = {
  pause: { text: "The round under way finishes, and no other starts.", confirm: "Pause" },
  resume: { text: "The next round may start again.", confirm: "Resume" },
  cancel: {
    text: "Stages that run are stopped now. What they have committed stays.",
    confirm: "Cancel the experiment",
    danger: true,
  },
};

async function control(slug, action, refresh) {
  const { text, confirm, danger } = QUESTIONS[action];
  const done = await ask({
    title: `${confirm.split(" ")[0]} ${slug}?`,
    text,
    confirm,
    danger,
    fields: [{ name: "why", label: "Why (stays on record)" }],
    act: (values) => post(action, { experiment: slug }, values),
  });
  if (done === null) return;
  toast(done.message);
  await refresh();
}

async function fork(row) {
  const slug = row.experiment;
  const done = await ask({
    title: `Fork ${slug}`,
    text: "A new experiment goes on from a finished round of this one and shares its files.",
    confirm: "Fork",
    fields: [
      {
        name: "round",
        label: `Last round to take over (0 to ${row.last_round})`,
        type: "number",
        min: 0,
        max: row.last_round,
        value: String(row.last_round),
        required: true,
      },
      { name: "new_name", label: "Name of the new experiment", required: true, pattern: SLUG },
    ],
    act: (values) => post("fork", { experiment: slug }, { round: Number(values.round), new_name: values.new_name }),
  });
  if (done === null) return;
  toast(done.message);
  go(routeTo("experiment", [done.experiment.experiment]));
}
