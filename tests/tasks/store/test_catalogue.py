"""The views over the parts: all columns of today, whichever version of the program made a part."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hand_rounds import SLUG, HandRounds
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.store.catalogue import connect
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest
from selfexplore_tasks.store.parts import PREFIX
from selfexplore_tasks.store.schemas import SCHEMA_VERSION


@pytest.mark.parametrize("old", [(0,), (1,), (0, 1), (0, 1, 2), ()], ids=str)
def test_columns_that_older_parts_lack_are_null(tmp_path: Path, old: tuple[int, ...]) -> None:
    """Also where a stage began before an upgrade and ended after it."""
    hand = HandRounds.begin(Store(tmp_path / "store"))
    manifest = read_manifest(hand.store, SLUG, 0, "evaluate")
    assert manifest is not None
    folder = hand.store.table_dir("evaluations", SLUG, 0)
    with pq.ParquetFile(folder / manifest.parts["evaluations"][0]) as part:
        rows = part.read()
    third = len(rows) // 3
    names = [f"part-evaluate-{chunk:05d}.parquet" for chunk in range(3)]
    for chunk, name in enumerate(names):
        content = rows.slice(chunk * third, third)
        pq.write_table(content.drop_columns(["grade_reason"]) if chunk in old else content, folder / name)
    hand.stage(0, "evaluate", notes=manifest.notes)
    path = hand.store.manifest_file(SLUG, 0, "evaluate")
    content = json.loads(path.read_text(encoding="utf-8"))
    version = SCHEMA_VERSION - bool(old)
    path.write_text(json.dumps({**content, "parts": {"evaluations": names}, "schema_version": version}))
    connection = connect(hand.store, [SLUG])
    counted = connection.sql("select count(*), count(grade_reason), any_value(round) from evaluations").fetchall()
    connection.close()
    assert counted == [(3 * third, (3 - len(old)) * third, 0)]


def test_a_manifest_has_the_version_of_its_oldest_part(tmp_path: Path) -> None:
    hand = HandRounds.begin(Store(tmp_path / "store"))
    context = StageContext(hand.store, load_experiment(hand.store, SLUG), 1, "sample")
    old, new = (context.write_rows("rationales", [], chunk) for chunk in range(2))
    with pq.ParquetFile(old) as part:
        stamped = part.read().replace_schema_metadata({f"{PREFIX}schema_version": "2", f"{PREFIX}seconds": "0"})
    pq.write_table(stamped, old)
    assert context.commit({"rationales": [new]}, row_counts={}).schema_version == SCHEMA_VERSION
    assert context.commit({"rationales": [old, new]}, row_counts={}).schema_version == 2
