"""What training takes and gives back: token ids in, a trained folder and its log out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from selfexplore_tasks.errors import UserError

OnProgress = Callable[[int, int, dict[str, float]], None]
"""Called after every optimiser step with (step, total steps, last logged numbers)."""

IGNORED_LABEL = -100
"""Label of a token on which no loss is taken (PyTorch's default)."""


class NothingToTrain(UserError):
    """A training set is empty, or every example of it exceeds ``max_length``."""


@dataclass(frozen=True)
class Reporting:
    """Where the trainers report to (names as in `recipe.Reporter`) and what they call the run."""

    names: tuple[str, ...] = ()
    run_name: str | None = None


NO_REPORTS = Reporting()


@dataclass(frozen=True)
class TrainingExample:
    """One supervised example; the loss is taken on ``completion_ids`` only (EOS, if any, is the caller's)."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        _refuse_empty(prompt_ids=self.prompt_ids, completion_ids=self.completion_ids)

    @property
    def token_count(self) -> int:
        """Tokens of the sequence."""
        return len(self.prompt_ids) + len(self.completion_ids)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence a forward pass sees."""
        return self.token_count


@dataclass(frozen=True)
class PreferenceExample:
    """One preference pair, exactly as the model sees it: nothing is appended to these ids any more.

    Build it with `preference_example`, which puts EOS after chosen and not after a rejected step.
    """

    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        _refuse_empty(prompt_ids=self.prompt_ids, chosen_ids=self.chosen_ids, rejected_ids=self.rejected_ids)

    @property
    def token_count(self) -> int:
        """Tokens of both sequences."""
        return 2 * len(self.prompt_ids) + len(self.chosen_ids) + len(self.rejected_ids)

    @property
    def longest(self) -> int:
        """Tokens of the prompt with the longer answer."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))


def preference_example(
    prompt_ids: Sequence[int],
    chosen_ids: Sequence[int],
    rejected_ids: Sequence[int],
    eos_token_id: int,
    *,
    is_rejected_ended: bool = False,
) -> PreferenceExample:
    """Return the pair with EOS after chosen and, unless told otherwise, none after rejected (method, step 9).

    The rejected text of a granular pair is one step in the middle of a solution: an EOS there would make the
    pair trivially separable. ``is_rejected_ended`` is for complete solutions (`dpo.eos_on_complete_rejected`).
    ``chosen_ids`` and ``rejected_ids`` come without EOS. Raises ValueError for an empty part.
    """
    _refuse_empty(chosen_ids=chosen_ids, rejected_ids=rejected_ids)
    end = (eos_token_id,)
    return PreferenceExample(
        tuple(prompt_ids), (*chosen_ids, *end), (*rejected_ids, *(end if is_rejected_ended else ()))
    )


@dataclass(frozen=True)
class TrainingResult:
    """What a training run did; ``seconds`` are those of this call, the rest is the whole run's.

    ``token_count`` counts the tokens trained on (every epoch, both answers of a pair, no padding).
    ``log_history`` has about 50 entries of at least ``step``, ``epoch``, ``loss`` and ``learning_rate``;
    ``metrics`` is the last of them, that of the last step, with ``loss_mean`` over the run. Runs of fewer than 100
    steps log every step; longer ones every n-th, and ``grad_norm`` is then that of the n-th step alone.
    """

    step_count: int
    token_count: int
    seconds: float
    example_count: int
    too_long_count: int
    log_history: list[dict[str, float]]
    metrics: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return asdict(self)


def _refuse_empty(**fields: Sequence[int]) -> None:
    for name, ids in fields.items():
        if not ids:
            raise ValueError(f"{name} is empty: there is nothing to learn from")
