"""The commands: instant help with an example, readable and machine-readable tables, and SQL that can only read."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import psutil
import pyarrow.parquet as pq
import pytest

from selfexplore_tasks.cli import build_parser, main
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.locks import stage_lock

COMMANDS = [
    [],
    ["stage"],
    ["recipe"],
    ["recipe", "list"],
    ["recipe", "show"],
    ["recipe", "check"],
    ["recipe", "fields"],
    ["experiments"],
    ["experiments", "list"],
    ["experiments", "delete"],
    ["experiments", "fork"],
    ["rounds"],
    ["scores"],
    ["compare"],
    ["report"],
    ["champion"],
    ["champion", "show"],
    ["champion", "history"],
    ["champion", "set"],
    ["champion", "rollback"],
    ["champion", "push"],
    ["pause"],
    ["resume"],
    ["cancel"],
    ["approve"],
    ["estimate"],
    ["housekeeping"],
    ["grade"],
    ["pits"],
    ["pits", "score"],
    ["import"],
    ["import", "rationales"],
    ["import", "rollouts"],
    ["export"],
    ["export", "pairs"],
    ["sql"],
    ["store"],
    ["store", "copy"],
    ["where"],
]
HEAVY = ("torch", "vllm", "trl", "transformers", "datasets", "duckdb", "pyarrow", "math_verify", "airflow")
MODELS = ((0, "sft"), (1, "rft"), (1, "continued_rft"), (1, "outcome_dpo"), (1, "policy"))
Run = Callable[..., str]


@pytest.fixture
def run(finished_store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command over the finished store; returns what it printed."""
    monkeypatch.setenv("SELFEXPLORE_HOME", str(finished_store.root))

    def call(*arguments: str, code: int = 0) -> str:
        assert main(arguments) == code, capfd.readouterr().err
        captured = capfd.readouterr()
        return captured.out if code == 0 else captured.err

    return call


def test_every_command_is_listed_here() -> None:
    def names(parser: argparse.ArgumentParser, path: list[str]) -> list[list[str]]:
        found = [path]
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, child in action.choices.items():
                    found += names(child, [*path, name])
        return found

    assert sorted(names(build_parser(), [])) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    assert "Example: selfexplore " in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_comes_in_under_a_second(command: list[str]) -> None:
    best = float("inf")
    for _ in range(3):
        begun = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "selfexplore_tasks", *command, "--help"], capture_output=True)
        best = min(best, time.monotonic() - begun)
        assert done.returncode == 0, done.stderr
        if best < 1:
            return
    pytest.fail(f"best of three is {best:.2f} s")


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from selfexplore_tasks.cli import main\n"
        "try:\n    main(['stage', '--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["stage", "nonsense", "--experiment", "e", "--round", "1"], ["scores", "--jsn"], []],
    ids=" ".join,
)
def test_a_misspelt_command_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_scores_as_json_have_the_promised_keys(run: Run) -> None:
    rows = json.loads(run("scores", "--experiment", "mini", "--json"))
    keys = {"experiment", "round", "model", "benchmark", "split", "accuracy", "accuracy_low", "accuracy_high"}
    assert all(keys | {"problem_count", "promoted"} <= row.keys() for row in rows)
    assert {(row["round"], row["model"], row["split"]) for row in rows} == {
        (round_number, model, split) for round_number, model in MODELS for split in ("dev", "test")
    }
    assert all(row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] for row in rows)
    assert [row["promoted"] for row in rows if row["model"] == "sft"] == [True, True]
    assert run("scores", "--json") == run("scores", "--experiment", "mini", "--json")


def test_scores_as_a_table(run: Run) -> None:
    lines = run("scores").splitlines()
    assert lines[0].split()[:3] == ["experiment", "round", "model"]
    assert len(lines) == 2 + 2 * len(MODELS)


def test_rounds_as_json(run: Run) -> None:
    first, second = json.loads(run("rounds", "--experiment", "mini", "--json"))
    assert (first["round"], first["champion"], first["parent"]) == (0, "0/sft", None)
    assert (second["parent"], second["candidate"]) == ("0/sft", "1/policy")
    assert second["counts"]["rollouts"] > 0
    assert second["seconds"].keys() == second["tokens"].keys()


