"""How fast is the page over a large store, and what does it cost the api-server? Not a test: run it by hand.

    python tests/benchmarks/bench_pages.py --folder /tmp/bench-pages            # 1 M rationales, 5 M rollouts, 1 GB
    python tests/benchmarks/bench_pages.py --folder /tmp/bench-pages --small    # a hundredth of it

makes the store once (minutes; a second call takes what is there), starts a real Airflow without our plugin and one
with it, and measures: seconds of every page (the first request to a fresh process, then percentiles 50 and 95), memory
of the api-server with everything below it, and Airflow's own API while 20 people query the console at once.
``--compacted`` measures the store as housekeeping leaves it. Delete the folder afterwards.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
from tabulate import tabulate

from pages_store import SLUG, LargeStore, Size
from selfexplore_tasks.housekeeping.parts import GRACE_S, compact_parts
from selfexplore_tasks.local_airflow import LocalAirflow, free_port
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifests

SMALL = Size(rounds=2, problems=400, dev=100, test=200, samples=13)
PEOPLE = 20
COMPONENTS = ("api-server", "dag-processor")
QUERIES = (
    "select round, verdict, count(*) as n, avg(token_count) as tokens from rationales group by all order by all",
    "select round, step_index, avg(is_correct::integer) as pass_rate from rollouts group by all order by all",
    "select problem_id, count(*) as n from rationales where not is_correct_strict group by all order by 2 desc limit 9",
)


class Server:
    """One Airflow, as a logged-in user sees it."""

    def __init__(self, airflow: LocalAirflow) -> None:
        self.airflow = airflow
        self._token = self._send("POST", "/auth/token", {"username": "admin", "password": airflow.password})[
            "access_token"
        ]

    def seconds(self, path: str, body: object = None) -> float:
        """Wall seconds of one request; raises ValueError unless it succeeds."""
        begun = time.perf_counter()
        self._send("POST" if body else "GET", path, body)
        return time.perf_counter() - begun

    def get(self, path: str) -> dict[str, object]:
        return self._send("GET", path)

    def memory(self) -> float:
        """MiB of the api-server and all processes below it; shared pages count once."""
        found = self.airflow.components()["api-server"].find()
        if found is None:
            raise ValueError("the api-server ended")
        family = [found, *found.children(recursive=True)]
        return sum(process.memory_full_info().pss for process in family) / 2**20

    def _send(self, method: str, path: str, body: object = None) -> dict[str, object]:
        connection = http.client.HTTPConnection("127.0.0.1", self.airflow.port, timeout=300)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {getattr(self, '_token', '')}"}
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise ValueError(f"{method} {path}: {answer.status} {content[:300]!r}")
        read = json.loads(content)
        return read if isinstance(read, dict) else {"list": read}


@contextmanager
def serving(folder: Path, settings: dict[str, dict[str, str]] | None = None) -> Iterator[Server]:
    """An Airflow over the store of this folder."""
    airflow = LocalAirflow(folder / ("airflow" if settings is None else "airflow-bare"), free_port(), settings or {})
    airflow.start(COMPONENTS)
    try:
        yield Server(airflow)
    finally:
        airflow.stop()


def pages(store: Store, rounds: int) -> dict[str, Callable[[], tuple[str, object]]]:
    """What is asked for, by the name of the page: makes a path and, for SQL, a body."""
    ids = sorted(set(pq.read_table(store.table_dir("first_pits", SLUG, 1))["problem_id"].to_pylist()))
    tests = sorted(set(pq.read_table(store.table_dir("evaluations", SLUG, 1))["problem_id"].to_pylist()))
    pick = random.Random(0)
    api, listed = "/selfexplore/api", f"/selfexplore/api/experiments/{SLUG}/problems"
    text = ("shells", "749", "eva adds", "zoe", "nothing like it")

    def some_round() -> int:
        return pick.randint(1, rounds)

    return {
        "experiments": lambda: (f"{api}/experiments", None),
        "experiment": lambda: (f"{api}/experiments/{SLUG}", None),
        "problems": lambda: (f"{listed}?round={some_round()}", None),
        "problems, last page": lambda: (f"{listed}?round={some_round()}&offset=9000&limit=200", None),
        "problems, split": lambda: (f"{listed}?split={pick.choice(('train', 'dev', 'test'))}", None),
        "problems, newly solved": lambda: (f"{listed}?round={some_round()}&status=newly_solved", None),
        "problems, newly lost": lambda: (f"{listed}?round={some_round()}&status=newly_lost", None),
        "problems, pit step": lambda: (f"{listed}?round={some_round()}&pit_step={pick.randint(1, 6)}", None),
        "problems, text": lambda: (f"{listed}?text={quote(pick.choice(text))}", None),
        "problem, training": lambda: (f"{listed}/{pick.choice(ids)}", None),
        "problem, test": lambda: (f"{listed}/{pick.choice(tests)}", None),
        "compare": lambda: (f"{api}/compare?left={SLUG}:{some_round()}&right={SLUG}:{rounds}", None),
        "console": lambda: (f"{api}/sql", {"query": pick.choice(QUERIES)}),
    }


def measure(server: Server, asked: dict[str, Callable[[], tuple[str, object]]], count: int) -> list[dict[str, object]]:
    """Seconds by page: the first request, and percentiles of the next ``count``."""
    rows = []
    for name, make in asked.items():
        first = server.seconds(*make())
        seconds = sorted(server.seconds(*make()) for _ in range(count))
        rows.append({"page": name, "first": first, "p50": percentile(seconds, 50), "p95": percentile(seconds, 95)})
    return rows


def percentile(seconds: list[float], share: int) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[share - 1]


def polled(server: Server, until: Callable[[], bool]) -> list[float]:
    """Seconds of requests to Airflow's own API, one after the other, until something is so."""
    seconds = []
    while not until():
        seconds.append(server.seconds("/api/v2/dags"))
    return sorted(seconds)


