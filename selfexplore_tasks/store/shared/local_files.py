"""The files of a working copy, with what its index says of them: fetched, placed and dropped one by one."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.store.files import sync, temporary_beside
from selfexplore_tasks.store.shared.index import Index
from selfexplore_tasks.store.shared.keys import MODELS, STATE, path_of
from selfexplore_tasks.store.shared.parallel import in_parallel
from selfexplore_tasks.store.shared.remote import Entry, Remote

OWN = ".shared"
"""Folder of what the working copy knows of itself."""
STAGED = "pull-"
"""How folders in it begin that last as long as a pull."""


class LocalFiles:
    """The working copy's files below ``root`` of the objects of ``remote``. Safe to share between threads."""

    def __init__(self, root: Path, remote: Remote) -> None:
        self.root = root
        self.remote = remote
        _claim_folder(root, remote.url)
        self.index = Index(root / OWN / "index.sqlite")

    def is_missing(self, key: str, entry: Entry, known: dict[str, str]) -> bool:
        """Whether this version of an object is not here; ``known`` are the versions that the index has."""
        return known.get(key) != entry.version or not path_of(self.root, key).exists()

    def take(self, listed: dict[str, Entry], known: dict[str, str]) -> None:
        """Bring those of the objects that are not here."""
        missing = {key: entry for key, entry in listed.items() if self.is_missing(key, entry, known)}
        in_parallel(lambda key: self.fetch(key, known.get(key)), missing)

    def fetch(self, key: str, seen: str | None) -> bool:
        """Bring one object to its place, unless a process of this machine changed it since ``seen``."""
        path = path_of(self.root, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(path)
        try:
            found = self.remote.stat(key)
            if found is None or not self.remote.download(key, temporary):
                return False
            self.place(key, temporary, found.version, seen)
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def fetch_into(self, key: str, temporary: Path) -> str:
        """Replace a file's content by what is there already; returns its version."""
        found = self.remote.stat(key)
        if found is None or not self.remote.download(key, temporary):
            raise UserError(f"{key} was removed from the store while it was written: the stage was redone meanwhile.")
        return found.version

    def place(self, key: str, temporary: Path, version: str, seen: str | None) -> None:
        """Move a file to its place, unless a process of this machine changed it since ``seen``."""
        path = path_of(self.root, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        sync(temporary)  # or the index could outlive a power cut, and the content not
        with self.index.changing() as change:
            if change.version(key) == seen:
                temporary.replace(path)
                change.set(key, version)

    def drop(self, key: str, seen: str) -> None:
        """Forget a file that is no more, unless a process of this machine changed it since ``seen``."""
        with self.index.changing() as change:
            if change.version(key) == seen:
                path_of(self.root, key).unlink(missing_ok=True)
                change.set(key, None)

    def drop_state(self, key: str, seen: str) -> None:
        """Forget what another machine removed: of a pointer the model, too."""
        if key.startswith(f"{STATE}pointers/"):
            folder = self.root / MODELS / key.removeprefix(f"{STATE}pointers/").removesuffix(".json")
            shutil.rmtree(folder, ignore_errors=True)
        self.drop(key, seen)

    @contextmanager
    def staged(self, entries: Iterable[str]) -> Iterator[dict[str, Path]]:
        """Small objects as files of this process; one that vanished meanwhile is left out."""
        folder = self.root / OWN / f"{STAGED}{uuid4().hex}"
        folder.mkdir(parents=True, exist_ok=True)
        keys = list(entries)
        paths = {key: folder / str(number) for number, key in enumerate(keys)}
        try:
            found = in_parallel(lambda key: self.remote.download(key, paths[key]), keys)
            yield {key: paths[key] for key, is_there in zip(keys, found, strict=True) if is_there}
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _claim_folder(root: Path, url: str) -> None:
    """Mark a folder as the working copy of a store; raises UserError where it is something else."""
    marker = root / OWN / "url"
    if not marker.exists():
        if root.is_dir() and any(root.iterdir()) and not (root / OWN).exists():
            raise UserError(
                f"{root} is no working copy of a shared store and not empty: name another SELFEXPLORE_CACHE."
            )
        marker.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(marker)
        temporary.write_text(url, encoding="utf-8")
        temporary.replace(marker)
    elif marker.read_text(encoding="utf-8") != url:
        raise UserError(f"{root} is the working copy of another store: name another SELFEXPLORE_CACHE.")
