"""Container files, as far as they can be checked without an engine: schema, linter, pins, users, secrets, settings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from slim_image import REQUIREMENTS, absent_modules, slim_environment

REPOSITORY = Path(__file__).parents[2]
DOCKER = REPOSITORY / "docker"
BIN = Path(sys.executable).parent
COMPOSE = ("compose.yaml", "compose.gpu.yaml")
DOCKERFILES = ("Dockerfile.airflow", "Dockerfile.worker")
HEAVY = {"torch", "transformers", "trl", "vllm", "accelerate", "datasets", "peft", "tokenizers", "safetensors"}
ENDS_BY_ITSELF = "initialise"
# Settings that Airflow reads and does not list among its options.
UNLISTED = {("scheduler", "num_stuck_in_queued_retries"), ("celery_broker_transport_options", "visibility_timeout")}

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
from airflow.dag_processing.dagbag import DagBag
dags, plugins = sys.argv[1:]
bag = DagBag(dags, bundle_path=dags)
assert not bag.import_errors, bag.import_errors
assert "selfexplore_round" in bag.dags
sys.path.insert(0, plugins)
import selfexplore_plugin, selfexplore_ui, selfexplore_tasks.console, selfexplore_tasks.pages
for package in (selfexplore_ui, selfexplore_tasks.console, selfexplore_tasks.pages):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
import selfexplore_tasks.cli
print("imported")
"""

READ_SETTINGS = """
import json, sys
from airflow.configuration import conf
from airflow.providers_manager import ProvidersManager
ProvidersManager().initialize_providers_configuration()
known = {section: list(content["options"]) for section, content in conf.configuration_description.items()}
values = {f"{section}.{key}": conf.get(section, key) for section, key in json.loads(sys.argv[1])}
print(json.dumps({"known": known, "values": values}))
"""


def compose(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((DOCKER / name).read_text(encoding="utf-8")))


def settings(name: str) -> dict[str, str]:
    return {key: value or "" for key, value in dotenv_values(DOCKER / name, interpolate=False).items()}


def run(command: list[str], environment: dict[str, str], folder: Path) -> str:
    """Standard output of a command that sees this environment, PATH and a home of its own, and nothing else."""
    given = {"PATH": f"{DOCKER / 'bin'}:{BIN}:/usr/bin:/bin", "HOME": str(folder), "AIRFLOW_HOME": str(folder)}
    result = subprocess.run(
        command, env={**given, **environment}, cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    run([str(DOCKER / "bin" / "make-secrets"), str(folder)], {}, folder)
    return folder


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_files_have_the_shape_of_the_specification(name: str, tmp_path: Path) -> None:
    run([str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DOCKER / name)], {}, tmp_path)


@pytest.mark.parametrize("name", ["pod_template.yaml", "gpu_pod_template.yaml"])
def test_pods_have_the_shape_that_kubernetes_and_the_executor_want(name: str, tmp_path: Path) -> None:
    path = DOCKER / "kubernetes" / name
    run([str(BIN / "kubernetes-validate"), "--strict", str(path)], {}, tmp_path)
    pod = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
    assert [container["name"] for container in pod["containers"]] == ["base"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["restartPolicy"] == "Never"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfiles_pass_the_linter(name: str, tmp_path: Path) -> None:
    run([str(BIN / "hadolint"), "--failure-threshold", "info", str(DOCKER / name)], {}, tmp_path)


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_are_pinned_and_run_as_nobody_special(name: str) -> None:
    lines = (DOCKER / name).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("FROM ")] == ["FROM python:3.11.13-slim-bookworm"]
    users = [line.removeprefix("USER ") for line in lines if line.startswith("USER ")]
    assert users and all(user.isdigit() and int(user) > 0 for user in users)


@pytest.mark.parametrize("name", COMPOSE)
def test_every_service_is_pinned_checked_and_unprivileged(name: str) -> None:
    for service, content in compose(name)["services"].items():
        assert re.fullmatch(r"[a-z-]+:\d+\.\d+(\.\d+)?(-bookworm)?", content["image"]), service
        assert "build" in content or content["user"] not in ("root", "0"), service
        assert content["security_opt"] == ["no-new-privileges:true"], service
        assert "privileged" not in content and "docker.sock" not in json.dumps(content), service
        assert service == ENDS_BY_ITSELF or content["healthcheck"]["test"], service


