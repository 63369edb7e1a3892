"""Housekeeping frees what nobody needs, changes no row, and may be killed at any point."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from launches import LAUNCH

from selfexplore_tasks.cli import main
from selfexplore_tasks.housekeeping import Freed, keep_house
from selfexplore_tasks.housekeeping.models import kept_models
from selfexplore_tasks.housekeeping.parts import unreferenced_parts
from selfexplore_tasks.stages.redo import redo_stage
from selfexplore_tasks.store.champions import champion_path, set_champion
from selfexplore_tasks.store.experiments import open_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, read_manifests
from selfexplore_tasks.store.parts import read_stamps
from selfexplore_tasks.store.schemas import TABLES

SLUG = "mini"
Rows = Callable[[Store, str], list[dict[str, Any]]]


@pytest.fixture
def store(finished_store: Store, tmp_path: Path) -> Store:
    return Store(Path(shutil.copytree(finished_store.root, tmp_path / "store", symlinks=True)))


def freed(store: Store, *, dry_run: bool = False) -> dict[str, Freed]:
    return {one.what: one for one in keep_house(store, [SLUG], dry_run=dry_run)}


def make_old(store: Store, age_s: float) -> None:
    moment = time.time() - age_s
    for path in store.root.rglob("*"):
        os.utime(path, (moment, moment), follow_symlinks=False)


def models(store: Store) -> set[str]:
    return {
        f"{int(path.parent.name.removeprefix('round='))}/{path.name}"
        for path in (store.root / "models" / SLUG).glob("round=*/*")
    }


def contents(store: Store) -> dict[str, bytes]:
    return {
        str(path.relative_to(store.root)): path.read_bytes()
        for path in store.root.rglob("*")
        if path.is_file() and "locks" not in path.parts
    }


def all_rows(store: Store, rows_of: Rows) -> dict[str, list[dict[str, Any]]]:
    """Every row in the order in which the parts give it."""
    return {table: rows_of(store, f"from {table}") for table in TABLES}


def check_parts(store: Store) -> None:
    """Every part that a manifest names is there, whole."""
    for manifest in read_manifests(store, SLUG):
        for table, names in manifest.parts.items():
            for name in names:
                pq.ParquetFile(store.table_dir(table, SLUG, manifest.round) / name).read()


def test_many_parts_become_one_without_changing_a_row(store: Store, rows_of: Rows) -> None:
    rows, before = all_rows(store, rows_of), read_manifests(store, SLUG)
    seconds = sum(float(read_stamps(path)["seconds"]) for path in store.root.rglob("part-explore-*.parquet"))
    merged = freed(store)["small parts merged"]
    named = {(one.round, one.stage): one.parts for one in read_manifests(store, SLUG)}
    assert all(len(names) == 1 for parts in named.values() for names in parts.values())
    assert merged.count == sum(len(names) for one in before for names in one.parts.values() if len(names) > 1) > 20
    assert all_rows(store, rows_of) == rows

    (name,) = named[1, "explore"]["rollouts"]
    path = store.table_dir("rollouts", SLUG, 1) / name
    first = path.with_name("part-explore-00000.parquet")
    assert {**read_stamps(path), "seconds": ""} == {**read_stamps(first), "seconds": ""}
    assert float(read_stamps(path)["seconds"]) == pytest.approx(seconds)
    assert pq.read_schema(path).remove_metadata() == pq.read_schema(first).remove_metadata()

    # Readers that have begun go on; an hour later the old parts go, and nothing else.
    assert freed(store)["unreferenced parts"].count == 0
    make_old(store, 4_000)
    gone = freed(store)["unreferenced parts"]
    assert gone.count == merged.count and gone.size > 0
    assert all_rows(store, rows_of) == rows
    assert {one.count for one in freed(store).values()} == {0}


def test_an_unfinished_round_is_left_alone(store: Store) -> None:
    redo_stage(store, SLUG, 1, "arms")
    shutil.copy(
        next(store.root.rglob("part-explore-00000.parquet")),
        store.table_dir("rollouts", SLUG, 1) / "part-arms-0.parquet",
    )
    open_experiment(store, SLUG, None, {"retention.keep_rounds": 0})
    make_old(store, 90_000)
    before = {name: content for name, content in contents(store).items() if "round=001" in name}
    freed(store)
    assert {name: content for name, content in contents(store).items() if "round=001" in name} == before


@pytest.mark.parametrize("keep_rounds", [None, 0, 1, 2])
def test_retention_spares_champions_and_their_ancestors(store: Store, keep_rounds: int | None) -> None:
    before = models(store)
    set_champion(store, SLUG, "1/outcome_dpo", who="eva", why="steadier")
    set_champion(store, SLUG, "0/sft", who="eva", why="and back")
    open_experiment(store, SLUG, None, {"retention.keep_rounds": keep_rounds})
    gone = {"1/policy", "1/continued_rft"} if keep_rounds == 0 else set()
    told = freed(store, dry_run=True)["models"]
    assert models(store) == before
    assert freed(store)["models"] == told and told.count == len(gone) and (told.size > 100_000) == bool(gone)
    assert models(store) == before - gone
    assert champion_path(store, SLUG, "1/outcome_dpo").is_dir()


def test_ancestors_are_followed_through_rounds_and_arms() -> None:
    def manifest(number: int, stage: str, **notes: Any) -> Manifest:
        return Manifest("e", number, stage, "h", 0, "", "", 0.0, notes=notes)

    made = [
        manifest(0, "sft", model_id="0/sft", start_model_id="0/base"),
        manifest(1, "rft", model_id="1/rft", start_model_id="0/sft"),
        manifest(1, "arms", models=["1/outcome_dpo", "1/continued_rft"], start_model_id="1/rft"),
        manifest(1, "dpo", model_id="1/rft", skipped="no granular pair was kept"),
        manifest(2, "rft", model_id="2/rft", start_model_id="1/outcome_dpo"),
        manifest(2, "dpo", model_id="2/policy", start_model_id="2/rft"),
    ]
    assert kept_models(made, ["2/policy"]) == {"0/base", "0/sft", "1/rft", "1/outcome_dpo", "2/rft", "2/policy"}
    assert kept_models(made, []) == {"0/base"}


def test_leftovers_go_after_a_day(store: Store) -> None:
    models_dir = store.root / "models" / SLUG / "round=001"
    folder = store.table_dir("rollouts", SLUG, 1)
    kept = [models_dir / "lost.replaced" / "x"]
    left = [
        folder / ".part-explore-00000.parquet.7.tmp",
        store.experiment_file(SLUG).with_name(f".{SLUG}.json.7.tmp"),
        models_dir / ".champion.7.tmp",
        models_dir / "policy.partial" / "x",
        models_dir / "policy.replaced" / "x",
        models_dir / "policy.fetched" / "x",
        store.root / ".shared" / "pull-7" / "x",
        models_dir / ".rft.removed" / "x",
    ]
    for path in [*kept, *left]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("left", encoding="utf-8")
    assert freed(store)["temporary files"].count == 0
    make_old(store, 90_000)
    assert freed(store, dry_run=True)["temporary files"].count == len(left)
    assert all(path.exists() for path in left)
    assert freed(store)["temporary files"] == Freed(SLUG, "temporary files", len(left), 4 * len(left))
    assert [path.exists() for path in [*kept, *left]] == [True] * len(kept) + [False] * len(left)


def test_nothing_changes_in_a_dry_run(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFEXPLORE_HOME", str(store.root))
    before = contents(store)
    assert main(["housekeeping", "--dry-run", "--experiment", SLUG, "--json"]) == 0
    told = {row["what"]: row for row in json.loads(capsys.readouterr().out)}
    assert contents(store) == before
    assert main(["housekeeping"]) == 0
    assert "0.0 MiB freed" in capsys.readouterr().out
    assert told["small parts merged"]["rows"] > 500


# The stage ignores SIGTERM and tells its id; whoever launched it is killed together with its guard.
STAGE = (
    "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(os.getpid(), flush=True)\n"
    "time.sleep(300)"
)


def test_an_orphaned_stage_is_ended_and_a_live_one_is_not(store: Store, tmp_path: Path) -> None:
    interpreter = tmp_path / "interpreter"
    interpreter.write_text(f"#!{sys.executable}\n{STAGE}", encoding="utf-8")
    interpreter.chmod(0o755)
    env = {**os.environ, "SELFEXPLORE_HOME": str(store.root), "SELFEXPLORE_PYTHON": str(interpreter)}
    command = [sys.executable, "-c", LAUNCH, "explore", SLUG, "2"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as launcher:
        stage = psutil.Process(int(launcher.stdout.readline() if launcher.stdout else 0))
        assert freed(store)["orphaned processes"].count == 0
        assert stage.is_running()
        guard = stage.parent()
        assert guard is not None
        guard.send_signal(signal.SIGSTOP)  # or it would end the group when the launcher is gone
        launcher.kill()
        launcher.wait()
        assert freed(store, dry_run=True)["orphaned processes"].count == 1
        assert stage.is_running()
        assert freed(store)["orphaned processes"].count == 1
        assert not stage.is_running() or stage.status() == psutil.STATUS_ZOMBIE
    assert freed(store)["orphaned processes"].count == 0


def test_killed_anywhere_it_loses_nothing(store: Store, rows_of: Rows) -> None:
    """SIGKILL at the n-th change to the disk, for every n, until a run comes to its end."""
    rows = all_rows(store, rows_of)
    open_experiment(store, SLUG, None, {"retention.keep_rounds": 0})
    make_old(store, 90_000)
    code = (
        "import os, sys; from selfexplore_tasks.housekeeping import keep_house\n"
        "from selfexplore_tasks.store.home import Store; from pathlib import Path\n"
        "def watch(event, arguments, left=[int(sys.argv[2])]):\n"
        "    if event in ('os.rename', 'os.remove', 'os.rmdir'):\n"
        "        left[0] -= 1\n"
        "        if left[0] < 0: os.kill(os.getpid(), 9)\n"
        f"sys.addaudithook(watch); keep_house(Store(Path(sys.argv[1])), ['{SLUG}'])"
    )
    kills = 0
    for changes in range(0, 200, 3):
        ended = subprocess.run([sys.executable, "-c", code, str(store.root), str(changes)], check=False).returncode
        check_parts(store)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        kills += 1
        assert all_rows(store, rows_of) == rows
    assert kills > 3
    make_old(store, 90_000)
    freed(store)
    assert not list(unreferenced_parts(store, SLUG))
    assert all_rows(store, rows_of) == rows
    assert "1/continued_rft" not in models(store)
