"""Airflow with CeleryExecutor as compose.yaml starts it, but as native processes: a control host and worker hosts.

Settings come from docker/airflow.env, secrets from files, pools from docker/bin/initialise-airflow: the same as in the
containers. A host has folders of its own (home, logs, the store's cache); hosts share the services and nothing else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from dotenv import dotenv_values

from cluster_services import DOCKER, REPOSITORY, Services
from selfexplore_tasks.airflow_api import AirflowApi, ApiError
from selfexplore_tasks.local_airflow import HOST, ROUND_DAG, free_port
from selfexplore_tasks.processes import end_trees
from slim_image import slim_environment

CONTROL = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
START_S = 180
# A dead worker is noticed sooner than in a deployment.
QUICK = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "120",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "3",
    "SELFEXPLORE_LEASE_S": "10",
}


class Host:
    """A machine: its folder, and what runs there."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self._environment = folder, environment
        self.processes: dict[str, psutil.Popen] = {}

    @property
    def logs(self) -> Path:
        return self.folder / "airflow" / "logs"

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "HOME": str(self.folder),
            "AIRFLOW_HOME": str(self.folder / "airflow"),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.logs),
            "SELFEXPLORE_CACHE": str(self.folder / "cache"),
        }
        return {**self._environment, **own}

    def start(self, name: str, *arguments: str) -> None:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = psutil.Popen(
                [str(Path(sys.executable).parent / "airflow"), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.folder,
                start_new_session=True,
            )

    def stop(self) -> None:
        live = [psutil.Process(one.pid) for one in self.processes.values() if one.poll() is None]
        end_trees(live, grace_s=8)
        for one in self.processes.values():
            one.wait()

    def lose_power(self) -> None:
        """SIGKILL for everything on the host at once, and its disk is gone: nothing of it comes back."""
        found = [one for root in self.processes.values() for one in (root, *root.children(recursive=True))]
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=10)
        self.folder.rename(self.folder.with_name(f"{self.folder.name}-lost"))

    def succeeds(self, command: str, **variables: str) -> bool:
        """Whether a shell command ends well on this host."""
        result = subprocess.run(
            ["sh", "-c", command],
            env={**self.environment, **variables},
            cwd=self.folder,
            capture_output=True,
            check=False,
        )
        return result.returncode == 0

    def running_stage(self, stage: str, round_number: int) -> bool:
        """Whether a process of this stage and round runs on this host."""
        for root in self.processes.values():
            with suppress(psutil.Error):
                for process in root.children(recursive=True):
                    command = process.cmdline()
                    if command[1:5] == ["-m", "selfexplore_tasks", "stage", stage]:
                        return command[command.index("--round") + 1] == str(round_number)
        return False


