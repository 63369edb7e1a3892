"""Alarms: found in logs that give cause, and in none that do not; a run that broke its model is told."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.recipe import Alarms, Dpo
from selfexplore_tasks.training.alarms import AlarmWatch, find_alarms
from selfexplore_tasks.training.data import PreferenceExample, TrainingResult
from selfexplore_tasks.training.dpo import train_dpo

SETTINGS = Alarms()


def _log(step_count: int, **changes: list[float]) -> list[dict[str, float]]:
    """A healthy log of every step; ``changes`` gives the last values of a column."""
    lines = [
        {
            "step": float(step),
            "loss": 0.69 - 0.01 * step,
            "grad_norm": 3.0,
            "rewards/accuracies": 0.7,
            "logps/chosen_change": -0.1 * step,
        }
        for step in range(1, step_count + 1)
    ]
    lines[-1]["trained/logps/chosen_change"] = -0.1 * step_count
    for name, values in changes.items():
        for line, value in zip(lines[-len(values) :], values, strict=True):
            line[name.replace("__", "/")] = value
    return lines


def _names(log: list[dict[str, float]], step_count: int, settings: Alarms = SETTINGS) -> list[str]:
    return [alarm.name for alarm in find_alarms(log, step_count, settings)]


@pytest.mark.parametrize("step_count", [4, 6, 10, 40])
def test_a_healthy_run_raises_none(step_count: int) -> None:
    assert _names(_log(step_count), step_count) == []


def test_each_alarm_says_its_numbers() -> None:
    log = _log(3, grad_norm=[250.0, 4.0], logps__chosen_change=[-30.0, -12.0])
    assert [str(alarm) for alarm in find_alarms(log, 3, SETTINGS)] == [
        "few_steps: 3 optimiser steps, fewer than 4: gather more pairs, train longer or lower dpo.batch_size",
        "grad_norm: the gradient's norm was 250 at step 2, more than 100: lower dpo.learning_rate",
        "chosen_logprob: the log-probability of chosen answers fell by 30.0 nats on average until step 2, "
        "more than 10: lower dpo.learning_rate or raise dpo.beta",
    ]
    log = _log(16, rewards__accuracies=[1.0, 1.0, 0.97, 1.0])
    assert str(find_alarms(log, 16, SETTINGS)[0]).startswith(
        "reward_accuracy: 99.2% of the pairs were told apart in the last quarter of the 16 steps, at least 99.0%"
    )


def test_thresholds_are_crossed_not_met() -> None:
    assert _names(_log(8, grad_norm=[100.0], logps__chosen_change=[-10.0]), 8) == []
    assert _names(_log(8, grad_norm=[100.1], logps__chosen_change=[-10.1]), 8) == ["grad_norm", "chosen_logprob"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_told(value: float) -> None:
    assert _names(_log(8, grad_norm=[value, 1.0]), 8) == ["grad_norm"]
    assert _names(_log(8, loss=[value, 1.0]), 8) == ["grad_norm"]


def test_a_change_that_is_not_a_number_is_a_fall() -> None:
    assert _names(_log(8, logps__chosen_change=[math.nan, 0.0]), 8) == ["chosen_logprob"]


def test_the_update_of_the_last_step_counts() -> None:
    assert _names(_log(8, trained__logps__chosen_change=[-200.0]), 8) == ["chosen_logprob"]


def test_reward_accuracy_needs_enough_lines_and_the_whole_run() -> None:
    assert _names(_log(8, rewards__accuracies=[1.0] * 8), 8) == []
    log = _log(16, rewards__accuracies=[1.0] * 16)
    assert _names(log, 16) == ["reward_accuracy"]
    assert _names(log[:15], 16) == []
    assert _names(_log(16, rewards__accuracies=[1.0, 0.9, 1.0, 1.0]), 16) == []


def test_null_switches_an_alarm_off() -> None:
    log = _log(16, rewards__accuracies=[1.0] * 4, grad_norm=[math.nan], logps__chosen_change=[-50.0])
    off = Alarms(chosen_logprob_drop=None, reward_accuracy=None, grad_norm=None, min_steps=None)
    assert _names(log, 16, off) == []
    assert _names(_log(1), 1, off) == []


def _result(log: list[dict[str, float]]) -> TrainingResult:
    return TrainingResult(
        step_count=len(log),
        token_count=1,
        seconds=1.0,
        example_count=1,
        too_long_count=0,
        log_history=log,
        metrics={},
    )


def test_the_watch_ends_a_run_at_the_line_that_shows_a_fatal_alarm(capsys: pytest.CaptureFixture[str]) -> None:
    log = _log(8, grad_norm=[500.0, 3.0, 3.0, 3.0])
    watch = AlarmWatch("dpo", Alarms(fatal=("grad_norm",)))
    # A step is reported before its own line is logged.
    for step in range(1, 6):
        watch.update(step, 8, log[step - 2] if step > 1 else {})
    with pytest.raises(UserError, match=r"dpo ended by an alarm .* fatal: grad_norm: .* 500 at step 5.*alarms\.fatal"):
        watch.update(6, 8, log[4])
    assert capsys.readouterr().out.startswith("dpo: ALARM grad_norm: the gradient's norm was 500 at step 5")


def test_the_watch_tells_what_is_not_fatal_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    log = _log(3, grad_norm=[500.0])
    watch = AlarmWatch("dpo", Alarms(fatal=("chosen_logprob",)))
    for step in range(1, 4):
        watch.update(step, 3, log[step - 1])
    assert capsys.readouterr().out == ""
    alarms = watch.finish(_result(log))
    assert [alarm.partition(":")[0] for alarm in alarms] == ["few_steps", "grad_norm"]
    assert capsys.readouterr().out == "".join(f"dpo: ALARM {alarm}\n" for alarm in alarms)


def test_a_fatal_alarm_of_the_last_line_ends_the_stage() -> None:
    log = _log(8, trained__logps__chosen_change=[-200.0])
    with pytest.raises(UserError, match=r"fatal: chosen_logprob: .* 200\.0 nats"):
        AlarmWatch("dpo", Alarms(fatal=("chosen_logprob",))).finish(_result(log))


def _train(model_dir: Path, output_dir: Path, pairs: list[PreferenceExample], settings: Dpo) -> TrainingResult:
    return train_dpo(model_dir=model_dir, output_dir=output_dir, examples=pairs, settings=settings, seed=7, threads=1)


def test_one_step_that_breaks_the_model_is_told(
    tiny_model_dir: Path, tmp_path: Path, pairs: list[PreferenceExample]
) -> None:
    """Two steps, the first at rate 0 (warm-up): every line is from before the update that does the harm."""
    settings = Dpo(max_steps=2, learning_rate=0.05, batch_size=12, micro_batch_size=12, max_length=64)
    result = _train(tiny_model_dir, tmp_path / "policy", pairs, settings)
    assert [line["logps/chosen_change"] for line in result.log_history] == pytest.approx([0.0, 0.0], abs=1e-3)
    assert _names(result.log_history, 2) == ["few_steps", "chosen_logprob"]


def test_a_run_at_a_fitting_rate_raises_none(
    tiny_model_dir: Path, tmp_path: Path, pairs: list[PreferenceExample], dpo_settings: Dpo
) -> None:
    result = _train(tiny_model_dir, tmp_path / "policy", pairs, dpo_settings.model_copy(update={"learning_rate": 1e-5}))
    assert result.step_count == 6
    assert find_alarms(result.log_history, result.step_count, SETTINGS) == []
