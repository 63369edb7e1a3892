"""Which round a Dag run works on, and when it is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.planning import (
    claim_round,
    following_round,
    open_or_create,
    round_run_id,
    shard_labels,
)
from selfexplore_tasks.store.experiments import Experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, write_manifest

RECIPE = """
name: tiny
description: For tests.
max_rounds: 2
problems: {train: {kind: arithmetic, count: 40, max_steps: 2}, dev_count: 5, test_count: 5}
model: {scratch: {}}
sft: {}
sample: {max_new_tokens: 64}
explore: {max_new_tokens: 64}
evaluate: {max_new_tokens: 64}
engine: {kind: transformers}
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def experiment(store: Store, tmp_path: Path) -> Experiment:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    return open_or_create(store, "trial", str(recipe), {})


def finish(store: Store, round_number: int, stage: str = "summarize", stop_reason: str | None = None) -> None:
    now = "2026-01-01T00:00:00+00:00"
    notes = {"promoted": True, "champion": f"{round_number}/policy", "stop_reason": stop_reason}
    write_manifest(store, Manifest("trial", round_number, stage, "hash", 0, now, now, 1.0, notes=notes))


def claim(
    store: Store, experiment: Experiment, run_id: str = "run", requested: int | None = None, live: tuple[str, ...] = ()
) -> int:
    return claim_round(store, experiment, requested=requested, run_id=run_id, is_running=lambda other: other in live)


def test_rounds_follow_each_other(store: Store, experiment: Experiment) -> None:
    assert claim(store, experiment, "a") == 0
    finish(store, 0)
    assert claim(store, experiment, "b") == 1
    finish(store, 1)
    assert claim(store, experiment, "c", requested=2) == 2


def test_a_run_that_is_cleared_keeps_its_round(store: Store, experiment: Experiment) -> None:
    assert claim(store, experiment, "a") == 0
    finish(store, 0)
    assert claim(store, experiment, "a") == 0


def test_a_failed_round_is_taken_over(store: Store, experiment: Experiment) -> None:
    assert claim(store, experiment, "failed") == 0
    assert claim(store, experiment, "again") == 0


def test_a_second_run_of_a_live_experiment_is_refused(store: Store, experiment: Experiment) -> None:
    claim(store, experiment, "first")
    with pytest.raises(UserError, match="'trial' is live: its round 0 runs as Dag run 'first'"):
        claim(store, experiment, "second", live=("first",))


def test_the_run_that_triggers_the_next_round_does_not_stand_in_its_way(store: Store, experiment: Experiment) -> None:
    claim(store, experiment, "first")
    finish(store, 0)
    assert claim(store, experiment, "second", live=("first",)) == 1


def test_an_experiment_that_reached_its_rounds_goes_on_with_more(store: Store, experiment: Experiment) -> None:
    for number in (0, 1, 2):
        finish(store, number)
    longer = open_or_create(store, "trial", None, {"max_rounds": 3})
    assert claim(store, longer) == 3


def test_a_round_with_a_successor_is_refused(store: Store, experiment: Experiment) -> None:
    finish(store, 0)
    finish(store, 1, "sample")
    with pytest.raises(UserError, match="Round 0 of 'trial' has a successor"):
        claim(store, experiment, requested=0)


def test_a_new_experiment_begins_with_round_zero(store: Store) -> None:
    with pytest.raises(UserError, match="'fresh' is new and begins with round 0"):
        open_or_create(store, "fresh", None, {}, 5)
    assert not store.root.exists()


def test_a_round_without_predecessor_is_refused(store: Store, experiment: Experiment) -> None:
    with pytest.raises(UserError, match="round 1 is not finished"):
        claim(store, experiment, requested=2)


def test_an_experiment_that_ended_is_refused(store: Store, experiment: Experiment) -> None:
    for number in (0, 1, 2):
        finish(store, number)
    with pytest.raises(UserError, match="ended with round 2 \\(max_rounds=2 reached\\)"):
        claim(store, experiment)
    finish(store, 2, stop_reason="no gain in 3 rounds")
    with pytest.raises(UserError, match="no gain in 3 rounds"):
        claim(store, replace(experiment, recipe=experiment.recipe.model_copy(update={"max_rounds": 9})))


def test_following_round_obeys_stop_rule_and_limit(store: Store, experiment: Experiment) -> None:
    assert following_round(store, "trial", 0) is None
    finish(store, 0)
    finish(store, 1, stop_reason="converged")
    finish(store, 2)
    assert [following_round(store, "trial", number) for number in (0, 1, 2)] == [1, None, None]


def test_a_known_experiment_may_run_longer_but_not_otherwise(store: Store, experiment: Experiment) -> None:
    assert open_or_create(store, "trial", None, {}) == experiment
    longer = open_or_create(store, "trial", None, {"max_rounds": 7})
    assert (longer.recipe.max_rounds, longer.recipe_hash) == (7, experiment.recipe_hash)
    with pytest.raises(UserError, match=r"'trial' was made with another recipe \(different: sample\.n\)"):
        open_or_create(store, "trial", None, {"sample.n": 2})


def test_run_ids_are_fixed_but_differ_after_a_fresh_start(experiment: Experiment) -> None:
    again = replace(experiment, created_at="2027-01-01T00:00:00+00:00")
    assert round_run_id(experiment, 1) == round_run_id(experiment, 1)
    assert len({round_run_id(experiment, 1), round_run_id(experiment, 2), round_run_id(again, 1)}) == 3
    assert round_run_id(again, 1) == "trial__20270101T000000__round_001"


def test_shard_labels_count_from_one() -> None:
    assert shard_labels(2) == ["1/2", "2/2"]
