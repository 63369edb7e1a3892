"""What both engines share (and training, of model folders and memory): checks, requests as single draws, `generate`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from selfexplore_tasks.engines.protocol import Completion, Engine, GenerationRequest
from selfexplore_tasks.errors import PromptTooLong, UserError
from selfexplore_tasks.seeds import derive_seed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass(frozen=True)
class Draw:
    """One completion to make: number ``index`` of the request with this ticket, with a seed of its own."""

    ticket: int
    index: int
    request: GenerationRequest
    seed: int


def context_limit(model_dir: Path | str, wanted: int | None) -> int | None:
    """Return ``wanted`` tokens, or what the model's ``config.json`` allows where that is less (null = not known)."""
    path = Path(model_dir) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    allowed = config.get("text_config", config).get("max_position_embeddings")
    limits = [limit for limit in (wanted, allowed) if limit is not None]
    return min(limits, default=None)


def expand_draws(requests: Sequence[GenerationRequest], context_length: int, first_ticket: int = 0) -> list[Draw]:
    """Return the draws of all requests, in order; a draw's seed depends on its request and index only.

    Raises ValueError for a request that no engine can serve, naming its position.
    """
    for position, request in enumerate(requests):
        _check_request(position, request, context_length)
    return [
        Draw(ticket, index, request, derive_seed(request.seed, request.first_index + index))
        for ticket, request in enumerate(requests, start=first_ticket)
        for index in range(request.n)
    ]


def generate_all(
    engine: Engine, requests: Sequence[GenerationRequest], on_progress: Callable[[int], None] | None
) -> list[list[Completion]]:
    """See ``protocol.Engine.generate``, for an engine to which nothing else is submitted."""
    tickets = engine.submit(requests)
    found: dict[tuple[int, int], Completion] = {}
    try:
        while len(found) < sum(request.n for request in requests):
            ended = engine.step()
            found |= {(one.ticket, one.index): one.completion for one in ended}
            if ended and on_progress is not None:
                on_progress(len(ended))
    except BaseException:
        # What was queued must not turn up in the next call.
        engine.abandon()
        raise
    return [
        [found[ticket, index] for index in range(request.n)] for ticket, request in zip(tickets, requests, strict=True)
    ]


def _check_request(position: int, request: GenerationRequest, context_length: int) -> None:
    length = len(request.prompt_token_ids)
    if length == 0:
        raise ValueError(f"request {position} has an empty prompt: give at least one token")
    if length >= context_length:
        raise PromptTooLong(
            f"request {position} has a prompt of {length} tokens, which leaves no room for a new one "
            f"in the model's context of {context_length}: raise the context length, or leave long problems out."
        )
    if request.n < 1 or request.max_new_tokens < 1:
        raise ValueError(
            f"request {position} has n={request.n}, max_new_tokens={request.max_new_tokens}: both must be >= 1"
        )
    if request.first_index < 0:
        raise ValueError(f"request {position} has first_index={request.first_index}: it must be >= 0")
    if request.temperature < 0 or not 0 < request.top_p <= 1:
        raise ValueError(
            f"request {position} has temperature={request.temperature}, top_p={request.top_p}: "
            "the first must be >= 0, the second in (0, 1]"
        )
    if request.temperature == 0 and request.n != 1:
        raise ValueError(f"request {position} is greedy (temperature 0) with n={request.n}: all draws would be equal")
    if "" in request.stop:
        raise ValueError(f"request {position} has an empty stop string")


def is_local(model_dir: Path | str) -> bool:
    """Tell a folder from a Hub id: it exists, or is written like a path (``/a``, ``./a``, ``~/a``, ``a/b/c``)."""
    if isinstance(model_dir, Path):
        return True
    return Path(model_dir).expanduser().exists() or model_dir.startswith((".", "/", "~")) or model_dir.count("/") != 1


def weight_files(model_dir: Path) -> list[Path]:
    """Return the weight files of a model folder, sorted by name."""
    return sorted(path for pattern in WEIGHT_PATTERNS for path in model_dir.glob(pattern))


def missing_part(model_dir: Path) -> str | None:
    """Return what a folder lacks to be a model in the Hugging Face layout; None where nothing does."""
    if not (model_dir / "config.json").is_file():
        return "config.json"
    if not weight_files(model_dir):
        return "weights (*.safetensors)"
    if not any((model_dir / name).is_file() for name in TOKENIZER_FILES):
        return f"tokenizer ({', '.join(TOKENIZER_FILES)})"
    return None


def check_model_folder(model_dir: Path | str) -> None:
    """Raise UserError unless a local ``model_dir`` holds a configuration, weights and a tokenizer."""
    if not is_local(model_dir):
        return
    folder = Path(model_dir)
    if not folder.is_dir():
        raise UserError(f"model folder {folder} does not exist: train it first, or correct the path")
    missing = missing_part(folder)
    if missing is not None:
        raise UserError(f"model folder {folder} has no {missing}: copy it there, or train the model again")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says that memory (of the GPU or the host) ran out."""
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error) for text in OUT_OF_MEMORY)


def end_token_ids(model_dir: Path | str, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Return every token that ends a text: the tokenizer's and those of generation_config.json, ascending.

    Instruct models often list several there, of which the tokenizer knows one.
    """
    from transformers import GenerationConfig

    try:
        configured = GenerationConfig.from_pretrained(str(model_dir)).eos_token_id
    except OSError:
        # A model that was never generated from has no generation_config.json.
        configured = None
    listed = configured if isinstance(configured, list) else [configured]
    return tuple(sorted({int(token) for token in (*listed, tokenizer.eos_token_id) if token is not None}))
