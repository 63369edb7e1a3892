"""What the demo shows; the whole of it is run by `make demo`."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from selfexplore_tasks.demo import Screen, only_demo, read_events
from selfexplore_tasks.errors import UserError


def test_events_of_a_log_of_airflow(tmp_path: Path) -> None:
    log = tmp_path / "attempt=1.log"
    entries = [
        {"event": "::group::Pre Execute", "logger": "task"},
        {"event": "sft: 15/15 steps", "logger": "common.stages"},
        {"event": "failed", "logger": "task", "error_detail": [{"exc_type": "UserError", "exc_value": "no weights"}]},
    ]
    log.write_text("\n".join([*map(json.dumps, entries), '{"event": "half a li']), encoding="utf-8")
    assert read_events(log, "common.stages") == ["sft: 15/15 steps"]
    assert read_events(log) == ["sft: 15/15 steps", "failed", "UserError: no weights"]
    assert read_events(tmp_path / "none.log") == []


def test_only_the_end_of_a_large_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "attempt=1.log"
    log.write_text(
        "".join(json.dumps({"event": f"line {number}"}) + "\n" for number in range(20_000)), encoding="utf-8"
    )
    events = read_events(log)
    assert events[-1] == "line 19999"
    assert len(events) < 5_000


def test_a_second_demo_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="Another demo is running"), only_demo(tmp_path):
            pass
    with only_demo(tmp_path):
        pass


def test_plain_output_is_not_flooded(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(is_terminal=False)
    for number in range(100):
        screen.update(f"progress {number}")
    screen.settle("done")
    assert capsys.readouterr().out == "[00:00] progress 0\n[00:00] done\n"
