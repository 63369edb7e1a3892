"""The list of experiments."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.pages.live import running_stages, state_of
from selfexplore_tasks.pages.model import ExperimentRow
from selfexplore_tasks.pages.reader import Reader, again_if_changed
from selfexplore_tasks.pages.snapshot import NotFound, Snapshot, why_unreadable
from selfexplore_tasks.store.champions import ChampionEntry, champion_history

FAULTS = (UserError, OSError, ValueError, KeyError, TypeError)
"""What damaged files, or those of another version, raise."""


def experiment_rows(
    reader: Reader, running_runs: Collection[str] = (), *, offset: int = 0, limit: int | None = None
) -> list[ExperimentRow]:
    """Experiments, the newest first and unreadable ones last; ``running_runs`` as in `live.state_of`."""
    made_at = sorted(((_created_at(reader, slug), slug) for slug in reader.slugs()), reverse=True)
    shown = made_at[offset : None if limit is None else offset + limit]
    rows = [_row_or_problem(reader, slug, created_at, running_runs) for created_at, slug in shown]
    return [row for row in rows if row is not None]


def _created_at(reader: Reader, slug: str) -> str:
    try:
        return reader.snapshot(slug).experiment.created_at
    except FAULTS:
        return ""


def _row_or_problem(reader: Reader, slug: str, created_at: str, running_runs: Collection[str]) -> ExperimentRow | None:
    """One unreadable experiment must not hide the others; None: deleted since it was listed."""
    try:
        return _row(reader, slug, running_runs)
    except FAULTS as error:
        if isinstance(error, NotFound) or not reader.store.experiment_file(slug).exists():
            return None
        unknown = dict.fromkeys(ExperimentRow.model_fields)
        known = {"experiment": slug, "created_at": created_at, "recipe": "", "recipe_hash": "", "live": []}
        state = {"state": "unreadable", "problem": why_unreadable(slug, error)}
        return ExperimentRow.model_validate({**unknown, **known, **state, "max_rounds": 0, "seconds": 0, "tokens": 0})


@again_if_changed
def _row(reader: Reader, slug: str, running_runs: Collection[str]) -> ExperimentRow:
    return experiment_row(reader, reader.snapshot(slug), running_runs)


def experiment_row(reader: Reader, snapshot: Snapshot, running_runs: Collection[str] = ()) -> ExperimentRow:
    """One line of the list; gain and decision are those of the last finished round."""
    live = running_stages(reader.store, snapshot.slug)
    finished = snapshot.finished_rounds
    last = round_rows(reader, snapshot)[-1] if finished else {}
    champions = champion_entries(reader, snapshot) if finished else []
    champion = champions[-1].model_id if champions else None
    accuracy = _champion_accuracy(reader, snapshot, champion) if champion else {}
    return ExperimentRow(
        experiment=snapshot.slug,
        recipe=snapshot.recipe.name,
        recipe_hash=snapshot.experiment.recipe_hash,
        created_at=snapshot.experiment.created_at,
        forked_from=snapshot.forked_from,
        state=state_of(reader, snapshot, live, running_runs),
        live=live,
        last_round=max(finished, default=None),
        max_rounds=snapshot.recipe.max_rounds,
        champion=champion,
        champion_accuracy=accuracy.get("accuracy"),
        champion_low=accuracy.get("low"),
        champion_high=accuracy.get("high"),
        seconds=sum(manifest.seconds for manifest in snapshot.own_manifests),
        tokens=sum(manifest.token_count for manifest in snapshot.own_manifests),
        **{name: last.get(name) for name in ("decision", "gain", "gain_low", "gain_high", "gain_level", "stop_reason")},
    )


def round_rows(reader: Reader, snapshot: Snapshot) -> list[dict[str, Any]]:
    """Rows of ``sql/pages/rounds.sql``."""

    def read() -> list[dict[str, Any]]:
        return reader.rows("rounds", {"rounds": snapshot.parts("rounds")})

    return reader.remember(("rounds", snapshot.slug), snapshot.version(), read)


def champion_entries(reader: Reader, snapshot: Snapshot) -> list[ChampionEntry]:
    """As `champion_history`; a person's choices are in a file beside the manifests."""
    path = reader.store.champion_file(snapshot.slug)
    chosen_at = path.stat().st_mtime_ns if path.exists() else 0

    def read() -> list[ChampionEntry]:
        return champion_history(reader.store, snapshot.slug)

    return reader.remember(("champions", snapshot.slug), (chosen_at, snapshot.version()), read)


def _champion_accuracy(reader: Reader, snapshot: Snapshot, champion: str) -> dict[str, Any]:
    """Accuracy, low and high on dev; empty where the champion was never measured there."""

    def read() -> dict[str, Any]:
        others = [benchmark.name for benchmark in snapshot.recipe.problems.benchmarks]
        parts = {"scores": snapshot.parts("scores")}
        rows = reader.rows("champion_accuracy", parts, model_id=champion, other_benchmarks=others)
        return rows[0] if rows else {}

    return reader.remember(("champion_accuracy", snapshot.slug), (champion, snapshot.version()), read)
