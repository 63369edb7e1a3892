"""The records of single problems: lines of the browser, and the page of one. All shares are 0 to 1."""

from __future__ import annotations

from pydantic import BaseModel


class ProblemRow(BaseModel):
    """One line of the problem browser, as seen in one round.

    A training problem is solved if any rationale of the round is correct, a dev or test problem if the round's
    candidate answers it. ``was_solved``: whether any rationale of the round before was correct; whether the champion
    that the round started from answers it. Null where it was not tried.
    """

    problem_id: str
    source: str
    split: str
    question: str
    gold_answer: str
    is_solved: bool | None
    was_solved: bool | None
    rationale_count: int
    correct_count: int
    pit_steps: list[int]


class ProblemList(BaseModel):
    """One page of the problem browser."""

    experiment: str
    round: int
    total: int
    offset: int
    limit: int
    problems: list[ProblemRow]


class RolloutRow(BaseModel):
    """One attempt to finish a rationale from behind a step."""

    rollout_id: str
    text: str
    answer: str | None
    is_correct: bool


class StepRow(BaseModel):
    """One step of a rationale; counts are null where no rollout was drawn behind it.

    It is undecided if none of its rollouts is correct, yet it is not the pit, for a later step passed.
    """

    step: int
    text: str
    pass_count: int | None
    draw_count: int | None
    is_first_pit: bool
    is_undecided: bool
    rollouts: list[RolloutRow]


class RationaleRow(BaseModel):
    """A sampled solution; ``tail`` is what follows its explorable steps, e.g. the line with the answer.

    It is explored if rollouts were drawn behind its steps and the round's pits are found.
    Tokens of a text that was brought from elsewhere are not counted: null.
    """

    rationale_id: str
    round: int
    model_id: str
    verdict: str
    answer: str | None
    token_count: int | None
    logprob_mean: float | None
    first_pit_step: int | None
    true_wrong_step: int | None
    is_explored: bool
    steps: list[StepRow]
    tail: str


class PairRow(BaseModel):
    """A pair made from the problem, kept or not."""

    pair_id: str
    round: int
    kind: str
    pit_step: int | None
    prefix: str
    chosen: str | None
    rejected: str | None
    is_kept: bool
    drop_reason: str | None


class AnswerRow(BaseModel):
    """How a model answered the problem, greedily."""

    round: int
    model_id: str
    benchmark: str
    split: str
    text: str
    answer: str | None
    is_correct_strict: bool
    is_correct_flexible: bool


class RoundRationales(BaseModel):
    """How many rationales of the problem a round drew, and how many of them are correct, shown or not."""

    round: int
    rationale_count: int
    correct_count: int


class ProblemPage(BaseModel):
    """One problem with everything that was made of it. Rationales are cut to ``limit`` a round, explored ones first."""

    experiment: str
    problem_id: str
    source: str
    split: str
    question: str
    gold_answer: str
    gold_rationale: str | None
    rationale_total: int
    rounds: list[RoundRationales]
    rationales: list[RationaleRow]
    pairs: list[PairRow]
    answers: list[AnswerRow]
