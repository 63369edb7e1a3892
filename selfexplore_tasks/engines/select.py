"""Choosing and opening the engine: vLLM wherever it runs, else transformers, and always saying why."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from selfexplore_tasks import recipe
from selfexplore_tasks.engines.common import context_limit
from selfexplore_tasks.engines.protocol import Completion, Ended, Engine, GenerationRequest, PrefixCacheUse
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.failures import batch_divisor
from selfexplore_tasks.loading import LOADING
from selfexplore_tasks.processes import usable_cores

VLLM_SEQUENCES = 256
"""What counts as vLLM's own number of sequences at once where it has to be made smaller (it differs by device)."""


def effective_threads(threads: int | None) -> int:
    """Return the CPU threads to use: those given, else ``OMP_NUM_THREADS``, else the cores this process may use."""
    if threads is not None:
        return threads
    # OpenMP allows one number per nesting level; the first is what counts here.
    configured = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if configured.isdigit() and int(configured) > 0:
        return int(configured)
    return usable_cores()


def choose_engine(kind: Literal["auto", "vllm", "transformers"]) -> tuple[str, str]:
    """Return the engine's name and a sentence that says why.

    Imports vllm (some seconds) unless ``kind`` is ``transformers``. Raises UserError if ``vllm`` cannot run here.
    """
    if kind == "transformers":
        return "transformers", "The recipe asks for transformers."
    from selfexplore_tasks.engines import vllm

    try:
        device = vllm.probe()
    except ImportError as error:
        if kind == "vllm":
            raise UserError(f"engine.kind is vllm, but {error}: install vllm, or set engine.kind to auto") from error
        return "transformers", f"{error}."
    if kind == "vllm":
        return "vllm", f"The recipe asks for vLLM; it runs on the {device.upper()} here."
    return "vllm", f"vLLM is installed and runs on the {device.upper()} here."


def check_engine(kind: Literal["auto", "vllm", "transformers"]) -> None:
    """Raise UserError if the engine is not installed; imports nothing, so it may run in Airflow's own process."""
    if kind == "vllm" and importlib.util.find_spec("vllm") is None:
        raise UserError("engine.kind is vllm, but vllm is not installed: install it, or set engine.kind to auto.")


def open_engine(
    settings: recipe.Engine,
    model_dir: Path | str,
    *,
    dtype: str,
    context_length: int | None,
    seed: int,
    log: Callable[[str], None] = print,
) -> Engine:
    """Load the model with the engine of ``choose_engine`` and log which one and why.

    ``context_length`` limits prompt plus completion, in tokens (null = the model's own limit). After an earlier try
    that ran out of memory (`batch_divisor`) batches are smaller. Raises UserError for a model that cannot be loaded.
    """
    context_length = context_limit(model_dir, context_length)
    threads = effective_threads(settings.threads)
    name, reason = choose_engine(settings.kind)
    log(f"Engine: {name} ({threads} CPU threads). {reason}")
    if name == "vllm":
        from selfexplore_tasks.engines.vllm import VllmEngine

        return VllmEngine(
            model_dir,
            dtype=dtype,
            threads=threads,
            max_model_len=context_length,
            kv_cache_gib=settings.kv_cache_gib,
            gpu_memory_utilization=settings.gpu_memory_utilization,
            tensor_parallel_size=settings.tensor_parallel_size,
            max_num_seqs=allowed_sequences(settings.max_num_seqs),
            seed=seed,
        )
    from selfexplore_tasks.engines.transformers import TransformersEngine

    batch_size = max(1, settings.batch_size // batch_divisor())
    return TransformersEngine(
        model_dir, dtype=dtype, threads=threads, batch_size=batch_size, context_length=context_length
    )


def allowed_sequences(wanted: int | None) -> int | None:
    """vLLM's sequences at once; fewer after a try that ran out of memory. None leaves the number to vLLM."""
    divisor = batch_divisor()
    return wanted if divisor == 1 else max(1, (wanted or VLLM_SEQUENCES) // divisor)


class LazyEngine:
    """An engine that loads its model with the first request: a stage with nothing left to draw loads none.

    ``kind`` is the recipe's: it tells the name of an engine that is not loaded.
    """

    def __init__(self, kind: Literal["auto", "vllm", "transformers"], load: Callable[[], Engine]) -> None:
        self._kind = kind
        self._load = load
        self._engine: Engine | None = None

    @property
    def name(self) -> str:
        """The engine's name; while it is not loaded (another worker may have drawn everything) the one that would be.

        Whether vLLM runs here is not tried then: importing it takes longer than the rest of such a stage.
        """
        if self._engine is not None:
            return self._engine.name
        is_vllm = self._kind == "vllm" or (self._kind == "auto" and importlib.util.find_spec("vllm") is not None)
        return "vllm" if is_vllm else "transformers"

    @property
    def width(self) -> int:
        """See ``protocol.Engine.width``; loads the model."""
        return self._loaded().width

    @property
    def is_continuous(self) -> bool:
        """See ``protocol.Engine.is_continuous``; loads the model."""
        return self._loaded().is_continuous

    @property
    def prefix_cache(self) -> PrefixCacheUse | None:
        """See ``protocol.Engine.prefix_cache``; None while nothing is loaded."""
        return None if self._engine is None else self._engine.prefix_cache

    def submit(self, requests: Sequence[GenerationRequest]) -> list[int]:
        """See ``protocol.Engine.submit``."""
        return self._loaded().submit(requests) if requests else []

    def step(self) -> list[Ended]:
        """See ``protocol.Engine.step``."""
        return self._loaded().step()

    def abandon(self) -> None:
        """See ``protocol.Engine.abandon``."""
        if self._engine is not None:
            self._engine.abandon()

    def generate(
        self, requests: Sequence[GenerationRequest], on_progress: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        """See ``protocol.Engine.generate``."""
        return self._loaded().generate(requests, on_progress) if requests else []

    def close(self) -> None:
        """Close the engine if it was loaded."""
        if self._engine is not None:
            self._engine.close()

    def _loaded(self) -> Engine:
        if self._engine is None:
            with LOADING.timed("engine"):
                self._engine = self._load()
        return self._engine
