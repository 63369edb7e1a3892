"""A training run, fully determined: what is trained on, in which order, with which settings."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from selfexplore_tasks.engines.common import weight_files
from selfexplore_tasks.recipe import Training
from selfexplore_tasks.training.data import (
    NO_REPORTS,
    NothingToTrain,
    PreferenceExample,
    Reporting,
    TrainingExample,
)
from selfexplore_tasks.training.layout import SINGLE, Layout, check_batches
from selfexplore_tasks.training.order import step_count, training_order
from selfexplore_tasks.training.reporters import check_reporters

Example = TypeVar("Example", TrainingExample, PreferenceExample)


@dataclass(frozen=True)
class Job:
    """One training run, fully determined: the same job on the same machine gives the same weights (CPU)."""

    model_dir: Path
    output_dir: Path
    settings: Training
    seed: int
    threads: int
    reporting: Reporting
    layout: Layout
    reference_dir: Path | None
    fingerprint: str
    order: list[int]
    example_count: int
    too_long_count: int
    token_count: int

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the run."""
        return step_count(self.order, self.settings.batch_size)

    @property
    def share(self) -> int:
        """Examples of an optimiser step that one process trains on."""
        return self.layout.share(self.settings.batch_size)

    @property
    def partial_fingerprint(self) -> str:
        """What an unfinished run must have in common with this one: checkpoints differ from layout to layout."""
        layout = self.layout
        return self.fingerprint if layout == SINGLE else f"{self.fingerprint} {layout.name} x {layout.processes}"


def make_job(
    *,
    kind: str,
    model_dir: Path,
    output_dir: Path,
    examples: Sequence[Example],
    settings: Training,
    seed: int,
    threads: int,
    reporting: Reporting = NO_REPORTS,
    layout: Layout = SINGLE,
    reference_dir: Path | None = None,
) -> tuple[Job, list[Example]]:
    """Return the job and the examples that fit ``settings.max_length``.

    ``reference_dir`` holds the reference model of DPO; None takes the start model.
    Raises NothingToTrain when none is left, UserError when a reporter is not installed or the batch cannot be dealt
    out to the processes of ``layout``.
    """
    check_reporters(reporting.names)
    check_batches(settings, layout)
    kept = [example for example in examples if example.longest <= settings.max_length]
    too_long_count = len(examples) - len(kept)
    if not kept:
        raise NothingToTrain(_nothing_left(kind, output_dir, too_long_count, settings.max_length))
    lengths = [example.longest for example in kept]
    epochs = settings.epochs
    if settings.max_steps is not None:
        epochs = settings.max_steps * settings.batch_size / len(lengths)
    order = training_order(lengths, settings.batch_size, epochs, seed)
    job = Job(
        model_dir=model_dir,
        output_dir=output_dir,
        settings=settings,
        seed=seed,
        threads=threads,
        reporting=reporting,
        layout=layout,
        reference_dir=reference_dir,
        fingerprint=_fingerprint(
            kind, [model_dir, *([reference_dir] if reference_dir else [])], examples, settings, seed
        ),
        order=order,
        example_count=len(kept),
        too_long_count=too_long_count,
        token_count=sum(kept[index].token_count for index in order),
    )
    return job, kept


def _nothing_left(kind: str, output_dir: Path, too_long_count: int, max_length: int) -> str:
    name = f"the {kind} set for {output_dir.name}"
    if too_long_count:
        return f"{name} is empty: all {too_long_count} examples exceed max_length={max_length} tokens; raise max_length"
    return f"{name} is empty: the stage before it gave nothing to train on"


def _fingerprint(
    kind: str,
    model_dirs: Sequence[Path],
    examples: Sequence[TrainingExample | PreferenceExample],
    settings: Training,
    seed: int,
) -> str:
    """Hash everything that decides the weights; threads are left out, they only move the last bits."""
    digest = hashlib.sha256(json.dumps([kind, settings.model_dump(), seed], sort_keys=True).encode())
    for path in (path for model_dir in model_dirs for path in weight_files(model_dir)):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    for example in examples:
        for ids in vars(example).values():
            digest.update(len(ids).to_bytes(8, "little"))
            digest.update(array("q", ids).tobytes())
    return digest.hexdigest()
