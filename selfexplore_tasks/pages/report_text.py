"""The report as Markdown: the numbers of an experiment's page as tables, for a pull request or a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from tabulate import tabulate

from selfexplore_tasks.pages.model import AccuracyPoint, Difference, ExperimentPage, FunnelStep, RoundRow, StageCost

Rows = Sequence[Mapping[str, object]]

_SPECIAL = re.compile(r"([\\`*\[\]|~#])")


def markdown_report(page: ExperimentPage) -> str:
    """GitHub-flavoured Markdown; shares are percent, differences percentage points.

    Intervals are 95%, but the gate's: each says its level.
    """
    row = page.experiment
    sections = [
        ("Accuracy, % of problems solved greedily [95% interval]", _accuracy(page.accuracy)),
        ("Decisions", _decisions(page.rounds)),
        ("From problems to pairs", _funnel(page.funnel)),
        ("Why rows went no further", _drops(page.funnel)),
        ("First pits by step", _pits(page)),
        ("Compared models of the last round, difference in points [95% interval]", _differences(page.arms)),
        ("Seconds by stage (expected)", _costs(page.costs)),
    ]
    head = [f"# {escape(row.experiment)}", _summary(page)]
    return "\n\n".join([*head, *(f"## {title}\n\n{_table(rows)}" for title, rows in sections if rows)]) + "\n"


def escape(text: object) -> str:
    """Text as one line of Markdown that means only itself, in a table too."""
    flat = " ".join(str(text).split())
    return _SPECIAL.sub(r"\\\1", flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def _summary(page: ExperimentPage) -> str:
    row = page.experiment
    fork = f", forked from {row.forked_from}" if row.forked_from else ""
    lines = [f"Recipe {escape(row.recipe)} ({row.recipe_hash[:12]}), made {row.created_at}{fork}."]
    if row.champion is not None:
        accuracy = _interval(row.champion_accuracy, row.champion_low, row.champion_high)
        lines.append(f"Champion after round {row.last_round}: **{escape(row.champion)}**, {accuracy} % on dev.")
    lines.append(f"{row.seconds:,.0f} seconds, {row.tokens:,} tokens.")
    if row.stop_reason:
        lines.append(f"Ended: {escape(row.stop_reason)}.")
    return " ".join(lines)


def _accuracy(points: Sequence[AccuracyPoint]) -> Rows:
    columns = list(dict.fromkeys(f"{point.benchmark} {point.split}" for point in points))
    table: dict[str, dict[str, object]] = {}
    for point in points:
        line = table.setdefault(
            point.model_id, {"round": point.round, "model": escape(point.model), **dict.fromkeys(columns, "")}
        )
        line[f"{point.benchmark} {point.split}"] = _interval(point.accuracy, point.low, point.high)
    for point in points:
        table[point.model_id]["promoted"] = "yes" if point.promoted else ""
    return list(table.values())


def _decisions(rounds: Sequence[RoundRow]) -> Rows:
    return [
        {
            "round": row.round,
            "decision": escape(row.decision),
            "champion": escape(row.champion or ""),
            "gain on dev, points [interval]": _gain(row),
            "gain on test": _difference(row.test_gain),
            "reason": escape(row.decision_reason),
            "alarms": escape("; ".join(row.alarms)),
        }
        for row in rounds
    ]


def _gain(row: RoundRow) -> str:
    """With the level of the gate's interval, which hangs on what chance of a wrong promotion the round was allowed."""
    level = "" if row.gain_level is None else f" ({100 * row.gain_level:.3g}%)"
    return f"{_difference(row.gain, row.gain_low, row.gain_high)}{level}"


def _funnel(funnel: Sequence[FunnelStep]) -> Rows:
    return _by_round("step", ((step.label, step.round, f"{step.count:,}") for step in funnel))


def _drops(funnel: Sequence[FunnelStep]) -> Rows:
    return _by_round(
        "step and reason",
        (
            (f"{step.label}: {escape(reason.replace('_', ' '))}", step.round, f"{count:,}")
            for step in funnel
            for reason, count in step.drops.items()
        ),
    )


def _pits(page: ExperimentPage) -> Rows:
    named = (("no pit" if pit.step is None else str(pit.step), pit.round, f"{pit.count:,}") for pit in page.first_pits)
    return _by_round("first pit at step", named)


def _differences(arms: Sequence[Difference]) -> Rows:
    last = max((arm.round for arm in arms), default=0)
    return [
        {
            "round": arm.round,
            "models": f"{escape(arm.model_id)} minus {escape(arm.baseline_id)}",
            "problems": f"{escape(arm.benchmark)} {arm.split}, {arm.problem_count:,}",
            "difference": _difference(arm.difference, arm.low, arm.high),
            "gained": arm.gained,
            "lost": arm.lost,
        }
        for arm in arms
        if arm.round == last
    ]


def _costs(costs: Sequence[StageCost]) -> Rows:
    def cell(cost: StageCost) -> str:
        expected = "" if cost.estimated_seconds is None else f" ({cost.estimated_seconds:,.0f})"
        return f"{cost.seconds:,.1f}{expected}"

    return _by_round("stage", ((cost.stage, cost.round, cell(cost)) for cost in costs))


def _by_round(name: str, cells: Iterable[tuple[str, int, str]]) -> Rows:
    """One line per name and one column per round, from (name, round, text)."""
    given = list(cells)
    rounds = sorted({number for _, number, _ in given})
    table: dict[str, dict[str, object]] = {}
    for line, number, text in given:
        empty = dict.fromkeys((f"round {one}" for one in rounds), "")
        table.setdefault(line, {name: line, **empty})[f"round {number}"] = text
    return list(table.values())


def _table(rows: Rows) -> str:
    return tabulate([dict(row) for row in rows], headers="keys", tablefmt="github", disable_numparse=True)


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "unknown"
    bounds = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * value:.1f}{bounds}"


def _difference(value: float | None, low: float | None = None, high: float | None = None) -> str:
    return "" if value is None else f"{'+' if value > 0 else ''}{_interval(value, low, high)}"
