"""What a user asked, kept in order, bounded and whole beside other users and writers."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from selfexplore_tasks.console.history import KEPT_ENTRIES, append_history, read_history
from selfexplore_tasks.store.home import Store


def append_many(root: Path, user: str, name: str) -> None:
    for number in range(20):
        append_history(Store(root), user, f"{name}{number}", rows=number, seconds=0.1)


def test_the_newest_comes_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert read_history(store, "ada") == []
    first = append_history(store, "ada", "select 1", rows=1, seconds=0.12345)
    second = append_history(store, "ada", "select\n'é'", rows=None, seconds=2, error="nope")
    assert read_history(store, "ada") == [second, first]
    assert (first.rows, first.seconds, first.error) == (1, 0.123, None)
    assert (second.sql, second.error) == ("select\n'é'", "nope")


def test_users_are_apart_and_their_names_in_no_path(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for user in ("ada@example.org", "../../etc", "", "Ada@example.org", "\ud800"):
        append_history(store, user, f"of {user!r}", rows=0, seconds=0)
        assert [entry.sql for entry in read_history(store, user)] == [f"of {user!r}"]
    names = [path.name for path in store.console_dir.iterdir()]
    assert all(len(name.split(".")[0]) == 32 and "ada" not in name.lower() for name in names)
    assert {path.parent for path in tmp_path.rglob("*.jsonl")} == {store.console_dir}


def test_the_oldest_leave(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(KEPT_ENTRIES + 3):
        append_history(store, "ada", f"select {number}", rows=1, seconds=0)
    entries = read_history(store, "ada")
    assert (len(entries), entries[0].sql, entries[-1].sql) == (KEPT_ENTRIES, f"select {KEPT_ENTRIES + 2}", "select 3")


def test_a_broken_line_costs_itself_only(tmp_path: Path) -> None:
    store = Store(tmp_path)
    append_history(store, "ada", "select 1", rows=1, seconds=0)
    (path,) = store.console_dir.glob("*.jsonl")
    path.write_text(path.read_text(encoding="utf-8") + '{"at": "half\n{"other": 1}\n[]\n', encoding="utf-8")
    append_history(store, "ada", "select 2", rows=1, seconds=0)
    assert [entry.sql for entry in read_history(store, "ada")] == ["select 2", "select 1"]


@pytest.mark.parametrize("users", [["ada"] * 4, ["ada", "bo", "cy", "di"]], ids=["one user", "four users"])
def test_writers_at_the_same_time_lose_nothing(users: list[str], tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=append_many, args=(tmp_path, user, f"w{place}-")) for place, user in enumerate(users)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = [entry.sql for user in sorted(set(users)) for entry in read_history(Store(tmp_path), user)]
    assert sorted(found) == sorted(f"w{place}-{number}" for place in range(4) for number in range(20))
