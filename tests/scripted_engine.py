"""An engine whose texts a test writes down: what the code around it asks for and does with the answers is real."""

from __future__ import annotations

from collections.abc import Sequence

from selfexplore_tasks.engines.protocol import Completion, Ended, GenerationRequest


class ScriptedEngine:
    """Completes every request of the i-th ``submit`` with the i-th texts; ``requests`` is what was submitted."""

    name = "scripted"
    prefix_cache = None

    def __init__(self, script: Sequence[Sequence[str]], *, is_continuous: bool = False, width: int = 1) -> None:
        self._script = iter(script)
        self.width = width
        self.is_continuous = is_continuous
        self.requests: list[list[GenerationRequest]] = []
        self._ended: list[list[Ended]] = []
        self._tickets = 0

    @property
    def pending(self) -> int:
        """Requests that have not ended."""
        return len(self._ended)

    def submit(self, requests: Sequence[GenerationRequest]) -> list[int]:
        self.requests.append(list(requests))
        texts = next(self._script)
        tickets = list(range(self._tickets, self._tickets + len(requests)))
        self._tickets += len(requests)
        self._ended += [
            [
                Ended(ticket, index, Completion(text, (1, 2, 0), "stop", -0.1))
                for index, text in enumerate(texts[: request.n])
            ]
            for ticket, request in zip(tickets, requests, strict=True)
        ]
        return tickets

    def step(self) -> list[Ended]:
        return self._ended.pop(0)

    def abandon(self) -> None:
        self._ended.clear()

    def generate(self, requests: Sequence[GenerationRequest], on_progress: object = None) -> list[list[Completion]]:
        raise NotImplementedError("stages stream")

    def close(self) -> None:
        pass
