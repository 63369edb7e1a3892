"""Requests that come while others are in the making, on both engines with a real (tiny) model."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from selfexplore_tasks import recipe
from selfexplore_tasks.engines.protocol import Completion, Engine, GenerationRequest
from selfexplore_tasks.engines.select import VLLM_SEQUENCES, LazyEngine, allowed_sequences
from selfexplore_tasks.engines.transformers import TransformersEngine
from selfexplore_tasks.errors import PromptTooLong, UserError
from selfexplore_tasks.failures import BATCH_DIVISOR_VARIABLE

RequestMaker = Callable[..., GenerationRequest]
Found = dict[tuple[int, int], Completion]


def drain(engine: Engine, count: int) -> Found:
    """Step until so many draws have ended."""
    found: Found = {}
    while len(found) < count:
        found |= {(one.ticket, one.index): one.completion for one in engine.step()}
    return found


def texts(found: Found, ticket: int) -> list[tuple[str, tuple[int, ...]]]:
    drawn = sorted((index, one) for (number, index), one in found.items() if number == ticket)
    return [(one.text, one.token_ids) for _, one in drawn]


def test_what_comes_later_is_drawn_as_it_would_be_alone(engine: Engine, make_request: RequestMaker) -> None:
    early, late = make_request(n=5, seed=3, max_new_tokens=30), make_request("The answer is ", n=2, seed=4)
    alone = [[(one.text, one.token_ids) for one in drawn] for drawn in engine.generate([early, late])]
    (first,) = engine.submit([early])
    found = {(one.ticket, one.index): one.completion for one in engine.step()}
    (second,) = engine.submit([late])
    found |= drain(engine, 7 - len(found))
    assert first != second
    assert [texts(found, first), texts(found, second)] == alone
    assert engine.step() == []


def test_nothing_is_queued_where_one_request_is_impossible(engine: Engine, make_request: RequestMaker) -> None:
    with pytest.raises(PromptTooLong, match="request 1 has a prompt"):
        engine.submit([make_request(), make_request("Eva has 18 + 8 = 26 shells. " * 20)])
    assert engine.step() == []
    assert engine.submit([]) == []


def test_what_is_abandoned_does_not_turn_up(engine: Engine, make_request: RequestMaker) -> None:
    engine.submit([make_request(n=12, seed=5, max_new_tokens=40)])
    engine.step()
    engine.abandon()
    assert engine.step() == []
    (ticket,) = engine.submit([make_request(seed=6)])
    assert drain(engine, 1).keys() == {(ticket, 0)}


def test_groups_of_transformers_do_not_mix(transformers_engine: Engine, make_request: RequestMaker) -> None:
    """To the last bit: what a group draws depends on no other group that is in the queue."""
    groups = [[make_request("Eva has "[:size], n=3, seed=size) for size in (2, 5, 8)], [make_request(n=4, seed=9)]]
    alone = [transformers_engine.generate(group) for group in groups]
    tickets = [transformers_engine.submit(group) for group in groups]
    found = drain(transformers_engine, 13)
    for group, numbers in zip(alone, tickets, strict=True):
        assert [
            [found[number, index] for index in range(len(drawn))] for drawn, number in zip(group, numbers, strict=True)
        ] == group


def test_memory_that_runs_out_in_the_middle_of_a_stream(
    tiny_model_dir: Path, make_request: RequestMaker, caplog: pytest.LogCaptureFixture
) -> None:
    engine = TransformersEngine(tiny_model_dir, dtype="float32", threads=1, batch_size=8)
    requests = [make_request(n=6, seed=1), make_request(n=5, seed=2)]
    expected = [[(one.text, one.token_ids) for one in drawn] for drawn in engine.generate(requests)]
    most = 2

    def fail(module: torch.nn.Module, arguments: object, keywords: dict[str, torch.Tensor]) -> None:
        if keywords["input_ids"].shape[0] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    engine._model.register_forward_pre_hook(fail, with_kwargs=True)
    tickets = engine.submit(requests)
    with caplog.at_level(logging.WARNING):
        found = drain(engine, 11)
    assert [texts(found, ticket) for ticket in tickets] == expected
    assert engine.width == 2 and "going on with 2 at once" in caplog.text
    most = 0
    engine.submit(requests)
    with pytest.raises(UserError, match="lower max_new_tokens"):
        drain(engine, 11)
    engine.abandon()
    assert engine.step() == []


def test_vllm_counts_the_prompt_tokens_that_its_cache_held(engine: Engine, make_request: RequestMaker) -> None:
    use = engine.prefix_cache
    if use is None:
        assert not engine.is_continuous
        return
    request = make_request("Each box holds 6 pens, so 7 * 6 = 42 pens. Half of them are blue: 42 / 2 = 21 pens." * 2)
    length = len(request.prompt_token_ids)
    assert length > 32
    engine.generate([request])
    before = (use.prompt_tokens, use.cached_tokens)
    engine.generate([request])
    assert (use.prompt_tokens - before[0], use.cached_tokens - before[1]) == (length, length // 32 * 32)
    assert 0 < use.hit_rate < 1
    assert engine.is_continuous and engine.width >= 8


def test_vllm_runs_fewer_sequences_after_memory_ran_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BATCH_DIVISOR_VARIABLE, raising=False)
    assert (allowed_sequences(None), allowed_sequences(100)) == (None, 100)
    monkeypatch.setenv(BATCH_DIVISOR_VARIABLE, "4")
    assert (allowed_sequences(None), allowed_sequences(100), allowed_sequences(2)) == (VLLM_SEQUENCES // 4, 25, 1)


def test_a_lazy_engine_streams(tiny_model_dir: Path, make_request: RequestMaker) -> None:
    from selfexplore_tasks.engines.select import open_engine

    settings = recipe.Engine(kind="transformers", threads=1, batch_size=5)
    engine = LazyEngine(
        "transformers", lambda: open_engine(settings, tiny_model_dir, dtype="float32", context_length=None, seed=0)
    )
    engine.abandon()
    assert (engine.submit([]), engine.prefix_cache) == ([], None)
    (ticket,) = engine.submit([make_request(n=3)])
    assert sorted(drain(engine, 3)) == [(ticket, index) for index in range(3)]
    assert (engine.width, engine.is_continuous) == (5, False)
    engine.close()


def test_a_closed_engine_keeps_no_weights(tiny_model_dir: Path) -> None:
    """Stages take turns on the same card: the next model needs the memory of this one."""
    engine = TransformersEngine(tiny_model_dir, dtype="float32", threads=1, batch_size=8)
    weights = [weakref.ref(parameter) for parameter in engine._model.parameters()]
    assert all(one() is not None for one in weights)
    engine.close()
    assert [one() for one in weights if one() is not None] == []


def test_a_stage_holds_one_model_at_a_time(tiny_model_dir: Path, make_request: RequestMaker) -> None:
    """As stage evaluate does, which goes through several models in one process."""
    from selfexplore_tasks.engines.select import open_engine

    settings = recipe.Engine(kind="transformers", threads=1)
    alive: list[weakref.ref[torch.nn.Parameter]] = []
    for _ in range(2):
        assert [one() for one in alive if one() is not None] == []
        engine = open_engine(settings, tiny_model_dir, dtype="float32", context_length=None, seed=0)
        engine.generate([make_request()])
        assert isinstance(engine, TransformersEngine)
        alive = [weakref.ref(parameter) for parameter in engine._model.parameters()]
        engine.close()
