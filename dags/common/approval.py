"""A person's word before a promotion: Airflow's own Required Actions, with the gate's numbers in the text.

How long to wait, and what holds when nobody answers, is the deployment's business, not a recipe's:
``SELFEXPLORE_APPROVAL_TIMEOUT_S`` (default: wait for ever) and ``SELFEXPLORE_APPROVAL_DEFAULT`` (``Approve`` or
``Reject``, default ``Reject``).
"""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk import task

from selfexplore_tasks.store.approvals import read_approval, write_approval
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest

TIMEOUT_VARIABLE = "SELFEXPLORE_APPROVAL_TIMEOUT_S"
DEFAULT_VARIABLE = "SELFEXPLORE_APPROVAL_DEFAULT"

log = logging.getLogger(__name__)

SUBJECT = "Promote {{ ti.xcom_pull(task_ids='describe_promotion')['candidate'] }} of {{ params.experiment }}?"
BODY = "{{ ti.xcom_pull(task_ids='describe_promotion')['text'] }}"


def approval_step() -> HITLOperator:
    """The step that waits for an answer. Not an ApprovalOperator: that one skips what follows a rejection."""
    seconds, default = _deployment_settings()
    return HITLOperator(
        task_id="approve",
        subject=SUBJECT,
        body=BODY,
        options=[ApprovalOperator.APPROVE, ApprovalOperator.REJECT],
        defaults=default if seconds else None,
        response_timeout=timedelta(seconds=seconds) if seconds else None,
    )


def _deployment_settings() -> tuple[float | None, str]:
    """Seconds to wait and the answer that then holds; what cannot be read must not take the Dag away."""
    options = {ApprovalOperator.APPROVE.lower(): ApprovalOperator.APPROVE}
    default = options.get(os.environ.get(DEFAULT_VARIABLE, "").strip().lower(), ApprovalOperator.REJECT)
    try:
        seconds = float(os.environ.get(TIMEOUT_VARIABLE) or 0)
    except ValueError:
        log.error("%s is no number of seconds: approvals wait for ever", TIMEOUT_VARIABLE)
        seconds = 0.0
    return (seconds if 0 < seconds < float("inf") else None), default


def describe_proposal(store: Store, plan: dict[str, Any]) -> dict[str, str] | None:
    """Candidate and numbers of a promotion that a person must approve; None where nobody need be asked."""
    manifest = read_manifest(store, plan["experiment"], plan["round"], "gate")
    if manifest is None or not manifest.notes["needs_approval"]:
        return None
    if read_approval(store, plan["experiment"], plan["round"]) is not None:
        return None  # answered already, with `selfexplore approve`
    notes, measured = manifest.notes, manifest.notes["decision"]
    gain = notes["test_gain"]
    on_test = "" if gain is None else f"\n\nOn test: {100 * gain:+.1f} points (reported only)."
    return {
        "candidate": notes["candidate"],
        "text": f"Round {plan['round']}: `{notes['candidate']}` against the champion `{notes['parent']}`: "
        f"{measured['reason']}.{on_test}",
    }


@task
def record_approval(plan: dict[str, Any], answer: dict[str, Any]) -> bool:
    """Keep the answer in the store, where stage `summarize` looks for it."""
    store, place = Store.opened(plan["experiment"]), (plan["experiment"], plan["round"])
    approved = answer["chosen_options"] == [ApprovalOperator.APPROVE]
    user = answer.get("responded_by_user") or {}
    given = read_approval(store, *place)
    if not user and given is not None:
        return given.approved  # a person answered with `selfexplore approve`; nobody did here
    who = user.get("name") or user.get("id") or "nobody in time"
    log.info("%s by %s", "approved" if approved else "rejected", who)
    write_approval(store, *place, approved=approved, who=str(who), why="in Airflow")
    return approved
