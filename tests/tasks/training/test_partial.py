"""The folder of an unfinished run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfexplore_tasks.training.partial import PartialRun, publish_folder, recover_replaced


def _checkpoint(folder: Path, step: int, state: str | None) -> None:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir()
    if state is not None:
        (checkpoint / "trainer_state.json").write_text(state)


def test_only_complete_checkpoints_count(tmp_path: Path) -> None:
    run = PartialRun.open(tmp_path / "sft", "a", 8)
    assert run.last_checkpoint() is None
    _checkpoint(run.folder, 9, json.dumps({"global_step": 9}))
    _checkpoint(run.folder, 10, json.dumps({"global_step": 10}))
    _checkpoint(run.folder, 20, '{"global_st')
    _checkpoint(run.folder, 30, None)
    assert run.last_checkpoint() == run.folder / "checkpoint-10"


def test_another_run_finds_an_empty_folder_and_the_same_one_its_own(tmp_path: Path) -> None:
    run = PartialRun.open(tmp_path / "sft", "a", 8)
    _checkpoint(run.folder, 10, json.dumps({"global_step": 10}))
    run.remember(2)
    again = PartialRun.open(tmp_path / "sft", "a", 8)
    assert (again.micro_batch_size, again.last_checkpoint()) == (2, run.folder / "checkpoint-10")
    other = PartialRun.open(tmp_path / "sft", "b", 8)
    assert (other.micro_batch_size, other.last_checkpoint()) == (8, None)


@pytest.mark.parametrize("is_replaced", [True, False])
def test_publishing_replaces_the_whole_folder(tmp_path: Path, is_replaced: bool) -> None:
    output, finished = tmp_path / "sft", tmp_path / "final"
    if is_replaced:
        output.mkdir()
        (output / "old").touch()
    finished.mkdir()
    (finished / "new").touch()
    publish_folder(finished, output)
    assert [path.name for path in output.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["sft"]


def test_death_between_the_renames_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "sft.replaced").mkdir()
    (tmp_path / "sft.replaced" / "old").touch()
    recover_replaced(tmp_path / "sft")
    assert [path.name for path in (tmp_path / "sft").iterdir()] == ["old"]
