"""The console among several users: turns, downloads that are not read, cut files, and errors kept in the history."""

from __future__ import annotations

import json
import socket
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SECONDS_EACH = {"query": "select count(*) from range(300000000) a where a.range % 7 = 3"}
LARGE = {"query": "select repeat('x', 1000) as text from range(100000)", "format": "csv"}


def answers_kept() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("selfexplore-*"))


def unread(site: Any, user: str) -> socket.socket:
    """A client that asked for a large file and reads no more than where its content begins."""
    body = json.dumps(LARGE).encode()
    head = (
        f"POST /selfexplore/api/sql/download HTTP/1.1\r\nHost: x\r\nCookie: _token={site.token(user)}\r\n"
        f"Origin: {site.airflow.address}\r\nContent-Type: application/json\r\nAccept-Encoding: identity\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    client = socket.create_connection(("127.0.0.1", site.airflow.port), timeout=120)
    client.sendall(head.encode() + body)
    assert client.recv(1024).startswith(b"HTTP/1.1 200")
    return client


def test_a_file_that_is_not_read_has_no_name_and_blocks_its_user_only(site: Any) -> None:
    before = answers_kept()
    small = {"query": "select 1 as n", "format": "csv"}
    with unread(site, "viewer"):
        assert answers_kept() <= before
        again = site.post("/api/sql/download", small, "viewer")
        assert (again.status, again.json["message"]) == (
            503,
            "Another download of yours is still being sent: wait until it has ended.",
        )
        assert site.post("/api/sql", {"query": "select 1"}, "viewer").status == 200
        other = site.post("/api/sql/download", small, "user")
        assert (other.status, other.body.split()) == (200, [b"n", b"1"])
    deadline = time.monotonic() + 60
    while (freed := site.post("/api/sql/download", small, "viewer")).status == 503 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert freed.status == 200, "who leaves gives the place back"


def test_a_cut_file_says_so(site: Any) -> None:
    cut = site.post("/api/sql/download", {"query": "from range(1000001)", "format": "parquet"})
    assert (cut.status, cut.headers["x-selfexplore-cut"]) == (200, "1000000")
    whole = site.post("/api/sql/download", {"query": "from range(10)", "format": "parquet"})
    assert (whole.status, "x-selfexplore-cut" in whole.headers) == (200, False)


def test_a_user_with_many_queries_does_not_keep_others_waiting(site: Any) -> None:
    with ThreadPoolExecutor(6) as threads:
        asked = [threads.submit(site.post, "/api/sql", SECONDS_EACH, "viewer") for _ in range(6)]
        other = site.post("/api/sql", {"query": "select 1"}, "admin")
        assert not all(one.done() for one in asked)
        assert (other.status, other.json["rows"]) == (200, [[1]])
        assert [one.result().status for one in asked] == [200] * 6


def test_every_failure_is_kept_with_its_reason(site: Any) -> None:
    reply = site.post("/api/sql", {"query": "select 1", "experiments": ["gone"]}, "viewer")
    assert (reply.status, str(site.store.root) in reply.json["message"]) == (400, False)
    assert reply.json["message"].startswith("Experiment 'gone' does not exist")
    newest = site.get("/api/sql/history").json[0]
    assert (newest["sql"], newest["rows"], newest["error"]) == ("select 1", None, reply.json["message"])
