"""The folder of a training run that is not finished, and how it becomes the output folder.

Layout of ``<output>.partial``::

    run.json            fingerprint of the run, micro-batch size in use
    plan.pickle         what the processes are told, where several train
    log.json            what the first of them logged, when they are through
    reference.json      DPO: log-probs of the answers under the reference, computed once
    runs/               TensorBoard's event files, if the recipe reports there; moved into the output folder
    checkpoint-<step>/  complete once its trainer_state.json can be read (the trainer writes that file last)
    final/              model, tokenizer and training_log.json; renamed to <output>

``<output>`` therefore is complete or absent. While one is replaced it is for a moment ``<output>.replaced``;
a process that finds only that one puts it back.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfexplore_tasks.store.files import write_json
from selfexplore_tasks.store.shared.models import share_model

LOG_NAME = "training_log.json"
REFERENCE_NAME = "reference.json"
REPORTS = "runs"
"""Folder in which transformers' TensorBoard callback writes."""


@dataclass
class PartialRun:
    """An open run folder; ``micro_batch_size`` is what memory was found to allow."""

    folder: Path
    output_dir: Path
    fingerprint: str
    micro_batch_size: int

    @classmethod
    def open(cls, output_dir: Path, fingerprint: str, micro_batch_size: int) -> PartialRun:
        """Open the folder of this very run, or an empty one: other data or settings start afresh."""
        recover_replaced(output_dir)
        folder = output_dir.with_name(output_dir.name + ".partial")
        state = read_json(folder / "run.json")
        if state.get("fingerprint") == fingerprint:
            return cls(folder, output_dir, fingerprint, state["micro_batch_size"])
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run = cls(folder, output_dir, fingerprint, micro_batch_size)
        run.remember(micro_batch_size)
        return run

    @property
    def final_dir(self) -> Path:
        """Where the finished model is written before the rename."""
        return self.folder / "final"

    def remember(self, micro_batch_size: int) -> None:
        """Store the micro-batch size, so that a resumed run does not run out of memory again."""
        self.micro_batch_size = micro_batch_size
        state = {"fingerprint": self.fingerprint, "micro_batch_size": micro_batch_size}
        write_json(self.folder / "run.json", state)

    def last_checkpoint(self) -> Path | None:
        """Return the newest complete checkpoint, or None."""
        complete = [
            path for path in self.folder.glob("checkpoint-*") if "global_step" in read_json(path / "trainer_state.json")
        ]
        return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)

    def publish(self) -> None:
        """Make ``final`` the output folder and remove everything else but TensorBoard's files."""
        if (self.folder / REPORTS).is_dir():
            (self.folder / REPORTS).rename(self.final_dir / REPORTS)
        publish_folder(self.final_dir, self.output_dir)
        shutil.rmtree(self.folder)


def publish_folder(finished: Path, output_dir: Path) -> None:
    """Sync a finished folder to disk and rename it to ``output_dir``, replacing what was there."""
    share_model(finished, output_dir, str(read_json(finished / LOG_NAME).get("fingerprint")))
    _sync_tree(finished)
    replaced = _replaced(output_dir)
    if output_dir.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        output_dir.rename(replaced)
    finished.rename(output_dir)
    _sync(output_dir.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def recover_replaced(output_dir: Path) -> None:
    """Put back the output folder of a process that died between the two renames."""
    replaced = _replaced(output_dir)
    if replaced.exists() and not output_dir.exists():
        replaced.rename(output_dir)


def read_log(output_dir: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return the log of a finished run if ``output_dir`` is the result of this very run."""
    log = read_json(output_dir / LOG_NAME)
    return log if log.get("fingerprint") == fingerprint else None


def _replaced(output_dir: Path) -> Path:
    return output_dir.with_name(output_dir.name + ".replaced")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a file, empty where the file is missing or was cut off."""
    try:
        value = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
