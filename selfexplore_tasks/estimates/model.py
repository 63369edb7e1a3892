"""An estimate as a value, and where it is kept until the round is over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from selfexplore_tasks.store.files import write_json
from selfexplore_tasks.store.home import Store


@dataclass(frozen=True)
class RoundEstimate:
    """One round, by stage: texts drawn or trained on (with repeats), tokens, wall seconds and where these come from.

    ``disk_bytes`` must be free before the round starts: what it leaves behind, ``model_bytes`` and ``table_bytes``, and
    the checkpoints of one training under way. ``source`` is that of the stage that takes longest.
    """

    round: int
    source: str
    disk_bytes: int
    model_bytes: int = 0
    table_bytes: int = 0
    items: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)


def total_disk(estimates: Sequence[RoundEstimate], keep_rounds: int | None) -> int:
    """Bytes that rounds need together, where housekeeping keeps the models of ``keep_rounds`` rounds (None: of all).

    The champion and its parent always stay: two more rounds.
    """
    models = sorted(one.model_bytes for one in estimates)
    kept = models if keep_rounds is None else models[-keep_rounds - 2 :]
    passing = max((one.disk_bytes - one.model_bytes - one.table_bytes for one in estimates), default=0)
    return sum(kept) + sum(one.table_bytes for one in estimates) + passing


def save_estimate(store: Store, slug: str, estimate: RoundEstimate) -> None:
    """Keep the estimate of a round that is about to start."""
    write_json(store.estimate_file(slug, estimate.round), asdict(estimate))


def read_estimate(store: Store, slug: str, round_number: int) -> RoundEstimate | None:
    """Return what was estimated before the round, None if nothing was."""
    path = store.estimate_file(slug, round_number)
    return RoundEstimate(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