def crowd(server: Server) -> list[dict[str, object]]:
    """Airflow's own API before and while 20 people query the console."""
    count = iter(range(50))
    before = polled(server, lambda: next(count, None) is None)
    with ThreadPoolExecutor(PEOPLE) as people:
        begun = time.perf_counter()
        asked = [
            people.submit(server.seconds, "/selfexplore/api/sql", {"query": QUERIES[number % len(QUERIES)]})
            for number in range(PEOPLE)
        ]
        during = polled(server, lambda: all(one.done() for one in asked))
        answers = sorted(one.result() for one in asked)
    print(f"{PEOPLE} queries at once: all answered within {time.perf_counter() - begun:.1f} s")
    named = (("Airflow's API before", before), ("Airflow's API meanwhile", during), ("the queries", answers))
    return [
        {
            "requests": name,
            "count": len(all_),
            "p50": percentile(all_, 50),
            "p95": percentile(all_, 95),
            "most": all_[-1],
        }
        for name, all_ in named
    ]


def prepare(folder: Path, size: Size, *, is_compacted: bool) -> Store:
    """The store of this folder, made if it is not there."""
    store = Store(folder / "store")
    if not (store.root / "complete").exists():
        begun = time.monotonic()
        rows = LargeStore(store, size).write()
        (store.root / "complete").touch()
        print(f"made {rows} in {time.monotonic() - begun:.0f} s")
    if is_compacted:
        print(compact_parts(store, SLUG, dry_run=False), f"(old parts stay for {GRACE_S:.0f} s)")
    return store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="takes 1 GB; not deleted")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--compacted", action="store_true")
    parser.add_argument("--count", type=int, default=40, help="requests of each page")
    options = parser.parse_args()
    size = SMALL if options.small else Size()
    store = prepare(options.folder, size, is_compacted=options.compacted)
    os.environ["SELFEXPLORE_HOME"] = str(store.root)
    parts = sum(len(names) for manifest in read_manifests(store, SLUG) for names in manifest.parts.values())
    print(f"{parts} parts; load of this machine before: {os.getloadavg()[0]:.1f}")
    empty = options.folder / "no-plugins"
    empty.mkdir(exist_ok=True)
    with serving(options.folder, {"core": {"plugins_folder": str(empty)}}) as bare:
        for _ in range(50):
            bare.seconds("/api/v2/dags")
        without = bare.memory()
    with serving(options.folder) as server:
        rows = measure(server, pages(store, size.rounds), options.count)
        with_pages = server.memory()
        crowded = crowd(server)
        memory = {"without our plugin": without, "after the pages": with_pages, "after the crowd": server.memory()}
    print(tabulate(rows, headers="keys", floatfmt=".3f"), end="\n\n")
    print(tabulate(crowded, headers="keys", floatfmt=".3f"), end="\n\n")
    print(tabulate(memory.items(), headers=["api-server", "MiB"], floatfmt=".0f"))


if __name__ == "__main__":
    main()
