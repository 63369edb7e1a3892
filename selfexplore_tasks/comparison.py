"""What the compared arms reached: accuracy of each, and paired differences, per experiment and over all of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tabulate import tabulate

from selfexplore_tasks.report import format_accuracy, query_rows
from selfexplore_tasks.seeds import derive_seed
from selfexplore_tasks.statistics import clustered_bootstrap
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
    return label_arms(query_rows(store, slugs, "select * from comparisons"))


def label_arms(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of table `comparisons` with the names of both arms, each pair once and in the order of the report."""
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


def pooled_rows(store: Store, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sum comparison rows over experiments (seeds) by round, split and arms.

    The bootstrap is over problems: one that several experiments share is drawn with all its answers.
    """
    pooled: dict[tuple[Any, ...], dict[str, Any]] = {}
    keys: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row in rows:
        key = (row["round"], row["split"], row["model"], row["baseline"])
        keys[row["experiment"], row["model_id"], row["baseline_id"], row["split"]] = key
        names = dict(zip(("round", "split", "model", "baseline"), key, strict=True))
        total = pooled.setdefault(key, {**names, "experiments": 0, "gained": 0, "lost": 0, "problem_count": 0})
        total["experiments"] += 1
        for name in ("gained", "lost", "problem_count"):
            total[name] += row[name]
    tallies = _tallies(store, keys)
    for key, total in pooled.items():
        low, high = clustered_bootstrap(tallies[key], seed=derive_seed("pooled", *key))
        total["difference"] = (total["gained"] - total["lost"]) / total["problem_count"]
        total.update(difference_low=low, difference_high=high)
    return list(pooled.values())


def _tallies(
    store: Store, keys: dict[tuple[Any, ...], tuple[Any, ...]]
) -> dict[tuple[Any, ...], Counter[tuple[int, int]]]:
    """Per pooled comparison: how many problems have which (sum of differences, number of answers)."""
    differences = query_rows(
        store,
        list(dict.fromkeys(experiment for experiment, *_ in keys)),
        "from int_paired_answers semi join comparisons using (experiment, model_id, baseline_id, split)",
    )
    sums: dict[tuple[Any, ...], tuple[int, int]] = {}
    for row in differences:
        key = keys.get((row["experiment"], row["model_id"], row["baseline_id"], row["split"]))
        if key is not None:
            total, answers = sums.get((*key, row["problem_id"]), (0, 0))
            sums[(*key, row["problem_id"])] = (total + row["difference"], answers + 1)
    tallies: dict[tuple[Any, ...], Counter[tuple[int, int]]] = {}
    for (*names, _), kind in sums.items():
        tallies.setdefault(tuple(names), Counter())[kind] += 1
    return tallies


def comparison_report(scores: list[dict[str, Any]], rows: list[dict[str, Any]], pooled: list[dict[str, Any]]) -> str:
    """Two tables: accuracy of every arm by experiment, and the paired differences, with their pooled values."""
    accuracy = tabulate(_accuracy_lines(scores, rows), headers="keys", disable_numparse=True)
    lines = [_difference_line(row["experiment"], row) for row in rows]
    lines += [_difference_line(f"all {row['experiments']}", row) for row in pooled if row["experiments"] > 1]
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
