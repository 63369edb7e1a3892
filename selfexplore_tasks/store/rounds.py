"""What the stop rule needs to know of every round, read from the manifests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

from selfexplore_tasks.stages.names import stages_of
from selfexplore_tasks.stopping import RoundFacts
from selfexplore_tasks.store.manifests import Manifest


def round_facts(manifests: Iterable[Manifest], *, promoted_now: Mapping[int, bool] | None = None) -> list[RoundFacts]:
    """Facts of the finished rounds, in order, from an experiment's manifests (`read_manifests`).

    Args:
        promoted_now: whether a round promotes, for the one whose summary is just being made.
    """
    given = dict(promoted_now or {})
    facts = []
    ordered = sorted(manifests, key=lambda manifest: manifest.round)
    for number, group in groupby(ordered, key=lambda manifest: manifest.round):
        stages = {manifest.stage: manifest for manifest in group if manifest.stage in stages_of(number)}
        summary = stages.pop("summarize", None)
        if summary is None and number not in given:
            continue
        trained = stages["dpo"].row_counts if "dpo" in stages else {}
        facts.append(
            RoundFacts(
                round=number,
                promoted=bool(summary.notes["promoted"]) if summary else given[number],
                pairs=trained.get("pairs", 0) - trained.get("too_long", 0),
                tokens=sum(manifest.token_count for manifest in stages.values()),
                seconds=sum(manifest.seconds for manifest in stages.values()),
            )
        )
    return facts
