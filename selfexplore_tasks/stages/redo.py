"""Redoing a stage: it and what depends on it are forgotten, so that they run anew.

Manifests go last to first, then parts and models: however far a killed redo got, the manifests left are those of a
round under way. A note written first lets the next run of a stage finish what a killed redo began.

Airflow runs a task again for two reasons that look alike in the store. A task that was *cleared* had succeeded: it left
an acknowledgement, of the same Dag run and an earlier try, and its stage is redone. A task whose try was *killed* after
the stage's commit left none: its stage is done, and stays so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.stages.names import AFTER_A_ROUND, MODELS, stages_of
from selfexplore_tasks.store.champions import GATE, champion_history, refresh_link
from selfexplore_tasks.store.experiments import Experiment, load_experiment
from selfexplore_tasks.store.files import remove_file, write_json
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.locks import exclusive_lock, live_stages, stage_lock
from selfexplore_tasks.store.manifests import read_manifest, read_manifests
from selfexplore_tasks.store.removal import remove_folder, remove_parts, round_dirs
from selfexplore_tasks.store.shared import shared_copy
from selfexplore_tasks.store.shared.models import forget_model, has_model

REDO, ACKNOWLEDGEMENTS = "redo", "acks"
WITHOUT_MODELS = ("gate", "summarize", *AFTER_A_ROUND)
"""Stages behind which no model of their own round is read."""
BESIDE_A_MODEL = ("", ".partial", ".replaced")


def redo_stage(store: Store, slug: str, round_number: int, stage: str) -> None:
    """Forget a stage of the round and every later one: manifests, parts, models, and a promotion's approval.

    Raises:
        UserError: there is no such stage; the round has a successor; the experiment is live; a forgotten stage was
            imported, or trained a model that a person made champion; housekeeping removed a model it needs; a fork
            took the round over and has another recipe.
    """
    from selfexplore_tasks.stages.registry import check_stage

    _check_own_round(load_experiment(store, slug), round_number)
    check_stage(stage, round_number, 1)
    with redo_lock(store, slug), _alone(store, slug, round_number, stage):
        _check_no_successor(store, slug, round_number, stage)
        forgotten = dependent_stages(round_number, stage)
        _check_replaceable(store, slug, round_number, forgotten)
        _check_models(store, slug, round_number, stage)
        write_json(_note(store, slug, round_number), {"stage": stage})
        _forget(store, slug, round_number, forgotten)
    print(f"{stage}: round {round_number} is done anew from here on", flush=True)


def finish_redo(store: Store, slug: str) -> None:
    """Finish what a redo that was killed began to forget."""
    for note in sorted((store.lock_dir(slug) / REDO).glob("*.json")):
        with redo_lock(store, slug):
            if note.exists():  # else another shard was quicker
                round_number, stage = int(note.stem), json.loads(note.read_text(encoding="utf-8"))["stage"]
                with _alone(store, slug, round_number, stage):
                    _forget(store, slug, round_number, dependent_stages(round_number, stage))


def redo_if_cleared(
    store: Store, slug: str, round_number: int, stage: str, shard: str | None, *, run_id: str, try_number: int
) -> bool:
    """Redo a stage that is done and that this task of this Dag run did in an earlier try; says whether it did.

    Cleared shards of one stage redo it once: the first one removes the acknowledgements of all. Raises UserError as
    `redo_stage`.
    """
    with _acknowledgements_locked(store, slug):
        path = _acknowledgement(store, slug, round_number, stage, shard)
        if not path.exists() or read_manifest(store, slug, round_number, stage) is None:
            return False
        left = json.loads(path.read_text(encoding="utf-8"))
        if left["run_id"] != run_id or left["try_number"] >= try_number:
            return False
        redo_stage(store, slug, round_number, stage)
        return True


def acknowledge(
    store: Store, slug: str, round_number: int, stage: str, shard: str | None, *, run_id: str, try_number: int
) -> None:
    """Write down that this try of a task ended well; its last act."""
    with _acknowledgements_locked(store, slug):
        path = _acknowledgement(store, slug, round_number, stage, shard)
        write_json(path, {"run_id": run_id, "try_number": try_number})


@contextmanager
def redo_lock(store: Store, slug: str) -> Iterator[None]:
    """Keep others from forgetting stages, or from changing what finished rounds consist of; waits for its turn."""
    with exclusive_lock(store, slug, REDO):
        yield


def dependent_stages(round_number: int, stage: str) -> tuple[str, ...]:
    """The stage and those that depend on it, in order."""
    if stage in AFTER_A_ROUND:
        return (stage,)
    stages = stages_of(round_number)
    return (*stages[stages.index(stage) :], *AFTER_A_ROUND)


def _check_own_round(experiment: Experiment, round_number: int) -> None:
    origin = experiment.forked_from
    if origin is not None and experiment.at(round_number).recipe_hash != experiment.recipe_hash:
        raise UserError(
            f"Round {round_number} of {experiment.slug!r} was made with the recipe of {origin.experiment!r}, which the "
            f"fork changed: fork from round {round_number - 1} to do it anew."
        )


def _check_no_successor(store: Store, slug: str, round_number: int, stage: str) -> None:
    """Manifests of a later round, or only chunks and checkpoints: they were made with this round's champion."""
    begun = {manifest.round for manifest in read_manifests(store, slug)}
    for folder in round_dirs(store, slug):
        if any(folder.iterdir()):
            begun.add(int(folder.name.removeprefix("round=")))
    copy = shared_copy(store.root)
    if copy is not None:
        begun |= copy.begun_rounds(slug)
    if stage not in AFTER_A_ROUND and max(begun, default=0) > round_number:
        raise UserError(
            f"Round {round_number} of {slug!r} has a successor and cannot run again: go another way from there with "
            f"`selfexplore experiments fork {slug} --round {round_number} --as NEW`."
        )


