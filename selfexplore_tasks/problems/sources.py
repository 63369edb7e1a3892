"""Reading one source of problems: generated, a benchmark, a local jsonl/parquet file, or a Hub data set.

Every row ends as a `Candidate` or as a `RejectedRow` with the reason. What is wrong with a whole source (no
file, no such column, broken text) is a UserError of one sentence.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.grading.readable import unreadable_golds
from selfexplore_tasks.problems.arithmetic import generate
from selfexplore_tasks.problems.benchmarks import BENCHMARKS, AnswerFormat, read_gold, with_answer_line
from selfexplore_tasks.problems.model import RejectedRow
from selfexplore_tasks.recipe import ArithmeticSource, BenchmarkSource, Columns, TableSource
from selfexplore_tasks.table_files import Table, cell_text, missing_column, read_table_file

REJECTED_QUESTION_CHARS = 200
_HUB_PROBE_SECONDS = 3.0
# A source's name starts the ids of its problems.
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9.-]+")


@dataclass(frozen=True)
class Candidate:
    """A usable row: one question with its gold answer. ``row_number`` is 1-based (jsonl: the line)."""

    source: str
    row_number: int
    question: str
    gold_answer: str
    gold_rationale: str | None


def normalise_question(question: str) -> str:
    """Return what makes two questions the same: Unicode NFC, runs of white space as one space."""
    return " ".join(unicodedata.normalize("NFC", question).split())


def read_source(
    source: ArithmeticSource | BenchmarkSource | TableSource, *, seed: int, answer_phrase: str
) -> tuple[list[Candidate], list[RejectedRow]]:
    """Return the usable rows of a source in its order, and the rows that are not used.

    ``seed`` matters to generated problems only. Raises UserError where the source cannot be read.
    """
    if isinstance(source, ArithmeticSource):
        return _generated(source, seed, answer_phrase), []
    name: str
    if isinstance(source, BenchmarkSource):
        benchmark = BENCHMARKS[source.kind]
        layouts, answer_format, name = benchmark.layouts, benchmark.answer_format, source.kind
        table = _read_benchmark(source, _wanted(layouts))
    else:
        layouts, answer_format = (source.columns,), source.answer_format
        name = _NOT_IN_NAMES.sub("_", Path(source.path).stem if source.kind == "file" else source.path)
        table = _read_named(source, _wanted(layouts))
    return _sift(name, table, _find_layout(table, layouts), answer_format, answer_phrase)


def _generated(source: ArithmeticSource, seed: int, answer_phrase: str) -> list[Candidate]:
    try:
        problems = generate(
            source.count,
            seed=seed,
            min_steps=source.min_steps,
            max_steps=source.max_steps,
            max_value=source.max_value,
            start_range=source.start_range,
            term_range=source.term_range,
            factor_range=source.factor_range,
            divisor_range=source.divisor_range,
        )
    except ValueError as error:
        raise UserError(f"The arithmetic source cannot be generated: {error}") from error
    return [
        Candidate(
            source.kind,
            number,
            problem.question,
            problem.gold_answer,
            with_answer_line(_steps_only(problem.gold_rationale), problem.gold_answer, answer_phrase),
        )
        for number, problem in enumerate(problems, start=1)
    ]


def _steps_only(rationale: str) -> str:
    """Drop the generator's own answer line, whose phrase the recipe may not share."""
    return rationale.rpartition("\n")[0]


