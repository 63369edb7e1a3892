"""From rollouts to granular pairs: the views find pit, prefix and options; `assign_chosen` uses no text twice."""

from __future__ import annotations

from typing import Any

import pytest

from selfexplore_tasks.problems.arithmetic import generate
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.granular_pairs import run
from selfexplore_tasks.store.experiments import open_experiment
from selfexplore_tasks.store.home import Store

STEPS = ["a = 1\n", "b = 2\n", "c = 3\n"]
WRONG = "".join(STEPS) + "The answer is 4"
RIGHT = "x = 3\nThe answer is 3"
MISS = ("d = 9\nThe answer is 9", False)


def hit(text: str) -> tuple[str, bool]:
    return f"{text}\nThe answer is 3", True


def with_recipe(hand: Any, folder: str = "other", **overrides: object) -> Any:
    """An empty store like ``hand``, whose recipe differs in these fields (``pairs__chosen`` is `pairs.chosen`)."""
    store = Store(hand.store.root.parent / folder)
    fields = {name.replace("__", "."): value for name, value in overrides.items()}
    return type(hand)(store, open_experiment(store, "hand", str(hand.store.root.parent / "hand.yaml"), fields))


def candidate(hand: Any, rationale_id: str = "w") -> dict[str, Any]:
    (row,) = hand.rows(f"select * from int_granular_candidates where rationale_id = '{rationale_id}'")
    return dict(row)


def test_a_pit_at_step_one_takes_the_outcome_pairs_rationale(hand: Any) -> None:
    hand.problem("p")
    hand.outcome_pair("w", WRONG, chosen=RIGHT)
    hand.rollouts("w", STEPS, {1: [MISS] * 6})
    row = candidate(hand)
    assert (row["pit_step"], row["prefix"], row["rejected"]) == (1, "", "a = 1\n")
    assert hand.rows("select is_confirmed from int_first_pits") == [{"is_confirmed": False}]
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
    assert [row["chosen"] for row in rows[1:]] == [RIGHT, None, None, RIGHT]
    assert manifest.row_counts == {"first_pits": 5, "pits_found": 4, "pairs": 5, "kept": 1}
    assert hand.rows("select distinct true_wrong_step from first_pits") == [{"true_wrong_step": None}]
    assert hand.rows("select pair_id, question from int_training_pairs where kind = 'granular'") == [
        {"pair_id": kept["pair_id"], "question": "How many?"}
    ]


@pytest.mark.parametrize(
    ("text", "is_option"),
    [
        ("b = 2", False),
        ("b = 2\nc = 3", False),
        ("b = 2 shells", False),
        ("b = 2.", False),
        ("b = 2. Then", False),
        ("b = 2, so", False),
        ("b = 2%", False),
        ("b = 20", True),
        ("b = 2.5", True),
        ("b = 2,000", True),
        ("b = 2/3", True),
        ("b = 2x", True),
        ("b = 2é", True),
        ("B = 2", True),
        ("then b = 2", True),
    ],
)
def test_an_option_begins_with_the_rejected_step_only_where_that_ends(text: str, is_option: bool, hand: Any) -> None:
    hand.problem("p")
    hand.outcome_pair("w", WRONG, chosen=RIGHT)
    hand.rollouts("w", STEPS, {1: [hit(text), *[MISS] * 5], 2: [MISS] * 6})
    options = candidate(hand)["options"]
    assert [option["rollout_id"] for option in options or []] == (["w/s01/00"] if is_option else [])


def test_a_correct_rollout_that_was_cut_off_is_no_option(hand: Any) -> None:
    hand.problem("p")
    hand.outcome_pair("w", WRONG, chosen=RIGHT)
    hand.rollouts("w", STEPS, {2: [MISS] * 6})
    keys = {"rationale_id": "w", "step_index": 1, "step_count": 3, "prefix": STEPS[0], "text": hit("x")[0]}
    ends = ["length", "stop", "length"]
    rows = [{**keys, "rollout_id": f"{i}", "rollout_index": i, "finish_reason": end} for i, end in enumerate(ends)]
    hand.put("rollouts", *rows)
    assert [option["rollout_id"] for option in candidate(hand)["options"]] == ["1"]
    assert hand.rows("select pass_counts from int_first_pits") == [{"pass_counts": [3, 0]}]


