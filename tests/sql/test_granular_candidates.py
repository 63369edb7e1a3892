"""From rollouts to granular pairs: the views find pit, prefix and options; `assign_chosen` uses no text twice."""

from __future__ import annotations

from typing import Any

from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.granular_pairs import run

STEPS = ["a = 1\n", "b = 2\n", "c = 3\n"]
WRONG = "".join(STEPS) + "The answer is 4"
RIGHT = "x = 3\nThe answer is 3"
MISS = ("d = 9\nThe answer is 9", False)


def hit(text: str) -> tuple[str, bool]:
    return f"{text}\nThe answer is 3", True


def candidate(hand: Any, rationale_id: str = "w") -> dict[str, Any]:
    (row,) = hand.rows(f"select * from int_granular_candidates where rationale_id = '{rationale_id}'")
    return dict(row)


def test_a_pit_at_step_one_takes_the_outcome_pairs_rationale(hand: Any) -> None:
    hand.problem("p")
    hand.outcome_pair("w", WRONG, chosen=RIGHT)
    hand.rollouts("w", STEPS, {1: [MISS] * 6})
    row = candidate(hand)
    assert (row["pit_step"], row["prefix"], row["rejected"]) == (1, "", "a = 1\n")
    assert row["options"] == [{"text": RIGHT, "rollout_id": None, "rationale_id": "right-for-w"}]


def test_a_later_pit_takes_correct_rollouts_from_before_it_shortest_first(hand: Any) -> None:
    hand.problem("p")
    hand.outcome_pair("w", WRONG, chosen=RIGHT)
    drawn = [hit("a long way round"), MISS, hit("short"), hit("equal"), MISS, MISS]
    hand.rollouts("w", STEPS, {1: [hit("s")] * 6, 2: drawn, 3: [MISS] * 6})
    row = candidate(hand)
    assert (row["pit_step"], row["prefix"], row["rejected"]) == (3, "a = 1\nb = 2\n", "c = 3\n")
    assert [option["rollout_id"] for option in row["options"]] == ["w/s02/02", "w/s02/03", "w/s02/00"]


def test_no_pit_gives_no_pair(hand: Any) -> None:
    hand.problem("p")
    hand.outcome_pair("w", WRONG, chosen=RIGHT)
    hand.rollouts("w", STEPS, {step: [hit("s"), *[MISS] * 5] for step in (1, 2, 3)})
    assert candidate(hand)["pit_step"] is None
    (pit,) = hand.rows("select * from int_first_pits")
    assert (pit["first_pit_step"], pit["pass_counts"], pit["draw_counts"]) == (None, [1, 1, 1], [6, 6, 6])


def test_a_rationale_without_a_step_has_no_pit(hand: Any) -> None:
    hand.problem("p")
    hand.outcome_pair("w", "The answer is 4", chosen=RIGHT)
    (pit,) = hand.rows("select * from int_first_pits")
    assert (pit["first_pit_step"], pit["step_count"], pit["pass_counts"]) == (None, 0, [])


def test_more_than_four_rollouts_are_counted(hand: Any) -> None:
    """The published code reads four rollouts whatever k was: here only the sixth is right."""
    hand.problem("p")
    hand.outcome_pair("w", WRONG, chosen=RIGHT)
    hand.rollouts("w", STEPS, {1: [MISS] * 5 + [hit("late")], 2: [MISS] * 6})
    row = candidate(hand)
    assert row["pit_step"] == 2
    assert [option["rollout_id"] for option in row["options"]] == ["w/s01/05"]
    assert hand.rows("select pass_counts, draw_counts from int_first_pits") == [
        {"pass_counts": [1, 0], "draw_counts": [6, 6]}
    ]


def test_fewer_than_four_rollouts_are_counted(hand: Any) -> None:
    hand.problem("p")
    hand.outcome_pair("w", WRONG, chosen=RIGHT)
    hand.rollouts("w", STEPS, {1: [hit("s"), MISS], 2: [MISS, MISS]})
    assert candidate(hand)["pit_step"] == 2


def test_an_option_that_begins_with_the_rejected_step_is_none(hand: Any) -> None:
    """The published filter tests membership of a list, so it never filters."""
    hand.problem("p")
    hand.outcome_pair("w", WRONG, chosen=RIGHT)
    same = [hit("b = 2"), hit("\n b = 2"), hit("b = 5"), MISS, MISS, MISS]
    hand.rollouts("w", STEPS, {1: same, 2: [MISS] * 6})
    assert [option["rollout_id"] for option in candidate(hand)["options"]] == ["w/s01/02"]


