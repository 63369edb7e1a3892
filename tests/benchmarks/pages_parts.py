"""Tables and manifests as the stages write them, from arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.store.manifests import Manifest, write_manifest
from selfexplore_tasks.store.schemas import TABLES

NOW = "2026-01-01T00:00:00+00:00"
NO_TABLES: Mapping[str, pa.Table] = {}
COUNTS = {"dpo": {"pairs": 9, "too_long": 0}}
"""Row counts that a stage without tables must have for the next round to start."""


def table_of(name: str, columns: Mapping[str, Any], **constants: Any) -> pa.Table:
    """A table in its stored schema: arrays as given, constants repeated, everything else null."""
    count = len(next(iter(columns.values())))
    arrays = [
        columns[field.name].cast(field.type)
        if field.name in columns
        else pa.repeat(pa.scalar(constants.get(field.name), field.type), count)
        for field in TABLES[name]
    ]
    return pa.Table.from_arrays(arrays, schema=TABLES[name])


def write_stage(
    context: StageContext,
    tables: Mapping[str, pa.Table] = NO_TABLES,
    rows_per_part: int | None = None,
    *,
    cuts: Sequence[int] | None = None,
    notes: Mapping[str, Any] | None = None,
    model_id: str | None = None,
) -> int:
    """Write tables in parts of so many rows (or cut at ``cuts``) and the manifest; returns how many parts."""
    parts: dict[str, list[str]] = {}
    for name, table in tables.items():
        starts = list(cuts) if cuts is not None else list(range(0, len(table), rows_per_part or max(1, len(table))))
        ends = [*starts[1:], len(table)]
        parts[name] = [
            context.write_rows(name, table.slice(start, end - start), chunk).name
            for chunk, (start, end) in enumerate(zip(starts, ends, strict=True))
        ]
    counts = COUNTS.get(context.stage, {name: len(table) for name, table in tables.items()})
    given = {**(notes or {}), **({"model_id": model_id} if model_id else {})}
    place = (context.slug, context.round_number, context.stage, context.experiment.recipe_hash)
    write_manifest(context.store, Manifest(*place, 0, NOW, NOW, 60.0, 1_000, counts, parts, given))
    return sum(len(names) for names in parts.values())