def test_the_remainder_is_all_that_follows_from_the_pit(hand: Any) -> None:
    hand = with_recipe(hand, pairs__rejected="remainder")
    hand.problem("p")
    hand.outcome_pair("w", WRONG, chosen=RIGHT)
    again = hit("b = 2\nbut no")
    hand.rollouts("w", STEPS, {1: [hit("x"), again, *[MISS] * 4], 2: [MISS] * 6})
    row = candidate(hand)
    assert (row["prefix"], row["rejected"]) == ("a = 1\n", "b = 2\nc = 3\nThe answer is 4")
    assert row["prefix"] + row["rejected"] == WRONG
    assert [option["rollout_id"] for option in row["options"]] == ["w/s01/00"]


@pytest.mark.parametrize(("chosen", "order"), [("shortest", [2, 3, 0, 1]), ("longest", [1, 0, 2, 3])])
def test_options_stand_in_the_order_of_their_length(chosen: str, order: list[int], hand: Any) -> None:
    hand = with_recipe(hand, pairs__chosen=chosen)
    hand.problem("p")
    hand.outcome_pair("w", WRONG, chosen=RIGHT)
    hand.rollouts("w", STEPS, {1: [hit("longer"), hit("the longest"), hit("s"), hit("t")], 2: [MISS] * 6})
    assert [option["rollout_id"] for option in candidate(hand)["options"]] == [f"w/s01/{i:02d}" for i in order]


def test_random_options_stand_in_a_seeded_order_of_their_own_for_every_rationale(hand: Any) -> None:
    orders = []
    for folder, seed in (("first", 0), ("again", 0), ("other", 1)):
        seeded = with_recipe(hand, folder, pairs__chosen="random", seed=seed)
        seeded.problem("p")
        for name in ("v", "w"):
            seeded.outcome_pair(name, WRONG, chosen=RIGHT)
            seeded.rollouts(name, STEPS, {1: [hit("s" * length) for length in range(1, 9)], 2: [MISS] * 6})
        orders.append([[len(one["text"]) for one in candidate(seeded, name)["options"]] for name in ("v", "w")])
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][0] != orders[0][1]
    assert all(sorted(lengths) == sorted(orders[0][0]) != lengths for order in orders for lengths in order)


def test_the_counts_name_skipped_steps_and_a_confirmed_pit(hand: Any) -> None:
    hand = with_recipe(hand, explore__search="binary", explore__confirm=True, explore__k=2)
    hand.problem("p")
    steps = [f"{step}\n" for step in range(8)]
    hand.outcome_pair("w", "".join(steps), chosen=RIGHT)
    hand.rollouts("w", steps, {2: [MISS, MISS, hit("s"), MISS], 3: [MISS] * 4, 4: [MISS] * 4})
    hand.outcome_pair("v", "".join(steps), chosen=RIGHT)
    hand.rollouts("v", steps, {4: [hit("s"), MISS], 8: [MISS, MISS, MISS, hit("s")]})
    query = "select first_pit_step, pass_counts, draw_counts, is_confirmed from int_first_pits order by rationale_id"
    never, found = hand.rows(query)
    assert list(never.values()) == [
        None,
        [None, None, None, 1, None, None, None, 1],
        [0, 0, 0, 2, 0, 0, 0, 4],
        False,
    ]
    assert list(found.values()) == [3, [None, 1, 0, 0], [0, 4, 4, 4], True]
    assert candidate(hand, "w")["prefix"] == "0\n1\n"


def test_a_step_left_undecided_is_no_pit_where_a_later_one_passed(hand: Any) -> None:
    """Search noisy_binary: step 1 had one wrong rollout, and rollouts after step 2 were right."""
    hand = with_recipe(hand, explore__search="noisy_binary", explore__k=2)
    hand.problem("p")
    for name, drawn in {
        "found": {1: [MISS], 2: [MISS, hit("s")], 3: [MISS, MISS], 4: [MISS]},
        "none": {1: [MISS], 2: [MISS], 4: [hit("s")]},
    }.items():
        hand.outcome_pair(name, WRONG, chosen=RIGHT)
        hand.rollouts(name, ["1\n", "2\n", "3\n", "4\n"], drawn)
    query = "select first_pit_step, draw_counts, is_confirmed from int_first_pits order by rationale_id"
    found, none = hand.rows(query)
    assert list(found.values()) == [3, [1, 2, 2, 1], False]
    assert list(none.values()) == [None, [1, 1, 0, 1], False]
    assert candidate(hand, "found")["prefix"] == "1\n2\n"


