"""Progress: plain lines with rate and time left in a log, a bar on a terminal."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from selfexplore_tasks import progress
from selfexplore_tasks.progress import Progress, recorded


def test_a_log_gets_a_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("sample", 1200, "problems") as bar:
        bar.advance(600)
        bar.advance(600, "loss 0.5")
    line = capsys.readouterr().out
    assert re.fullmatch(r"sample: 1,200/1,200 problems \(100%\), [\d.]+ problems/s, 0 s left, loss 0\.5\n", line), line


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter([0.0, *[2.0, 4.0], *[6.0, 6.0], 7.0, 9.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    with Progress("sft", 10, "steps") as bar:
        for _ in range(4):
            bar.advance(2)
    first, last = capsys.readouterr().out.splitlines()
    assert first == "sft: 6/10 steps (60%), 1.0 steps/s, 4 s left"
    assert last.startswith("sft: 8/10 steps (80%)")


def test_work_done_before_does_not_count_as_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter([0.0, 1.0, 2.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    with Progress("sample", 100, "problems", done=90) as bar:
        bar.advance(2)
    assert capsys.readouterr().out == "sample: 92/100 problems (92%), 1.0 problems/s, 8 s left\n"


def test_nothing_to_do_is_all_done(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("explore", 0, "rationales"):
        pass
    assert capsys.readouterr().out == "explore: 0/0 rationales (100%), 0.0 rationales/s, time left unknown\n"


def test_a_failure_ends_without_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"), Progress("sample", 10, "problems"):
        raise ValueError("broken")
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with Progress("sample", 4, "problems", done=1) as bar:
        bar.advance(3, "loss 0.1")
    shown = terminal.getvalue()
    assert "sample: 100%" in shown
    assert "4/4" in shown
    assert "loss 0.1" in shown
    assert capsys.readouterr().out == ""


def test_a_page_can_read_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    path = tmp_path / "stage.progress"

    def said() -> dict[str, object]:
        return dict(json.loads(path.read_text(encoding="utf-8")))

    with recorded(path, "1/2"), Progress("sample 1/2", 100, "rationales", done=20) as bar:
        assert (said()["done"], said()["seconds_left"], said()["shard"]) == (20, None, "1/2")
        now[0] += 0.5
        bar.advance(10)
        assert said()["done"] == 20, "written once a second only"
        now[0] += 1.5
        bar.advance(10, "loss 0.5")
        assert said() == {
            **{"label": "sample 1/2", "done": 40, "total": 100, "unit": "rationales"},
            **{"seconds_left": 6.0, "note": "loss 0.5", "shard": "1/2"},
        }
        bar.advance(60)
        assert said()["done"] == 100, "the end is always written"
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_try_said_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "stage.progress"
    path.write_text('{"done": 5}', encoding="utf-8")
    with recorded(path):
        assert not path.exists()


def test_a_record_that_cannot_be_written_stops_no_stage(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    folder.mkdir()
    with recorded(folder / "stage.progress"):
        folder.rmdir()
        with Progress("sample", 2, "problems") as bar:
            bar.advance(2)
