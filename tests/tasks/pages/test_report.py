"""The report: the same numbers as the commands print, stored by the last stage of a round, gone with the experiment."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from selfexplore_tasks.cli import main
from selfexplore_tasks.pages import report
from selfexplore_tasks.pages.model import ExperimentPage
from selfexplore_tasks.pages.reader import Reader
from selfexplore_tasks.pages.report import html_report, report_page
from selfexplore_tasks.pages.report_text import escape, markdown_report
from selfexplore_tasks.report import format_accuracy, round_rows, score_rows
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.store.home import Store

SLUG = "mini"


@pytest.fixture(scope="module")
def page(finished_store: Store) -> ExperimentPage:
    return report_page(Reader(finished_store), SLUG)


def table(text: str, title: str) -> list[list[str]]:
    """Cells of the rows of a section's table, the header first."""
    section = re.split(r"^## ", text, flags=re.MULTILINE)
    lines = next(part for part in section if part.startswith(title)).splitlines()
    rows = [line for line in lines if line.startswith("|") and not line.startswith("|--")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def test_the_accuracies_are_those_of_selfexplore_scores(finished_store: Store, page: ExperimentPage) -> None:
    header, *rows = table(markdown_report(page), "Accuracy")
    shown = {(row[0], row[1], column): cell for row in rows for column, cell in zip(header, row, strict=True)}
    scores = score_rows(finished_store, [SLUG])
    assert len(scores) == 2 * len(rows) > 0
    for score in scores:
        key = (str(score["round"]), score["model"])
        assert shown[*key, f"{score['benchmark']} {score['split']}"] == format_accuracy(score)
        assert shown[*key, "promoted"] == ("yes" if score["promoted"] else "")


def test_the_decisions_and_seconds_are_those_of_selfexplore_rounds(finished_store: Store, page: ExperimentPage) -> None:
    rounds = round_rows(finished_store, [SLUG])
    _, *decisions = table(markdown_report(page), "Decisions")
    assert [row[:3] for row in decisions] == [[str(row["round"]), row["decision"], row["champion"]] for row in rounds]
    header, *stages = table(markdown_report(page), "Seconds")
    seconds = {(row[0], column): cell for row in stages for column, cell in zip(header, row, strict=True)}
    for row in rounds:
        for stage, taken in row["seconds"].items():
            assert seconds[stage, f"round {row['round']}"].split(" ")[0] == f"{taken:,.1f}"


def test_the_gate_s_interval_says_its_level(page: ExperimentPage) -> None:
    header, *rows = table(markdown_report(page), "Decisions")
    gains = {row[0]: row[header.index("gain on dev, points [interval]")] for row in rows}
    spent = page.rounds[1].alpha_spent
    assert spent is not None
    assert gains["0"] == ""
    assert gains["1"].endswith(f"] ({100 - 200 * spent:.3g}%)")


def test_the_funnel_ends_with_the_pairs_that_were_kept(
    finished_store: Store, page: ExperimentPage, rows_of: Callable[[Store, str], list[dict[str, int]]]
) -> None:
    header, *steps = table(markdown_report(page), "From problems to pairs")
    assert header[1:] == ["round 1"]
    [kept] = rows_of(finished_store, "select count(*) as n from pairs where kind = 'granular' and is_kept")
    assert steps[-1][1] == f"{kept['n']:,}"


@pytest.mark.parametrize(
    "text, shown",
    [
        ("a|b", r"a\|b"),
        ("two\nlines", "two lines"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("![x](http://y)", r"!\[x\](http://y)"),
        ("`code` *bold* 0/policy_1", r"\`code\` \*bold\* 0/policy_1"),
    ],
)
def test_text_means_only_itself_in_markdown(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_summarize_stores_both_reports(finished_store: Store, page: ExperimentPage) -> None:
    assert finished_store.report_file(SLUG, "md").read_text(encoding="utf-8") == markdown_report(page)
    assert finished_store.report_file(SLUG, "html").read_text(encoding="utf-8") == html_report(page)


def test_a_report_that_cannot_be_written_fails_no_round(
    store_before: Callable[[str], Store], capsys: pytest.CaptureFixture[str]
) -> None:
    store = store_before("summarize")
    shutil.rmtree(store.root / "reports")
    (store.root / "reports").write_text("in the way", encoding="utf-8")
    assert run_stage(store, SLUG, "summarize", round_number=1).stage == "summarize"
    assert "summarize: the report could not be written: " in capsys.readouterr().out


def test_the_command_writes_what_the_name_of_the_file_says(
    finished_store: Store,
    page: ExperimentPage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SELFEXPLORE_HOME", str(finished_store.root))
    for name, text in (("report.html", html_report(page)), ("report.md", markdown_report(page))):
        assert main(["report", "--experiment", SLUG, "-o", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_text(encoding="utf-8") == text
    capsys.readouterr()
    assert main(["report", "--experiment", SLUG, "--format", "md"]) == 0
    assert capsys.readouterr().out == markdown_report(page)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--experiment", "nobody"], "There is no experiment 'nobody'."),
        (
            ["--experiment", SLUG, "-o", "/dev/null/report.html"],
            "The report cannot be written to /dev/null/report.html",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    arguments: list[str],
    sentence: str,
    finished_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SELFEXPLORE_HOME", str(finished_store.root))
    assert main(["report", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_without_the_page_s_files_it_says_so(
    finished_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SELFEXPLORE_HOME", str(finished_store.root))
    monkeypatch.setattr(report, "STATIC_DIR", tmp_path)
    assert main(["report", "--experiment", SLUG]) == 2
    assert "is missing: run from a clone" in capsys.readouterr().err
