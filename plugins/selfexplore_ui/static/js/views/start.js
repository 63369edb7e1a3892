// The start form: the params of Airflow's Dag `selfexplore_round`, with the recipe checked while it is typed.

import { mayChange } from "../actions.js";
import { get, post, roundDag, ROUND_DAG, triggerRound } from "../api.js";
import { toast } from "../dialog.js";
import { append, h, notice, replace } from "../dom.js";
import { labelledInput, numberInput } from "../inputs.js";
import { SLUG } from "../names.js";
import { go, routeTo } from "../route.js";

const DEFAULT_RECIPE = "arithmetic-tiny"; // of a new experiment: selfexplore_tasks/planning.py
const WAIT_MS = 350; // after the last key, before the recipe is checked

/** The form that starts an experiment, or lets a known one go on. */
export async function startView(route, signal) {
  const [recipes, fields] = await Promise.all([get("recipes", {}, {}, signal), formFields(signal)]);
  const form = new StartForm(recipes, fields, signal);
  await form.showRecipe(route.query.recipe ?? "");
  return {
    title: "Start an experiment",
    content: [
      h(
        "div",
        { class: "page-head" },
        h(
          "div",
          {},
          h("h1", {}, "Start an experiment"),
          h(
            "p",
            {},
            "A new name starts with round 0; a known one goes on where it stopped. Empty means: as the recipe says.",
          ),
        ),
      ),
      (await mayChange()) ? await pausedNotice() : form.forbid(),
      form.element,
    ],
  };
}

/** Name, limits and recipe fields of every param that stands for recipe fields; dags/common/params.py is their origin. */
async function formFields(signal) {
  const response = await fetch(new URL("static/js/start_fields.json", document.baseURI), { signal });
  return response.json();
}

async function pausedNotice() {
  try {
    const dag = await roundDag();
    return dag.is_paused
      ? notice(
          "warning",
          `The Dag ${ROUND_DAG} is paused in Airflow: a round that you start here waits until it is unpaused.`,
        )
      : null;
  } catch {
    return null; // the start itself will say what is wrong
  }
}

/** The form and what was typed into it. */
class StartForm {
  constructor(recipes, fields, signal) {
    this.fields = fields;
    this.signal = signal;
    this.recipeFields = [];
    this.timer = null;
    this.edits = 0; // an answer to what was typed before the last edit is no answer
    this.recipe = h(
      "select",
      {
        id: "start-recipe",
        class: "input",
        "aria-describedby": "start-recipe-hint",
        onchange: (event) => this.showRecipe(event.target.value),
      },
      h("option", { value: "" }, `The experiment's own; ${DEFAULT_RECIPE} if it is new`),
      recipes.map((recipe) => h("option", { value: recipe.name }, recipe.name)),
    );
    this.recipeHint = h("p", { class: "hint", id: "start-recipe-hint" });
    this.descriptions = Object.fromEntries(recipes.map((recipe) => [recipe.name, recipe.description]));
    this.name = h("input", {
      id: "start-experiment",
      class: "input",
      required: true,
      pattern: SLUG,
      maxlength: "64",
      autocomplete: "off",
      "aria-describedby": "start-experiment-hint",
    });
    this.compare = h("input", { id: "start-compare", type: "checkbox" });
    this.inputs = Object.fromEntries(fields.map((field) => [field.name, numberInput(field)]));
    this.overrides = h("div", { id: "start-overrides" });
    this.options = h("datalist", { id: "start-field-names" });
    this.message = h("p", { class: "hint", role: "status", id: "start-check" });
    this.error = h("p", { class: "field-error", role: "alert" });
    this.button = h("button", { type: "submit", class: "button primary" }, "Start");
    this.element = this.build();
  }

  build() {
    const labelled = (field) => labelledInput(field, this.inputs[field.name]);
    const of = (section) => this.fields.filter((field) => field.section === section).map(labelled);
    const group = (title, ...children) => h("fieldset", {}, h("legend", {}, title), children);
    const experiment = [
      h(
        "div",
        { class: "field" },
        h("label", { for: "start-experiment" }, "Experiment"),
        this.name,
        h(
          "p",
          { class: "hint", id: "start-experiment-hint" },
          "1 to 64 letters, digits, '-', '_' or single dots, beginning with a letter or digit.",
        ),
      ),
      h("div", { class: "field" }, h("label", { for: "start-recipe" }, "Recipe"), this.recipe, this.recipeHint),
      of("Experiment"),
    ];
    const compare = h(
      "div",
      { class: "field" },
      h("div", { class: "check-line" }, this.compare, h("label", { for: "start-compare" }, "Compare")),
      h("p", { class: "hint" }, "Train also outcome DPO and continued RFT, and report all with paired intervals."),
    );
    const add = h("button", { type: "button", class: "button", onclick: () => this.addOverride() }, "Add a field");
    return h(
      "form",
      { class: "form", onsubmit: (event) => this.start(event), oninput: () => this.checkSoon() },
      group("Experiment", h("div", { class: "form-grid" }, experiment)),
      group("Method", h("div", { class: "form-grid" }, of("Method"), compare)),
      group("Running", h("div", { class: "form-grid" }, of("Running"))),
      group(
        "Further fields",
        h("p", { class: "hint" }, "Any other field of the recipe."),
        this.overrides,
        this.options,
        add,
      ),
      this.message,
      this.error,
      this.button,
    );
  }

