"""Supervised fine-tuning on token ids."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.recipe import Lora, Training
from selfexplore_tasks.training.attempt import load_start, training_arguments
from selfexplore_tasks.training.data import Reporting, TrainingExample, TrainingResult
from selfexplore_tasks.training.in_order import ROW_COUNT
from selfexplore_tasks.training.job import make_job
from selfexplore_tasks.training.partial import PartialRun
from selfexplore_tasks.training.sft import sft_trainer, train_sft


def _train(model_dir: Path, output_dir: Path, examples: list[TrainingExample], settings: Training) -> TrainingResult:
    return train_sft(
        model_dir=model_dir, output_dir=output_dir, examples=examples, settings=settings, seed=7, threads=1
    )


def _same_weights(first: Path, second: Path) -> bool:
    one, two = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_training_lowers_the_loss_and_says_what_it_did(
    tiny_model_dir: Path, tmp_path: Path, sft_examples: list[TrainingExample], sft_settings: Training
) -> None:
    seen: list[tuple[int, int, dict[str, float]]] = []
    result = train_sft(
        model_dir=tiny_model_dir,
        output_dir=tmp_path / "sft",
        examples=[*sft_examples, TrainingExample((3,) * 60, (4,) * 20)],
        settings=sft_settings.model_copy(update={"epochs": 4}),
        seed=7,
        threads=1,
        on_progress=lambda step, total, logs: seen.append((step, total, logs)),
    )
    losses = [entry["loss"] for entry in result.log_history]
    assert losses[-1] < 0.7 * losses[0]
    assert (result.step_count, result.example_count, result.too_long_count) == (20, 40, 1)
    assert result.token_count == 4 * sum(example.token_count for example in sft_examples)
    assert [step for step, _, _ in seen] == list(range(1, 21))
    assert {total for _, total, _ in seen} == {20}
    assert seen[-1][2]["loss"] == losses[-2]
    assert result.metrics["epoch"] == pytest.approx(4.0)
    log = json.loads((tmp_path / "sft" / "training_log.json").read_text())
    assert TrainingResult(**log["result"]) == result


def test_output_is_a_plain_model_folder(
    tiny_model_dir: Path, tmp_path: Path, sft_examples: list[TrainingExample], sft_settings: Training
) -> None:
    settings = sft_settings.model_copy(update={"gradient_checkpointing": True})
    _train(tiny_model_dir, tmp_path / "sft", sft_examples, settings)
    assert [path.name for path in tmp_path.iterdir()] == ["sft"]
    assert not list((tmp_path / "sft").glob("checkpoint-*"))
    start = AutoModelForCausalLM.from_pretrained(tiny_model_dir).config.to_dict()
    trained = AutoModelForCausalLM.from_pretrained(tmp_path / "sft").config.to_dict()
    changed = {name for name in start.keys() | trained.keys() if start.get(name) != trained.get(name)}
    assert changed <= {"_name_or_path"}
    text = "Eva has 18 + 8 = 26 shells."
    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in (tiny_model_dir, tmp_path / "sft")]
    assert tokenizers[0](text)["input_ids"] == tokenizers[1](text)["input_ids"]


def test_same_seed_gives_the_same_bits_and_another_does_not(
    tiny_model_dir: Path, tmp_path: Path, sft_examples: list[TrainingExample], sft_settings: Training
) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        train_sft(
            model_dir=tiny_model_dir,
            output_dir=tmp_path / name,
            examples=sft_examples,
            settings=sft_settings,
            seed=seed,
            threads=1,
        )
    assert _same_weights(tmp_path / "a", tmp_path / "b")
    assert not _same_weights(tmp_path / "a", tmp_path / "c")


class Killed(Exception):
    """Stands for a process that dies in the middle."""


@pytest.mark.parametrize("killed_at", [1, 7])
def test_killed_run_goes_on_to_the_same_weights(
    tiny_model_dir: Path, tmp_path: Path, sft_examples: list[TrainingExample], sft_settings: Training, killed_at: int
) -> None:
    undisturbed = _train(tiny_model_dir, tmp_path / "whole", sft_examples, sft_settings)
    steps: list[int] = []

    def on_progress(step: int, total: int, logs: dict[str, float]) -> None:
        steps.append(step)
        if len(steps) == killed_at:
            raise Killed

    def run() -> TrainingResult:
        return train_sft(
            model_dir=tiny_model_dir,
            output_dir=tmp_path / "killed",
            examples=sft_examples,
            settings=sft_settings,
            seed=7,
            threads=1,
            on_progress=on_progress,
        )

    with pytest.raises(Killed):
        run()
    assert not (tmp_path / "killed").exists()
    # What a kill in the middle of saving leaves behind: a newer checkpoint without its last file.
    (tmp_path / "killed.partial" / "checkpoint-9").mkdir()
    resumed = run()
    assert steps[killed_at] == (1 if killed_at == 1 else 7)
    assert steps[-1] == 10
    assert _same_weights(tmp_path / "whole", tmp_path / "killed")
    assert resumed.log_history[-1]["loss"] == undisturbed.log_history[-1]["loss"]
    assert len(resumed.log_history) == len(undisturbed.log_history)


def test_other_data_starts_afresh_and_the_old_output_stays_until_the_end(
    tiny_model_dir: Path, tmp_path: Path, sft_examples: list[TrainingExample], sft_settings: Training
) -> None:
    _train(tiny_model_dir, tmp_path / "sft", sft_examples, sft_settings)
    before = (tmp_path / "sft" / "model.safetensors").read_bytes()
    steps: list[int] = []

    def on_progress(step: int, total: int, logs: dict[str, float]) -> None:
        steps.append(step)
        if step == 5 and len(steps) == 5:
            raise Killed

    other = sft_examples[:-1]
    for examples in (other, other[:-1]):
        try:
            train_sft(
                model_dir=tiny_model_dir,
                output_dir=tmp_path / "sft",
                examples=examples,
                settings=sft_settings,
                seed=7,
                threads=1,
                on_progress=on_progress,
            )
        except Killed:
            assert (tmp_path / "sft" / "model.safetensors").read_bytes() == before
    assert steps[5] == 1
    assert (tmp_path / "sft" / "model.safetensors").read_bytes() != before


def test_finished_run_is_not_trained_again(
    tiny_model_dir: Path, tmp_path: Path, sft_examples: list[TrainingExample], sft_settings: Training
) -> None:
    first = _train(tiny_model_dir, tmp_path / "sft", sft_examples, sft_settings)
    stamp = (tmp_path / "sft" / "model.safetensors").stat().st_mtime_ns
    assert _train(tiny_model_dir, tmp_path / "sft", sft_examples, sft_settings) == first
    assert (tmp_path / "sft" / "model.safetensors").stat().st_mtime_ns == stamp


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_batch(
    tiny_model_dir: Path, tmp_path: Path, sft_examples: list[TrainingExample], sft_settings: Training
) -> None:
    tries = 0

    def on_progress(step: int, total: int, logs: dict[str, float]) -> None:
        nonlocal tries
        if step == 5 and tries < 2:
            tries += 1
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    result = train_sft(
        model_dir=tiny_model_dir,
        output_dir=tmp_path / "oom",
        examples=sft_examples,
        settings=sft_settings,
        seed=7,
        threads=1,
        on_progress=on_progress,
    )
    assert tries == 2
    assert result.step_count == 10
    whole = _train(tiny_model_dir, tmp_path / "whole", sft_examples, sft_settings)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("oom", "whole"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=2e-3, rtol=0)
    assert result.metrics["loss"] == pytest.approx(whole.metrics["loss"], rel=1e-2)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_lora_is_merged_into_the_weights(
    tiny_model_dir: Path, tmp_path: Path, sft_examples: list[TrainingExample], sft_settings: Training, precision: str
) -> None:
    settings = sft_settings.model_copy(update={"lora": Lora(rank=4, alpha=8), "precision": precision})
    result = _train(tiny_model_dir, tmp_path / "sft", sft_examples, settings)
    start = load_file(tiny_model_dir / "model.safetensors")
    trained = load_file(tmp_path / "sft" / "model.safetensors")
    assert torch.equal(start["model.embed_tokens.weight"], trained["model.embed_tokens.weight"])
    projection = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(start[projection], trained[projection])
    assert {name: one.shape for name, one in start.items()} == {name: one.shape for name, one in trained.items()}
    assert result.log_history[-1]["loss"] < result.log_history[0]["loss"]


def test_loss_is_taken_on_the_completion_only_and_is_trls(
    tiny_model_dir: Path, tmp_path: Path, sft_examples: list[TrainingExample], sft_settings: Training
) -> None:
    from trl import SFTTrainer

    job, kept = make_job(
        kind="sft",
        model_dir=tiny_model_dir,
        output_dir=tmp_path / "sft",
        examples=sft_examples,
        settings=sft_settings,
        seed=7,
        threads=1,
    )
    model, tokenizer = load_start(tiny_model_dir)
    arguments = training_arguments(job, PartialRun.open(job.output_dir, "x", 4))
    trainer = sft_trainer(job, kept, model, tokenizer, arguments, [])
    batch = next(iter(trainer.get_train_dataloader()))
    for row, index in zip(range(4), job.order, strict=False):
        example = kept[index]
        ids, labels = batch["input_ids"][row].tolist(), batch["labels"][row].tolist()
        assert tuple(ids[: example.token_count]) == example.prompt_ids + example.completion_ids
        assert [label for label in labels if label != -100] == list(example.completion_ids)
        assert labels[len(example.prompt_ids) : example.token_count] == list(example.completion_ids)
    with torch.no_grad():
        ours = trainer.compute_loss(trainer.model, dict(batch))
        batch.pop(ROW_COUNT)
        theirs = SFTTrainer.compute_loss(trainer, trainer.model, dict(batch))
    torch.testing.assert_close(ours, theirs)


def test_a_missing_reporter_is_named(
    tiny_model_dir: Path, tmp_path: Path, sft_examples: list[TrainingExample], sft_settings: Training
) -> None:
    if importlib.util.find_spec("swanlab") is not None:
        pytest.skip("swanlab is installed")
    with pytest.raises(UserError, match=r"report_to=swanlab .* pip install swanlab"):
        train_sft(
            model_dir=tiny_model_dir,
            output_dir=tmp_path / "sft",
            examples=sft_examples,
            settings=sft_settings,
            seed=7,
            threads=1,
            reporting=Reporting(("swanlab",), "mini/0/sft"),
        )


def test_long_runs_log_their_last_step(
    tiny_model_dir: Path, tmp_path: Path, sft_examples: list[TrainingExample], sft_settings: Training
) -> None:
    settings = sft_settings.model_copy(update={"max_steps": 101, "batch_size": 1, "micro_batch_size": 1})
    result = _train(tiny_model_dir, tmp_path / "sft", sft_examples, settings)
    assert [line["step"] for line in result.log_history] == [*range(2, 101, 2), 101]


def test_empty_sets_are_named(tiny_model_dir: Path, tmp_path: Path, sft_settings: Training) -> None:
    with pytest.raises(UserError, match="the sft set for rft is empty: the stage before it"):
        _train(tiny_model_dir, tmp_path / "rft", [], sft_settings)
    long = TrainingExample((2,) * 60, (3,) * 60)
    with pytest.raises(UserError, match="all 1 examples exceed max_length=64 tokens"):
        _train(tiny_model_dir, tmp_path / "sft", [long], sft_settings)
    assert list(tmp_path.iterdir()) == []


def test_max_steps_counts_steps_not_epochs(
    tiny_model_dir: Path, tmp_path: Path, sft_examples: list[TrainingExample], sft_settings: Training
) -> None:
    result = train_sft(
        model_dir=tiny_model_dir,
        output_dir=tmp_path / "sft",
        examples=sft_examples,
        settings=sft_settings.model_copy(update={"max_steps": 3}),
        seed=7,
        threads=1,
    )
    assert result.step_count == 3