def test_rounds_as_tables(run: Run) -> None:
    text = run("rounds")
    for part in ("Experiment mini", "Accuracy", "Counts by round", "Seconds by stage", "Tokens by stage", "Try  "):
        assert part in text


def test_where_names_store_and_engine(run: Run, finished_store: Store) -> None:
    lines = dict(line.split(maxsplit=1) for line in run("where").splitlines())
    assert lines["store"] == f"{finished_store.root} (SELFEXPLORE_HOME)"
    assert lines["experiments"] == "mini"
    assert lines["engine"].split(":")[0] in ("vllm", "transformers")


def test_experiments_are_listed_with_what_runs(run: Run, finished_store: Store) -> None:
    (row,) = json.loads(run("experiments", "list", "--json"))
    assert (row["experiment"], row["recipe"], row["last_round"], row["running"]) == ("mini", "mini", 1, None)
    with stage_lock(finished_store, "mini", round_number=2, stage="sample", shard=0):
        (row,) = json.loads(run("experiments", "list", "--json"))
    assert row["running"] == "002-sample-0"


def test_delete_removes_everything_of_one_experiment_only(
    finished_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "store"
    shutil.copytree(finished_store.root, root, symlinks=True)
    (root / "tables" / "problems" / "experiment=mini2" / "round=000").mkdir(parents=True)
    monkeypatch.setenv("SELFEXPLORE_HOME", str(root))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))

    assert main(["experiments", "delete", "mini"]) == 2, "without a terminal only --yes may delete"
    assert "--yes" in capsys.readouterr().err
    with stage_lock(Store(root), "mini", round_number=2, stage="sample", shard=0):
        assert main(["experiments", "delete", "mini", "--yes"]) == 2
    assert "002-sample-0 is running" in capsys.readouterr().err
    assert (root / "experiments" / "mini.json").exists()

    assert main(["experiments", "delete", "mini", "--yes"]) == 0
    left = [path for path in root.rglob("*") if "mini" in str(path.relative_to(root)).replace("mini2", "")]
    assert left == []
    assert (root / "tables" / "problems" / "experiment=mini2").exists()
    assert main(["experiments", "delete", "mini", "--yes"]) == 2


def test_sql_formats(run: Run, tmp_path: Path) -> None:
    query = "select split, count(*) as n, sum(length(question)) as total from problems group by split order by split"
    rows = json.loads(run("sql", query, "--json"))
    assert [(row["split"], row["n"]) for row in rows] == [("dev", 30), ("test", 30), ("train", 280)]
    assert all(isinstance(row["total"], int) for row in rows)
    assert [row["n"] for row in csv.DictReader(io.StringIO(run("sql", query, "--csv")))] == ["30", "30", "280"]
    target = tmp_path / "out.parquet"
    assert "3 rows written" in run("sql", query, "--parquet", str(target))
    assert pq.read_table(target)["n"].to_pylist() == [30, 30, 280]
    assert run("sql", query).splitlines()[0].split() == ["split", "n", "total"]
    assert run("sql", "select 1 where false").strip() == "no rows"


def test_sql_writes_lists_and_maps_as_json_in_csv(run: Run) -> None:
    (row,) = csv.DictReader(io.StringIO(run("sql", "select pass_counts from first_pits limit 1", "--csv")))
    assert isinstance(json.loads(row["pass_counts"]), list)
    (row,) = csv.DictReader(io.StringIO(run("sql", "select counts from rounds where round = 1", "--csv")))
    assert dict(json.loads(row["counts"]))["rollouts"] > 0


