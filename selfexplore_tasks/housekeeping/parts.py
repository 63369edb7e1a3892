"""Small parquet parts of finished rounds: many become one, and what no manifest names any more is removed.

The new part is complete before the manifest names it, and the manifest changes in one step: a reader sees the old parts
or the new one, with the same rows in the same order. The old parts stay for an hour, for readers that have begun.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from selfexplore_tasks.housekeeping.freed import Freed, size_of
from selfexplore_tasks.stages.redo import redo_lock
from selfexplore_tasks.store.files import remove_file, write_atomically
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, read_manifest, read_manifests, write_manifest
from selfexplore_tasks.store.removal import table_dirs

GRACE_S = 3_600.0


def compact_parts(store: Store, slug: str, *, dry_run: bool) -> Freed:
    """Make one part of all parts of a table, round and stage, where the round is finished."""
    count = rows = 0
    for manifest in _finished(store, slug):
        for table, names in manifest.parts.items():
            folder = store.table_dir(table, slug, manifest.round)
            paths = [folder / name for name in names]
            if len(paths) > 1 and _is_uniform(paths):
                count += len(paths)
                rows += _row_count(paths) if dry_run else _compact(store, manifest, table, paths)
    return Freed(slug, "small parts merged", count, rows=rows)


def remove_unreferenced(store: Store, slug: str, *, dry_run: bool) -> Freed:
    """Remove parts of finished rounds that their stage's manifest has not named for an hour."""
    with redo_lock(store, slug):
        paths = list(unreferenced_parts(store, slug))
        freed = Freed(slug, "unreferenced parts", len(paths), size_of(paths))
        for path in [] if dry_run else paths:
            remove_file(path)
    return freed


def unreferenced_parts(store: Store, slug: str) -> Iterator[Path]:
    """Parts that a done stage of a finished round wrote and its manifest does not name."""
    done = {(manifest.round, manifest.stage): manifest for manifest in _finished(store, slug)}
    for round_number in sorted({number for number, _ in done}):
        for folder in table_dirs(store, slug, round_number):
            for path in sorted(folder.glob("part-*.parquet")):
                stage = path.name.split("-")[1].removesuffix("_import")
                manifest = done.get((round_number, stage))
                if manifest is None or path.name in manifest.parts.get(folder.parents[1].name, ()):
                    continue
                if _is_old(path) and _is_old(store.manifest_file(slug, round_number, stage)):
                    yield path


def _finished(store: Store, slug: str) -> list[Manifest]:
    manifests = read_manifests(store, slug)
    rounds = {manifest.round for manifest in manifests if manifest.stage == "summarize"}
    return [manifest for manifest in manifests if manifest.round in rounds]


def _is_uniform(paths: Sequence[Path]) -> bool:
    """Whether all parts have the same columns and stamps (but the seconds each took): else they stay apart."""
    import pyarrow.parquet as pq

    from selfexplore_tasks.store.parts import read_stamps

    def form(path: Path) -> tuple[object, object]:
        return pq.read_schema(path).remove_metadata(), {**read_stamps(path), "seconds": None}

    return all(form(one) == form(other) for one, other in pairwise(paths))


def _compact(store: Store, manifest: Manifest, table: str, paths: Sequence[Path]) -> int:
    """Write the rows of all parts into one and let the manifest name it; returns their number."""
    # Sorts among the parts of other stages where the first of its own stood.
    merged = paths[0].with_name(f"part-{manifest.stage}-compacted-{len(paths):05d}.parquet")
    write_atomically(merged, lambda temporary: _merge(paths, temporary))
    row_count = _row_count(paths)
    if _row_count([merged]) != row_count:
        raise OSError(f"{merged} does not hold the {row_count} rows it was made of: the old parts stay in use.")
    place = (manifest.experiment, manifest.round, manifest.stage)
    with redo_lock(store, manifest.experiment):
        current = read_manifest(store, *place)
        # Redone meanwhile: then the parts are no longer the stage's.
        if current is not None and current.parts.get(table) == [path.name for path in paths]:
            write_manifest(store, replace(current, parts={**current.parts, table: [merged.name]}))
    return row_count


def _merge(paths: Sequence[Path], target: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from selfexplore_tasks.store.parts import GROUP_ROWS, PREFIX, read_stamps

    seconds = sum(float(read_stamps(path)["seconds"]) for path in paths)
    stamps = {**read_stamps(paths[0]), "seconds": f"{seconds:.3f}"}
    schema = pq.read_schema(paths[0]).with_metadata({f"{PREFIX}{name}": value for name, value in stamps.items()})
    waiting: list[pa.Table] = []
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for number, path in enumerate(paths, 1):
            # Not pq.read_table: it would add the keys in the path as columns.
            with pq.ParquetFile(path) as part:
                waiting.append(part.read().replace_schema_metadata(schema.metadata))
            if sum(rows.num_rows for rows in waiting) >= GROUP_ROWS or number == len(paths):
                writer.write_table(pa.concat_tables(waiting), row_group_size=GROUP_ROWS)
                waiting.clear()


def _row_count(paths: Sequence[Path]) -> int:
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(path).num_rows for path in paths)


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > GRACE_S
    except FileNotFoundError:
        return False
