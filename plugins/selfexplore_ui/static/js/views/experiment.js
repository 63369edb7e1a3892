// One experiment: its numbers, charts and decisions.

import { apiUrl, get } from "../api.js";
import { h, replace } from "../dom.js";
import { experimentParts, origin, stateBadge, summary } from "../experiment_parts.js";
import { routeTo } from "../route.js";
import { actionsOf, liveStage } from "./experiments.js";

const LIVE_MS = 5_000; // between two looks at a running experiment

/** The page of one experiment. */
export async function experimentView(route, signal) {
  const [slug] = route.parts;
  const head = h("div", { id: "experiment-head" });
  const parts = h("div", { id: "experiment-parts" });
  let shownRound;
  const show = async () => {
    const page = await get("experiment", { experiment: slug }, {}, signal);
    replace(head, experimentHead(page.experiment, show));
    // Charts only where a round was added: a chart that is looked at does not move.
    if (page.experiment.last_round !== shownRound) replace(parts, experimentParts(page, problemsLink(slug)));
    shownRound = page.experiment.last_round;
    return page.experiment;
  };
  const row = await show();
  follow(show, row, signal);
  return { title: slug, content: [head, parts] };
}

function problemsLink(slug) {
  return (round) =>
    h("a", { href: routeTo("problems", [slug], { round }), title: `Problems of round ${round}` }, `${round}`);
}

async function follow(show, first, signal) {
  let row = first;
  while (!signal.aborted && (row.state === "running" || row.live.length > 0)) {
    await new Promise((resolve) => window.setTimeout(resolve, LIVE_MS));
    if (signal.aborted) return;
    if (document.hidden) continue;
    try {
      row = await show();
    } catch {
      if (signal.aborted) return; // the next look may succeed
    }
  }
}

function experimentHead(row, refresh) {
  return [
    h(
      "div",
      { class: "page-head" },
      h("div", {}, h("h1", {}, row.experiment, " ", stateBadge(row.state)), h("p", {}, origin(row))),
      h("div", { class: "actions" }, compareLink(row), actionsOf(row, refresh)),
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
