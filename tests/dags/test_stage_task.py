"""How a stage's end becomes a task's: what is tried again, and what would be in vain."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from common.stages import RETRIES, ConnectionLostError, OutOfMemoryError, _run
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.failures import StalledError

PLAN = {"experiment": "trial", "round": 1}


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (1, AirflowException),
        (2, AirflowFailException),
        (3, OutOfMemoryError),
        (4, AirflowFailException),
        (5, ConnectionLostError),
        (6, AirflowFailException),
        (137, AirflowException),
    ],
)
def test_exit_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception]) -> None:
    interpreter = tmp_path / "interpreter"
    interpreter.write_text(f"#!{sys.executable}\nprint('error: why so')\nraise SystemExit({code})", encoding="utf-8")
    interpreter.chmod(interpreter.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("SELFEXPLORE_PYTHON", str(interpreter))
    monkeypatch.setenv("SELFEXPLORE_HOME", str(tmp_path / "store"))
    with pytest.raises(AirflowException, match=r"^stage sample.*error: why so") as raised:
        _run("sample", PLAN, None)
    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (UserError("x"), RetryAction.FAIL),
        (OutOfMemoryError("x"), RetryAction.RETRY),
        (ConnectionLostError("x"), RetryAction.RETRY),
        (StalledError("x"), RetryAction.RETRY),
        (AirflowException("x"), RetryAction.DEFAULT),
    ],
)
def test_what_is_tried_again(error: Exception, action: RetryAction) -> None:
    assert RETRIES["retry_policy"].evaluate(error, try_number=1, max_tries=2).action is action
