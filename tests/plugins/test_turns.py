"""Who has to wait for a query or a download, and what becomes of a file that is sent."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest

from selfexplore_tasks.console.errors import ConsoleBusy
from selfexplore_ui import sent_file, turns
from selfexplore_ui.sent_file import SentFile
from selfexplore_ui.turns import OPEN_DOWNLOADS, Downloads, Turns


def run(work: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
    """Run in an event loop of its own: while a browser of another test is open, this thread has one already."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(anyio.run, work, *arguments).result()


def test_a_user_waits_for_their_own_query_only() -> None:
    ended: list[str] = []

    async def ask(queries: Turns, name: str, release: anyio.Event) -> None:
        async with queries.of(name):
            await release.wait()
            ended.append(name)

    async def main() -> None:
        queries, release, at_once = Turns(), anyio.Event(), anyio.Event()
        at_once.set()
        async with anyio.create_task_group() as people:
            for _ in range(3):
                people.start_soon(ask, queries, "ada", release)
            await anyio.wait_all_tasks_blocked()
            await ask(queries, "bo", at_once)
            release.set()

    run(main)
    assert ended == ["bo", "ada", "ada", "ada"]


def test_who_waits_too_long_or_with_too_many_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "WAIT_S", 0.01)

    async def main() -> None:
        queries = Turns()
        async with queries.of("ada"):
            with pytest.raises(ConsoleBusy, match="still running"):
                async with queries.of("ada"):
                    pass
            monkeypatch.setattr(turns, "WAITING", 0)
            with pytest.raises(ConsoleBusy, match="waiting already"):
                async with queries.of("ada"):
                    pass
        async with queries.of("ada"):
            pass

    run(main)


def test_downloads_are_few() -> None:
    downloads = Downloads()
    downloads.begin("ada")
    with pytest.raises(ConsoleBusy, match="of yours"):
        downloads.begin("ada")
    for number in range(OPEN_DOWNLOADS - 1):
        downloads.begin(f"user{number}")
    with pytest.raises(ConsoleBusy, match="Other people's"):
        downloads.begin("bo")
    downloads.end("ada")
    with pytest.raises(OSError, match="full"), downloads.unless_sent("bo"):
        raise OSError(errno.ENOSPC, "full")
    with downloads.unless_sent("cy"):
        pass
    with pytest.raises(ConsoleBusy):
        downloads.begin("cy")


@pytest.fixture
def answer(tmp_path: Path) -> Path:
    path = tmp_path / "answer.csv"
    path.write_bytes(b"x" * 1_000_000)
    return path


def test_a_file_has_no_name_while_it_is_sent(answer: Path) -> None:
    sent: list[Any] = []
    ended: list[bool] = []
    response = SentFile(answer, {"Content-Type": "text/csv"}, lambda: ended.append(True))

    async def send(message: Any) -> None:
        assert not answer.exists()
        assert not ended
        sent.append(message)

    run(response, {}, None, send)
    assert dict(sent[0]["headers"]) == {b"content-type": b"text/csv", b"content-length": b"1000000"}
    assert b"".join(message["body"] for message in sent[1:]) == b"x" * 1_000_000
    assert [message["more_body"] for message in sent[-2:]] == [True, False]
    assert ended == [True]


@pytest.mark.parametrize("client", ["slow", "gone"])
def test_a_client_that_does_not_read_gives_its_place_back(
    client: str, answer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sent_file, "SENDING_S", 0.01)
    ended: list[bool] = []
    response = SentFile(answer, {}, lambda: ended.append(True))

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            assert message["more_body"], "the end of the file is never told"
            if client == "gone":
                raise ConnectionError
            await anyio.sleep_forever()

    if client == "gone":
        with pytest.raises(ConnectionError):
            run(response, {}, None, send)
    else:
        run(response, {}, None, send)
    assert ended == [True]
