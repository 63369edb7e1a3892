"""What the transformers engine alone promises: batches do not matter, and memory may run out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig

from selfexplore_tasks.engines.common import end_token_ids
from selfexplore_tasks.engines.protocol import GenerationRequest
from selfexplore_tasks.engines.sampling import completion_text
from selfexplore_tasks.engines.transformers import TransformersEngine
from selfexplore_tasks.errors import UserError

RequestMaker = Callable[..., GenerationRequest]


def open_tiny(model_dir: Path, batch_size: int = 8) -> TransformersEngine:
    return TransformersEngine(model_dir, dtype="float32", threads=1, batch_size=batch_size)


def varied_requests(make_request: RequestMaker) -> list[GenerationRequest]:
    text = "Each box holds 6 pens, so 7 * 6 = 42 pens."
    return [make_request(text[:size], n=3, seed=size, stop=(".",)) for size in range(1, len(text), 5)]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batch_size_changes_nothing(
    tiny_model_dir: Path, transformers_engine: TransformersEngine, make_request: RequestMaker, batch_size: int
) -> None:
    requests = varied_requests(make_request)
    found = open_tiny(tiny_model_dir, batch_size).generate(requests)
    for one, other in zip(found, transformers_engine.generate(requests), strict=True):
        assert [(c.text, c.token_ids, c.finish_reason) for c in one] == [
            (c.text, c.token_ids, c.finish_reason) for c in other
        ]
        assert [c.logprob_mean for c in one] == pytest.approx([c.logprob_mean for c in other], abs=1e-5)


def fail_above(rows: int, error: RuntimeError) -> Callable[[torch.nn.Module, Any, Any], None]:
    def hook(module: torch.nn.Module, arguments: Any, keywords: Any) -> None:
        if keywords["input_ids"].shape[0] > rows:
            raise error

    return hook


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
    ],
)
def test_out_of_memory_halves_the_batch_and_keeps_results(
    tiny_model_dir: Path, make_request: RequestMaker, caplog: pytest.LogCaptureFixture, error: RuntimeError
) -> None:
    requests = varied_requests(make_request)
    engine = open_tiny(tiny_model_dir)
    expected = engine.generate(requests)
    engine._model.register_forward_pre_hook(fail_above(2, error), with_kwargs=True)
    counts: list[int] = []
    found = engine.generate(requests, counts.append)
    assert [[c.token_ids for c in batch] for batch in found] == [[c.token_ids for c in batch] for batch in expected]
    assert sum(counts) == sum(request.n for request in requests)
    assert max(counts) == 2
    assert "going on with 2 at once" in caplog.text


def test_a_single_sequence_that_does_not_fit_is_a_user_error(tiny_model_dir: Path, make_request: RequestMaker) -> None:
    engine = open_tiny(tiny_model_dir)
    engine._model.register_forward_pre_hook(fail_above(0, torch.OutOfMemoryError("full")), with_kwargs=True)
    with pytest.raises(UserError, match="lower max_new_tokens"):
        engine.generate([make_request()])


def test_other_runtime_errors_pass(tiny_model_dir: Path, make_request: RequestMaker) -> None:
    engine = open_tiny(tiny_model_dir)
    engine._model.register_forward_pre_hook(fail_above(0, RuntimeError("shape mismatch")), with_kwargs=True)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        engine.generate([make_request()])


def test_every_listed_end_token_ends_a_text(tiny_model_dir: Path, tmp_path: Path, make_request: RequestMaker) -> None:
    """Instruct models list several; here the first token of the greedy answer becomes one."""
    request = make_request(temperature=0.0)
    first, *_ = open_tiny(tiny_model_dir).generate([request])[0][0].token_ids
    folder = tmp_path / "instruct"
    shutil.copytree(tiny_model_dir, folder)
    GenerationConfig(eos_token_id=[0, first]).save_pretrained(folder)
    assert end_token_ids(folder, AutoTokenizer.from_pretrained(folder)) == (0, first)
    [completion] = open_tiny(folder).generate([request])[0]
    assert (completion.text, completion.token_ids, completion.finish_reason) == ("", (first,), "stop")


def test_text_keeps_the_space_after_the_prompt() -> None:
    """SentencePiece-like tokenizers (Llama 2, Mistral) drop a text's first space; a completion's must stay."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({"▁Eva": 0, "▁has": 1, "▁two": 2}, unk_token="▁two"))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core)
    assert tokenizer.decode([1, 2]) == "has two"
    assert completion_text(tokenizer, (0,), [1, 2]) == " has two"


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "no weights"),
        ("tokenizer.json", "no tokenizer"),
        ("", "does not exist"),
    ],
)
def test_incomplete_model_folder_is_a_user_error(
    tiny_model_dir: Path, tmp_path: Path, removed: str, message: str
) -> None:
    folder = tmp_path / "model"
    if removed:
        shutil.copytree(tiny_model_dir, folder)
        (folder / removed).unlink()
    with pytest.raises(UserError, match=message):
        open_tiny(folder)


def test_corrupt_weights_are_a_user_error(tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_dir, folder)
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UserError, match="cannot load the model"):
        open_tiny(folder)
