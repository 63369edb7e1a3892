"""The list of experiments."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from selfexplore_tasks.pages.live import running_stages, state_of
from selfexplore_tasks.pages.model import ExperimentRow
from selfexplore_tasks.pages.reader import NotFound, Reader, Snapshot
from selfexplore_tasks.store.champions import champion_history


def experiment_rows(reader: Reader, running_runs: Collection[str] = ()) -> list[ExperimentRow]:
    """Every experiment, the newest first; ``running_runs`` as in `live.state_of`."""
    rows = []
    for slug in reader.slugs():
        try:
            rows.append(experiment_row(reader, reader.snapshot(slug), running_runs))
        except NotFound:
            continue  # deleted since it was listed
    return sorted(rows, key=lambda row: (row.created_at, row.experiment), reverse=True)


def experiment_row(reader: Reader, snapshot: Snapshot, running_runs: Collection[str] = ()) -> ExperimentRow:
    """One line of the list; gain and decision are those of the last finished round."""
    live = running_stages(reader.store, snapshot.slug)
    finished = snapshot.finished_rounds
    last = round_rows(reader, snapshot)[-1] if finished else {}
    champion = _champion(reader, snapshot) if finished else None
    accuracy = _champion_accuracy(reader, snapshot, champion) if champion else {}
    return ExperimentRow(
        experiment=snapshot.slug,
        recipe=snapshot.recipe.name,
        recipe_hash=snapshot.recipe_hash,
        created_at=snapshot.created_at,
        forked_from=snapshot.forked_from,
        state=state_of(reader, snapshot, live, running_runs),
        live=live,
        last_round=max(finished, default=None),
        max_rounds=snapshot.recipe.max_rounds,
        champion=champion,
        champion_accuracy=accuracy.get("accuracy"),
        champion_low=accuracy.get("low"),
        champion_high=accuracy.get("high"),
        seconds=sum(manifest.seconds for manifest in snapshot.manifests),
        tokens=sum(manifest.token_count for manifest in snapshot.manifests),
        **{name: last.get(name) for name in ("decision", "gain", "gain_low", "gain_high", "stop_reason")},
    )


def round_rows(reader: Reader, snapshot: Snapshot) -> list[dict[str, Any]]:
    """Rows of ``sql/pages/rounds.sql``."""
    return reader.remember(
        ("rounds", snapshot.key()), lambda: reader.rows("rounds", {"rounds": snapshot.parts("rounds")})
    )


def _champion(reader: Reader, snapshot: Snapshot) -> str | None:
    """The champion's model id; a person's choices are in a file beside the manifests."""
    path = reader.store.champion_file(snapshot.slug)
    chosen_at = path.stat().st_mtime_ns if path.exists() else 0

    def read() -> str | None:
        history = champion_history(reader.store, snapshot.slug)
        return history[-1].model_id if history else None

    return reader.remember(("champion", chosen_at, snapshot.key()), read)


def _champion_accuracy(reader: Reader, snapshot: Snapshot, champion: str) -> dict[str, Any]:
    """Accuracy, low and high on dev; empty where the champion was never measured there."""

    def read() -> dict[str, Any]:
        others = [benchmark.name for benchmark in snapshot.recipe.problems.benchmarks]
        parts = {"scores": snapshot.parts("scores")}
        rows = reader.rows("champion_accuracy", parts, model_id=champion, other_benchmarks=others)
        return rows[0] if rows else {}

    return reader.remember(("champion_accuracy", champion, snapshot.key()), read)