class Cluster:
    """One control host and any number of worker hosts over the services and a store in the bucket."""

    def __init__(self, folder: Path, services: Services) -> None:
        self.folder, port = folder, free_port()
        self.address = f"http://{HOST}:{port}"
        passwords = folder / "passwords.json"
        shutil.copy(services.secrets / "passwords.json", passwords)
        passwords.chmod(0o600)  # the auth manager opens it for writing
        self.shared = {
            **_plain_environment(),
            **_settings("airflow.env"),
            **QUICK,
            "PATH": os.pathsep.join((str(DOCKER / "bin"), str(Path(sys.executable).parent), os.environ["PATH"])),
            "SECRETS_FOLDER": str(services.secrets),
            "POSTGRES_ADDRESS": services.start_postgres(),
            "REDIS_ADDRESS": services.start_redis(),
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.address}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "AIRFLOW__API__HOST": HOST,
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": self.address,
            "AIRFLOW__API__WORKERS": "1",
            "OMP_NUM_THREADS": "1",
            "GPU_SLOTS": "4",
            "SELFEXPLORE_HOME": "s3://selfexplore/main",
            **services.start_s3(),
        }
        password = services.secret("passwords.json").split('"')[3]
        self.api = AirflowApi(self.address, "admin", password)
        # Only workers have torch.
        self.control = Host(folder / "control", {**self.shared, **slim_environment()})
        self.workers: dict[str, Host] = {}

    def start_control(self) -> None:
        self.control.folder.mkdir()
        command = [str(DOCKER / "bin" / "initialise-airflow")]
        done = subprocess.run(
            command, env=self.control.environment, cwd=self.control.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        for name, arguments in CONTROL.items():
            self.control.start(name, *arguments)
        self._wait_until_healthy()

    def start_worker(self, name: str, queues: str = "default,gpu", concurrency: int = 2) -> Host:
        """Start a worker on a host of this name; one that was lost comes back with an empty disk."""
        folder = self.folder / name
        environment = {**self.shared, **_settings("worker.env"), **self._secrets_of_a_worker(folder)}
        del environment["POSTGRES_ADDRESS"]
        host = Host(folder, environment)
        self.workers[name] = host
        options = ("--celery-hostname", name, "--queues", queues, "--concurrency", str(concurrency))
        # Two log servers on one machine cannot share the port that the API server would ask.
        host.start("worker", "celery", "worker", *options, "--skip-serve-logs")
        return host

    def stop(self) -> None:
        for host in (*self.workers.values(), self.control):
            host.stop()

    def wait(self, run_id: str, seconds: float) -> str:
        """Return the final state of a Dag run of `selfexplore_round`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(ApiError):
                state = self.api.run_state(ROUND_DAG, run_id)
                if state in ("success", "failed"):
                    return state
            time.sleep(0.5)
        pytest.fail(f"{run_id} did not end within {seconds} s: {self.api.task_states(ROUND_DAG, run_id)}")

    def page(self, path: str) -> dict[str, Any]:
        """What the page's API answers below ``/selfexplore/api``."""
        user = {"username": self.api.user, "password": self.api.password}
        with httpx.Client(base_url=self.address, timeout=60, trust_env=False) as client:
            token = client.post("/auth/token", json=user).json()["access_token"]
            answer = client.get(f"/selfexplore/api{path}", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def _secrets_of_a_worker(self, folder: Path) -> dict[str, str]:
        """Give a worker host the secrets that compose.yaml gives it; return the variables that say where they are."""
        compose = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
        secrets = folder / "secrets"
        secrets.mkdir(parents=True)
        for name in compose["services"]["worker"]["secrets"]:
            shutil.copy(Path(self.shared["SECRETS_FOLDER"]) / name, secrets)
        return {
            "SECRETS_FOLDER": str(secrets),
            "AWS_ACCESS_KEY_ID_FILE": str(secrets / "s3_access_key"),
            "AWS_SECRET_ACCESS_KEY_FILE": str(secrets / "s3_secret_key"),
        }

    def _wait_until_healthy(self) -> None:
        deadline, reached = time.monotonic() + START_S, False
        while not reached:
            assert time.monotonic() < deadline, f"Airflow was not healthy after {START_S} s"
            for name, process in self.control.processes.items():
                assert process.poll() is None, (self.control.folder / f"{name}.log").read_text(errors="replace")[-3000:]
            with suppress(ApiError):
                status = self.api.health()
                healthy = all(status.get(name) == "healthy" for name in ("metadatabase", "scheduler", "dag_processor"))
                if healthy and (errors := self.api.import_errors()):
                    pytest.fail(f"a Dag cannot be imported without torch: {errors}")
                reached = healthy and self.api.dag_is_parsed(ROUND_DAG)
            time.sleep(0.5)


def _settings(name: str) -> dict[str, str]:
    """The settings of a file in docker/, as compose reads it."""
    return {key: value or "" for key, value in dotenv_values(DOCKER / name, interpolate=False).items()}


def _plain_environment() -> dict[str, str]:
    """This process's environment without settings of another Airflow or store."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "SELFEXPLORE_", "AWS_"))
    }
