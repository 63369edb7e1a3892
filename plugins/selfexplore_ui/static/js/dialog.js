// Questions before something changes, and messages that a screen reader reads out.

import { h } from "./dom.js";

/** Say something without moving the focus. */
export function announce(message) {
  const region = document.getElementById("announcements");
  region.textContent = "";
  window.setTimeout(() => {
    region.textContent = message;
  }, 50);
}

/** Show a message at the foot of the page for a while; it is read out as well. */
export function toast(message, kind = "success") {
  const note = h("div", { class: `toast notice-${kind}` }, message);
  document.getElementById("toasts").append(note);
  announce(message);
  window.setTimeout(() => note.remove(), kind === "error" ? 12_000 : 6_000);
}

/**
 * Ask before doing. `fields` are `{name, label, value, required, type}`; `act` gets their values and runs while the
 * dialog is open; what it throws is shown there. Resolves to what it returned, or null if the person thought better
 * of it.
 */
export function ask({ title, text, fields = [], confirm, danger = false, act }) {
  return new Promise((resolve) => {
    let result = null;
    const inputs = fields.map(dialogInput);
    const error = h("p", { class: "field-error", role: "alert" });
    const button = h("button", { type: "submit", class: danger ? "button danger" : "button primary" }, confirm);
    const submit = async (event) => {
      event.preventDefault();
      button.disabled = true;
      error.textContent = "";
      try {
        result = await act(Object.fromEntries(inputs.map((input) => [input.name, input.value.trim()])));
        dialog.close();
      } catch (failure) {
        error.textContent = failure.message;
      } finally {
        button.disabled = false;
      }
    };
    const labelled = fields.map((field, index) => [h("label", { for: inputs[index].id }, field.label), inputs[index]]);
    const back = h("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Back");
    const dialog = h(
      "dialog",
      { "aria-labelledby": "ask-title" },
      h(
        "form",
        { onsubmit: submit },
        h("h2", { id: "ask-title" }, title),
        h("p", {}, text),
        labelled.map((one) => h("div", { class: "field" }, one)),
        error,
        h("div", { class: "dialog-buttons" }, back, button),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(result);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

function dialogInput({ name, type = "text", value = "", required, min, max, pattern }) {
  const attributes = {
    type,
    value,
    required,
    min,
    max,
    pattern,
    maxlength: "200",
    class: "input",
    autocomplete: "off",
  };
  return h("input", { id: `ask-${name}`, name, ...attributes });
}
