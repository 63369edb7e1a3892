"""Summarize: accuracy with intervals, the decision on the champion, and the round in one row.

What the gate proposed holds, unless a person rejected it, or chose another champion by hand during the round.
"""

from __future__ import annotations

from typing import Any

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.estimates import read_estimate
from selfexplore_tasks.pages.report import store_report
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.names import stages_of
from selfexplore_tasks.stopping import missing_for_training, stop_reason
from selfexplore_tasks.store.approvals import read_approval
from selfexplore_tasks.store.catalogue_file import refresh_catalogue
from selfexplore_tasks.store.champions import manual_choice, refresh_link
from selfexplore_tasks.store.manifests import Manifest, read_manifests
from selfexplore_tasks.store.rounds import round_facts

SCORES_OF_ROUND = (
    "select * from int_scores where experiment = $experiment and round = $round order by model_id, benchmark, split"
)


def run(context: StageContext) -> Manifest:
    """Write `scores` and `rounds`; the notes tell whoever plans the next round."""
    decided = _decided(context)
    promoted, candidate = decided["promoted"], decided["candidate"]
    measured = context.query(SCORES_OF_ROUND)
    scores = [{**_without_keys(row), "promoted": promoted and row["model_id"] == candidate} for row in measured]
    totals = _totals(context)
    final = _missing(context, dict(totals["counts"])) or _regression(context, decided)
    round_row = {
        **decided,
        "alarms": _alarms(context),
        "stop_reason": final or _stop_reason(context, promoted=promoted),
        **totals,
        **_estimated(context),
    }
    parts = {
        "scores": [context.write_rows("scores", scores)],
        "rounds": [context.write_rows("rounds", [round_row])],
    }
    _report(scores, round_row)
    notes = {
        **{name: decided[name] for name in ("candidate", "champion", "promoted", "decision", "decision_reason")},
        # Not the limits of the recipe, which may grow: whoever plans the next round looks at them again.
        "stop_reason": final,
    }
    manifest = context.commit(parts, row_counts={"scores": len(scores), "rounds": 1}, notes=notes)
    refresh_link(context.store, context.slug)
    _store_report(context)
    _refresh_catalogue(context)
    return manifest


def _store_report(context: StageContext) -> None:
    try:
        store_report(context.store, context.slug)
    except Exception as error:  # whatever it is: the round is done, and `selfexplore report` can be asked again
        print(f"summarize: the report could not be written: {error}", flush=True)


def _refresh_catalogue(context: StageContext) -> None:
    try:
        refresh_catalogue(context.store)
    except (UserError, OSError) as error:  # the round is done, and `selfexplore sql --refresh-catalogue` is there
        print(f"summarize: selfexplore.duckdb was not written: {error}", flush=True)


def _decided(context: StageContext) -> dict[str, Any]:
    """The gate's proposal, or what a person made of it."""
    notes = context.manifest("gate").notes
    parent, candidate, measured = notes["parent"], notes["candidate"], notes["decision"]
    decision, reason = measured["decision"], measured["reason"]
    champion = candidate if decision in ("promoted", "first") else parent
    approval = read_approval(context.store, context.slug, context.round_number)
    by_hand = manual_choice(context.store, context.slug, context.round_number)
    if by_hand is not None:
        decision, champion = "set_by_hand", by_hand.model_id
        reason = f"{by_hand.who} chose {by_hand.model_id} during the round ({by_hand.why}); the gate: {reason}"
    elif notes["needs_approval"] and approval is None:
        raise UserError(
            f"Round {context.round_number} of {context.slug!r} waits for approval: answer in Airflow (Required "
            f"Actions), or `selfexplore approve {context.slug} --round {context.round_number}` (or --reject)."
        )
    elif notes["needs_approval"] and approval is not None:
        given = f"{approval.who}: {approval.why}" if approval.why else approval.who
        reason = f"{reason}; {'approved' if approval.approved else 'rejected'} by {given}"
        if not approval.approved:
            decision, champion = "rejected", parent
    return _columns(parent, candidate, champion, decision, reason, {**measured, "test_gain": notes["test_gain"]})


def _columns(
    parent: str | None, candidate: str, champion: str | None, decision: str, reason: str, measured: dict[str, Any]
) -> dict[str, Any]:
    gain, test_gain = measured.get("gain"), measured.get("test_gain")
    return {
        "parent": parent,
        "candidate": candidate,
        "promoted": decision in ("promoted", "first"),
        "champion": champion,
        "decision": decision,
        "decision_reason": reason,
        **{name: measured.get(name) for name in ("gain", "gain_low", "gain_high", "p_value", "alpha_spent")},
        "test_gain": test_gain,
        "gain_gap": None if gain is None or test_gain is None else gain - test_gain,
    }


def _regression(context: StageContext, decided: dict[str, Any]) -> str | None:
    if decided["decision"] != "regression":
        return None
    return f"gate.max_regression={context.recipe.gate.max_regression:g}: {decided['decision_reason']}"


def _missing(context: StageContext, counts: dict[str, int]) -> str | None:
    if context.round_number == 0:
        return None
    skipped = {stage: "skipped" in context.manifest(stage).notes for stage in ("rft", "dpo")}
    return missing_for_training(counts, rft_skipped=skipped["rft"], dpo_skipped=skipped["dpo"])


def _stop_reason(context: StageContext, *, promoted: bool) -> str | None:
    earlier = [one for one in read_manifests(context.store, context.slug) if one.round <= context.round_number]
    facts = round_facts(earlier, promoted_now={context.round_number: promoted})
    return stop_reason(facts, context.recipe.stop, context.recipe.max_rounds)


def _alarms(context: StageContext) -> list[str]:
    if context.round_number == 0:
        return []
    return [alarm for stage in ("dpo", "arms") for alarm in context.manifest(stage).notes.get("alarms", [])]


def _estimated(context: StageContext) -> dict[str, Any]:
    """What was expected of the round before it started; nothing where it was not planned (stages run by hand)."""
    estimate = read_estimate(context.store, context.slug, context.round_number)
    return {
        "estimated_seconds": list(estimate.seconds.items()) if estimate else [],
        "estimated_tokens": list(estimate.tokens.items()) if estimate else [],
    }


def _report(scores: list[dict[str, Any]], round_row: dict[str, Any]) -> None:
    for row in scores:
        print(
            f"summarize: {row['model_id']:>9} {row['benchmark']} {row['split']:>4} "
            f"{100 * row['accuracy']:.1f}% [{100 * row['accuracy_low']:.1f}, {100 * row['accuracy_high']:.1f}] "
            f"of {row['problem_count']}{' promoted' if row['promoted'] else ''}",
            flush=True,
        )
    print(f"summarize: {round_row['decision']}: {round_row['decision_reason']}", flush=True)
    if round_row["stop_reason"]:
        print(f"summarize: the experiment ends here: {round_row['stop_reason']}", flush=True)


def _without_keys(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("experiment", "round")}


def _totals(context: StageContext) -> dict[str, Any]:
    counts = context.query(
        "select name, count from int_round_counts where experiment = $experiment and round = $round order by name"
    )
    manifests = [context.manifest(stage) for stage in stages_of(context.round_number) if stage != "summarize"]
    return {
        "counts": [(row["name"], row["count"]) for row in counts],
        "tokens": [(manifest.stage, manifest.token_count) for manifest in manifests],
        "seconds": [(manifest.stage, manifest.seconds) for manifest in manifests],
    }
