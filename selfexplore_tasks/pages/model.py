"""The records that the page, the report and the API show. All shares are 0 to 1, all times seconds.

A record says what it holds; SQL in ``sql/pages`` and the functions beside this module fill it. Those of single problems
are in `problem_model`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class LiveStage(BaseModel):
    """A stage that runs right now; ``done``/``total`` count its ``unit``, null where it has not said yet."""

    round: int
    stage: str
    shard: str | None = None
    done: int | None = None
    total: int | None = None
    unit: str | None = None
    seconds_left: float | None = None
    note: str | None = None


class ExperimentRow(BaseModel):
    """One line of the list of experiments.

    ``gain_low`` to ``gain_high`` is the gate's interval, of level ``gain_level`` (0.9: 90%). ``seconds`` and ``tokens``
    are those of the experiment's own rounds: what a fork took over is its origin's. ``problem`` says in a sentence why
    an experiment is unreadable; what is not known of it is empty, zero or null.
    """

    experiment: str
    recipe: str
    recipe_hash: str
    created_at: str
    forked_from: str | None
    state: Literal["new", "running", "idle", "paused", "cancelled", "ended", "unreadable"]
    live: list[LiveStage]
    last_round: int | None
    max_rounds: int
    champion: str | None
    champion_accuracy: float | None
    champion_low: float | None
    champion_high: float | None
    decision: str | None
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    gain_level: float | None
    seconds: float
    tokens: int
    stop_reason: str | None
    problem: str | None = None


class AccuracyPoint(BaseModel):
    """A model's accuracy on one benchmark split, with its 95% interval."""

    round: int
    model: str
    model_id: str
    benchmark: str
    split: str
    accuracy: float
    low: float
    high: float
    problem_count: int
    promoted: bool


class RoundRow(BaseModel):
    """What the gate decided after a round; ``gain_low`` to ``gain_high`` is an interval of level ``gain_level``.

    The gain is below it with probability ``alpha_spent``, and above it with the same.
    """

    round: int
    parent: str | None
    candidate: str
    champion: str | None
    promoted: bool
    decision: str
    decision_reason: str
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    gain_level: float | None
    p_value: float | None
    alpha_spent: float | None
    test_gain: float | None
    alarms: list[str]
    stop_reason: str | None


class FunnelStep(BaseModel):
    """One count of the funnel from problems to pairs of a round; ``drops`` says why its rows went no further."""

    round: int
    step: Literal["problems", "rationales", "wrong", "explored", "pits", "candidates", "pairs"]
    label: str
    count: int
    drops: dict[str, int]


class PitCount(BaseModel):
    """How many explored rationales of a round have their first pit at a step; ``step`` null: no pit."""

    round: int
    step: int | None
    count: int


class StepPassRate(BaseModel):
    """How often a rollout from behind a step still reaches the gold answer."""

    round: int
    step: int
    pass_rate: float
    rationale_count: int
    draw_count: int


class TrainingPoint(BaseModel):
    """One logged step of a preference training; what a run did not log is null."""

    round: int
    model_id: str
    step: int
    loss: float | None
    margin: float | None
    reward_accuracy: float | None
    chosen_logprob: float | None
    rejected_logprob: float | None
    grad_norm: float | None


class StageCost(BaseModel):
    """Seconds and tokens of a stage, and what was expected of it."""

    round: int
    stage: str
    seconds: float
    tokens: int
    estimated_seconds: float | None
    estimated_tokens: int | None


class Difference(BaseModel):
    """A paired difference in accuracy between two models, with its 95% bootstrap interval."""

    round: int
    model_id: str
    baseline_id: str
    benchmark: str
    split: str
    problem_count: int
    gained: int
    lost: int
    difference: float
    low: float
    high: float


class ExperimentPage(BaseModel):
    """Everything the page of one experiment shows."""

    experiment: ExperimentRow
    recipe: dict[str, Any]
    accuracy: list[AccuracyPoint]
    rounds: list[RoundRow]
    funnel: list[FunnelStep]
    first_pits: list[PitCount]
    pass_rates: list[StepPassRate]
    training: list[TrainingPoint]
    costs: list[StageCost]
    arms: list[Difference]


class Side(BaseModel):
    """One side of a comparison: a round of an experiment, by its candidate model."""

    experiment: str
    round: int
    model_id: str


class FlippedProblem(BaseModel):
    """A problem that one side solves and the other does not."""

    problem_id: str
    benchmark: str
    split: str
    question: str
    gold_answer: str
    left_answer: str | None
    right_answer: str | None
    is_left_correct: bool
    is_right_correct: bool


class ComparePage(BaseModel):
    """Two rounds side by side: right minus left, and the problems that flipped (``total`` of them, a page is shown)."""

    left: Side
    right: Side
    differences: list[Difference]
    total: int
    offset: int
    limit: int
    flipped: list[FlippedProblem]


class Column(BaseModel):
    """A column of a view or a result."""

    name: str
    type: str
    doc: str = ""


class ViewDoc(BaseModel):
    """A table or view that SQL may read; an internal one is a step between, and may change."""

    name: str
    kind: Literal["table", "view"]
    doc: str
    columns: list[Column]
    is_internal: bool = False


class ReadyQuery(BaseModel):
    """A query of ``sql/queries``; ``question`` is its first line."""

    name: str
    question: str
    sql: str


class QueryResult(BaseModel):
    """Rows of a console query, each a list in the order of ``columns``; cut to the row limit if ``is_cut``."""

    columns: list[Column]
    rows: list[list[Any]]
    row_count: int
    is_cut: bool
    seconds: float


class QueryError(BaseModel):
    """Why a query was refused or failed; ``position`` is a 0-based character of the query, where DuckDB names one."""

    message: str
    position: int | None = None
