"""Housekeeping: what an experiment no longer needs is removed, and many small parts become one.

Everything here may be killed at any point and run again; it disturbs no stage that runs meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.housekeeping.freed import Freed
from selfexplore_tasks.housekeeping.leftovers import end_orphans, remove_leftovers
from selfexplore_tasks.housekeeping.models import prune_models
from selfexplore_tasks.housekeeping.parts import compact_parts, remove_unreferenced
from selfexplore_tasks.store.home import Store

__all__ = ["Freed", "keep_house"]


def keep_house(store: Store, slugs: Sequence[str], *, dry_run: bool = False) -> list[Freed]:
    """Tidy these experiments; returns what was freed (``dry_run``: what would be, nothing is changed).

    Raises:
        ExceptionGroup: something could not be tidied; every other experiment and kind of work was.
    """
    works = (end_orphans, prune_models, remove_unreferenced, compact_parts, remove_leftovers)
    freed: list[Freed] = []
    failures: list[Exception] = []
    for slug in slugs:
        for work in works:
            try:
                freed.append(work(store, slug, dry_run=dry_run))
            except (UserError, OSError, ValueError) as error:  # damaged, or deleted meanwhile
                error.add_note(f"{work.__name__} of experiment {slug!r}")
                failures.append(error)
    if failures:
        raise ExceptionGroup("housekeeping could not finish everywhere", failures)
    return freed
