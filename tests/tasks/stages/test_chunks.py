"""Chunks: fixed groups of items, taken by whichever shard is free, committed one by one."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from scripted_engine import ScriptedEngine
from selfexplore_tasks.drawing import Ask, Job
from selfexplore_tasks.engines.protocol import Engine, GenerationRequest
from selfexplore_tasks.engines.select import LazyEngine
from selfexplore_tasks.stages import chunks, explore
from selfexplore_tasks.stages.chunks import Rows, draw_chunks, finish_chunks, shard_label, tokens_drawn
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.generation import open_grader
from selfexplore_tasks.store.experiments import Experiment, load_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.locks import chunk_claim
from selfexplore_tasks.store.manifests import read_manifest
from selfexplore_tasks.store.parts import to_table, write_part

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
    def work(name: str) -> Job[Rows]:
        if name == fail_at:
            raise RuntimeError("killed")
        worked.append(name)
        return [rollout(name)]
        yield

    return draw(context, names, work, LazyEngine("transformers", lambda: pytest.fail("nothing is drawn")))


def draw(context: StageContext, names: str, work: Callable[[str], Job[Rows]], engine: Engine) -> list[Path]:
    with open_grader(context) as grader:
        return draw_chunks(
            context,
            "rollouts",
            names,
            work,
            engine=engine,
            grader=grader,
            chunk_size=2,
            unit="letters",
            label=shard_label(context),
        )


def test_a_crash_costs_one_chunk(context: StageContext) -> None:
    worked: list[str] = []
    with pytest.raises(RuntimeError, match="killed"):
        work_through(context, "abcdefg", worked, fail_at="e")
    assert worked == [*"abcd"]
    paths = work_through(context, "abcdefg", worked)
    assert worked == [*"abcdefg"]
    assert [name for path in paths for name in pq.read_table(path)["rollout_id"].to_pylist()] == list("abcdefg")


def test_a_chunk_that_another_shard_works_on_is_left_to_it(context: StageContext) -> None:
    claims = context.store.lock_dir(EXPERIMENT) / "claims"
    worked: list[str] = []
    with chunk_claim(claims, "1-part-explore-00001") as claimed:
        assert claimed
        paths = work_through(context, "abcdef", worked)
        assert worked == [*"abef"]
        assert finish_chunks(context, "rollouts", paths, {}) is None
    assert read_manifest(context.store, EXPERIMENT, 1, "explore") is None
    assert work_through(context, "abcdef", worked) == paths
    assert worked == [*"abefcd"]


def test_no_items_give_no_part(context: StageContext) -> None:
    assert work_through(context, "", []) == []


def test_progress_begins_where_the_work_goes_on(context: StageContext, capsys: pytest.CaptureFixture[str]) -> None:
    work_through(context, "abcd", [])
    capsys.readouterr()
    work_through(context, "abcd", [])
    assert capsys.readouterr().out.startswith("explore 1/2: 4/4 letters (100%)")


class Kept(list[dict[str, object]]):
    """Rows whose end can be seen."""


def test_rows_are_freed_when_their_chunk_is_written(context: StageContext) -> None:
    names = "abcdefghijklmnopqrstuvwx"
    kept: list[weakref.ref[Kept]] = []
    alive: list[int] = []

    def work(name: str) -> Job[Rows]:
        chunk = names.index(name) // 2
        deadline = time.monotonic() + 60
        while chunk >= 3 and not context.part_path("rollouts", chunk - 3).exists():
            assert time.monotonic() < deadline, "the writer is stuck"
            time.sleep(0.01)
        alive.append(sum(one() is not None for one in kept))
        rows = Kept([rollout(name)])
        kept.append(weakref.ref(rows))
        return rows
        yield

    draw(context, names, work, LazyEngine("transformers", lambda: pytest.fail("nothing is drawn")))
    assert len(kept) == len(names)
    assert max(alive) <= 12, "the rows of the last five chunks, and of the one that is made"


def ask_twice(name: str) -> Job[Rows]:
    for seed in (1, 2):
        yield Ask(GenerationRequest((5, 6), 1, 1.0, 1.0, 8, (), seed + 10 * ord(name)), "23")
    return [rollout(name)]


def names_of(engine: ScriptedEngine) -> list[str]:
    """The letters of every group of requests that the engine was given."""
    return ["".join(chr(request.seed // 10) for request in requests) for requests in engine.requests]


def test_the_next_chunk_begins_while_the_last_one_is_not_finished(context: StageContext) -> None:
    alone = replace(context, shard_count=1)
    engine = ScriptedEngine([["The answer is 23"]] * 14, is_continuous=True, width=4)
    paths = draw(alone, "abcdefg", ask_twice, engine)
    first, second = (next(i for i, some in enumerate(names_of(engine)) if name in some) for name in "ac")
    last_of_the_first_chunk = max(i for i, some in enumerate(names_of(engine)) if "b" in some)
    assert first == 0
    assert second < last_of_the_first_chunk
    assert [name for path in paths for name in pq.read_table(path)["rollout_id"].to_pylist()] == list("abcdefg")


def test_a_shard_begins_no_chunks_that_others_could_do(context: StageContext) -> None:
    """Of four chunks one of two shards begins two at once, however many its engine could take."""
    claims = context.store.lock_dir(EXPERIMENT) / "claims"
    claimed: list[int] = []

    def work(name: str) -> Job[Rows]:
        claimed.append(len(list(claims.glob("*.claim"))))
        return (yield from ask_twice(name))

    engine = ScriptedEngine([["The answer is 23"]] * 16, is_continuous=True, width=100)
    draw(context, "abcdefgh", work, engine)
    assert max(claimed[:4]) == 2
    assert list(claims.glob("*.claim")) == []


def test_drawing_waits_for_writing(context: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = context.store.lock_dir(EXPERIMENT) / "claims"
    held: list[int] = []

    def write_slowly(*arguments: Any, **settings: Any) -> None:
        time.sleep(0.02)
        held.append(len(list(claims.glob("*.claim"))))
        write_part(*arguments, **settings)

    monkeypatch.setattr(chunks, "MOST_OPEN", 2)
    monkeypatch.setattr(chunks, "write_part", write_slowly)
    names = "abcdefghijklmnopqrst"
    paths = work_through(replace(context, shard_count=1), names, [])
    assert [name for path in paths for name in pq.read_table(path)["rollout_id"].to_pylist()] == list(names)
    assert len(held) == 10
    assert max(held) <= 4, "two that are begun and two that wait"


def test_a_part_that_cannot_be_written_ends_the_stage_and_frees_the_claims(
    context: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    claims = context.store.lock_dir(EXPERIMENT) / "claims"
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr("selfexplore_tasks.stages.chunks.write_part", full)
        work_through(context, "abcdefg", [])
    with chunk_claim(claims, "1-part-explore-00000") as claimed:
        assert claimed
    paths = work_through(context, "abcdefg", [])
    assert [name for path in paths for name in pq.read_table(path)["rollout_id"].to_pylist()] == list("abcdefg")


def test_shared_draws_are_paid_once(context: StageContext, tmp_path: Path) -> None:
    same = {"problem_id": "p", "prefix": "18 + 8 = 26", "rollout_index": 0, "token_count": 7}
    rows = [rollout("a") | same, rollout("b") | same, rollout("c") | same | {"prefix": "18 + 8 = 27"}]
    path = tmp_path / "part.parquet"
    write_part(path, to_table("rollouts", rows), recipe_hash="x", seconds=0.0)
    assert (tokens_drawn(path), tokens_drawn(path, explore.DRAW_KEY)) == (21, 14)
