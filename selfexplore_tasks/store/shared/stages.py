"""What a stage finds of earlier tries, when those may have been on other machines."""

from __future__ import annotations

from selfexplore_tasks.stages.names import MODELS
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.shared import shared_copy
from selfexplore_tasks.store.shared.models import model_folder


def bring_stage(store: Store, slug: str, round_number: int, stage: str) -> None:
    """Bring what the stage and those before it have made so far; nothing to do in a local store."""
    copy = shared_copy(store.root)
    if copy is None:
        return
    copy.pull(slug)
    copy.pull_parts(slug, round_number, stage)
    for name in MODELS.get(stage, ()):
        model_folder(store, slug, f"{round_number}/{name}")
