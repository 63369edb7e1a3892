"""The compared arms of a real round: same start, same number of steps, never promoted, paired with each other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfexplore_tasks.cli import main
from selfexplore_tasks.comparison import comparison_report, comparison_rows, pooled_rows
from selfexplore_tasks.report import score_rows
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, read_manifest

RowsOf = Callable[[Store, str], list[dict[str, Any]]]
ARMS = ("1/continued_rft", "1/outcome_dpo")


def manifest_of(store: Store, stage: str) -> Manifest:
    found = read_manifest(store, "mini", 1, stage)
    assert found is not None
    return found


def test_every_arm_starts_from_the_explorer_and_takes_as_many_steps(finished_store: Store) -> None:
    dpo, arms = manifest_of(finished_store, "dpo").notes, manifest_of(finished_store, "arms").notes
    assert arms["start_model_id"] == dpo["start_model_id"] == "1/rft"
    assert tuple(arms["models"]) == ARMS
    assert {arms[model]["steps"] for model in ARMS} == {dpo["steps"]}
    for model in ARMS:
        assert (finished_store.model_dir("mini", model) / "config.json").exists()


def test_arms_are_measured_and_never_promoted(finished_store: Store, rows_of: RowsOf) -> None:
    rows = rows_of(finished_store, "select * from scores where model in ('continued_rft', 'outcome_dpo')")
    assert {(row["model_id"], row["split"]) for row in rows} == {
        (arm, split) for arm in ARMS for split in ("dev", "test")
    }
    assert not any(row["promoted"] for row in rows)


def test_differences_are_those_of_the_accuracies_on_the_same_problems(finished_store: Store, rows_of: RowsOf) -> None:
    accuracy = {
        (row["model_id"], row["split"]): row["accuracy"] for row in rows_of(finished_store, "select * from scores")
    }
    rows = rows_of(finished_store, "select * from comparisons")
    # Each of the round's four models against the three others and the model the round started from.
    assert len(rows) == 2 * 4 * 4
    for row in rows:
        expected = accuracy[row["model_id"], row["split"]] - accuracy[row["baseline_id"], row["split"]]
        assert row["difference"] == pytest.approx(expected)
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]
        assert row["difference"] == pytest.approx((row["gained"] - row["lost"]) / row["problem_count"])


def test_the_report_names_every_arm_and_pools_experiments(finished_store: Store) -> None:
    rows, scores = comparison_rows(finished_store, ["mini"]), score_rows(finished_store, ["mini"])
    pooled = pooled_rows(finished_store, rows)
    report = comparison_report(scores, rows, pooled)
    for name in ("SFT", "RFT", "continued RFT", "outcome DPO", "Self-Explore"):
        assert name in report
    assert {row["model"] for row in rows if row["baseline"] == "outcome_dpo"} == {"policy"}
    assert [row["problem_count"] for row in pooled] == [row["problem_count"] for row in rows]
    assert [row["difference"] for row in pooled] == pytest.approx([row["difference"] for row in rows])
    assert "all " not in report, "one experiment is nothing to pool"


def test_problems_that_two_experiments_share_do_not_count_as_new_ones(finished_store: Store, tmp_path: Path) -> None:
    """The same experiment under two names: as much evidence as one, so the same interval."""
    shutil.copytree(finished_store.root, tmp_path / "store", symlinks=True)
    store = Store(tmp_path / "store")
    for path in [*store.root.rglob("experiment=mini"), store.root / "manifests" / "mini"]:
        shutil.copytree(path, path.with_name(path.name.replace("mini", "twin")))
    shutil.copy(store.experiment_file("mini"), store.experiment_file("twin"))
    for path in (store.root / "manifests" / "twin").rglob("*.json"):
        path.write_text(path.read_text(encoding="utf-8").replace('"mini"', '"twin"'), encoding="utf-8")
    alone = pooled_rows(store, comparison_rows(store, ["mini"]))
    both = pooled_rows(store, comparison_rows(store, ["mini", "twin"]))
    assert {row["experiments"] for row in both} == {2}
    for one, two in zip(alone, both, strict=True):
        assert two["problem_count"] == 2 * one["problem_count"]
        for name in ("difference", "difference_low", "difference_high"):
            assert two[name] == pytest.approx(one[name])


def test_the_command_prints_the_same_as_json(
    finished_store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SELFEXPLORE_HOME", str(finished_store.root))
    assert main(["compare", "--experiment", "mini", "--split", "dev", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["comparisons"] == [row for row in comparison_rows(finished_store, ["mini"]) if row["split"] == "dev"]
    assert {row["model"] for row in printed["scores"]} == {"sft", "rft", "policy", "continued_rft", "outcome_dpo"}


def test_without_compare_nothing_is_trained(store_before: Callable[[str], Store]) -> None:
    store = store_before("arms")
    path = store.experiment_file("mini")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["recipe"]["compare"] = False
    path.write_text(json.dumps(content), encoding="utf-8")
    for model in ARMS:
        assert store.model_dir("mini", model).exists(), "the copy holds them; the manifest must not name them"
    manifest = run_stage(store, "mini", "arms", round_number=1)
    assert manifest is not None
    assert manifest.notes["models"] == []


def test_before_a_round_is_finished_there_is_nothing_to_compare(
    store_before: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SELFEXPLORE_HOME", str(store_before("gate").root))
    assert main(["compare", "--experiment", "mini"]) == 2
    assert "no round after round 0 is finished" in capsys.readouterr().err
