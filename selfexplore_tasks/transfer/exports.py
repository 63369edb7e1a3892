"""Exporting a round's kept pairs for other trainers: TRL's jsonl, one parquet file, or a folder for the Hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.files import write_atomically
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, read_manifests
from selfexplore_tasks.store.schemas import TABLES
from selfexplore_tasks.transfer.card import DataCard, eos_warning, licence_warning

Kind = Literal["granular", "outcome"]
Format = Literal["trl", "parquet", "hub-folder"]

TRL_COLUMNS = ("prompt", "chosen", "rejected")
DATA_FILE = "data/train.parquet"
CARD_FILE = "README.md"
_STAGE_OF_KIND = {"granular": "granular_pairs", "outcome": "outcome_pairs"}
_PAIRS = (
    "select pairs.*, question, source from pairs join stg_problems using (experiment, problem_id) "
    "where experiment = $experiment and round = $round and kind = $kind and is_kept order by pair_id"
)
_SCHEMA = pa.schema(
    [
        pa.field("experiment", pa.string()),
        pa.field("round", pa.int32()),
        # Only kept pairs are exported: what says whether a pair is kept says nothing there.
        *(field.remove_metadata() for field in TABLES["pairs"] if field.name not in ("is_kept", "drop_reason")),
        pa.field("question", pa.string()),
        pa.field("source", pa.string()),
    ]
)


@dataclass(frozen=True)
class Export:
    """What was exported, and where."""

    path: Path
    kind: Kind
    round_number: int
    pair_count: int
    warnings: tuple[str, ...]


def export_pairs(
    store: Store,
    slug: str,
    output: Path,
    *,
    kind: Kind,
    form: Format,
    round_number: int | None = None,
    force: bool = False,
) -> Export:
    """Write the kept pairs of a kind of one round (default: the last that has that stage) to ``output``.

    ``prompt`` ends where ``chosen`` and ``rejected`` begin: joined they are the texts as trained on. With ``force``
    files of the same name are written again; nothing else is ever touched.

    Raises:
        UserError: no such pairs, or ``output`` exists or cannot be written.
    """
    made_by = _manifest(store, slug, kind, round_number)
    context = StageContext(store, load_experiment(store, slug), made_by.round, made_by.stage)
    rows = context.query(_PAIRS, kind=kind)
    if not rows:
        raise UserError(f"Round {made_by.round} of {slug!r} kept no {kind} pair: choose another round or kind.")
    sources = sorted({row["source"] for row in rows})
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    writers: dict[Path, Callable[[Path], None]]
    if form == "trl":
        writers = {output: lambda path: _write_jsonl(table, path)}
    elif form == "parquet":
        writers = {output: lambda path: pq.write_table(table, path)}
    else:
        card = DataCard(context.experiment.at(made_by.round), made_by, kind, table.num_rows, tuple(sources), DATA_FILE)
        writers = {
            output / DATA_FILE: lambda path: pq.write_table(table, path),
            output / CARD_FILE: lambda path: _write_text(path, card.text()),
        }
    _write(output, writers, force=force)
    return Export(
        output, kind, made_by.round, table.num_rows, (eos_warning(kind, context.recipe), licence_warning(sources))
    )


def _manifest(store: Store, slug: str, kind: Kind, round_number: int | None) -> Manifest:
    """Of the stage that made these pairs."""
    stage = _STAGE_OF_KIND[kind]
    experiment = load_experiment(store, slug)
    done = [manifest for manifest in read_manifests(store, experiment.slug) if manifest.stage == stage]
    found = [manifest for manifest in done if round_number in (None, manifest.round)]
    if not found:
        where = f"round {round_number}" if round_number is not None else "any round"
        rounds = ", ".join(str(manifest.round) for manifest in done) or "none yet"
        raise UserError(f"Stage {stage} of {where} of {slug!r} is not done (done in rounds: {rounds}): run it first.")
    return found[-1]


def _write(output: Path, writers: dict[Path, Callable[[Path], None]], *, force: bool) -> None:
    """Write every file atomically, the last one last; raises UserError where that cannot be or must not be."""
    is_folder = output not in writers
    try:
        if output.exists() and output.is_dir() != is_folder:
            wanted, found = ("folder", "file") if is_folder else ("file", "folder")
            raise UserError(f"{output} is a {found}, but this format needs a {wanted}: choose another --output.")
        is_taken = any(output.iterdir()) if is_folder and output.exists() else output.exists()
        if is_taken and not force:
            raise UserError(f"{output} exists already: choose another --output, or give --force to write it again.")
        for path, write in writers.items():
            write_atomically(path, write)
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error}") from error


def _write_jsonl(table: pa.Table, path: Path) -> None:
    rows = table.select(TRL_COLUMNS).to_pylist()
    _write_text(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
