"""Disk: what a round leaves behind, what it needs while it runs, and whether there is room for it."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from selfexplore_tasks.engines.common import is_local, weight_files
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.estimates.counts import Work, models_of_round, trains_rft
from selfexplore_tasks.recipe import Recipe, Training
from selfexplore_tasks.stages.names import GENERATING_STAGES
from selfexplore_tasks.store.experiments import Experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest

BYTES_PER_WEIGHT = 4  # trained models are saved in float32
MODEL_FILES_BYTES = 100_000  # tokenizer, configuration and training log, of a small model
CHECKPOINTS_AT_ONCE = 2  # the old one is removed once the new one is written
MOMENTS = {"adamw_torch": 2, "rmsprop": 1, "sgd": 0}
# Of a generated text in all the tables that it goes through, compressed: its columns, and its tokens' letters.
ROW_BYTES, TOKEN_BYTES = 20, 1.5
UNKNOWN_PARAMETERS = 1_000_000_000
MAX_HEADER_BYTES = 1 << 27


def base_folder(store: Store, slug: str) -> Path | None:
    """Where the experiment's base model lies, once it is prepared; outside the store if the recipe names one."""
    prepared = read_manifest(store, slug, 0, "prepare")
    return Path(prepared.notes["base_model"]) if prepared and "base_model" in prepared.notes else None


def parameter_count(recipe: Recipe, base_dir: Path | None = None) -> int:
    """Weights of the recipe's model: read from its files where they are, else computed, else told by its name."""
    return known_parameter_count(recipe, base_dir) or UNKNOWN_PARAMETERS


def known_parameter_count(recipe: Recipe, base_dir: Path | None = None) -> int | None:
    """As `parameter_count`, None where nothing tells."""
    local = recipe.model.path if recipe.model.path and is_local(recipe.model.path) else None
    for folder in (base_dir, Path(local).expanduser() if local else None):
        counted = sum(_count_weights(path) for path in weight_files(folder)) if folder else 0
        if counted:
            return counted
    scratch = recipe.model.scratch
    if scratch is not None:
        width = scratch.hidden_size
        return scratch.vocab_size * width + scratch.layers * (4 * width * width + 3 * width * scratch.intermediate_size)
    name = f"{recipe.model.path or ''} {recipe.model.gguf_package or ''} {recipe.name}".lower()
    found = re.search(r"(\d+(?:\.\d+)?)([bm])\b", name)
    return int(float(found[1]) * {"b": 1e9, "m": 1e6}[found[2]]) if found else None


def model_bytes(recipe: Recipe, round_number: int, parameters: int) -> int:
    """Bytes of the models that a round leaves behind."""
    if round_number == 0:
        count = (recipe.model.path is None) + (recipe.sft is not None)
    else:
        count = models_of_round(recipe, round_number)
    return count * (BYTES_PER_WEIGHT * parameters + MODEL_FILES_BYTES)


def expected_table_bytes(work: Mapping[str, Work], bytes_per_row: float | None) -> int:
    """Bytes of the tables that a round writes."""
    drawn = [one for stage, one in work.items() if stage in GENERATING_STAGES]
    rows, tokens = sum(one.items for one in drawn), sum(one.tokens for one in drawn)
    if bytes_per_row is not None:
        return round(rows * bytes_per_row)
    return round(rows * ROW_BYTES + tokens * TOKEN_BYTES)


def checkpoint_bytes(recipe: Recipe, round_number: int, parameters: int) -> int:
    """Bytes that the checkpoints of the round's largest training take while it runs: weights and optimiser."""
    trainings: list[Training] = [recipe.dpo] + ([recipe.rft] if trains_rft(recipe.rft, round_number) else [])
    if round_number == 0:
        trainings = [recipe.sft] if recipe.sft else []
    # Adapters are small beside the weights.
    full = [1 + MOMENTS[one.optimizer] for one in trainings if one.lora is None]
    return CHECKPOINTS_AT_ONCE * BYTES_PER_WEIGHT * parameters * max(full, default=0)


def table_bytes(store: Store, slug: str, round_number: int) -> int:
    """Bytes of the parts that a round has written."""
    files = (store.root / "tables").glob(f"*/experiment={slug}/round={round_number:03d}/*.parquet")
    return sum(path.stat().st_size for path in files)


def check_disk(store: Store, experiment: Experiment, round_number: int, needed: int) -> None:
    """Raise UserError if the store's disk has no room for the ``needed`` bytes of a round.

    Where nothing tells how large the model is, ``needed`` is a guess that must stop nobody.
    """
    free = free_bytes(store)
    if known_parameter_count(experiment.recipe, base_folder(store, experiment.slug)) is None:
        return
    if free < needed:
        raise UserError(
            f"Round {round_number} of {experiment.slug!r} needs about {in_words(needed)} in {store.root}, "
            f"{in_words(free)} are free: free space, lower retention.keep_rounds and run `selfexplore housekeeping`, "
            "or set SELFEXPLORE_HOME."
        )


def free_bytes(store: Store) -> int:
    """Bytes that are free where the store is, or will be."""
    existing = next(path for path in (store.root, *store.root.parents) if path.exists())
    return shutil.disk_usage(existing).free


def in_words(count: float) -> str:
    """Bytes for people, e.g. `8.1 GiB`."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _count_weights(path: Path) -> int:
    """Numbers in a safetensors file, from its header; 0 for another format."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if path.suffix != ".safetensors" or not 0 < length <= MAX_HEADER_BYTES:
            return 0
        header = json.loads(file.read(length))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
