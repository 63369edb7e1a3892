"""Every SQL file says what it is; views, ready queries and the README's queries run over a finished round."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from selfexplore_tasks.cli import main
from selfexplore_tasks.store.catalogue import LAYERS, SQL_DIR
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.select import select

README = SQL_DIR.parent / "README.md"
QUERIES = sorted((SQL_DIR / "queries").glob("*.sql"))
VIEWS = sorted(path for layer in LAYERS for path in (SQL_DIR / layer).glob("*.sql"))
# The recipe of the finished store has no second grader, so there is nobody to disagree, and nobody decided by hand.
MAY_BE_EMPTY = {"newly_solved", "grading_disagreements", "grade_disagreements", "champions_by_hand"}


@pytest.mark.parametrize("path", sorted(SQL_DIR.rglob("*.sql")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_file_begins_with_its_grain_question_or_rule(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    layer = path.relative_to(SQL_DIR).parts[0]
    if layer in LAYERS:
        assert first.startswith("-- Grain: one row per ")
    elif layer == "queries":
        assert re.fullmatch(r"-- .+\?", first)
    else:
        assert re.fullmatch(r"-- [A-Z].+", first)


@pytest.mark.parametrize("path", VIEWS, ids=lambda path: path.stem)
def test_every_view_has_rows_after_a_round(path: Path, finished_store: Store) -> None:
    found = select(finished_store, ["mini"], f"select * from {path.stem} limit 1")
    assert found.num_rows == 1 or path.stem in MAY_BE_EMPTY


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.stem)
def test_every_ready_query_answers(path: Path, finished_store: Store) -> None:
    answer = select(finished_store, ["mini"], path.read_text(encoding="utf-8"))
    assert answer.num_rows > 0 or path.stem in MAY_BE_EMPTY


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.stem)
def test_every_ready_query_keeps_experiments_apart(path: Path, finished_store: Store, two_experiments: Store) -> None:
    """With a second experiment that is like the first, every row comes twice: once for each."""
    text = re.sub(r"\nlimit \d+\n", "\n", path.read_text(encoding="utf-8"))
    alone = select(finished_store, ["mini"], text).to_pylist()
    both = select(two_experiments, ["mini", "second"], text).to_pylist()
    mine = [row for row in both if row["experiment"] == "mini"]
    theirs = [{**row, "experiment": "mini"} for row in both if row["experiment"] == "second"]
    assert sorted(map(str, mine)) == sorted(map(str, theirs)) == sorted(map(str, alone))
    assert len(both) == 2 * len(alone)


@pytest.fixture(scope="module")
def two_experiments(finished_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The finished store with its experiment twice, under names of their own."""
    root = tmp_path_factory.mktemp("two") / "store"
    for name in ("tables", "manifests", "experiments"):
        shutil.copytree(finished_store.root / name, root / name)
    for folder in root.glob("tables/*/experiment=mini"):
        shutil.copytree(folder, folder.with_name("experiment=second"))
    shutil.copytree(root / "manifests" / "mini", root / "manifests" / "second")
    for path in (root / "manifests" / "second").rglob("*.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "experiment": "second"}))
    shutil.copyfile(root / "experiments" / "mini.json", root / "experiments" / "second.json")
    return Store(root)


def test_views_work_without_an_experiment(tmp_path: Path) -> None:
    for path in VIEWS:
        assert select(Store(tmp_path), [], f"select * from {path.stem}").num_rows == 0


def test_pass_rates_and_histogram_agree_with_the_pits(finished_store: Store) -> None:
    rates = select(
        finished_store,
        ["mini"],
        "select rationale_id from step_pass_rates group by rationale_id having min(pass_rate) = 0 order by 1",
    )
    pits = select(
        finished_store, ["mini"], "select rationale_id from first_pits where first_pit_step is not null order by 1"
    )
    assert rates.to_pylist() == pits.to_pylist()
    histogram = select(finished_store, ["mini"], "select sum(rationale_count)::integer as n from first_pit_histogram")
    assert (
        histogram.to_pylist()
        == select(finished_store, ["mini"], "select count(*)::integer as n from first_pits").to_pylist()
    )


def test_intervals_are_wilsons(finished_store: Store) -> None:
    for row in select(finished_store, ["mini"], "select * from int_scores").to_pylist():
        n, p, z = row["problem_count"], row["accuracy"], 1.96
        centre, half = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
        assert row["accuracy_low"] == pytest.approx((centre - half) / (1 + z * z / n), abs=1e-12)
        assert row["accuracy_high"] == pytest.approx((centre + half) / (1 + z * z / n), abs=1e-12)
        assert 0 <= row["accuracy_low"] <= p <= row["accuracy_high"] <= 1


def readme_queries() -> list[list[str]]:
    """Arguments of `selfexplore sql` for each ```sql block and each `selfexplore sql` line of the README."""
    if not README.exists():
        return []
    text = README.read_text(encoding="utf-8")
    blocks = [["sql", block] for block in re.findall(r"```sql\n(.*?)```", text, flags=re.DOTALL)]
    joined = text.replace("\\\n", " ")
    lines = re.findall(r"^\s*(?:\$ )?(?:\S*/)?selfexplore (sql .+)$", joined, flags=re.MULTILINE)
    return blocks + [shlex.split(line, comments=True) for line in lines]


def test_the_readme_shows_five_queries() -> None:
    if not README.exists():
        pytest.skip("README.md is not written yet")
    assert len(readme_queries()) >= 5


@pytest.mark.parametrize("arguments", readme_queries(), ids=lambda arguments: " ".join(arguments)[:60])
def test_every_query_of_the_readme_runs(
    arguments: list[str],
    finished_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SELFEXPLORE_HOME", str(finished_store.root))
    monkeypatch.chdir(tmp_path)
    if "--experiment" in arguments:
        arguments[arguments.index("--experiment") + 1] = "mini"
    assert main(arguments) == 0, capfd.readouterr().err
    assert capfd.readouterr().out.strip()
