"""What every engine promises, checked on both with a real (tiny) model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from selfexplore_tasks.engines.protocol import Completion, Engine, GenerationRequest

EOS = 0
PROMPTS = ("Eva has 18 + 8 = ", "Each box holds 6 pens, so 7 * 6 = ", "The answer is ", "A farmer has 93 hens and ")
RequestMaker = Callable[..., GenerationRequest]


def mixed_requests(make_request: RequestMaker) -> list[GenerationRequest]:
    sampled = [make_request(text, n=3, seed=index) for index, text in enumerate(PROMPTS)]
    greedy = [make_request(text, temperature=0.0, max_new_tokens=12) for text in PROMPTS]
    return [*sampled, *greedy, make_request(n=2, top_p=0.5, stop=("shells",))]


def token_ids(batches: list[list[Completion]]) -> list[list[tuple[int, ...]]]:
    return [[completion.token_ids for completion in batch] for batch in batches]


def test_same_requests_twice_give_equal_completions(engine: Engine, make_request: RequestMaker) -> None:
    requests = mixed_requests(make_request)
    first = engine.generate(requests)
    assert [len(batch) for batch in first] == [request.n for request in requests]
    assert token_ids(engine.generate(requests)) == token_ids(first)


def test_a_draw_depends_on_its_request_alone(engine: Engine, make_request: RequestMaker) -> None:
    requests = mixed_requests(make_request)
    together = engine.generate(requests)
    alone = [engine.generate([request])[0] for request in requests]
    assert token_ids(alone) == token_ids(together)
    fewer = engine.generate([make_request(n=2, seed=0)])
    assert fewer[0][0].token_ids == together[0][0].token_ids


def test_draws_and_seeds_differ(engine: Engine, make_request: RequestMaker) -> None:
    batches = engine.generate([make_request(n=4, seed=5), make_request(n=4, seed=6)])
    drawn = {completion.token_ids for batch in batches for completion in batch}
    assert len(drawn) == 8


def test_low_top_p_keeps_the_likeliest_token(engine: Engine, make_request: RequestMaker) -> None:
    greedy, nucleus = engine.generate([make_request(temperature=0.0), make_request(top_p=1e-6)])
    assert nucleus[0].token_ids == greedy[0].token_ids


def test_sampling_follows_the_models_distribution(
    engine: Engine, make_request: RequestMaker, tiny_model_dir: Path
) -> None:
    """400 first tokens against the softmax at temperature 0.7: their total variation is what chance allows."""
    import torch
    from transformers import AutoModelForCausalLM

    request = make_request(n=400, max_new_tokens=1)
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)
    with torch.inference_mode():
        logits = model(torch.tensor([request.prompt_token_ids])).logits[0, -1]
    expected = (logits / 0.7).softmax(-1)
    drawn = torch.tensor([completion.token_ids[0] for completion in engine.generate([request])[0]])
    observed = torch.bincount(drawn, minlength=len(expected)) / len(drawn)
    reference = torch.multinomial(expected, 400 * 50, replacement=True, generator=torch.Generator().manual_seed(0))
    counts = torch.stack([torch.bincount(part, minlength=len(expected)) for part in reference.chunk(50)]) / 400
    chance = (counts - expected).abs().sum(-1).max()
    assert float((observed - expected).abs().sum()) <= float(chance) * 1.1


def test_stop_string_ends_a_completion_and_is_left_out(engine: Engine, make_request: RequestMaker) -> None:
    free = engine.generate([make_request(temperature=0.0, max_new_tokens=30)])[0][0]
    stop = free.text[7:10]
    position = free.text.find(stop)
    cut = engine.generate([make_request(temperature=0.0, max_new_tokens=30, stop=("never seen", stop))])[0][0]
    assert cut.text == free.text[:position]
    assert cut.finish_reason == "stop"
    assert free.token_ids[: len(cut.token_ids)] == cut.token_ids
    assert len(cut.token_ids) < len(free.token_ids)


def test_stop_string_of_the_prompt_does_not_count(engine: Engine, make_request: RequestMaker) -> None:
    free, stopped = engine.generate(
        [make_request("Eva has 18", temperature=0.0), make_request("Eva has 18", temperature=0.0, stop=("Eva has",))]
    )
    assert stopped == free


def test_finish_reasons(engine: Engine, make_request: RequestMaker) -> None:
    completions = engine.generate([make_request(n=60, max_new_tokens=20)])[0]
    ended = [completion for completion in completions if completion.finish_reason == "stop"]
    unfinished = [completion for completion in completions if completion.finish_reason == "length"]
    assert ended and unfinished
    assert all(c.token_ids[-1] == EOS and EOS not in c.token_ids[:-1] and "<eos>" not in c.text for c in ended)
    assert all(len(c.token_ids) == 20 and EOS not in c.token_ids for c in unfinished)


def test_completion_ends_where_the_context_does(engine: Engine, make_request: RequestMaker) -> None:
    request = make_request(n=8, max_new_tokens=500)
    completions = engine.generate([request])[0]
    room = 128 - len(request.prompt_token_ids)
    assert {len(c.token_ids) for c in completions if c.finish_reason == "length"} <= {room}
    assert max(len(c.token_ids) for c in completions) <= room


def test_logprob_mean_is_the_models_own(engine: Engine, make_request: RequestMaker, tiny_model_dir: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)
    requests = [make_request(text, n=2, temperature=0.7, top_p=0.8, stop=("ar",)) for text in PROMPTS]
    requests.append(make_request(temperature=0.0))
    for request, completions in zip(requests, engine.generate(requests), strict=True):
        for completion in completions:
            ids = torch.tensor([[*request.prompt_token_ids, *completion.token_ids]])
            with torch.inference_mode():
                logprobs = model(ids).logits.log_softmax(-1)[0, :-1].gather(-1, ids[0, 1:, None]).squeeze(-1)
            expected = logprobs[len(request.prompt_token_ids) - 1 :].mean()
            assert completion.logprob_mean == pytest.approx(float(expected), abs=1e-3)


def test_greedy_agrees_between_the_engines(
    engine: Engine, transformers_engine: Engine, make_request: RequestMaker
) -> None:
    requests = [make_request(text, temperature=0.0, max_new_tokens=40) for text in PROMPTS]
    requests += [make_request(text, temperature=0.0, stop=(" ",)) for text in PROMPTS]
    found, expected = engine.generate(requests), transformers_engine.generate(requests)
    assert token_ids(found) == token_ids(expected)
    for [one], [other] in zip(found, expected, strict=True):
        assert (one.text, one.finish_reason) == (other.text, other.finish_reason)


def test_progress_counts_every_completion(engine: Engine, make_request: RequestMaker) -> None:
    counts: list[int] = []
    engine.generate(mixed_requests(make_request), counts.append)
    assert sum(counts) == 3 * len(PROMPTS) + len(PROMPTS) + 2
    assert len(counts) > 1


def test_no_requests_give_no_completions(engine: Engine) -> None:
    assert engine.generate([]) == []


def test_engine_works_on_after_an_interruption(engine: Engine, make_request: RequestMaker) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(_: int) -> None:
        raise Interrupted

    requests = mixed_requests(make_request)
    expected = engine.generate(requests[:1])
    with pytest.raises(Interrupted):
        engine.generate(requests, interrupt)
    counts: list[int] = []
    assert engine.generate(requests[:1], counts.append) == expected
    assert sum(counts) == requests[0].n


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": "Eva has 18 + 8 = 26 shells. " * 20}, "request 1 has a prompt of .* tokens, .* context of 128"),
        ({"text": ""}, "empty prompt"),
        ({"temperature": 0.0, "n": 2}, "greedy"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"stop": ("",)}, "empty stop string"),
    ],
)
def test_impossible_request_is_refused_by_name(
    engine: Engine, make_request: RequestMaker, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        engine.generate([make_request(), make_request(**changes)])
