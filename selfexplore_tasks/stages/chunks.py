"""Long work in chunks that are committed one by one, shared among any number of shards.

A chunk is a fixed group of inputs, the same whatever the number of shards. A shard claims chunks that are neither
done nor claimed, the next one whenever its engine runs low, so that the engine never drains between two of them; a
chunk is written as soon as all its inputs are finished, in a thread, while generation goes on. A crash costs the chunks
that were begun. Whoever finds every chunk done writes the manifest.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pyarrow.compute as pc
import pyarrow.parquet as pq

from selfexplore_tasks.drawing import Drawing, Job
from selfexplore_tasks.grading import Grader
from selfexplore_tasks.progress import Progress
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.store.locks import chunk_claim
from selfexplore_tasks.store.manifests import Manifest
from selfexplore_tasks.store.parts import have_parts, is_done, read_stamps, to_table, write_part

if TYPE_CHECKING:
    from selfexplore_tasks.engines.protocol import Engine

MOST_OPEN = 256
"""Chunks begun, and chunks that wait to be written, at most: each holds the open file of its claim, and its rows."""

Rows = list[dict[str, Any]]
Item = TypeVar("Item")


@dataclass
class _Chunk(Generic[Item]):
    """A chunk of items; ``claim`` is held from the first request until its part is written."""

    number: int
    items: Sequence[Item]
    path: Path
    rows: dict[int, Rows] = field(default_factory=dict)
    claim: ExitStack = field(default_factory=ExitStack)


class _Writer:
    """Writes finished chunks one after another in a thread."""

    def __init__(self, context: StageContext, table: str) -> None:
        self._context, self._table = context, table
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="parts")
        self._writing: deque[tuple[_Chunk[Any], Future[None]]] = deque()
        self._last = time.monotonic()

    def write(self, chunk: _Chunk[Any]) -> None:
        """Queue a chunk. Its seconds are those since the one before: chunks are drawn side by side."""
        seconds = time.monotonic() - self._last
        self._last += seconds
        self._writing.append((chunk, self._thread.submit(self._write, chunk, seconds)))

    def settle(self, *, wait: bool = False) -> None:
        """Release the claims of what is written, with ``wait`` of everything; raises what writing raised.

        Waits where drawing is faster than writing: a part of a shared store is there before the next one is sent.
        """
        while self._writing and (wait or len(self._writing) > MOST_OPEN or self._writing[0][1].done()):
            chunk, written = self._writing.popleft()
            with chunk.claim:
                written.result()

    def close(self) -> None:
        """Wait for what is being written; nothing is lost that was finished before an error elsewhere."""
        self._thread.shutdown()
        for chunk, _ in self._writing:
            chunk.claim.close()

    def _write(self, chunk: _Chunk[Any], seconds: float) -> None:
        rows = [row for place in range(len(chunk.items)) for row in chunk.rows[place]]
        write_part(
            chunk.path, to_table(self._table, rows), recipe_hash=self._context.recipe_hash, seconds=seconds, once=True
        )


def draw_chunks(
    context: StageContext,
    table: str,
    items: Sequence[Item],
    job: Callable[[Item], Job[Rows]],
    *,
    engine: Engine,
    grader: Grader,
    chunk_size: int,
    unit: str,
    label: str,
    draws_per_item: int | None = None,
    first_chunk: int = 0,
) -> list[Path]:
    """Work through this shard's share of ``items``; return the paths of all chunks, also those of other shards.

    ``job`` turns one item into rows of ``table``. Progress counts ``unit``: the items, or with ``draws_per_item`` what
    is drawn for them.
    """
    starts = range(0, len(items), chunk_size)
    paths = [context.part_path(table, first_chunk + number) for number in range(len(starts))]
    units = draws_per_item or 1
    # Nothing else holds a chunk: its rows are freed when it is written.
    left = deque(
        _Chunk(number, items[start : start + chunk_size], path)
        for number, (start, path) in enumerate(zip(starts, paths, strict=True))
        if not is_done(path, recipe_hash=context.recipe_hash)
    )
    already = units * (len(items) - sum(len(chunk.items) for chunk in left))
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(label, len(items) * units, unit, already))
        drawing = stack.enter_context(Drawing[Rows](engine, grader, progress.advance if draws_per_item else None))
        writer = _Writer(context, table)
        stack.callback(writer.close)
        begun: dict[int, _Chunk[Item]] = {}
        stack.callback(_release, begun)
        while left or begun:
            if left and drawing.is_low and len(begun) < _share(context, len(begun) + len(left)):
                chunk = left.popleft()
                if not _take(context, chunk):
                    continue
                begun[chunk.number] = chunk
                drawing.start(chunk.number, [job(item) for item in chunk.items])
            for done in drawing.advance():
                chunk = begun[done.group]
                chunk.rows[done.place] = done.result
                if len(chunk.rows) == len(chunk.items):
                    writer.write(begun.pop(done.group))
                if not draws_per_item:
                    progress.advance(1)
            writer.settle()
        writer.settle(wait=True)
    return paths


def _release(begun: Mapping[int, _Chunk[Any]]) -> None:
    """Give up the claims of chunks that an error left unfinished."""
    for chunk in begun.values():
        chunk.claim.close()


def _share(context: StageContext, open_chunks: int) -> int:
    """How many chunks a shard may have begun: not those that the other shards need."""
    return min(MOST_OPEN, math.ceil(open_chunks / context.shard_count))


def _take(context: StageContext, chunk: _Chunk[Any]) -> bool:
    """Claim a chunk, unless another shard has it or has done it."""
    claims = context.store.lock_dir(context.slug) / "claims"
    claimed = chunk.claim.enter_context(chunk_claim(claims, f"{context.round_number}-{chunk.path.stem}"))
    if claimed and not is_done(chunk.path, recipe_hash=context.recipe_hash):
        return True
    chunk.claim.close()
    return False


def finish_chunks(
    context: StageContext,
    table: str,
    paths: Sequence[Path],
    notes: dict[str, Any],
    more_parts: Mapping[str, Sequence[Path]] | None = None,
    draw_key: Sequence[str] = (),
) -> Manifest | None:
    """Commit the stage if every chunk is there; returns None while another shard still works on one.

    ``more_parts`` are parts of other tables that the stage derived from its chunks. Rows of a part that are equal in
    the columns ``draw_key`` show one and the same text, whose tokens count once.

    The seconds are this try's, or more where earlier tries did some chunks: their work, spread over the shards.
    """
    if not have_parts(paths):
        print(f"{context.stage}: this shard's share is done, other shards still work", flush=True)
        return None
    row_count = sum(pq.read_metadata(path).num_rows for path in paths)
    tokens = sum(tokens_drawn(path, draw_key) for path in paths)
    work_seconds = sum(float(read_stamps(path)["seconds"]) for path in paths)
    return context.commit(
        {table: paths, **(more_parts or {})},
        row_counts={table: row_count},
        token_count=tokens,
        notes=notes,
        seconds=max(time.monotonic() - context.started, work_seconds / context.shard_count),
    )


def tokens_drawn(path: Path, draw_key: Sequence[str] = ()) -> int:
    """The tokens generated for a part's rows (see `finish_chunks`)."""
    rows = pq.read_table(path, columns=[*draw_key, "token_count"])
    if draw_key:
        rows = (
            rows.group_by(list(draw_key))
            .aggregate([("token_count", "max")])
            .rename_columns({"token_count_max": "token_count"})
        )
    return int(pc.sum(rows["token_count"]).as_py() or 0)


def shard_label(context: StageContext) -> str:
    """The stage's name, with the shard where there are several."""
    if context.shard_count == 1:
        return context.stage
    return f"{context.stage} {context.shard_index + 1}/{context.shard_count}"
