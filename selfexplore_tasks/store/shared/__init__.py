"""A store on an object store: ``$SELFEXPLORE_HOME`` is a URL, and every machine keeps a working copy of it.

The truth is in the bucket, below the URL::

    state/<path>                                  the small files: experiments, manifests, control, claims, pointers
    tables/<table>/experiment=<slug>/round=<NNN>/part-*.parquet
    models/<slug>/round=<NNN>/<name>/<fresh>/     a model's files; ``state/pointers/…`` says which folder is the model
    leases/…                                      who is at work; each expires when its holder dies

All code reads and writes the working copy, a local folder of the usual layout. A durable file is put first, and only
then takes its place in the working copy: what is here under its name is there, too. Chunks, new manifests and pointers
are put on condition that there is none yet: whoever comes second takes the first one's. `WorkingCopy.pull` brings what
other machines did: parts before the manifest that names them. Leases save work; no row depends on them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from selfexplore_tasks.errors import UserError

if TYPE_CHECKING:
    from selfexplore_tasks.store.shared.working_copy import WorkingCopy

_urls: dict[Path, str] = {}
_copies: dict[tuple[Path, int], WorkingCopy] = {}


def register(root: Path, url: str) -> None:
    """Let everything below ``root`` be a working copy of the store at ``url``; asks nobody."""
    _urls[root] = url


def url_of(root: Path) -> str | None:
    """The URL of the store that ``root`` is a working copy of; None of a local store."""
    return _urls.get(root)


def shared_copy(path: Path) -> WorkingCopy | None:
    """The working copy that a path of a shared store is in; None in a local store."""
    for root, url in _urls.items():
        if path == root or root in path.parents:
            # A connection does not survive a fork.
            key = (root, os.getpid())
            if key not in _copies:
                from selfexplore_tasks.store.shared.working_copy import WorkingCopy

                _copies[key] = WorkingCopy(root, url)
            return _copies[key]
    return None


def check_url(url: str) -> str:
    """Return a URL that can be a store; raises UserError for any other."""
    protocol, _, rest = url.partition("://")
    bucket = rest.split("/")[0]
    if protocol != "s3" or not bucket:
        raise UserError(
            f"SELFEXPLORE_HOME is a folder or s3://bucket/prefix, got {protocol}://…: no other kind of store is known "
            "to create an object only if there is none."
        )
    if "@" in bucket or "?" in rest or "#" in rest or "//" in rest:
        raise UserError("SELFEXPLORE_HOME must be s3://bucket/prefix and nothing else: credentials go into AWS_*.")
    return url
