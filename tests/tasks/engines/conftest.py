"""Both engines over the same tiny model; each is loaded once per test session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from selfexplore_tasks.engines.protocol import Engine, GenerationRequest

ENGINES = (
    "transformers",
    pytest.param("vllm", marks=pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")),
)
RequestMaker = Callable[..., GenerationRequest]


@pytest.fixture(scope="session")
def encode(tiny_model_dir: Path) -> Callable[[str], tuple[int, ...]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    return lambda text: tuple(tokenizer(text).input_ids)


@pytest.fixture(scope="session")
def make_request(encode: Callable[[str], tuple[int, ...]]) -> RequestMaker:
    def make(text: str = "Eva has 18 + 8 = ", **changes: object) -> GenerationRequest:
        settings = {"n": 1, "temperature": 0.7, "top_p": 1.0, "max_new_tokens": 24, "stop": (), "seed": 1} | changes
        return GenerationRequest(prompt_token_ids=encode(text), **settings)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def transformers_engine(tiny_model_dir: Path) -> Iterator[Engine]:
    from selfexplore_tasks.engines.transformers import TransformersEngine

    engine = TransformersEngine(tiny_model_dir, dtype="float32", threads=1, batch_size=8)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def vllm_engine(tiny_model_dir: Path) -> Iterator[Engine]:
    """Through ``open_engine``, so that the session's only start of vLLM covers the way stages take."""
    from selfexplore_tasks import recipe
    from selfexplore_tasks.engines.select import open_engine

    settings = recipe.Engine(kind="vllm", threads=1, kv_cache_gib=0.25)
    engine = open_engine(settings, tiny_model_dir, dtype="float32", context_length=128, seed=0)
    yield engine
    engine.close()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn."""
    found: Engine = request.getfixturevalue(f"{request.param}_engine")
    return found
