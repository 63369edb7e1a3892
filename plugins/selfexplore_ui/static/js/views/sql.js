// The SQL console: one SELECT over the experiments' tables, its result as table and chart, downloads, history.

import { ApiError, experimentList, get, MOST_EXPERIMENTS, post, postForFile } from "../api.js";
import { isNumeric, resultChart } from "../charts_sql.js";
import { announce, toast } from "../dialog.js";
import { append, h, notice, replace } from "../dom.js";
import { insertAt, placeOf, sqlEditor } from "../editor.js";
import { count, dateTime, duration } from "../format.js";
import { remember, routeTo } from "../route.js";
import { dataTable } from "../table.js";

const PAGE = 100; // rows of a result drawn at once
const FIRST_QUERY =
  "select experiment, round, model, split, accuracy, promoted\nfrom accuracy_by_round\norder by experiment, split, round";

/** The console; a query in the address is filled in, and run where the address says so. */
export async function sqlView(route, signal) {
  const [views, queries, listed] = await Promise.all([
    get("schema", {}, {}, signal),
    get("queries", {}, {}, signal),
    experimentList(0, MOST_EXPERIMENTS, signal),
  ]);
  const names = listed.rows.filter((row) => row.state !== "unreadable").map((row) => row.experiment);
  const view = new Console(route.query, queries, names, signal);
  const content = [
    h(
      "div",
      { class: "page-head" },
      h(
        "div",
        {},
        h("h1", {}, "SQL"),
        h("p", {}, "One read-only SELECT over the tables of your experiments (DuckDB)."),
      ),
    ),
    h("div", { class: "console" }, schemaSide(views, view.editor.area), view.element),
  ];
  if (view.missing) view.refuse();
  else if (route.query.run && route.query.q) view.run();
  view.showHistory();
  return { title: "SQL", content };
}

function schemaSide(views, area) {
  const insert = (text) => () => {
    insertAt(area, text);
    area.focus();
  };
  const column = (one) =>
    h(
      "li",
      {},
      h("button", { type: "button", class: "insert", title: one.doc || null, onclick: insert(one.name) }, one.name),
      " ",
      h("span", { class: "column-type" }, one.type.toLowerCase()),
    );
  const entry = (view) =>
    h(
      "details",
      {},
      h("summary", { title: view.doc || null }, view.name),
      view.doc ? h("p", { class: "hint" }, view.doc) : null,
      h("button", { type: "button", class: "button small", onclick: insert(view.name) }, `Insert ${view.name}`),
      h("ul", {}, view.columns.map(column)),
    );
  const of = (kind, isInternal = false) =>
    views.filter((view) => view.kind === kind && Boolean(view.is_internal) === isInternal).map(entry);
  const internal = [...of("table", true), ...of("view", true)];
  return h(
    "aside",
    { class: "console-side", "aria-label": "Tables and views" },
    h("h2", {}, "Tables"),
    of("table"),
    h("h2", {}, "Views"),
    of("view"),
    internal.length ? internalViews(internal) : null,
  );
}

function internalViews(entries) {
  return h(
    "details",
    { class: "internal" },
    h("summary", {}, `Steps between (${entries.length})`),
    h("p", { class: "hint" }, "Other views are made of these. They may change: keep no queries over them."),
    entries,
  );
}

/** The editor and what belongs to one query. */
class Console {
  constructor(query, queries, names, signal) {
    this.signal = signal;
    this.queries = queries;
    this.editor = sqlEditor(query.q ?? FIRST_QUERY, () => this.run());
    this.output = h("div", { id: "sql-output" });
    this.history = h("div", { id: "sql-history" });
    this.scope = h(
      "select",
      { id: "sql-scope", class: "input" },
      h("option", { value: "" }, "All experiments"),
      names.map((name) => h("option", { value: name }, name)),
    );
    // An experiment that is gone stays chosen: a query over all others is not what the address asked for.
    this.gone = query.experiment && !names.includes(query.experiment) ? query.experiment : null;
    if (this.gone) append(this.scope, [h("option", { value: this.gone }, `${this.gone} (not there)`)]);
    this.scope.value = query.experiment ?? "";
    this.button = h(
      "button",
      { type: "button", class: "button primary", id: "sql-run", onclick: () => this.run() },
      "Run",
    );
    this.element = this.build();
  }

  build() {
    const ready = h(
      "select",
      { id: "sql-ready", class: "input", onchange: (event) => this.useReady(event.target.value) },
      h("option", { value: "" }, "Choose one …"),
      this.queries.map((query) => h("option", { value: query.name }, query.question)),
    );
    return h(
      "div",
      {},
      h("div", { class: "toolbar" }, h("label", { for: "sql-ready" }, "Ready queries"), ready),
      this.editor.element,
      h("p", { class: "hint", id: "sql-keys" }, "Ctrl+Enter runs. Tab indents; Escape, then Tab, leaves the editor."),
      h(
        "div",
        { class: "toolbar" },
        this.button,
        h("label", { for: "sql-scope" }, "over"),
        this.scope,
        h("button", { type: "button", class: "button", onclick: () => this.download("csv") }, "Download CSV"),
        h("button", { type: "button", class: "button", onclick: () => this.download("parquet") }, "Download parquet"),
      ),
      this.output,
      this.history,
    );
  }

