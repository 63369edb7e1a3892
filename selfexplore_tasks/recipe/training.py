"""Every training: supervised, rejection sampling, preferences, and the arms that are compared."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from selfexplore_tasks.recipe.base import LearningRate, PositiveInt, Section


class Lora(Section):
    """Low-rank adapters instead of full training; merged into the weights when training ends."""

    rank: int = Field(16, ge=1, le=512, description="Rank of the adapters.")
    alpha: int = Field(32, ge=1, description="Scale of the adapters.")


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
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        "float32", description="bfloat16 = mixed precision; auto = that, on a GPU that has it."
    )
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


class Accelerate(Section):
    """How many processes train a model, and how they share it. Global batches and their order stay the same."""

    config: str = Field(
        "single",
        min_length=1,
        description="single (one process), ddp, fsdp2, deepspeed_zero2, deepspeed_zero3, or the absolute path of a "
        "YAML file written by `accelerate config`.",
    )
    processes: PositiveInt | None = Field(
        None, description="Processes on this machine, one a GPU; null = as many as it has GPUs."
    )

    @model_validator(mode="after")
    def _check_single(self) -> Self:
        if self.config == "single" and (self.processes or 1) > 1:
            raise ValueError(
                f"accelerate.processes={self.processes} disagrees with accelerate.config=single: name ddp, fsdp2, "
                "deepspeed_zero2, deepspeed_zero3 or a file"
            )
        return self


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
    reference: Literal["explorer", "previous_policy"] = Field(
        "explorer", description="What the policy is pulled towards: its own start (paper), or the champion before."
    )
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


Reporter = Literal["tensorboard", "wandb", "mlflow", "trackio", "comet_ml", "clearml", "swanlab"]
