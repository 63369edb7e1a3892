"""Turning requests into single draws."""

from __future__ import annotations

import pytest

from selfexplore_tasks.engines.common import expand_draws
from selfexplore_tasks.engines.protocol import GenerationRequest


def request(n: int, first_index: int = 0, seed: int = 7) -> GenerationRequest:
    return GenerationRequest((1, 2), n, 0.7, 1.0, 8, (), seed, first_index)


def seeds(*requests: GenerationRequest) -> list[int]:
    return [draw.seed for draw in expand_draws(requests, context_length=16)]


def test_draws_in_two_requests_are_those_of_one() -> None:
    assert seeds(request(1), request(3, first_index=1), request(2, first_index=4)) == seeds(request(6))
    assert len(set(seeds(request(6), request(6, seed=8)))) == 12


def test_a_draw_before_the_first_is_refused() -> None:
    with pytest.raises(ValueError, match="request 1 has first_index=-1: it must be >= 0"):
        seeds(request(1), request(1, first_index=-1))
