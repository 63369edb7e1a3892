"""The problem browser: an experiment's problems as seen in one round, filtered and paged."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa

from selfexplore_tasks.pages.model import ProblemList, ProblemRow
from selfexplore_tasks.pages.reader import NotFound, Reader, Snapshot

Status = Literal["all", "solved", "unsolved", "newly_solved", "newly_lost"]


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
        status: ``newly_solved`` and ``newly_lost`` compare with the round before.
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
    found = [ProblemRow(**_without_total(row)) for row in rows if row["problem_id"] is not None]
    total = rows[0]["total"]
    return ProblemList(experiment=slug, round=number, total=total, offset=offset, limit=limit, problems=found)


def _without_total(row: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if name != "total"}


def _last_tried(snapshot: Snapshot) -> int:
    tried = {manifest.round for manifest in snapshot.manifests if manifest.stage in ("sample", "evaluate")}
    return max(tried, default=max(snapshot.rounds, default=0))


def _summary(reader: Reader, snapshot: Snapshot, number: int) -> pa.Table:
    """All problems with what the round made of them, kept until the round or an earlier one changes."""

    def read() -> pa.Table:
        parts = {
            "problems": snapshot.parts("problems"),
            "rationales": snapshot.parts("rationales", [number]),
            "earlier_rationales:rationales": snapshot.parts("rationales", [number - 1]),
            "evaluations": snapshot.parts("evaluations", range(number + 1)),
            "first_pits": snapshot.parts("first_pits", [number]),
        }
        before = snapshot.candidate(number - 1) if number else None
        return reader.table(
            "problem_summary", parts, candidate=snapshot.candidate(number) or "", earlier_candidate=before or ""
        )

    return reader.remember(("summary", number, snapshot.key(range(number + 1))), read)
