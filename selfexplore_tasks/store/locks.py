"""One lock file per live stage, held by the kernel: a killed process leaves no stale lock behind."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.stages.names import AFTER_A_ROUND
from selfexplore_tasks.store.home import Store


def live_stages(store: Store, slug: str) -> list[str]:
    """Names (``<round>-<stage>-<shard>``) of the stages of this experiment that run right now."""
    folder = store.lock_dir(slug)
    gate_path = folder / "gate"
    if not gate_path.exists():
        return []
    # Looking takes each lock for an instant: behind the gate, no stage that starts finds its own lock taken by us.
    with gate_path.open("r") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        return _held(folder)


def live_name(round_number: int, stage: str, shard: int) -> str:
    """What `live_stages` calls a stage; ``shard`` is 0-based."""
    return f"{round_number:03d}-{stage}-{shard}"


@contextmanager
def stage_lock(store: Store, slug: str, *, round_number: int, stage: str, shard: int) -> Iterator[None]:
    """Hold the right to run this stage and shard.

    Shards of one stage run side by side; a different stage of the same experiment, or the same shard twice, does not.
    Stages that only follow a finished round disturb no other and are disturbed by none.

    Raises:
        UserError: another run of this experiment is live.
    """
    folder = store.lock_dir(slug)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{round_number:03d}-{stage}"
    with (folder / "gate").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        others = [] if stage in AFTER_A_ROUND else [held for held in _held(folder) if _excludes(held, name)]
        if others:
            raise _live(slug, others[0])
        own = (folder / f"{name}-{shard}.lock").open("a+")
        if not _try_lock(own.fileno()):
            own.close()
            raise _live(slug, f"{name}-{shard}")
    with own:
        own.truncate(0)
        own.write(f"{os.getpid()}\n")
        own.flush()
        yield


@contextmanager
def chunk_claim(folder: Path, name: str) -> Iterator[bool]:
    """Claim one chunk among the shards of a stage; yields False if another shard has it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.claim"
    with path.open("a+") as handle:
        claimed = _try_lock(handle.fileno())
        yield claimed
        if claimed:
            with suppress(FileNotFoundError):
                path.unlink()


def _excludes(held: str, name: str) -> bool:
    return not held.startswith(f"{name}-") and held.split("-")[1] not in AFTER_A_ROUND


def _held(folder: Path) -> list[str]:
    return [path.stem for path in sorted(folder.glob("*-*-*.lock")) if _is_held(path)]


def _live(slug: str, running: str) -> UserError:
    return UserError(f"Experiment {slug!r} is live: {running} is running now. Wait for it, or choose another name.")


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_held(path: Path) -> bool:
    with path.open("a+") as handle:
        return not _try_lock(handle.fileno())
