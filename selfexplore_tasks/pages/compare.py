"""Two rounds side by side, of one experiment or of two: paired differences and the problems that flipped."""

from __future__ import annotations

from typing import Any

from selfexplore_tasks.pages.model import ComparePage, Difference, FlippedProblem, Side
from selfexplore_tasks.pages.reader import Parts, Reader, again_if_changed
from selfexplore_tasks.pages.snapshot import NotFound, Snapshot
from selfexplore_tasks.seeds import derive_seed
from selfexplore_tasks.statistics import paired_bootstrap


@again_if_changed
def compare_page(
    reader: Reader,
    left: tuple[str, int],
    right: tuple[str, int],
    *,
    benchmark: str | None = None,
    split: str | None = None,
    offset: int = 0,
    limit: int = 50,
) -> ComparePage:
    """Compare the candidates of two rounds, each named by experiment and round; differences are right minus left.

    ``benchmark`` and ``split`` narrow the problems that flipped, not the differences. Raises NotFound.
    """
    (left_snapshot, left_model), (right_snapshot, right_model) = _side(reader, left), _side(reader, right)
    parts = {
        "left_answers:evaluations": left_snapshot.parts("evaluations"),
        "right_answers:evaluations": right_snapshot.parts("evaluations"),
        "problems": right_snapshot.parts("problems"),
    }
    models: dict[str, Any] = {"left_model": left_model, "right_model": right_model}
    narrowed: dict[str, Any] = {"benchmark": benchmark, "split": split, "row_limit": limit, "row_offset": offset}
    flipped = reader.rows("compare_flipped", parts, **models, **narrowed)
    return ComparePage(
        left=Side(experiment=left[0], round=left[1], model_id=left_model),
        right=Side(experiment=right[0], round=right[1], model_id=right_model),
        differences=_differences(reader, right_snapshot, right[1], parts, left_model, right_model),
        total=flipped[0]["total"],
        offset=offset,
        limit=limit,
        flipped=[
            FlippedProblem(**{name: row[name] for name in FlippedProblem.model_fields})
            for row in flipped
            if row["problem_id"] is not None
        ],
    )


def _side(reader: Reader, place: tuple[str, int]) -> tuple[Snapshot, str]:
    slug, number = place
    snapshot = reader.snapshot(slug)
    candidate = snapshot.candidate(number)
    if candidate is None or snapshot.manifest(number, "evaluate") is None:
        raise NotFound(f"Round {number} of {slug!r} has no evaluated model yet.")
    return snapshot, candidate


def _differences(
    reader: Reader, snapshot: Snapshot, number: int, parts: Parts, left: str, right: str
) -> list[Difference]:
    made = []
    for row in reader.rows("compare_differences", parts, left_model=left, right_model=right):
        gained, lost, count = row["gained"], row["lost"], row["problem_count"]
        # The seed of stage `gate`: models that it compared have the same interval here.
        seed = derive_seed(snapshot.recipe.seed, "bootstrap", right, left, row["split"])
        low, high = paired_bootstrap(gained, lost, count, seed=seed)
        made.append(
            Difference(
                round=number,
                model_id=right,
                baseline_id=left,
                **row,
                difference=(gained - lost) / count,
                low=low,
                high=high,
            )
        )
    return made
