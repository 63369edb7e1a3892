"""The page of an experiment: the numbers of the commands, and of the parts themselves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from hand_rounds import DEV, SLUG, HandRounds
from selfexplore_tasks.comparison import comparison_rows
from selfexplore_tasks.pages.experiment import experiment_page
from selfexplore_tasks.pages.model import ExperimentPage
from selfexplore_tasks.pages.reader import Reader
from selfexplore_tasks.pages.snapshot import NotFound
from selfexplore_tasks.report import round_rows, score_rows
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest

Stored = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def page(reader: Reader) -> ExperimentPage:
    return experiment_page(reader, "mini")


def test_accuracy_is_that_of_the_command(page: ExperimentPage, finished_store: Store) -> None:
    renamed = {"low": "accuracy_low", "high": "accuracy_high"}
    rows = score_rows(finished_store, ["mini"])
    assert [point.model_dump() for point in page.accuracy] == [
        {name: row[renamed.get(name, name)] for name in type(page.accuracy[0]).model_fields} for row in rows
    ]


def test_rounds_are_those_of_the_command(page: ExperimentPage, finished_store: Store) -> None:
    for shown, row in zip(page.rounds, round_rows(finished_store, ["mini"]), strict=True):
        level = None if row["alpha_spent"] is None else pytest.approx(1 - 2 * row["alpha_spent"])
        told = {**row, "gain_level": level}
        assert shown.model_dump() == {name: told[name] for name in type(shown).model_fields}


def test_arms_are_those_of_the_command(page: ExperimentPage, finished_store: Store) -> None:
    rows = comparison_rows(finished_store, ["mini"])
    assert len(rows) > 4
    assert [(arm.model_id, arm.baseline_id, arm.split, arm.difference, arm.low, arm.high) for arm in page.arms] == [
        (
            row["model_id"],
            row["baseline_id"],
            row["split"],
            row["difference"],
            row["difference_low"],
            row["difference_high"],
        )
        for row in rows
    ]


def test_the_funnel_loses_nothing_on_the_way(page: ExperimentPage) -> None:
    steps = {step.step: step for step in page.funnel}
    assert list(steps) == ["problems", "rationales", "wrong", "explored", "pits", "candidates", "pairs"]
    left = {name: step.count - sum(step.drops.values()) for name, step in steps.items()}
    assert left["rationales"] == steps["wrong"].count > 0
    assert left["wrong"] == steps["explored"].count > 0
    assert left["explored"] == steps["pits"].count == steps["candidates"].count > 0
    assert left["candidates"] == steps["pairs"].count > 0
    assert all(count > 0 for step in page.funnel for count in step.drops.values())


def test_the_funnel_has_the_counts_of_the_round(page: ExperimentPage, finished_store: Store, stored: Stored) -> None:
    counts = round_rows(finished_store, ["mini"])[1]["counts"]
    steps = {step.step: step for step in page.funnel}
    assert steps["problems"].count == len({row["problem_id"] for row in stored("rationales")})
    assert steps["rationales"].count == counts["rationales"]
    assert steps["rationales"].drops["correct"] == counts["rationales_correct"]
    assert steps["explored"].count == counts["wrong_explored"]
    assert steps["pits"].count == counts["pits_found"]
    assert steps["pairs"].count == counts["granular_pairs_kept"]
    for reason, count in steps["candidates"].drops.items():
        assert counts[f"granular_pairs_{reason}"] == count
    wrong = [row for row in stored("rationales") if row["verdict"] == "wrong" and row["finish_reason"] == "stop"]
    assert steps["wrong"].count == len(wrong)
    sampled = sum(row["model_id"] == "0/sft" for row in wrong)
    assert steps["wrong"].drops["of_another_model"] == sampled, "pairs come from the explorer"


def test_first_pits_are_counted_by_step(page: ExperimentPage, stored: Stored) -> None:
    expected = Counter(row["first_pit_step"] for row in stored("first_pits"))
    assert {pit.step: pit.count for pit in page.first_pits} == dict(expected)
    assert {pit.round for pit in page.first_pits} == {1}


def test_pass_rates_are_those_of_the_rollouts(page: ExperimentPage, stored: Stored) -> None:
    passes: defaultdict[int, int] = defaultdict(int)
    draws: defaultdict[int, int] = defaultdict(int)
    explored: defaultdict[int, set[str]] = defaultdict(set)
    for row in stored("rollouts"):
        passes[row["step_index"]] += row["is_correct"]
        draws[row["step_index"]] += 1
        explored[row["step_index"]].add(row["rationale_id"])
    assert [(rate.step, rate.draw_count, rate.rationale_count) for rate in page.pass_rates] == [
        (step, draws[step], len(explored[step])) for step in sorted(draws)
    ]
    assert [rate.pass_rate for rate in page.pass_rates] == [
        pytest.approx(passes[step] / draws[step]) for step in sorted(draws)
    ]


def test_training_curves_are_those_of_preference_trainings(page: ExperimentPage, finished_store: Store) -> None:
    assert {point.model_id for point in page.training} == {"1/policy", "1/outcome_dpo"}
    dpo = read_manifest(finished_store, "mini", 1, "dpo")
    assert dpo is not None
    shown = [point for point in page.training if point.model_id == "1/policy"]
    assert [(point.step, point.loss, point.margin, point.chosen_logprob, point.grad_norm) for point in shown] == [
        (line["step"], line["loss"], line["rewards/margins"], line["logps/chosen"], line["grad_norm"])
        for line in dpo.notes["log"]
    ]


def test_costs_are_those_of_the_stages(page: ExperimentPage, finished_store: Store) -> None:
    seconds = {(cost.round, cost.stage): cost.seconds for cost in page.costs}
    for row in round_rows(finished_store, ["mini"]):
        assert {stage: seconds[row["round"], stage] for stage in row["seconds"]} == row["seconds"]
    assert [cost.stage for cost in page.costs if cost.round == 0] == ["prepare", "sft", "evaluate", "gate", "summarize"]
    assert all(cost.estimated_seconds is None for cost in page.costs), "these rounds were run by hand"


def test_round_0_alone_has_no_funnel(hand: HandRounds) -> None:
    page = experiment_page(Reader(hand.store), SLUG)
    assert [
        (point.model_id, point.split, point.accuracy) for point in page.accuracy if point.benchmark == "arithmetic"
    ] == [
        ("0/sft", "dev", 0.5),
        ("0/sft", "test", 0.5),
    ]
    assert [row.decision for row in page.rounds] == ["first"]
    assert (page.funnel, page.first_pits, page.pass_rates, page.training, page.arms) == ([], [], [], [], [])
    assert page.recipe["name"] == "hand"


def test_a_round_without_exploring_has_an_empty_funnel(hand: HandRounds) -> None:
    hand.round(1, {DEV: 30})
    hand.finish(1)
    page = experiment_page(Reader(hand.store), SLUG)
    assert {step.count for step in page.funnel} == {0}
    assert {step.step: step.drops for step in page.funnel}["wrong"] == {}
    gained = [
        arm
        for arm in page.arms
        if (arm.model_id, arm.baseline_id, arm.benchmark) == ("1/policy", "0/sft", "arithmetic")
    ]
    assert [(arm.split, arm.gained, arm.lost, arm.difference) for arm in gained] == [
        ("dev", 10, 0, 0.25),
        ("test", 0, 0, 0.0),
    ]


def test_a_round_under_way_shows_what_is_done(store_before: Callable[[str], Store], page: ExperimentPage) -> None:
    unfinished = experiment_page(Reader(store_before("explore")), "mini")
    assert [row.round for row in unfinished.rounds] == [0]
    steps = {step.step: step for step in unfinished.funnel}
    assert list(steps) == ["problems", "rationales", "wrong"]
    finished = {step.step: step for step in page.funnel}
    assert steps["wrong"] == finished["wrong"]
    assert [cost.stage for cost in unfinished.costs if cost.round == 1][-1] == "outcome_pairs"
    assert unfinished.experiment.last_round == 0


def test_an_unknown_experiment_is_not_found(reader: Reader) -> None:
    with pytest.raises(NotFound, match="no experiment 'nobody'"):
        experiment_page(reader, "nobody")
