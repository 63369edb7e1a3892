"""Stages that a server forks: the same as programs, and as mortal. One real server, with every library imported."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from launches import LAUNCH, STUBBORN, launch, pids_of, wait_until_gone
from safetensors.numpy import load_file

import selfexplore_tasks
from selfexplore_tasks.launch import end_previous, run_stage_process
from selfexplore_tasks.launch_client import HEADER, IDENTIFIER, OFF, PROTOCOL, SERVER_VARIABLE, received, short_path
from selfexplore_tasks.store.experiments import open_experiment
from selfexplore_tasks.store.home import Store
from subject import compare

PACKAGE = Path(selfexplore_tasks.__file__).parent
IS_FORKED = "import sys; print('forked' if 'torch' in sys.modules else 'a program', flush=True)"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@dataclass(frozen=True)
class Server:
    """A stage server in ``folder``, which runs the copy of this package below it."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        return self.folder / "stages.sock"

    @property
    def package(self) -> Path:
        return self.folder / "code" / PACKAGE.name

    @property
    def environment(self) -> dict[str, str]:
        return {**environment_of(self.folder), SERVER_VARIABLE: str(self.socket)}

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        with short_path(self.socket) as path:
            connection.connect(path)
        return connection

    def open_files(self) -> set[Path]:
        return set(Path(f"/proc/{self.process.pid}/fd").iterdir())

    def wait_for_forks(self) -> None:
        wait_until_gone([child.pid for child in psutil.Process(self.process.pid).children()], 20)


def environment_of(folder: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(folder / "code"), "PYTHONDONTWRITEBYTECODE": "1"}


@contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    shutil.copytree(PACKAGE, folder / "code" / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "code" / "sql").symlink_to(PACKAGE.parent / "sql")
    log = folder / "server.log"
    command = [sys.executable, "-m", "selfexplore_tasks.launch_server", str(folder / "stages.sock")]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment_of(folder)},
            cwd=folder,
        )
    try:
        while "Stages are forked" not in log.read_text(encoding="utf-8"):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            time.sleep(0.1)
        yield Server(folder, process)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server") / ("a-path-of-more-than-108-characters-" * 3)
    with running_server(folder) as one:
        yield one
        assert one.process.poll() is None


@pytest.fixture
def stage(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], dict[str, str]]]:
    """Return the environment under which a stage runs the given code, the body of the command's ``main``."""
    command = server.package / "cli.py"
    before = command.read_text(encoding="utf-8")
    monkeypatch.chdir(server.folder)

    def make(code: str) -> dict[str, str]:
        body = textwrap.indent(textwrap.dedent(code), "    ")
        command.write_text(f"def main(arguments=None):\n{body}\n", encoding="utf-8")
        return {**server.environment, "SELFEXPLORE_HOME": str(tmp_path / "store")}

    yield make
    command.write_text(before, encoding="utf-8")


def test_passes_lines_and_exit_code_on(stage: Callable[[str], dict[str, str]], tmp_path: Path) -> None:
    lines: list[str] = []
    env = stage(f"{IS_FORKED}; print(*arguments); print('two', file=sys.stderr); print('half', end=''); return 7")
    assert launch(env, lines) == 7
    assert lines == ["forked", "stage sample --experiment trial --round 1", "two", "half"]
    assert not list((tmp_path / "store").rglob("*.pgid"))


