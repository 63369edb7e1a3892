"""The list of experiments: numbers of the last round, and what an experiment is doing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hand_rounds import DEV, OTHER, SLUG, HandRounds
from selfexplore_tasks.pages.experiments import experiment_row, experiment_rows
from selfexplore_tasks.pages.model import ExperimentRow, LiveStage
from selfexplore_tasks.pages.reader import Reader
from selfexplore_tasks.planning import claim_round, round_run_id
from selfexplore_tasks.progress import Progress, recorded
from selfexplore_tasks.store import control
from selfexplore_tasks.store.experiments import delete_experiment, load_experiment, open_experiment
from selfexplore_tasks.store.forks import fork_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.locks import live_name, stage_lock
from selfexplore_tasks.store.manifests import read_manifest, write_manifest


def row_of(store: Store, slug: str = SLUG, running: frozenset[str] = frozenset()) -> ExperimentRow:
    reader = Reader(store)
    return experiment_row(reader, reader.snapshot(slug), running)


def test_a_row_tells_the_last_round(hand: HandRounds) -> None:
    hand.round(1, {DEV: 30})
    decided = hand.finish(1)
    row = row_of(hand.store)
    assert (row.last_round, row.max_rounds, row.champion, row.decision) == (1, 4, "1/policy", "promoted")
    assert row.gain == pytest.approx(0.25)  # 30 instead of 20 of 40
    assert (row.gain_low, row.gain_high) == (decided["gain_low"], decided["gain_high"])
    assert row.champion_accuracy == pytest.approx(0.75)
    # Wilson's interval of 30 of 40, from its formula: centre 0.7281, half width 0.1298.
    assert (row.champion_low, row.champion_high) == (pytest.approx(0.5981, abs=1e-4), pytest.approx(0.8581, abs=1e-4))
    assert row.seconds >= 13, "of the stages written by hand each took a second"
    assert (row.state, row.live, row.forked_from, row.recipe) == ("idle", [], None, "hand")


def test_other_benchmarks_do_not_count_for_the_champion(hand: HandRounds) -> None:
    hand.round(1, {DEV: 30, OTHER: 40})
    hand.finish(1)
    assert row_of(hand.store).champion_accuracy == pytest.approx(0.75)


def test_a_new_experiment_has_nothing_yet(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    open_experiment(store, "fresh", "arithmetic-tiny")
    row = row_of(store, "fresh")
    assert (row.state, row.last_round, row.champion, row.champion_accuracy, row.tokens) == ("new", None, None, None, 0)


def test_the_list_has_the_newest_first_and_forks_say_so(hand: HandRounds) -> None:
    fork_experiment(hand.store, SLUG, 0, "other-way")
    path = hand.store.experiment_file("other-way")
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "created_at": "2099-01-01T00:00:00+00:00"}), encoding="utf-8")
    rows = experiment_rows(Reader(hand.store))
    assert [row.experiment for row in rows] == ["other-way", SLUG]
    assert rows[0].forked_from == f"{SLUG}:0"
    assert rows[0].champion_accuracy == rows[1].champion_accuracy == pytest.approx(0.5)


def test_a_fork_costs_what_its_own_rounds_cost(hand: HandRounds) -> None:
    fork_experiment(hand.store, SLUG, 0, "other-way")
    assert row_of(hand.store, "other-way").seconds == 0
    done = read_manifest(hand.store, SLUG, 0, "sft")
    assert done is not None
    write_manifest(hand.store, replace(done, experiment="other-way", round=1, stage="rft", seconds=2.5, token_count=7))
    row = row_of(hand.store, "other-way")
    assert (row.seconds, row.tokens) == (2.5, 7)
    assert row_of(hand.store).seconds >= 3, "the origin's are its own"


def test_the_level_of_the_gain_is_told(hand: HandRounds) -> None:
    assert row_of(hand.store).gain_level is None
    hand.round(1, {DEV: 30})
    alpha = hand.finish(1)["alpha_spent"]
    assert alpha == 0.05
    assert row_of(hand.store).gain_level == pytest.approx(0.9), "0.05 at either end"


def _newer(store: Store) -> None:
    path = store.manifest_file("broken", 0, "prepare")
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))


def _unknown_field(store: Store) -> None:
    path = store.experiment_file("broken")
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "recipe": {**content["recipe"], "brand_new": 1}}))


def _truncated(store: Store) -> None:
    path = store.experiment_file("broken")
    path.write_text(path.read_text()[:50])


def _missing_part(store: Store) -> None:
    for path in store.table_dir("rounds", "broken", 0).glob("*.parquet"):
        path.unlink()


def _half_a_control(store: Store) -> None:
    store.control_file("broken").parent.mkdir(exist_ok=True)
    store.control_file("broken").write_text('{"state"')


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (_newer, "upgrade selfexplore-airflow"),
        (_unknown_field, "recipe of experiment 'broken' .*brand_new"),
        (_truncated, "'broken' are damaged"),
        (_missing_part, "part of them is missing"),
        (_half_a_control, "'broken' are damaged"),
    ],
)
def test_one_unreadable_experiment_does_not_hide_the_others(
    hand: HandRounds, damage: Callable[[Store], None], why: str
) -> None:
    fork_experiment(hand.store, SLUG, 0, "broken")
    damage(hand.store)
    rows = {row.experiment: row for row in experiment_rows(Reader(hand.store))}
    assert (rows[SLUG].state, rows[SLUG].problem) == ("idle", None)
    assert rows["broken"].state == "unreadable"
    assert re.search(why, rows["broken"].problem or "")


def test_an_experiment_deleted_during_a_poll_is_left_out(hand: HandRounds) -> None:
    fork_experiment(hand.store, SLUG, 0, "going")
    reader = Reader(hand.store)
    reader.slugs = lambda: [SLUG, "going"]  # type: ignore[method-assign]  # as it was listed a moment ago
    delete_experiment(hand.store, "going")
    assert [row.experiment for row in experiment_rows(reader)] == [SLUG]


def test_the_list_can_be_paged(hand: HandRounds) -> None:
    for name in ("b", "c", "d"):
        fork_experiment(hand.store, SLUG, 0, name)
    reader = Reader(hand.store)
    whole = [row.experiment for row in experiment_rows(reader)]
    paged = [row.experiment for offset in (0, 3, 6) for row in experiment_rows(reader, offset=offset, limit=3)]
    assert paged == whole
    assert sorted(whole) == ["b", "c", "d", SLUG]


def test_a_store_without_experiments_has_an_empty_list(tmp_path: Path) -> None:
    assert experiment_rows(Reader(Store(tmp_path))) == []


def test_the_end_is_told(hand: HandRounds) -> None:
    hand.change_recipe(stop={"patience": 1})
    hand.round(1, {})
    hand.finish(1)
    row = row_of(hand.store)
    assert row.state == "ended"
    assert row.stop_reason is not None and row.stop_reason.startswith("stop.patience=1")


@pytest.mark.parametrize(("act", "state"), [(control.pause, "paused"), (control.cancel, "cancelled")])
def test_a_persons_word_is_the_state(hand: HandRounds, act: object, state: str) -> None:
    act(hand.store, SLUG, who="ada", why="")  # type: ignore[operator]
    assert row_of(hand.store).state == state
    control.resume(hand.store, SLUG, who="ada", why="")
    assert row_of(hand.store).state == "idle"


def test_a_live_stage_says_how_far_it_is(hand: HandRounds) -> None:
    path = hand.store.progress_file(SLUG, live_name(1, "sample", 1))
    with (
        stage_lock(hand.store, SLUG, round_number=1, stage="sample", shard=1),
        recorded(path, "2/2"),
        Progress("sample 2/2", 80, "rationales", done=20),
    ):
        row = row_of(hand.store)
    assert row.state == "running"
    stage = LiveStage(round=1, stage="sample", shard="2/2", done=20, total=80, unit="rationales")
    assert row.live == [stage]


def test_a_live_stage_may_not_have_said_anything(hand: HandRounds) -> None:
    with stage_lock(hand.store, SLUG, round_number=1, stage="gate", shard=0):
        hand.store.progress_file(SLUG, live_name(1, "gate", 0)).write_text('{"done"', encoding="utf-8")
        assert row_of(hand.store).live == [LiveStage(round=1, stage="gate")]


LOCKED = """
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from selfexplore_tasks.progress import Progress, recorded
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.locks import live_name, stage_lock
from selfexplore_tasks.store.manifests import read_manifest, write_manifest
store = Store(Path(sys.argv[1]))
with stage_lock(store, "hand", round_number=1, stage="explore", shard=0):
    with recorded(store.progress_file("hand", live_name(1, "explore", 0))), Progress("explore", 10, "rationales"):
        print("ready", flush=True)
        sys.stdin.read()
