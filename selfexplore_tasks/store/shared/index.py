"""What the working copy holds of the object store: a version for each key, changed together with the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

WAIT_S = 60.0
OWN_NAME = ".name"


@dataclass(frozen=True)
class Changing:
    """An open change: no other process changes the index, or a file it speaks of, meanwhile."""

    connection: sqlite3.Connection

    def version(self, key: str) -> str | None:
        row = self.connection.execute("select version from files where key = ?", [key]).fetchone()
        return None if row is None else str(row[0])

    def set(self, key: str, version: str | None) -> None:
        """Note the version of a key; None: the working copy has none."""
        if version is None:
            self.connection.execute("delete from files where key = ?", [key])
        else:
            self.connection.execute("insert or replace into files values (?, ?)", [key, version])


class Index:
    """Keys with the versions that the working copy has, in a small file that many processes share."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._connect()) as connection:
            connection.execute("create table if not exists files (key text primary key, version text not null)")

    def own_name(self) -> str:
        """A name of this very working copy, the same for all its processes: hosts may be called alike."""
        with self.changing() as change:
            name = change.version(OWN_NAME) or uuid4().hex
            change.set(OWN_NAME, name)
        return name

    def version(self, key: str) -> str | None:
        """The version that the working copy has of an object; None if it has none."""
        with closing(self._connect()) as connection:
            return Changing(connection).version(key)

    def versions(self, prefix: str) -> dict[str, str]:
        """The versions of all keys that begin so."""
        with closing(self._connect()) as connection:
            rows = connection.execute(
                "select key, version from files where substr(key, 1, ?) = ?", [len(prefix), prefix]
            )
            return dict(rows.fetchall())

    @contextmanager
    def changing(self) -> Iterator[Changing]:
        """Change files and their versions in one go; waits for other processes."""
        with closing(self._connect()) as connection:
            connection.execute("begin immediate")
            yield Changing(connection)
            connection.execute("commit")

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=WAIT_S, isolation_level=None)
