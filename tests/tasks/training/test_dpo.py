"""DPO on token ids: what the trainer really sees, and what it learns from it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.recipe import Dpo, Lora, Reporter
from selfexplore_tasks.training.attempt import training_arguments
from selfexplore_tasks.training.data import (
    NO_REPORTS,
    NothingToTrain,
    OnProgress,
    PreferenceExample,
    Reporting,
    TrainingResult,
    preference_example,
)
from selfexplore_tasks.training.dpo import train_dpo
from selfexplore_tasks.training.in_order import ROW_COUNT
from selfexplore_tasks.training.job import make_job
from selfexplore_tasks.training.partial import PartialRun
from selfexplore_tasks.training.trainers import StepDPOTrainer

EOS = 0
TrainerOpener = Callable[..., StepDPOTrainer]


def _train(
    model_dir: Path,
    output_dir: Path,
    pairs: list[PreferenceExample],
    settings: Dpo,
    *,
    on_progress: OnProgress | None = None,
    reporting: Reporting = NO_REPORTS,
) -> TrainingResult:
    return train_dpo(
        model_dir=model_dir,
        output_dir=output_dir,
        examples=pairs,
        settings=settings,
        seed=7,
        threads=1,
        on_progress=on_progress,
        reporting=reporting,
    )


def test_eos_ends_chosen_and_never_rejected_in_the_trainers_own_batches(
    tiny_model_dir: Path, tmp_path: Path, pairs: list[PreferenceExample], dpo_settings: Dpo, open_trainer: TrainerOpener
) -> None:
    trainer = open_trainer(tiny_model_dir, tmp_path, pairs, dpo_settings)
    answers = set()
    for batch in trainer.get_train_dataloader():
        chosen, rejected = (
            [
                tuple(ids[mask.bool()].tolist())
                for ids, mask in zip(
                    batch["input_ids"].chunk(2)[half], batch["completion_mask"].chunk(2)[half], strict=True
                )
            ]
            for half in (0, 1)
        )
        assert all(ids[-1] == EOS and EOS not in ids[:-1] for ids in chosen)
        assert all(EOS not in ids for ids in rejected)
        answers.update(zip(chosen, rejected, strict=True))
    assert answers == {(pair.chosen_ids, pair.rejected_ids) for pair in pairs}


def test_eos_ends_a_complete_rejected_text_where_it_is_asked_for(
    tiny_model_dir: Path, tmp_path: Path, dpo_settings: Dpo, open_trainer: TrainerOpener
) -> None:
    complete = preference_example([5, 6], [7, 8], [9, 10], EOS, is_rejected_ended=True)
    step = preference_example([5, 6], [7, 8], [9], EOS)
    trainer = open_trainer(tiny_model_dir, tmp_path, [complete, step], dpo_settings)
    batch = trainer.data_collator([dict(row) for row in trainer.train_dataset])
    pad = 1
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, EOS]] * 2 + [[5, 6, 9, 10, EOS], [5, 6, 9, pad, pad]]
    assert batch["completion_mask"].tolist() == [[0, 0, 1, 1, 1]] * 3 + [[0, 0, 1, 0, 0]]


def test_token_ids_reach_the_batch_untouched_and_padding_is_no_answer(
    tiny_model_dir: Path, tmp_path: Path, dpo_settings: Dpo, open_trainer: TrainerOpener
) -> None:
    pairs = [preference_example([5, 6], [7, 8, 9], [10], EOS), preference_example([5], [7], [11, 12], EOS)]
    trainer = open_trainer(tiny_model_dir, tmp_path, pairs, dpo_settings)
    batch = trainer.data_collator([dict(row) for row in trainer.train_dataset])
    pad = 1
    assert batch["input_ids"].tolist() == [
        [5, 6, 7, 8, 9, EOS],
        [5, 7, EOS, pad, pad, pad],
        [5, 6, 10, pad, pad, pad],
        [5, 11, 12, pad, pad, pad],
    ]
    assert batch["completion_mask"].tolist() == [
        [0, 0, 1, 1, 1, 1],
        [0, 1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
    ]


def test_loss_and_reference_are_trls(
    tiny_model_dir: Path, tmp_path: Path, pairs: list[PreferenceExample], dpo_settings: Dpo, open_trainer: TrainerOpener
) -> None:
    from trl import DPOTrainer

    trainer = open_trainer(tiny_model_dir, tmp_path, pairs, dpo_settings)
    batch = next(iter(trainer.get_train_dataloader()))
    batch.pop(ROW_COUNT)
    chosen, rejected = trainer.compute_ref_log_probs(trainer.model, batch)
    torch.testing.assert_close(batch["ref_chosen_logps"], chosen, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(batch["ref_rejected_logps"], rejected, atol=1e-4, rtol=1e-5)
    batch["ref_chosen_logps"] = chosen - torch.linspace(-8, 8, len(chosen))
    trainer.model.train()
    with torch.no_grad():
        ours = trainer._sigmoid_loss(trainer.model, batch)
        noted = {name: values[-1] for name, values in trainer._metrics["train"].items()}
        trainer._metrics["train"].clear()
        theirs = DPOTrainer._compute_loss(trainer, trainer.model, batch, False)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    for name, value in noted.items():
        assert value == pytest.approx(trainer._metrics["train"][name][-1], abs=1e-3), name


def test_training_prefers_chosen_repeatably(
    tiny_model_dir: Path, tmp_path: Path, pairs: list[PreferenceExample], dpo_settings: Dpo
) -> None:
    results = [_train(tiny_model_dir, tmp_path / name, pairs, dpo_settings) for name in ("a", "b")]
    history = results[0].log_history
    assert history[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["rewards/margins"] > 0.0
    assert {"rewards/chosen", "rewards/accuracies", "logps/chosen", "logps/rejected"} <= history[0].keys()
    assert results[0].token_count == 2 * sum(pair.token_count for pair in pairs)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "b"))
    assert all(torch.equal(first[name], second[name]) for name in first)


class Killed(Exception):
    """Stands for a process that dies in the middle."""


def test_killed_run_goes_on_against_the_same_reference(
    tiny_model_dir: Path, tmp_path: Path, pairs: list[PreferenceExample], dpo_settings: Dpo
) -> None:
    _train(tiny_model_dir, tmp_path / "whole", pairs, dpo_settings)

    def die(step: int, total: int, logs: dict[str, float]) -> None:
        if step == 5:
            raise Killed

    for name in ("killed", "moved"):
        with pytest.raises(Killed):
            _train(tiny_model_dir, tmp_path / name, pairs, dpo_settings, on_progress=die)
    result = _train(tiny_model_dir, tmp_path / "killed", pairs, dpo_settings)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    # The resumed run reads the reference that the killed one computed: one that was moved shows in the log.
    kept = tmp_path / "moved.partial" / "reference.json"
    reference = json.loads(kept.read_text())
    kept.write_text(json.dumps({**reference, "chosen": [logp - 100.0 for logp in reference["chosen"]]}))
    moved = _train(tiny_model_dir, tmp_path / "moved", pairs, dpo_settings)
    changes = [run.log_history[-1]["logps/chosen_change"] for run in (moved, result)]
    assert changes[0] - changes[1] > 50.0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_lora_with_checkpointing_trains_and_merges(
    tiny_model_dir: Path, tmp_path: Path, pairs: list[PreferenceExample], dpo_settings: Dpo, precision: str
) -> None:
    changes = {"lora": Lora(rank=4, alpha=8), "gradient_checkpointing": True, "precision": precision}
    settings = dpo_settings.model_copy(update={**changes, "learning_rate": 1e-2})
    result = _train(tiny_model_dir, tmp_path / "policy", pairs, settings)
    assert result.log_history[-1]["rewards/margins"] > result.log_history[0]["rewards/margins"]
    start = load_file(tiny_model_dir / "model.safetensors")
    trained = load_file(tmp_path / "policy" / "model.safetensors")
    assert start.keys() == trained.keys()
    assert not torch.equal(start["model.layers.0.mlp.up_proj.weight"], trained["model.layers.0.mlp.up_proj.weight"])


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="package wandb is not installed")
def test_two_models_of_one_process_are_two_runs(
    tiny_model_dir: Path,
    tmp_path: Path,
    pairs: list[PreferenceExample],
    dpo_settings: Dpo,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    for name in ("policy", "outcome_dpo"):
        reporting = Reporting(("wandb",), f"mini/1/{name}")
        _train(tiny_model_dir, tmp_path / name, pairs, dpo_settings, reporting=reporting)
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2


def test_too_long_pairs_are_left_out_and_counted(
    tiny_model_dir: Path, tmp_path: Path, pairs: list[PreferenceExample], dpo_settings: Dpo
) -> None:
    long_rejected = PreferenceExample((2, 3), (4, EOS), (5,) * 63)
    result = _train(tiny_model_dir, tmp_path / "policy", [*pairs, long_rejected], dpo_settings)
    assert (result.example_count, result.too_long_count) == (len(pairs), 1)


def test_no_pairs_is_a_clear_error(tiny_model_dir: Path, tmp_path: Path, dpo_settings: Dpo) -> None:
    with pytest.raises(NothingToTrain, match="the dpo set for policy is empty"):
        _train(tiny_model_dir, tmp_path / "policy", [], dpo_settings)


def test_what_reports_go_to_is_no_part_of_the_run(
    tiny_model_dir: Path, tmp_path: Path, pairs: list[PreferenceExample], dpo_settings: Dpo
) -> None:
    jobs = [
        make_job(
            kind="dpo",
            model_dir=tiny_model_dir,
            output_dir=tmp_path / "policy",
            examples=pairs,
            settings=dpo_settings,
            seed=7,
            threads=1,
            reporting=Reporting(run_name=name),
        )[0]
        for name in ("mini/1/policy", "other")
    ]
    assert jobs[0].fingerprint == jobs[1].fingerprint
    arguments = training_arguments(jobs[0], PartialRun.open(tmp_path / "policy", "x", 8))
    assert (arguments["report_to"], arguments["run_name"]) == ([], "mini/1/policy")


@pytest.mark.parametrize("name", get_args(Reporter))
def test_a_reporter_that_is_not_installed_is_named_before_anything_is_written(
    name: str, tiny_model_dir: Path, tmp_path: Path, pairs: list[PreferenceExample], dpo_settings: Dpo
) -> None:
    if importlib.util.find_spec(name) is not None:
        pytest.skip(f"{name} is installed")
    with pytest.raises(UserError, match=f"report_to={name} needs the package {name}, which is not installed"):
        _train(tiny_model_dir, tmp_path / "policy", pairs, dpo_settings, reporting=Reporting((name,), "mini/1/policy"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="package tensorboard is not installed")
def test_tensorboard_files_stay_beside_the_model(
    tiny_model_dir: Path, tmp_path: Path, pairs: list[PreferenceExample], dpo_settings: Dpo
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = _train(
        tiny_model_dir, tmp_path / "policy", pairs, dpo_settings, reporting=Reporting(("tensorboard",), "mini/1/policy")
    )
    (run,) = (tmp_path / "policy" / "runs").iterdir()
    events = EventAccumulator(str(run)).Reload()
    logged = {event.step: event.value for event in events.Scalars("train/logps/chosen_change")}
    assert logged == pytest.approx({line["step"]: line["logps/chosen_change"] for line in result.log_history})
    assert [event.step for event in events.Scalars("train/trained/logps/chosen_change")] == [6]


def test_an_empty_answer_is_no_pair() -> None:
    with pytest.raises(ValueError, match="rejected_ids is empty"):
        preference_example([1], [2], [], EOS)


def test_another_reference_than_the_start_is_what_answers_are_measured_against(
    tiny_model_dir: Path, tmp_path: Path, pairs: list[PreferenceExample], dpo_settings: Dpo
) -> None:
    once = _train(tiny_model_dir, tmp_path / "once", pairs, dpo_settings)
    results = {
        name: train_dpo(
            model_dir=tmp_path / "once",
            output_dir=tmp_path / name,
            examples=pairs,
            settings=dpo_settings,
            seed=7,
            threads=1,
            reference_dir=reference,
        )
        for name, reference in (("itself", None), ("base", tiny_model_dir), ("again", tiny_model_dir))
    }
    first = {name: result.log_history[0]["logps/chosen_change"] for name, result in results.items()}
    assert first["itself"] == pytest.approx(0, abs=1e-4)  # the start is its own reference
    assert first["base"] == first["again"] > 0.1  # the first training has moved it away from the base
    assert once.step_count == results["base"].step_count
    base, again = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "again"))
    assert all(torch.equal(base[name], again[name]) for name in base)