@pytest.mark.parametrize("name", COMPOSE)
def test_secrets_are_files_that_make_secrets_makes(name: str, secrets: Path) -> None:
    content = compose(name)
    given = {secret for service in content["services"].values() for secret in service.get("secrets", ())}
    assert given == set(content["secrets"])
    assert {one["file"] for one in content["secrets"].values()} == {f"./secrets/{secret}" for secret in given}
    assert given <= {path.name for path in secrets.iterdir()}
    plain = json.dumps([service.get("environment", {}) for service in content["services"].values()])
    assert not re.search(r'(PASSWORD|SECRET|KEY)[A-Z_]*": "(?!/run/secrets/|/tmp/)', plain)


def test_a_worker_gets_neither_the_database_nor_the_key_that_signs_tokens() -> None:
    workers = [compose("compose.yaml")["services"]["worker"], compose("compose.gpu.yaml")["services"]["gpu-worker"]]
    for worker in workers:
        assert not {"postgres_password", "jwt_secret", "passwords.json"} & set(worker["secrets"])
        assert "POSTGRES_ADDRESS" not in worker["environment"]
        assert worker["env_file"] == ["airflow.env", "worker.env"]


def test_what_compose_reads_is_explained() -> None:
    read = {found for name in COMPOSE for found in re.findall(r"(?<!\$)\$\{([A-Z_]+)", (DOCKER / name).read_text())}
    read |= {"AWS_ENDPOINT_URL"}  # passed on where it is set
    explained = set(re.findall(r"^(?:# )?([A-Z_]+)=", (DOCKER / ".env.example").read_text(), flags=re.MULTILINE))
    assert read == explained


def test_airflow_knows_every_setting_and_finds_every_secret(secrets: Path, tmp_path: Path) -> None:
    names = [name for file in ("airflow.env", "worker.env") for name in settings(file) if name.startswith("AIRFLOW__")]
    wanted = [tuple(name.removesuffix("_CMD").lower().split("__")[1:]) for name in names]
    addresses = {"POSTGRES_ADDRESS": "127.0.0.1:5432", "REDIS_ADDRESS": "127.0.0.1:6379"}
    environment = {**settings("airflow.env"), **addresses, "SECRETS_FOLDER": str(secrets)}
    found = json.loads(run([sys.executable, "-c", READ_SETTINGS, json.dumps(wanted)], environment, tmp_path))
    for section, key in wanted:
        assert key in found["known"].get(section, ()) or (section, key) in UNLISTED, f"[{section}] {key}"
    password = {name: (secrets / f"{name}_password").read_text() for name in ("postgres", "redis")}
    values = found["values"]
    assert values["database.sql_alchemy_conn"] == (
        f"postgresql+psycopg2://airflow:{password['postgres']}@127.0.0.1:5432/airflow"
    )
    assert values["celery.broker_url"] == f"redis://:{password['redis']}@127.0.0.1:6379/0"
    assert values["celery.result_backend"] == f"redis://:{password['redis']}@127.0.0.1:6379/1"
    for section, key in (("core", "fernet_key"), ("api", "secret_key"), ("api_auth", "jwt_secret")):
        file = {"secret_key": "api_secret_key"}.get(key, key)
        assert values[f"{section}.{key}"] == (secrets / file).read_text()


@pytest.mark.parametrize("name", ["airflow.env", "worker.env"])
def test_a_shell_reads_the_settings_as_compose_does(name: str, tmp_path: Path) -> None:
    lines = run(["sh", "-c", f"set -a; . {DOCKER / name}; env"], {}, tmp_path).splitlines()
    assert {f"{key}={value}" for key, value in settings(name).items()} <= set(lines)


def test_secrets_are_made_once(secrets: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    assert run([str(DOCKER / "bin" / "make-secrets"), str(secrets)], {}, tmp_path) == ""
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before
    assert len(set(before.values()) - {""}) == 6


def test_dags_and_page_need_no_torch(tmp_path: Path) -> None:
    assert absent_modules() >= HEAVY
    command = [sys.executable, "-c", IMPORT_EVERYTHING, str(REPOSITORY / "dags"), str(REPOSITORY / "plugins")]
    environment = {**slim_environment(), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    environment["PYTHONPATH"] += f":{REPOSITORY / 'dags'}"
    assert run(command, environment, tmp_path).endswith("imported\n")


def test_what_the_slim_image_installs_is_pinned() -> None:
    pinned = {
        line.partition("==")[0].lower()
        for line in (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    lines = [line for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert {line.partition("==")[0] for line in lines} <= pinned
