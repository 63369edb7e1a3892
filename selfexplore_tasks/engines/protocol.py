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


@dataclass(frozen=True)
class Ended:
    """Draw ``index`` (0-based, of its request's n) of the request with this ticket has ended."""

    ticket: int
    index: int
    completion: Completion


@dataclass
class PrefixCacheUse:
    """Tokens of the prompts so far, and how many of them the engine's prefix cache held already."""

    prompt_tokens: int = 0
    cached_tokens: int = 0

    @property
    def hit_rate(self) -> float:
        """Share of the prompt tokens that were cached, in [0, 1]."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0


class Engine(Protocol):
    """A loaded model that completes prompts: requests go in at any time, and ``step`` gives what has ended.

    ``submit`` and ``step`` are the stream; ``generate`` is both for requests that are all known, while nothing else is
    submitted.
    """

    @property
    def name(self) -> str:
        """`vllm` or `transformers`, as stored in manifests."""
        ...

    @property
    def width(self) -> int:
        """How many draws it works on at once, at most."""
        ...

    @property
    def is_continuous(self) -> bool:
        """Whether a request may join others that are in the making.

        Else the draws of one ``submit`` make batches of their own, the same whatever else is submitted: who submits
        equal groups gets equal draws, to the last bit.
        """
        ...

    @property
    def prefix_cache(self) -> PrefixCacheUse | None:
        """The engine's own counters since it was loaded; None if it caches no prefixes."""
        ...

    def submit(self, requests: Sequence[GenerationRequest]) -> list[int]:
        """Queue the draws of ``requests``, all or (on an error) none of them; return a ticket for each.

        Raises PromptTooLong for a prompt that leaves no room for one new token.
        """
        ...

    def step(self) -> list[Ended]:
        """Work on what is queued; return the draws that ended, which may be none."""
        ...

    def abandon(self) -> None:
        """Forget every draw that has not ended."""
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