def test_user_error_of_the_real_command(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(server.folder)
    lines: list[str] = []
    assert launch({**server.environment, "SELFEXPLORE_HOME": str(tmp_path)}, lines) == 2
    assert lines == ["error: Experiment 'trial' does not exist yet: give it a recipe (selfexplore recipe list)."]


@pytest.mark.parametrize(
    ("code", "exit_code", "last"),
    [
        ("raise ValueError('unforeseen')", 1, "ValueError: unforeseen"),
        ("import sys; sys.exit(9)", 9, ""),
        ("import sys; sys.exit('a sentence')", 1, "a sentence"),
        ("import sys; sys.exit()", 0, ""),
        ("import atexit; atexit.register(print, 'at exit'); return 0", 0, "at exit"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 128 + signal.SIGTERM, ""),
    ],
)
def test_every_end_has_its_exit_code(
    stage: Callable[[str], dict[str, str]], code: str, exit_code: int, last: str
) -> None:
    lines: list[str] = []
    assert launch(stage(code), lines) == exit_code
    assert lines[-1:] == ([last] if last else [])


# What a stage can see of its process; the session's and the parent's ids are compared, not told.
SITUATION = """
    import json, locale, os, signal, sys, tempfile, threading
    import psutil, pyarrow, torch
    os.umask(mask := os.umask(0))
    numbers = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE)
    environment = {name: value for name, value in os.environ.items() if "TOKEN" not in name and "SERVER" not in name}
    print(json.dumps({
        "command": " ".join(psutil.Process().cmdline()).split(), "arguments": sys.argv[1:], "folder": os.getcwd(),
        "path": [one for one in sys.path if "_vendor" not in one],  # where setuptools was imported
        "environment": environment, "mask": mask,
        "files": {name: os.readlink(f"/proc/self/fd/{name}").split(":")[0] for name in "012"},
        "open": sorted(os.listdir("/proc/self/fd"))[:-1],
        "signals": [str(signal.getsignal(number)) for number in numbers],
        "threads": [torch.get_num_threads(), pyarrow.cpu_count()], "temporary": tempfile.gettempdir(),
        "leads": [os.getsid(0) == os.getpgid(0) == os.getppid(), threading.current_thread().name],
        "encoding": [locale.getencoding(), sys.stdout.encoding, sys.stdout.errors, sys.stderr.errors],
        "nice": [os.nice(0), sorted(os.sched_getaffinity(0))],
    }))
    return 0
"""


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_fork_is_in_the_situation_of_a_program(stage: Callable[[str], dict[str, str]], threads: str) -> None:
    env = {**stage(SITUATION), "OMP_NUM_THREADS": threads}
    situations = []
    for address in (env[SERVER_VARIABLE], OFF):
        lines: list[str] = []
        launch({**env, SERVER_VARIABLE: address}, lines)
        situations.append(json.loads(lines[-1]))
    assert situations[0] == situations[1]
    assert situations[0]["threads"][0] == int(threads)


@pytest.mark.parametrize(
    ("victims", "exit_code"),
    [
        (("stage",), 128 + signal.SIGKILL),
        (("guard",), 128 + signal.SIGKILL),
        (("launcher",), -signal.SIGKILL),
        (("guard", "launcher"), -signal.SIGKILL),
        (("asked",), 128 + signal.SIGTERM),
    ],
)
def test_nothing_outlives_whoever_is_killed(
    server: Server, stage: Callable[[str], dict[str, str]], tmp_path: Path, victims: tuple[str, ...], exit_code: int
) -> None:
    env = {**os.environ, **stage(STUBBORN)}
    command = [sys.executable, "-c", LAUNCH, "sample", "trial", "1"]
    with subprocess.Popen(command, env=env, cwd=server.folder, stdout=subprocess.PIPE, text=True) as launcher:
        pids = pids_of([launcher.stdout.readline() if launcher.stdout else ""])
        guard = psutil.Process(pids[0]).parent()
        assert guard is not None and guard.ppid() == server.process.pid
        processes = {"stage": psutil.Process(pids[0]), "guard": guard, "launcher": psutil.Process(launcher.pid)}
        for victim in victims:
            if victim == "asked":
                launcher.terminate()
            else:
                processes[victim].kill()
        assert launcher.wait(20) == exit_code
    wait_until_gone([pids[0], guard.pid])
    (record,) = list((tmp_path / "store").rglob("*.pgid")) or [None]
    assert (record is None) == (launcher.returncode > 0)
    if record is not None:  # the next try does this: a launcher that was killed cannot
        end_previous(record)
    wait_until_gone(pids)
    assert server.process.poll() is None


def test_a_stage_outlives_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    code = "import pathlib, time\nwhile not pathlib.Path('go').exists():\n    time.sleep(0.05)\n"
    with running_server(tmp_path / "server") as server, ThreadPoolExecutor(1) as threads:
        env = {**server.environment, "SELFEXPLORE_HOME": str(tmp_path / "store")}
        body = textwrap.indent(f"{IS_FORKED}\n{code}print('went on')\nreturn 5\n", "    ")
        (server.package / "cli.py").write_text(f"def main(arguments=None):\n{body}", encoding="utf-8")
        ended = threads.submit(launch, env, lines)
        while not lines:
            assert not ended.done()
            time.sleep(0.05)
        server.process.kill()
        server.process.wait()
        (tmp_path / "go").touch()
        assert ended.result(20) == 5
        assert lines == ["forked", "went on"]

        # Its socket is left, and nobody listens.
        assert server.socket.exists()
        (server.package / "__main__.py").write_text(f"{IS_FORKED}; sys.exit(6)\n", encoding="utf-8")
        assert launch(env, lines) == 6
        assert lines[2:] == ["a program"]


@pytest.mark.parametrize("address", ["", OFF, "nothing", "nothing/below/this"])
def test_without_a_server_a_stage_is_a_program(
    server: Server, stage: Callable[[str], dict[str, str]], tmp_path: Path, address: str
) -> None:
    lines: list[str] = []
    where = str(tmp_path / address) if address.startswith("nothing") else address
    assert launch({**stage(f"{IS_FORKED}; return 4"), SERVER_VARIABLE: where}, lines) == 4
    assert lines == ["a program"]


def test_a_stopped_server_is_not_waited_for(
    server: Server, stage: Callable[[str], dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it finds when it goes on is a request that nobody waits for: it begins no second stage."""
    lines: list[str] = []
    begun = tmp_path / "begun"
    env = stage(f"{IS_FORKED}; open({str(begun)!r}, 'a').write('once\\n'); return 4")
    server.process.send_signal(signal.SIGSTOP)
    try:
        with monkeypatch.context() as patch:
            patch.setattr("selfexplore_tasks.launch_client.TIMEOUT_S", 0.5)
            assert launch(env, lines) == 4
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert lines == ["a program"]
    assert launch(env, lines) == 4
    assert lines == ["a program", "forked"]
    server.wait_for_forks()
    assert begun.read_text(encoding="utf-8") == "once\nonce\n"


@pytest.mark.parametrize("name", ["HF_HUB_DISABLE_TELEMETRY", "TMPDIR", "PYTHONUTF8"])
def test_other_settings_are_read_by_an_interpreter_of_its_own(
    server: Server, stage: Callable[[str], dict[str, str]], name: str
) -> None:
    lines: list[str] = []
    code = f"{IS_FORKED}; import os, psutil; guard = psutil.Process().parent(); print(os.environ[{name!r}]); "
    env = {**stage(f"{code}print(guard.ppid(), *psutil.Process().cmdline()[1:]); return 3"), name: "1"}
    assert launch(env, lines) == 3
    command = "-m selfexplore_tasks stage sample --experiment trial --round 1"
    assert lines == ["a program", "1", f"{server.process.pid} {command}"]
    log = (server.folder / "server.log").read_text(encoding="utf-8").splitlines()
    assert log[-1] == f"{command.partition('tasks ')[2]} in an interpreter of its own, for other {name}"


def request(server: Server) -> bytes:
    content = {"arguments": ["stage", "sample"], "environment": {}, "folder": str(server.folder)}
    return json.dumps(content).encode()


def test_garbage_and_silence_stop_nobody(server: Server, stage: Callable[[str], dict[str, str]]) -> None:
    whole, lines = request(server), list[str]()
    env = stage(f"{IS_FORKED}; return 3")
    server.wait_for_forks()
    known = server.open_files()
    with Path(os.devnull).open("rb") as nothing:
        files, header = [nothing.fileno()] * 2, HEADER.pack(PROTOCOL, len(whole))
        server.connect().close()
        for beginning, content, descriptors in (
            (b"GET / HTTP/1.1\r\n\r\n", b"", []),
            (header, whole, []),
            (header, whole, files[:1]),
            (header, whole, files * 3),
            (header, b"\xff" * len(whole), files),
            (header, b"[]".ljust(len(whole)), files),
            (HEADER.pack(PROTOCOL, 2**32 - 1), whole, files),
            (header[:2], b"", files),
        ):
            with server.connect() as connection:
                socket.send_fds(connection, [beginning], descriptors)
                connection.sendall(content)
                assert launch(env, lines) == 3  # while the other is connected
        with server.connect() as silent, server.connect() as half:
            socket.send_fds(half, [header], files)
            half.sendall(whole[:10])
            assert launch(env, lines) == 3
            assert silent.fileno() != half.fileno()
    assert lines == ["forked"] * 9
    server.wait_for_forks()
    assert server.open_files() == known


def test_no_stage_begins_for_a_launcher_that_has_gone(
    server: Server, stage: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    stage(f"open({str(begun)!r}, 'w'); return 0")
    with server.connect() as connection, Path(os.devnull).open("r+b") as nothing:
        socket.send_fds(connection, [HEADER.pack(PROTOCOL, len(request(server)))], [nothing.fileno()] * 2)
        connection.sendall(request(server))
        (guard,) = IDENTIFIER.unpack(received(connection, IDENTIFIER.size))
        assert psutil.Process(guard).ppid() == server.process.pid
    wait_until_gone([guard])
    assert not begun.exists()


def test_only_its_user_may_connect(server: Server) -> None:
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o600
    assert len(str(server.socket)) > 108


def test_a_stage_runs_the_code_as_it_is_then(server: Server, stage: Callable[[str], dict[str, str]]) -> None:
    lines: list[str] = []
    for text in ("first", "second one"):
        (server.package / f"{text.split()[0]}.py").write_text(f"TEXT = {text!r}", encoding="utf-8")
        env = stage(f"{IS_FORKED}; from selfexplore_tasks.{text.split()[0]} import TEXT; print(TEXT); return 0")
        assert launch(env, lines) == 0
    assert lines == ["forked", "first", "forked", "second one"]


def test_a_server_of_older_code_is_left_alone(
    server: Server, stage: Callable[[str], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfexplore_tasks.launch_client.PROTOCOL", bytes(32))
    lines: list[str] = []
    assert launch(stage(f"{IS_FORKED}; return 4"), lines) == 4
    assert lines == ["a program"]
    log = (server.folder / "server.log").read_text(encoding="utf-8").splitlines()
    assert log[-1] == "A launcher of other code asked: restart this server."


def test_a_fork_starts_workers(stage: Callable[[str], dict[str, str]]) -> None:
    lines: list[str] = []
    code = f"""
        {IS_FORKED}
        from selfexplore_tasks.grading.pool import SymbolicPool, SymbolicTask
        with SymbolicPool(timeout_s=20, workers=2) as pool:
            print(*pool.compare([SymbolicTask("$1/2$", "$2/4$"), SymbolicTask("$2$", "$x$")]))
        return 0
    """
    assert launch(stage(code), lines) == 0
    assert lines == ["forked", "equal_symbolic unequal_symbolic"]


def test_megabytes_at_once_arrive(stage: Callable[[str], dict[str, str]]) -> None:
    lines: list[str] = []
    code = "import sys; sys.stdout.write(('x' * 99 + '\\n') * 100_000); sys.stderr.write('y' * 50_000); return 0"
    assert launch(stage(code), lines) == 0
    assert sum(line.count("x") for line in lines) == 9_900_000
    assert sum(line.count("y") for line in lines) == 50_000


def test_many_at_once_are_kept_apart(stage: Callable[[str], dict[str, str]]) -> None:
    env = stage("import time; time.sleep(0.3); print(arguments[3]); return int(arguments[3])")

    def run(number: int) -> tuple[int, list[str]]:
        lines: list[str] = []
        code = run_stage_process("sample", experiment=str(number), round_number=1, env=env, on_line=lines.append)
        return code, lines

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(run, range(16))) == [(number, [str(number)]) for number in range(16)]


def test_the_results_are_those_of_programs(
    server: Server, round_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables, a training, and an evaluation with vLLM."""
    stages = ("prepare", "sft", "evaluate")
    monkeypatch.chdir(server.folder)
    stores = {address: Store(tmp_path / name) for address, name in ((str(server.socket), "forked"), (OFF, "started"))}
    for address, store in stores.items():
        open_experiment(
            store, "mini", str(round_recipe), {"sft.epochs": 1, "engine.kind": "vllm", "model.scratch.heads": 2}
        )
        env = {**server.environment, SERVER_VARIABLE: address, "SELFEXPLORE_HOME": str(store.root)}
        for name in stages:
            lines: list[str] = []
            code = run_stage_process(name, experiment="mini", round_number=0, env=env, on_line=lines.append)
            assert code == 0, "\n".join(lines)
    forked, started = stores.values()
    assert compare(forked, started, "mini", 0) == []
    weights = [load_file(store.model_dir("mini", "0/sft") / "model.safetensors") for store in (forked, started)]
    assert weights[0].keys() == weights[1].keys()
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
    log = (server.folder / "server.log").read_text(encoding="utf-8").splitlines()
    ran = [f"stage {name} --experiment mini --round 0" for name in stages]
    assert [line for line in log if "mini" in line] == ran
