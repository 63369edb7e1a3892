"""The end of a round on hand-made answers: what the gate proposes, what people make of it, and where it leads."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from hand_rounds import COUNT, DEV, OTHER, SLUG, TEST, HandRounds
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.planning import following_round, reason_to_end
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.store.approvals import write_approval
from selfexplore_tasks.store.champions import champion, champion_before, champion_history
from selfexplore_tasks.store.control import pause, resume
from selfexplore_tasks.store.experiments import open_experiment
from selfexplore_tasks.store.home import Store


@pytest.fixture
def hand(tmp_path: Path) -> HandRounds:
    return HandRounds.begin(Store(tmp_path / "store"))


GUARD = {"guards": [{"benchmark": "other", "max_loss": 0.1}]}


@pytest.mark.parametrize(
    ("right", "gate", "decision", "champion_id"),
    [
        ({DEV: 30}, {}, "promoted", "1/policy"),
        ({DEV: 30}, {"test": "mcnemar"}, "promoted", "1/policy"),
        ({DEV: 30, TEST: 1}, {}, "promoted", "1/policy"),  # test never decides
        ({DEV: 30, OTHER: 10}, {}, "promoted", "1/policy"),  # nor does a benchmark that guards nothing
        ({DEV: 30, OTHER: 10}, GUARD, "guarded", "0/sft"),
        ({DEV: 30, OTHER: 17}, GUARD, "promoted", "1/policy"),
        ({DEV: 21}, {}, "kept", "0/sft"),
        ({DEV: 20}, {}, "kept", "0/sft"),
        ({DEV: 18, TEST: 40}, {}, "kept", "0/sft"),
        ({DEV: 30}, {"min_gain": 0.3}, "kept", "0/sft"),
        ({DEV: 10}, {}, "regression", "0/sft"),
        ({DEV: 10}, {"max_regression": None}, "kept", "0/sft"),
    ],
)
def test_the_gate_decides(
    hand: HandRounds, right: dict[tuple[str, str], int], gate: dict[str, Any], decision: str, champion_id: str
) -> None:
    hand.change_recipe(gate=gate)
    hand.round(1, right)
    row = hand.finish(1)
    assert (row["decision"], row["champion"], row["promoted"]) == (decision, champion_id, decision == "promoted")
    assert champion_before(hand.store, SLUG, 2) == champion_id
    assert row["gain"] == pytest.approx((right[DEV] - 20) / COUNT)
    assert row["gain_low"] <= row["gain"] <= row["gain_high"]
    assert row["gain_gap"] == pytest.approx(row["gain"] - row["test_gain"])
    assert f"{100 * row['gain']:+.1f} points on 40 dev problems" in row["decision_reason"]
    is_over = decision == "regression"
    assert (row["stop_reason"] or "").startswith("gate.max_regression=0.1: lost more than 10 points") is is_over
    assert following_round(hand.store, SLUG, 1) == (None if is_over else 2)
    link = hand.store.champion_link(SLUG)
    assert link.resolve() == hand.store.model_dir(SLUG, champion_id)
    assert f"# hand: {champion_id}" in (link / "README.md").read_text(encoding="utf-8")


def test_each_round_spends_its_share_of_the_error_rate(hand: HandRounds) -> None:
    hand.change_recipe(gate={"spending": "even"})
    hand.round(1, {DEV: 30})
    assert hand.finish(1)["alpha_spent"] == pytest.approx(0.05 / 4)


@pytest.mark.parametrize(
    ("approved", "decision", "champion_id"), [(True, "promoted", "1/policy"), (False, "rejected", "0/sft")]
)
def test_a_promotion_waits_for_a_person(hand: HandRounds, approved: bool, decision: str, champion_id: str) -> None:
    hand.change_recipe(gate={"require_approval": True})
    hand.round(1, {DEV: 30})
    with pytest.raises(UserError, match=r"waits for approval: .* `selfexplore approve hand --round 1`"):
        hand.finish(1)
    write_approval(hand.store, SLUG, 1, approved=approved, who="ada", why="looked at it")
    row = hand.finish(1)
    assert (row["decision"], row["champion"]) == (decision, champion_id)
    assert row["decision_reason"].endswith(f"{'approved' if approved else 'rejected'} by ada: looked at it")
    with pytest.raises(UserError, match="is finished"):
        write_approval(hand.store, SLUG, 1, approved=approved, who="ada", why="late")


def test_nobody_is_asked_about_a_candidate_that_is_not_better(hand: HandRounds) -> None:
    hand.change_recipe(gate={"require_approval": True})
    hand.round(1, {DEV: 20})
    assert hand.finish(1)["decision"] == "kept"


def test_patience_ends_the_experiment_and_a_longer_one_goes_on(hand: HandRounds) -> None:
    hand.change_recipe(stop={"patience": 2})
    for number in (1, 2):
        hand.round(number, {DEV: 20})
        row = hand.finish(number)
    assert row["stop_reason"] == "stop.patience=2: no promotion since round 0"
    assert following_round(hand.store, SLUG, 2) is None
    open_experiment(hand.store, SLUG, None, {"stop.patience": 3})
    assert following_round(hand.store, SLUG, 2) == 3


def test_a_pause_ends_after_the_round_and_does_not_touch_it(hand: HandRounds) -> None:
    pause(hand.store, SLUG, who="ada", why="holiday")
    hand.round(1, {DEV: 30})
    assert hand.finish(1)["stop_reason"] is None
    assert "paused: go on with `selfexplore resume hand`" in str(reason_to_end(hand.store, SLUG, 1))
    resume(hand.store, SLUG, who="ada", why="")
    assert following_round(hand.store, SLUG, 1) == 2


def test_the_history_names_every_champion_with_its_reason(hand: HandRounds) -> None:
    hand.round(1, {DEV: 30})
    hand.finish(1)
    hand.round(2, {DEV: 29})
    hand.finish(2)
    history = champion_history(hand.store, SLUG)
    assert [(entry.model_id, entry.round, entry.who) for entry in history] == [
        ("0/sft", 0, "gate"),
        ("1/policy", 1, "gate"),
    ]
    assert history[-1].why.startswith("better: +25.0 points")
    assert champion(hand.store, SLUG) == history[-1]


def test_a_champion_is_measured_on_every_benchmark_for_the_report_only(hand: HandRounds, tiny_model_dir: Path) -> None:
    hand.round(1, {DEV: 30})
    hand.finish(1)
    shutil.copytree(tiny_model_dir, hand.store.model_dir(SLUG, "1/policy"), dirs_exist_ok=True)
    for _ in range(2):  # the second time it is done already
        manifest = run_stage(hand.store, SLUG, "benchmarks", round_number=1)
    assert manifest is not None
    assert (manifest.row_counts, manifest.notes["models"]) == ({"evaluations": COUNT}, ["1/policy"])
    rows = hand.rows("select model_id, benchmark, split, problem_count, promoted from scores where benchmark = 'other'")
    assert ("1/policy", "other", "test", COUNT, True) in [tuple(row.values()) for row in rows]
    assert hand.rows("select count(*) as n from evaluations where model_id = '1/policy'")[0]["n"] == 3 * COUNT + COUNT
