"""The problem browser: an experiment's problems as seen in one round, filtered and paged."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa

from selfexplore_tasks.pages.experiments import champion_entries
from selfexplore_tasks.pages.problem_model import ProblemList, ProblemRow
from selfexplore_tasks.pages.reader import Reader, again_if_changed
from selfexplore_tasks.pages.snapshot import NotFound, Snapshot

Status = Literal["all", "solved", "unsolved", "newly_solved", "newly_lost"]


@again_if_changed
def problem_list(
    reader: Reader,
    slug: str,
    *,
    round_number: int | None = None,
    split: str | None = None,
    status: Status = "all",
    pit_step: int | None = None,
    text: str = "",
    offset: int = 0,
    limit: int = 50,
) -> ProblemList:
    """One page of the problems that fit, in order of their ids.

    Args:
        round_number: None means the last round in which problems were tried.
        status: ``newly_solved`` and ``newly_lost`` compare as `ProblemRow.was_solved` says.
        pit_step: only problems with a first pit at this step in the round.
        text: must be in the question or the id, in any case.

    Raises:
        NotFound: no such experiment, or nothing of this round is done.
    """
    snapshot = reader.snapshot(slug)
    number = _last_tried(snapshot) if round_number is None else round_number
    if number not in snapshot.rounds:
        raise NotFound(f"Nothing of round {number} of {slug!r} is done.")
    rows = reader.rows(
        "problem_list",
        tables={"summary": _summary(reader, snapshot, number)},
        split=split,
        status=status,
        pit_step=pit_step,
        text=text,
        row_limit=limit,
        row_offset=offset,
    )
    fields, total = ProblemRow.model_fields, rows[0]["total"]
    found = [ProblemRow(**{name: row[name] for name in fields}) for row in rows if row["problem_id"] is not None]
    return ProblemList(experiment=slug, round=number, total=total, offset=offset, limit=limit, problems=found)


def _last_tried(snapshot: Snapshot) -> int:
    tried = {manifest.round for manifest in snapshot.manifests if manifest.stage in ("sample", "evaluate")}
    return max(tried, default=max(snapshot.rounds, default=0))


def _summary(reader: Reader, snapshot: Snapshot, number: int) -> pa.Table:
    """All problems with what the round made of them, kept until the round or an earlier one changes."""

    parent, candidate = _parent(reader, snapshot, number), snapshot.candidate(number)

    def read() -> pa.Table:
        parts = {
            "problems": snapshot.parts("problems"),
            "rationales": snapshot.parts("rationales", [number]),
            "earlier_rationales:rationales": snapshot.parts("rationales", [number - 1]),
            "evaluations": snapshot.parts("evaluations", range(number + 1)),
            "first_pits": snapshot.parts("first_pits", [number]),
        }
        return reader.table("problem_summary", parts, candidate=candidate or "", parent=parent or "")

    version = (parent, snapshot.version(range(number + 1)))
    return reader.remember(("summary", snapshot.slug, number), version, read)


def _parent(reader: Reader, snapshot: Snapshot, number: int) -> str | None:
    """The champion that a round started from; None for round 0."""
    before = [entry.model_id for entry in champion_entries(reader, snapshot) if entry.round < number]
    return before[-1] if before else None
