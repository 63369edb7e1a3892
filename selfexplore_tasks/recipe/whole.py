"""The whole recipe: every section, and what must agree between them."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from selfexplore_tasks.recipe.base import Section
from selfexplore_tasks.recipe.labels import Evaluate, Explore, Grading, Pairs, Sample, Steps
from selfexplore_tasks.recipe.model import Engine, Model, Prompt
from selfexplore_tasks.recipe.problems import Problems
from selfexplore_tasks.recipe.training import Accelerate, Alarms, Arms, Dpo, Reporter, Rft, Training
from selfexplore_tasks.recipe.unattended import ByRound, Gate, Retention, Stop


class Recipe(Section):
    """One experiment."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$", description="Name of the recipe.")
    description: str = Field(description="One sentence for the person who picks it.")
    seed: int = Field(0, ge=0, lt=2**31, description="Everything random derives from it.")
    max_rounds: int = Field(1, ge=1, le=1000, description="Rounds after round 0.")
    shards: int = Field(1, ge=1, le=1024, description="Workers that share sampling and exploring.")
    problems: Problems = Field(description="Where the problems come from and how they are split.")
    model: Model = Field(description="The base model.")
    prompt: Prompt = Field(Prompt(), description="How a question is put to the model.")
    sft: Training | None = Field(description="Supervised training on gold rationales; null = start from the model.")
    sample: Sample = Field(Sample(), description="Drawing rationales.")
    by_round: ByRound = Field(ByRound(), description="Sampling settings that change from round to round.")
    rft: Rft = Field(Rft(), description="Rejection-sampling fine-tuning.")
    steps: Steps = Field(Steps(), description="How a rationale is split into steps.")
    pairs: Pairs = Field(Pairs(), description="Choosing preference pairs.")
    explore: Explore = Field(Explore(), description="Finding first pits.")
    dpo: Dpo = Field(Dpo(), description="Preference training.")
    accelerate: Accelerate = Field(Accelerate(), description="Training on several cards (docs/operations.md).")
    alarms: Alarms = Field(Alarms(), description="When preference training looks wrong.")
    compare: bool = Field(
        False,
        description="Train also outcome DPO and continued RFT, as many steps from the same explorer, and compare all.",
    )
    arms: Arms = Field(Arms(), description="Settings of the compared arms.")
    evaluate: Evaluate = Field(Evaluate(), description="Measuring accuracy.")
    gate: Gate = Field(Gate(), description="When a candidate becomes the champion.")
    stop: Stop = Field(Stop(), description="When the experiment ends by itself.")
    retention: Retention = Field(Retention(), description="Which models housekeeping keeps.")
    engine: Engine = Field(Engine(), description="How text is generated.")
    grading: Grading = Field(Grading(), description="Deciding whether an answer is right.")
    report_to: tuple[Reporter, ...] = Field(
        (), description="Where the trainers report to, by transformers' names; the package must be installed."
    )

    @model_validator(mode="after")
    def _check_agreement(self) -> Self:
        if self.sft is None and self.model.scratch is not None:
            raise ValueError("sft=null disagrees with model.scratch: a model with random weights needs SFT first")
        if self.sft is not None and self.problems.rationale_count == 0:
            raise ValueError("sft disagrees with problems.rationale_count=0: SFT needs gold rationales")
        self._check_answers_only()
        if self.pairs.problems == "all" and self.sample.problems == "answers_only":
            raise ValueError(
                "pairs.problems=all disagrees with sample.problems=answers_only: "
                "problems that are not sampled give no pairs"
            )
        self._check_guards()
        if self.model.scratch is not None:
            self._check_context(self.model.scratch.context_length)
        return self

    def for_round(self, round_number: int) -> Recipe:
        """The recipe as it holds in one round: `by_round` put into `sample`."""
        changed = self.by_round.of(round_number) if round_number else {}
        return self.model_copy(update={"sample": self.sample.model_copy(update=changed)}) if changed else self

    def _check_guards(self) -> None:
        measured = [benchmark.name for benchmark in self.problems.benchmarks if benchmark.dev_count]
        for guard in self.gate.guards:
            if guard.benchmark not in measured:
                raise ValueError(
                    f"gate.guards names {guard.benchmark!r}, which is no benchmark of problems.benchmarks with a "
                    f"dev_count (there: {', '.join(measured) or 'none'})"
                )

    def _check_answers_only(self) -> None:
        needs_rest = [field for field in ("sample", "pairs") if getattr(self, field).problems == "answers_only"]
        count = self.problems.rationale_count
        if needs_rest and (count is None or count == self.problems.train_count):
            given = "null" if count is None else str(count)
            raise ValueError(
                f"{needs_rest[0]}.problems=answers_only disagrees with problems.rationale_count={given}: "
                "every training problem keeps its rationale, none is left"
            )

    def _check_context(self, context: int) -> None:
        for field, tokens in (
            ("sample.max_new_tokens", self.sample.max_new_tokens),
            ("explore.max_new_tokens", self.explore.max_new_tokens),
            ("evaluate.max_new_tokens", self.evaluate.max_new_tokens),
        ):
            if tokens >= context:
                raise ValueError(
                    f"{field}={tokens} disagrees with model.scratch.context_length={context}: it must be smaller"
                )
