"""Which engine is chosen, and why."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from selfexplore_tasks import recipe
from selfexplore_tasks.engines.common import context_limit
from selfexplore_tasks.engines.protocol import Engine, GenerationRequest
from selfexplore_tasks.engines.select import LazyEngine, choose_engine, effective_threads, open_engine
from selfexplore_tasks.errors import UserError

ROOT = Path(__file__).parents[3]
needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")


@pytest.fixture
def without_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python itself refuses to import a module that is None here, as if it were not installed."""
    monkeypatch.setitem(sys.modules, "vllm", None)


@needs_vllm
def test_auto_takes_vllm_where_it_runs() -> None:
    name, reason = choose_engine("auto")
    assert name == "vllm"
    assert reason.startswith("vLLM is installed and runs on the ")


@needs_vllm
def test_vllm_is_loaded_through_open_engine(vllm_engine: Engine) -> None:
    assert vllm_engine.name == "vllm"


@pytest.mark.usefixtures("without_vllm")
def test_auto_without_vllm_takes_transformers_and_says_why() -> None:
    assert choose_engine("auto") == ("transformers", "vLLM is not installed.")


@pytest.mark.usefixtures("without_vllm")
def test_asking_for_missing_vllm_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"engine\.kind is vllm, but vLLM is not installed: install vllm, or set"):
        choose_engine("vllm")


def test_broken_vllm_is_a_reason_not_a_crash(tmp_path: Path) -> None:
    """As with a vllm built for another torch; in a fresh interpreter, where nothing of vllm is loaded yet."""
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    program = "from selfexplore_tasks.engines.select import choose_engine; print(choose_engine('auto'))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.startswith("('transformers', 'vLLM cannot be imported (operator torchvision::nms")


def test_open_engine_logs_its_choice_and_generates(tiny_model_dir: Path) -> None:
    lines: list[str] = []
    settings = recipe.Engine(kind="transformers", threads=1)
    engine = open_engine(settings, tiny_model_dir, dtype="float32", context_length=16, seed=0, log=lines.append)
    assert lines == ["Engine: transformers (1 CPU threads). The recipe asks for transformers."]
    request = GenerationRequest((5, 6, 7), 1, 0.0, 1.0, 100, (), 0)
    assert len(engine.generate([request])[0][0].token_ids) <= 13
    with pytest.raises(ValueError, match="context of 16"):
        engine.generate([GenerationRequest(tuple(range(2, 18)), 1, 0.0, 1.0, 1, (), 0)])
    engine.close()


@pytest.mark.parametrize(("given", "configured", "expected"), [(3, "1", 3), (None, "2", 2), (None, "5,2", 5)])
def test_threads_come_from_the_recipe_then_from_openmp(
    monkeypatch: pytest.MonkeyPatch, given: int | None, configured: str, expected: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", configured)
    assert effective_threads(given) == expected


@pytest.mark.parametrize("configured", [None, "", "many", "0"])
def test_threads_fall_back_to_the_cores_we_may_use(monkeypatch: pytest.MonkeyPatch, configured: str | None) -> None:
    if configured is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", configured)
    assert effective_threads(None) == len(os.sched_getaffinity(0))


def test_choosing_transformers_imports_no_vllm() -> None:
    program = (
        "import sys; from selfexplore_tasks.engines.select import choose_engine; choose_engine('transformers');"
        "print(sorted({'torch', 'vllm', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"


@needs_vllm
@pytest.mark.slow
def test_vllm_reports_a_bad_model_and_leaves_no_files(tiny_model_dir: Path, tmp_path: Path) -> None:
    """In its own process: a failed start leaves vLLM's state half set; stages end then."""
    model = shutil.copytree(tiny_model_dir, tmp_path / "model")
    config = (model / "config.json").read_text(encoding="utf-8")
    (model / "config.json").write_text(config.replace('"llama"', '"no-such-model"'), encoding="utf-8")
    program = (
        "import sys; from pathlib import Path\n"
        "from selfexplore_tasks import recipe\n"
        "from selfexplore_tasks.engines.select import open_engine\n"
        "from selfexplore_tasks.errors import UserError\n"
        "try:\n"
        "    open_engine(recipe.Engine(kind='vllm', kv_cache_gib=0.25), Path(sys.argv[1]), dtype='float32',\n"
        "                context_length=128, seed=0)\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(model)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert f"vLLM cannot load the model {model}" in done.stdout
    assert not [path for path in tmp_path.iterdir() if "vllm" in path.name]


def test_the_context_is_what_the_recipe_wants_and_the_model_allows(tiny_model_dir: Path, tmp_path: Path) -> None:
    assert context_limit(tiny_model_dir, 4096) == 128
    assert context_limit(tiny_model_dir, 64) == 64
    assert context_limit(tiny_model_dir, None) == 128
    assert context_limit(tmp_path, 4096) == 4096


def test_a_lazy_engine_loads_once_and_only_when_asked(tiny_model_dir: Path) -> None:
    loaded: list[Engine] = []

    def load() -> Engine:
        settings = recipe.Engine(kind="transformers", threads=1)
        loaded.append(open_engine(settings, tiny_model_dir, dtype="float32", context_length=None, seed=0))
        return loaded[-1]

    engine = LazyEngine("transformers", load)
    assert engine.generate([]) == []
    assert (engine.name, loaded) == ("transformers", [])
    engine.close()
    request = GenerationRequest((5, 6), n=2, temperature=1.0, top_p=1.0, max_new_tokens=3, stop=(), seed=1)
    first = engine.generate([request])
    assert engine.generate([request]) == first
    assert (engine.name, len(loaded), len(first[0])) == ("transformers", 1, 2)
    engine.close()
