"""The servers that hosts share, for real and on 127.0.0.1 only: PostgreSQL and Redis of Debian, an S3 server.

Each runs in the foreground as a child that `stop_all` ends by its id.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

from s3_server import S3Server
from selfexplore_tasks.local_airflow import HOST, free_port
from selfexplore_tasks.processes import end_trees

REPOSITORY = Path(__file__).parents[2]
DOCKER = REPOSITORY / "docker"
START_S = 60


class Services:
    """What was started, with the folder of each. ``secrets`` is the folder that `docker/bin/make-secrets` filled."""

    def __init__(self, folder: Path, secrets: Path) -> None:
        self.folder, self.secrets = folder, secrets
        self._stack = ExitStack()
        self._processes: list[psutil.Popen] = []

    def secret(self, name: str) -> str:
        return (self.secrets / name).read_text(encoding="utf-8")

    def start_postgres(self) -> str:
        """Start PostgreSQL with a database and user ``airflow``; return its address."""
        data, port = self.folder / "postgres" / "data", free_port()
        data.parent.mkdir()
        password_file = data.parent / "password"
        password_file.write_text(self.secret("postgres_password"), encoding="utf-8")
        as_owner: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            for path in (data.parent, password_file):
                shutil.chown(path, "postgres", "postgres")
            as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        programs = _postgres_programs()
        initdb = [*as_owner, str(programs / "initdb"), "--no-sync", "--auth=scram-sha-256", "--username=airflow"]
        _run([*initdb, f"--pwfile={password_file}", "-D", str(data)], data.parent)
        settings = {"listen_addresses": HOST, "port": port, "unix_socket_directories": "", "fsync": "off"}
        given = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        self._start("postgres", [*as_owner, str(programs / "postgres"), "-D", str(data), *given], data.parent)
        create = [str(programs / "createdb"), "-h", HOST, "-p", str(port), "-U", "airflow", "airflow"]
        environment = {**os.environ, "PGPASSWORD": self.secret("postgres_password")}
        _until(lambda: _succeeds(create, data.parent, environment), "PostgreSQL")
        return f"{HOST}:{port}"

    def start_redis(self) -> str:
        """Start Redis with the settings of the container; return its address."""
        folder, port = self.folder / "redis", free_port()
        folder.mkdir()
        lines = [
            f"include {DOCKER / 'redis.conf'}",
            f"requirepass {self.secret('redis_password')}",
            *(f"bind {HOST}", f"port {port}", f"dir {folder}"),
        ]
        (folder / "redis.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._start("redis", ["redis-server", str(folder / "redis.conf")], folder)
        environment = {**os.environ, "REDISCLI_AUTH": self.secret("redis_password")}
        ping = ["redis-cli", "-h", HOST, "-p", str(port), "ping"]
        _until(lambda: _succeeds(ping, folder, environment), "Redis")
        return f"{HOST}:{port}"

    def start_s3(self) -> dict[str, str]:
        """Start an S3 server with an empty bucket ``selfexplore``; return the variables that lead there."""
        server = self._stack.enter_context(S3Server(self.folder / "s3.log"))
        server.make_bucket("selfexplore")
        given = server.environment
        return {
            **{name: given[name] for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION")},
            "AWS_ACCESS_KEY_ID_FILE": str(self.secrets / "s3_access_key"),
            "AWS_SECRET_ACCESS_KEY_FILE": str(self.secrets / "s3_secret_key"),
        }

    def stop_all(self) -> None:
        """End every server, the last one first."""
        while self._processes:
            process = self._processes.pop()
            end_trees([psutil.Process(process.pid)] if process.poll() is None else [], grace_s=5)
            process.wait()
        self._stack.close()

    def _start(self, name: str, command: list[str], folder: Path) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes.append(
                psutil.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
            )


def missing_programs() -> list[str]:
    """Debian packages that the cluster needs and this machine lacks."""
    lacking = [] if shutil.which("redis-server") else ["redis-server"]
    with suppress(IndexError):
        _postgres_programs()
        return lacking
    return [*lacking, "postgresql"]


def _postgres_programs() -> Path:
    """Debian keeps ``initdb`` and ``postgres`` out of PATH, by release; IndexError if there is none."""
    return sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]


def _run(command: list[str], folder: Path) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert result.returncode == 0, f"{command[0]} failed: {result.stdout}{result.stderr}"


def _succeeds(command: list[str], folder: Path, environment: dict[str, str]) -> bool:
    return subprocess.run(command, env=environment, capture_output=True, check=False, cwd=folder).returncode == 0


def _until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_S
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not start within {START_S} s"
        time.sleep(0.2)
