"""An experiment as its files say at one moment: what every page begins with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.recipe import Recipe
from selfexplore_tasks.recipe_files import format_errors
from selfexplore_tasks.store.experiments import Experiment, load_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, read_manifests

Fingerprint = tuple[tuple[str, int, int], ...]
"""Path, modification time (ns) and size of files."""


class NotFound(UserError):
    """There is no such experiment, round or problem."""


class Unreadable(UserError):
    """It is there and cannot be read: of a newer program, damaged, or being changed."""


class Vanished(Unreadable):
    """A file that was there a moment ago is gone: what took its place is found by asking again."""


@dataclass(frozen=True)
class Snapshot:
    """An experiment as its files say at one moment."""

    store: Store
    experiment: Experiment
    recipe_content: dict[str, Any]
    manifests: tuple[Manifest, ...]
    fingerprint: Fingerprint

    @property
    def slug(self) -> str:
        return self.experiment.slug

    @property
    def recipe(self) -> Recipe:
        return self.experiment.recipe

    def recipe_of(self, round_number: int) -> Recipe:
        """What a round was made with: a fork may have changed it since, and fields may change by round."""
        return self.experiment.at(round_number).recipe.for_round(round_number)

    @property
    def forked_from(self) -> str | None:
        """EXPERIMENT:ROUND"""
        origin = self.experiment.forked_from
        return f"{origin.experiment}:{origin.round}" if origin else None

    @property
    def own_manifests(self) -> list[Manifest]:
        """Those of its own rounds, without what a fork took over."""
        origin = self.experiment.forked_from
        return [manifest for manifest in self.manifests if origin is None or manifest.round > origin.round]

    @property
    def rounds(self) -> list[int]:
        """Rounds of which at least one stage is done."""
        return sorted({manifest.round for manifest in self.manifests})

    @property
    def finished_rounds(self) -> list[int]:
        return [manifest.round for manifest in self.manifests if manifest.stage == "summarize"]

    def manifest(self, round_number: int, stage: str) -> Manifest | None:
        found = [one for one in self.manifests if (one.round, one.stage) == (round_number, stage)]
        return found[0] if found else None

    def candidate(self, round_number: int) -> str | None:
        """The model that a round proposes; None while it is not trained."""
        made = self.manifest(round_number, "dpo" if round_number else "sft")
        return str(made.notes["model_id"]) if made else None

    def parts(self, table: str, rounds: Iterable[int] | None = None) -> list[Path]:
        """Paths of a table's parts, of all rounds or these."""
        wanted = None if rounds is None else set(rounds)
        return [
            self.store.table_dir(table, self.slug, manifest.round) / name
            for manifest in self.manifests
            if wanted is None or manifest.round in wanted
            for name in manifest.parts.get(table, ())
        ]

    def version(self, rounds: Iterable[int] | None = None) -> Fingerprint:
        """Changes whenever a manifest of these rounds does; without rounds, whenever any file does."""
        if rounds is None:
            return self.fingerprint
        folders = tuple(f"round={number:03d}/" for number in rounds)
        return tuple(entry for entry in self.fingerprint if entry[0].startswith(folders))


def fingerprint_of(store: Store, slug: str) -> Fingerprint:
    """Of the experiment's file and its manifests."""
    folder = store.root / "manifests" / slug
    entries = [_entry(path, f"{path.parent.name}/{path.name}") for path in folder.glob("round=*/*.json")]
    return tuple(sorted([_entry(store.experiment_file(slug), "experiment"), *entries]))


def _entry(path: Path, name: str) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return name, 0, 0
    return name, status.st_mtime_ns, status.st_size


def read_snapshot(store: Store, slug: str, fingerprint: Fingerprint) -> Snapshot:
    """Read all of it; raises NotFound, or Unreadable with a sentence that says why."""
    path = store.experiment_file(slug)
    try:
        experiment = load_experiment(store, slug)
        content = json.loads(path.read_text(encoding="utf-8"))["recipe"]
        return Snapshot(store, experiment, content, tuple(read_manifests(store, slug)), fingerprint)
    except FileNotFoundError as error:
        raise NotFound(f"Experiment {slug!r} is being changed or deleted: ask again.") from error
    except (UserError, ValueError, KeyError, TypeError) as error:
        if not path.exists():
            raise NotFound(f"There is no experiment {slug!r}.") from error
        raise Unreadable(why_unreadable(slug, error)) from error


def why_unreadable(slug: str, error: Exception) -> str:
    """One sentence for people."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ValidationError):
        return f"The recipe of experiment {slug!r} is not one of this program's: {format_errors(error)}"
    return (
        f"The files of experiment {slug!r} are damaged, or were written by another version of this program "
        f"({type(error).__name__})."
    )
