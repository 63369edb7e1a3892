"""The one protocol text generation goes through: requests in, completions out, whatever the library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class GenerationRequest:
    """Draw ``n`` completions after ``prompt_token_ids``.

    ``temperature`` 0 is greedy (then n must be 1). ``seed`` makes the draws repeatable: draw i uses a seed
    derived from (seed, i), so a draw does not depend on what else is in the batch. With ``first_index`` the draws are
    first_index, first_index + 1, ...: those that a request for more would have made at these places.
    """

    prompt_token_ids: tuple[int, ...]
    n: int
    temperature: float
    top_p: float
    max_new_tokens: int
    stop: tuple[str, ...]
    seed: int
    first_index: int = 0


@dataclass(frozen=True)
class Completion:
    """One completion: ``text`` without stop string and end-of-sequence token; ``logprob_mean`` in nats.

    ``token_ids`` are the generated tokens (with the end-of-sequence token where one was drawn);
    ``logprob_mean`` is under the model's own distribution (temperature 1), over ``token_ids``.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    logprob_mean: float


class Engine(Protocol):
    """A loaded model that completes prompts."""

    @property
    def name(self) -> str:
        """`vllm` or `transformers`, as stored in manifests."""
        ...

    def generate(
        self, requests: Sequence[GenerationRequest], on_progress: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        """Return for each request its n completions, in order.

        ``on_progress`` is called with the number of completions that ended since the last call.
        Raises PromptTooLong for a prompt that leaves no room for one new token.
        """
        ...

    def close(self) -> None:
        """Free the model's memory; the engine cannot be used afterwards."""
        ...
