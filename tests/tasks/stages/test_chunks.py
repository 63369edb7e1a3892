"""Chunks: fixed groups of items, taken by whichever shard is free, committed one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from selfexplore_tasks.progress import Progress
from selfexplore_tasks.stages.chunks import Rows, finish_chunks, shard_label, work_chunks
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.store.experiments import Experiment, load_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.locks import chunk_claim
from selfexplore_tasks.store.manifests import read_manifest

EXPERIMENT = "mini"


@pytest.fixture
def context(store_before: Callable[[str], Store]) -> StageContext:
    """Shard 1 of 2 of `explore` in a store that is ready for it."""
    store = store_before("explore")
    experiment: Experiment = load_experiment(store, EXPERIMENT)
    return StageContext(store, experiment, 1, "explore", shard_index=0, shard_count=2)


def rollout(name: str) -> dict[str, object]:
    texts = {"rationale_id": name, "problem_id": "p", "model_id": "1/rft", "prefix": "", "text": "", "answer": None}
    numbers = {"step_index": 1, "step_count": 1, "rollout_index": 0, "token_count": 2}
    graded = {"is_correct": False, "is_correct_flexible": False, "grade_reason": "no_answer", "is_correct_second": None}
    return {"rollout_id": name, **texts, **numbers, **graded, "finish_reason": "stop"}


def work_through(context: StageContext, names: str, worked: list[str], fail_at: str = "") -> list[Path]:
    def work(chunk: Sequence[str], progress: Progress) -> Rows:
        if fail_at and fail_at in chunk:
            raise RuntimeError("killed")
        worked.append("".join(chunk))
        progress.advance(len(chunk))
        return [rollout(name) for name in chunk]

    return work_chunks(context, "rollouts", names, chunk_size=2, unit="letters", work=work, label=shard_label(context))


def test_a_crash_costs_one_chunk(context: StageContext) -> None:
    worked: list[str] = []
    with pytest.raises(RuntimeError, match="killed"):
        work_through(context, "abcdefg", worked, fail_at="e")
    assert worked == ["ab", "cd"]
    paths = work_through(context, "abcdefg", worked)
    assert worked == ["ab", "cd", "ef", "g"]
    assert [name for path in paths for name in pq.read_table(path)["rollout_id"].to_pylist()] == list("abcdefg")


def test_a_chunk_that_another_shard_works_on_is_left_to_it(context: StageContext) -> None:
    claims = context.store.lock_dir(EXPERIMENT) / "claims"
    worked: list[str] = []
    with chunk_claim(claims, "1-part-explore-00001") as claimed:
        assert claimed
        paths = work_through(context, "abcdef", worked)
        assert worked == ["ab", "ef"]
        assert finish_chunks(context, "rollouts", paths, {}) is None
    assert read_manifest(context.store, EXPERIMENT, 1, "explore") is None
    assert work_through(context, "abcdef", worked) == paths
    assert worked == ["ab", "ef", "cd"]


def test_no_items_give_no_part(context: StageContext) -> None:
    assert work_through(context, "", []) == []


def test_progress_begins_where_the_work_goes_on(context: StageContext, capsys: pytest.CaptureFixture[str]) -> None:
    work_through(context, "abcd", [])
    capsys.readouterr()
    work_through(context, "abcd", [])
    assert capsys.readouterr().out.startswith("explore 1/2: 4/4 letters (100%)")
