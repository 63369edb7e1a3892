"""A person's word on a promotion, kept until stage `summarize` of the round asks for it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.store.files import write_json
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest


@dataclass(frozen=True)
class Approval:
    """Who approved or rejected, and when (ISO time)."""

    approved: bool
    who: str
    why: str
    at: str


def write_approval(store: Store, slug: str, round_number: int, *, approved: bool, who: str, why: str) -> Approval:
    """Keep an answer; a later one replaces it. Raises UserError where the round's gate asks for none, or asked once."""
    if read_manifest(store, slug, round_number, "summarize") is not None:
        raise UserError(
            f"Round {round_number} of {slug!r} is finished: choose its champion with `selfexplore champion set`."
        )
    gate = read_manifest(store, slug, round_number, "gate")
    if gate is None or not gate.notes["needs_approval"]:
        raise UserError(
            f"Round {round_number} of {slug!r} needs no approval: its gate is not done, proposes no promotion, or the "
            "recipe has no gate.require_approval."
        )
    answer = Approval(approved, who, why, datetime.now(UTC).isoformat(timespec="seconds"))
    write_json(store.approval_file(slug, round_number), asdict(answer))
    return answer


def read_approval(store: Store, slug: str, round_number: int) -> Approval | None:
    """Return the answer, or None while there is none."""
    path = store.approval_file(slug, round_number)
    return Approval(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
