"""One real Airflow for all tests of the page, over a copy of the finished store with hostile texts in it."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser

from chromium import chromium
from dev_server import USERS, airflow_with_users
from hand_rounds import DEV, HandRounds
from selfexplore_tasks.local_airflow import LocalAirflow, free_port
from selfexplore_tasks.store.home import Store
from visits import SHOTS, Visit, bring_hostile_experiment, log_in

HOSTILE = "</script><script>alert('x')</script><img src=x onerror=alert(1)>\r\nSet-Cookie: a=b\u2028\x00"
TIMEOUT_S = 120


@dataclass(frozen=True)
class Reply:
    """What came back; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Site:
    """A running Airflow with a user of each role, and the store it shows."""

    airflow: LocalAirflow
    store: Store
    hand: HandRounds
    tokens: dict[str, str] = field(default_factory=dict)

    def token(self, user: str) -> str:
        if user not in self.tokens:
            reply = self.send("POST", "/auth/token", json.dumps({"username": user, "password": user}))
            self.tokens[user] = reply.json["access_token"]
        return self.tokens[user]

    def get(self, path: str, user: str = "viewer") -> Reply:
        return self.send("GET", f"/selfexplore{path}", headers={"Cookie": f"_token={self.token(user)}"})

    def post(self, path: str, content: object, user: str = "user") -> Reply:
        """As a browser sends it from the page."""
        headers = {"Cookie": f"_token={self.token(user)}", "Origin": self.airflow.address}
        return self.send("POST", f"/selfexplore{path}", json.dumps(content), headers)

    def send(
        self, method: str, path: str, body: str | bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.airflow.port, timeout=TIMEOUT_S)
        # What an attacker's client sends is not tidied up.
        connection._validate_path = lambda url: None  # type: ignore[attr-defined]
        try:
            connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; skips where it is missing."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, finished_store: Store, tiny_model_dir: Path) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    store = Store(folder / "store")
    shutil.copytree(finished_store.root, store.root, symlinks=True)
    hand = HandRounds.begin(store)
    shutil.copytree(tiny_model_dir, store.model_dir("hand", "1/policy"))
    hand.round(1, {DEV: 30})
    _make_hostile(store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFEXPLORE_HOME", str(store.root))
        airflow = airflow_with_users(folder / "airflow", free_port())
        airflow.start(("api-server", "scheduler", "dag-processor"))
        try:
            yield Site(airflow, store, hand)
        finally:
            airflow.stop()
    assert set(USERS) == {"admin", "user", "viewer"}


@pytest.fixture(scope="session")
def visit(
    browser: Browser, site: Site, round_recipe: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Visit]:
    """The Airflow of this folder's tests, with one more experiment; logged in through Airflow's own form."""
    bring_hostile_experiment(tmp_path_factory.mktemp("hostile"), round_recipe)
    context = browser.new_context(accept_downloads=True)
    log_in(context, site.airflow)
    yield Visit(site.airflow, site.store, context)
    context.close()
    print(f"screenshots: {SHOTS}")


def _make_hostile(store: Store) -> None:
    """Put markup into a question and a rationale, as data or a model might."""
    question = store.table_dir("problems", "hand", 0) / "part-prepare-00000.parquet"
    rationale = store.table_dir("rationales", "mini", 1) / "part-sample-00000.parquet"
    for path, column in ((question, "question"), (rationale, "text")):
        with pq.ParquetFile(path) as part:
            rows = part.read()
        texts = [HOSTILE, *rows[column].to_pylist()[1:]]
        place = rows.schema.get_field_index(column)
        pq.write_table(rows.set_column(place, rows.schema.field(column), pa.array(texts)), path, compression="zstd")