def _check_replaceable(store: Store, slug: str, round_number: int, forgotten: tuple[str, ...]) -> None:
    for stage in forgotten:
        manifest = read_manifest(store, slug, round_number, stage)
        if manifest is not None and "imported_from" in manifest.notes:
            raise UserError(
                f"Stage {stage} of round {round_number} of {slug!r} was imported from "
                f"{manifest.notes['imported_from']} and would be lost: redo a later stage, or start another experiment."
            )
    trained = {f"{round_number}/{name}" for stage in forgotten for name in MODELS.get(stage, ())}
    for entry in champion_history(store, slug):
        if entry.who != GATE and entry.model_id in trained:
            raise UserError(
                f"{entry.model_id} of {slug!r} would be trained anew, but {entry.who} made it the champion: "
                f"choose another with `selfexplore champion set {slug}`, or fork the experiment."
            )


def _check_models(store: Store, slug: str, round_number: int, stage: str) -> None:
    """Models that earlier stages of the round trained, and that this stage or a later one reads."""
    if stage in WITHOUT_MODELS:
        return
    stages = stages_of(round_number)
    for earlier in stages[: stages.index(stage)]:
        manifest = read_manifest(store, slug, round_number, earlier)
        if manifest is None or "start_model_id" not in manifest.notes:
            continue  # it trained nothing
        for model_id in manifest.notes.get("models", [manifest.notes.get("model_id")]):
            if not has_model(store, slug, model_id):
                raise UserError(
                    f"Stage {stage} of round {round_number} of {slug!r} needs the model {model_id}, which "
                    f"housekeeping removed (retention.keep_rounds): redo stage {earlier}, which trains it."
                )


@contextmanager
def _alone(store: Store, slug: str, round_number: int, stage: str) -> Iterator[None]:
    """Let no stage of the round run meanwhile; raises UserError if one does."""
    held = stage if stage in AFTER_A_ROUND else REDO
    with stage_lock(store, slug, round_number=round_number, stage=held, shard=0):
        for live in live_stages(store, slug):
            if live.startswith(f"{round_number:03d}-") and live != f"{round_number:03d}-{held}-0":
                raise UserError(f"Experiment {slug!r} is live: {live} is running now. Stop it before redoing a stage.")
        yield


def _forget(store: Store, slug: str, round_number: int, forgotten: tuple[str, ...]) -> None:
    for stage in reversed(forgotten):
        remove_file(store.manifest_file(slug, round_number, stage))
    if "gate" in forgotten:
        remove_file(store.approval_file(slug, round_number))
    if "summarize" in forgotten:
        _refresh_champion(store, slug)
    for stage in forgotten:
        remove_parts(store, slug, round_number, stage)
    for name in (name for stage in forgotten for name in MODELS.get(stage, ())):
        folder = store.model_dir(slug, f"{round_number}/{name}")
        forget_model(folder)
        for suffix in BESIDE_A_MODEL:
            remove_folder(folder.with_name(folder.name + suffix))
    for stage in forgotten:
        for path in _acknowledgements(store, slug).glob(f"{round_number:03d}-{stage}-*.json"):
            remove_file(path)
    remove_file(_note(store, slug, round_number))


def _refresh_champion(store: Store, slug: str) -> None:
    """The champion before the round again; no link while there is none."""
    if champion_history(store, slug):
        refresh_link(store, slug)
    else:
        store.champion_link(slug).unlink(missing_ok=True)


def _note(store: Store, slug: str, round_number: int) -> Path:
    return store.lock_dir(slug) / REDO / f"{round_number:03d}.json"


def _acknowledgements(store: Store, slug: str) -> Path:
    return store.lock_dir(slug) / ACKNOWLEDGEMENTS


def _acknowledgement(store: Store, slug: str, round_number: int, stage: str, shard: str | None) -> Path:
    label = (shard or "1/1").replace("/", "-of-")
    return _acknowledgements(store, slug) / f"{round_number:03d}-{stage}-{label}.json"


@contextmanager
def _acknowledgements_locked(store: Store, slug: str) -> Iterator[None]:
    with exclusive_lock(store, slug, ACKNOWLEDGEMENTS):
        yield
