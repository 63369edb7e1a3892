"""What the compared arms reached: accuracy of each, and paired differences, per experiment and over all of them."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate

from selfexplore_tasks.report import format_accuracy, query_rows
from selfexplore_tasks.seeds import derive_seed
from selfexplore_tasks.statistics import paired_bootstrap
from selfexplore_tasks.store.home import Store

ARMS = {
    "base": "base",
    "sft": "SFT",
    "parent": "champion before",
    "rft": "RFT",
    "continued_rft": "continued RFT",
    "outcome_dpo": "outcome DPO",
    "policy": "Self-Explore",
}
"""Model names in the order of the report; what a person calls them."""


def comparison_rows(store: Store, slugs: list[str]) -> list[dict[str, Any]]:
    """One dict per pair of arms of a round and split, the later arm as ``model``; ``baseline`` may be the parent."""
    rows = query_rows(store, slugs, "select * from comparisons")
    for row in rows:
        row["model"], row["baseline"] = _arm(row, "model_id"), _arm(row, "baseline_id")
    return sorted((row for row in rows if _rank(row["baseline"]) < _rank(row["model"])), key=_order)


def _arm(row: dict[str, Any], side: str) -> str:
    """The arm's name; the champion of an earlier round is the ``parent``, be it an SFT model or a policy."""
    round_text, _, name = row[side].partition("/")
    return name if int(round_text) == row["round"] or name in ("base", "sft") else "parent"


def _rank(arm: str) -> int:
    return list(ARMS).index(arm)


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["experiment"], row["round"], row["split"], -_rank(row["model"]), _rank(row["baseline"]))


def pooled_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sum comparison rows over experiments (seeds) by round, split and arms; the bootstrap is over all problems."""
    sums: dict[tuple[int, str, str, str], dict[str, int]] = {}
    for row in rows:
        key = (row["round"], row["split"], row["model"], row["baseline"])
        total = sums.setdefault(key, {"gained": 0, "lost": 0, "problem_count": 0})
        for name in total:
            total[name] += row[name]
    pooled = []
    for key, total in sums.items():
        low, high = paired_bootstrap(**total, seed=derive_seed("pooled", *key))
        difference = (total["gained"] - total["lost"]) / total["problem_count"]
        names = dict(zip(("round", "split", "model", "baseline"), key, strict=True))
        pooled.append({**names, **total, "difference": difference, "difference_low": low, "difference_high": high})
    return pooled


def comparison_report(scores: list[dict[str, Any]], rows: list[dict[str, Any]]) -> str:
    """Two tables: accuracy of every arm by experiment, and the paired differences, with their pooled values."""
    experiments = list(dict.fromkeys(row["experiment"] for row in rows))
    accuracy = tabulate(_accuracy_lines(scores, rows), headers="keys", disable_numparse=True)
    lines = [_difference_line(row["experiment"], row) for row in rows]
    if len(experiments) > 1:
        lines += [_difference_line(f"all {len(experiments)}", row) for row in pooled_rows(rows)]
    differences = tabulate(lines, headers="keys", disable_numparse=True)
    return (
        f"Accuracy, % [95% Wilson interval]\n{accuracy}\n\n"
        f"Differences in points of accuracy [95% paired bootstrap interval]\n{differences}"
    )


def _accuracy_lines(scores: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    named = {(row["experiment"], row[side]) for row in rows for side in ("model_id", "baseline_id")}
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for score in scores:
        key = (score["experiment"], score["model_id"])
        if key in named:
            start = {"experiment": key[0], "round": score["round"], "arm": ARMS[score["model"]]}
            lines.setdefault(key, start)[score["split"]] = format_accuracy(score)
    order = list(ARMS.values())
    return sorted(lines.values(), key=lambda line: (line["experiment"], line["round"], order.index(line["arm"])))


def _difference_line(label: str, row: dict[str, Any]) -> dict[str, Any]:
    low, high = 100 * row["difference_low"], 100 * row["difference_high"]
    return {
        "experiment": label,
        "round": row["round"],
        "split": row["split"],
        "arm": ARMS[row["model"]],
        "minus": ARMS[row["baseline"]],
        "points": f"{100 * row['difference']:+.1f} [{low:+.1f}, {high:+.1f}]",
        "gained": row["gained"],
        "lost": row["lost"],
        "problems": row["problem_count"],
    }
