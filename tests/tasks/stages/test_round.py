"""Rounds 0 and 1 of a tiny recipe with the real stages: tables, keys, manifests, repeatability, crashes and shards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from selfexplore_tasks.recipe_files import load_recipe, recipe_hash
from selfexplore_tasks.stages.names import SHARDED_STAGES, stages_of
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest, read_manifests
from selfexplore_tasks.store.schemas import SCHEMA_VERSION, TABLES

EXPERIMENT = "mini"
KEYS = {
    "problems": "problem_id",
    "rationales": "rationale_id",
    "rollouts": "rollout_id",
    "first_pits": "rationale_id",
    "pairs": "pair_id",
    "evaluations": "model_id || split || problem_id",
    "scores": "model_id || benchmark || split",
    "comparisons": "model_id || baseline_id || benchmark || split",
    "rounds": "round",
}
# Each query returns rows whose key leads nowhere.
DANGLING = {
    "evaluation -> problem": "select * from evaluations anti join problems using (experiment, problem_id)",
    "rationale -> problem": "select * from rationales anti join problems using (experiment, problem_id)",
    "rft example -> rationale": (
        "select * from rft_examples anti join rationales using (experiment, round, rationale_id) "
        "where origin = 'sampled'"
    ),
    "rollout -> rationale": "select * from rollouts anti join rationales using (experiment, round, rationale_id)",
    "first pit -> rationale": "select * from first_pits anti join rationales using (experiment, round, rationale_id)",
    "pair -> problem": "select * from pairs anti join problems using (experiment, problem_id)",
    "pair -> wrong rationale": (
        "select * from pairs anti join rationales on pairs.experiment = rationales.experiment "
        "and pairs.rejected_rationale_id = rationales.rationale_id and rationales.verdict = 'wrong' "
        "where pairs.is_kept"
    ),
    "pair -> chosen rollout": (
        "select * from pairs anti join rollouts on pairs.experiment = rollouts.experiment "
        "and pairs.chosen_rollout_id = rollouts.rollout_id where pairs.chosen_rollout_id is not null"
    ),
    "kept pair -> chosen": (
        "select * from pairs where is_kept and (chosen_rollout_id is null) = (chosen_rationale_id is null)"
    ),
    "comparison -> score": (
        "select * from comparisons anti join scores on comparisons.experiment = scores.experiment "
        "and comparisons.round = scores.round and comparisons.model_id = scores.model_id "
        "and comparisons.split = scores.split"
    ),
    "comparison -> baseline": (
        "select * from comparisons anti join scores on comparisons.experiment = scores.experiment "
        "and comparisons.baseline_id = scores.model_id"
    ),
    "score -> evaluation": "select * from scores anti join evaluations using (experiment, round, model_id, split)",
    "promoted score -> champion": (
        "select * from scores anti join rounds on scores.experiment = rounds.experiment "
        "and scores.round = rounds.round and scores.model_id = rounds.champion where scores.promoted"
    ),
}
RowsOf = Callable[[Store, str], list[dict[str, Any]]]


def table_rows(store: Store, table: str, rows_of: RowsOf) -> list[dict[str, Any]]:
    """Every row in stored order; of `rounds` without the values of ``seconds``, which no two runs share."""
    rows = rows_of(store, f"select * from {table}")
    for row in rows:
        if table == "rounds":
            row["seconds"] = [stage for stage, _ in row["seconds"]]
    return rows


@pytest.mark.parametrize("table", TABLES)
def test_no_table_is_empty(table: str, finished_store: Store, rows_of: RowsOf) -> None:
    assert rows_of(finished_store, f"select count(*) as n from {table}")[0]["n"] > 0


def test_the_round_holds_what_the_method_is_about(finished_store: Store, rows_of: RowsOf) -> None:
    counts = {row["name"]: row["count"] for row in rows_of(finished_store, "select * from int_round_counts")}
    assert counts["train_problems"] == 280
    assert counts["rationales"] == 2 * 100 * 4
    for name in ("rationales_correct", "rationales_wrong", "rft_sampled_kept", "outcome_pairs_kept", "pits_found"):
        assert counts[name] > 0, name
    assert counts["granular_pairs_kept"] > 0


@pytest.mark.parametrize("table", KEYS)
def test_keys_are_unique(table: str, finished_store: Store, rows_of: RowsOf) -> None:
    doubles = rows_of(
        finished_store, f"select {KEYS[table]} as key, round from {table} group by all having count(*) > 1"
    )
    assert doubles == []


@pytest.mark.parametrize("join", DANGLING)
def test_keys_join_all_the_way(join: str, finished_store: Store, rows_of: RowsOf) -> None:
    assert rows_of(finished_store, DANGLING[join]) == []


def test_only_training_problems_give_training_data(finished_store: Store, rows_of: RowsOf) -> None:
    for table in ("rationales", "rft_examples", "pairs"):
        splits = rows_of(finished_store, f"select distinct split from {table} join problems using (problem_id)")
        assert splits == [{"split": "train"}], table


def test_unusable_rows_are_listed(finished_store: Store, rows_of: RowsOf) -> None:
    rows = rows_of(finished_store, "select row_number, reason from rejected_rows order by row_number")
    assert rows == [
        {"row_number": 341, "reason": "duplicate"},
        {"row_number": 342, "reason": "empty_question"},
        {"row_number": 343, "reason": "no_answer"},
    ]


def test_rationales_of_answers_only_problems_are_kept_from_the_model(finished_store: Store, rows_of: RowsOf) -> None:
    gold = rows_of(finished_store, "select count(*) as n from rft_examples where origin = 'gold'")
    sampled = rows_of(
        finished_store, "select 1 from rationales join problems using (problem_id) where gold_rationale is not null"
    )
    assert (gold[0]["n"], sampled) == (180, [])


def test_manifests_say_what_made_the_rows(finished_store: Store, round_recipe: Path, rows_of: RowsOf) -> None:
    wanted = recipe_hash(load_recipe(str(round_recipe)))
    for round_number in (0, 1):
        for stage in stages_of(round_number):
            manifest = read_manifest(finished_store, EXPERIMENT, round_number, stage)
            assert manifest is not None, stage
            assert (manifest.recipe_hash, manifest.seed, manifest.schema_version) == (wanted, 1, SCHEMA_VERSION)
            assert {"torch", "transformers", "trl", "duckdb", "pyarrow"} <= manifest.versions.keys()
            assert manifest.seconds > 0
            assert manifest.started_at < manifest.finished_at
            for table, names in manifest.parts.items():
                folder = finished_store.table_dir(table, EXPERIMENT, round_number)
                files = ", ".join(f"'{folder / name}'" for name in names)
                stored = rows_of(finished_store, f"select count(*) as n from read_parquet([{files}])")[0]["n"]
                assert manifest.row_counts[table] == stored, (stage, table)


def test_no_file_is_left_that_no_manifest_names(finished_store: Store) -> None:
    named = {
        finished_store.table_dir(table, EXPERIMENT, manifest.round) / name
        for manifest in read_manifests(finished_store, EXPERIMENT)
        for table, names in manifest.parts.items()
        for name in names
    }
    stored = {path for path in (finished_store.root / "tables").rglob("*") if path.is_file()}
    assert stored == named
    assert list((finished_store.root / "locks").rglob("*.claim")) == []


def test_tokens_and_seconds_are_reported_per_stage(finished_store: Store, rows_of: RowsOf) -> None:
    for row in rows_of(finished_store, "select * from rounds order by round"):
        expected = {stage for stage in stages_of(row["round"]) if stage != "summarize"}
        tokens, seconds = dict(row["tokens"]), dict(row["seconds"])
        assert tokens.keys() == seconds.keys() == expected
        busy = expected & {"sft", "rft", "dpo", "evaluate", *SHARDED_STAGES}
        assert all(tokens[stage] > 0 and seconds[stage] > 0 for stage in busy)


def test_a_finished_stage_returns_at_once(
    finished_store: Store, capsys: pytest.CaptureFixture[str], rows_of: RowsOf
) -> None:
    before = read_manifest(finished_store, EXPERIMENT, 1, "dpo")
    assert run_stage(finished_store, EXPERIMENT, "dpo", round_number=1) == before
    assert "done already" in capsys.readouterr().out


def test_same_recipe_and_seed_give_the_same_tables(
    finished_store: Store, tmp_path: Path, rounds_runner: Callable[[Store, range], None], rows_of: RowsOf
) -> None:
    again = Store(tmp_path / "again")
    rounds_runner(again, range(2))
    for table in TABLES:
        assert table_rows(again, table, rows_of) == table_rows(finished_store, table, rows_of), table


@contextmanager
def stage_process(store: Store, stage: str, shard: str = "1/1") -> Iterator[subprocess.Popen[str]]:
    """`selfexplore stage` in its own process group; nothing of it is left afterwards."""
    command = [sys.executable, "-m", "selfexplore_tasks", "stage", stage, "--experiment", EXPERIMENT]
    process = subprocess.Popen(
        [*command, "--round", "1", "--shard", shard],
        env={**os.environ, "SELFEXPLORE_HOME": str(store.root), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def parts_of(store: Store, table: str, stage: str) -> list[Path]:
    return sorted(store.table_dir(table, EXPERIMENT, 1).glob(f"part-{stage}-*.parquet"))


@pytest.mark.parametrize(("stage", "table"), [("sample", "rationales"), ("explore", "rollouts")])
def test_a_killed_stage_goes_on_where_it_was(
    stage: str,
    table: str,
    finished_store: Store,
    store_before: Callable[[str], Store],
    rows_of: RowsOf,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = store_before(stage)
    with stage_process(store, stage) as process:
        while not (done := parts_of(store, table, stage)) and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        assert process.wait() == -signal.SIGKILL, process.communicate()[0]
    assert read_manifest(store, EXPERIMENT, 1, stage) is None
    assert len(parts_of(store, table, stage)) < len(parts_of(finished_store, table, stage))
    stamps = {path: path.stat().st_mtime_ns for path in done}

    manifest = run_stage(store, EXPERIMENT, stage, round_number=1)

    assert manifest is not None
    assert {path: path.stat().st_mtime_ns for path in done} == stamps, "a chunk that was done was made again"
    where = f"where round = 1 and model_id = '{manifest.notes['model_id']}'"
    assert rows_of(store, f"select * from {table} {where}") == rows_of(finished_store, f"select * from {table} {where}")


@pytest.mark.parametrize(("stage", "table"), [("sample", "rationales")])
def test_two_shards_give_the_rows_of_one(
    stage: str, table: str, finished_store: Store, store_before: Callable[[str], Store], rows_of: RowsOf
) -> None:
    store = store_before(stage)
    with stage_process(store, stage, "1/2") as first, stage_process(store, stage, "2/2") as second:
        outputs = [process.communicate(timeout=300)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    manifest = read_manifest(store, EXPERIMENT, 1, stage)
    assert manifest is not None
    where = "where round = 1 and model_id = '0/sft'"
    assert rows_of(store, f"select * from {table} {where}") == rows_of(finished_store, f"select * from {table} {where}")


def test_stages_refuse_to_run_out_of_order(store_before: Callable[[str], Store]) -> None:
    from selfexplore_tasks.errors import UserError

    store = store_before("explore")
    with pytest.raises(UserError, match="granular_pairs of round 1 needs explore of round 1: run that first"):
        run_stage(store, EXPERIMENT, "granular_pairs", round_number=1)
    with pytest.raises(UserError, match="sample of round 2 needs summarize of round 1"):
        run_stage(store, EXPERIMENT, "sample", round_number=2)
    with pytest.raises(UserError, match="no stage 'sft'"):
        run_stage(store, EXPERIMENT, "sft", round_number=1)
    with pytest.raises(UserError, match="dpo is not sharded"):
        run_stage(store, EXPERIMENT, "dpo", round_number=1, shard_count=2)
