"""The launcher with real processes: whatever ends it, nothing it started lives on."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from launches import LAUNCH, STUBBORN, launch, pids_of, wait_until_gone

from selfexplore_tasks import launch as launcher_module
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.failures import BATCH_DIVISOR_VARIABLE, ExitCode, StalledError
from selfexplore_tasks.launch import TOKEN_VARIABLE, end_previous, run_stage_process, stage_environment
from selfexplore_tasks.processes import ProcessIdentity
from selfexplore_tasks.store.files import write_json
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.watchdog import Watchdog


@pytest.fixture
def interpreter(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Return the environment under which a stage runs the given code: an interpreter that ignores its arguments."""

    def make(code: str) -> dict[str, str]:
        script = tmp_path / "interpreter"
        script.write_text(f"#!{sys.executable}\n{textwrap.dedent(code)}", encoding="utf-8")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return {"SELFEXPLORE_PYTHON": str(script), "SELFEXPLORE_HOME": str(tmp_path / "store")}

    return make


def test_passes_lines_and_exit_code_on(interpreter: Callable[[str], dict[str, str]], tmp_path: Path) -> None:
    lines: list[str] = []
    env = interpreter("import sys; print(*sys.argv[1:]); print('two', file=sys.stderr); sys.exit(7)")
    assert launch(env, lines) == 7
    assert lines == ["-m selfexplore_tasks stage sample --experiment trial --round 1", "two"]
    assert not list((tmp_path / "store").rglob("*.pgid"))


def test_user_error_of_the_real_command(tmp_path: Path) -> None:
    lines: list[str] = []
    assert launch({"SELFEXPLORE_HOME": str(tmp_path)}, lines) == 2
    assert lines[-1].startswith("error: Experiment 'trial' does not exist")


def test_a_name_that_leaves_the_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot name an experiment"):
        run_stage_process(
            "sample",
            experiment="../trial",
            round_number=1,
            env={"SELFEXPLORE_HOME": str(tmp_path)},
            on_line=print,
        )


def test_a_stage_that_a_signal_ended_is_a_failure(interpreter: Callable[[str], dict[str, str]]) -> None:
    env = interpreter("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert launch(env, []) == 128 + signal.SIGKILL


def test_deadline_ends_the_whole_group(interpreter: Callable[[str], dict[str, str]]) -> None:
    lines: list[str] = []
    with pytest.raises(TimeoutError, match="deadline of 2 s"):
        launch(interpreter(STUBBORN), lines, deadline_s=2)
    assert len(pids_of(lines)) == 2
    wait_until_gone(pids_of(lines))


def test_a_silent_stage_is_ended(interpreter: Callable[[str], dict[str, str]]) -> None:
    lines: list[str] = []
    with pytest.raises(StalledError, match="stage sample of round 1 made no progress for 5 s"):
        launch({**interpreter(STUBBORN), "SELFEXPLORE_STALL_S": "5"}, lines)
    assert len(pids_of(lines)) == 2
    wait_until_gone(pids_of(lines))


@pytest.mark.parametrize(
    ("file", "age_s", "stalled"),
    [
        (None, 0, True),
        ("tables/rationales/experiment=e/round=001/part-sample-00003.parquet", 50, False),
        ("tables/rationales/experiment=e/round=001/.part-sample-00003.parquet.7.tmp", 50, False),
        ("models/e/round=001/rft.partial/checkpoint-3/optimizer.pt", 50, False),
        ("tables/rationales/experiment=e/round=001/part-sample-00003.parquet", 150, True),
        ("tables/rationales/experiment=e/round=001/part-sample_explorer-00003.parquet", 50, True),
        ("tables/rationales/experiment=e/round=002/part-sample-00003.parquet", 50, True),
        ("tables/rationales/experiment=other/round=001/part-sample-00003.parquet", 50, True),
    ],
)
def test_files_of_the_stage_are_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str | None, age_s: float, stalled: bool
) -> None:
    if file is not None:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
        os.utime(tmp_path / file, (time.time() - age_s, time.time() - age_s))
    begun = time.monotonic()
    watchdog = Watchdog(Store(tmp_path), "e", 1, "sample", 100)
    watchdog.check()
    monkeypatch.setattr(time, "monotonic", lambda: begun + 101)
    if stalled:
        with pytest.raises(StalledError):
            watchdog.check()
        watchdog.saw_line()
    watchdog.check()
    Watchdog(Store(tmp_path), "e", 1, "sample", 0).check()


