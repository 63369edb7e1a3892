"""Generation with Hugging Face ``generate``: runs wherever torch does, and repeats exactly on the CPU.

Draws are rows of a batch; those submitted together are sorted by prompt length, so that little is padded. What a row
draws depends on its own seed only (``sampling.SeededChoice``); batch size and neighbours change logits by rounding,
nothing else.
"""

from __future__ import annotations

import gc
import logging
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessorList,
    StoppingCriteriaList,
)
from transformers.utils.logging import disable_progress_bar

from selfexplore_tasks.engines.common import (
    Draw,
    check_model_folder,
    end_token_ids,
    expand_draws,
    generate_all,
    is_out_of_memory,
)
from selfexplore_tasks.engines.protocol import Completion, Ended, GenerationRequest
from selfexplore_tasks.engines.sampling import SeededChoice, StopStrings, completion_text, cut_at_stop
from selfexplore_tasks.errors import UserError

logger = logging.getLogger(__name__)


class TransformersEngine:
    """A causal language model loaded with transformers, on the GPU if there is one.

    ``dtype`` is ``float32`` or ``bfloat16``; ``batch_size`` the number of sequences at once, halved (for good) when
    memory runs out; ``context_length`` a limit below the model's own. Raises UserError for an unusable model.
    """

    name = "transformers"
    is_continuous = False
    prefix_cache = None

    def __init__(
        self,
        model_dir: Path | str,
        *,
        dtype: str,
        threads: int,
        batch_size: int,
        context_length: int | None = None,
    ) -> None:
        check_model_folder(model_dir)
        torch.set_num_threads(threads)
        disable_progress_bar()
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._batch_size = batch_size
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(model_dir))
            model: Any = AutoModelForCausalLM.from_pretrained(str(model_dir), dtype=getattr(torch, dtype))
        except (OSError, ValueError, SafetensorError) as error:
            raise UserError(f"transformers cannot load the model {model_dir}: {error}") from error
        self._model: Any = model.to(self._device).eval()
        self._end_ids = end_token_ids(model_dir, self._tokenizer)
        padding = (self._tokenizer.pad_token_id, *self._end_ids, 0)
        self._pad_id = next(token for token in padding if token is not None)
        # A model's own defaults (repetition penalty, top-k, ...) would change the distribution that we sample from.
        self._model.generation_config = GenerationConfig()
        limits = (context_length, getattr(model.config.get_text_config(), "max_position_embeddings", None))
        self._context_length = min((limit for limit in limits if limit is not None), default=2**31)
        self._groups: deque[deque[Draw]] = deque()
        self._next_ticket = 0

    @property
    def width(self) -> int:
        """Sequences of a batch."""
        return self._batch_size

    def submit(self, requests: Sequence[GenerationRequest]) -> list[int]:
        """See ``protocol.Engine.submit``; the draws are sorted by settings and prompt length."""
        draws = expand_draws(requests, self._context_length, self._next_ticket)
        tickets = list(range(self._next_ticket, self._next_ticket + len(requests)))
        self._next_ticket += len(requests)
        if draws:
            self._groups.append(deque(sorted(draws, key=self._group)))
        return tickets

    def step(self) -> list[Ended]:
        """See ``protocol.Engine.step``: one batch of the group that was submitted first."""
        if not self._groups:
            return []
        group = self._groups[0]
        batch = self._next_batch(group)
        completions = self._try_batch(batch)
        if completions is None:
            return []
        for _ in batch:
            group.popleft()
        if not group:
            self._groups.popleft()
        return [Ended(draw.ticket, draw.index, done) for draw, done in zip(batch, completions, strict=True)]

    def abandon(self) -> None:
        """See ``protocol.Engine.abandon``."""
        self._groups.clear()

    def generate(
        self, requests: Sequence[GenerationRequest], on_progress: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        """See ``protocol.Engine.generate``."""
        return generate_all(self, requests, on_progress)

    def close(self) -> None:
        """Free the model's memory."""
        self._model = None
        self._free_memory()

    def _limit(self, request: GenerationRequest) -> int:
        """Return how many new tokens fit: all that are asked for, or what the context leaves."""
        return min(request.max_new_tokens, self._context_length - len(request.prompt_token_ids))

    def _group(self, draw: Draw) -> tuple[float, float, tuple[str, ...], int, int]:
        """Return the sort key: all but the last (prompt length) must be equal within a batch."""
        request = draw.request
        length = len(request.prompt_token_ids)
        return (request.temperature, request.top_p, request.stop, self._limit(request), length)

    def _next_batch(self, group: Sequence[Draw]) -> list[Draw]:
        settings = self._group(group[0])[:-1]
        same = takewhile(lambda draw: self._group(draw)[:-1] == settings, group)
        return list(islice(same, self._batch_size))

    def _try_batch(self, draws: Sequence[Draw]) -> list[Completion] | None:
        """Return the completions, or None after halving the batch size because memory ran out."""
        try:
            return self._run_batch(draws)
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            if not is_out_of_memory(error):
                raise
            if len(draws) == 1:
                tokens = len(draws[0].request.prompt_token_ids) + self._limit(draws[0].request)
                raise UserError(
                    f"one sequence of {tokens} tokens does not fit in memory: "
                    "lower max_new_tokens or take a smaller model"
                ) from error
            self._batch_size = len(draws) // 2
        self._free_memory()
        logger.warning("out of memory with %d sequences: going on with %d at once", len(draws), self._batch_size)
        return None

    @torch.inference_mode()
    def _run_batch(self, draws: Sequence[Draw]) -> list[Completion]:
        request = draws[0].request
        prompts = [draw.request.prompt_token_ids for draw in draws]
        width = max(map(len, prompts))
        input_ids = torch.tensor([[self._pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        choice = SeededChoice([draw.seed for draw in draws], request.temperature, request.top_p, self._device)
        stops = StopStrings(self._tokenizer, request.stop, prompts, width, self._end_ids) if request.stop else None
        sequences = self._model.generate(
            input_ids.to(self._device),
            attention_mask=mask.to(self._device),
            generation_config=self._generation_config(self._limit(request)),
            logits_processor=LogitsProcessorList([choice]),
            stopping_criteria=StoppingCriteriaList([stops] if stops else []),
        )
        rows, logprobs = sequences[:, width:].tolist(), choice.logprobs()
        lengths = stops.lengths if stops else {}
        return [
            self._completion(draw.request, tokens, logprobs[row], lengths.get(row))
            for row, (draw, tokens) in enumerate(zip(draws, rows, strict=True))
        ]

    def _generation_config(self, max_new_tokens: int) -> GenerationConfig:
        return GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=list(self._end_ids) or None,
            pad_token_id=self._pad_id,
        )

    def _completion(
        self, request: GenerationRequest, tokens: list[int], logprobs: torch.Tensor, stopped_after: int | None
    ) -> Completion:
        """Cut a row (new tokens, then padding) where it ended."""
        end = next((index for index, token in enumerate(tokens) if token in self._end_ids), None)
        if stopped_after is not None:
            length, shown = stopped_after, stopped_after
        elif end is not None:
            length, shown = end + 1, end
        else:
            length = shown = len(tokens)
        text = completion_text(self._tokenizer, request.prompt_token_ids, tokens[:shown])
        cut = cut_at_stop(text, request.stop)
        return Completion(
            text=text if cut is None else cut,
            token_ids=tuple(tokens[:length]),
            finish_reason="length" if cut is None and end is None else "stop",
            logprob_mean=float(logprobs[:length].mean()),
        )

    def _free_memory(self) -> None:
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
