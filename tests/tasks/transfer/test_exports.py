"""`export pairs`: files that `datasets` and TRL really read, and what plain TRL would do to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from selfexplore_tasks.prompts import PromptFormat
from selfexplore_tasks.recipe_files import load_recipe
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.training.data import preference_example
from selfexplore_tasks.transfer.card import eos_warning

EOS = 0
TRAINER = "selfexplore_tasks.training.trainers.StepDPOTrainer"


def export(bench: Any, form: str, name: str, *more: object, code: int = 0) -> str:
    output = bench.folder / name
    place = ("--experiment", "brought", "--format", form, "--output", output)
    return bench.run("export", "pairs", *place, *more, code=code)


def kept(bench: Any, kind: str) -> list[dict[str, Any]]:
    return bench.rows(f"select * from pairs where kind = '{kind}' and is_kept order by pair_id")


@pytest.mark.parametrize("kind", ["granular", "outcome"])
def test_trl_jsonl_has_prompt_chosen_and_rejected(kind: str, finished: Any) -> None:
    said = export(finished, "trl", "pairs.jsonl", "--kind", kind)
    lines = (finished.folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = kept(finished, kind)
    assert len(pairs) == 8
    assert [json.loads(line) for line in lines] == [
        {name: pair[name] for name in ("prompt", "chosen", "rejected")} for pair in pairs
    ]
    assert f"8 {kind} pairs of round 1" in said
    assert "appends an end of sequence to rejected" in said and TRAINER in said and "licence" in said


def test_joined_texts_are_the_solutions(finished: Any) -> None:
    export(finished, "parquet", "pairs.parquet")
    for row in pq.read_table(finished.folder / "pairs.parquet").to_pylist():
        number = int(row["question"].split()[2])
        assert row["prompt"] + row["chosen"] == f"{row['question']}\n{finished.right(number)}"
        assert f"{row['question']}\n{finished.wrong(number)}".startswith(row["prompt"] + row["rejected"])
        assert row["prompt"] == f"{row['question']}\n{row['prefix']}"
        assert (row["pit_step"], row["source"], row["experiment"], row["round"]) == (2, "problems", "brought", 1)


def test_parquet_keeps_the_keys(finished: Any) -> None:
    export(finished, "parquet", "pairs.parquet")
    rows = pq.read_table(finished.folder / "pairs.parquet").to_pylist()
    for pair, row in zip(kept(finished, "granular"), rows, strict=True):
        del pair["is_kept"], pair["drop_reason"]
        assert row == {**pair, "question": row["question"], "source": "problems"}


@pytest.mark.parametrize(("form", "name"), [("trl", "pairs.jsonl"), ("hub-folder", "pairs")])
def test_datasets_reads_it(form: str, name: str, finished: Any) -> None:
    import datasets

    export(finished, form, name)
    cache = str(finished.folder / "cache")
    if form == "trl":
        read = datasets.load_dataset("json", data_files=str(finished.folder / name), split="train", cache_dir=cache)
    else:
        found = datasets.load_dataset(str(finished.folder / name), cache_dir=cache)
        assert list(found) == ["train"]
        read = found["train"]
    pairs = kept(finished, "granular")
    for column in ("prompt", "chosen", "rejected"):
        assert list(read[column]) == [pair[column] for pair in pairs]


def test_the_card_says_what_it_is(finished: Any) -> None:
    export(finished, "hub-folder", "pairs")
    assert finished.files() >= {"pairs", "pairs/data", "pairs/data/train.parquet", "pairs/README.md"}
    card = (finished.folder / "pairs" / "README.md").read_text(encoding="utf-8")
    experiment = load_experiment(finished.store, "brought")
    for fact in (
        "| kind | granular |",
        "| pairs | 8 |",
        "| experiment | brought, round 1 |",
        f"hash {experiment.recipe_hash}",
        "| seed | 0 |",
        "duckdb ",
        "TRL's own DPOTrainer appends an end of sequence to rejected",
        f"use {TRAINER}",
        "a rejected step stands in the middle",
        "check their licence",
        "MATH must not be published again",
    ):
        assert fact in card


@pytest.mark.parametrize(
    ("kind", "change", "sentence"),
    [
        ("granular", {"pairs": {"rejected": "remainder"}}, "though these are complete solutions"),
        ("outcome", {}, "though these are complete solutions"),
        ("outcome", {"dpo": {"eos_on_complete_rejected": True}}, "So does this recipe"),
        ("granular", {"dpo": {"eos_on_complete_rejected": True}}, "Self-Explore never does"),
    ],
)
def test_the_warning_fits_kind_and_recipe(
    finished: Any, kind: str, change: dict[str, dict[str, object]], sentence: str
) -> None:
    recipe = load_experiment(finished.store, "brought").recipe
    for section, fields in change.items():
        recipe = recipe.model_copy(update={section: getattr(recipe, section).model_copy(update=fields)})
    assert sentence in eos_warning(kind, recipe)


def test_the_trainer_that_the_card_names_exists() -> None:
    from importlib import import_module

    from selfexplore_tasks.transfer.card import EXAMPLE_FUNCTION, TRAINER_CLASS

    for name in (TRAINER_CLASS, EXAMPLE_FUNCTION):
        module, _, attribute = name.rpartition(".")
        assert callable(getattr(import_module(module), attribute))


def test_plain_trl_appends_eos_to_rejected_and_our_way_does_not(finished: Any, tiny_model_dir: Path) -> None:
    import datasets
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    export(finished, "trl", "pairs.jsonl")
    read = datasets.load_dataset(
        "json",
        data_files=str(finished.folder / "pairs.jsonl"),
        split="train",
        cache_dir=str(finished.folder / "cache"),
    )
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_model_dir),
        args=DPOConfig(output_dir=str(finished.folder / "trl"), report_to="none", use_cpu=True, bf16=False),
        train_dataset=read,
        processing_class=AutoTokenizer.from_pretrained(tiny_model_dir),
    )
    plain = [dict(row) for row in trainer.train_dataset]
    assert all(row["chosen_ids"][-1] == EOS and row["rejected_ids"][-1] == EOS for row in plain)

    prompts = PromptFormat(load_recipe(str(finished.recipe)).prompt, tiny_model_dir)
    rows = finished.rows(
        "select question, prefix, chosen, rejected from int_training_pairs where kind = 'granular' order by pair_id"
    )
    for row, theirs in zip(rows, plain, strict=True):
        start = row["question"], row["prefix"]
        ours = preference_example(
            prompts.prompt_ids(*start),
            prompts.completion_ids(*start, row["chosen"]),
            prompts.completion_ids(*start, row["rejected"]),
            EOS,
        )
        assert ours.chosen_ids[-1] == EOS and EOS not in ours.rejected_ids
        assert (*ours.prompt_ids, *ours.rejected_ids, EOS) == (*theirs["prompt_ids"], *theirs["rejected_ids"])
        assert (*ours.prompt_ids, *ours.chosen_ids) == (*theirs["prompt_ids"], *theirs["chosen_ids"])


@pytest.mark.parametrize(("form", "name"), [("trl", "out.jsonl"), ("parquet", "out.parquet"), ("hub-folder", "out")])
def test_nothing_is_overwritten_without_force(form: str, name: str, finished: Any) -> None:
    output = finished.folder / name
    mine = output
    if form == "hub-folder":
        output.mkdir()
        mine = output / "notes.txt"
    mine.write_text("mine", encoding="utf-8")
    assert f"{output} exists already" in export(finished, form, name, code=2)
    assert mine.read_text(encoding="utf-8") == "mine"
    export(finished, form, name, "--force")
    if form == "hub-folder":
        assert mine.read_text(encoding="utf-8") == "mine"
        assert (output / "data" / "train.parquet").is_file()
    else:
        assert mine.read_bytes() != b"mine"


def test_an_empty_folder_is_filled(finished: Any) -> None:
    (finished.folder / "pairs").mkdir()
    export(finished, "hub-folder", "pairs")
    assert (finished.folder / "pairs" / "README.md").is_file()


@pytest.mark.parametrize(("form", "makes_folder"), [("trl", True), ("hub-folder", False)])
def test_a_file_is_no_folder_and_a_folder_no_file(form: str, makes_folder: bool, finished: Any) -> None:
    output = finished.folder / "taken"
    output.mkdir() if makes_folder else output.write_text("mine", encoding="utf-8")
    assert "choose another --output" in export(finished, form, "taken", "--force", code=2)
    assert output.is_dir() == makes_folder


def test_an_output_that_cannot_be_written(finished: Any) -> None:
    (finished.folder / "file").write_text("", encoding="utf-8")
    assert "cannot be written" in export(finished, "trl", "file/pairs.jsonl", code=2)


def test_no_pairs_is_an_error(bench: Any) -> None:
    right_only = [{**row, "texts": row["texts"][:1]} for row in bench.sampled()]
    bench.import_rationales(right_only)
    assert "is not done (done in rounds: none yet)" in export(bench, "trl", "pairs.jsonl", code=2)
    bench.stages("rft_set", "rft", "sample_explorer", "outcome_pairs")
    assert "kept no outcome pair" in export(bench, "trl", "pairs.jsonl", "--kind", "outcome", code=2)
    assert "Stage outcome_pairs of round 7" in export(
        bench, "trl", "pairs.jsonl", "--kind", "outcome", "--round", 7, code=2
    )
    assert not (bench.folder / "pairs.jsonl").exists()
