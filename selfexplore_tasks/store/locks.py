"""One lock file per live stage, held by the kernel: a killed process leaves no stale lock behind.

Where machines share a store, a lease stands for the lock among them (`store.shared.leases`).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.stages.names import AFTER_A_ROUND
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.shared import shared_copy


def live_stages(store: Store, slug: str) -> list[str]:
    """Names (``<round>-<stage>-<shard>``) of the stages of this experiment that run right now."""
    copy = shared_copy(store.root)
    elsewhere = [] if copy is None else copy.leases.live(slug)
    return sorted({*_live_here(store.lock_dir(slug)), *elsewhere})


def _live_here(folder: Path) -> list[str]:
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
        with _leased(store, slug, f"{name}-{shard}", lambda held: stage not in AFTER_A_ROUND and _excludes(held, name)):
            yield


@contextmanager
def exclusive_lock(store: Store, slug: str, folder: str) -> Iterator[Path]:
    """Hold a lock of an experiment, with its folder, that one process on one machine has at a time; waits for it."""
    path = store.lock_dir(slug) / folder
    path.mkdir(parents=True, exist_ok=True)
    with (path / "lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        copy = shared_copy(store.root)
        if copy is None:
            yield path
            return
        with copy.leases.exclusive(slug, folder):
            copy.pull(slug)
            yield path


@contextmanager
def chunk_claim(folder: Path, name: str) -> Iterator[bool]:
    """Claim one chunk among the shards of a stage; yields False if another shard has it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.claim"
    with path.open("a+") as handle:
        claimed = _try_lock(handle.fileno())
        copy = shared_copy(folder) if claimed else None
        if copy is None:
            yield claimed
        else:
            with copy.leases.claim(folder.parent.name, name) as claimed_everywhere:
                yield claimed_everywhere
        if claimed:
            with suppress(FileNotFoundError):
                path.unlink()


@contextmanager
def _leased(store: Store, slug: str, name: str, excludes: Callable[[str], bool]) -> Iterator[None]:
    """Hold the same right among machines, where several share the store."""
    copy = shared_copy(store.root)
    if copy is None:
        yield
        return
    with copy.leases.stage(slug, name, excludes) as other:
        if other is not None:
            raise _live(slug, other)
        yield


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
