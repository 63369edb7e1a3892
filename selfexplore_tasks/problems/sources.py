"""Reading one source of problems: generated, a benchmark, a local jsonl/parquet file, or a Hub data set.

Every row ends as a `Candidate` or as a `RejectedRow` with the reason. What is wrong with a whole source (no
file, no such column, broken text) is a UserError of one sentence.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.problems.arithmetic import generate
from selfexplore_tasks.problems.benchmarks import BENCHMARKS, AnswerFormat, read_gold, with_answer_line
from selfexplore_tasks.problems.model import RejectedRow
from selfexplore_tasks.recipe import ArithmeticSource, BenchmarkSource, Columns, TableSource

REJECTED_QUESTION_CHARS = 200
_SHOWN_COLUMNS = 20
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


@dataclass(frozen=True)
class _Table:
    """Rows as read: the columns the source has, and the wanted ones of every row with its number."""

    origin: str
    columns: tuple[str, ...]
    rows: list[tuple[int, dict[str, object]]]


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
    if not table.rows:
        raise UserError(f"{table.origin} is empty: it holds no row.")
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
    name: str, table: _Table, columns: Columns, answer_format: AnswerFormat, answer_phrase: str
) -> tuple[list[Candidate], list[RejectedRow]]:
    """Sort rows into usable and rejected. Of duplicates the first usable one wins, whatever their answers."""
    usable: dict[str, Candidate] = {}
    rejected: list[RejectedRow] = []
    for number, row in table.rows:
        where = f"row {number} of {table.origin}"
        question = _text(row.get(columns.question), columns.question, where)
        answer = _text(row.get(columns.answer), columns.answer, where)
        rationale = _text(row.get(columns.rationale), columns.rationale, where) if columns.rationale else ""
        key = normalise_question(question)
        gold = read_gold(answer, rationale, answer_format, answer_phrase)
        if not key or gold is None or key in usable:
            reason = "empty_question" if not key else "no_answer" if gold is None else "duplicate"
            rejected.append(RejectedRow(name, number, reason, question[:REJECTED_QUESTION_CHARS]))
        else:
            usable[key] = Candidate(name, number, question, *gold)
    return list(usable.values()), rejected


def _text(value: object, column: str, where: str) -> str:
    """Return a cell as text: whole floats without their ``.0``, nothing for null and NaN."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise UserError(
            f"Column {column!r} holds a {type(value).__name__} in {where}, but text or a number is needed: "
            "map another column."
        )
    text = str(value).strip()
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"Column {column!r} holds half a surrogate pair in {where}, which is not valid text: repair that row."
        ) from error
    return text


def _wanted(layouts: Iterable[Columns]) -> frozenset[str]:
    return frozenset(name for columns in layouts for name in columns.model_dump().values() if name is not None)


def _find_layout(table: _Table, layouts: tuple[Columns, ...]) -> Columns:
    for columns in layouts:
        if _wanted((columns,)) <= set(table.columns):
            return columns
    present = sorted(table.columns)
    missing = sorted(_wanted(layouts[-1:]) - set(present))[0]
    near = difflib.get_close_matches(missing.casefold(), [name.casefold() for name in present], n=1)
    hint = next((f" (nearest: {name!r})" for name in present if near and name.casefold() == near[0]), "")
    shown = ", ".join(present[:_SHOWN_COLUMNS]) + (", …" if len(present) > _SHOWN_COLUMNS else "")
    raise UserError(f"{table.origin} has no column {missing!r}{hint}: it has {shown}.")


def _read_benchmark(source: BenchmarkSource, wanted: frozenset[str]) -> _Table:
    benchmark = BENCHMARKS[source.kind]
    if source.path is not None:
        return _read_file(source.path, wanted)
    data_folder = os.environ.get("SELFEXPLORE_DATA", "")
    local_name = f"{source.kind}/{benchmark.local_file.format(split=source.split)}"
    if data_folder and (path := Path(data_folder).expanduser() / local_name).exists():
        return _read_file(str(path), wanted)
    advice = f"set SELFEXPLORE_DATA to a folder that holds {local_name}, or `path` of this source to a file"
    return _read_hub(benchmark.hub_id, benchmark.hub_configs, source.split, wanted, advice)


def _read_named(source: TableSource, wanted: frozenset[str]) -> _Table:
    if source.kind == "file":
        return _read_file(source.path, wanted)
    advice = "check path, config and split of the source"
    return _read_hub(source.path, (source.config,), source.split, wanted, advice)


def _read_file(name: str, wanted: frozenset[str]) -> _Table:
    readers = {".jsonl": _read_jsonl, ".parquet": _read_parquet}
    path = Path(name).expanduser()
    if path.suffix.lower() not in readers:
        raise UserError(f"{name} is neither .jsonl nor .parquet: convert it to one of the two.")
    if not path.exists():
        raise UserError(f"{name} does not exist: check the path of the source in the recipe.")
    try:
        if not path.stat().st_size:
            raise UserError(f"{name} is empty: it holds no row.")
        return readers[path.suffix.lower()](path, name, wanted)
    except OSError as error:
        # pyarrow reports some corrupt files as plain OSErrors without an errno.
        problem = f"cannot be read ({error.strerror})" if error.errno else "is corrupt or not a parquet file"
        raise UserError(f"{name} {problem}: check the file.") from error


def _read_jsonl(path: Path, name: str, wanted: frozenset[str]) -> _Table:
    columns: set[str] = set()
    rows: list[tuple[int, dict[str, object]]] = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            row = _parse_line(line, f"Line {number} of {name}")
            if row is not None:
                columns.update(row)
                rows.append((number, {key: row[key] for key in wanted & row.keys()}))
    return _Table(name, tuple(sorted(columns)), rows)


def _parse_line(line: bytes, where: str) -> dict[str, object] | None:
    """Return the object of one line; None for a blank line."""
    try:
        text = line.decode("utf-8-sig").strip()
        row = json.loads(text) if text else None
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8: save the file as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not valid JSON ({error}): repair or remove that line.") from error
    if row is not None and not isinstance(row, dict):
        raise UserError(f"{where} is a JSON {type(row).__name__}, but an object with named columns is needed.")
    return row


def _read_parquet(path: Path, name: str, wanted: frozenset[str]) -> _Table:
    try:
        with pq.ParquetFile(path) as file:
            columns = tuple(file.schema_arrow.names)
            rows: list[dict[str, object]] = []
            for batch in file.iter_batches(columns=sorted(wanted & set(columns))):
                rows.extend(batch.to_pylist())
    except UnicodeDecodeError as error:
        raise UserError(f"{name} holds text that is not UTF-8: write the file again as UTF-8.") from error
    except (pa.ArrowException, EOFError) as error:
        raise UserError(f"{name} is corrupt or not a parquet file: write it again.") from error
    return _Table(name, columns, list(enumerate(rows, start=1)))


def _read_hub(hub_id: str, configs: tuple[str | None, ...], split: str, wanted: frozenset[str], advice: str) -> _Table:
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
    return _Table(hub_id, columns, list(enumerate(rows, start=1)))


def _hub_answers() -> bool:
    """Return whether the Hub answers at all; without this look, the client tries again for half a minute."""
    import httpx
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        httpx.head(constants.ENDPOINT, timeout=_HUB_PROBE_SECONDS)
    except httpx.HTTPError:
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
