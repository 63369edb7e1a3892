"""Readers over the finished store and over rounds made by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hand_rounds import HandRounds
from selfexplore_tasks.pages.reader import Reader
from selfexplore_tasks.store.home import Store


@pytest.fixture(scope="session")
def reader(finished_store: Store) -> Reader:
    """Over experiment ``mini`` with rounds 0 and 1."""
    return Reader(finished_store)


@pytest.fixture(scope="session")
def stored(finished_store: Store) -> Callable[..., list[dict[str, Any]]]:
    """``stored(table, round=1)``: rows of ``mini`` as the parts hold them, read without any SQL."""

    def rows(table: str, round_number: int = 1) -> list[dict[str, Any]]:
        folder = finished_store.table_dir(table, "mini", round_number)
        found: list[dict[str, Any]] = []
        for path in sorted(folder.glob("*.parquet")):
            with pq.ParquetFile(path) as part:
                found += part.read().to_pylist()
        return found

    return rows


@pytest.fixture
def hand(tmp_path: Path) -> Iterator[HandRounds]:
    """Experiment ``hand``, round 0 finished: half of the problems are solved."""
    yield HandRounds.begin(Store(tmp_path / "store"))
