"""What both imports share: the round they go to, when a file counts as imported already, and the commit.

Parts are written first and named by nothing; the stage's manifest makes them visible in one step. A killed import
leaves nothing that a reader, or the stage itself, would take for its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.grading import Grade, Grader, GradeRequest
from selfexplore_tasks.problems.model import Problem
from selfexplore_tasks.problems.sources import normalise_question
from selfexplore_tasks.progress import Progress
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.store.experiments import last_round
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.locks import stage_lock
from selfexplore_tasks.store.manifests import Manifest, read_manifest, read_manifests
from selfexplore_tasks.store.parts import part_name, to_table, write_part
from selfexplore_tasks.transfer.texts import LeftOut, TextColumns, file_hash

ROWS_PER_PART = 20_000
Row = Mapping[str, Any]
Item = TypeVar("Item")


@dataclass(frozen=True)
class ImportedFile:
    """A file to import: its path as given, the hash of its content, and which column holds what."""

    name: str
    sha256: str
    columns: dict[str, str | None]

    @classmethod
    def open(cls, name: str, columns: TextColumns) -> ImportedFile:
        """Hash the file; raises UserError where it cannot be read."""
        return cls(name, file_hash(name), asdict(columns))

    def notes(self) -> dict[str, Any]:
        """What the manifest keeps of the file."""
        return {"imported_from": Path(self.name).name, "sha256": self.sha256, "columns": self.columns}

    def made(self, manifest: Manifest) -> bool:
        """Whether a stage was imported from this content, under whatever file name."""
        return (manifest.notes.get("sha256"), manifest.notes.get("columns")) == (self.sha256, self.columns)


def target_round(store: Store, slug: str, stage: str, file: ImportedFile, requested: int | None) -> int:
    """The round asked for, else the one that has this file already, else the first unfinished one after round 0."""
    if requested is not None:
        if requested < 1:
            raise UserError(f"--round must be 1 or more, got {requested}: round 0 only prepares the experiment.")
        return requested
    made = (manifest for manifest in read_manifests(store, slug) if manifest.stage == stage and file.made(manifest))
    done = last_round(store, slug)
    return next((manifest.round for manifest in made), 1 if done is None else done + 1)


def already_imported(store: Store, slug: str, round_number: int, stage: str, file: ImportedFile) -> Manifest | None:
    """The stage's manifest if it was made from this file, None while the stage is not done.

    Raises:
        UserError: the stage is done, but from something else.
    """
    done = read_manifest(store, slug, round_number, stage)
    if done is None:
        return None
    if file.made(done):
        print(f"{stage}: imported already from this file at {done.finished_at}", flush=True)
        return done
    made = f"imported from {done.notes['imported_from']}" if "imported_from" in done.notes else "drawn by a model"
    raise UserError(
        f"Stage {stage} of round {round_number} of {slug!r} is done already ({made}): "
        "import into another experiment, or delete this one with `selfexplore experiments delete`."
    )


def training_problem(
    problems: Mapping[str, Problem], question: str, row_number: int, left_out: LeftOut
) -> Problem | None:
    """The training problem with this question; dev and test problems must never become training data."""
    problem = problems.get(normalise_question(question))
    if problem is None:
        left_out.add("unknown_question", row_number, question)
    elif problem.split != "train":
        left_out.add(f"{problem.split}_problem", row_number, question)
    else:
        return problem
    return None


def by_question(problems: Iterable[Problem]) -> dict[str, Problem]:
    """Problems by what makes two questions the same (Unicode form and white space do not matter)."""
    return {normalise_question(problem.question): problem for problem in problems}


def check_not_empty(found: Sequence[object], file: ImportedFile, left_out: LeftOut) -> None:
    """Raise UserError if nothing in the file can be imported."""
    if not found:
        raise UserError(
            f"{file.name} holds nothing to import ({left_out.summary()}; {left_out.examples[0]}): "
            "check the columns, the experiment and the round."
        )


def graded_batches(
    items: Sequence[Item], request: Callable[[Item], GradeRequest], grader: Grader, progress: Progress
) -> Iterator[list[tuple[Item, Grade]]]:
    """Every item with its grade, as many at a time as a part holds."""
    for start in range(0, len(items), ROWS_PER_PART):
        batch = items[start : start + ROWS_PER_PART]
        grades = grader.grade([request(item) for item in batch])
        progress.advance(len(batch))
        yield list(zip(batch, grades, strict=True))


def commit_import(
    context: StageContext,
    table: str,
    batches: Iterable[Sequence[Row]],
    file: ImportedFile,
    left_out: LeftOut,
    counts: Mapping[str, int],
) -> Manifest:
    """Write the rows of ``table`` part by part and commit the stage; raises UserError while the experiment is live."""
    place = (context.store, context.slug, context.round_number, context.stage)
    with stage_lock(context.store, context.slug, round_number=context.round_number, stage=context.stage, shard=0):
        done = already_imported(*place, file)  # another import may have been quicker
        if done is not None:
            return done
        folder = context.store.table_dir(table, context.slug, context.round_number)
        paths: list[Path] = []
        row_count = 0
        for rows in batches:
            # Not the stage's own part names: after a kill, a run of the stage would take them for chunks it has drawn.
            path = folder / part_name(f"{context.stage}_import", len(paths))
            write_part(path, to_table(table, rows), recipe_hash=context.recipe_hash, seconds=0.0)
            paths.append(path)
            row_count += len(rows)
        notes = {"model_id": context.imported_id, **file.notes(), "left_out": dict(left_out.counts)}
        manifest = context.commit({table: paths}, row_counts={table: row_count, **counts}, notes=notes)
    _report(manifest, table, left_out)
    return manifest


def _report(manifest: Manifest, table: str, left_out: LeftOut) -> None:
    counts = ", ".join(f"{count:,} {name}" for name, count in manifest.row_counts.items() if name != table)
    print(
        f"import: {manifest.row_counts[table]:,} {table} into round {manifest.round} of {manifest.experiment} "
        f"({counts})",
        flush=True,
    )
    if left_out.counts:
        print(f"import: left out: {left_out.summary()}; the first:", flush=True)
        for example in left_out.examples:
            print(f"  {example}", flush=True)
