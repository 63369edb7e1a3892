"""The store's root folder and every path below it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.store.shared import check_url, register, shared_copy, url_of

SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(\.[A-Za-z0-9_-]+)*")

MODEL_ID = re.compile(r"\d{1,6}/[A-Za-z0-9_-]+")


def check_slug(slug: str) -> str:
    """Return ``slug`` if it may name an experiment; raise UserError for anything that could leave the store."""
    if not SLUG.fullmatch(slug) or len(slug) > 64:
        raise UserError(
            f"{slug!r} cannot name an experiment: use 1 to 64 letters, digits, '-', '_' or single dots, "
            "beginning with a letter or digit."
        )
    return slug


@dataclass(frozen=True)
class Store:
    """Everything below ``root`` (``$SELFEXPLORE_HOME``, by default ``~/.selfexplore``).

    Of a shared store ``root`` is this machine's working copy (``$SELFEXPLORE_CACHE``); see `store.shared`.
    """

    root: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Store:
        """The store as this machine last saw it; asks nobody. Raises UserError for a URL that can be no store."""
        home = environment.get("SELFEXPLORE_HOME") or str(Path.home() / ".selfexplore")
        if "://" not in home:
            return cls(Path(home).expanduser().absolute())
        url = check_url(home.rstrip("/"))
        short = hashlib.sha256(url.encode()).hexdigest()[:12]
        cache = environment.get("SELFEXPLORE_CACHE") or Path.home() / ".cache" / "selfexplore" / short
        root = Path(cache).expanduser().absolute()
        register(root, url)
        return cls(root)

    @classmethod
    def opened(cls, slug: str | None = None) -> Store:
        """The store with what other machines did meanwhile in one experiment, or in all."""
        store = cls.from_environment()
        store.refresh(slug)
        return store

    def refresh(self, slug: str | None = None) -> None:
        """Bring what other machines did; nothing to do in a local store."""
        copy = shared_copy(self.root)
        if copy is not None:
            copy.pull(slug)

    @property
    def place(self) -> str:
        """What ``SELFEXPLORE_HOME`` names: a folder, or the URL of a shared store."""
        return url_of(self.root) or str(self.root)

    def check_writable(self) -> None:
        """Raise UserError if an experiment could not be written here; creates nothing."""
        existing = next(path for path in (self.root, *self.root.parents) if path.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise UserError(
                f"The store {self.root} cannot be written ({existing} is not a writable folder): "
                "set SELFEXPLORE_HOME to a folder you own."
            )

    def experiment_file(self, slug: str) -> Path:
        return self.root / "experiments" / f"{check_slug(slug)}.json"

    def table_dir(self, table: str, slug: str, round_number: int) -> Path:
        return self.root / "tables" / table / f"experiment={check_slug(slug)}" / _round_key(round_number)

    def model_dir(self, slug: str, model_id: str) -> Path:
        """Folder of ``<round>/<name>``, e.g. ``1/policy``."""
        if not MODEL_ID.fullmatch(model_id):
            raise UserError(f"{model_id!r} is no model: name its round and kind, e.g. 1/policy.")
        round_text, name = model_id.split("/")
        return self.root / "models" / check_slug(slug) / _round_key(int(round_text)) / name

    def manifest_file(self, slug: str, round_number: int, stage: str) -> Path:
        return self.root / "manifests" / check_slug(slug) / _round_key(round_number) / f"{stage}.json"

    def champion_file(self, slug: str) -> Path:
        """Champions chosen by hand."""
        return self.root / "champions" / f"{check_slug(slug)}.json"

    def champion_link(self, slug: str) -> Path:
        """The link that `transformers` and `vllm serve` are pointed to."""
        return self.root / "models" / check_slug(slug) / "champion"

    def control_file(self, slug: str) -> Path:
        """Whether a person paused or cancelled the experiment."""
        return self.root / "control" / f"{check_slug(slug)}.json"

    def approval_file(self, slug: str, round_number: int) -> Path:
        return self.root / "approvals" / check_slug(slug) / f"{_round_key(round_number)}.json"

    def estimate_file(self, slug: str, round_number: int) -> Path:
        return self.root / "estimates" / check_slug(slug) / f"{_round_key(round_number)}.json"

    def report_file(self, slug: str, kind: str) -> Path:
        """The report that the last finished round stored; ``kind`` is html or md."""
        return self.root / "reports" / check_slug(slug) / f"report.{kind}"

    def lock_dir(self, slug: str) -> Path:
        return self.root / "locks" / check_slug(slug)

    def progress_file(self, slug: str, live_stage: str) -> Path:
        """What a live stage (`locks.live_stages` names it) last said of its progress."""
        return self.lock_dir(slug) / f"{live_stage}.progress"

    def pits_dir(self, slug: str, fingerprint: str) -> Path:
        """Folder of the rollouts that `selfexplore pits score --labels` drew under these settings."""
        return self.root / "pits" / check_slug(slug) / fingerprint

    @property
    def console_dir(self) -> Path:
        """What was asked in the SQL console, a file for each user."""
        return self.root / "console"

    @property
    def catalogue_file(self) -> Path:
        """The file that a DuckDB of anybody's opens."""
        return self.root / "selfexplore.duckdb"

    def experiment_dirs(self, slug: str) -> list[Path]:
        """Every folder that belongs to one experiment, in the order in which they may be deleted."""
        slug = check_slug(slug)
        tables = sorted((self.root / "tables").glob(f"*/experiment={slug}"))
        names = ("pointers", "models", "pits", "approvals", "estimates", "reports")
        others = [self.root / name / slug for name in names]
        return [self.root / "manifests" / slug, *tables, *others]


def _round_key(round_number: int) -> str:
    return f"round={round_number:03d}"
