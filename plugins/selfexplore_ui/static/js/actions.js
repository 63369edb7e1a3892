// The hand on the wheel: pause, resume, cancel and fork an experiment, each after a question.

import { get, post } from "./api.js";
import { ask, toast } from "./dialog.js";
import { h } from "./dom.js";
import { SLUG } from "./names.js";
import { go, routeTo } from "./route.js";

let rights = null;

/** Whether the user may start, stop and fork: asked once, and again after an answer that was none (then: yes). */
export function mayChange() {
  rights ??= get("me").then(
    (me) => me.may_change,
    () => {
      rights = null;
      return true; // the server refuses what is not allowed, in a sentence
    },
  );
  return rights;
}

/** The buttons that an experiment's state allows; `refresh` runs after one of them did its work. */
export function actionsOf(row, refresh) {
  if (row.state === "unreadable") return [];
  const slug = row.experiment;
  const button = (name, act) =>
    h(
      "button",
      { type: "button", class: "button small", id: `${name}-${slug}`, "aria-label": `${name} ${slug}`, onclick: act },
      name,
    );
  const stopped = row.state === "paused" || row.state === "cancelled";
  const finished = row.state === "ended";
  return [
    stopped ? button("Resume", () => control(slug, "resume", refresh)) : null,
    !stopped && !finished ? button("Pause", () => control(slug, "pause", refresh)) : null,
    row.state !== "cancelled" && !finished ? button("Cancel", () => control(slug, "cancel", refresh)) : null,
    row.last_round === null ? null : button("Fork", () => fork(row)),
  ];
}

const QUESTIONS = {
  pause: { text: "The round under way finishes, and no other starts.", confirm: "Pause" },
  resume: { text: "The next round may start again.", confirm: "Resume" },
  cancel: {
    text: "Stages that run are stopped now. What they have committed stays.",
    confirm: "Cancel the experiment",
    danger: true,
  },
};

async function control(slug, action, refresh) {
  const { text, confirm, danger } = QUESTIONS[action];
  const done = await ask({
    title: `${confirm.split(" ")[0]} ${slug}?`,
    text,
    confirm,
    danger,
    fields: [{ name: "why", label: "Why (stays on record)" }],
    act: (values) => post(action, { experiment: slug }, values),
  });
  if (done === null) return;
  toast(done.message);
  await refresh();
}

async function fork(row) {
  const slug = row.experiment;
  const done = await ask({
    title: `Fork ${slug}`,
    text: "A new experiment goes on from a finished round of this one and shares its files.",
    confirm: "Fork",
    fields: [
      {
        name: "round",
        label: `Last round to take over (0 to ${row.last_round})`,
        type: "number",
        min: 0,
        max: row.last_round,
        value: String(row.last_round),
        required: true,
      },
      { name: "new_name", label: "Name of the new experiment", required: true, pattern: SLUG },
    ],
    act: (values) => post("fork", { experiment: slug }, { round: Number(values.round), new_name: values.new_name }),
  });
  if (done === null) return;
  toast(done.message);
  go(routeTo("experiment", [done.experiment.experiment]));
}
