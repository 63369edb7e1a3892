"""Removing what a round left in the store: which files those are, and folders that are there or gone, never half."""

from __future__ import annotations

import shutil
from pathlib import Path

from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.shared import shared_copy

REMOVED = ".removed"


def table_dirs(store: Store, slug: str, round_number: int) -> list[Path]:
    """The folders of every table in which the round has, or had, parts."""
    pattern = store.table_dir("*", slug, round_number).relative_to(store.root)
    return sorted(store.root.glob(str(pattern)))


def round_dirs(store: Store, slug: str) -> list[Path]:
    """Every folder of tables or models that any round of the experiment has, or had, files in."""
    tables = store.root.glob(f"tables/*/{store.table_dir('any', slug, 0).parent.name}/round=*")
    return sorted([*tables, *store.champion_link(slug).parent.glob("round=*")])


def stage_parts(folder: Path, stage: str) -> list[Path]:
    """Every part that a stage wrote into a table's folder, unfinished ones under a temporary name too."""
    return sorted([*folder.glob(f"part-{stage}-*.parquet"), *folder.glob(f".part-{stage}-*.tmp")])


def remove_parts(store: Store, slug: str, round_number: int, stage: str) -> None:
    """Remove every part that a stage of a round wrote, on whatever machine."""
    copy = shared_copy(store.root)
    if copy is not None:
        copy.remove_parts(slug, round_number, stage)
    for folder in table_dirs(store, slug, round_number):
        for path in stage_parts(folder, stage):
            path.unlink(missing_ok=True)


def move_away(folder: Path) -> Path:
    """Rename a folder, so that it is gone at once however long removing its files takes; returns its new name."""
    hidden = folder.with_name(f".{folder.name}{REMOVED}")
    shutil.rmtree(hidden, ignore_errors=True)
    folder.rename(hidden)
    return hidden


def remove_folder(folder: Path) -> None:
    """Remove a folder and what an earlier try, killed half-way, left of it."""
    if folder.exists():
        shutil.rmtree(move_away(folder))
    shutil.rmtree(folder.with_name(f".{folder.name}{REMOVED}"), ignore_errors=True)
