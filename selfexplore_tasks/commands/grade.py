"""``selfexplore grade``: grade the predictions of any file, and measure the grader against labels."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from selfexplore_tasks.commands.common import Subcommands, add_command, print_rows
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.grading.grader import SecondGrader

if TYPE_CHECKING:
    from selfexplore_tasks.grading.files import GradedRow

SHOWN_CHARACTERS = 60
KEPT_CHARACTERS = 500
MAX_TIMEOUT_S = 600


def declare(subcommands: Subcommands[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = add_command(
        subcommands,
        "grade",
        grade,
        "grade the predictions of a jsonl or parquet file; with labels, measure the grader and list its misses",
        "selfexplore grade solutions.jsonl --gold gold --prediction text --label is_right --json",
    )
    parser.add_argument("file", metavar="FILE", help="a .jsonl or .parquet file")
    parser.add_argument("--gold", required=True, metavar="COLUMN", help="column with the gold answer")
    parser.add_argument(
        "--prediction",
        required=True,
        metavar="COLUMN",
        help="column with the completion: its stated answer counts; where it states none, the whole text if it is "
        "one line of at most 200 characters",
    )
    parser.add_argument("--label", metavar="COLUMN", help="column that says whether the prediction is right")
    parser.add_argument(
        "--config",
        metavar="COLUMN",
        help='column with settings of Math-Verify, such as {"match_types": ["latex"]}: it alone compares the raw texts '
        "of such a row (default: column `config`, if it holds that)",
    )
    parser.add_argument(
        "--answer-phrase",
        metavar="P",
        help="what stands before an answer, e.g. 'The answer is' (default: tries that and other usual ones); "
        "#### and \\boxed{} are read too",
    )
    parser.add_argument("--second", choices=get_args(SecondGrader), help="ask this grader too and list disagreements")
    parser.add_argument(
        "--timeout", type=float, default=5.0, metavar="S", help="seconds one symbolic comparison may take (default: 5)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def grade(options: argparse.Namespace) -> None:
    from selfexplore_tasks.grading.files import FileColumns, grade_rows, read_rows

    if options.answer_phrase is not None and not options.answer_phrase.strip():
        raise UserError("--answer-phrase must not be blank: leave it out to try the usual ones.")
    if not 0 < options.timeout <= MAX_TIMEOUT_S:
        raise UserError(f"--timeout must be more than 0 and at most {MAX_TIMEOUT_S} seconds, got {options.timeout:g}.")
    started = time.perf_counter()
    columns = FileColumns(options.gold, options.prediction, options.label, options.config)
    rows = read_rows(options.file, columns)
    graded = grade_rows(rows, answer_phrase=options.answer_phrase, second=options.second, timeout_s=options.timeout)
    report = (_labelled(graded) if options.label else _unlabelled(graded)) | _unreadable(graded)
    if options.second:
        report["second_disagrees"] = [_shown(one) for one in graded if one.is_correct != one.is_correct_second]
    report["seconds"] = round(time.perf_counter() - started, 3)
    if options.json:
        print(json.dumps(report, indent=1))
    else:
        _print_report(report)


def _labelled(graded: Sequence[GradedRow]) -> dict[str, Any]:
    """Counts against the labels: ``false_positive`` is called right by us and wrong by the label."""
    misses = [one for one in graded if one.is_correct != one.row.label]
    false_positive = sum(one.is_correct for one in misses)
    return {
        "rows": len(graded),
        "agree": len(graded) - len(misses),
        "false_positive": false_positive,
        "false_negative": len(misses) - false_positive,
        "misses": [_shown(one) for one in misses],
    }


def _unlabelled(graded: Sequence[GradedRow]) -> dict[str, Any]:
    """Verdicts by reason."""
    counts = Counter((one.verdict, one.reason) for one in graded)
    return {
        "rows": len(graded),
        "verdicts": [
            {"verdict": verdict, "reason": reason, "rows": count} for (verdict, reason), count in sorted(counts.items())
        ],
    }


def _unreadable(graded: Sequence[GradedRow]) -> dict[str, Any]:
    """The rows whose gold answer cannot be read: no prediction is right there, unless Math-Verify reads the row."""
    from selfexplore_tasks.grading.readable import unreadable_golds

    ours = [one for one in graded if one.row.options is None]
    unreadable = unreadable_golds([one.row.gold for one in ours])
    listed = [{"row": one.row.number, "gold": _cut(one.row.gold)} for one in ours if one.row.gold in unreadable]
    return {"unreadable_gold": len(listed), "unreadable": listed}


def _shown(one: GradedRow) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "row": one.row.number,
        "gold": _cut(one.row.gold),
        "prediction": _cut(one.row.prediction),
        "answer": None if one.answer is None else _cut(one.answer),
        "verdict": one.verdict,
        "reason": one.reason,
    }
    if one.row.label is not None:
        shown["label"] = one.row.label
    if one.is_correct_second is not None:
        shown["second"] = one.is_correct_second
    return shown


def _cut(text: str, length: int = KEPT_CHARACTERS) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _print_report(report: dict[str, Any]) -> None:
    """Print the counts, then every list of the report under its name."""
    counts = {name: value for name, value in report.items() if not isinstance(value, list)}
    print_rows([counts], as_json=False)
    for name, listed in report.items():
        if isinstance(listed, list) and listed:
            print(f"\n{name}")
            print_rows([{key: _in_table(value) for key, value in row.items()} for row in listed], as_json=False)


def _in_table(value: object) -> object:
    return _cut(" ".join(value.split()), SHOWN_CHARACTERS) if isinstance(value, str) else value
