"""`selfexplore champion`, `pause`, `resume`, `cancel`, `approve` and `experiments fork`; the push to a real server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local_hub import TOKEN, local_hub
from selfexplore_tasks.cli import main
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, write_manifest

Run = Callable[..., str]


@pytest.fixture
def store(finished_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy of the finished store, which the commands use."""
    shutil.copytree(finished_store.root, tmp_path / "store", symlinks=True)
    monkeypatch.setenv("SELFEXPLORE_HOME", str(tmp_path / "store"))
    return Store(tmp_path / "store")


@pytest.fixture
def run(store: Store, capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str, code: int = 0) -> str:
        assert main(arguments) == code, capfd.readouterr().err
        captured = capfd.readouterr()
        return captured.out if code == 0 else captured.err

    return call


def test_champion_is_shown_chosen_and_rolled_back(run: Run, store: Store) -> None:
    (shown,) = json.loads(run("champion", "show", "mini", "--json"))
    assert (shown["model_id"], shown["round"], shown["who"]) == ("0/sft", 0, "gate")
    assert shown["folder"] == str(store.champion_link("mini"))
    told = run("champion", "set", "mini", "1/policy", "--who", "ann", "--why", "reads better")
    assert told == "1/policy is the champion of mini from round 2 on.\n"
    assert "0/sft is the champion of mini again" in run("champion", "rollback", "mini")
    assert store.champion_link("mini").resolve() == store.model_dir("mini", "0/sft")
    rows = json.loads(run("champion", "history", "mini", "--json"))
    assert [(row["model_id"], row["round"]) for row in rows] == [("0/sft", 0), ("1/policy", 1), ("0/sft", 1)]
    assert (rows[1]["who"], rows[1]["why"]) == ("ann", "reads better")
    assert "already" in run("champion", "set", "mini", "0/sft", code=2)
    assert "reads better" in run("champion", "history", "mini")


def test_the_hand_on_the_wheel(run: Run, store: Store) -> None:
    def state() -> Any:
        return json.loads(run("experiments", "list", "--json"))[0]["state"]

    states = [state()]
    for command in ("pause", "cancel", "resume"):
        assert "mini" in run(command, "mini", "--why", "lunch")
        states.append(state())
    assert states == [None, "paused", "cancelled", None]
    assert "needs no approval" in run("approve", "mini", "--round", "2", code=2)
    notes = {"needs_approval": True}
    write_manifest(store, Manifest("mini", 2, "gate", "h", 1, "1", "2", 1.0, notes=notes))
    assert "approved" in run("approve", "mini", "--round", "2")
    assert "rejected" in run("approve", "mini", "--round", "2", "--reject")
    assert "Round 1 of 'mini' is finished" in run("approve", "mini", "--round", "1", code=2)
    assert "'other' does not exist" in run("pause", "other", code=2)


def test_fork_is_listed_with_its_origin(run: Run) -> None:
    assert run("experiments", "fork", "mini", "--round", "0", "--as", "again").startswith("again begins with round 1")
    rows = {row["experiment"]: row for row in json.loads(run("experiments", "list", "--json"))}
    assert (rows["again"]["forked_from"], rows["mini"]["forked_from"]) == ("mini, round 0", None)
    assert rows["again"]["last_round"] == 0
    assert "exists already" in run("experiments", "fork", "mini", "--round", "0", "--as", "again", code=2)


@pytest.fixture
def hub() -> Iterator[Any]:
    with local_hub() as server:
        yield server


def push(store: Store, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Push in a process of its own: the Hub's client reads the environment when it is imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    home = {"SELFEXPLORE_HOME": str(store.root), "HF_HOME": str(store.root.parent / "hf"), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-m", "selfexplore_tasks", "champion", "push", "mini", *arguments],
        capture_output=True,
        text=True,
        env={**kept, **home, **env},
    )


def test_push_uploads_the_folder_and_says_nothing_of_the_token(store: Store, hub: Any) -> None:
    done = push(store, "--repo", "me/mine", "--private", HF_ENDPOINT=hub.endpoint, HUGGINGFACE_TOKEN=f"{TOKEN}\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{hub.endpoint}/me/mine/commit/1"
    folder = store.model_dir("mini", "0/sft")
    assert hub.files == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert b"library_name: transformers" in hub.files["README.md"]
    assert (hub.created[0]["visibility"], hub.messages) == ("private", ["mini: 0/sft"])
    assert TOKEN not in done.stdout + done.stderr
    kept = [path for path in store.root.parent.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert kept == []


FAILURES = {
    "no token": ({}, 2, "There is no usable Hub token"),
    "a token that no header can carry": ({"HF_TOKEN": "hf_a\nb"}, 2, "There is no usable Hub token"),
    "another token": ({"HF_TOKEN": "hf_wrong"}, 2, "The Hub refused to take me/mine (401: Invalid credentials)"),
    "offline": ({"HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "1"}, 2, "me/mine could not be pushed"),
    "no server": ({"HF_TOKEN": TOKEN, "HF_ENDPOINT": "http://127.0.0.1:9"}, 5, "me/mine could not be pushed"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_push_that_fails_says_why_in_a_sentence(name: str, store: Store, hub: Any) -> None:
    env, code, told = FAILURES[name]
    done = push(store, "--repo", "me/mine", **{"HF_ENDPOINT": hub.endpoint, **env})
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert told in line
    assert not any(token in line for token in env.values() if token.startswith("hf_"))
    assert hub.files == {}


def test_a_repository_has_an_owner(store: Store) -> None:
    done = push(store, "--repo", "mine", HF_TOKEN=TOKEN)
    assert (done.returncode, "give owner/name" in done.stderr) == (2, True)
