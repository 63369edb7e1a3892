"""What lets rounds run unattended: the gate, the stop rule and what is kept on disk."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from selfexplore_tasks.recipe.base import PositiveInt, Section


class Guard(Section):
    """Another benchmark on which a candidate must not lose much."""

    benchmark: str = Field(description="Name of a benchmark of problems.benchmarks; its dev split is looked at.")
    max_loss: float = Field(0.02, ge=0, le=1, description="Accuracy that a candidate may lose there, e.g. 0.02.")


class Gate(Section):
    """When a candidate becomes the champion: it must be better on the same dev problems. Test problems never decide."""

    test: Literal["bootstrap", "mcnemar"] = Field(
        "bootstrap", description="Paired bootstrap of the difference, or McNemar's exact test (mid-p)."
    )
    alpha: float = Field(
        0.05, gt=0, lt=0.5, description="Chance of promoting models that are no better, over all planned rounds."
    )
    spending: Literal["even", "none"] = Field(
        "even",
        description="`even` gives each of max_rounds rounds its share of alpha; `none` gives each all of it.",
    )
    min_gain: float = Field(0.0, ge=0, lt=1, description="Accuracy the candidate must surely gain, e.g. 0.01.")
    max_regression: float | None = Field(
        0.1, gt=0, le=1, description="A candidate that loses more dev accuracy stops the experiment; null = never."
    )
    guards: tuple[Guard, ...] = Field((), description="Other benchmarks on which the candidate must not lose much.")
    require_approval: bool = Field(
        False, description="A person approves a promotion first: in Airflow, or with `selfexplore approve`."
    )


class Stop(Section):
    """When an experiment ends by itself, besides max_rounds; null = never for that reason."""

    patience: PositiveInt | None = Field(None, description="Rounds in a row without a promotion.")
    min_pairs: PositiveInt | None = Field(None, description="Fewest granular pairs a round must have trained on.")
    max_tokens: PositiveInt | None = Field(None, description="Tokens generated and trained on, over all rounds.")
    max_hours: float | None = Field(None, gt=0, description="Hours of work, over all rounds and stages.")


class Retention(Section):
    """Which models housekeeping keeps. Champions, past ones too, their parents and a live round always stay."""

    keep_rounds: int | None = Field(
        None, ge=0, description="Keep every model of this many latest rounds, older ones only as above; null = all."
    )


Temperature = Annotated[float, Field(gt=0, le=5)]


class ByRound(Section):
    """Sampling settings that change from round to round: values for rounds 1, 2, ...; the last one holds on."""

    n: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = Field((), description="sample.n by round; [] = the same.")
    temperature: tuple[Temperature, ...] = Field((), description="sample.temperature by round; [] = the same.")

    def of(self, round_number: int) -> dict[str, float]:
        """The fields of ``sample`` that this round (1-based) changes."""
        given = {"n": self.n, "temperature": self.temperature}
        return {name: values[min(round_number, len(values)) - 1] for name, values in given.items() if values}
