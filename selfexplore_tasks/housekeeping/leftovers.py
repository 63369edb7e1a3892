"""What killed processes left: temporary files, training folders of finished rounds, and processes themselves."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from selfexplore_tasks.housekeeping.freed import Freed, size_of
from selfexplore_tasks.launch import end_previous, is_orphaned
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifests
from selfexplore_tasks.store.removal import REMOVED
from selfexplore_tasks.store.shared.local_files import OWN, STAGED

OLD_S = 86_400.0
BESIDE_A_MODEL = (".partial", ".replaced", ".fetched")


def remove_leftovers(store: Store, slug: str, *, dry_run: bool) -> Freed:
    """Remove temporary files and folders that nothing has touched for a day."""
    paths = [path for path in _leftovers(store, slug) if _is_old(path)]
    freed = Freed(slug, "temporary files", len(paths), size_of(paths))
    for path in [] if dry_run else paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return freed


def end_orphans(store: Store, slug: str, *, dry_run: bool) -> Freed:
    """End process groups of stages whose launcher on this machine is gone."""
    records = [record for record in sorted(store.lock_dir(slug).glob("*.pgid")) if is_orphaned(record)]
    for record in [] if dry_run else records:
        end_previous(record)
    return Freed(slug, "orphaned processes", len(records))


def _leftovers(store: Store, slug: str) -> Iterator[Path]:
    for folder in [*store.experiment_dirs(slug), store.lock_dir(slug)]:
        yield from folder.rglob(".*.tmp")
        yield from folder.rglob(f".*{REMOVED}")
    yield from (store.root / OWN).glob(f"{STAGED}*")
    for file in (store.experiment_file(slug), store.champion_file(slug), store.control_file(slug)):
        yield from file.parent.glob(f".{file.name}.*.tmp")
    for round_number in {manifest.round for manifest in read_manifests(store, slug) if manifest.stage == "summarize"}:
        models = store.model_dir(slug, f"{round_number}/any").parent
        for suffix in BESIDE_A_MODEL:
            # Without the model itself the folder may be all that is left of it.
            yield from (path for path in models.glob(f"*{suffix}") if path.with_suffix("").is_dir())


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.lstat().st_mtime > OLD_S
    except FileNotFoundError:
        return False