@pytest.mark.parametrize(
    "statement",
    [
        "show tables",
        "describe pairs",
        "describe pairs -- all columns",
        "summarize scores",
        "from problems limit 1;",
        "select unnest(pass_counts) as passes from first_pits",
        "select i from range(3) as t(i) union all select 7",
        "with recursive up as (select 1 as i union all select i + 1 from up where i < 3) from up",
        "select 1 as n -- a comment at the end",
        "/* why */ select 1 as n",
        "with one as (select 1 as n) select * from one",
        "accuracy",
    ],
)
def test_sql_reads(statement: str, run: Run) -> None:
    assert json.loads(run("sql", statement, "--json"))


def test_sql_without_a_query_reads_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for options in ([], ["--json"], ["--csv"]):
        monkeypatch.setattr("sys.stdin", io.StringIO("select count(*) as n\nfrom problems;\n"))
        assert "340" in run("sql", *options)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "error: SQL: " in run("sql", code=2)


def test_sql_points_at_the_mistake(run: Run) -> None:
    *_, line, caret = run("sql", "select split,\n  nope\nfrom problems", code=2).splitlines()
    assert caret.index("^") == line.index("nope")


def test_sql_lists_what_there_is_to_ask(run: Run) -> None:
    assert "How good is each model, and which ones were promoted?" in run("sql", "--queries")
    queries = json.loads(run("sql", "--queries", "--json"))
    assert {"name": "accuracy", "question": "How good is each model, and which ones were promoted?"}.items() <= (
        next(query.items() for query in queries if query["name"] == "accuracy")
    )


def test_sql_explains_every_table_view_and_column(run: Run) -> None:
    views = json.loads(run("sql", "--schema", "--json"))
    described = {view["name"]: [column["name"] for column in view["columns"]] for view in views}
    shown = json.loads(run("sql", "show tables", "--json"))
    assert sorted(described) == sorted(row["name"] for row in shown)
    for name in ("scores", "pit_accuracy", "stages"):
        columns = json.loads(run("sql", f"describe {name}", "--json"))
        assert described[name] == [column["column_name"] for column in columns]
    assert "accuracy_low" in run("sql", "--schema")
    assert run("sql", "--schema", "--markdown").startswith("| table or view |")
    assert "--markdown goes with --schema" in run("sql", "select 1", "--markdown", code=2)


def test_sql_refreshes_the_catalogue_file(
    finished_store: Store, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "store"
    shutil.copytree(finished_store.root, root, symlinks=True)
    (root / "selfexplore.duckdb").unlink()
    monkeypatch.setenv("SELFEXPLORE_HOME", str(root))
    assert f"Written: {root / 'selfexplore.duckdb'}" in run("sql", "--refresh-catalogue")
    with duckdb.connect(str(root / "selfexplore.duckdb"), read_only=True) as connection:
        assert connection.execute("select count(*) from problems").fetchall() == [(340,)]


def test_sql_ends_on_control_c(finished_store: Store) -> None:
    endless = "with recursive t as (select 1 as i union all select i + 1 from t) select count(*) from t"
    process = subprocess.Popen(
        [sys.executable, "-m", "selfexplore_tasks", "sql", endless],
        env={**os.environ, "SELFEXPLORE_HOME": str(finished_store.root)},
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where the tests run in background
    )
    watched = psutil.Process(process.pid)
    while watched.cpu_times().user < 5:  # imports take less; then DuckDB works
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told.splitlines()[-1]) == (130, b"interrupted; run the same command again to go on")


def test_sql_reads_a_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.sql"
    path.write_text("select count(*) as n from problems;\n", encoding="utf-8")
    assert json.loads(run("sql", str(path), "--json")) == [{"n": 340}]


def test_sql_shows_only_the_experiment_asked_for(run: Run) -> None:
    assert "does not exist" in run("sql", "select 1", "--experiment", "other", code=2)


