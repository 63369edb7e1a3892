"""What every stage gets: the experiment, the round, its share of the work, and how to commit."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.loading import LOADING
from selfexplore_tasks.problems.model import Problem
from selfexplore_tasks.prompts import PromptFormat
from selfexplore_tasks.store.catalogue import connect, run_checks
from selfexplore_tasks.store.champions import champion_before
from selfexplore_tasks.store.experiments import Experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, installed_versions, read_manifest, write_manifest
from selfexplore_tasks.store.parts import part_name, read_stamps, to_table, write_part
from selfexplore_tasks.store.schemas import SCHEMA_VERSION
from selfexplore_tasks.store.shared.models import model_folder
from selfexplore_tasks.store.spilling import spilling

if TYPE_CHECKING:
    import duckdb

    from selfexplore_tasks.engines.protocol import Engine
    from selfexplore_tasks.recipe import Recipe


@dataclass(frozen=True)
class StageContext:
    """One run of one stage. ``shard_index`` is 0-based."""

    store: Store
    experiment: Experiment
    round_number: int
    stage: str
    shard_index: int = 0
    shard_count: int = 1
    started: float = field(default_factory=time.monotonic)
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))

    @property
    def recipe(self) -> Recipe:
        """The recipe as it holds in this round."""
        return self.experiment.at(self.round_number).recipe.for_round(self.round_number)

    @property
    def recipe_hash(self) -> str:
        return self.experiment.at(self.round_number).recipe_hash

    @property
    def slug(self) -> str:
        return self.experiment.slug

    @property
    def threads(self) -> int:
        from selfexplore_tasks.engines.select import effective_threads

        return effective_threads(self.recipe.engine.threads)

    def manifest(self, stage: str, round_number: int | None = None) -> Manifest:
        """The manifest of a stage this one builds on; raises UserError if that stage is not done."""
        wanted = self.round_number if round_number is None else round_number
        found = read_manifest(self.store, self.slug, wanted, stage)
        if found is None:
            raise UserError(f"Stage {self.stage} needs {stage} of round {wanted} of {self.slug!r}: run that first.")
        return found

    @property
    def generator_id(self) -> str:
        """The model that samples: the champion when the round starts.

        Imported rationales need none: where round 0 has only been prepared, round 1 goes on from the base model.
        """
        if self.round_number == 1 and read_manifest(self.store, self.slug, 0, "summarize") is None:
            sampled = read_manifest(self.store, self.slug, 1, "sample")
            if sampled is not None and sampled.notes["model_id"] == self.imported_id:
                return "0/base"
        return champion_before(self.store, self.slug, self.round_number)

    @property
    def imported_id(self) -> str:
        """What stands for the unknown model behind this round's imported texts."""
        return f"{self.round_number}/imported"

    @property
    def sample_source_id(self) -> str:
        """Whose rationales stage sample gave: the generator's, or imported ones."""
        return str(self.manifest("sample").notes["model_id"])

    @property
    def explorer_id(self) -> str:
        """The model that explores and that DPO starts from: this round's RFT model, or the one RFT left as it is."""
        done = read_manifest(self.store, self.slug, self.round_number, "rft")
        if done is not None:
            return str(done.notes["model_id"])
        return self.generator_id if self.skips_rft else f"{self.round_number}/rft"

    @property
    def skips_rft(self) -> bool:
        rft = self.recipe.rft
        return (rft.first_round if self.round_number == 1 else rft.later_rounds) == "skip"

    @property
    def draws_explorer_rationales(self) -> bool:
        """Whether wrong rationales are drawn afresh from the explorer (else the sampled ones are used)."""
        return self.recipe.pairs.rationales_from == "explorer" and self.explorer_id == f"{self.round_number}/rft"

    @property
    def pair_source_id(self) -> str:
        """The model whose rationales become pairs."""
        return self.explorer_id if self.draws_explorer_rationales else self.sample_source_id

    def model_path(self, model_id: str) -> Path:
        """Folder with weights and tokenizer of ``<round>/<name>``."""
        path = model_folder(self.store, self.slug, model_id)
        if model_id == "0/base" and not path.is_dir():
            return Path(self.manifest("prepare", 0).notes["base_model"])
        if not path.is_dir():
            raise UserError(f"Model {model_id} of {self.slug!r} is not in {path}: it was pruned or never trained.")
        return path

    def prompts(self, model_id: str) -> PromptFormat:
        """The recipe's prompt, for the tokenizer of a model; texts made elsewhere are put to the explorer."""
        owner = self.explorer_id if model_id == self.imported_id else model_id
        return PromptFormat(self.recipe.prompt, self.model_path(owner))

    def context_length(self, model_id: str) -> int | None:
        """Longest prompt plus completion of a model in tokens, as its engine has it; None where nothing says."""
        from selfexplore_tasks.engines.common import context_limit

        return context_limit(self.model_path(model_id), self.recipe.model.context_length)

    @contextmanager
    def engine(self, model_id: str) -> Iterator[Engine]:
        """The model for generation, loaded when it is first needed; closed at the end."""
        from selfexplore_tasks.engines.select import LazyEngine, open_engine

        engine = LazyEngine(
            self.recipe.engine.kind,
            lambda: open_engine(
                self.recipe.engine,
                self.model_path(model_id),
                dtype=self.recipe.model.dtype,
                context_length=self.recipe.model.context_length,
                seed=self.recipe.seed,
            ),
        )
        try:
            yield engine
        finally:
            engine.close()

    def part_path(self, table: str, chunk: int = 0) -> Path:
        return self.store.table_dir(table, self.slug, self.round_number) / part_name(self.stage, chunk)

    def write_rows(self, table: str, rows: Sequence[Mapping[str, Any]] | pa.Table, chunk: int = 0) -> Path:
        """Write one part of ``table``; it becomes visible with the manifest."""
        path = self.part_path(table, chunk)
        content = rows if isinstance(rows, pa.Table) else to_table(table, rows)
        seconds = time.monotonic() - self.started
        write_part(path, content, recipe_hash=self.recipe_hash, seconds=seconds)
        return path

    @contextmanager
    def catalogue(self, pending: Mapping[str, Sequence[Path]] | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection over the experiment; ``pending`` as in ``connect``. What exceeds its memory goes to disk."""
        with spilling(connect(self.store, [self.slug], pending), self.store.lock_dir(self.slug)) as connection:
            yield connection

    def query(self, sql: str, **values: object) -> list[dict[str, Any]]:
        """Rows of one SELECT over the experiment's views; ``$experiment`` and ``$round`` are given."""
        with self.catalogue() as connection:
            given = {"experiment": self.slug, "round": self.round_number, **values}
            used = {name: value for name, value in given.items() if f"${name}" in sql}
            rows: list[dict[str, Any]] = connection.sql(sql, params=used).to_arrow_table().to_pylist()
            return rows

    def problems(self, *splits: str) -> list[Problem]:
        """The experiment's problems of these splits, in order of their ids."""
        listed = ", ".join(f"'{split}'" for split in splits)
        columns = ", ".join(Problem.__dataclass_fields__)
        rows = self.query(f"select {columns} from problems where split in ({listed}) order by problem_id")
        return [Problem(**row) for row in rows]

    def commit(
        self,
        parts: Mapping[str, Sequence[Path]],
        *,
        row_counts: Mapping[str, int],
        token_count: int = 0,
        notes: Mapping[str, Any] | None = None,
        seconds: float | None = None,
    ) -> Manifest:
        """Run the stage's checks over its parts, then write the manifest that makes them visible."""
        made = [path for paths in parts.values() for path in paths]
        with self.catalogue(parts) as connection:
            run_checks(connection, self.stage, slug=self.slug, round_number=self.round_number)
        manifest = Manifest(
            experiment=self.slug,
            round=self.round_number,
            stage=self.stage,
            recipe_hash=self.recipe_hash,
            seed=self.recipe.seed,
            started_at=self.started_at,
            finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            seconds=round(time.monotonic() - self.started if seconds is None else seconds, 3),
            token_count=token_count,
            row_counts=dict(row_counts),
            parts={table: [path.name for path in paths] for table, paths in parts.items()},
            notes={**(notes or {}), "loading": LOADING.take()},
            versions=installed_versions(),
            schema_version=min([SCHEMA_VERSION, *(int(read_stamps(path)["schema_version"]) for path in made)]),
        )
        write_manifest(self.store, manifest, once=True)
        return self.manifest(self.stage)
