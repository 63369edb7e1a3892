"""The few calls of Airflow's REST API (v2) that following a run needs, over the standard library."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TIMEOUT_S = 30


class ApiError(Exception):
    """Airflow answered with an error, or not at all; ``status`` is None in the second case."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class TaskState:
    """One task instance as the API shows it; times are in seconds."""

    task_id: str
    map_index: int
    state: str | None
    try_number: int
    seconds: float | None


@dataclass
class AirflowApi:
    """A client with its own token. ``base_url`` has no slash at the end."""

    base_url: str
    user: str
    password: str = field(repr=False)
    _token: str | None = field(default=None, repr=False)

    def health(self) -> dict[str, str | None]:
        """Status of each component, e.g. ``{"scheduler": "healthy"}``; needs no token."""
        reply = self._send("GET", "/api/v2/monitor/health", None, {})
        return {name: (part or {}).get("status") for name, part in reply.items()}

    def dag_is_parsed(self, dag_id: str) -> bool:
        try:
            self.call("GET", f"/dags/{dag_id}")
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def import_errors(self) -> list[str]:
        """For each Dag file that cannot be imported: its name and the last line of the traceback."""
        rows = self.call("GET", "/importErrors")["import_errors"]
        return [f"{row['filename']}: {row['stack_trace'].strip().splitlines()[-1]}" for row in rows]

    def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> None:
        """Start a Dag run; raises ApiError with status 400 if the conf does not fit the Dag's params."""
        self.call("POST", f"/dags/{dag_id}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf)})

    def run_state(self, dag_id: str, run_id: str) -> str | None:
        """State of a Dag run, None if there is none of that id."""
        try:
            return str(self.call("GET", f"/dags/{dag_id}/dagRuns/{_quote(run_id)}")["state"])
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def task_states(self, dag_id: str, run_id: str) -> list[TaskState]:
        reply = self.call("GET", f"/dags/{dag_id}/dagRuns/{_quote(run_id)}/taskInstances?limit=1000")
        return [
            TaskState(row["task_id"], row["map_index"], row["state"], row["try_number"], row["duration"])
            for row in reply["task_instances"]
        ]

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send an authorised request below ``/api/v2``; a token that ran out is renewed once."""
        for is_last in (False, True):
            headers = {"Authorization": f"Bearer {self._token or self._log_in()}"}
            try:
                return self._send(method, f"/api/v2{path}", body, headers)
            except ApiError as error:
                if error.status != 401 or is_last:
                    raise
                self._token = None
        raise ApiError("no reply", None)

    def _log_in(self) -> str:
        reply = self._send("POST", "/auth/token", {"username": self.user, "password": self.password}, {})
        self._token = str(reply["access_token"])
        return self._token

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        request = urllib.request.Request(
            self.base_url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json", **headers},
            method=method,
        )
        # A proxy of the environment has no business between this machine and itself.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=TIMEOUT_S) as reply:
                content = json.load(reply)
        except urllib.error.HTTPError as error:
            detail = error.read().decode("utf-8", errors="replace")[:2000]
            raise ApiError(f"Airflow answered {error.code} to {method} {path}: {detail}", error.code) from error
        except (OSError, ValueError) as error:
            raise ApiError(f"Airflow at {self.base_url} does not answer ({error})", None) from error
        return dict(content)


def _quote(run_id: str) -> str:
    return urllib.parse.quote(run_id, safe="")
