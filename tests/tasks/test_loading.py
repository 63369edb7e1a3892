"""What counts as loading, and how a stage's process ends."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from selfexplore_tasks.loading import Loading
from selfexplore_tasks.stages.names import ROUND_STAGES
from selfexplore_tasks.store.home import Store

HEAVY = {"torch", "transformers", "vllm", "trl", "datasets"}


def test_kinds_are_counted_apart_and_taken_once() -> None:
    loading = Loading()
    with loading.timed("tokenizer"):
        time.sleep(0.01)
    with loading.timed("engine"), loading.timed("tokenizer"):  # the inner clock stands still
        time.sleep(0.01)
    counted = loading.take()
    assert counted.keys() == {"tokenizer", "engine"}
    assert min(counted.values()) > 0
    with loading.timed("engine"):
        pass
    assert loading.take().keys() == {"engine"}
    assert loading.take() == {}


def test_an_error_while_loading_is_counted_and_collection_goes_on() -> None:
    loading = Loading()
    with pytest.raises(ImportError), loading.timed("engine"):
        assert not gc.isenabled()
        raise ImportError("no such engine")
    assert gc.isenabled()
    assert loading.take().keys() == {"engine"}


def test_the_process_counts_from_its_start() -> None:
    code = (
        "import time; time.sleep(0.2); from selfexplore_tasks.loading import Loading; one = Loading(); "
        "one.process_is_ready(); print(one.take()['process'])"
    )
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # The kernel tells the start to one of its ticks.
    assert 0.2 <= float(done.stdout) <= time.monotonic() - begun + 1 / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("stage", [stage for stage in ROUND_STAGES if stage.endswith(("_set", "_pairs"))] + ["gate"])
def test_a_stage_of_tables_loads_no_model_library(stage: str, store_before: Callable[[str], Store]) -> None:
    store = store_before(stage)
    code = (
        "import sys; from selfexplore_tasks.cli import main; "
        f"code = main(['stage', '{stage}', '--experiment', 'mini', '--round', '1']); "
        f"print('heavy:', *sorted({HEAVY!r} & set(sys.modules))); sys.exit(code)"
    )
    done = run(store, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy:"


def test_the_command_ends_at_once_and_loses_nothing(store_before: Callable[[str], Store]) -> None:
    store = store_before("gate")
    gate = ("-m", "selfexplore_tasks", "stage", "gate", "--experiment", "mini", "--round", "1")
    done = run(store, *gate)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("gate: 1/policy against 0/sft")
    manifest = json.loads(store.manifest_file("mini", 1, "gate").read_text(encoding="utf-8"))
    assert manifest["notes"]["loading"].keys() == {"process"}
    assert run(store, *gate).stdout.startswith("gate: done already")
    assert run(store, *gate[:3], "gate", "--experiment", "none", "--round", "1").returncode == 2


def run(store: Store, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SELFEXPLORE_HOME": str(store.root)}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
