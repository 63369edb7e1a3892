"""Forks: a new experiment that goes on from a finished round of another one.

Parts, models and other files are immutable, each put in place under its name in one step, so a fork shares them by
hard link: it takes no room, and what one experiment deletes or replaces the other keeps. An object store has no links:
there they are copied, by the server. Rows have the same ids; the experiment's name is in no part (it is a key of the
path) but in the manifests, which are written anew.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.recipe_files import change_recipe, changed_fields, recipe_hash
from selfexplore_tasks.store.champions import copy_choices, link_champion, refresh_link
from selfexplore_tasks.store.experiments import (
    EarlierRecipe,
    Experiment,
    ForkPoint,
    check_means,
    delete_rounds,
    fork_marker,
    load_experiment,
    save_experiment,
)
from selfexplore_tasks.store.files import remove_file, write_atomically, write_json
from selfexplore_tasks.store.home import Store, check_slug
from selfexplore_tasks.store.locks import stage_lock
from selfexplore_tasks.store.manifests import Manifest, read_manifest, read_manifests, write_manifest
from selfexplore_tasks.store.shared import shared_copy
from selfexplore_tasks.store.shared.models import copy_models

UNFINISHED = shutil.ignore_patterns("*.partial", "*.replaced", ".*.tmp")
NO_HARD_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS)


# What round 0 was made of, how every text was prompted, and how champions were measured: rows made under another value
# could not be compared with those there are.
FIXED_SECTIONS = ("problems", "model", "prompt", "sft", "evaluate", "grading")


def fork_experiment(
    store: Store, slug: str, round_number: int, new_slug: str, overrides: dict[str, object] | None = None
) -> Experiment:
    """Make ``new_slug`` with everything of ``slug`` up to and including a round; it may then go another way.

    A fork that is killed is seen by no reader, and the same call begins it anew.

    Args:
        overrides: dotted recipe fields that hold from the next round on, e.g. ``{"dpo.beta": 0.2}``; `Experiment.at`
            tells what held before.

    Raises:
        UserError: no such experiment, the round is not finished, the new name is taken or no name, a bad value, or a
            field that the finished rounds rest on.
    """
    origin = load_experiment(store, slug)
    check_slug(new_slug)
    recipe = change_recipe(origin.recipe, overrides or {})
    fixed = [name for name in changed_fields(origin.recipe, recipe) if name.split(".")[0] in FIXED_SECTIONS]
    if fixed:
        raise UserError(
            f"A fork cannot change {fixed[0]}: its rounds up to {round_number} rest on it. Start a new experiment."
        )
    if overrides:
        check_means(recipe)
    if read_manifest(store, slug, round_number, "summarize") is None:
        raise UserError(f"Round {round_number} of {slug!r} is not finished: fork an earlier one, or wait for it.")
    with stage_lock(store, new_slug, round_number=0, stage="fork", shard=0):
        if store.experiment_file(new_slug).exists():
            raise UserError(f"Experiment {new_slug!r} exists already: choose another name for the fork.")
        write_json(fork_marker(store, new_slug), asdict(ForkPoint(slug, round_number)))
        delete_rounds(store, new_slug)
        manifests = [one for one in read_manifests(store, slug) if one.round <= round_number]
        for manifest in manifests:
            _share_parts(store, manifest, new_slug)
        for number in range(round_number + 1):
            _share_files(store, slug, number, new_slug)
        for manifest in manifests:
            write_manifest(store, _renamed(store, manifest, new_slug))
        copy_choices(store, slug, new_slug, up_to=round_number)
        link_champion(store, new_slug)
        created_at = datetime.now(UTC).isoformat(timespec="seconds")
        own = Experiment(
            *(new_slug, recipe, recipe_hash(recipe), created_at, ForkPoint(slug, round_number)),
            _earlier(origin, round_number, recipe_hash(recipe)),
        )
        save_experiment(store, own, once=True)
        remove_file(fork_marker(store, new_slug))
    refresh_link(store, new_slug)
    return own


def _earlier(origin: Experiment, round_number: int, new_hash: str) -> tuple[EarlierRecipe, ...]:
    """Under which recipes the rounds were made that the fork takes over, where not under its own."""
    last = origin.at(round_number)
    own = () if last.recipe_hash == new_hash else (EarlierRecipe(round_number, last.recipe, last.recipe_hash),)
    return (*(one for one in origin.earlier if one.until < round_number), *own)


def _share_parts(store: Store, manifest: Manifest, new_slug: str) -> None:
    for table, names in manifest.parts.items():
        for name in names:
            own = store.table_dir(table, new_slug, manifest.round) / name
            own.parent.mkdir(parents=True, exist_ok=True)
            _share(store.table_dir(table, manifest.experiment, manifest.round) / name, own)


def _share_files(store: Store, slug: str, round_number: int, new_slug: str) -> None:
    """The round's models, and the small files beside the manifests."""
    models, own = (store.model_dir(name, f"{round_number}/any").parent for name in (slug, new_slug))
    if shared_copy(store.root) is not None:
        copy_models(store, slug, round_number, new_slug)
    elif models.is_dir():
        shutil.copytree(models, own, symlinks=True, ignore=UNFINISHED, copy_function=_share)
    for file_of in (store.approval_file, store.estimate_file):
        if file_of(slug, round_number).exists():
            file_of(new_slug, round_number).parent.mkdir(parents=True, exist_ok=True)
            _share(file_of(slug, round_number), file_of(new_slug, round_number))


def _share(source: str | Path, target: str | Path) -> str:
    """Link a file, or copy it where the file system or its borders allow no hard link."""
    copy = shared_copy(Path(target))
    if copy is not None:
        copy.share(Path(source), Path(target))
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        write_atomically(Path(target), lambda temporary: _copy(source, temporary))
    return str(target)


def _copy(source: str | Path, target: Path) -> None:
    shutil.copy2(source, target)


def _renamed(store: Store, manifest: Manifest, new_slug: str) -> Manifest:
    """The manifest under another name; a base model that was made in the store is the fork's own one."""
    notes = dict(manifest.notes)
    made = store.model_dir(manifest.experiment, "0/base")
    if notes.get("base_model") == str(made):
        notes["base_model"] = str(store.model_dir(new_slug, "0/base"))
    return replace(manifest, experiment=new_slug, notes=notes)
