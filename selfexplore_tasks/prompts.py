"""How questions become token ids: one place, so that training, sampling, exploring and evaluating agree.

Prompt and continuation are tokenised together where the prompt's tokens then stay a prefix of the whole, as the
model sees them when sampling; where tokens would merge across the boundary they are tokenised apart.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.loading import LOADING
from selfexplore_tasks.recipe import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class PromptFormat:
    """A recipe's prompt section bound to the tokenizer in a model folder."""

    def __init__(self, prompt: Prompt, model_dir: Path) -> None:
        self._prompt = prompt
        self._model_dir = model_dir

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        """Loaded when first needed: the text of a plain prompt needs none, and the library is slow to import."""
        with LOADING.timed("tokenizer"):
            from transformers import AutoTokenizer

            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(self._model_dir)
        return tokenizer

    @property
    def eos_token_id(self) -> int:
        """The end-of-sequence token that a finished rationale ends with."""
        return int(self._tokenizer.eos_token_id)

    def check(self) -> None:
        """Raise UserError if the tokenizer cannot serve this prompt."""
        if self._prompt.style == "chat" and not self._tokenizer.chat_template:
            raise UserError(
                "prompt.style=chat needs a tokenizer with a chat template: use an instruct model, or plain."
            )
        if not isinstance(self._tokenizer.eos_token_id, int):
            raise UserError("The model's tokenizer has no end-of-sequence token: rationales would never end.")

    def text(self, question: str) -> str:
        """The prompt for a question, up to where the rationale begins."""
        if self._prompt.style == "chat":
            return str(
                self._tokenizer.apply_chat_template(
                    self._messages(question), tokenize=False, add_generation_prompt=True
                )
            )
        parts = [f"{self._prompt.instruction}\n\n"] if self._prompt.instruction else []
        for example in self._prompt.examples:
            parts.append(f"{self._turn(example.question)}{example.rationale}\n\n")
        return "".join([*parts, self._turn(question)])

    def prompt_ids(self, question: str, prefix: str = "") -> tuple[int, ...]:
        """Token ids of the prompt followed by ``prefix`` (steps of a rationale)."""
        prompt = self.text(question)
        return self._encode_start(prompt) + self._encode_after(prompt, prefix)

    def completion_ids(self, question: str, prefix: str, completion: str) -> tuple[int, ...]:
        """Token ids of ``completion`` after the prompt and ``prefix``; without end of sequence."""
        start = self.prompt_ids(question, prefix)
        whole = self.prompt_ids(question, prefix + completion)
        if whole[: len(start)] == start:
            return whole[len(start) :]
        return self._encode_alone(completion)

    def _turn(self, question: str) -> str:
        return self._prompt.template.replace("{question}", question)

    def _messages(self, question: str) -> list[dict[str, str]]:
        messages = [{"role": "system", "content": self._prompt.instruction}] if self._prompt.instruction else []
        for example in self._prompt.examples:
            messages.append({"role": "user", "content": self._turn(example.question)})
            messages.append({"role": "assistant", "content": example.rationale})
        return [*messages, {"role": "user", "content": self._turn(question)}]

    def _encode_start(self, prompt: str) -> tuple[int, ...]:
        """A chat template writes its own special tokens; a plain prompt gets the tokenizer's (but no end)."""
        ids = self._tokenizer(prompt, add_special_tokens=self._prompt.style == "plain").input_ids
        return tuple(ids[:-1] if ids and ids[-1] == self.eos_token_id and self._prompt.style == "plain" else ids)

    def _encode_after(self, prompt: str, continuation: str) -> tuple[int, ...]:
        if not continuation:
            return ()
        start, whole = self._encode_start(prompt), self._encode_start(prompt + continuation)
        return whole[len(start) :] if whole[: len(start)] == start else self._encode_alone(continuation)

    def _encode_alone(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False).input_ids)
