// All experiments, live: what runs, how good the champions are, what it cost, and the hand on the wheel.

import { actionsOf, mayChange } from "../actions.js";
import { experimentList } from "../api.js";
import { badge, h, notice, replace } from "../dom.js";
import { costLabel, stateBadge } from "../experiment_parts.js";
import { follow } from "../follow.js";
import { count, duration, levelText, percent, percentInterval, pointsInterval, UNKNOWN } from "../format.js";
import { go, routeTo } from "../route.js";
import { dataTable, pagerContent } from "../table.js";

const LIVE_MS = 3_000; // between two looks while something runs
const IDLE_MS = 15_000;
const PAGE = 200; // experiments shown at once

/** The list of experiments. */
export async function experimentsView(route, signal) {
  const offset = Math.max(0, Number(route.query.offset) || 0);
  const table = h("div", { id: "experiments" });
  const status = h("p", { class: "soft" });
  const allowed = await mayChange();
  let shownText = "";
  let isLive = false;
  const refresh = async () => {
    const { rows, total } = await experimentList(offset, PAGE, signal);
    const text = JSON.stringify(rows);
    if (text !== shownText) replace(table, experimentTable(rows, allowed, refresh), pager(offset, rows, total));
    shownText = text;
    isLive = rows.some((row) => row.state === "running" || row.live.length > 0);
    status.textContent = summaryLine(rows, total);
  };
  await refresh();
  follow({
    look: refresh,
    waitMs: () => (isLive ? LIVE_MS : IDLE_MS),
    failed: (error) => {
      status.textContent = `${error.message} What you see may be old.`;
    },
    signal,
  });
  const start = h("a", { class: "button primary", href: routeTo("start") }, "Start an experiment");
  const head = h("div", { class: "page-head" }, h("div", {}, h("h1", {}, "Experiments"), status));
  if (allowed) head.append(start);
  return { title: "Experiments", content: [head, table] };
}

function summaryLine(rows, total) {
  const running = rows.filter((row) => row.state === "running").length;
  if (total === 0) return "";
  const where = total > rows.length ? " on this page" : "";
  return `${count(total)} ${total === 1 ? "experiment" : "experiments"}, ${running} running${where}`;
}

function pager(offset, rows, total) {
  if (total <= PAGE) return null;
  const turn = (to) => () => go(routeTo("experiments", [], { offset: to || null }));
  const turns = {
    back: offset > 0 ? turn(Math.max(0, offset - PAGE)) : null,
    on: offset + PAGE < total ? turn(offset + PAGE) : null,
  };
  return h("div", { class: "pager" }, pagerContent(offset, offset + rows.length, total, turns));
}

function experimentTable(rows, allowed, refresh) {
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
    {
      name: "Last gain, points [interval]",
      value: (row) => row.gain,
      cell: gainCell,
      title: "Of the candidate over the champion on dev, with the gate's interval and its level: not always 95%",
    },
    { name: "Cost", value: (row) => row.seconds, cell: costCell },
    { name: "Actions", value: () => "", cell: (row) => h("div", { class: "actions" }, actionsOf(row, refresh)) },
  ];
  const shown = columns.filter((column) => allowed || column.name !== "Actions");
  return dataTable(shown, rows, { caption: "Experiments", cards: true });
}

function twoLines(main, more) {
  return h("div", {}, h("span", { class: "cell-main" }, main), more ? h("span", { class: "cell-more" }, more) : null);
}

function nameCell(row) {
  if (row.state === "unreadable") return h("span", { class: "cell-main" }, row.experiment);
  const link = h("a", { href: routeTo("experiment", [row.experiment]), id: `open-${row.experiment}` }, row.experiment);
  return twoLines(link, row.forked_from ? `${row.recipe}, forked from ${row.forked_from}` : row.recipe);
}

function stateCell(row) {
  const more = row.problem ?? row.stop_reason;
  return h(
    "div",
    {},
    stateBadge(row.state),
    more ? h("span", { class: "cell-more" }, more) : null,
    row.state === "unreadable" ? unreadableHelp() : null,
  );
}

function unreadableHelp() {
  return h(
    "details",
    {},
    h("summary", {}, "What to do"),
    h(
      "p",
      { class: "hint" },
      "Its files stay as they are, and all other experiments go on. Put the file that the sentence names back from a ",
      "copy, or move it out of the store; ",
      h("code", {}, "selfexplore experiments list"),
      " then shows whether it can be read.",
    ),
  );
}

function progressCell(row) {
  if (row.state === "unreadable") return UNKNOWN;
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

function costCell(row) {
  return row.state === "unreadable" ? UNKNOWN : twoLines(duration(row.seconds), costLabel(row));
}

function gainCell(row) {
  if (row.decision === null) return UNKNOWN;
  const decision = badge(row.decision.replaceAll("_", " "), row.decision === "promoted" ? "success" : "neutral");
  return h(
    "div",
    {},
    h("span", { class: "cell-main" }, pointsInterval(row.gain, row.gain_low, row.gain_high)),
    row.gain_level ? h("span", { class: "cell-more" }, `${levelText(row.gain_level)} interval`) : null,
    decision,
  );
}