  get missing() {
    return this.gone !== null && this.scope.value === this.gone;
  }

  refuse() {
    const text = `There is no experiment ${this.gone}, so the query did not run. Choose another one, or all experiments.`;
    replace(this.output, notice("error", text));
  }

  get request() {
    return { query: this.editor.area.value, experiments: this.scope.value ? [this.scope.value] : null };
  }

  setText(text) {
    this.editor.area.value = text;
    this.editor.area.dispatchEvent(new Event("input"));
  }

  useReady(name) {
    const query = this.queries.find((one) => one.name === name);
    if (query === undefined) return;
    this.setText(query.sql.trim());
    this.run();
  }

  /** Run what the editor holds and show its result; its address becomes the page's. */
  async run() {
    if (this.missing) return this.refuse();
    const { request } = this;
    remember(routeTo("sql", [], { q: request.query, experiment: this.scope.value, run: 1 }));
    this.button.disabled = true;
    this.button.textContent = "Running…";
    try {
      const result = await post("sql", {}, request, this.signal);
      replace(this.output, resultParts(result));
      announce(`${count(result.rows.length)} rows`);
    } catch (error) {
      if (!this.signal.aborted) this.showError(error, request.query);
    } finally {
      this.button.disabled = false;
      this.button.textContent = "Run";
    }
    return this.showHistory();
  }

  showError(error, text) {
    if (!(error instanceof ApiError)) throw error;
    const found = error.body?.detail?.message ? error.body.detail : error.body;
    const position = found?.position ?? null;
    if (position === null) {
      replace(this.output, notice("error", h("span", { class: "text" }, error.message)));
      return;
    }
    const place = placeOf(text, position);
    const goThere = () => {
      this.editor.area.focus();
      this.editor.area.setSelectionRange(position, position + (text.slice(position).match(/^\w+/)?.[0].length ?? 1));
    };
    const parts = [
      h("span", { class: "text" }, found.message),
      h("pre", { class: "error-place" }, `${place.content}\n${place.caret}`),
      h(
        "button",
        { type: "button", class: "button small", onclick: goThere },
        `Go to line ${place.line}, column ${place.column}`,
      ),
    ];
    replace(this.output, notice("error", parts));
  }

  async download(format) {
    if (this.missing) return this.refuse();
    try {
      const { file, cut } = await postForFile("download", { ...this.request, format });
      const url = URL.createObjectURL(file);
      const link = h("a", { href: url, download: `selfexplore.${format}` });
      link.click();
      window.setTimeout(() => URL.revokeObjectURL(url), 60_000);
      if (cut === null) announce(`${format} is downloaded`);
      else replace(this.output, notice("warning", cutText(format, cut)));
    } catch (error) {
      this.showError(error, this.request.query);
    }
    return null;
  }

  async showHistory() {
    try {
      const entries = await get("history", {}, {}, this.signal);
      replace(this.history, entries.length ? historyList(entries, (sql) => this.reuse(sql)) : null);
    } catch (error) {
      if (!this.signal.aborted) toast(error.message, "error");
    }
  }

  reuse(sql) {
    this.setText(sql);
    this.editor.area.focus();
  }
}

function cutText(format, rows) {
  return [
    h("strong", {}, "The file is cut. "),
    `It holds only the first ${count(rows)} rows of the answer: selfexplore.${format} is not whole. `,
    "Ask for less, or for a part at a time.",
  ];
}

function resultParts(result) {
  const cut = result.is_cut
    ? notice("warning", `Only the first ${count(result.rows.length)} rows are shown. Add a limit, or download all.`)
    : null;
  const columns = result.columns.map((column, index) => ({
    name: column.name,
    title: column.type,
    numeric: isNumeric(column.type),
    value: (row) => row[index],
  }));
  const table = dataTable(columns, result.rows, {
    caption: "Result of the query",
    sortable: true,
    pageSize: PAGE,
    empty: "No rows.",
  });
  const graph = result.columns.length > 1 ? resultChart(result) : null;
  return [
    h(
      "p",
      { class: "soft", role: "status" },
      `${count(result.row_count)} ${result.row_count === 1 ? "row" : "rows"} in ${duration(result.seconds)}`,
    ),
    cut,
    h("div", { class: "result-table" }, table),
    graph ? h("details", {}, h("summary", {}, "Chart"), graph) : null,
  ];
}

function historyList(entries, reuse) {
  const line = (entry) => {
    const outcome = entry.error ? `failed: ${entry.error}` : `${count(entry.rows)} rows in ${duration(entry.seconds)}`;
    const button = h("button", { type: "button", class: "button small", onclick: () => reuse(entry.sql) }, "Use again");
    const meta = h(
      "div",
      { class: "toolbar" },
      h("span", { class: "soft" }, `${dateTime(entry.at)} · ${outcome}`),
      button,
    );
    return h("li", {}, h("pre", {}, entry.sql), meta);
  };
  const list = h("ul", { class: "history" });
  append(list, entries.map(line));
  return h("details", { id: "sql-history-box" }, h("summary", {}, `History (${count(entries.length)})`), list);
}
