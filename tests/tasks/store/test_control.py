"""Pause, resume, cancel and approve: what a person asks of an experiment."""

from __future__ import annotations

import stat
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.launch import run_stage_process
from selfexplore_tasks.recipe_files import load_recipe
from selfexplore_tasks.store.approvals import read_approval, write_approval
from selfexplore_tasks.store.control import (
    cancel,
    check_may_run,
    check_not_cancelled,
    is_paused,
    pause,
    read_control,
    resume,
)
from selfexplore_tasks.store.experiments import delete_experiment
from selfexplore_tasks.store.files import write_json
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.locks import stage_lock
from selfexplore_tasks.store.manifests import Manifest, write_manifest

BY = {"who": "ann", "why": "lunch"}
SLEEPER = f"#!{sys.executable}\nimport os, time\nprint('pid', os.getpid(), flush=True)\ntime.sleep(300)\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "home")
    recipe = load_recipe("arithmetic-tiny").model_dump(mode="json")
    write_json(store.experiment_file("e"), {"recipe": recipe, "recipe_hash": "h", "created_at": "2026"})
    return store


@pytest.mark.parametrize(
    ("ask", "next_round_refused", "stage_refused"), [(pause, True, False), (cancel, True, True), (resume, False, False)]
)
def test_what_may_go_on(store: Store, ask: Any, next_round_refused: bool, stage_refused: bool) -> None:
    check_may_run(store, "e")
    pause(store, "e", **BY)
    ask(store, "e", **BY)
    assert is_paused(store, "e") is next_round_refused
    for check, is_refused in ((check_may_run, next_round_refused), (check_not_cancelled, stage_refused)):
        if is_refused:
            with pytest.raises(UserError, match=r"by ann at 20.*: lunch\. Go on with `selfexplore resume e`"):
                check(store, "e")
        else:
            check(store, "e")


def test_only_experiments_that_exist_are_steered(store: Store) -> None:
    for ask in (pause, resume, cancel):
        with pytest.raises(UserError, match="'other' does not exist"):
            ask(store, "other", **BY)
    assert read_control(store, "other") is None


def test_cancel_ends_what_was_launched(store: Store, tmp_path: Path) -> None:
    sleeper = tmp_path / "sleeper"
    sleeper.write_text(SLEEPER, encoding="utf-8")
    sleeper.chmod(sleeper.stat().st_mode | stat.S_IXUSR)
    env = {"SELFEXPLORE_PYTHON": str(sleeper), "SELFEXPLORE_HOME": str(store.root)}
    lines: list[str] = []
    codes: list[int] = []
    started = threading.Event()

    def on_line(line: str) -> None:
        lines.append(line)
        started.set()

    def launch() -> None:
        codes.append(run_stage_process("sample", experiment="e", round_number=1, env=env, on_line=on_line))

    launcher = threading.Thread(target=launch)
    launcher.start()
    assert started.wait(60)
    assert cancel(store, "e", **BY) == []
    launcher.join(60)
    assert codes
    assert codes[0] != 0
    assert not psutil.pid_exists(int(lines[0].split()[1]))
    assert not list(store.lock_dir("e").glob("*.pgid"))


def test_cancel_leaves_and_names_what_runs_elsewhere(store: Store) -> None:
    record = store.lock_dir("e") / "001-sample.pgid"
    write_json(record, {"host": "another-machine", "pgid": 2**22 + 1, "started_at": 0.0, "token": "t"})
    with stage_lock(store, "e", round_number=1, stage="sample", shard=0):
        assert cancel(store, "e", **BY) == ["001-sample-0"]
    assert record.exists()


def ask_for_approval(store: Store) -> None:
    write_manifest(store, Manifest("e", 1, "gate", "h", 1, "1", "2", 1.0, notes={"needs_approval": True}))


def test_nothing_is_approved_that_nobody_asked_for(store: Store) -> None:
    for notes in (None, {"needs_approval": False}):
        if notes is not None:
            write_manifest(store, Manifest("e", 1, "gate", "h", 1, "1", "2", 1.0, notes=notes))
        with pytest.raises(UserError, match="Round 1 of 'e' needs no approval"):
            write_approval(store, "e", 1, approved=True, **BY)
    assert read_approval(store, "e", 1) is None


def test_an_approval_may_be_changed_until_the_round_is_finished(store: Store) -> None:
    ask_for_approval(store)
    assert read_approval(store, "e", 1) is None
    for approved in (True, False):
        written = write_approval(store, "e", 1, approved=approved, **BY)
        assert read_approval(store, "e", 1) == written
        assert written.approved is approved
    write_manifest(store, Manifest("e", 1, "summarize", "h", 1, "1", "2", 1.0))
    with pytest.raises(UserError, match="Round 1 of 'e' is finished: choose its champion with"):
        write_approval(store, "e", 1, approved=True, **BY)


def test_an_experiment_that_is_deleted_takes_it_all_along(store: Store) -> None:
    pause(store, "e", **BY)
    ask_for_approval(store)
    write_approval(store, "e", 1, approved=True, **BY)
    write_json(store.champion_file("e"), {"chosen": []})
    delete_experiment(store, "e")
    assert [path for path in store.root.rglob("*") if path.stem == "e"] == []
