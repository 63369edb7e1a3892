"""A private Airflow on this machine: SQLite, LocalExecutor, 127.0.0.1 only. ``make up`` and ``make demo`` use it.

``airflow standalone`` is not used: its scheduler and triggerer serve logs on every network interface, and a SIGTERM
orphans its components. Here each component is started without that server and remembered by id and start time, so
that stopping ends exactly those processes and what they started.

Beside Airflow's own components runs a stage server (see ``launch_server``), where the machine is fit for one and
``SELFEXPLORE_STAGE_SERVER`` is not ``off``.

Layout of the folder (``$AIRFLOW_HOME``): ``airflow.cfg`` (written at every start), ``secrets.json`` and
``passwords.json`` (made once), ``components/*.log``, ``running.json`` and ``stages.sock`` while it runs.
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import psutil

from selfexplore_tasks.airflow_api import AirflowApi, ApiError
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.launch_client import OFF, SERVER_VARIABLE
from selfexplore_tasks.processes import ProcessIdentity, end_trees, session_members, usable_cores

HOST = "127.0.0.1"
USER = "admin"
ROUND_DAG = "selfexplore_round"
REPOSITORY = Path(__file__).resolve().parent.parent
COMPONENTS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
STAGE_SERVER = "stage-server"
DAY_S = 24 * 60 * 60
START_TIMEOUT_S = 180
STOP_GRACE_S = 8.0


@dataclass(frozen=True)
class LocalAirflow:
    """One private Airflow; ``home`` is its ``$AIRFLOW_HOME``, ``settings`` add to its configuration by section."""

    home: Path
    port: int
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def api(self) -> AirflowApi:
        return AirflowApi(self.address, USER, self.password)

    @property
    def password(self) -> str:
        return str(json.loads((self.home / "passwords.json").read_text(encoding="utf-8"))[USER])

    def configure(self) -> None:
        """Write ``airflow.cfg``, make the secrets if there are none, and bring the database and pools up to date."""
        self.home.mkdir(parents=True, exist_ok=True)
        _keep_private(self.home / "passwords.json", {USER: secrets.token_urlsafe(12)})
        keys = _keep_private(self.home / "secrets.json", {"jwt": secrets.token_hex(32), "api": secrets.token_hex(32)})
        config = configparser.ConfigParser(interpolation=None)
        config.read_dict(_settings(self.home, self.address, self.port, keys))
        config.read_dict(self.settings)
        (self.home / "airflow.cfg").touch(mode=0o600)  # it holds secrets
        with (self.home / "airflow.cfg").open("w", encoding="utf-8") as handle:
            config.write(handle)
        self._airflow("db", "migrate")
        pools = self.home / "pools.json"
        pools.write_text(json.dumps(_pools(), indent=1) + "\n", encoding="utf-8")
        self._airflow("pools", "import", str(pools))

    def start(self, components: tuple[str, ...] = tuple(COMPONENTS)) -> None:
        """Start the components in the background and return when all are healthy and the Dags are there.

        Raises:
            UserError: the port is taken, or Airflow did not come up; what was started is stopped again.
        """
        check_port(self.port)
        self.configure()
        started: dict[str, ProcessIdentity] = {}
        runs_stages = "scheduler" in components and self._has_stage_server
        try:
            for name in (*components, *([STAGE_SERVER] if runs_stages else [])):
                started[name] = self._start_one(name)
                self._remember(started)
            self._wait_until_healthy(started)
        except BaseException:
            self.stop()
            raise

    def restart(self, component: str) -> None:
        """Start a component that has ended again, as a supervisor would."""
        components = self.components()
        ended = components[component]
        # `stop` has to find what the one before left behind: a scheduler that was killed leaves its workers.
        components[f"{component} {ended.pid}"] = ended
        self._remember({**components, component: self._start_one(component, "ab")})

    def components(self) -> dict[str, ProcessIdentity]:
        """The process of each component that `start` started, whether it still lives or not."""
        state = _read_state(self.home)
        return state.components if state else {}

    def stop(self) -> bool:
        """End what `start` started, with everything below it; returns whether anything was running."""
        live = []
        for identity in self.components().values():
            process = identity.find()
            live += [process] if process is not None else self._left_by(identity)
        end_trees(live, grace_s=STOP_GRACE_S)
        for file in (self._stage_socket, self.home / "running.json"):
            file.unlink(missing_ok=True)
        return bool(live)

    def start_ended(self) -> list[str]:
        """Start again the components that have ended; returns their names, once all are healthy."""
        state = self.components()
        ended = [name for name in (*COMPONENTS, STAGE_SERVER) if name in state and state[name].find() is None]
        for name in ended:
            self.restart(name)
        if ended:
            self._wait_until_healthy({name: self.components()[name] for name in COMPONENTS if name in state})
        return ended

    def _left_by(self, component: ProcessIdentity) -> list[psutil.Process]:
        """What a component that was killed left in its session; the session's id may be another's by now."""
        found = []
        for process in session_members(component.pid):
            with suppress(psutil.Error):
                # Not by its environment: Airflow writes the worker's title over that.
                if Path(process.cwd()) == self.home.resolve():
                    found.append(process)
        return found

    def environment(self) -> dict[str, str]:
        """This process's environment with our Airflow and nothing of another one."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__")}
        if self._has_stage_server:
            kept[SERVER_VARIABLE] = str(self._stage_socket)
        # Airflow starts some helpers by name.
        path = os.pathsep.join((str(_airflow_command().parent), kept.get("PATH", "")))
        # Programs such as git and uvicorn look for a home; an empty HOME is allowed here.
        return {**kept, "AIRFLOW_HOME": str(self.home), "PATH": path, "HOME": kept.get("HOME") or str(self.home)}

    @cached_property
    def _has_stage_server(self) -> bool:
        # Asked whenever a component starts, and with GPUs the answer takes a program's time.
        return has_stage_server()

    @property
    def _stage_socket(self) -> Path:
        return self.home / "stages.sock"

    def _command(self, component: str) -> list[str]:
        if component == STAGE_SERVER:
            return [sys.executable, "-m", "selfexplore_tasks.launch_server", str(self._stage_socket)]
        return [str(_airflow_command()), *COMPONENTS[component]]

    def _start_one(self, name: str, log_mode: str = "wb") -> ProcessIdentity:
        logs = self.home / "components"
        logs.mkdir(exist_ok=True)
        with (logs / f"{name}.log").open(log_mode) as output:
            process = subprocess.Popen(
                self._command(name),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                cwd=self.home,
                start_new_session=True,
            )
        return ProcessIdentity.of(process.pid)

    def _remember(self, components: dict[str, ProcessIdentity]) -> None:
        content = {
            "port": self.port,
            "components": {name: [identity.pid, identity.started_at] for name, identity in components.items()},
        }
        temporary = self.home / "running.json.tmp"
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
        temporary.replace(self.home / "running.json")

    def _wait_until_healthy(self, components: dict[str, ProcessIdentity]) -> None:
        api, deadline = self.api, time.monotonic() + START_TIMEOUT_S
        # Stages run without their server, too.
        components = {name: identity for name, identity in components.items() if name != STAGE_SERVER}
        needed = {"metadatabase", *(name.replace("-", "_") for name in components if name != "api-server")}
        while time.monotonic() < deadline:
            for name, identity in components.items():
                if identity.find() is None:
                    raise UserError(f"Airflow's {name} ended while starting: {self._log_tail(name)}")
            try:
                status = api.health()
                if all(status.get(name) == "healthy" for name in needed):
                    if api.dag_is_parsed(ROUND_DAG):
                        return
                    if broken := api.import_errors():
                        raise UserError(f"A Dag cannot be imported: {broken[0]}")
            except ApiError as error:
                if error.status is not None and error.status < 500:
                    raise
            time.sleep(0.5)
        raise UserError(
            f"Airflow was not healthy after {START_TIMEOUT_S} s: see the logs in {self.home / 'components'}."
        )

    def _log_tail(self, name: str) -> str:
        log = self.home / "components" / f"{name}.log"
        return " | ".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:])

    def _airflow(self, *arguments: str) -> None:
        result = subprocess.run(
            [str(_airflow_command()), *arguments],
            env=self.environment(),
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            tail = " | ".join((result.stdout + result.stderr).strip().splitlines()[-5:])
            raise UserError(f"`airflow {' '.join(arguments)}` failed: {tail}")


@dataclass(frozen=True)
class RunningState:
    """What ``running.json`` says: the port, and the process of each component."""

    port: int
    components: dict[str, ProcessIdentity]


def running(home: Path) -> LocalAirflow | None:
    """Return the Airflow of this folder if one of its components lives."""
    state = _read_state(home)
    if state is None or not any(identity.find() for identity in state.components.values()):
        return None
    return LocalAirflow(home, state.port)


def check_port(port: int) -> None:
    """Raise UserError if something else listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(f"Port {port} cannot be used ({error.strerror}): choose another with PORT=…") from error


def free_port() -> int:
    """A port that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def has_stage_server() -> bool:
    """Whether stages are forked by a server of their own here: on Linux, without a GPU, unless switched off."""
    return sys.platform == "linux" and os.environ.get(SERVER_VARIABLE) != OFF and not _gpu_count()


def gpu_slots() -> int:
    """Slots of the pool `gpu`: this machine's NVIDIA GPUs; without one its cores, which the shards then share."""
    return _gpu_count() or usable_cores()


def _gpu_count() -> int:
    command = shutil.which("nvidia-smi")
    if command is None:
        return 0
    result = subprocess.run([command, "--list-gpus"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in result.stdout.splitlines())


def _pools() -> dict[str, dict[str, object]]:
    return {
        "gpu": {
            "slots": gpu_slots(),
            "description": "Generating and training: one slot a GPU, or a core where there is none",
            "include_deferred": False,
        },
        "duckdb": {"slots": 4, "description": "Relational work on the store", "include_deferred": False},
    }


def _settings(home: Path, address: str, port: int, keys: dict[str, str]) -> dict[str, dict[str, str]]:
    """Everything that differs from Airflow's defaults."""
    return {
        "core": {
            "dags_folder": str(REPOSITORY / "dags"),
            "plugins_folder": str(REPOSITORY / "plugins"),
            "load_examples": "False",
            "dags_are_paused_at_creation": "False",
            "executor": "LocalExecutor",
            # Each slot is a process of about 100 MB; a round rarely has more than a few tasks at once.
            "parallelism": "4",
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": str(home / "passwords.json"),
            "execution_api_server_url": f"{address}/execution/",
        },
        "database": {"sql_alchemy_conn": f"sqlite:///{home / 'airflow.db'}"},
        "api": {"host": HOST, "port": str(port), "base_url": address, "workers": "1", "secret_key": keys["api"]},
        # A task whose heartbeats stop for long (a suspended laptop) must still be allowed to report its end.
        "execution_api": {"jwt_expiration_time": str(DAY_S)},
        "api_auth": {"jwt_secret": keys["jwt"]},
        "logging": {"base_log_folder": str(home / "logs")},
        "dag_processor": {"refresh_interval": "30", "min_file_process_interval": "30"},
    }


def _keep_private(path: Path, content: dict[str, str]) -> dict[str, str]:
    """Write a secret file that only its owner can read, unless it exists; return what it holds."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            json.dump(content, handle)
    return {str(name): str(value) for name, value in json.loads(path.read_text(encoding="utf-8")).items()}


def _read_state(home: Path) -> RunningState | None:
    try:
        content = json.loads((home / "running.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    components = {name: ProcessIdentity(*identity) for name, identity in content["components"].items()}
    return RunningState(content["port"], components)


def _airflow_command() -> Path:
    # Not resolved: the interpreter of a virtual environment is a link out of it.
    return Path(sys.executable).parent / "airflow"


def _up(home: Path, port: int) -> None:
    airflow = running(home)
    if airflow is None:
        print("Starting Airflow ...", flush=True)
        airflow = LocalAirflow(home, port)
        airflow.start()
    elif ended := airflow.start_ended():
        print(f"Started again, as it had ended: {', '.join(ended)}")
    print(f"Airflow is running: {airflow.address}\n  user      {USER}\n  password  {airflow.password}")
    print(f"  logs      {home / 'components'}\nStop it with `make down`.")


def _down(home: Path) -> None:
    airflow = running(home)
    print("Airflow was stopped." if (airflow or LocalAirflow(home, 0)).stop() else "Airflow was not running.")


def main(arguments: list[str] | None = None) -> int:
    """``up``, ``down`` and ``configure`` for the Airflow in ``$AIRFLOW_HOME``."""
    parser = argparse.ArgumentParser(prog="python -m selfexplore_tasks.local_airflow", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "configure"])
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args(arguments)
    home = Path(os.environ.get("AIRFLOW_HOME") or REPOSITORY / ".run" / "airflow").absolute()
    try:
        if options.command == "up":
            _up(home, options.port)
        elif options.command == "down":
            _down(home)
        elif running(home) is None:
            LocalAirflow(home, options.port).configure()
    except (UserError, ApiError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
