"""Training over several processes (gloo, on the CPU): the same model as one process makes, and nothing left behind."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from selfexplore_tasks.recipe import Accelerate, Dpo, Lora, Training
from selfexplore_tasks.training.common import run_training
from selfexplore_tasks.training.data import OnProgress, PreferenceExample, TrainingExample, TrainingResult
from selfexplore_tasks.training.dpo import train_dpo
from selfexplore_tasks.training.job import make_job
from selfexplore_tasks.training.launcher import RANK_MODULE
from selfexplore_tasks.training.layout import SINGLE, Layout, resolve_layout
from selfexplore_tasks.training.sft import train_sft
from starved import starved_trainer

DDP, FSDP2 = (resolve_layout(Accelerate(config=name, processes=2)) for name in ("ddp", "fsdp2"))


def _dpo(
    model_dir: Path,
    output_dir: Path,
    pairs: list[PreferenceExample],
    settings: Dpo,
    layout: Layout = SINGLE,
    on_progress: OnProgress | None = None,
) -> TrainingResult:
    return train_dpo(
        model_dir=model_dir,
        output_dir=output_dir,
        examples=pairs,
        settings=settings,
        seed=7,
        threads=1,
        layout=layout,
        on_progress=on_progress,
    )


def _assert_same(one: TrainingResult, two: TrainingResult, folders: tuple[Path, Path], tolerance: float) -> None:
    assert [line.keys() for line in one.log_history] == [line.keys() for line in two.log_history]
    for first, second in zip(one.log_history, two.log_history, strict=True):
        for name in first.keys() - {"rewards/accuracies"}:  # where both rewards are equal, rounding decides
            assert first[name] == pytest.approx(second[name], rel=1e-2, abs=1e-3), (name, first["step"])
    weights = [load_file(folder / "model.safetensors") for folder in folders]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], atol=tolerance, rtol=0)
    assert {file.name for file in folders[0].iterdir()} == {file.name for file in folders[1].iterdir()}


def test_two_processes_make_the_model_of_one(
    left_over: Any, tiny_model_dir: Path, tmp_path: Path, pairs: list[PreferenceExample], dpo_settings: Dpo
) -> None:
    """Twenty-one pairs: the last batch has two, and one of four micro-batches of it is empty."""
    settings = dpo_settings.model_copy(update={"micro_batch_size": 2})
    steps: list[int] = []
    one = _dpo(tiny_model_dir, tmp_path / "one", pairs[:21], settings)
    two = _dpo(
        tiny_model_dir, tmp_path / "two", pairs[:21], settings, DDP, lambda step, total, logs: steps.append(step)
    )
    _assert_same(one, two, (tmp_path / "one", tmp_path / "two"), 1e-4)
    assert steps == [1, 2, 3, 4, 5, 6]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("two")] == ["two"]
    assert not left_over()


@pytest.mark.slow
def test_one_pair_in_the_last_batch_leaves_a_process_without_work(
    tiny_model_dir: Path, tmp_path: Path, pairs: list[PreferenceExample], dpo_settings: Dpo
) -> None:
    settings = dpo_settings.model_copy(update={"micro_batch_size": 1, "epochs": 1, "loss": "ipo", "sft_weight": 0.3})
    one = _dpo(tiny_model_dir, tmp_path / "one", pairs[:17], settings)
    two = _dpo(tiny_model_dir, tmp_path / "two", pairs[:17], settings, DDP)
    _assert_same(one, two, (tmp_path / "one", tmp_path / "two"), 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("layout", [DDP, FSDP2], ids=["ddp", "fsdp2"])
def test_supervised_training_is_the_same(
    layout: Layout, tiny_model_dir: Path, tmp_path: Path, sft_examples: list[TrainingExample], sft_settings: Training
) -> None:
    settings = sft_settings.model_copy(update={"micro_batch_size": 2})
    results = [
        train_sft(
            model_dir=tiny_model_dir,
            output_dir=tmp_path / name,
            examples=sft_examples[:37],
            settings=settings,
            seed=7,
            threads=1,
            layout=layout,
        )
        for name, layout in (("one", SINGLE), ("two", layout))
    ]
    # AdamW turns the last bits of a small gradient into whole steps.
    _assert_same(*results, (tmp_path / "one", tmp_path / "two"), 2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, Lora(rank=4, alpha=8)], ids=["full", "lora"])
def test_sharded_weights_are_saved_whole(
    lora: Lora | None, tiny_model_dir: Path, tmp_path: Path, pairs: list[PreferenceExample], dpo_settings: Dpo
) -> None:
    settings = dpo_settings.model_copy(update={"micro_batch_size": 2, "lora": lora, "gradient_checkpointing": True})
    one = _dpo(tiny_model_dir, tmp_path / "one", pairs, settings)
    two = _dpo(tiny_model_dir, tmp_path / "two", pairs, settings, FSDP2)
    _assert_same(one, two, (tmp_path / "one", tmp_path / "two"), 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("layout", [DDP, FSDP2], ids=["ddp", "fsdp2"])
def test_a_killed_process_ends_all_and_a_retry_goes_on(
    left_over: Any,
    layout: Layout,
    tiny_model_dir: Path,
    tmp_path: Path,
    pairs: list[PreferenceExample],
    dpo_settings: Dpo,
) -> None:
    settings = dpo_settings.model_copy(update={"micro_batch_size": 4})

    def kill_second(step: int, total: int, logs: dict[str, float]) -> None:
        if step == 5:
            _training_processes(psutil.Process())[1].kill()

    with pytest.raises(RuntimeError, match=r"exit code 1|a training process failed"):
        _dpo(tiny_model_dir, tmp_path / "two", pairs, settings, layout, kill_second)
    assert not left_over()
    assert not (tmp_path / "two").exists()
    steps: list[int] = []
    two = _dpo(tiny_model_dir, tmp_path / "two", pairs, settings, layout, lambda step, *_: steps.append(step))
    assert 1 < steps[0] <= 6 == steps[-1]
    one = _dpo(tiny_model_dir, tmp_path / "one", pairs, settings)
    _assert_same(one, two, (tmp_path / "one", tmp_path / "two"), 1e-4)


STAGE = """
import pickle, sys
from pathlib import Path
from selfexplore_tasks.training.dpo import train_dpo
train_dpo(**pickle.loads(Path(sys.argv[1]).read_bytes()), on_progress=lambda step, *_: print(step, flush=True))
"""


@pytest.mark.slow
def test_a_killed_stage_leaves_no_process_behind(
    tiny_model_dir: Path, tmp_path: Path, pairs: list[PreferenceExample], dpo_settings: Dpo
) -> None:
    arguments = {
        "model_dir": tiny_model_dir,
        "output_dir": tmp_path / "two",
        "examples": pairs,
        "settings": dpo_settings.model_copy(update={"epochs": 300.0, "micro_batch_size": 4}),
        "seed": 7,
        "threads": 1,
        "layout": DDP,
    }
    (tmp_path / "arguments").write_bytes(pickle.dumps(arguments))
    stage = subprocess.Popen(
        [sys.executable, "-c", STAGE, str(tmp_path / "arguments")], stdout=subprocess.PIPE, text=True
    )
    assert stage.stdout is not None
    assert next(line for line in stage.stdout if line.strip() == "5")
    family = psutil.Process(stage.pid).children(recursive=True)
    assert len(_training_processes(psutil.Process(stage.pid))) == 2
    stage.kill()
    stage.wait()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive


@pytest.mark.slow
def test_memory_that_runs_out_in_a_process_halves_the_micro_batch(
    monkeypatch: pytest.MonkeyPatch,
    tiny_model_dir: Path,
    tmp_path: Path,
    pairs: list[PreferenceExample],
    dpo_settings: Dpo,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    job, kept = make_job(
        kind="dpo",
        model_dir=tiny_model_dir,
        output_dir=tmp_path / "two",
        examples=pairs,
        settings=dpo_settings.model_copy(update={"micro_batch_size": 2}),
        seed=7,
        threads=1,
        layout=DDP,
    )
    two = run_training(job, kept, starved_trainer, None)
    one = _dpo(tiny_model_dir, tmp_path / "one", pairs, dpo_settings)
    _assert_same(one, two, (tmp_path / "one", tmp_path / "two"), 1e-4)


def _training_processes(parent: psutil.Process) -> list[psutil.Process]:
    return [
        process
        for process in parent.children(recursive=True)
        if {RANK_MODULE, "train"} <= set(process.cmdline()) and "launch" not in process.cmdline()
    ]
