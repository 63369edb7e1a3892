"""Alarms: signs in the log of preference training that the model is getting worse, or learns nothing (docs/method.md).

The log's lines are `TrainingResult.log_history`. All their numbers are from before the update of their step, but for
``trained/logps/chosen_change`` in the last one: without it, what the last update broke would not show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.recipe import AlarmName, Alarms
from selfexplore_tasks.training.data import TrainingResult

Line = Mapping[str, float]

CHOSEN_CHANGES = ("logps/chosen_change", "trained/logps/chosen_change")
MIN_QUARTER_LINES = 4
"""Fewer lines say too little about the share of pairs that are told apart: batches are small."""


@dataclass(frozen=True)
class Alarm:
    """One alarm; ``sentence`` has the numbers and what to do."""

    name: AlarmName
    sentence: str

    def __str__(self) -> str:
        return f"{self.name}: {self.sentence}"


def find_alarms(log_history: Sequence[Line], step_count: int, settings: Alarms) -> list[Alarm]:
    """Return the alarms that a log of preference training gives cause for.

    Works on the log of a run that is under way too: an alarm once found stays. ``step_count`` is that of the
    whole run.
    """
    found = (
        _few_steps(step_count, settings.min_steps),
        _grad_norm(log_history, settings.grad_norm),
        _chosen_logprob(log_history, settings.chosen_logprob_drop),
        _reward_accuracy(log_history, step_count, settings.reward_accuracy),
    )
    return [alarm for alarm in found if alarm is not None]


class AlarmWatch:
    """Watches one training run; ``label`` starts every line it prints.

    A fatal alarm ends the run as early as the log shows it, with a UserError: trained again, it would be the same.
    """

    def __init__(self, label: str, settings: Alarms) -> None:
        self._label = label
        self._settings = settings
        self._log: list[dict[str, float]] = []

    def update(self, step: int, total: int, logs: dict[str, float]) -> None:
        """Take the last logged numbers (`OnProgress`). Raises UserError for a fatal alarm."""
        if logs and (not self._log or logs["step"] != self._log[-1]["step"]):
            self._log.append(logs)
        alarms = find_alarms(self._log, total, self._settings)
        if self._fatal(alarms):
            self._report(alarms)

    def finish(self, result: TrainingResult) -> list[str]:
        """Print the run's alarms and return them as "name: sentence". Raises UserError for a fatal one."""
        alarms = find_alarms(result.log_history, result.step_count, self._settings)
        self._report(alarms)
        return [str(alarm) for alarm in alarms]

    def _report(self, alarms: Sequence[Alarm]) -> None:
        for alarm in alarms:
            print(f"{self._label}: ALARM {alarm}", flush=True)
        fatal = self._fatal(alarms)
        if fatal:
            raise UserError(
                f"{self._label} ended by an alarm that the recipe calls fatal: {fatal[0]} "
                f"(or take {fatal[0].name} out of alarms.fatal)"
            )

    def _fatal(self, alarms: Sequence[Alarm]) -> list[Alarm]:
        return [alarm for alarm in alarms if alarm.name in self._settings.fatal]


def _few_steps(step_count: int, least: int | None) -> Alarm | None:
    if least is None or step_count >= least:
        return None
    return Alarm(
        "few_steps",
        f"{step_count} optimiser steps, fewer than {least}: gather more pairs, train longer or lower dpo.batch_size",
    )


def _grad_norm(log_history: Sequence[Line], most: float | None) -> Alarm | None:
    if most is None:
        return None
    advice = "lower dpo.learning_rate"
    for line in log_history:
        for name in ("loss", "grad_norm"):
            if not math.isfinite(line.get(name, 0.0)):
                return Alarm("grad_norm", f"{name} was {line[name]} at step {line['step']:.0f}: {advice}")
    worst = max(log_history, key=lambda line: line.get("grad_norm", 0.0), default={})
    if worst.get("grad_norm", 0.0) <= most:
        return None
    return Alarm(
        "grad_norm",
        f"the gradient's norm was {worst['grad_norm']:.4g} at step {worst['step']:.0f}, more than {most:g}: {advice}",
    )


def _chosen_logprob(log_history: Sequence[Line], most: float | None) -> Alarm | None:
    """The lowest line counts, not the last: an alarm must not go away again while the run is under way."""
    if most is None:
        return None
    changes = [(line[name], line["step"]) for line in log_history for name in CHOSEN_CHANGES if name in line]
    # What is not a number is worse than any fall; min() would take it as it comes.
    falls = [(math.inf if math.isnan(change) else -change, step) for change, step in changes]
    fall, step = max(falls, default=(0.0, 0.0))
    if fall <= most:
        return None
    return Alarm(
        "chosen_logprob",
        f"the log-probability of chosen answers fell by {fall:.1f} nats on average until step {step:.0f}, "
        f"more than {most:g}: lower dpo.learning_rate or raise dpo.beta",
    )


def _reward_accuracy(log_history: Sequence[Line], step_count: int, least: float | None) -> Alarm | None:
    if least is None or not log_history or log_history[-1]["step"] < step_count:
        return None
    quarter = [
        line["rewards/accuracies"]
        for line in log_history
        if line["step"] > 0.75 * step_count and "rewards/accuracies" in line
    ]
    if len(quarter) < MIN_QUARTER_LINES or (mean := sum(quarter) / len(quarter)) < least:
        return None
    return Alarm(
        "reward_accuracy",
        f"{mean:.1%} of the pairs were told apart in the last quarter of the {step_count} steps, at least {least:.1%}: "
        "nothing is left to learn, train fewer epochs or look for pairs that are told apart by their form",
    )
