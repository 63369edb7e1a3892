"""Fixtures for the whole suite."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from selfexplore_tasks.stages.names import ROUND_STAGES, stages_of
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.store.catalogue import connect
from selfexplore_tasks.store.experiments import open_experiment
from selfexplore_tasks.store.home import Store

CORPUS = (
    "Eva has 18 + 8 = 26 shells now.\nTom gives away 4 shells, so 26 - 4 = 22 shells are left.\nThe answer is 22\n",
    "Each box holds 6 pens, so 7 * 6 = 42 pens.\nHalf of them are blue: 42 / 2 = 21 pens.\nThe answer is 21\n",
    "A farmer has 93 hens and buys 5 more: 93 + 5 = 98 hens.\nHow many hens does the farmer have?\nThe answer is 98\n",
)

# moto's server brings Flask. Airflow's API would import it here, and vLLM trips over its proxies in loaded modules.
sys.modules["flask"] = None  # type: ignore[assignment]


@pytest.fixture
def left_over() -> Callable[[], set[psutil.Process]]:
    """Returns the processes that the test has started and that still run; services of fixtures are none of them."""
    before = set(psutil.Process().children())
    return lambda: set(psutil.Process().children()) - before


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved Llama of about 50,000 random weights with its own byte-level BPE tokenizer.

    Context 128 tokens, end of sequence ``<eos>`` (id 0), padding ``<pad>`` (id 1); all text it writes is ASCII.
    Generation defaults that no engine may obey (repetition penalty, top-k) are saved with it on purpose.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=200, special_tokens=["<eos>", "<pad>"]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", pad_token="<pad>")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=96,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        initializer_range=0.15,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.generation_config.update(repetition_penalty=1.9, top_k=1, do_sample=True)
    folder = tmp_path_factory.mktemp("tiny_model")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# Runs every stage of a round in half a minute of one core; trained enough that some rationales are right, some wrong.
ROUND_RECIPE = """
name: mini
description: Smallest recipe that runs every stage.
seed: 1
max_rounds: 2
problems:
  train: {{kind: file, path: {problems}, columns: {{rationale: rationale}}}}
  train_count: 280
  dev_count: 30
  test_count: 30
  rationale_count: 180
model:
  scratch: {{hidden_size: 64, layers: 2, heads: 4, intermediate_size: 128, vocab_size: 320, context_length: 128}}
sft: {{epochs: 14, learning_rate: 5.0e-3, batch_size: 16, micro_batch_size: 16, max_length: 128, warmup_ratio: 0.1}}
sample: {{n: 4, temperature: 1.0, max_new_tokens: 48, problems: answers_only, chunk_size: 15}}
rft: {{epochs: 12, learning_rate: 5.0e-3, batch_size: 16, micro_batch_size: 16, max_length: 128}}
pairs: {{problems: answers_only, rationales_from: explorer}}
explore: {{k: 2, temperature: 1.0, max_new_tokens: 48, chunk_size: 5}}
dpo: {{epochs: 1, learning_rate: 1.0e-5, batch_size: 8, micro_batch_size: 8, max_length: 128}}
compare: true
evaluate: {{max_new_tokens: 48, chunk_size: 20}}
engine: {{kind: transformers, threads: 1}}
"""
ROUND_EXPERIMENT = "mini"


@pytest.fixture(scope="session")
def round_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe file over a problem file of 340 easy problems and three unusable rows."""
    from selfexplore_tasks.problems.arithmetic import generate

    made = generate(
        340,
        seed=1,
        min_steps=1,
        max_steps=2,
        max_value=9,
        start_range=(2, 4),
        term_range=(1, 2),
        factor_range=(2, 2),
        divisor_range=(2, 2),
    )
    rows = [{"question": one.question, "answer": one.gold_answer, "rationale": one.gold_rationale} for one in made]
    unusable = [rows[0], {**rows[1], "question": " "}, {**rows[2], "question": "No answer?", "answer": ""}]
    folder = tmp_path_factory.mktemp("recipe")
    problems = folder / "easy.jsonl"
    problems.write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, *unusable]), encoding="utf-8")
    recipe = folder / "mini.yaml"
    recipe.write_text(ROUND_RECIPE.format(problems=problems), encoding="utf-8")
    return recipe


def run_rounds(store: Store, recipe: Path, rounds: range) -> None:
    """Run every stage of these rounds in this process."""
    open_experiment(store, ROUND_EXPERIMENT, str(recipe))
    for round_number in rounds:
        for stage in stages_of(round_number):
            run_stage(store, ROUND_EXPERIMENT, stage, round_number=round_number)


@pytest.fixture(scope="session")
def finished_store(tmp_path_factory: pytest.TempPathFactory, round_recipe: Path) -> Store:
    """A store whose experiment ``mini`` has finished rounds 0 and 1. Read only: copy it with ``store_before``."""
    store = Store(tmp_path_factory.mktemp("finished"))
    run_rounds(store, round_recipe, range(2))
    return store


@pytest.fixture
def store_before(finished_store: Store, tmp_path: Path) -> Callable[[str], Store]:
    """Makes a copy of the finished store as it was before a stage of round 1."""

    def copy(stage: str) -> Store:
        root = tmp_path / "store"
        shutil.copytree(finished_store.root, root, symlinks=True)
        for later in ROUND_STAGES[ROUND_STAGES.index(stage) :]:
            (root / "manifests" / ROUND_EXPERIMENT / "round=001" / f"{later}.json").unlink()
            for part in (root / "tables").glob(f"*/experiment={ROUND_EXPERIMENT}/round=001/part-{later}-*"):
                part.unlink()
        return Store(root)

    return copy


def read_rows(store: Store, sql: str) -> list[dict[str, Any]]:
    """Rows of a query over the views of ``mini``."""
    connection = connect(store, [ROUND_EXPERIMENT])
    try:
        rows: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
        return rows
    finally:
        connection.close()


@pytest.fixture(scope="session")
def rows_of() -> Callable[[Store, str], list[dict[str, Any]]]:
    """``rows_of(store, sql)``: rows of a query over the views of ``mini``."""
    return read_rows


@pytest.fixture(scope="session")
def rounds_runner(round_recipe: Path) -> Callable[[Store, range], None]:
    """``rounds_runner(store, rounds)``: run every stage of these rounds of ``mini``."""
    return lambda store, rounds: run_rounds(store, round_recipe, rounds)
