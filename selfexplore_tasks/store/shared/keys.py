"""Which files of a store are shared, and under which key of the object store each one is."""

from __future__ import annotations

from pathlib import Path, PurePath

STATE, TABLES, MODELS, LEASES = "state/", "tables/", "models/", "leases/"
STATE_FOLDERS = frozenset(
    {
        *("experiments", "manifests", "pointers", "champions"),
        *("control", "approvals", "estimates", "reports"),
    }
)
SHARED_LOCKS = frozenset({"redo", "acks", "runs", "fork.json"})
"""What of ``locks/<slug>/`` is a record, not a lock of this machine."""
RECORDS = (".json", ".run")


def key_of(relative: PurePath) -> str | None:
    """The key of a file of the working copy; None for what stays on this machine."""
    parts = relative.parts
    if relative.name.startswith("."):
        return None
    if parts[0] == "tables":
        return relative.as_posix()
    is_record = parts[0] == "locks" and len(parts) > 2 and parts[2] in SHARED_LOCKS and relative.suffix in RECORDS
    return f"{STATE}{relative.as_posix()}" if is_record or parts[0] in STATE_FOLDERS else None


def path_of(root: Path, key: str) -> Path:
    """Where the working copy has the object of a key."""
    return root / key.removeprefix(STATE)


def slug_of(key: str) -> str:
    """The experiment that a key of ``state/`` belongs to."""
    parts = key.removeprefix(STATE).split("/")
    return parts[1].removesuffix(".json") if len(parts) == 2 else parts[min(1, len(parts) - 1)]


def folder_key(relative: PurePath) -> str:
    """Below which key everything of a folder of the working copy is."""
    prefix = "" if relative.parts[0] in ("tables", "models") else STATE
    return f"{prefix}{relative.as_posix()}/"


def is_kept(key: str) -> bool:
    """Whether a key of ``state/`` outlives the rounds of its experiment."""
    return key.removeprefix(STATE).split("/")[0] in ("experiments", "locks")


def visible_order(key: str) -> tuple[int, str]:
    """The order in which files may appear: an experiment's own last, manifests before it, parts first."""
    folder = key.removeprefix(STATE).split("/")[0]
    return {"tables": 0, "manifests": 2, "experiments": 3}.get(folder, 1), key
