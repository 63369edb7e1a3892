// Two rounds side by side: how far they differ over the same problems, and which problems flipped.

import { experimentList, get, MOST_EXPERIMENTS } from "../api.js";
import { differenceChart, differenceColumns } from "../charts_rounds.js";
import { badge, h, section } from "../dom.js";
import { count, shorten } from "../format.js";
import { go, routeTo } from "../route.js";
import { dataTable, pagerContent } from "../table.js";

const PAGE = 50;

/** The comparison that the query of the address asks for, below a form that asks. */
export async function compareView(route, signal) {
  const { rows: experiments } = await experimentList(0, MOST_EXPERIMENTS, signal);
  const sides = experiments.flatMap((row) =>
    row.last_round === null
      ? []
      : Array.from({ length: row.last_round + 1 }, (_, round) => `${row.experiment}:${round}`),
  );
  const { left, right } = route.query;
  const head = h(
    "div",
    { class: "page-head" },
    h(
      "div",
      {},
      h("h1", {}, "Compare"),
      h("p", {}, "The models of two rounds, of one experiment or of two, on the problems that both answered."),
    ),
  );
  if (sides.length === 0)
    return { title: "Compare", content: [head, h("p", { class: "empty" }, "No round is finished yet.")] };
  const form = sideForm(sides, route.query);
  if (!left || !right) return { title: "Compare", content: [head, form] };
  const offset = Math.max(0, Number(route.query.offset) || 0);
  const page = await get("compare", {}, { ...route.query, offset, limit: PAGE }, signal);
  return { title: `${left} and ${right}`, content: [head, form, comparison(page, route.query)] };
}

function sideForm(sides, query) {
  const select = (name, label, fallback) => {
    const input = h(
      "select",
      { id: `compare-${name}`, class: "input" },
      sides.map((side) => h("option", { value: side }, side.replace(/:(\d+)$/, ", round $1"))),
    );
    input.value = sides.includes(query[name]) ? query[name] : fallback;
    return h("div", { class: "field" }, h("label", { for: `compare-${name}` }, label), input);
  };
  const last = sides.findLastIndex((side) => side.split(":")[0] === sides[0].split(":")[0]);
  const split = h(
    "select",
    { id: "compare-split", class: "input" },
    h("option", { value: "" }, "All"),
    h("option", { value: "dev" }, "dev"),
    h("option", { value: "test" }, "test"),
  );
  split.value = query.split ?? "";
  const submit = (event) => {
    event.preventDefault();
    const value = (name) => document.getElementById(`compare-${name}`).value;
    go(routeTo("compare", [], { left: value("left"), right: value("right"), split: value("split") }));
  };
  return h(
    "form",
    { class: "filters", "aria-label": "What to compare", onsubmit: submit },
    select("left", "Left", sides[Math.max(0, last - 1)]),
    select("right", "Right", sides[last]),
    h("div", { class: "field" }, h("label", { for: "compare-split" }, "Split"), split),
    h("div", { class: "field" }, h("button", { type: "submit", class: "button primary" }, "Compare")),
  );
}

function comparison(page, query) {
  const name = (side) => `${side.experiment} round ${side.round} (${side.model_id})`;
  const title = `${name(page.right)} minus ${name(page.left)}`;
  const nameOf = (row) => `${row.benchmark}, ${row.split}`;
  const chart = page.differences.length
    ? differenceChart(title, page.differences, nameOf)
    : h("p", { class: "empty" }, "The two have no problem in common.");
  const titles = { Gained: "Only the right one solves it", Lost: "Only the left one solves it" };
  const columns = differenceColumns(nameOf)
    .filter((column) => column.name !== "Benchmark")
    .map((column) => ({
      ...column,
      name: column.name === "Models" ? "Benchmark" : column.name,
      title: titles[column.name],
    }));
  return [
    section(
      "Paired differences",
      h(
        "div",
        { class: "charts" },
        chart,
        page.differences.length ? dataTable(columns, page.differences, { caption: title }) : null,
      ),
    ),
    section(`Problems that flipped: ${count(page.total)}`, flippedTable(page), flippedPager(page, query)),
  ];
}

function flippedTable(page) {
  const link = (row) =>
    h("a", { href: routeTo("problem", [page.right.experiment, row.problem_id]) }, shorten(row.question, 140));
  const verdict = (answer, isRight) => [
    badge(isRight ? "right" : "wrong", isRight ? "success" : "error"),
    " ",
    shorten(answer ?? "no answer", 40),
  ];
  const columns = [
    { name: "Question", value: (row) => row.question, cell: link, wide: true },
    { name: "Benchmark", value: (row) => `${row.benchmark} ${row.split}` },
    { name: "Gold", value: (row) => row.gold_answer, cell: (row) => shorten(row.gold_answer, 40) },
    {
      name: "Left",
      value: (row) => row.is_left_correct,
      cell: (row) => h("span", {}, verdict(row.left_answer, row.is_left_correct)),
    },
    {
      name: "Right",
      value: (row) => row.is_right_correct,
      cell: (row) => h("span", {}, verdict(row.right_answer, row.is_right_correct)),
    },
  ];
  return dataTable(columns, page.flipped, {
    caption: "Problems that one side solves and the other does not",
    cards: true,
    empty: "None: both solve the same problems.",
  });
}

function flippedPager(page, query) {
  if (page.total <= PAGE) return null;
  const turn = (offset) => () => go(routeTo("compare", [], { ...query, offset: offset || null }));
  const turns = {
    back: page.offset > 0 ? turn(Math.max(0, page.offset - PAGE)) : null,
    on: page.offset + PAGE < page.total ? turn(page.offset + PAGE) : null,
  };
  return h("div", { class: "pager" }, pagerContent(page.offset, page.offset + page.flipped.length, page.total, turns));
}
