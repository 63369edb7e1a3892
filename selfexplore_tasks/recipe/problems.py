"""Where the problems come from and how they are split."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selfexplore_tasks.recipe.base import PositiveInt, Section


class Columns(Section):
    """Which column of a table holds what."""

    question: str = Field("question", description="Column with the question text.")
    answer: str = Field("answer", description="Column with the gold answer (or the text that contains it).")
    rationale: str | None = Field(None, description="Column with the gold solution, if there is one.")


class ArithmeticSource(Section):
    """Generated word problems: no files, no network, and the true first wrong step is computable."""

    kind: Literal["arithmetic"] = Field(description="Generate problems.")
    count: PositiveInt = Field(description="Number of problems to generate.")
    min_steps: int = Field(2, ge=1, le=12, description="Fewest steps of a solution.")
    max_steps: int = Field(6, ge=1, le=12, description="Most steps of a solution.")
    max_value: int = Field(99, ge=9, le=9_999, description="No intermediate result exceeds this.")
    start_range: tuple[int, int] = Field((2, 50), description="Lowest and highest first number.")
    term_range: tuple[int, int] = Field((1, 9), description="Lowest and highest number added or taken away.")
    factor_range: tuple[int, int] = Field((2, 3), description="Lowest and highest factor.")
    divisor_range: tuple[int, int] = Field((2, 5), description="Lowest and highest divisor.")

    @model_validator(mode="after")
    def _check_steps(self) -> Self:
        if self.min_steps > self.max_steps:
            raise ValueError(
                f"min_steps={self.min_steps} disagrees with max_steps={self.max_steps}: it must not be larger"
            )
        for name in ("start_range", "term_range", "factor_range", "divisor_range"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise ValueError(f"{name}=[{low}, {high}] must be [low, high] with 1 <= low <= high")
        return self


class BenchmarkSource(Section):
    """A known benchmark: from ``path``, else ``$SELFEXPLORE_DATA/<kind>/<split>.jsonl``, else the Hub."""

    kind: Literal["gsm8k", "math", "svamp"] = Field(description="The benchmark.")
    split: Literal["train", "test"] = Field("train", description="Which published split to read.")
    path: str | None = Field(None, description="A local jsonl or parquet file of the benchmark; null looks it up.")


class TableSource(Section):
    """Your own problems: a local jsonl/parquet file, or any Hub data set, with a column mapping."""

    kind: Literal["file", "hub"] = Field(description="`file` reads `path`; `hub` reads the data set id in `path`.")
    path: str = Field(description="File path (.jsonl or .parquet), or Hub id such as `owner/name`.")
    config: str | None = Field(None, description="Hub configuration name, if the data set has several.")
    split: str = Field("train", description="Hub split to read.")
    columns: Columns = Field(Columns(), description="Column mapping.")
    answer_format: Literal["plain", "gsm8k", "boxed"] = Field(
        "plain",
        description="How to read the gold answer: the column itself, after `####`, or the last `\\boxed{}`.",
    )


Source = Annotated[ArithmeticSource | BenchmarkSource | TableSource, Field(discriminator="kind")]


class Benchmark(Section):
    """Another benchmark that is only measured: its dev split may guard promotions, its test split is reported."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$", description="Name in every table, e.g. `svamp`.")
    source: Source = Field(description="Where its problems come from.")
    dev_count: int = Field(0, ge=0, description="Problems held out for gate.guards.")
    test_count: PositiveInt | None = Field(None, description="Problems that are only reported; null = all the rest.")


class Problems(Section):
    """Where the problems come from and how they are split; dev is always cut from the training source."""

    train: Source = Field(description="Source of training and dev problems.")
    test: Source | None = Field(None, description="Source of test problems; null cuts test from the training source.")
    train_count: PositiveInt | None = Field(
        None, description="Number of training problems; null = all that dev (and test) leave."
    )
    dev_count: PositiveInt = Field(500, description="Problems held out to decide promotion.")
    test_count: PositiveInt | None = Field(
        None,
        description="Test problems, only ever reported; null = all of the test source (without one, as many as dev).",
    )
    benchmarks: tuple[Benchmark, ...] = Field((), description="Other benchmarks to measure; never trained on.")
    on_overlap: Literal["stop", "drop_train"] = Field(
        "stop",
        description="A problem in both sources: stop and name it, or leave the training source's copy out and list it.",
    )
    rationale_count: int | None = Field(
        None,
        ge=0,
        description="Keep gold rationales on this many training problems and only answers on the rest; null = all.",
    )

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        names = [benchmark.name for benchmark in self.benchmarks]
        if len(set(names)) < len(names):
            raise ValueError(f"problems.benchmarks has a name twice: {', '.join(names)}")
        if (
            self.rationale_count is not None
            and self.train_count is not None
            and self.rationale_count > self.train_count
        ):
            raise ValueError(
                f"rationale_count={self.rationale_count} disagrees with train_count={self.train_count}: "
                "it must not be larger"
            )
        return self