  /** Choose a recipe and fetch its fields for the further ones. */
  async showRecipe(name) {
    this.recipe.value = name;
    if (this.recipe.selectedIndex < 0) this.recipe.value = "";
    const chosen = this.recipe.value;
    this.recipeHint.textContent = this.descriptions[chosen || DEFAULT_RECIPE] ?? "";
    const recipe = await get("recipe", { name: chosen || DEFAULT_RECIPE }, {}, this.signal);
    this.recipeFields = recipe.fields;
    replace(
      this.options,
      recipe.fields.filter((field) => !/[[\]]/.test(field.path)).map((field) => h("option", { value: field.path })),
    );
    this.checkSoon();
  }

  addOverride() {
    const id = `override-${this.overrides.childElementCount}-${Date.now()}`;
    const path = h("input", {
      id,
      class: "input",
      list: "start-field-names",
      autocomplete: "off",
      "data-part": "path",
    });
    const value = h("input", { id: `${id}-value`, class: "input", autocomplete: "off", "data-part": "value" });
    const hint = h("p", { class: "hint", "aria-live": "polite" });
    const remove = () => {
      line.remove();
      this.checkSoon();
    };
    path.addEventListener("input", () => {
      const field = this.recipeFields.find((one) => one.path === path.value);
      hint.textContent = field
        ? `${field.description} Takes ${field.type}; default ${shownDefault(field.default)}.`
        : "";
    });
    const line = h(
      "div",
      { class: "override" },
      h("div", {}, h("label", { for: id }, "Field"), path),
      h("div", {}, h("label", { for: `${id}-value` }, "Value"), value),
      h("button", { type: "button", class: "button", onclick: remove, "aria-label": "Remove this field" }, "Remove"),
      hint,
    );
    append(this.overrides, [line]);
    path.focus();
  }

  /** What was typed under "Further fields", by dotted name. */
  further() {
    const lines = [...this.overrides.querySelectorAll(".override")];
    const pairs = lines.map((line) => [
      line.querySelector("[data-part=path]").value.trim(),
      line.querySelector("[data-part=value]").value.trim(),
    ]);
    return Object.fromEntries(pairs.filter(([path]) => path).map(([path, value]) => [path, parsed(value)]));
  }

  numbers() {
    const given = this.fields.filter((field) => this.inputs[field.name].value !== "");
    return given.map((field) => [field, Number(this.inputs[field.name].value)]);
  }

  checkSoon() {
    this.edits += 1;
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.check(), WAIT_MS);
  }

  /** Ask whether the recipe with these fields is one and say so below the form; null where an edit came between. */
  async check() {
    const { edits } = this;
    const overrides = this.further();
    if (this.compare.checked) overrides.compare = true;
    for (const [field, value] of this.numbers()) for (const path of field.fields) overrides[path] = value;
    const draft = { recipe: this.recipe.value || null, experiment: this.name.value.trim() || null, overrides };
    let [isValid, problem] = [false, ""];
    try {
      const answer = await post("check", {}, draft, this.signal);
      isValid = answer.ok;
      problem = answer.ok ? "" : answer.message;
    } catch (error) {
      problem = error.message;
    }
    if (this.signal.aborted || edits !== this.edits) return null;
    this.message.textContent = isValid ? "The recipe is valid." : "";
    this.error.textContent = problem;
    return isValid;
  }

  /** For who may not start anything: the form shows and checks, and says why it does no more. */
  forbid() {
    this.button.hidden = true;
    return notice(
      "info",
      `You may look and check a recipe. To start one takes the right to trigger the Dag ${ROUND_DAG}.`,
    );
  }

  /** What the Dag run gets. */
  conf() {
    const conf = { experiment: this.name.value.trim() };
    if (this.recipe.value) conf.recipe = this.recipe.value;
    if (this.compare.checked) conf.compare = true;
    for (const [field, value] of this.numbers()) conf[field.name] = value;
    const further = this.further();
    if (Object.keys(further).length) conf.overrides = further;
    return conf;
  }

  /** Check what is typed now, and start only that, and only if it is right. */
  async start(event) {
    event.preventDefault();
    if (this.button.hidden) return;
    this.button.disabled = true;
    this.error.textContent = "";
    window.clearTimeout(this.timer);
    const conf = this.conf();
    try {
      const isValid = await this.check();
      if (isValid === null) this.error.textContent = "The form has changed since: start again.";
      if (!isValid) return;
      await triggerRound(conf);
      toast(`${conf.experiment} starts: Airflow has queued its round. It appears here when its first stage runs.`);
      go("#/");
    } catch (error) {
      this.error.textContent = error.message;
    } finally {
      this.button.disabled = false;
    }
  }
}

function shownDefault(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** A value as typed: JSON where it is JSON, else text. */
export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