def test_memory_makes_the_next_try_smaller(interpreter: Callable[[str], dict[str, str]]) -> None:
    lines: list[str] = []
    env = interpreter(
        f"import os, sys; print(os.environ['{BATCH_DIVISOR_VARIABLE}']); sys.exit(int(os.environ['CODE']))"
    )
    for exit_code in (5, 3, 3, 5, 0, 1):
        assert launch({**env, "CODE": str(exit_code)}, lines) == exit_code
    assert lines == ["1", "1", "2", "4", "4", "1"]


@pytest.mark.parametrize(("counts", "code"), [((4, 5), ExitCode.OUT_OF_MEMORY), ((4, 4), 137)])
def test_a_kill_by_the_kernel_for_memory_is_told_from_others(
    interpreter: Callable[[str], dict[str, str]], monkeypatch: pytest.MonkeyPatch, counts: tuple[int, int], code: int
) -> None:
    told = iter(counts)
    monkeypatch.setattr(launcher_module, "kernel_memory_kills", lambda: next(told))
    assert launch(interpreter("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"), []) == code


def test_a_cancelled_experiment_does_not_go_on(interpreter: Callable[[str], dict[str, str]], tmp_path: Path) -> None:
    lines: list[str] = []
    env = interpreter("print('ran')")
    control, said = Store(tmp_path / "store").control_file("trial"), {"who": "eva", "why": "", "at": "today"}
    write_json(control, {"state": "cancelled", **said})
    with pytest.raises(UserError, match="selfexplore resume trial"):
        launch(env, lines)
    write_json(control, {"state": "paused", **said})
    assert launch(env, lines) == 0
    assert lines == ["ran"]


def test_what_outlives_the_stage_is_ended(interpreter: Callable[[str], dict[str, str]]) -> None:
    lines: list[str] = []
    code = STUBBORN.replace("time.sleep(300)\n", "os._exit(0)\n")
    assert launch(interpreter(code), lines) == 0
    wait_until_gone(pids_of(lines))


def test_a_line_without_end_is_cut(interpreter: Callable[[str], dict[str, str]]) -> None:
    lines: list[str] = []
    assert launch(interpreter("print('x' * 100_000); print(b'\\xff')"), lines) == 0
    assert max(len(line) for line in lines) <= 16_384
    assert sum(line.count("x") for line in lines[:-1]) == 100_000


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)])
def test_the_group_ends_with_its_launcher(
    interpreter: Callable[[str], dict[str, str]], number: signal.Signals, exit_code: int
) -> None:
    env = {**os.environ, **interpreter(STUBBORN)}
    command = [sys.executable, "-c", LAUNCH, "sample", "trial", "1"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as launcher:
        first = launcher.stdout.readline() if launcher.stdout else ""
        launcher.send_signal(number)
        assert launcher.wait(20) == exit_code
    assert len(pids_of([first])) == 2
    wait_until_gone(pids_of([first]))


def start_sleeper(token: str = "") -> subprocess.Popen[bytes]:
    env = {**os.environ, TOKEN_VARIABLE: token}
    return subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(300)"],
        env=env,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
    )


def write_record(path: Path, pid: int, started_at: float, token: str) -> None:
    path.write_text(json.dumps({"pgid": pid, "started_at": started_at, "token": token}), encoding="utf-8")


def test_an_orphan_of_an_earlier_try_is_ended(tmp_path: Path) -> None:
    with start_sleeper() as orphan:
        record = tmp_path / "sample.pgid"
        write_record(record, orphan.pid, ProcessIdentity.of(orphan.pid).started_at, "t")
        end_previous(record)
        assert orphan.wait(5) == -signal.SIGTERM
        assert not record.exists()


def test_members_are_ended_although_their_leader_is_gone(tmp_path: Path) -> None:
    with start_sleeper(token="token-of-this-test") as member:
        record = tmp_path / "sample.pgid"
        write_record(record, 2**22 + 1, 0.0, "token-of-this-test")
        end_previous(record)
        assert member.wait(5) == -signal.SIGKILL


def test_a_recycled_process_id_is_left_alone(tmp_path: Path) -> None:
    with start_sleeper() as stranger:
        record = tmp_path / "sample.pgid"
        write_record(record, stranger.pid, ProcessIdentity.of(stranger.pid).started_at - 60, "t")
        end_previous(record)
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pgid": "x"'])
def test_a_broken_record_is_ignored(tmp_path: Path, content: str) -> None:
    record = tmp_path / "sample.pgid"
    record.write_text(content, encoding="utf-8")
    end_previous(record)


def test_threads_are_shared_among_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0))
    assert stage_environment(None, {})["OMP_NUM_THREADS"] == str(cores)
    assert stage_environment("1/64", {})["OMP_NUM_THREADS"] == "1"
    assert stage_environment(None, {"OMP_NUM_THREADS": "3"})["OMP_NUM_THREADS"] == "3"
    assert stage_environment(None, {})["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
