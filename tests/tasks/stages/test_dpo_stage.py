"""Stage dpo on the pairs of a real round: alarms, what is too long, EOS after rejected, reports."""

from __future__ import annotations

import importlib.util
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.recipe import Recipe
from selfexplore_tasks.stages import dpo
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.supervised import reporting, training_notes
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest
from selfexplore_tasks.training.data import TrainingResult

EXPERIMENT = "mini"


def _context(store: Store, **sections: dict[str, Any] | tuple[str, ...]) -> StageContext:
    """Stage dpo of round 1, with some fields of the recipe changed."""
    experiment = load_experiment(store, EXPERIMENT)
    content = experiment.recipe.model_dump()
    for name, value in sections.items():
        content[name] = {**content[name], **value} if isinstance(value, dict) else value
    return StageContext(store, replace(experiment, recipe=Recipe.model_validate(content)), 1, "dpo")


def _policy(store: Store) -> Path:
    return store.model_dir(EXPERIMENT, "1/policy")


def test_alarms_are_printed_and_noted(store_before: Callable[[str], Store], capsys: pytest.CaptureFixture[str]) -> None:
    store = store_before("dpo")
    manifest = dpo.run(_context(store, alarms={"min_steps": 1000, "grad_norm": 1e-9}))
    alarms = manifest.notes["alarms"]
    assert [alarm.partition(":")[0] for alarm in alarms] == ["few_steps", "grad_norm"]
    printed = [line for line in capsys.readouterr().out.splitlines() if "ALARM" in line]
    assert printed == [f"dpo: ALARM {alarm}" for alarm in alarms]
    assert read_manifest(store, EXPERIMENT, 1, "dpo") == manifest


def test_a_round_without_cause_notes_no_alarm(store_before: Callable[[str], Store]) -> None:
    manifest = dpo.run(_context(store_before("dpo"), dpo={"epochs": 4.0}))
    assert (manifest.notes["model_id"], manifest.notes["alarms"]) == ("1/policy", [])
    assert manifest.notes["steps"] >= 4


def test_a_fatal_alarm_commits_nothing_however_often_it_is_tried(store_before: Callable[[str], Store]) -> None:
    store = store_before("dpo")
    context = _context(store, alarms={"min_steps": 1000, "fatal": ("few_steps",)})
    for _ in range(2):
        with pytest.raises(UserError, match=r"dpo ended by an alarm .* few_steps: .* fewer than 1000"):
            dpo.run(context)
    assert read_manifest(store, EXPERIMENT, 1, "dpo") is None


@pytest.mark.slow
def test_two_processes_commit_one_policy(
    left_over: Any, finished_store: Store, store_before: Callable[[str], Store]
) -> None:
    """The stage's own process counts steps, watches alarms and commits; those it starts only train."""
    processes = {"config": "ddp", "processes": 2}
    store = store_before("dpo")
    shutil.rmtree(_policy(store))
    with pytest.raises(UserError, match=r"dpo ended by an alarm .* few_steps"):
        dpo.run(_context(store, accelerate=processes, alarms={"min_steps": 1000, "fatal": ("few_steps",)}))
    assert not left_over()
    shared = dpo.run(_context(store, accelerate=processes))
    alone = read_manifest(finished_store, EXPERIMENT, 1, "dpo")
    assert alone is not None
    assert shared.recipe_hash == alone.recipe_hash
    assert shared.notes["steps"] == alone.notes["steps"]
    for one, two in zip(shared.notes["log"], alone.notes["log"], strict=True):
        assert one["loss"] == pytest.approx(two["loss"], abs=1e-3)


def test_pairs_that_are_all_too_long_leave_the_explorer(
    store_before: Callable[[str], Store], capsys: pytest.CaptureFixture[str]
) -> None:
    store = store_before("dpo")
    policy_before = _policy(store).stat().st_mtime_ns
    manifest = dpo.run(_context(store, dpo={"max_length": 16}))
    pairs = manifest.row_counts["pairs"]
    reason = f"the dpo set for policy is empty: all {pairs} examples exceed max_length=16 tokens; raise max_length"
    assert pairs > 0
    assert manifest.row_counts["too_long"] == pairs
    assert {**manifest.notes, "loading": None} == {"model_id": "1/rft", "skipped": reason, "loading": None}
    assert f"dpo: {reason}; the explorer stays as it is\n" in capsys.readouterr().out
    assert _policy(store).stat().st_mtime_ns == policy_before


@pytest.mark.parametrize(
    ("rejected", "kind", "asked", "ended"),
    [
        ("pit_step", "granular", True, False),
        ("remainder", "granular", True, True),
        ("remainder", "granular", False, False),
        ("pit_step", "outcome", True, True),
        ("pit_step", "outcome", False, False),
    ],
)
def test_eos_follows_complete_rejected_texts_only_where_it_is_asked_for(
    finished_store: Store, rejected: str, kind: str, asked: bool, ended: bool
) -> None:
    context = _context(finished_store, pairs={"rejected": rejected}, dpo={"eos_on_complete_rejected": asked})
    eos = context.prompts(context.explorer_id).eos_token_id
    examples = dpo._examples(context, dpo.training_pairs(context, kind), context.recipe.dpo)
    assert examples
    assert all(example.chosen_ids[-1] == eos and eos not in example.chosen_ids[:-1] for example in examples)
    assert {example.rejected_ids[-1] == eos for example in examples} == {ended}
    assert all(eos not in example.rejected_ids[:-1] for example in examples)


def test_a_run_is_reported_under_its_experiment_and_model(finished_store: Store) -> None:
    made = reporting(_context(finished_store, report_to=("tensorboard",)), "1/policy")
    assert (made.names, made.run_name) == (("tensorboard",), "mini/1/policy")


def test_notes_are_json_where_a_loss_is_not_a_number() -> None:
    result = TrainingResult(
        step_count=2,
        token_count=1,
        seconds=1.0,
        example_count=1,
        too_long_count=0,
        log_history=[{"step": 1.0, "loss": 0.5}, {"step": 2.0, "loss": math.nan}],
        metrics={"loss_mean": math.nan, "grad_norm": math.inf},
    )
    notes = training_notes(result)
    assert notes["log"] == [{"step": 1.0, "loss": 0.5}, {"step": 2.0, "loss": None}]
    assert notes["metrics"] == {"loss_mean": None, "grad_norm": None}


@pytest.mark.skipif(importlib.util.find_spec("swanlab") is not None, reason="package swanlab is installed")
def test_a_missing_reporter_ends_the_stage_before_training(store_before: Callable[[str], Store]) -> None:
    store = store_before("dpo")
    policy_before = _policy(store).stat().st_mtime_ns
    with pytest.raises(UserError, match="report_to=swanlab needs the package swanlab"):
        dpo.run(_context(store, report_to=("swanlab",)))
    assert _policy(store).stat().st_mtime_ns == policy_before
    assert read_manifest(store, EXPERIMENT, 1, "dpo") is None
