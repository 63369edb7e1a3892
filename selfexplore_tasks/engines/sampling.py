"""How the transformers engine picks tokens and ends rows, as plug-ins of Hugging Face ``generate``.

Sampling is the Gumbel-max trick: adding Gumbel noise to the logits and taking the largest is a draw from their
softmax. The noise comes from a generator per row, so a row's draw does not depend on its neighbours in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

PROMPT_TAIL = 6
"""Prompt tokens decoded together with a completion, so that a tokenizer keeps the space between the two."""


class SeededChoice(LogitsProcessor):
    """Makes ``generate(do_sample=False)`` draw each row with its own generator; notes the log-probabilities.

    ``temperature`` 0 leaves the scores alone (greedy).
    """

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float, device: torch.device) -> None:
        self._warpers = LogitsProcessorList()
        self._generators: list[torch.Generator] = []
        self._logprobs: list[torch.Tensor] = []
        if temperature > 0:
            self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
            self._warpers.append(TemperatureLogitsWarper(float(temperature)))
            if top_p < 1:
                self._warpers.append(TopPLogitsWarper(float(top_p)))

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Return scores (rows x vocabulary) whose largest entry in each row is that row's draw."""
        choice_scores = self._add_noise(self._warpers(input_ids, scores)) if self._generators else scores
        chosen = choice_scores.argmax(dim=-1, keepdim=True)
        self._logprobs.append(scores.gather(-1, chosen).squeeze(-1) - scores.logsumexp(dim=-1))
        return choice_scores

    def _add_noise(self, scores: torch.Tensor) -> torch.Tensor:
        noise = torch.empty_like(scores)
        for row, generator in enumerate(self._generators):
            noise[row].exponential_(generator=generator)
        # Minus the log of an exponential is Gumbel; a zero would turn a masked score of -inf into nan.
        return scores - noise.clamp_min_(torch.finfo(noise.dtype).tiny).log_()

    def logprobs(self) -> torch.Tensor:
        """Return the log-probabilities (temperature 1, nats) of the choices so far: rows x steps, on the CPU."""
        return torch.stack(self._logprobs, dim=1).double().cpu()


class StopStrings(StoppingCriteria):
    """Ends a row when its completion contains a stop string; ``lengths`` says after how many new tokens.

    Unlike transformers' ``stop_strings`` it never matches text of the prompt, as vLLM does not.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        stop: Sequence[str],
        prompts: Sequence[Sequence[int]],
        prompt_width: int,
        end_ids: Sequence[int],
    ) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._prompts = prompts
        self._prompt_width = prompt_width
        self._end_ids = frozenset(end_ids)
        # A token is at least a byte, so a stop string that the last token completes lies within this many tokens;
        # the slack covers tokens that are cut characters or decode to nothing.
        self._window = max(len(text.encode()) for text in stop) + PROMPT_TAIL
        self._open = set(range(len(prompts)))
        self.lengths: dict[int, int] = {}

    def __call__(
        self, input_ids: torch.LongTensor, scores: torch.FloatTensor | None, **kwargs: object
    ) -> torch.BoolTensor:
        """Return for each row whether it has ended on a stop string: boolean, rows."""
        generated = input_ids.shape[1] - self._prompt_width
        tails = input_ids[:, -min(self._window, generated) :].tolist()
        for row in sorted(self._open):
            if tails[row][-1] in self._end_ids:
                self._open.discard(row)
            elif self._has_stop(row, tails[row], generated):
                self._open.discard(row)
                self.lengths[row] = generated
        ended = torch.zeros(len(tails), dtype=torch.bool, device=input_ids.device)
        ended[list(self.lengths)] = True
        return ended

    def _has_stop(self, row: int, tail: list[int], generated: int) -> bool:
        prompt = self._prompts[row] if generated == len(tail) else ()
        text = completion_text(self._tokenizer, prompt, tail)
        return any(stop in text for stop in self._stop)


def completion_text(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int], tokens: Sequence[int]) -> str:
    """Return the text that ``tokens`` add after ``prompt``; special tokens are left out."""
    tail = list(prompt[-PROMPT_TAIL:])
    before = _decode(tokenizer, tail) if tail else ""
    whole = _decode(tokenizer, [*tail, *tokens])
    # A prompt that ends inside a character decodes differently once the character is complete.
    return whole[len(before) :] if whole.startswith(before) else _decode(tokenizer, list(tokens))


def cut_at_stop(text: str, stop: Sequence[str]) -> str | None:
    """Return ``text`` before its first stop string, or None if it holds none."""
    found = [position for position in map(text.find, stop) if position >= 0]
    return text[: min(found)] if found else None


def _decode(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> str:
    return str(tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))
