// Inputs of the start form.

import { h } from "./dom.js";

/** The input of a param that takes a number; empty means as the recipe says. */
export function numberInput(field) {
  return h("input", {
    id: `start-${field.name}`,
    type: "number",
    class: "input",
    min: String(field.minimum),
    max: String(field.maximum),
    step: field.type === "integer" ? "1" : "any",
    placeholder: "as the recipe says",
    "aria-describedby": `start-${field.name}-hint`,
  });
}

/** An input under its title and above its hint. */
export function labelledInput(field, input) {
  return h(
    "div",
    { class: "field" },
    h("label", { for: input.id }, field.title),
    input,
    h("p", { class: "hint", id: `${input.id}-hint` }, field.hint),
  );
}
