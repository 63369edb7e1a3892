"""What finished rounds of this store say about the next one: each stage as it was expected, and as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.estimates.counts import ProblemCounts, Work, expected_counts, work_of_round
from selfexplore_tasks.estimates.disk import base_folder, parameter_count, table_bytes
from selfexplore_tasks.processes import usable_cores
from selfexplore_tasks.recipe import Recipe
from selfexplore_tasks.recipe_files import recipe_hash
from selfexplore_tasks.stages.names import GENERATING_STAGES, SHARDED_STAGES, TRAINING_STAGES, stages_of
from selfexplore_tasks.store.experiments import Experiment, experiment_names, load_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, read_manifest

# How near a measurement is: the smaller, the better it tells.
OWN, SAME_RECIPE, SAME_MODEL, PROBED, OTHER_MODEL = range(5)
ROUNDS_READ = 3
OTHERS_READ = 3
GENERATED_ROWS = {
    "sample": "rationales",
    "sample_explorer": "rationales",
    "explore": "rollouts",
    "evaluate": "evaluations",
}


@dataclass(frozen=True)
class Observation:
    """A stage that did something: ``work`` was expected of it, the rest is what it took (``workers`` side by side)."""

    stage: str
    nearness: int
    round: int
    work: Work
    items: float
    tokens: float
    seconds: float
    workers: int
    parameters: int
    finished_at: str = ""

    @property
    def kind(self) -> str:
        return kind_of(self.stage)


@dataclass(frozen=True)
class History:
    """Everything measured that may tell something about a recipe; ``bytes_per_row`` are those of the tables."""

    counts: ProblemCounts
    observations: tuple[Observation, ...] = ()
    bytes_per_row: float | None = None


def kind_of(stage: str) -> str:
    """What a stage spends its time on: generate, train or relational work."""
    if stage in GENERATING_STAGES:
        return "generate"
    return "train" if stage in TRAINING_STAGES else "relational"


def workers_of(recipe: Recipe, stage: str) -> int:
    """Workers of a stage that run at the same time: its shards, no more than there are GPUs (else cores)."""
    return min(recipe.shards, gpu_count() or usable_cores()) if stage in SHARDED_STAGES else 1


def gpu_count() -> int:
    """NVIDIA GPUs of this machine, told from their device files: no library is loaded for it."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def read_history(store: Store, recipe: Recipe, slug: str | None) -> History:
    """Return what the store knows: the experiment's own last rounds, and those of the nearest other ones.

    Experiments and manifests that this program cannot read are left out.
    """
    counts = expected_counts(recipe.problems)
    observations: list[Observation] = []
    bytes_per_row = None
    if slug is not None:
        counts = _prepared_counts(store, slug, counts)
        observations += _read_experiment(store, load_experiment(store, slug), counts, OWN)
        bytes_per_row = _bytes_per_row(store, slug, observations)
    for nearness, name, other in _nearest(store, recipe, slug):
        other_counts = _prepared_counts(store, name, expected_counts(other.recipe.problems))
        found = _read_experiment(store, other, other_counts, nearness)
        if bytes_per_row is None and nearness <= SAME_MODEL:
            bytes_per_row = _bytes_per_row(store, name, found)
        observations += found
    return History(counts, tuple(observations), bytes_per_row)


def _nearest(store: Store, recipe: Recipe, slug: str | None) -> list[tuple[int, str, Experiment]]:
    """The other experiments worth reading, the nearest and then the newest first."""
    wanted, model = recipe_hash(recipe), recipe.model.model_dump(mode="json")
    found = []
    for name in experiment_names(store):
        path = store.experiment_file(name)
        content = _content(path)
        if name == slug or content.get("recipe", {}).get("engine", {}).get("kind") != recipe.engine.kind:
            continue
        nearness = SAME_MODEL if content["recipe"].get("model") == model else OTHER_MODEL
        nearness = SAME_RECIPE if content.get("recipe_hash") == wanted else nearness
        found.append((nearness, str(content.get("created_at", "")), name))
    readable = (
        (nearness, name, _readable(store, name))
        for nearness, _, name in sorted(sorted(found, key=lambda one: one[1], reverse=True), key=lambda one: one[0])
    )
    return list(islice(((nearness, name, other) for nearness, name, other in readable if other), OTHERS_READ))


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):  # damaged, or deleted just now
        return {}
    return content if isinstance(content, dict) else {}


def _readable(store: Store, name: str) -> Experiment | None:
    """An experiment; None where another version of the program made it and its recipe is not valid any more."""
    try:
        return load_experiment(store, name)
    except (ValidationError, UserError, OSError):
        return None


def _read_experiment(store: Store, experiment: Experiment, counts: ProblemCounts, nearness: int) -> list[Observation]:
    parameters = parameter_count(experiment.recipe, base_folder(store, experiment.slug))
    found = []
    for manifest in _recent_manifests(store, experiment.slug):
        recipe = experiment.at(manifest.round).recipe
        work = work_of_round(recipe, manifest.round, counts)[manifest.stage]
        items = _items(manifest, recipe, work)
        if items:
            observation = Observation(
                stage=manifest.stage,
                nearness=nearness,
                round=manifest.round,
                work=work,
                items=items,
                tokens=manifest.token_count,
                seconds=manifest.seconds,
                workers=workers_of(recipe, manifest.stage),
                parameters=parameters,
                finished_at=manifest.finished_at,
            )
            found.append(observation)
    return found


def _recent_manifests(store: Store, slug: str) -> Iterator[Manifest]:
    """Manifests of round 0 and of the last rounds: those before tell less, and there may be a thousand."""
    folders = (store.root / "manifests" / slug).glob("round=*")
    rounds = sorted(int(folder.name.removeprefix("round=")) for folder in folders)
    for number in sorted({*rounds[:1], *rounds[-ROUNDS_READ:]}):
        for stage in stages_of(number):
            try:
                manifest = read_manifest(store, slug, number, stage)
            except (UserError, ValueError):  # written by a newer version, or damaged
                continue
            if manifest is not None:
                yield manifest


def _items(manifest: Manifest, recipe: Recipe, work: Work) -> float:
    """Texts the stage drew or trained on (0: it did nothing); for relational stages, those that were expected."""
    kind = kind_of(manifest.stage)
    if kind == "relational":
        return work.items or 1.0
    if "imported_from" in manifest.notes or not manifest.token_count or not work.items:
        return 0.0
    if kind == "generate":
        return float(manifest.row_counts[GENERATED_ROWS[manifest.stage]])
    settings = {"sft": recipe.sft, "rft": recipe.rft, "dpo": recipe.dpo}.get(manifest.stage)
    steps = manifest.notes.get("steps")
    return float(steps * settings.batch_size) if settings and steps else work.items


def _prepared_counts(store: Store, slug: str, expected: ProblemCounts) -> ProblemCounts:
    """The training problems as stage prepare counted them, once it has."""
    try:
        prepared = read_manifest(store, slug, 0, "prepare")
    except (UserError, ValueError):
        return expected
    if prepared is None:
        return expected
    return replace(expected, train=prepared.row_counts["train"], solved=prepared.notes["train_with_rationale"])


def _bytes_per_row(store: Store, slug: str, observations: list[Observation]) -> float | None:
    """Bytes that the tables of the last round took for every generated text; round 0 holds the problems besides."""
    last = max((one.round for one in observations), default=0)
    rows = sum(one.items for one in observations if one.round == last and one.kind == "generate")
    return table_bytes(store, slug, last) / rows if last and rows else None
