"""Redoing a stage forgets exactly it and what depends on it, however far a killed redo got."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selfexplore_tasks.cli import main
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.housekeeping.models import prune_models
from selfexplore_tasks.stages.names import ROUND_STAGES
from selfexplore_tasks.stages.redo import MODELS, acknowledge, finish_redo, redo_if_cleared, redo_stage
from selfexplore_tasks.store.champions import champion, set_champion
from selfexplore_tasks.store.experiments import open_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.locks import stage_lock
from selfexplore_tasks.store.manifests import read_manifest, read_manifests, write_manifest

SLUG = "mini"
TABLES = ("rationales", "pairs", "first_pits", "evaluations", "scores", "comparisons")


@pytest.fixture
def store(finished_store: Store, tmp_path: Path) -> Store:
    return Store(Path(shutil.copytree(finished_store.root, tmp_path / "store", symlinks=True)))


def snapshot(store: Store, round_number: int = 1) -> dict[str, set[str]]:
    """What the store holds of a round: manifests, parts and models."""
    folder = f"round={round_number:03d}"
    return {
        "manifests": {path.stem for path in (store.root / "manifests" / SLUG / folder).iterdir()},
        "parts": {path.name for path in store.root.glob(f"tables/*/experiment={SLUG}/{folder}/*")},
        "models": {path.name for path in (store.root / "models" / SLUG / folder).glob("*")},
    }


def without(before: dict[str, set[str]], forgotten: tuple[str, ...]) -> dict[str, set[str]]:
    trained = {name for stage in forgotten for name in MODELS.get(stage, ())}
    return {
        "manifests": before["manifests"] - set(forgotten),
        "parts": {name for name in before["parts"] if name.split("-")[1] not in forgotten},
        "models": before["models"] - trained,
    }


@pytest.mark.parametrize("stage", ROUND_STAGES)
def test_the_stage_and_all_that_follow_are_forgotten(store: Store, stage: str) -> None:
    before, first_round = snapshot(store), snapshot(store, 0)
    redo_stage(store, SLUG, 1, stage)
    forgotten = ROUND_STAGES[ROUND_STAGES.index(stage) :]
    assert snapshot(store) == without(before, forgotten) != before
    assert snapshot(store, 0) == first_round
    assert champion(store, SLUG).model_id == "0/sft"
    assert store.champion_link(SLUG).resolve().name == "sft"


def test_a_stage_whose_model_was_pruned_names_the_stage_that_trains_it(store: Store) -> None:
    open_experiment(store, SLUG, None, {"retention.keep_rounds": 0})
    assert prune_models(store, SLUG, dry_run=False).count
    before = snapshot(store)
    with pytest.raises(UserError, match=r"needs the model 1/rft, which housekeeping removed .*: redo stage rft"):
        redo_stage(store, SLUG, 1, "explore")
    assert snapshot(store) == before
    redo_stage(store, SLUG, 1, "gate")
    redo_stage(store, SLUG, 1, "rft")
    assert snapshot(store)["manifests"] == {"sample", "rft_set"}


def test_an_arm_that_was_never_trained_is_not_missed(store: Store) -> None:
    arms = read_manifest(store, SLUG, 1, "arms")
    assert arms is not None
    write_manifest(store, replace(arms, notes={**arms.notes, "models": ["1/continued_rft"]}))
    shutil.rmtree(store.model_dir(SLUG, "1/outcome_dpo"))
    redo_stage(store, SLUG, 1, "evaluate")
    assert "evaluate" not in snapshot(store)["manifests"]


def test_round_0_can_be_forgotten_with_its_base_model(store: Store) -> None:
    redo_stage(store, SLUG, 1, "sample")
    redo_stage(store, SLUG, 0, "prepare")
    assert snapshot(store, 0) == {"manifests": set(), "parts": set(), "models": set()}
    assert not store.champion_link(SLUG).is_symlink()


def test_done_again_it_makes_the_same_tables(
    store: Store, rows_of: Callable[[Store, str], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFEXPLORE_HOME", str(store.root))
    before = {table: rows_of(store, f"from {table} order by all") for table in TABLES}
    made = {manifest.stage: manifest.finished_at for manifest in read_manifests(store, SLUG) if manifest.round == 1}
    assert main(["stage", "dpo", "--experiment", SLUG, "--round", "1", "--redo"]) == 0
    for stage in ROUND_STAGES[ROUND_STAGES.index("arms") :]:
        assert main(["stage", stage, "--experiment", SLUG, "--round", "1"]) == 0
    assert {table: rows_of(store, f"from {table} order by all") for table in TABLES} == before
    again = {manifest.stage: manifest.finished_at for manifest in read_manifests(store, SLUG) if manifest.round == 1}
    redone = {stage for stage in again if again[stage] != made[stage]}
    assert redone == set(ROUND_STAGES[ROUND_STAGES.index("dpo") :])


class KilledError(Exception):
    pass


def test_a_killed_redo_leaves_a_round_under_way_and_is_finished(
    finished_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten = ROUND_STAGES[ROUND_STAGES.index("dpo") :]
    expected = without(snapshot(finished_store), forgotten)
    unlink, points = Path.unlink, 0
    for steps in range(200):
        store = Store(Path(shutil.copytree(finished_store.root, tmp_path / f"store-{steps}", symlinks=True)))
        left = steps

        def die_after(path: Path, missing_ok: bool = False) -> None:
            nonlocal left
            # Temporary files go in a `finally`, which a killed process does not reach.
            if path.suffix != ".tmp":
                if left == 0:
                    raise KilledError
                left -= 1
            unlink(path, missing_ok)

        monkeypatch.setattr(Path, "unlink", die_after)
        try:
            redo_stage(store, SLUG, 1, "dpo")
        except KilledError:
            points += 1
        else:
            break
        finally:
            monkeypatch.undo()
        done = [stage for stage in ROUND_STAGES if read_manifest(store, SLUG, 1, stage)]
        assert tuple(done) == ROUND_STAGES[: len(done)]
        finish_redo(store, SLUG)
        assert snapshot(store) == expected
        shutil.rmtree(store.root)
    assert points > len(forgotten)


def imported(store: Store) -> None:
    manifest = read_manifest(store, SLUG, 1, "explore")
    assert manifest is not None
    manifest.notes["imported_from"] = "rollouts.jsonl"
    write_manifest(store, manifest)


def begun_round_2(store: Store) -> None:
    folder = store.table_dir("rationales", SLUG, 2)
    folder.mkdir(parents=True)
    (folder / "part-sample-00000.parquet").touch()


def chosen_by_hand(store: Store) -> None:
    set_champion(store, SLUG, "1/outcome_dpo", who="eva", why="steadier")


@pytest.mark.parametrize(
    ("arrange", "said"),
    [
        (begun_round_2, "has a successor .* `selfexplore experiments fork mini --round 1 --as NEW`"),
        (imported, "imported from rollouts.jsonl"),
        (chosen_by_hand, "1/outcome_dpo of 'mini' would be trained anew, but eva made it the champion"),
    ],
)
def test_refused(store: Store, arrange: Callable[[Store], None], said: str) -> None:
    arrange(store)
    before = snapshot(store)
    with pytest.raises(UserError, match=said):
        redo_stage(store, SLUG, 1, "rft")
    assert snapshot(store) == before


@pytest.mark.parametrize("live", ["summarize", "benchmarks", "sample"])
def test_refused_while_a_stage_runs(store: Store, live: str) -> None:
    with (
        stage_lock(store, SLUG, round_number=1, stage=live, shard=1),
        pytest.raises(UserError, match=f"001-{live}-1 is running"),
    ):
        redo_stage(store, SLUG, 1, "sample")
    assert snapshot(store)["manifests"] == set(ROUND_STAGES)


FIRST = {"run_id": "run", "try_number": 1}


@pytest.mark.parametrize(
    ("acknowledged", "attempt", "redone"),
    [
        (FIRST, {"run_id": "run", "try_number": 2}, True),
        (None, {"run_id": "run", "try_number": 2}, False),  # killed between the commit and its last act
        (FIRST, {"run_id": "run", "try_number": 1}, False),
        (FIRST, {"run_id": "later run", "try_number": 2}, False),
    ],
)
def test_only_a_cleared_task_redoes(
    store: Store, acknowledged: dict[str, Any] | None, attempt: dict[str, Any], redone: bool
) -> None:
    if acknowledged:
        acknowledge(store, SLUG, 1, "gate", None, **acknowledged)
    assert redo_if_cleared(store, SLUG, 1, "gate", None, **attempt) is redone
    assert (read_manifest(store, SLUG, 1, "gate") is None) is redone
    assert not redo_if_cleared(store, SLUG, 1, "gate", None, **attempt)


def test_shards_that_were_cleared_together_redo_once(store: Store) -> None:
    done = read_manifest(store, SLUG, 1, "explore")
    assert done is not None
    for shard in ("1/2", "2/2"):
        acknowledge(store, SLUG, 1, "explore", shard, **FIRST)
    acknowledge(store, SLUG, 1, "dpo", None, **FIRST)
    acknowledge(store, SLUG, 1, "sample", None, **FIRST)
    second = {"run_id": "run", "try_number": 2}
    assert redo_if_cleared(store, SLUG, 1, "explore", "1/2", **second)
    write_manifest(store, done)  # the first shard did it all
    acknowledge(store, SLUG, 1, "explore", "1/2", **second)
    assert not redo_if_cleared(store, SLUG, 1, "explore", "2/2", **second)
    left = {path.stem for path in (store.lock_dir(SLUG) / "acks").glob("*.json")}
    assert left == {"001-explore-1-of-2", "001-sample-1-of-1"}