def test_an_outcome_rationale_that_begins_with_the_rejected_step_is_none(hand: Any) -> None:
    hand.problem("p")
    hand.outcome_pair("w", WRONG, chosen="a = 1\nb = 7\nThe answer is 3")
    hand.rollouts("w", STEPS, {1: [MISS] * 6})
    assert candidate(hand)["options"] is None


def test_the_steps_of_other_rounds_and_rationales_do_not_mix(hand: Any) -> None:
    hand.problem("p")
    hand.outcome_pair("w", WRONG, chosen=RIGHT)
    hand.outcome_pair("v", WRONG, chosen=RIGHT)
    hand.rollouts("w", STEPS, {1: [hit("w"), MISS], 2: [MISS, MISS]})
    hand.rollouts("v", STEPS, {1: [hit("v"), MISS], 2: [hit("v"), MISS], 3: [MISS, MISS]})
    assert (candidate(hand, "w")["pit_step"], candidate(hand, "v")["pit_step"]) == (2, 3)
    assert candidate(hand, "v")["options"][0]["rollout_id"] == "v/s02/00"


def test_only_kept_outcome_pairs_are_explored(hand: Any) -> None:
    hand.problem("p")
    dropped = {"pair_id": "outcome/x", "chosen": RIGHT, "rejected": None, "rejected_rationale_id": None}
    hand.put("pairs", {**dropped, "is_kept": False, "drop_reason": "no_partner_left"})
    assert hand.rows("select * from int_exploration_inputs") == []


def test_the_stage_keeps_a_row_for_every_explored_rationale(hand: Any) -> None:
    """The stage itself on hand-made rows: kept, duplicate chosen, no chosen, no pit."""
    hand.problem("p")
    (hand.store.model_dir("hand", "1/rft")).mkdir(parents=True)
    for name, steps in {
        "a": ["a = 1\n"],
        "b": ["b = 1\n"],
        "c": ["x = 3\n"],
        "d": ["d = 1\n"],
        "e": ["a = 1\n"],
    }.items():
        hand.wrong_rationale(name, text="".join(steps))
        hand.rationale(f"right-for-{name}", text=RIGHT)
        hand.outcome_pair(name, "".join(steps), chosen=RIGHT)
        hand.rollouts(name, steps, {1: [hit("s")] * 6 if name == "d" else [MISS] * 6})
    manifest = run(StageContext(hand.store, hand.experiment, 1, "granular_pairs"))

    rows = hand.rows("select * from pairs where kind = 'granular' order by pair_id")
    assert [(row["rejected_rationale_id"], row["drop_reason"]) for row in rows] == [
        ("a", None),
        ("b", "duplicate_chosen"),
        ("c", "no_chosen"),
        ("d", "no_pit"),
        ("e", "duplicate_rejected"),
    ]
    kept = rows[0]
    assert (kept["prompt"], kept["prefix"], kept["chosen"], kept["rejected"]) == ("How many?\n", "", RIGHT, "a = 1\n")
    assert (kept["chosen_rationale_id"], kept["chosen_rollout_id"]) == ("right-for-a", None)
    assert [row["chosen"] for row in rows[1:]] == [None] * 4
    assert manifest.row_counts == {"first_pits": 5, "pits_found": 4, "pairs": 5, "kept": 1}
    assert hand.rows("select pair_id, question from int_training_pairs") == [
        {"pair_id": kept["pair_id"], "question": "How many?"}
    ]


def test_texts_that_were_cut_off_are_neither_right_nor_wrong(hand: Any) -> None:
    hand.problem("p")
    hand.rationale("cut-right", finish_reason="length", sample_index=1)
    hand.wrong_rationale("cut-wrong", finish_reason="length", sample_index=2)
    hand.rationale("right", sample_index=3)
    hand.wrong_rationale("wrong", sample_index=4)
    assert [row["rationale_id"] for row in hand.rows("select * from int_correct_rationales")] == ["right"]
    assert [row["rationale_id"] for row in hand.rows("select * from int_wrong_rationales")] == ["wrong"]
