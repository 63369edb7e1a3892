"""Sampling, grading, steps, pairs and exploration: where the labels come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from selfexplore_tasks.recipe.base import PositiveInt, Probability, Section


class Sample(Section):
    """Drawing rationales (method, step 2)."""

    n: int = Field(100, ge=1, le=10_000, description="Rationales per problem.")
    temperature: float = Field(0.7, gt=0, le=5, description="Sampling temperature.")
    top_p: Probability = Field(1.0, description="Nucleus sampling.")
    max_new_tokens: PositiveInt = Field(512, description="Longest rationale in tokens.")
    problems: Literal["all", "answers_only"] = Field(
        "all", description="Which training problems to sample: all, or those without a gold rationale."
    )
    problems_per_round: PositiveInt | None = Field(
        None, description="Sample only this many of them a round, each round the next ones (seeded order); null = all."
    )
    chunk_size: PositiveInt = Field(64, description="Problems per committed chunk; a crash costs the chunks begun.")


class Grading(Section):
    """Deciding whether an answer is right (method, step 3)."""

    second: Literal["string_match", "math_verify"] | None = Field(
        None, description="A second grader; where it disagrees is view grade_disagreements. It never decides."
    )
    timeout_s: float = Field(5.0, gt=0, le=60, description="Seconds one symbolic comparison may take.")
    workers: PositiveInt = Field(1, description="Subprocesses for symbolic comparisons, per worker of a stage.")


class Pairs(Section):
    """Outcome pairs (step 6) and granular pairs (step 8)."""

    style: Literal["farthest", "shortest"] = Field(
        "farthest", description="Wrong rationale: the farthest (GSM8K), or the shortest beyond a distance (MATH)."
    )
    max_per_problem: PositiveInt = Field(8, description="Outcome pairs per problem.")
    min_distances: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        (0.5, 0.4, 0.3), min_length=1, description="style=shortest: distance / sum of lengths, tried in this order."
    )
    rationales_from: Literal["generator", "explorer"] = Field(
        "generator", description="Whose rationales become pairs: the sampling model's (paper) or the explorer's own."
    )
    problems: Literal["all", "answers_only"] = Field(
        "all", description="Which training problems give pairs: all, or those without a gold rationale."
    )
    explorer_problem_count: PositiveInt | None = Field(
        None, description="rationales_from=explorer: draw for at most this many problems; null = all."
    )
    rejected: Literal["pit_step", "remainder"] = Field(
        "pit_step", description="Granular pairs reject the pit step alone (paper), or all that follows from it too."
    )
    chosen: Literal["shortest", "longest", "random"] = Field(
        "shortest", description="Which correct rollout from before the pit is chosen; random is seeded."
    )
    per_rationale: Literal["one", "all"] = Field(
        "one", description="One granular pair per wrong rationale (paper), or one for every correct rollout."
    )


class Steps(Section):
    """How a rationale is split into steps."""

    style: Literal["lines", "sentences"] = Field("lines", description="One step a line (GSM8K) or sentences (MATH).")
    max_steps: int = Field(20, ge=1, le=1000, description="Steps explored at most.")


class Explore(Section):
    """Finding the first pit (method, step 7)."""

    k: int = Field(4, ge=1, le=1000, description="Rollouts per step.")
    temperature: float = Field(0.7, gt=0, le=5, description="Sampling temperature of the rollouts.")
    top_p: Probability = Field(1.0, description="Nucleus sampling.")
    max_new_tokens: PositiveInt = Field(512, description="Longest rollout in tokens.")
    fit_tokens: bool = Field(
        False,
        description="End rollouts at what this round's correct rationales need (99% of them, and a quarter more), "
        "where that is less than max_new_tokens.",
    )
    chunk_size: PositiveInt = Field(64, description="Rationales per committed chunk.")
    confirm: bool = Field(
        False, description="Test a step without a correct rollout again with k more before it counts as a pit."
    )
    adaptive: bool = Field(
        False,
        description="Draw 1, 1, 2, 4, ... rollouts, up to k, until one is correct (noisy_binary: always one by one).",
    )
    top_up: bool = Field(
        True,
        description="Once the pit is found, draw what adaptive or noisy_binary saved at the step before it: more texts "
        "to choose from.",
    )
    search: Literal["linear", "binary", "noisy_binary"] = Field(
        "linear",
        description="Go from step 1 on (paper); halve (binary), right only where a failed step stays failed; or draw "
        "one by one where a rollout tells most (noisy_binary): nearly the pits of linear, few rollouts in long "
        "rationales.",
    )


class Evaluate(Section):
    """Greedy evaluation on dev and test (method, step 10)."""

    max_new_tokens: PositiveInt = Field(512, description="Longest answer in tokens.")
    chunk_size: PositiveInt = Field(256, description="Problems per committed chunk.")
