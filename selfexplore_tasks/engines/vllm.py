"""Generation with vLLM: continuous batching and prefix caching, on a GPU or on the CPU.

vLLM reads much of its configuration from environment variables when it is imported, so this module imports it only
inside functions, after ``set_environment``. The engine runs in this process: a killed stage leaves nothing behind.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfexplore_tasks.engines.common import (
    Draw,
    check_model_folder,
    end_token_ids,
    expand_draws,
    generate_all,
    is_local,
)
from selfexplore_tasks.engines.protocol import Completion, Ended, GenerationRequest, PrefixCacheUse
from selfexplore_tasks.errors import UserError

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.outputs import RequestOutput

CPU_BLOCK_SIZE = 32
"""Tokens per block of the KV cache. vLLM's 128 on the CPU would never cache a prefix as short as a question."""

MIN_BATCHED_TOKENS = 4096
"""Tokens of one engine step on the CPU, unless the context is longer."""


def set_environment(threads: int | None = None, *, offline: bool = False) -> None:
    """Set what vLLM reads from the environment; call it before vllm is imported anywhere in the process.

    ``threads`` fixes the CPU threads (null leaves them alone); ``offline`` keeps the Hub from being asked.
    """
    # A second process would outlive a killed task, and keep Airflow's from ending.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["VLLM_NO_USAGE_STATS"] = "1"
    # Pinning would put every engine of the machine on the same cores.
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"


def probe() -> str:
    """Return the device that vLLM would use here, ``cpu`` or ``gpu``.

    Raises ImportError, with a reason to show, where vLLM is missing or cannot run.
    """
    set_environment()
    try:
        with _quiet():
            import torch
            import vllm  # noqa: F401
            from vllm.platforms import current_platform

            if current_platform.is_cpu():
                current_platform.import_kernels()
                # vLLM only warns when its kernels do not load; the look-up fails then.
                _ = torch.ops._C.init_cpu_memory_env
                return "cpu"
            if current_platform.is_cuda_alike():
                return "gpu"
    except ModuleNotFoundError as error:
        if error.name == "vllm":
            raise ImportError("vLLM is not installed") from error
        raise ImportError(f"vLLM cannot be imported ({error})") from error
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise ImportError(f"vLLM cannot be imported ({error})") from error
    raise ImportError("vLLM is built for a device that this machine does not have")


