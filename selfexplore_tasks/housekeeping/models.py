"""Pruning models by the recipe's retention rule.

Of finished rounds older than the ``retention.keep_rounds`` latest ones, a model goes unless it is or ever was a
champion, or an ancestor of one. The base model and everything of an unfinished round stay.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from selfexplore_tasks.housekeeping.freed import Freed, size_of
from selfexplore_tasks.stages.redo import redo_lock
from selfexplore_tasks.store.champions import champion_history
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, read_manifests
from selfexplore_tasks.store.removal import move_away
from selfexplore_tasks.store.shared.models import forget_model, model_names

BASE = "0/base"


def prune_models(store: Store, slug: str, *, dry_run: bool) -> Freed:
    """Remove the models that the rule no longer keeps; none where it keeps all (``keep_rounds: null``)."""
    # Under the lock no round becomes unfinished, which a redo would make it.
    with redo_lock(store, slug):
        folders = list(prunable_models(store, slug).values())
        freed = Freed(slug, "models", len(folders), size_of(folders))
        for folder in [] if dry_run else folders:
            forget_model(folder)
        removed = [] if dry_run else [move_away(folder) for folder in folders if folder.is_dir()]
    for folder in removed:
        shutil.rmtree(folder, ignore_errors=True)
    return freed


def prunable_models(store: Store, slug: str) -> dict[str, Path]:
    """Folders of the models that the rule no longer keeps, by model id."""
    keep_rounds = load_experiment(store, slug).recipe.retention.keep_rounds
    if keep_rounds is None:
        return {}
    manifests = read_manifests(store, slug)
    finished = sorted(manifest.round for manifest in manifests if manifest.stage == "summarize")
    kept = kept_models(manifests, (entry.model_id for entry in champion_history(store, slug)))
    found = {}
    for round_number in finished[: max(0, len(finished) - keep_rounds)]:
        for model_id in (f"{round_number}/{name}" for name in model_names(store, slug, round_number)):
            if model_id not in kept:
                found[model_id] = store.model_dir(slug, model_id)
    return found


def kept_models(manifests: Iterable[Manifest], champions: Iterable[str]) -> set[str]:
    """The champions, what they were trained from, and what that was trained from, down to the base model."""
    starts: dict[str, str] = {}
    for manifest in manifests:
        notes = manifest.notes
        if "start_model_id" in notes:
            trained = notes["models"] if "models" in notes else [notes["model_id"]]
            starts |= dict.fromkeys(trained, notes["start_model_id"])
    kept, open_ends = {BASE}, list(champions)
    while open_ends:
        model_id = open_ends.pop()
        if model_id not in kept:
            kept.add(model_id)
            open_ends += [starts[model_id]] if model_id in starts else []
    return kept
