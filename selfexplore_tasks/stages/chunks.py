"""Long work in chunks that are committed one by one, shared among any number of shards.

A chunk is a fixed group of inputs, the same whatever the number of shards. A shard claims chunks that are neither
done nor claimed; a crash costs the chunk in work. Whoever finds every chunk done writes the manifest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.compute as pc
import pyarrow.parquet as pq

from selfexplore_tasks.progress import Progress
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.store.locks import chunk_claim
from selfexplore_tasks.store.manifests import Manifest
from selfexplore_tasks.store.parts import is_done, read_stamps, to_table, write_part

Rows = list[dict[str, Any]]
Item = TypeVar("Item")


def work_chunks(
    context: StageContext,
    table: str,
    items: Sequence[Item],
    *,
    chunk_size: int,
    unit: str,
    work: Callable[[Sequence[Item], Progress], Rows],
    label: str,
    units_per_item: int = 1,
    first_chunk: int = 0,
) -> list[Path]:
    """Work through this shard's share of ``items``; return the paths of all chunks, also those of other shards.

    ``work`` turns one chunk of items into rows of ``table`` and advances the progress by ``units_per_item`` per item.
    """
    chunks = [items[start : start + chunk_size] for start in range(0, len(items), chunk_size)]
    paths = [context.part_path(table, first_chunk + number) for number in range(len(chunks))]
    recipe_hash = context.recipe_hash
    already = sum(
        len(chunk) for chunk, path in zip(chunks, paths, strict=True) if is_done(path, recipe_hash=recipe_hash)
    )
    claims = context.store.lock_dir(context.slug) / "claims"
    with Progress(label, len(items) * units_per_item, unit, already * units_per_item) as progress:
        for chunk, path in zip(chunks, paths, strict=True):
            with chunk_claim(claims, f"{context.round_number}-{path.stem}") as claimed:
                if not claimed or is_done(path, recipe_hash=recipe_hash):
                    continue
                begun = time.monotonic()
                rows = to_table(table, work(chunk, progress))
                write_part(path, rows, recipe_hash=recipe_hash, seconds=time.monotonic() - begun)
    return paths


def finish_chunks(
    context: StageContext,
    table: str,
    paths: Sequence[Path],
    notes: dict[str, Any],
    more_parts: Mapping[str, Sequence[Path]] | None = None,
) -> Manifest | None:
    """Commit the stage if every chunk is there; returns None while another shard still works on one.

    ``more_parts`` are parts of other tables that the stage derived from its chunks.

    The seconds are this try's, or more where earlier tries did some chunks: their work, spread over the shards.
    """
    if not all(path.exists() for path in paths):
        print(f"{context.stage}: this shard's share is done, other shards still work", flush=True)
        return None
    row_count = sum(pq.read_metadata(path).num_rows for path in paths)
    tokens = sum(pc.sum(pq.read_table(path, columns=["token_count"])["token_count"]).as_py() or 0 for path in paths)
    work_seconds = sum(float(read_stamps(path)["seconds"]) for path in paths)
    return context.commit(
        {table: paths, **(more_parts or {})},
        row_counts={table: row_count},
        token_count=tokens,
        notes=notes,
        seconds=max(time.monotonic() - context.started, work_seconds / context.shard_count),
    )


def shard_label(context: StageContext) -> str:
    """The stage's name, with the shard where there are several."""
    if context.shard_count == 1:
        return context.stage
    return f"{context.stage} {context.shard_index + 1}/{context.shard_count}"
