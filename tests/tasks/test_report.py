"""The report that a demo ends with: accuracy, counts, costs, and where to look next."""

from __future__ import annotations

import subprocess
from pathlib import Path

from selfexplore_tasks.report import format_accuracy, round_report, round_rows, score_rows
from selfexplore_tasks.store.home import Store


def test_accuracy_is_shown_in_percent_with_its_interval() -> None:
    row = {"accuracy": 0.5234, "accuracy_low": 0.4831, "accuracy_high": 0.5629}
    assert format_accuracy(row) == "52.3 [48.3, 56.3]"


def test_rows_are_in_the_order_of_training(finished_store: Store) -> None:
    models = list(dict.fromkeys(row["model_id"] for row in score_rows(finished_store, ["mini"])))
    assert models == ["0/sft", "1/rft", "1/policy", "1/outcome_dpo", "1/continued_rft"]
    assert [row["round"] for row in round_rows(finished_store, ["mini"])] == [0, 1]


def test_the_report_has_every_number(finished_store: Store) -> None:
    report = round_report(finished_store, "mini")
    for row in score_rows(finished_store, ["mini"]):
        assert format_accuracy(row) in report
    lines = [line.split() for line in report.splitlines()]
    counts = round_rows(finished_store, ["mini"])[1]["counts"]
    for name, count in counts.items():
        assert any(line[:1] == [name] and f"{count:,}" in line for line in lines), name
    for stage in ("prepare", "sft", "sample", "explore", "dpo", "evaluate"):
        assert sum(line[:1] == [stage] for line in lines) == 2, f"{stage} stands once in seconds and once in tokens"


def test_the_report_leads_to_the_best_model_and_a_query_that_works(finished_store: Store) -> None:
    lines = round_report(finished_store, "mini").splitlines()
    model, shown = next(line.split()[2:] for line in lines if line.startswith("Best model"))
    assert (Path(model) / "config.json").exists()
    champion = round_rows(finished_store, ["mini"])[-1]["champion"]
    assert (Path(model).resolve(), shown) == (finished_store.model_dir("mini", champion).resolve(), f"({champion})")
    tables = next(line.split(maxsplit=1)[1] for line in lines if line.startswith("Tables"))
    assert Path(tables).is_dir()
    command = next(line for line in lines if line.startswith("Try")).removeprefix("Try").strip()
    # As a reader pastes it: in another shell, without the environment of this one.
    result = subprocess.run(["bash", "-c", command], env={}, capture_output=True, text=True, check=False)
    assert (result.returncode, "accuracy" in result.stdout) == (0, True), result.stderr


def test_an_experiment_without_a_round_has_a_report(finished_store: Store, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.experiment_file("mini").parent.mkdir(parents=True)
    store.experiment_file("mini").write_bytes(finished_store.experiment_file("mini").read_bytes())
    report = round_report(store, "mini")
    assert "Best model" not in report
    assert "Accuracy" in report
