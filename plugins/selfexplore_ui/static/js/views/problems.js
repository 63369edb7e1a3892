// The problem browser: which problems a round solved, which it gained and lost, and where it went wrong.

import { get } from "../api.js";
import { badge, h } from "../dom.js";
import { count, shorten } from "../format.js";
import { go, routeTo } from "../route.js";
import { dataTable, pagerContent } from "../table.js";
import { subnav } from "./experiment.js";

const PAGE = 50;
const STATUSES = {
  all: "All",
  solved: "Solved",
  unsolved: "Unsolved",
  newly_solved: "Newly solved",
  newly_lost: "Newly lost",
};
const STATUS_HINT =
  "Newly solved and newly lost: dev and test problems are compared with the champion the round started from, training " +
  "problems with the round before.";
const SPLITS = { "": "All", train: "train", dev: "dev", test: "test" };

/** The list of problems that the query of the address chooses. */
export async function problemsView(route, signal) {
  const [slug] = route.parts;
  const query = { status: "all", ...route.query };
  const offset = Math.max(0, Number(query.offset) || 0);
  const [page, detail] = await Promise.all([
    get("problems", { experiment: slug }, { ...query, offset, limit: PAGE }, signal),
    get("experiment", { experiment: slug }, {}, signal),
  ]);
  const asked = { ...query, round: query.round ?? String(page.round) };
  const show = (change) => go(routeTo("problems", [slug], { ...asked, offset: null, ...change }));
  const turn = (to) => () => show({ offset: to || null });
  const pager = h(
    "div",
    { class: "pager" },
    pagerContent(offset, offset + page.problems.length, page.total, {
      back: offset > 0 ? turn(Math.max(0, offset - PAGE)) : null,
      on: offset + PAGE < page.total ? turn(offset + PAGE) : null,
    }),
  );
  return {
    title: `Problems of ${slug}`,
    content: [
      h(
        "div",
        { class: "page-head" },
        h("div", {}, h("h1", {}, slug), h("p", {}, `Problems as round ${page.round} saw them`)),
      ),
      subnav(slug, "problems"),
      filters(asked, detail, show),
      h("p", { class: "hint", id: "status-hint" }, STATUS_HINT),
      h("p", { class: "soft", role: "status" }, `${count(page.total)} ${page.total === 1 ? "problem" : "problems"}`),
      problemTable(slug, page),
      page.total > PAGE ? pager : null,
    ],
  };
}

function filters(asked, detail, show) {
  const rounds = Object.fromEntries(
    Array.from({ length: (detail.experiment.last_round ?? 0) + 1 }, (_, round) => [String(round), String(round)]),
  );
  if (!(asked.round in rounds)) rounds[asked.round] = asked.round;
  const select = (name, label, options) => {
    const input = h(
      "select",
      {
        id: `filter-${name}`,
        class: "input",
        "aria-describedby": name === "status" ? "status-hint" : null,
        onchange: (event) => show({ ...typed(), [name]: event.target.value }),
      },
      Object.entries(options).map(([value, word]) => h("option", { value }, word)),
    );
    input.value = asked[name] ?? "";
    return h("div", { class: "field" }, h("label", { for: `filter-${name}` }, label), input);
  };
  const text = h("input", {
    id: "filter-text",
    type: "search",
    class: "input",
    value: asked.text ?? "",
    placeholder: "in question or id",
  });
  const pit = h("input", {
    id: "filter-pit_step",
    type: "number",
    min: "1",
    class: "input",
    value: asked.pit_step ?? "",
    placeholder: "any",
  });
  const typed = () => ({ text: text.value.trim(), pit_step: pit.value });
  const submit = (event) => {
    event.preventDefault();
    show(typed());
  };
  return h(
    "form",
    { class: "filters", role: "search", "aria-label": "Filter problems", onsubmit: submit },
    select("round", "Round", rounds),
    select("split", "Split", SPLITS),
    select("status", "Status", STATUSES),
    h("div", { class: "field" }, h("label", { for: "filter-pit_step" }, "First pit at step"), pit),
    h("div", { class: "field field-wide" }, h("label", { for: "filter-text" }, "Text"), text),
    h("div", { class: "field" }, h("button", { type: "submit", class: "button" }, "Filter")),
  );
}

function problemTable(slug, page) {
  const columns = [
    {
      name: "Question",
      value: (row) => row.question,
      cell: (row) => h("a", { href: routeTo("problem", [slug, row.problem_id]) }, shorten(row.question, 160)),
      wide: true,
    },
    { name: "Gold", value: (row) => row.gold_answer, cell: (row) => shorten(row.gold_answer, 40) },
    { name: "Split", value: (row) => row.split },
    { name: "Status", value: (row) => row.is_solved, cell: statusCell },
    { name: "Right of drawn", value: (row) => row.correct_count, cell: rightCell, numeric: true },
    { name: "First pits at", value: (row) => row.pit_steps.join(", ") },
  ];
  return dataTable(columns, page.problems, {
    caption: `Problems of round ${page.round}`,
    cards: true,
    empty: "No problem fits these filters.",
  });
}

function rightCell(row) {
  return row.rationale_count ? `${row.correct_count} of ${row.rationale_count}` : "";
}

function statusCell(row) {
  if (row.is_solved === null) return badge("not tried");
  const changed = row.was_solved !== null && row.was_solved !== row.is_solved;
  if (row.is_solved) return badge(changed ? "newly solved" : "solved", "success");
  return badge(changed ? "newly lost" : "unsolved", changed ? "error" : "warning");
}