"""


def test_a_killed_stage_is_not_live(hand: HandRounds) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LOCKED, str(hand.store.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as stage:
        assert stage.stdout is not None
        assert stage.stdout.readline() == "ready\n"
        assert [one.stage for one in row_of(hand.store).live] == ["explore"]
        os.kill(stage.pid, signal.SIGKILL)
    assert hand.store.progress_file(SLUG, live_name(1, "explore", 0)).exists(), "it could not tidy up"
    row = row_of(hand.store)
    assert (row.state, row.live) == ("idle", [])


def test_between_two_stages_airflow_knows_that_it_runs(hand: HandRounds) -> None:
    experiment = load_experiment(hand.store, SLUG)
    claim_round(hand.store, experiment, requested=None, run_id="manual__1", is_running=lambda _: False)
    assert row_of(hand.store, running=frozenset({"manual__1"})).state == "running"
    assert row_of(hand.store, running=frozenset({"another"})).state == "idle"
    queued = round_run_id(experiment, 1)
    assert row_of(hand.store, running=frozenset({queued})).state == "running", "triggered, not begun"


def test_a_claim_of_a_finished_round_means_nothing(hand: HandRounds) -> None:
    experiment = load_experiment(hand.store, SLUG)
    claim_round(hand.store, experiment, requested=None, run_id="manual__1", is_running=lambda _: False)
    hand.round(1, {DEV: 30})
    hand.finish(1)
    assert row_of(hand.store, running=frozenset({"manual__1"})).state == "idle"
