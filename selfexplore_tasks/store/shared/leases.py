"""Leases: who is at work on which machine, in objects that expire when nobody renews them.

A process renews what it holds from one thread, every quarter of ``SELFEXPLORE_LEASE_S`` (default 60). What was not
renewed for that long, by the clock of the object store, is nobody's; so is at once what a dead process of this very
working copy held, for its lock was free. A process that is cut off for longer may lose a lease and work on: the first
one's parts, manifest and model count, whoever that is.

A claim on a chunk is not renewed: it holds as long as the stage of the process that made it.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.store.shared.keys import LEASES
from selfexplore_tasks.store.shared.remote import Entry, Remote, StoreUnreachable

LEASE_VARIABLE = "SELFEXPLORE_LEASE_S"
LEASE_S = 60.0
RENEWALS = 4
"""How often a lease is renewed before it would expire."""
POLL_S = 0.5
NEWS_S = 1.0
"""For how long an answer to "who is at work?" is taken as it is."""


@dataclass
class Lease:
    """A lease that this process holds."""

    key: str
    token: str


class Leases:
    """The leases of a shared store, as one process sees them. Safe to share between threads."""

    def __init__(self, remote: Remote, machine: str) -> None:
        """``machine`` names the working copy that this process uses, and no other."""
        self._remote = remote
        self._machine = machine
        self._lease_s = lease_seconds()
        self.renewal_s = self._lease_s / RENEWALS
        self._held: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._renewer: threading.Thread | None = None
        self._news: tuple[float, dict[str, Entry]] = (0.0, {})

    def live(self, slug: str) -> list[str]:
        """Names of the stages of an experiment at which another machine is at work; locks tell of this one."""
        asked, found = self._news
        if time.monotonic() - asked > NEWS_S:
            found = self._remote.list(f"{LEASES}stages/")
            self._news = (time.monotonic(), found)
        folder = f"{LEASES}stages/{slug}/"
        live = [key for key, one in found.items() if key.startswith(folder) and not self._has_expired(one)]
        return sorted(key.removeprefix(folder) for key in live if not self._is_of_this_machine(key))

    @staticmethod
    def leftovers(slug: str) -> list[str]:
        """Folders with what killed processes of an experiment left: nobody works by it."""
        return [f"{LEASES}{kind}/{slug}/" for kind in ("claims", "removed/stages", "removed/locks")]

    @contextmanager
    def stage(self, slug: str, name: str, excludes: Callable[[str], bool]) -> Iterator[str | None]:
        """Hold a stage's lease; yields the name of a stage that is at work instead, if there is one.

        The caller has the lock of this working copy. ``excludes`` tells whether another stage may not run beside it;
        the same one never may. Waits while the lease of a machine that may be dead can still expire.
        """
        folder = f"{LEASES}stages/{slug}/"
        for key in sorted(self._remote.list(folder)):
            other = key.removeprefix(folder)
            if (other == name or excludes(other)) and not self._becomes_free(key, other):
                yield other
                return
        own = Lease(f"{folder}{name}", self._token())
        if self._remote.write(own.key, self._content(own.token), once=True) is None and not self._is_own(own):
            yield name
            return
        with self._holding(own):
            # Of two that began at once and saw nobody, at least one sees the other now.
            begun = (key.removeprefix(folder) for key in sorted(self._remote.list(folder)))
            yield next((other for other in begun if excludes(other)), None)

    @contextmanager
    def exclusive(self, slug: str, name: str) -> Iterator[None]:
        """Hold a lease that only one machine has at a time; waits for its turn."""
        own = Lease(f"{LEASES}locks/{slug}/{name}", self._token())
        while self._remote.write(own.key, self._content(own.token), once=True) is None:
            if not self._remove_if_dead(own.key):
                time.sleep(POLL_S)
        with self._holding(own):
            yield

    @contextmanager
    def claim(self, slug: str, name: str) -> Iterator[bool]:
        """Claim a chunk for the stage that this process runs; yields False if a live stage of another has it."""
        stage = self._own_stage(slug)
        key = f"{LEASES}claims/{slug}/{name}"
        content = json.dumps({"stage": stage.key, "token": stage.token}).encode() if stage else b"{}"
        claimed = self._remote.write(key, content, once=True) is not None
        if not claimed and not self._is_claimed(key, stage):
            self._remote.write(key, content)
            claimed = True
        try:
            yield claimed
        finally:
            if claimed:
                with suppress(StoreUnreachable):
                    self._remote.remove([key])

    def _is_claimed(self, key: str, own: Lease | None) -> bool:
        """Whether another stage that claimed a chunk lives: its lease is there, is the same, and was renewed."""
        claim = json.loads(self._remote.read(key) or b"{}")
        if not claim or (own is not None and claim["token"] == own.token):
            return False  # our own: the answer to the put was lost
        entry, holder = self._remote.stat(claim["stage"]), self._remote.read(claim["stage"])
        if entry is None or holder is None or self._has_expired(entry):
            return False
        return bool(json.loads(holder)["token"] == claim["token"])

    def _own_stage(self, slug: str) -> Lease | None:
        with self._lock:
            held = [lease for key, lease in self._held.items() if key.startswith(f"{LEASES}stages/{slug}/")]
        return held[0] if held else None

    def _becomes_free(self, key: str, name: str) -> bool:
        """Wait until a lease is renewed (False) or expires (True)."""
        first = self._remote.stat(key)
        if first is None or self._remove_if_dead(key):
            return True
        print(f"waiting for {name}: another machine runs it, or died less than {self._lease_s:.0f} s ago", flush=True)
        while True:
            time.sleep(min(POLL_S, self.renewal_s))
            now = self._remote.stat(key)
            if now is None or self._remove_if_dead(key):
                return True
            if now.version != first.version:
                return False

    def _remove_if_dead(self, key: str) -> bool:
        """Remove a lease whose holder is dead, and say whether that was done; the caller has the local lock.

        Of all who find this lease dead one removes it: a second one would remove what the first has put there since.
        """
        entry = self._remote.stat(key)
        if entry is None or not (self._has_expired(entry) or self._is_of_this_machine(key)):
            return False
        version = entry.version.strip('"')
        permit = f"{LEASES}removed/{key.removeprefix(LEASES)}/{version}"
        if self._remote.write(permit, b"{}", once=True) is None:
            given = self._remote.stat(permit)
            if given is None or not self._has_expired(given):
                return False
        self._remote.remove([key])
        return True

    def _is_of_this_machine(self, key: str) -> bool:
        """Whether a process of this working copy holds or held it."""
        content = self._remote.read(key)
        return content is not None and bool(json.loads(content)["machine"] == self._machine)

    def _has_expired(self, entry: Entry) -> bool:
        return (datetime.now(UTC) - entry.modified).total_seconds() > self._lease_s

    @contextmanager
    def _holding(self, lease: Lease) -> Iterator[None]:
        """Renew a lease that was taken, and give it up at the end."""
        with self._lock:
            self._held[lease.key] = lease
            if self._renewer is None:
                self._renewer = threading.Thread(target=self._renew, daemon=True)
                self._renewer.start()
        try:
            yield
        finally:
            with self._renewing, self._lock:  # no renewal may follow the removal
                del self._held[lease.key]
            with suppress(StoreUnreachable, UserError):
                if self._is_own(lease):
                    self._remote.remove([lease.key])

    def _renew(self) -> None:
        while True:
            time.sleep(self.renewal_s)
            for key in list(self._held):
                # A store that is away for a while must not end the work; who took over a lease keeps it.
                with self._renewing, suppress(StoreUnreachable, UserError):
                    lease = self._held.get(key)
                    if lease is not None and self._is_own(lease):
                        self._remote.write(key, self._content(lease.token))

    def _is_own(self, lease: Lease) -> bool:
        content = self._remote.read(lease.key)
        return content is None or bool(json.loads(content)["token"] == lease.token)

    def _content(self, token: str) -> bytes:
        # The time makes every renewal another version.
        said = {
            "token": token,
            "machine": self._machine,
            "host": socket.gethostname(),
            "at": datetime.now(UTC).isoformat(),
        }
        return json.dumps(said).encode()

    def _token(self) -> str:
        return uuid.uuid4().hex


def lease_seconds() -> float:
    """After how many seconds without a sign of life a machine counts as dead."""
    text = os.environ.get(LEASE_VARIABLE) or str(LEASE_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise UserError(f"{LEASE_VARIABLE} must be a number of seconds above 0, got {text!r}.")
    return seconds
