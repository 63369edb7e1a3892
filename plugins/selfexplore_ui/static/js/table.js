// Tables: headers with scope, sortable columns as buttons with aria-sort, pages for long ones, a box that scrolls.

import { h, replace } from "./dom.js";
import { count, UNKNOWN } from "./format.js";

/**
 * A table. Columns are `{name, value(row), cell?(row), numeric?, wide?, title?}`: `value` is what is shown and sorted
 * by, `cell` shows something else. Options: `caption` (always read out, shown if `showCaption`), `sortable`,
 * `pageSize`, `cards` (rows become cards on a narrow screen), `empty` (the sentence for no rows).
 */
export function dataTable(columns, rows, options = {}) {
  const { caption, sortable = false, pageSize = rows.length || 1, cards = false, empty = "Nothing yet." } = options;
  if (rows.length === 0) return h("p", { class: "empty" }, empty);
  const state = { rows, sorted: null, ascending: true, page: 0 };
  const body = h("tbody", { role: "rowgroup" });
  const pager = h("div", { class: "pager" });
  const headers = columns.map((column, index) => header(column, sortable ? () => sortBy(index) : null));
  const draw = () => {
    const first = state.page * pageSize;
    replace(
      body,
      state.rows.slice(first, first + pageSize).map((row) => line(columns, row)),
    );
    replace(pager, pageButtons(state, rows.length, pageSize, draw));
  };
  const sortBy = (index) => {
    state.ascending = state.sorted === index ? !state.ascending : true;
    state.sorted = index;
    state.page = 0;
    state.rows = sortedRows(rows, columns[index].value, state.ascending);
    headers.forEach((cell, position) => {
      cell.setAttribute("aria-sort", position !== index ? "none" : state.ascending ? "ascending" : "descending");
    });
    draw();
  };
  draw();
  const table = h(
    "table",
    { class: cards ? "cards" : null, role: "table" },
    caption ? h("caption", { class: options.showCaption ? null : "visually-hidden" }, caption) : null,
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, headers)),
    body,
  );
  const box = h("div", { class: "table-box", tabindex: "0", role: "group", "aria-label": caption ?? "table" }, table);
  return h("div", {}, box, rows.length > pageSize ? pager : null);
}

function header(column, sort) {
  const label = sort ? h("button", { type: "button", class: "sort", onclick: sort }, column.name) : column.name;
  return h(
    "th",
    {
      scope: "col",
      role: "columnheader",
      class: column.numeric ? "numeric" : null,
      title: column.title,
      "aria-sort": sort ? "none" : null,
    },
    label,
  );
}

function line(columns, row) {
  const cells = columns.map((column) => {
    const classes = [column.numeric && "numeric", column.wide && "wide"].filter(Boolean).join(" ");
    const content = column.cell ? column.cell(row) : shown(column.value(row));
    return h("td", { class: classes || null, role: "cell", "data-label": column.name }, content);
  });
  return h("tr", { role: "row" }, cells);
}

/** A value of a row or of a query's result as text. */
export function shown(value) {
  if (value === null || value === undefined || value === "") return UNKNOWN;
  return typeof value === "object" && !(value instanceof Node) ? JSON.stringify(value) : value;
}

function sortedRows(rows, value, ascending) {
  const direction = ascending ? 1 : -1;
  return [...rows].sort((left, right) => direction * compareValues(value(left), value(right)));
}

/** Order of two values: numbers as numbers, unknown ones last. */
export function compareValues(left, right) {
  const [noLeft, noRight] = [left, right].map((value) => value === null || value === undefined);
  if (noLeft || noRight) return Number(noLeft) - Number(noRight);
  if (typeof left === "number" && typeof right === "number") return left - right;
  return String(left).localeCompare(String(right), "en", { numeric: true });
}

function pageButtons(state, total, pageSize, draw) {
  const last = Math.ceil(total / pageSize) - 1;
  const turn = (page) => () => {
    state.page = page;
    draw();
  };
  return pagerContent(state.page * pageSize, Math.min(total, (state.page + 1) * pageSize), total, {
    back: state.page > 0 ? turn(state.page - 1) : null,
    on: state.page < last ? turn(state.page + 1) : null,
  });
}

/** `1 to 50 of 1,234` between two buttons; a turn that is null is a disabled button. */
export function pagerContent(first, end, total, turns) {
  const button = (word, turn) =>
    h("button", { type: "button", class: "button", disabled: turn === null, onclick: turn ?? (() => {}) }, word);
  return [
    button("Previous", turns.back),
    h("span", { "aria-live": "polite" }, `${count(first + 1)} to ${count(end)} of ${count(total)}`),
    button("Next", turns.on),
  ];
}
