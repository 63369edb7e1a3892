// The page: draws the view that the address names, and draws another when it changes.

import { ApiError, get } from "./api.js";
import { announce, toast } from "./dialog.js";
import { h, notice, replace } from "./dom.js";
import { parseRoute, routeTo, tellAirflow } from "./route.js";
import { compareView } from "./views/compare.js";
import { experimentView } from "./views/experiment.js";
import { experimentsView } from "./views/experiments.js";
import { problemView } from "./views/problem.js";
import { problemsView } from "./views/problems.js";
import { sqlView } from "./views/sql.js";
import { startView } from "./views/start.js";

/** Every view: `draw(route, signal)` returns `{title, content}`; `signal` aborts when another view is drawn. */
const VIEWS = {
  experiments: { tab: "experiments", draw: experimentsView },
  start: { tab: "start", draw: startView },
  experiment: { tab: "experiments", draw: experimentView },
  problems: { tab: "experiments", draw: problemsView },
  problem: { tab: "experiments", draw: problemView },
  compare: { tab: "compare", draw: compareView },
  sql: { tab: "sql", draw: sqlView },
};
const TABS = [
  ["experiments", "Experiments"],
  ["start", "Start"],
  ["compare", "Compare"],
  ["sql", "SQL"],
];

const main = document.getElementById("main");
let drawing = new AbortController();
let lastPath = null;

async function draw() {
  drawing.abort();
  drawing = new AbortController();
  const { signal } = drawing;
  const route = parseRoute(window.location.hash);
  const path = [route.name, ...route.parts].join("/");
  drawTabs(VIEWS[route.name]?.tab);
  main.setAttribute("aria-busy", "true");
  const { title, content } = await viewOf(route, signal);
  if (signal.aborted) return;
  replace(main, content);
  main.removeAttribute("aria-busy");
  document.title = `${title} · Self-Explore`;
  if (lastPath !== null && lastPath !== path) {
    main.focus({ preventScroll: true });
    window.scrollTo(0, 0);
    announce(title);
  }
  lastPath = path;
  tellAirflow();
}

async function viewOf(route, signal) {
  const view = VIEWS[route.name];
  if (view === undefined) return failed(`There is no view ${route.name}.`);
  try {
    return await view.draw(route, signal);
  } catch (error) {
    if (signal.aborted) return { title: "", content: "" };
    if (!(error instanceof ApiError)) throw error;
    return failed(error.message);
  }
}

function failed(message) {
  const again = h("button", { type: "button", class: "button", onclick: draw }, "Try again");
  return {
    title: "Error",
    content: [
      h("h1", {}, "This cannot be shown"),
      notice("error", message),
      h("p", {}, again, " ", h("a", { href: "#/" }, "All experiments")),
    ],
  };
}

function drawTabs(current) {
  const tabs = TABS.map(([name, label]) =>
    h(
      "li",
      {},
      h(
        "a",
        { href: name === "experiments" ? "#/" : routeTo(name), "aria-current": name === current ? "page" : null },
        label,
      ),
    ),
  );
  replace(document.getElementById("tabs"), tabs);
}

/** `?run=<Dag run>`: Airflow's tab of a run, and the link of its last task; go to the run's experiment. */
async function openRun() {
  const runId = new URLSearchParams(window.location.search).get("run");
  if (!runId || window.location.hash) return;
  try {
    const { experiment } = await get("run", { run_id: runId });
    window.history.replaceState(null, "", routeTo("experiment", [experiment]));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.message, "error");
  }
}

window.addEventListener("hashchange", (event) => {
  if (new URL(event.newURL).hash === "#main") return; // the link that skips to the content
  draw();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
await openRun();
await draw();