def test_step_pass_rates_tell_what_the_first_rollout_alone_did(hand: Any) -> None:
    hand.rollouts("w", STEPS, {1: [hit("s")], 2: [MISS, hit("s"), MISS, MISS]})
    query = "select step_index, pass_count, draw_count, pass_rate, is_first_correct from step_pass_rates order by 1"
    assert [tuple(row.values()) for row in hand.rows(query)] == [(1, 1, 1, 1.0, True), (2, 1, 4, 0.25, False)]


def test_the_stage_gives_a_pair_for_every_rollout_and_the_true_wrong_step(hand: Any) -> None:
    hand = with_recipe(hand, pairs__per_rationale="all")
    (problem,) = generate(1, seed=1, min_steps=3, max_steps=3)
    lines = [f"{line}\n" for line in problem.gold_rationale.split("\n")]
    steps = [lines[0], lines[1].replace(" = ", " = 9"), lines[2]]
    hand.problem("p", question=problem.question)
    (hand.store.model_dir("hand", "1/rft")).mkdir(parents=True)
    texts = {"w": "".join(steps), "v": WRONG, "x": "The answer is 4"}
    for name, text in texts.items():
        hand.outcome_pair(name, text, chosen=RIGHT)
    hand.rollouts("w", steps, {1: [hit("one"), MISS, hit("two"), hit("one"), MISS, MISS], 2: [MISS] * 6})
    hand.rollouts("v", STEPS, {1: [MISS] * 6})
    manifest = run(StageContext(hand.store, hand.experiment, 1, "granular_pairs"))

    rows = hand.rows("select * from pairs where kind = 'granular' order by pair_id")
    assert [(row["pair_id"], row["chosen_rollout_id"], row["drop_reason"]) for row in rows] == [
        ("granular/v/00#1", None, None),
        ("granular/w/00#1", "w/s01/00", None),
        ("granular/w/01#1", "w/s01/02", None),
        ("granular/w/02#1", "w/s01/03", "duplicate_chosen"),
        ("granular/x#1", None, "no_pit"),
    ]
    assert {row["rejected"] for row in rows[1:4]} == {steps[1]}
    assert manifest.row_counts == {"first_pits": 3, "pits_found": 2, "pairs": 5, "kept": 3}
    truths = hand.rows("select rationale_id, first_pit_step, true_wrong_step from first_pits order by rationale_id")
    assert [tuple(row.values()) for row in truths] == [("v", 1, 1), ("w", 2, 2), ("x", None, 1)]


def test_known_truth_is_left_out_where_steps_are_no_lines(hand: Any) -> None:
    hand = with_recipe(hand, steps__style="sentences")
    (problem,) = generate(1, seed=1)
    hand.problem("p", question=problem.question)
    (hand.store.model_dir("hand", "1/rft")).mkdir(parents=True)
    hand.outcome_pair("w", WRONG, chosen=RIGHT)
    run(StageContext(hand.store, hand.experiment, 1, "granular_pairs"))
    assert hand.rows("select true_wrong_step from first_pits") == [{"true_wrong_step": None}]


def test_texts_that_were_cut_off_are_neither_right_nor_wrong(hand: Any) -> None:
    hand.problem("p")
    hand.rationale("cut-right", finish_reason="length", sample_index=1)
    hand.wrong_rationale("cut-wrong", finish_reason="length", sample_index=2)
    hand.rationale("right", sample_index=3)
    hand.wrong_rationale("wrong", sample_index=4)
    assert [row["rationale_id"] for row in hand.rows("select * from int_correct_rationales")] == ["right"]
    assert [row["rationale_id"] for row in hand.rows("select * from int_wrong_rationales")] == ["wrong"]