class VllmEngine:
    """A causal language model loaded with vLLM.

    ``dtype`` is ``float32`` or ``bfloat16``; ``max_model_len`` limits prompt plus completion (null = the model's);
    ``kv_cache_gib`` counts on the CPU, ``gpu_memory_utilization`` and ``tensor_parallel_size`` on GPUs;
    ``max_num_seqs`` sequences are worked on at once (null = vLLM's own number).
    Raises UserError for a model that vLLM cannot load, ImportError where vLLM cannot run.
    """

    name = "vllm"
    is_continuous = True

    def __init__(
        self,
        model_dir: Path | str,
        *,
        dtype: str,
        threads: int,
        max_model_len: int | None,
        kv_cache_gib: float,
        gpu_memory_utilization: float,
        tensor_parallel_size: int,
        max_num_seqs: int | None,
        seed: int,
    ) -> None:
        check_model_folder(model_dir)
        set_environment(threads, offline=is_local(model_dir))
        device = (
            _cpu_settings(threads, max_model_len, kv_cache_gib)
            if probe() == "cpu"
            else {"gpu_memory_utilization": gpu_memory_utilization, "tensor_parallel_size": tensor_parallel_size}
        )
        # Holds vLLM's sockets; also removed when the interpreter ends without ``close``.
        self._scratch = tempfile.TemporaryDirectory(prefix="selfexplore-vllm-", ignore_cleanup_errors=True)
        os.environ["VLLM_RPC_BASE_PATH"] = self._scratch.name
        try:
            self._llm = _load(
                str(model_dir),
                dtype=dtype,
                max_model_len=max_model_len,
                seed=seed,
                enable_prefix_caching=True,
                # The model's own sampling defaults must not leak into ours.
                generation_config="vllm",
                logprobs_mode="raw_logprobs",
                use_tqdm_on_load=False,
                max_num_seqs=max_num_seqs,
                **device,
            )
        except BaseException:
            self._scratch.cleanup()
            raise
        self._context_length = int(self._llm.model_config.max_model_len)
        self._end_ids = end_token_ids(model_dir, self._llm.get_tokenizer())
        self.prefix_cache = PrefixCacheUse()
        self._next_ticket = 0
        # By vLLM's running number: its id of the request, and the draw.
        self._open: dict[int, tuple[str, Draw]] = {}

    @property
    def width(self) -> int:
        """Sequences that vLLM's scheduler runs at once."""
        return int(self._llm.llm_engine.vllm_config.scheduler_config.max_num_seqs)

    def submit(self, requests: Sequence[GenerationRequest]) -> list[int]:
        """See ``protocol.Engine.submit``; every draw is a request of its own to vLLM."""
        draws = expand_draws(requests, self._context_length, self._next_ticket)
        tickets = list(range(self._next_ticket, self._next_ticket + len(requests)))
        self._next_ticket += len(requests)
        prompts = [{"prompt_token_ids": list(draw.request.prompt_token_ids)} for draw in draws]
        params = [self._sampling_params(draw) for draw in draws]
        request_ids = self._llm.enqueue(prompts, params, use_tqdm=False) if draws else []
        self._open |= {_number(one): (one, draw) for one, draw in zip(request_ids, draws, strict=True)}
        return tickets

    def step(self) -> list[Ended]:
        """See ``protocol.Engine.step``: one step of vLLM's, as ``LLM.generate`` makes them."""
        ended = []
        for output in self._llm.llm_engine.step():
            if output.finished:
                _, draw = self._open.pop(_number(output.request_id))
                self.prefix_cache.prompt_tokens += len(draw.request.prompt_token_ids)
                self.prefix_cache.cached_tokens += output.num_cached_tokens or 0
                ended.append(Ended(draw.ticket, draw.index, _completion(output)))
        return ended

    def abandon(self) -> None:
        """See ``protocol.Engine.abandon``."""
        self._llm.llm_engine.abort_request([request_id for request_id, _ in self._open.values()], internal=True)
        self._open.clear()

    def generate(
        self, requests: Sequence[GenerationRequest], on_progress: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        """See ``protocol.Engine.generate``."""
        return generate_all(self, requests, on_progress)

    def close(self) -> None:
        """Free the model's memory and vLLM's temporary files."""
        from vllm.distributed import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        del self._llm
        cleanup_dist_env_and_memory()
        self._scratch.cleanup()

    def _sampling_params(self, draw: Draw) -> SamplingParams:
        from vllm import SamplingParams

        request = draw.request
        return SamplingParams(
            temperature=request.temperature,
            top_p=request.top_p,
            max_tokens=request.max_new_tokens,
            stop=list(request.stop),
            stop_token_ids=list(self._end_ids),
            seed=draw.seed,
            logprobs=0,
        )


def _cpu_settings(threads: int, max_model_len: int | None, kv_cache_gib: float) -> dict[str, Any]:
    import torch

    # vLLM's own torch.compile'd helpers cost 20 s the first time and gain nothing at this size.
    torch._dynamo.config.disable = True
    torch.set_num_threads(threads)
    # Says on every start that Triton, which only GPUs use, is missing.
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
    return {
        # Seeds crash on the CPU when a prompt is prefilled in chunks ("CPU Generator does not use offset").
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(max_model_len or 0, MIN_BATCHED_TOKENS),
        "block_size": CPU_BLOCK_SIZE,
        "kv_cache_memory_bytes": int(kv_cache_gib * 2**30),
        "enforce_eager": True,
    }


def _load(model: str, **settings: Any) -> Any:
    with _quiet():
        import torch
        from safetensors import SafetensorError
        from vllm import LLM

        # On the CPU vLLM replaces torch.set_num_threads by a no-op and sets LD_PRELOAD for workers we do not start.
        set_num_threads, preload = torch.set_num_threads, os.environ.get("LD_PRELOAD")
        try:
            return LLM(model, **settings)
        except (OSError, ValueError, SafetensorError) as error:
            raise UserError(f"vLLM cannot load the model {model}: {error}") from error
        finally:
            torch.set_num_threads = set_num_threads
            os.environ.pop("LD_PRELOAD", None)
            if preload is not None:
                os.environ["LD_PRELOAD"] = preload


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the warnings of libraries that vLLM imports; errors still raise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _number(request_id: str) -> int:
    """Return vLLM's running number of a request; an id may carry a random suffix after it."""
    return int(request_id.partition("-")[0])


def _completion(output: RequestOutput) -> Completion:
    completion = output.outputs[0]
    tokens = tuple(completion.token_ids)
    return Completion(
        text=completion.text,
        token_ids=tokens,
        finish_reason="stop" if completion.finish_reason == "stop" else "length",
        logprob_mean=(completion.cumulative_logprob or 0.0) / max(len(tokens), 1),
    )