def _sift(
    name: str, table: Table, columns: Columns, answer_format: AnswerFormat, answer_phrase: str
) -> tuple[list[Candidate], list[RejectedRow]]:
    """Sort rows into usable and rejected. Of duplicates the first usable one wins, whatever their answers."""
    questions: list[str] = []
    golds: list[tuple[str, str | None] | None] = []
    for number, row in table.rows:
        where = f"row {number} of {table.origin}"
        questions.append(cell_text(row.get(columns.question), columns.question, where))
        answer = cell_text(row.get(columns.answer), columns.answer, where)
        rationale = cell_text(row.get(columns.rationale), columns.rationale, where) if columns.rationale else ""
        golds.append(read_gold(answer, rationale, answer_format, answer_phrase))
    unreadable = unreadable_golds([gold[0] for gold in golds if gold is not None])
    usable: dict[str, Candidate] = {}
    rejected: list[RejectedRow] = []
    for (number, _), question, gold in zip(table.rows, questions, golds, strict=True):
        key = normalise_question(question)
        if not key:
            reason = "empty_question"
        elif gold is None:
            reason = "no_answer"
        elif gold[0] in unreadable:
            reason = "unreadable_answer"
        elif key in usable:
            reason = "duplicate"
        else:
            usable[key] = Candidate(name, number, question, *gold)
            continue
        rejected.append(RejectedRow(name, number, reason, question[:REJECTED_QUESTION_CHARS]))
    return list(usable.values()), rejected


def _wanted(layouts: Iterable[Columns]) -> frozenset[str]:
    return frozenset(name for columns in layouts for name in columns.model_dump().values() if name is not None)


def _find_layout(table: Table, layouts: tuple[Columns, ...]) -> Columns:
    for columns in layouts:
        if _wanted((columns,)) <= set(table.columns):
            return columns
    missing = min(_wanted(layouts[-1:]) - set(table.columns))
    raise missing_column(table, missing)


def _read_benchmark(source: BenchmarkSource, wanted: frozenset[str]) -> Table:
    benchmark = BENCHMARKS[source.kind]
    if source.path is not None:
        return read_table_file(source.path, wanted)
    data_folder = os.environ.get("SELFEXPLORE_DATA", "")
    local_name = f"{source.kind}/{benchmark.local_file.format(split=source.split)}"
    if data_folder and (path := Path(data_folder).expanduser() / local_name).exists():
        return read_table_file(str(path), wanted)
    advice = f"set SELFEXPLORE_DATA to a folder that holds {local_name}, or `path` of this source to a file"
    return _read_hub(benchmark.hub_id, benchmark.hub_configs, source.split, wanted, advice)


def _read_named(source: TableSource, wanted: frozenset[str]) -> Table:
    if source.kind == "file":
        return read_table_file(source.path, wanted)
    advice = "check path, config and split of the source"
    return _read_hub(source.path, (source.config,), source.split, wanted, advice)


def _read_hub(hub_id: str, configs: tuple[str | None, ...], split: str, wanted: frozenset[str], advice: str) -> Table:
    """Read a data set from the Hub, or from the Hub's cache on this machine where the Hub cannot be reached."""
    import datasets

    columns: tuple[str, ...] = ()
    rows: list[dict[str, object]] = []
    try:
        with _offline_unless(_hub_answers()):
            for config in configs:
                part = datasets.load_dataset(hub_id, config, split=split)
                columns = tuple(part.column_names)
                rows.extend(part.select_columns(sorted(wanted & set(columns))))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise UserError(f"{hub_id} could not be read from the Hub ({reason.rstrip('.')}): {advice}.") from error
    if not rows:
        raise UserError(f"{hub_id} is empty: it holds no row.")
    return Table(hub_id, columns, list(enumerate(rows, start=1)))


def _hub_answers() -> bool:
    """Return whether the Hub answers at all; without this look, the client tries again for half a minute."""
    import httpx2
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        httpx2.head(constants.ENDPOINT, timeout=_HUB_PROBE_SECONDS)
    except httpx2.HTTPError:
        return False
    return True


@contextmanager
def _offline_unless(is_online: bool) -> Iterator[None]:
    """Within the context, the Hub's clients read their cache only, as under HF_HUB_OFFLINE=1, unless online."""
    import datasets
    from huggingface_hub import constants

    before = (datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE)
    if not is_online:
        datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before
