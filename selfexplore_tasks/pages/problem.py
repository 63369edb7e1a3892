"""The page of one problem: its rationales step by step, the rollouts behind them, pairs and answers."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from selfexplore_tasks.pages.problem_model import (
    AnswerRow,
    PairRow,
    ProblemPage,
    RationaleRow,
    RolloutRow,
    RoundRationales,
    StepRow,
)
from selfexplore_tasks.pages.reader import Reader, again_if_changed
from selfexplore_tasks.pages.snapshot import NotFound, Snapshot
from selfexplore_tasks.steps import explorable_steps

RATIONALES_SHOWN = 10
ROLLOUTS_SHOWN, ROLLOUTS_SENT = 50, 2_000
"""Behind one step, and of a page: the first behind every step go first."""
PAIRS_SHOWN = 500

Rollouts = dict[tuple[int, str, int], list[dict[str, Any]]]
"""Rollouts by round, rationale and step."""


@again_if_changed
def problem_page(reader: Reader, slug: str, problem_id: str, *, limit: int = RATIONALES_SHOWN) -> ProblemPage:
    """Everything about a problem, at most ``limit`` rationales a round; raises NotFound."""
    snapshot = reader.snapshot(slug)
    found = reader.rows("problem", {"problems": snapshot.parts("problems")}, problem_id=problem_id)
    if not found:
        raise NotFound(f"Experiment {slug!r} has no problem {problem_id!r}.")

    def rows(name: str, *tables: str, **variables: Any) -> list[dict[str, Any]]:
        """A query over the parts of these tables that may hold the problem."""
        parts = {table: reader.parts_with(snapshot, table, problem_id) for table in tables}
        return reader.rows(name, parts, problem_id=problem_id, **variables)

    rationales = rows("problem_rationales", "rationales", "first_pits", row_limit=limit)
    ids = [row["rationale_id"] for row in rationales if row["is_explored"]]
    limits = {"row_limit": ROLLOUTS_SHOWN, "row_total": ROLLOUTS_SENT}
    rollouts = _by_step(rows("problem_rollouts", "rollouts", rationale_ids=ids, **limits) if ids else [])
    pairs = rows("problem_pairs", "pairs", row_limit=PAIRS_SHOWN)
    # Training problems are never evaluated.
    answers = rows("problem_answers", "evaluations") if found[0]["split"] != "train" else []
    return ProblemPage(
        experiment=slug,
        **found[0],
        rationale_total=rationales[0]["total"] if rationales else 0,
        rounds=_rounds(rationales),
        rationales=[_rationale(snapshot, row, rollouts) for row in rationales],
        pairs=[PairRow(**{**row, "prefix": row["prefix"] or ""}) for row in pairs],
        answers=[AnswerRow(**row) for row in answers],
    )


def _rounds(rationales: list[dict[str, Any]]) -> list[RoundRationales]:
    """The newest first; every round that drew any has a row at least."""
    counts = {row["round"]: (row["round_count"], row["round_correct"]) for row in rationales}
    return [
        RoundRationales(round=number, rationale_count=count, correct_count=correct)
        for number, (count, correct) in counts.items()
    ]


def _by_step(rows: list[dict[str, Any]]) -> Rollouts:
    grouped = groupby(rows, key=lambda row: (row["round"], row["rationale_id"], row["step"]))
    return {key: list(group) for key, group in grouped}


def _rationale(snapshot: Snapshot, row: dict[str, Any], rollouts: Rollouts) -> RationaleRow:
    recipe = snapshot.recipe_of(row["round"])
    texts = explorable_steps(
        row["text"],
        recipe.steps.style,
        answer_phrase=recipe.prompt.answer_phrase,
        max_steps=recipe.steps.max_steps,
    )
    steps = [
        _step(number, text, row, rollouts.get((row["round"], row["rationale_id"], number), []))
        for number, text in enumerate(texts, 1)
    ]
    kept = {name: value for name, value in row.items() if name in RationaleRow.model_fields}
    return RationaleRow(**kept, steps=steps, tail=row["text"][sum(map(len, texts)) :])


def _step(number: int, text: str, row: dict[str, Any], rollouts: list[dict[str, Any]]) -> StepRow:
    passes, draws = row["pass_counts"] or [], row["draw_counts"] or []
    pass_count = passes[number - 1] if number <= len(passes) else None
    pit = row["first_pit_step"]
    return StepRow(
        step=number,
        text=text,
        pass_count=pass_count,
        draw_count=draws[number - 1] if number <= len(draws) else None,
        is_first_pit=number == pit,
        is_undecided=pass_count == 0 and (pit is None or number < pit),
        rollouts=[RolloutRow(**{name: one[name] for name in RolloutRow.model_fields}) for one in rollouts],
    )
