// One problem with everything that was made of it: rationales step by step, pits, rollouts, pairs, answers.

import { get } from "../api.js";
import { PASS_CLASSES, passClass, passText } from "../colour.js";
import { wordDiff } from "../diff.js";
import { badge, h, replace, section } from "../dom.js";
import { groupBy } from "../chart.js";
import { count, number } from "../format.js";
import { limitOf, nextLimit, roundTitle } from "../problem_limit.js";
import { remember, routeTo } from "../route.js";
import { dataTable } from "../table.js";
import { subnav } from "./experiment.js";

/** The page of one problem. */
export async function problemView(route, signal) {
  const [slug, problemId] = route.parts;
  const limit = limitOf(route.query.limit);
  const ask = (most) => get("problem", { experiment: slug, problem_id: problemId }, { limit: most }, signal);
  const page = await ask(limit);
  const rationales = h("div", { id: "problem-rationales" });
  const grow = async (most) => {
    drawRationales(rationales, await ask(most), most, grow);
    remember(routeTo("problem", [slug, problemId], { limit: most }));
  };
  drawRationales(rationales, page, limit, grow);
  return {
    title: `Problem ${problemId}`,
    content: [
      h("div", { class: "page-head" }, h("div", {}, h("h1", {}, slug), h("p", {}, `Problem ${problemId}`))),
      subnav(slug, "problems"),
      question(page),
      page.answers.length ? section("How each model answered", answerTable(page.answers)) : null,
      rationales,
      page.pairs.length ? section("Pairs for preference training", pairCards(page.pairs)) : null,
    ],
  };
}

/** Rationales round by round, and a button for more of them; `grow(limit)` draws them again, or throws. */
function drawRationales(place, page, limit, grow) {
  if (page.rationales.length === 0) return replace(place);
  const cut = page.rationale_total - page.rationales.length;
  return replace(
    place,
    section("Rationales", passLegend(), byRound(page), cut > 0 ? moreLine(cut, nextLimit(limit), grow) : null),
  );
}

function moreLine(cut, next, grow) {
  const text = `${count(cut)} more are not shown.`;
  if (next === null) return h("p", { class: "soft" }, `${text} The SQL console shows all.`);
  const error = h("p", { class: "field-error", role: "alert" });
  const button = h(
    "button",
    { type: "button", class: "button small", id: "more-rationales" },
    `Show up to ${next} a round`,
  );
  button.addEventListener("click", async () => {
    button.disabled = true;
    error.textContent = "";
    try {
      await grow(next);
    } catch (failure) {
      if (failure.name !== "AbortError") error.textContent = failure.message;
    } finally {
      button.disabled = false;
    }
  });
  return h("div", { class: "soft" }, h("p", {}, `${text} `, button), error);
}

function question(page) {
  const gold = page.gold_rationale
    ? h("details", {}, h("summary", {}, "Gold rationale"), h("div", { class: "text" }, page.gold_rationale))
    : null;
  return h(
    "div",
    { class: "question" },
    h("div", { class: "text" }, page.question),
    h(
      "dl",
      {},
      h("dt", {}, "Gold answer"),
      h("dd", {}, h("strong", {}, page.gold_answer)),
      h("dt", {}, "Source"),
      h("dd", {}, `${page.source}, ${page.split}`),
    ),
    gold,
  );
}

function answerTable(answers) {
  const columns = [
    { name: "Round", value: (row) => row.round, numeric: true },
    { name: "Model", value: (row) => row.model_id },
    { name: "Benchmark", value: (row) => `${row.benchmark} ${row.split}` },
    { name: "Verdict", value: (row) => row.is_correct_strict, cell: answerVerdict },
    { name: "Answer", value: (row) => row.answer },
    {
      name: "Text",
      value: (row) => row.text,
      cell: (row) => h("details", {}, h("summary", {}, "Read"), h("div", { class: "text" }, row.text)),
      wide: true,
    },
  ];
  return dataTable(columns, answers, { caption: "Greedy answers", cards: true });
}

function answerVerdict(row) {
  if (row.is_correct_strict) return badge("right", "success");
  return row.is_correct_flexible ? badge("right if read flexibly", "warning") : badge("wrong", "error");
}

function passLegend() {
  const swatch = (name) => h("span", { class: `swatch ${name}` });
  return h(
    "ul",
    { class: "legend", "aria-label": "Share of rollouts from behind a step that reach the gold answer" },
    h("li", { class: "soft" }, "Rollouts from behind a step that reach the answer:"),
    PASS_CLASSES.map(({ name, label }) => h("li", {}, swatch(name), label)),
    h("li", {}, swatch("unexplored"), "not explored"),
  );
}

function byRound(page) {
  const shown = groupBy(page.rationales, (row) => row.round);
  return page.rounds.map((round) => {
    const rows = shown.get(round.round) ?? [];
    return [h("h3", {}, roundTitle(round, rows.length)), rows.map(rationaleCard)];
  });
}

