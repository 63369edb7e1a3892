"""Runs a stage by name: looks whether it is done, takes its lock, and lets its module work."""

from __future__ import annotations

import importlib

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.progress import recorded
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.names import AFTER_A_ROUND, SHARDED_STAGES, stages_of
from selfexplore_tasks.store.champions import refresh_link
from selfexplore_tasks.store.control import check_not_cancelled, ended_if_cancelled
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.locks import live_name, stage_lock
from selfexplore_tasks.store.manifests import Manifest, read_manifest
from selfexplore_tasks.store.shared.stages import bring_stage


def run_stage(
    store: Store, slug: str, stage: str, *, round_number: int, shard_index: int = 0, shard_count: int = 1
) -> Manifest | None:
    """Run one stage of one round of an existing experiment.

    A stage that is done returns its manifest at once. Returns None if this shard is done and others still work.

    Raises:
        UserError: unknown stage or experiment, an earlier stage is missing, or the experiment is live elsewhere.
        CheckFailed: a check in sql/checks found offending rows; nothing was committed.
    """
    check_stage(stage, round_number, shard_count)
    experiment = load_experiment(store, slug)
    done = read_manifest(store, slug, round_number, stage)
    if done is not None:
        print(f"{stage}: done already at {done.finished_at}", flush=True)
        if stage == "summarize":
            refresh_link(store, slug)  # a kill may have come between the commit and the link
        return done
    check_not_cancelled(store, slug)
    check_order(store, slug, stage, round_number)
    with (
        stage_lock(store, slug, round_number=round_number, stage=stage, shard=shard_index),
        ended_if_cancelled(store, slug),
    ):
        bring_stage(store, slug, round_number, stage)
        done = read_manifest(store, slug, round_number, stage)
        if done is not None:  # another shard finished while this one waited for the lock
            return done
        context = StageContext(store, experiment, round_number, stage, shard_index, shard_count)
        module_name, function = ("sample", "run_explorer") if stage == "sample_explorer" else (stage, "run")
        module = importlib.import_module(f"selfexplore_tasks.stages.{module_name}")
        progress = store.progress_file(slug, live_name(round_number, stage, shard_index))
        with recorded(progress, f"{shard_index + 1}/{shard_count}" if shard_count > 1 else None):
            manifest: Manifest | None = getattr(module, function)(context)
        return manifest


def check_stage(stage: str, round_number: int, shard_count: int) -> None:
    """Raise UserError if the round has no such stage, or the stage no shards."""
    known = (*stages_of(round_number), *AFTER_A_ROUND)
    if stage not in known:
        raise UserError(f"Round {round_number} has no stage {stage!r}: its stages are {', '.join(known)}.")
    if shard_count > 1 and stage not in SHARDED_STAGES:
        raise UserError(f"Stage {stage} is not sharded (those that are: {', '.join(SHARDED_STAGES)}).")


def check_order(store: Store, slug: str, stage: str, round_number: int) -> None:
    """Every stage builds on the one before it (round r > 0 on the end of round r - 1); raises UserError."""
    stages = (*stages_of(round_number), *AFTER_A_ROUND)
    position = stages.index(stage)
    if position > 0:
        needed, in_round = stages[position - 1], round_number
    elif round_number > 0:
        needed, in_round = "summarize", round_number - 1
    else:
        return
    if read_manifest(store, slug, in_round, needed) is None:
        raise UserError(f"Stage {stage} of round {round_number} needs {needed} of round {in_round}: run that first.")
