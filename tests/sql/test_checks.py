"""Every check in sql/checks: violating rows that it stops and names, and good rows that pass."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest

from selfexplore_tasks.errors import CheckFailed
from selfexplore_tasks.store.catalogue import SQL_DIR
from selfexplore_tasks.store.experiments import open_experiment
from selfexplore_tasks.store.home import Store

GRANULAR = {
    "pair_id": "granular/w",
    "kind": "granular",
    "pit_step": 2,
    "prefix": "a = 1\n",
    "chosen": "x = 3\nThe answer is 3",
    "rejected": "b = 2\n",
    "chosen_rollout_id": "w/s01/00",
    "rejected_rationale_id": "w",
}
STEPS = ["a = 1\n", "b = 2\n", "c = 3\n"]
HIT, MISS = ("x = 3\nThe answer is 3", True), ("The answer is 9", False)


def with_recipe(hand: Any, overrides: dict[str, object]) -> Any:
    """An empty store like ``hand``, whose recipe differs in these fields."""
    store = Store(hand.store.root.parent / "other")
    return type(hand)(store, open_experiment(store, "hand", str(hand.store.root.parent / "hand.yaml"), overrides))


def good_prepare(hand: Any) -> None:
    hand.problem("p", question="One?")
    hand.problem("d", "dev", question="Two?")


def good_sample(hand: Any) -> None:
    hand.problem("p")
    hand.rationale("r0", sample_index=0)
    hand.rationale("r1", sample_index=1)


def good_rft_set(hand: Any) -> None:
    good_sample(hand)
    hand.put("rft_examples", {"problem_id": "p", "rationale_id": None, "origin": "gold"})
    hand.put("rft_examples", {"problem_id": "p", "rationale_id": "r0"}, {"problem_id": "p", "rationale_id": "r1"})


def good_outcome_pairs(hand: Any) -> None:
    hand.problem("p")
    hand.rationale("right-for-w")
    hand.wrong_rationale("w")
    hand.outcome_pair("w", "wrong", chosen="right")


def good_explore(hand: Any) -> None:
    hand.rollouts("w", STEPS, {1: [HIT, *[MISS] * 5], 2: [MISS] * 6})


def explored(hand: Any) -> None:
    hand.problem("p")
    hand.outcome_pair("w", "".join(STEPS), chosen="right")
    good_explore(hand)


def good_granular_pairs(hand: Any) -> None:
    explored(hand)
    hand.put("pairs", GRANULAR)


def good_evaluate(hand: Any) -> None:
    hand.problem("d", "dev", question="Two?")
    hand.problem("t", "test", question="Three?")
    for model in ("1/rft", "1/policy"):
        hand.put("evaluations", {"model_id": model, "problem_id": "d", "split": "dev"})
        hand.put("evaluations", {"model_id": model, "problem_id": "t", "split": "test"})


def good_summarize(hand: Any) -> None:
    hand.put(
        "scores", {"model_id": "1/rft", "model": "rft"}, {"model_id": "1/policy", "model": "policy", "promoted": True}
    )
    hand.put("rounds", {})


GOOD: dict[str, Callable[[Any], None]] = {
    "prepare": good_prepare,
    "sample": good_sample,
    "rft_set": good_rft_set,
    "outcome_pairs": good_outcome_pairs,
    "explore": good_explore,
    "granular_pairs": good_granular_pairs,
    "evaluate": good_evaluate,
    "summarize": good_summarize,
}


@dataclass(frozen=True)
class Violation:
    """What is added to the good rows (or, ``alone``, put instead of them) and what the message must name."""

    check: str
    break_it: Callable[[Any], None]
    named: str
    alone: bool = False
    recipe: dict[str, object] = field(default_factory=dict)


def granular(**columns: Any) -> Callable[[Any], None]:
    return lambda hand: (explored(hand), hand.put("pairs", {**GRANULAR, **columns}))[1]


def explore(*draws: list[tuple[str, bool]]) -> Callable[[Any], None]:
    """Rollouts of rationale v after step 1, 2, ...; an empty list leaves the step out."""
    drawn = {step: texts for step, texts in enumerate(draws, start=1) if texts}
    return lambda hand: hand.rollouts("v", STEPS, drawn)


def dangling_pair(hand: Any) -> None:
    hand.outcome_pair("nowhere", "wrong", chosen="right")


def pair_with_right_rejected(hand: Any) -> None:
    hand.rationale("right-for-also right")
    hand.rationale("also right")
    hand.outcome_pair("also right", "not wrong", chosen="right")


def pair_across_problems(hand: Any) -> None:
    hand.problem("q", question="Other?")
    hand.rationale("right-for-v")
    hand.wrong_rationale("v", "q")
    hand.outcome_pair("v", "wrong", chosen="right")


def third_rft_rationale(hand: Any) -> None:
    hand.rationale("r2", sample_index=2)
    hand.put("rft_examples", {"problem_id": "p", "rationale_id": "r2"})


def wrong_rft_rationale(hand: Any) -> None:
    hand.problem("q", question="Other?")
    hand.wrong_rationale("v", "q")
    hand.put("rft_examples", {"problem_id": "q", "rationale_id": "v"})


BINARY, CONFIRM, ADAPTIVE = {"explore.search": "binary"}, {"explore.confirm": True}, {"explore.adaptive": True}
NOISY, LEAN = {"explore.search": "noisy_binary"}, {"explore.top_up": False}
ALL: dict[str, object] = {"pairs.per_rationale": "all"}
VIOLATIONS = [
    Violation("prepare/problem_in_two_splits", lambda h: h.problem("t", "test", question=" One? "), "One?"),
    Violation("prepare/problem_without_answer", lambda h: h.problem("x", gold_answer=" "), "'x'"),
    Violation("prepare/problem_without_answer", lambda h: h.problem("x", question="", gold_answer="3"), "'x'"),
    *[
        violation
        for stage in ("sample",)
        for violation in (
            Violation(
                f"{stage}/rationale_without_problem",
                lambda h: (h.rationale("lost0", "nowhere"), h.rationale("lost1", "nowhere", sample_index=1))[1],
                "lost0",
            ),
            Violation(
                f"{stage}/rationale_without_problem",
                lambda h: (
                    h.problem("d", "dev", question="Two?"),
                    h.rationale("leak0", "d"),
                    h.rationale("leak1", "d", sample_index=1),
                )[2],
                "leak0",
            ),
            Violation(f"{stage}/wrong_number_of_draws", lambda h: h.rationale("r2", sample_index=2), "'draws': 3"),
            Violation(
                f"{stage}/wrong_number_of_draws",
                lambda h: (h.problem("p"), h.rationale("r0"), h.rationale("r1"))[2],
                "'problem_id': 'p'",
                alone=True,
            ),
        )
    ],
    Violation("rft_set/kept_too_many_or_wrong", third_rft_rationale, "'kept': 3"),
    Violation("rft_set/kept_too_many_or_wrong", wrong_rft_rationale, "'problem_id': 'q'"),
    Violation(
        "rft_set/kept_too_many_or_wrong",
        lambda h: h.put("rft_examples", {"problem_id": "q", "rationale_id": "nowhere"}),
        "'problem_id': 'q'",
    ),
    Violation("outcome_pairs/pair_not_right_and_wrong", dangling_pair, "outcome/nowhere"),
    Violation("outcome_pairs/pair_not_right_and_wrong", pair_with_right_rejected, "outcome/also right"),
    Violation("outcome_pairs/pair_not_right_and_wrong", pair_across_problems, "outcome/v"),
    Violation(
        "outcome_pairs/wrong_rationale_used_twice", lambda h: h.outcome_pair("w", "wrong", chosen="right"), "'w'"
    ),
    Violation("explore/wrong_number_of_rollouts", lambda h: h.rollouts("v", STEPS, {1: [MISS] * 5}), "'v'"),
    Violation(
        "explore/wrong_number_of_rollouts",
        lambda h: (h.rollouts("v", STEPS, {1: [MISS] * 3}), h.rollouts("v", STEPS, {1: [MISS] * 3}))[1],
        "'v'",
    ),
    Violation(
        "explore/explored_behind_the_pit", lambda h: h.rollouts("v", STEPS, {1: [MISS] * 6, 2: [MISS] * 6}), "'v'"
    ),
    Violation("explore/explored_behind_the_pit", lambda h: h.rollouts("v", STEPS, {2: [MISS] * 6}), "'v'"),
    Violation("explore/pit_without_the_step_before", explore([HIT] * 6, [HIT] * 6), "'v'"),
    Violation("explore/pit_without_the_step_before", explore([], [HIT] * 6, []), "'v'", True, BINARY),
    Violation("explore/pit_without_the_step_before", explore([HIT] * 6, [], [MISS] * 6), "'v'", True, BINARY),
    Violation("explore/wrong_number_of_rollouts", explore([MISS] * 12), "'expected_draws': 6"),
    Violation("explore/wrong_number_of_rollouts", explore([MISS] * 6), "'expected_draws': 12", True, CONFIRM),
    Violation(
        "explore/wrong_number_of_rollouts",
        explore([MISS, HIT, *[MISS] * 10], [MISS] * 12),
        "'expected_draws': 6",
        True,
        CONFIRM,
    ),
    Violation(
        "explore/wrong_number_of_rollouts",
        explore([HIT], [MISS] * 6),
        "'expected_draws': 6",
        True,
        ADAPTIVE,
    ),
    Violation(
        "explore/wrong_number_of_rollouts",
        explore([HIT, *[MISS] * 5], [HIT], [HIT]),
        "'expected_draws': 1",
        True,
        ADAPTIVE,
    ),
    Violation("explore/pit_without_the_step_before", explore([MISS], [HIT], []), "'v'", True, NOISY),
    Violation("explore/wrong_number_of_rollouts", explore([HIT], [MISS] * 6), "'expected_draws': 6", True, NOISY),
    Violation(
        "explore/wrong_number_of_rollouts", explore([MISS, HIT, MISS], [HIT], [HIT]), "'expected_draws': 2", True, NOISY
    ),
    Violation("explore/wrong_number_of_rollouts", explore([HIT] * 6, [MISS] * 5), "'expected_draws': 6", True, NOISY),
    Violation(
        "explore/wrong_number_of_rollouts", explore([MISS] * 7, [HIT], [HIT]), "'expected_draws': 6", True, NOISY
    ),
    Violation(
        "explore/wrong_number_of_rollouts",
        explore([HIT, MISS], [MISS] * 6),
        "'expected_draws': 1",
        True,
        ADAPTIVE | LEAN,
    ),
    Violation(
        "explore/wrong_number_of_rollouts",
        lambda h: (h.rollouts("v", STEPS, {1: [MISS]}), h.rollouts("v", STEPS, {1: [MISS]}))[1],
        "[0, 0]",
    ),
    Violation("granular_pairs/chosen_not_from_before_the_pit", granular(chosen_rollout_id=None), "granular/w", True),
    Violation(
        "granular_pairs/chosen_not_from_before_the_pit", granular(chosen_rollout_id="w/s01/01"), "granular/w", True
    ),
    Violation("granular_pairs/chosen_not_from_before_the_pit", granular(pit_step=3), "granular/w", True),
    Violation("granular_pairs/chosen_not_from_before_the_pit", granular(prefix="a = 7\n"), "granular/w", True),
    Violation("granular_pairs/chosen_not_from_before_the_pit", granular(rejected_rationale_id="v"), "granular/w", True),
    Violation(
        "granular_pairs/text_used_twice",
        lambda h: h.put("pairs", {**GRANULAR, "pair_id": "2", "chosen": "y"}),
        "rejected",
    ),
    Violation(
        "granular_pairs/text_used_twice",
        lambda h: h.put("pairs", {**GRANULAR, "pair_id": "2", "rejected": "y"}),
        "chosen",
    ),
    Violation(
        "granular_pairs/text_used_twice",
        lambda h: h.put("pairs", {**GRANULAR, "pair_id": "2"}),
        "chosen",
        recipe=ALL,
    ),
    Violation(
        "granular_pairs/text_used_twice",
        lambda h: (
            h.outcome_pair("v", "".join(STEPS), chosen="right"),
            h.rollouts("v", STEPS, {1: [("y", True), *[MISS] * 5], 2: [MISS] * 6}),
            h.put(
                "pairs",
                {
                    **GRANULAR,
                    "pair_id": "2",
                    "chosen": "y",
                    "chosen_rollout_id": "v/s01/00",
                    "rejected_rationale_id": "v",
                },
            ),
        )[2],
        "rejected",
        recipe=ALL,
    ),
    Violation("granular_pairs/unusable_pair", granular(pit_step=None), "granular/w", True),
    Violation("granular_pairs/unusable_pair", granular(rejected="\n"), "granular/w", True),
    Violation("granular_pairs/unusable_pair", granular(chosen=" \n"), "granular/w", True),
    Violation("granular_pairs/unusable_pair", granular(chosen="\nb = 2\nThe answer is 3"), "granular/w", True),
    Violation(
        "evaluate/problem_not_answered_once",
        lambda h: h.put("evaluations", {"model_id": "1/arm", "problem_id": "d", "split": "dev"}),
        "'problem_id': 't'",
    ),
    Violation(
        "evaluate/problem_not_answered_once",
        lambda h: h.put("evaluations", {"model_id": "1/rft", "problem_id": "d", "split": "dev"}),
        "'answers': 2",
    ),
    Violation(
        "summarize/not_exactly_one_champion",
        lambda h: h.put("scores", {"model_id": "1/arm", "model": "arm", "promoted": True}),
        "'model_count': 2",
    ),
    Violation("summarize/not_exactly_one_champion", lambda h: h.put("rounds", {}), "'row_count': 2"),
    Violation("summarize/not_exactly_one_champion", lambda h: h.problem("p"), "'row_count': 0", alone=True),
    Violation(
        "summarize/not_exactly_one_champion",
        lambda h: h.put("rounds", {"promoted": False, "champion": None}),
        "'champion': None",
        alone=True,
    ),
]


def round_of(stage: str) -> int:
    return 0 if stage == "prepare" else 1


def test_every_check_has_a_violation() -> None:
    checks = {f"{path.parent.name}/{path.stem}" for path in (SQL_DIR / "checks").glob("*/*.sql")}
    assert checks == {violation.check for violation in VIOLATIONS}


@pytest.mark.parametrize("stage", GOOD)
def test_good_rows_pass(stage: str, hand: Any) -> None:
    GOOD[stage](hand)
    hand.check(stage, round_of(stage))


@pytest.mark.parametrize(
    ("options", "draws"),
    [
        (CONFIRM, [[MISS] * 6 + [HIT] + [MISS] * 5, [HIT, *[MISS] * 5], [MISS] * 12]),
        (ADAPTIVE, [[HIT], [MISS, HIT, *[MISS] * 4], [MISS] * 6]),
        (ADAPTIVE, [[HIT], [HIT, *[MISS] * 5], [MISS] * 6]),
        (ADAPTIVE, [[HIT], [HIT], [HIT]]),
        (ADAPTIVE, [[MISS, HIT], [MISS, MISS, HIT, MISS], [MISS] * 4 + [HIT, MISS], [HIT]]),
        (ADAPTIVE | CONFIRM, [[HIT], [MISS] * 6 + [HIT] + [MISS] * 5, [MISS] * 12]),
        (ADAPTIVE | CONFIRM, [[MISS] * 6 + [HIT, MISS], [MISS] * 4 + [HIT, MISS], [HIT]]),
        (BINARY, [[MISS] * 6, [MISS] * 6]),
        (BINARY, [[], [HIT, *[MISS] * 5], [MISS] * 6]),
        (BINARY, [[], [HIT] * 6, [HIT] * 6]),
        (BINARY | ADAPTIVE, [[HIT, *[MISS] * 5], [MISS] * 6]),
        (ADAPTIVE | LEAN, [[MISS, MISS, HIT, MISS], [MISS] * 6]),
        (CONFIRM | LEAN, [[MISS] * 6 + [HIT] + [MISS] * 5, [MISS] * 12]),
        (NOISY, [[MISS, HIT, *[MISS] * 4], [MISS] * 6, [MISS]]),
        (NOISY, [[MISS], [HIT], [HIT]]),
        (NOISY, [[MISS] * 5, [HIT, *[MISS] * 5], [MISS] * 6]),
        (NOISY | LEAN, [[MISS, MISS, HIT], [MISS] * 6]),
        (NOISY | CONFIRM, [[MISS] * 7 + [HIT] + [MISS] * 4, [MISS] * 12]),
    ],
)
def test_what_the_options_of_exploring_draw_passes(
    options: dict[str, object], draws: list[list[tuple[str, bool]]], hand: Any
) -> None:
    hand = with_recipe(hand, options)
    explore(*draws)(hand)
    hand.check("explore")


@pytest.mark.parametrize(("by_round", "passes"), [([2], True), ([3, 2], False), ([3], False), ([], True)])
def test_draws_may_change_by_round(by_round: list[int], passes: bool, hand: Any) -> None:
    hand = with_recipe(hand, {"by_round.n": by_round})
    good_sample(hand)
    with nullcontext() if passes else pytest.raises(CheckFailed, match="wrong_number_of_draws"):
        hand.check("sample")


def test_imported_rollouts_may_be_of_any_number_and_go_behind_the_pit(hand: Any) -> None:
    rows = [
        {
            "rollout_id": f"v/{step}/{index}",
            "rationale_id": "v",
            "model_id": "1/imported",
            "step_index": step,
            "step_count": 4,
            "rollout_index": index,
            "prefix": "".join(STEPS[:step]),
            "text": "x",
            "is_correct": is_correct,
        }
        for step, outcomes in enumerate([[True, False], [False], [False] * 9], start=1)
        for index, is_correct in enumerate(outcomes)
    ]
    hand.put("rollouts", *rows)
    hand.check("explore")
    hand.put("rollouts", rows[0])
    with pytest.raises(CheckFailed, match=r"wrong_number_of_rollouts .*\[0, 0, 1\]"):
        hand.check("explore")


def test_all_pairs_of_a_rationale_may_share_what_they_reject(hand: Any) -> None:
    hand = with_recipe(hand, ALL)
    hand.problem("p")
    hand.outcome_pair("w", "".join(STEPS), chosen="right")
    hand.rollouts("w", STEPS, {1: [HIT, ("y", True), *[MISS] * 4], 2: [MISS] * 6})
    hand.put("pairs", GRANULAR, {**GRANULAR, "pair_id": "2", "chosen": "y", "chosen_rollout_id": "w/s01/01"})
    hand.check("granular_pairs")


@pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda violation: f"{violation.check} {violation.named}")
def test_a_violation_is_named(violation: Violation, hand: Any) -> None:
    stage = violation.check.partition("/")[0]
    if violation.recipe:
        hand = with_recipe(hand, violation.recipe)
    if not violation.alone:
        GOOD[stage](hand)
    violation.break_it(hand)
    with pytest.raises(CheckFailed) as raised:
        hand.check(stage, round_of(stage))
    assert f"Check {violation.check} of 'hand', round {round_of(stage)}, found: " in str(raised.value)
    assert violation.named in str(raised.value)


@pytest.mark.parametrize("stage", [stage for stage in GOOD if stage != "prepare"])
def test_a_check_looks_at_its_own_round_only(stage: str, hand: Any) -> None:
    """Rows of another round neither break nor hide anything."""
    for violation in VIOLATIONS:
        if violation.check.startswith(f"{stage}/") and "'row_count': 0" not in violation.named:
            violation.break_it(hand)
    hand.put("rounds", {"promoted": False, "champion": "0/sft"}, round_number=2)
    hand.check(stage, 2)


def test_a_message_stays_short_whatever_offends(hand: Any) -> None:
    for number in range(9):
        hand.problem(f"p{number}", question="x" * 5_000 + str(number), gold_answer="")
    with pytest.raises(CheckFailed) as raised:
        hand.check("prepare", 0)
    assert len(str(raised.value)) < 2_000
    assert str(raised.value).endswith(" and more")