function rationaleCard(rationale) {
  const facts = [
    rationale.model_id,
    rationale.token_count === null ? null : `${count(rationale.token_count)} tokens`,
    rationale.logprob_mean === null ? null : `log-probability ${number(rationale.logprob_mean)} a token`,
    rationale.is_explored && rationale.first_pit_step === null ? "explored, no pit" : null,
    rationale.true_wrong_step === null ? null : `truly wrong at step ${rationale.true_wrong_step}`,
  ].filter(Boolean);
  const right = rationale.verdict === "correct";
  return h(
    "article",
    { class: "card", "aria-label": `Rationale ${rationale.rationale_id}, ${rationale.verdict}` },
    h(
      "div",
      { class: "card-head" },
      badge(rationale.verdict.replaceAll("_", " "), right ? "success" : "error"),
      h("span", {}, "Answer ", h("strong", {}, rationale.answer ?? "none")),
      h("span", { class: "soft" }, facts.join(" · ")),
    ),
    h("ol", { class: "steps" }, rationale.steps.map(stepItem)),
    rationale.tail ? h("div", { class: "text prefix" }, rationale.tail.trim()) : null,
  );
}

function stepItem(step) {
  const name = passClass(step.pass_count, step.draw_count);
  const explored = name === null ? "" : passText(step.pass_count, step.draw_count);
  return h(
    "li",
    { class: ["step", name, step.is_first_pit && "pit"].filter(Boolean).join(" ") },
    h("span", { class: "step-number" }, h("span", { class: "visually-hidden" }, "Step "), step.step),
    h(
      "div",
      {},
      step.is_first_pit ? [badge("first pit", "error"), " "] : null,
      h("span", { class: "text" }, step.text.trim()),
    ),
    h("span", { class: "step-pass" }, step.is_undecided ? `${explored}: undecided` : explored),
    step.rollouts.length ? h("div", { class: "step-more" }, rolloutDetails(step.rollouts)) : null,
  );
}

/** The rollouts behind a step; drawn when they are opened. */
function rolloutDetails(rollouts) {
  const list = h("ul", { class: "rollouts" });
  const fill = (event) => {
    if (!event.target.open || list.hasChildNodes()) return;
    replace(list, rollouts.map(rolloutItem));
  };
  return h(
    "details",
    { ontoggle: fill },
    h("summary", {}, `${count(rollouts.length)} ${rollouts.length === 1 ? "rollout" : "rollouts"} from here`),
    list,
  );
}

function rolloutItem(rollout) {
  const verdict = rollout.is_correct
    ? badge("reaches the answer", "success")
    : badge(`ends at ${rollout.answer ?? "no answer"}`, "error");
  return h("li", {}, verdict, h("div", { class: "text" }, rollout.text.trim()));
}

function diffLegend() {
  return h(
    "p",
    { class: "soft" },
    "Words that only one of the two has are ",
    h("del", {}, "struck out"),
    " in the rejected text and ",
    h("ins", {}, "underlined"),
    " in the chosen one.",
  );
}

function pairCards(pairs) {
  const [kept, dropped] = [pairs.filter((pair) => pair.is_kept), pairs.filter((pair) => !pair.is_kept)];
  const folded = () => h("details", {}, h("summary", {}, `${count(dropped.length)} dropped`), dropped.map(pairCard));
  return [diffLegend(), kept.map(pairCard), dropped.length ? folded() : null];
}

function pairCard(pair) {
  const kept = pair.is_kept
    ? badge("kept", "success")
    : badge(`dropped: ${(pair.drop_reason ?? "").replaceAll("_", " ")}`, "neutral");
  const where = pair.pit_step === null ? "" : ` at step ${pair.pit_step}`;
  return h(
    "article",
    { class: "card", "aria-label": `Pair ${pair.pair_id}` },
    h("div", { class: "card-head" }, h("strong", {}, `Round ${pair.round}, ${pair.kind} pair${where}`), kept),
    pair.prefix
      ? h("details", {}, h("summary", {}, "What both begin with"), h("div", { class: "text prefix" }, pair.prefix))
      : null,
    h("div", { class: "diff" }, diffSides(pair)),
  );
}

function diffSides(pair) {
  const sides = [
    ["Rejected", "removed", "del", pair.rejected],
    ["Chosen", "added", "ins", pair.chosen],
  ];
  const spans = pair.chosen === null || pair.rejected === null ? null : wordDiff(pair.rejected, pair.chosen);
  const side = (title, kind, tag, whole) =>
    h(
      "div",
      {},
      h("h4", {}, title),
      h(
        "div",
        { class: "text" },
        spans === null
          ? whole
          : spans
              .filter((span) => span.kind === "same" || span.kind === kind)
              .map((span) => (span.kind === "same" ? span.text : h(tag, {}, span.text))),
      ),
    );
  return sides.filter((one) => one[3] !== null).map((one) => side(...one));
}
