"""What the private Airflow decides before anything is started; `tests/dags/test_two_rounds.py` runs it."""

from __future__ import annotations

import configparser
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.launch_client import OFF, SERVER_VARIABLE
from selfexplore_tasks.local_airflow import (
    HOST,
    LocalAirflow,
    check_port,
    free_port,
    gpu_slots,
    has_stage_server,
    main,
    running,
)
from selfexplore_tasks.processes import usable_cores


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> LocalAirflow:
    airflow = LocalAirflow(tmp_path_factory.mktemp("airflow"), 8123)
    airflow.configure()
    return airflow


def test_a_taken_port_is_named() -> None:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(UserError, match=f"Port {port} cannot be used"):
            check_port(port)
    check_port(free_port())


def test_up_on_a_taken_port_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        assert main(["up", "--port", str(listener.getsockname()[1])]) == 2
    assert capsys.readouterr().err.startswith("error: Port ")
    assert not (tmp_path / "airflow").exists()


def test_down_without_up_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    assert main(["down"]) == 0
    assert capsys.readouterr().out == "Airflow was not running.\n"


def test_every_address_is_local(configured: LocalAirflow) -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(configured.home / "airflow.cfg")
    assert (config["api"]["host"], config["api"]["port"]) == (HOST, "8123")
    assert config["core"]["execution_api_server_url"] == "http://127.0.0.1:8123/execution/"
    assert config["core"]["load_examples"] == "False"


def test_secrets_are_private_and_stay(configured: LocalAirflow) -> None:
    before = {name: (configured.home / name).read_text(encoding="utf-8") for name in ("secrets.json", "passwords.json")}
    configured.configure()
    for name, content in before.items():
        path = configured.home / name
        assert path.read_text(encoding="utf-8") == content
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(configured.password) >= 16


def test_our_pools_are_in_the_database(configured: LocalAirflow) -> None:
    command = [str(Path(sys.executable).parent / "airflow"), "pools", "list", "--output", "json"]
    result = subprocess.run(command, env=configured.environment(), capture_output=True, text=True, check=True)
    pools = {row["pool"]: int(row["slots"]) for row in json.loads(result.stdout[result.stdout.index("[{") :])}
    assert (pools["gpu"], pools["duckdb"]) == (gpu_slots(), 4)


def test_settings_of_another_airflow_do_not_leak_in(configured: LocalAirflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("HOME", "")
    environment = configured.environment()
    assert "AIRFLOW__CORE__EXECUTOR" not in environment
    assert environment["AIRFLOW_HOME"] == environment["HOME"] == str(configured.home)


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets this machine have so many GPUs, as far as ``nvidia-smi`` tells."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.delenv(SERVER_VARIABLE, raising=False)

    def make(count: int) -> None:
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir()
        lines = "".join(f"echo 'GPU {number}: NVIDIA H100 (UUID: GPU-{number})'\n" for number in range(count))
        program.write_text(f"#!/bin/sh\n{lines}", encoding="utf-8")
        program.chmod(0o755)

    return make


@pytest.mark.parametrize(
    ("count", "asked", "has"), [(0, None, True), (0, OFF, False), (2, None, False), (2, OFF, False)]
)
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_a_stage_server_runs_without_gpus_unless_switched_off(
    gpus: Callable[[int], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    asked: str | None,
    has: bool,
) -> None:
    gpus(count)
    if asked is not None:
        monkeypatch.setenv(SERVER_VARIABLE, asked)
    assert has_stage_server() is has
    assert gpu_slots() == (count or usable_cores())
    told = LocalAirflow(tmp_path / "airflow", 1).environment().get(SERVER_VARIABLE)
    assert told == (str(tmp_path / "airflow" / "stages.sock") if has else asked)


def test_a_process_id_that_belongs_to_somebody_else_now_is_not_ours(tmp_path: Path) -> None:
    state = {"port": 1, "components": {"scheduler": [os.getpid(), 12.0]}}
    (tmp_path / "running.json").write_text(json.dumps(state), encoding="utf-8")
    assert running(tmp_path) is None
    assert not LocalAirflow(tmp_path, 1).stop()


LEADER = """
import subprocess, sys
print(subprocess.Popen(["sleep", "600"], cwd=sys.argv[1]).pid, flush=True)
"""


@pytest.mark.parametrize(("is_ours", "is_ended"), [(True, True), (False, False)])
def test_what_a_killed_component_left_ends_and_a_strangers_process_does_not(
    tmp_path: Path, is_ours: bool, is_ended: bool
) -> None:
    home, elsewhere = tmp_path / "airflow", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    folder = home if is_ours else elsewhere
    leader = subprocess.Popen(
        [sys.executable, "-c", LEADER, str(folder)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert leader.stdout is not None
    left = psutil.Process(int(leader.stdout.readline()))
    leader.wait()
    content = {"port": 1, "components": {"scheduler": [leader.pid, 12345.0]}}
    (home / "running.json").write_text(json.dumps(content), encoding="utf-8")
    try:
        assert LocalAirflow(home, 1).stop() is is_ended
        assert left.is_running() is not is_ended
    finally:
        if left.is_running():
            left.kill()
