// One experiment: its numbers, charts and decisions.

import { actionsOf, mayChange } from "../actions.js";
import { apiUrl, get } from "../api.js";
import { h, notice, replace } from "../dom.js";
import { experimentParts, origin, stateBadge, summary } from "../experiment_parts.js";
import { follow, isFinal } from "../follow.js";
import { remember, routeTo } from "../route.js";
import { liveStage } from "./experiments.js";

const LIVE_MS = 5_000; // between two looks at a running experiment
const IDLE_MS = 15_000; // at any other: it may be started again

/** The page of one experiment; `round` in the address is the round whose charts are shown. */
export async function experimentView(route, signal) {
  const [slug] = route.parts;
  const trouble = h("div", { id: "experiment-trouble" });
  const head = h("div", { id: "experiment-head" });
  const parts = h("div", { id: "experiment-parts" });
  const allowed = await mayChange();
  const choice = { linkToRound: problemsLink(slug), round: roundOf(route.query), onRound: null };
  choice.onRound = (round) => {
    choice.round = round;
    remember(routeTo("experiment", [slug], { round }));
  };
  let shown = { state: "", row: null };
  const show = async () => {
    const page = await get("experiment", { experiment: slug }, {}, signal);
    replace(trouble);
    replace(head, experimentHead(page.experiment, allowed, show));
    // Charts only where something was finished: a chart that is looked at does not move.
    const state = finished(page);
    if (state !== shown.state) redraw(parts, experimentParts(page, choice));
    shown = { state, row: page.experiment };
  };
  await show();
  follow({
    look: show,
    waitMs: () => (shown.row.state === "running" || shown.row.live.length > 0 ? LIVE_MS : IDLE_MS),
    failed: (error) => {
      const next = isFinal(error) ? "It is not looked at again: reload the page." : "It is tried again.";
      replace(trouble, notice("error", `${error.message} What you see may be old. ${next}`));
    },
    signal,
  });
  return { title: slug, content: [trouble, head, parts] };
}

function roundOf(query) {
  return /^\d+$/.test(query.round ?? "") ? Number(query.round) : null;
}

/** What changes when a stage or a round is finished. */
function finished(page) {
  return [page.experiment.last_round, page.rounds.length, page.costs.length, page.accuracy.length].join(" ");
}

/** Replace charts and keep the height until they are drawn, so that the page does not jump. */
function redraw(parts, content) {
  parts.style.minHeight = `${parts.offsetHeight}px`;
  replace(parts, content);
  window.setTimeout(() => {
    parts.style.minHeight = "";
  }, 500);
}

function problemsLink(slug) {
  return (round) =>
    h("a", { href: routeTo("problems", [slug], { round }), title: `Problems of round ${round}` }, `${round}`);
}

function experimentHead(row, allowed, refresh) {
  return [
    h(
      "div",
      { class: "page-head" },
      h("div", {}, h("h1", {}, row.experiment, " ", stateBadge(row.state)), h("p", {}, origin(row))),
      h("div", { class: "actions" }, compareLink(row), allowed ? actionsOf(row, refresh) : null),
    ),
    subnav(row.experiment, "experiment"),
    row.live.length ? h("div", { class: "card" }, row.live.map(liveStage)) : null,
    summary(row),
  ];
}

function compareLink(row) {
  if (!row.last_round) return null;
  const [left, right] = [row.last_round - 1, row.last_round].map((round) => `${row.experiment}:${round}`);
  return h("a", { class: "button small", href: routeTo("compare", [], { left, right }) }, "Compare rounds");
}

/** Links between the views of one experiment. */
export function subnav(slug, current) {
  const link = (name, label, href) =>
    h("li", {}, h("a", { href, "aria-current": name === current ? "page" : null }, label));
  return h(
    "nav",
    { class: "subnav", "aria-label": `Experiment ${slug}` },
    h(
      "ul",
      {},
      link("experiment", "Overview", routeTo("experiment", [slug])),
      link("problems", "Problems", routeTo("problems", [slug])),
      h("li", {}, h("a", { href: apiUrl("report", { experiment: slug }), download: `${slug}-report.html` }, "Report")),
    ),
  );
}
