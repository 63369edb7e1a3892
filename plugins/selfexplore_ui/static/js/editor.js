// A plain SQL editor: a text area with line numbers. Tab indents; Escape, then Tab, leaves it.

import { h } from "./dom.js";

/** An editor; `run` is called on Ctrl+Enter. Returns its element and its text area. */
export function sqlEditor(text, run) {
  const lines = h("div", { class: "editor-lines", "aria-hidden": "true" });
  const area = h("textarea", {
    id: "sql-text",
    spellcheck: "false",
    autocapitalize: "off",
    autocomplete: "off",
    wrap: "off",
    "aria-label": "SQL query",
    "aria-describedby": "sql-keys",
    value: text,
  });
  let tabLeaves = false;
  const number = () => {
    const count = area.value.split("\n").length;
    lines.textContent = Array.from({ length: count }, (_, index) => index + 1).join("\n");
    lines.scrollTop = area.scrollTop;
  };
  area.addEventListener("input", number);
  area.addEventListener("scroll", () => {
    lines.scrollTop = area.scrollTop;
  });
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      run();
    } else if (event.key === "Tab" && !event.shiftKey && !tabLeaves) {
      event.preventDefault();
      insertAt(area, "  ");
    }
    tabLeaves = event.key === "Escape" || (tabLeaves && event.key === "Shift");
  });
  number();
  return { element: h("div", { class: "editor" }, lines, area), area };
}

/** Put text in the place of the selection, so that undo works and the line numbers follow. */
export function insertAt(area, text) {
  area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
  area.dispatchEvent(new Event("input", { bubbles: true }));
}

/** Where a 0-based character position is: 1-based line and column, the line's text, a caret below the place. */
export function placeOf(text, position) {
  const before = text.slice(0, position).split("\n");
  const line = before.length;
  const column = before.at(-1).length + 1;
  const content = text.split("\n")[line - 1] ?? "";
  return { line, column, content, caret: `${content.slice(0, column - 1).replace(/[^\t]/g, " ")}^` };
}