FORBIDDEN = {
    "copy": "copy problems to '{out}'",
    "copy after explain": "explain analyze copy problems to '{out}'",
    "copy of a query": "copy (select 1) to '{out}' (format parquet)",
    "attach": "attach '{out}' as other",
    "install": "install httpfs",
    "load": "load httpfs",
    "set": "set enable_external_access = true",
    "pragma": "pragma enable_profiling",
    "create": "create table mine as select 1",
    "insert": "insert into experiments select * from experiments",
    "delete": "delete from experiments",
    "dml in a cte": "with gone as (delete from experiments returning *) select * from gone",
    "insert in a cte": "with more as (insert into experiments select * from experiments returning 1) from more",
    "update in a cte": "with more as (update experiments set recipe = '' returning 1) from more",
    "copy in a cte": "with out as (copy (select 1) to '{out}') from out",
    "copy over a part": "with out as (copy (select 1 as one) to '{part}' (format parquet)) from out",
    "copy beside the parts": "with out as (copy (select 1) to '{root}/tables/new.csv') from out",
    "copy in a nested cte": "select * from (with out as (copy (select 1) to '{root}/tables/new.csv') from out)",
    "copy in a described cte": "describe with out as (copy (select 1) to '{root}/tables/new.csv') from out",
    "a function that queries": "from query('select 1')",
    "a function that executes": (
        "from json_execute_serialized_sql(json_serialize_sql("
        "'with out as (copy (select 1) to ''{root}/tables/new.csv'') from out'))"
    ),
    "a function in a subquery": "select (select 1 from json_execute_serialized_sql(json_serialize_sql('')))",
    "a function that reads memory": "from arrow_scan(1::pointer, 2::pointer, 3::pointer)",
    "a function that logs": "from enable_logging()",
    "two statements": "select 1; select 2",
    "a second statement that writes": "select 1; copy problems to '{out}'",
    "shown copy": "describe copy problems to '{out}'",
    "show breaking out": "show tables); copy problems to '{out}'; from (select 1",
    "read a file": "select * from read_csv('/etc/passwd')",
    "read text": "select * from read_text('/etc/passwd')",
    "read a blob": "select * from read_blob('/etc/hostname')",
    "read by name": "select * from '/etc/passwd'",
    "read beside the tables": "select * from read_text('{root}/experiments/mini.json')",
    "read through the tables": "select * from read_text('{root}/tables/../experiments/mini.json')",
    "list files": "select * from glob('/etc/*')",
    "nonsense": "selec 1",
    "nothing": "",
    "a comment": "-- nothing",
    "unknown view": "select * from nowhere",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_sql_refuses_whatever_is_no_select_over_the_views(
    name: str, run: Run, finished_store: Store, tmp_path: Path
) -> None:
    before = listing(finished_store.root)
    part = next((finished_store.root / "tables" / "pairs").rglob("*.parquet"))
    query = FORBIDDEN[name].format(out=tmp_path / "out", root=finished_store.root, part=part)
    message = run("sql", query, code=2)
    assert message.startswith("error: SQL: ")
    assert list(tmp_path.iterdir()) == []
    assert listing(finished_store.root) == before


def listing(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def test_sql_says_when_the_parquet_file_cannot_be_written(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "missing" / "out.parquet"
    assert "cannot be written" in run("sql", "select 1", "--parquet", str(target), code=2)


def test_no_store_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setenv("SELFEXPLORE_HOME", str(tmp_path / "none"))
    assert json.loads(run("scores", "--json")) == []
    assert json.loads(run("rounds", "--json")) == []
    assert json.loads(run("experiments", "list", "--json")) == []
    assert "problems" in run("sql", "show tables")
    assert list(tmp_path.iterdir()) == []


def test_recipe_commands(run: Run, tmp_path: Path) -> None:
    assert "arithmetic-tiny" in run("recipe", "list")
    shown = run("recipe", "show", "gsm8k-mistral-7b", "--set", "sample.n=7")
    assert "  n: 7\n" in shown
    copy = tmp_path / "mine.yaml"
    copy.write_text(shown, encoding="utf-8")
    assert "is valid, hash" in run("recipe", "check", str(copy))
    assert "sample.n (" in run("recipe", "fields")


def test_a_closed_pipe_is_no_traceback(finished_store: Store) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m selfexplore_tasks sql 'from rationales' --json | head -c 1"],
        env={**os.environ, "SELFEXPLORE_HOME": str(finished_store.root)},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("[", "")
