"""Alerts reach a real web server and a real mail server, and what a model wrote in them stays text."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from airflow.sdk import DAG

from common.alerts import alert_failure, kind_of_end, send_alert
from selfexplore_tasks.local_airflow import free_port

HOSTILE = "{{ conn.get('selfexplore_hook').password }} <script>x</script>"


class Hook(BaseHTTPRequestHandler):
    """Keeps the bodies of what is posted."""

    received: list[dict[str, Any]]

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.received.append(json.loads(self.rfile.read(length)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Mailbox(Message):
    """Keeps the mails that come in."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Any] = []

    def handle_message(self, message: Any) -> None:
        self.received.append(message)


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    handler = type("Received", (Hook,), {"received": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    connection = {"conn_type": "http", "host": f"http://127.0.0.1:{server.server_port}/alerts"}
    monkeypatch.setenv("AIRFLOW_CONN_SELFEXPLORE_HOOK", json.dumps(connection))
    monkeypatch.setenv("SELFEXPLORE_ALERT_HTTP_CONN", "selfexplore_hook")
    yield handler.received
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    handler = Mailbox()
    port = free_port()
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@localhost"}
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SELFEXPLORE_MAIL", json.dumps(connection))
    monkeypatch.setenv("SELFEXPLORE_ALERT_SMTP_CONN", "selfexplore_mail")
    monkeypatch.setenv("SELFEXPLORE_ALERT_EMAILS", "a@localhost, b@localhost")
    yield handler.received
    controller.stop()


@pytest.fixture
def context() -> dict[str, Any]:
    """The few parts of a task's context that an alert looks at."""
    plan = {"experiment": "nightly", "round": 3}
    return {
        "dag": DAG("selfexplore_round", schedule=None),
        "ti": SimpleNamespace(task_id="dpo", xcom_pull=lambda task_ids: plan),
        "params": {"experiment": "nightly"},
    }


def test_a_failure_is_posted_and_mailed(webhook: list[dict[str, Any]], mailbox: list[Any], context: Any) -> None:
    alert_failure({**context, "exception": RuntimeError(HOSTILE)})
    assert webhook == [
        {
            "event": "failed",
            "subject": "Self-Explore failed: nightly, round 3",
            "text": f"Task dpo failed: {HOSTILE}",
            "experiment": "nightly",
            "round": 3,
        }
    ]
    (mail,) = mailbox
    assert mail["Subject"] == "Self-Explore failed: nightly, round 3"
    assert mail["To"] == "a@localhost, b@localhost"
    content = mail.get_payload(0).get_payload(decode=True).decode()
    assert "{{ conn.get" in content and "&lt;script&gt;" in content and "<script>" not in content


def test_an_alert_that_cannot_be_delivered_fails_nothing(
    context: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_GONE", "http://127.0.0.1:9")
    monkeypatch.setenv("SELFEXPLORE_ALERT_HTTP_CONN", "gone")
    send_alert("finished", "text", context)
    assert "was not delivered by HttpNotifier" in caplog.text


@pytest.mark.parametrize(
    ("reason", "event"),
    [
        ("max_rounds=2 reached", "finished"),
        ("gate.max_regression=0.1: loses 12.0 points", "regression"),
        ("stop.patience=2: no promotion in rounds 3 and 4", "stopped"),
        ("no rationale is wrong (of 80): nothing is left to learn from", "stopped"),
    ],
)
def test_how_an_experiment_ended_names_the_alert(reason: str, event: str) -> None:
    assert kind_of_end(reason) == event
