"""Telling people: a failed or stalled task, a stop, a regression, a finished experiment.

Alerts go through Airflow's own notifiers, to whatever the deployment names in its environment:

- ``SELFEXPLORE_ALERT_HTTP_CONN``: an Airflow connection of type HTTP, its host the whole URL of a webhook; the alert is
  POSTed to it as JSON (event, subject, text, experiment, round).
- ``SELFEXPLORE_ALERT_SMTP_CONN`` and ``SELFEXPLORE_ALERT_EMAILS``: an SMTP connection, and its readers.

An alert that cannot be delivered is an error in the log and nothing more: it must not fail what it reports.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

from airflow.sdk.bases.notifier import BaseNotifier

HTTP_VARIABLE = "SELFEXPLORE_ALERT_HTTP_CONN"
SMTP_VARIABLE = "SELFEXPLORE_ALERT_SMTP_CONN"
EMAILS_VARIABLE = "SELFEXPLORE_ALERT_EMAILS"
TEXT_CHARACTERS = 2_000

log = logging.getLogger(__name__)


def send_alert(event: str, text: str, context: Any) -> None:
    """Deliver one alert; ``event`` is failed, stalled, stopped, regression or finished."""
    plan = _plan(context)
    subject = f"Self-Explore {event}: {plan.get('experiment', context['dag'].dag_id)}"
    if "round" in plan:
        subject += f", round {plan['round']}"
    content = {"event": event, "subject": subject, "text": text[:TEXT_CHARACTERS], **plan}
    for notifier in _notifiers(content):
        try:
            notifier.notify(context)
        except Exception:
            log.exception("alert %r was not delivered by %s", subject, type(notifier).__name__)


def alert_failure(context: Any) -> None:
    """An ``on_failure_callback``: the task will not be tried again."""
    task_id, error = context["ti"].task_id, context.get("exception") or "it was killed"
    send_alert("failed", f"Task {task_id} failed: {error}", context)


def kind_of_end(reason: str) -> str:
    """The event of the alert: finished as planned, stopped by a rule, or a regression."""
    if reason.startswith("max_rounds"):
        return "finished"
    return "regression" if reason.startswith("gate.max_regression") else "stopped"


def _notifiers(content: dict[str, Any]) -> Iterator[BaseNotifier]:
    makers: dict[str, Callable[[str, dict[str, Any]], BaseNotifier]] = {HTTP_VARIABLE: _http, SMTP_VARIABLE: _smtp}
    for variable, make in makers.items():
        if connection := os.environ.get(variable):
            yield make(connection, content)


def _http(connection: str, content: dict[str, Any]) -> BaseNotifier:
    from airflow.providers.http.notifications.http import HttpNotifier

    return HttpNotifier(http_conn_id=connection, json=content)


def _smtp(connection: str, content: dict[str, Any]) -> BaseNotifier:
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    addresses = [address.strip() for address in os.environ.get(EMAILS_VARIABLE, "").split(",") if address.strip()]
    return SmtpNotifier(
        smtp_conn_id=connection, to=addresses, subject=content["subject"], html_content=_as_html(content["text"])
    )


def _as_html(text: str) -> str:
    """The text as it is: what a model or an error says is no markup."""
    import html

    return f"<pre>{html.escape(text)}</pre>"


def _plan(context: Any) -> dict[str, Any]:
    """The experiment, and the round where it is known already."""
    plan = context["ti"].xcom_pull(task_ids="open_experiment") if context["dag"].dag_id == "selfexplore_round" else None
    if isinstance(plan, dict):
        return plan
    experiment = (context.get("params") or {}).get("experiment")
    return {"experiment": experiment} if experiment else {}
