"""A private Airflow over an existing store, to look at the page: ``python tests/dev_server.py STORE [--port N]``.

Users are admin, user and viewer; the password of each is its name, so keep it on this machine. Ctrl-C stops it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
from pathlib import Path

from selfexplore_tasks.local_airflow import LocalAirflow

USERS = {"admin": "admin", "user": "user", "viewer": "viewer"}
"""Role of each user."""


def airflow_with_users(home: Path, port: int) -> LocalAirflow:
    """An Airflow with a user of each role, each with its name as password."""
    home.mkdir(parents=True, exist_ok=True)
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps({name: name for name in USERS}), encoding="utf-8")
    passwords.chmod(0o600)
    users = ",".join(f"{name}:{role}" for name, role in USERS.items())
    return LocalAirflow(home, port, {"core": {"simple_auth_manager_users": users}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path, help="$SELFEXPLORE_HOME to show")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--home", type=Path, help="$AIRFLOW_HOME; default a new temporary folder")
    parser.add_argument("--only-api", action="store_true", help="no scheduler: nothing can be triggered")
    options = parser.parse_args()
    os.environ["SELFEXPLORE_HOME"] = str(options.store.absolute())
    home = options.home or Path(tempfile.mkdtemp(prefix="selfexplore-airflow-"))
    airflow = airflow_with_users(home, options.port)
    airflow.start(("api-server", "dag-processor") if options.only_api else ("api-server", "scheduler", "dag-processor"))
    print(
        f"{airflow.address}/selfexplore/   user and password: admin (or user, viewer)\nlogs: {home}/components",
        flush=True,
    )
    try:
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    finally:
        airflow.stop()


if __name__ == "__main__":
    main()
