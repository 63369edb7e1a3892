"""A machine's copy of a shared store: what it writes is put first, what others did is pulled."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from selfexplore_tasks.store.shared.keys import (
    MODELS,
    STATE,
    TABLES,
    folder_key,
    is_kept,
    key_of,
    slug_of,
    visible_order,
)
from selfexplore_tasks.store.shared.leases import Leases
from selfexplore_tasks.store.shared.local_files import LocalFiles
from selfexplore_tasks.store.shared.parallel import in_parallel
from selfexplore_tasks.store.shared.remote import Entry, Remote, StoreUnreachable


class WorkingCopy:
    """The working copy at ``root`` of the store at ``url``. Safe to share between threads."""

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        self.remote = Remote(url)
        self._files = LocalFiles(root, self.remote)
        self.leases = Leases(self.remote, self._files.index.own_name())
        self._pulling = threading.Lock()
        self._asked: float | None = None
        self._failed: StoreUnreachable | None = None

    def publish(self, temporary: Path, path: Path, *, once: bool = False) -> None:
        """Put a file, and then move it to its place; with ``once`` the first one's takes its place.

        A file that is not shared is only moved.
        """
        key = key_of(path.relative_to(self.root))
        if key is None:
            temporary.replace(path)
            return
        version = self.remote.upload(key, temporary, once=once)
        if version is None:
            version = self._files.fetch_into(key, temporary)
        with self._files.index.changing() as change:
            temporary.replace(path)
            change.set(key, version)

    def remove_file(self, path: Path) -> None:
        """Remove a file there and here; one that is gone is fine."""
        key = key_of(path.relative_to(self.root))
        if key is None:
            path.unlink(missing_ok=True)
            return
        self.remote.remove([key])
        with self._files.index.changing() as change:
            path.unlink(missing_ok=True)
            change.set(key, None)

    def remove_folder(self, folder: Path) -> None:
        """Remove every shared file below a folder, there and here."""
        self._remove_below(folder_key(folder.relative_to(self.root)))

    def remove_rounds(self, slug: str) -> None:
        """Remove what an experiment's rounds made, manifests first; its own file and its records stay."""
        of_rounds = [key for key in self.remote.list(STATE) if slug_of(key) == slug and not is_kept(key)]
        self.remote.remove(key for key in of_rounds if key.startswith(f"{STATE}manifests/"))
        self.remote.remove(of_rounds)
        for key, version in self._files.index.versions(STATE).items():
            if slug_of(key) == slug and not is_kept(key):
                self._files.drop(key, version)
        in_parallel(self._remove_below, [*_table_folders(slug), f"{MODELS}{slug}/", *self.leases.leftovers(slug)])

    def begun_rounds(self, slug: str) -> set[int]:
        """The rounds of which any machine has put a part, named by a manifest or not."""
        keys = [key for found in in_parallel(self.remote.list, _table_folders(slug)) for key in found]
        return {int(key.split("/round=")[1].split("/")[0]) for key in keys}

    def share(self, source: Path, target: Path) -> None:
        """Copy a shared file within the store: there by the server, here if it is here (the caller links it)."""
        key, new_key = (str(key_of(path.relative_to(self.root))) for path in (source, target))
        self.remote.copy(key, new_key)
        made = self.remote.stat(new_key)
        with self._files.index.changing() as change:
            change.set(new_key, made.version if made else None)

    def _remove_below(self, prefix: str) -> None:
        self.remote.remove(self.remote.list(prefix))
        for key, version in self._files.index.versions(prefix).items():
            self._files.drop(key, version)

    def has(self, path: Path) -> bool:
        """Whether a part exists; one that another machine put is fetched."""
        key = key_of(path.relative_to(self.root))
        return path.exists() or (key is not None and self._files.fetch(key, self._files.index.version(key)))

    def has_all(self, paths: Iterable[Path]) -> bool:
        """`has` for many parts at once."""
        return all(in_parallel(self.has, paths))

    def pull(self, slug: str | None = None) -> None:
        """Bring what other machines did in an experiment, or in all: parts first, then manifests, experiments last."""
        with self._pulling:
            self._pull(slug)

    def pull_if_older(self, max_age_s: float, *, patience_s: float) -> None:
        """`pull` for pages, which ask often: not again within ``max_age_s`` seconds, whether it succeeded or not.

        Raises StoreUnreachable when there was no answer for ``patience_s`` seconds the last time.
        """
        with self._pulling:
            if self._asked is None or time.monotonic() - self._asked > max_age_s:
                self._failed = None
                try:
                    with self.remote.impatient(patience_s):
                        self._pull(None)
                except StoreUnreachable as error:
                    self._failed = error
                self._asked = time.monotonic()
            if self._failed is not None:
                raise self._failed

    def pull_file(self, path: Path) -> None:
        """Bring one file of the state, or its absence."""
        key = str(key_of(path.relative_to(self.root)))
        seen = self._files.index.version(key)
        if not self._files.fetch(key, seen) and seen is not None:
            self._files.drop_state(key, seen)

    def pull_parts(self, slug: str, round_number: int, stage: str) -> None:
        """Bring the parts that a stage under way has on any machine, and drop those that are no more."""
        known, listed = self._parts(slug, round_number, stage)
        self._files.take(listed, known)
        for key in known.keys() - listed.keys():
            self._files.drop(key, known[key])

    def remove_parts(self, slug: str, round_number: int, stage: str) -> None:
        """Remove the parts of a stage there, and forget those that are here; their files are the caller's to remove."""
        known, listed = self._parts(slug, round_number, stage)
        self.remote.remove(listed)
        for key, version in known.items():
            self._files.drop(key, version)

    def _parts(self, slug: str, round_number: int, stage: str) -> tuple[dict[str, str], dict[str, Entry]]:
        """The parts of a stage: versions of those that are here, and those that are there."""
        folders = [f"{folder}round={round_number:03d}" for folder in _table_folders(slug)]
        known: dict[str, str] = {}
        for folder in folders:
            known |= self._files.index.versions(f"{folder}/part-{stage}-")
        listed: dict[str, Entry] = {}
        for found in in_parallel(lambda folder: self.remote.list(folder, f"part-{stage}-"), folders):
            listed |= found
        return known, listed

    def _pull(self, slug: str | None) -> None:
        def is_wanted(key: str) -> bool:
            return slug is None or key.startswith(f"{STATE}experiments/") or slug_of(key) == slug

        known = {key: version for key, version in self._files.index.versions(STATE).items() if is_wanted(key)}
        listed = {key: entry for key, entry in self.remote.list(STATE).items() if is_wanted(key)}
        gone = sorted(known.keys() - listed.keys(), key=visible_order, reverse=True)
        for key in gone:
            self._files.drop_state(key, known[key])
        changed = {key: entry for key, entry in listed.items() if self._files.is_missing(key, entry, known)}
        with self._files.staged(changed) as staged:
            self._take_parts([path for key, path in staged.items() if key.startswith(f"{STATE}manifests/")])
            for key in sorted(staged, key=visible_order):
                self._files.place(key, staged[key], listed[key].version, known.get(key))

    def _take_parts(self, manifests: Iterable[Path]) -> None:
        """Fetch every part that new manifests name."""
        places: dict[tuple[str, str], set[str]] = {}
        for path in manifests:
            content = json.loads(path.read_text(encoding="utf-8"))
            for table, names in content["parts"].items():
                folder = f"{TABLES}{table}/experiment={content['experiment']}/round={content['round']:03d}"
                places.setdefault((folder, f"part-{content['stage']}"), set()).update(names)

        def listed_in(place: tuple[str, str]) -> dict[str, Entry]:
            found = self.remote.list(*place)
            return {key: entry for key, entry in found.items() if key.rpartition("/")[2] in places[place]}

        listed: dict[str, Entry] = {}
        for found in in_parallel(listed_in, places):
            listed |= found
        known: dict[str, str] = {}
        for folder, prefix in places:
            known |= self._files.index.versions(f"{folder}/{prefix}")
        self._files.take(listed, known)


def _table_folders(slug: str) -> list[str]:
    """Below which keys the parts of an experiment are."""
    from selfexplore_tasks.store.schemas import TABLES as SCHEMAS

    return [f"{TABLES}{table}/experiment={slug}/" for table in SCHEMAS]
