"""The object store itself, through fsspec: a handful of calls, each tried again while nobody answers."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.failures import FULL

PATIENCE_VARIABLE = "SELFEXPLORE_STORE_TIMEOUT_S"
PATIENCE_S = 120.0
LONGEST_ANSWER_S, SHORTEST_ANSWER_S = 20.0, 1.0
"""How long one request may wait for an answer: a quarter of the patience, within these."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
AT_ONCE_BYTES = 32 * 2**20
"""Larger files are sent in pieces."""
AT_ONCE_KEYS = 1000
SECRETS = {"key": "AWS_ACCESS_KEY_ID", "secret": "AWS_SECRET_ACCESS_KEY", "token": "AWS_SESSION_TOKEN"}
INSTALL = "pip install 'selfexplore-airflow[s3]'"

Answer = TypeVar("Answer")


class StoreUnreachable(ConnectionError):
    """The object store gave no answer for as long as the deployment is willing to wait."""


@dataclass(frozen=True)
class Entry:
    """An object: ``version`` changes whenever its content does, ``modified`` is by the server's clock."""

    version: str
    size: int
    modified: datetime


class Remote:
    """The objects below a URL ``s3://bucket/prefix``, by their keys relative to it.

    Raises:
        UserError: no such bucket, refused credentials, no s3fs, or a URL that is none of S3.
        StoreUnreachable: no answer for ``SELFEXPLORE_STORE_TIMEOUT_S`` seconds (default 120).
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._base = url.split("://", 1)[1].rstrip("/")
        self._patience_s = _patience()

    @cached_property
    def _fs(self) -> Any:
        try:
            import fsspec
            import s3fs  # noqa: F401
            from aiobotocore.session import get_session
            from botocore.handlers import add_expect_header
        except ImportError as error:
            raise UserError(f"The store {self.url} needs the package s3fs: {INSTALL}.") from error
        answer_s = min(LONGEST_ANSWER_S, max(SHORTEST_ANSWER_S, self._patience_s / 4))
        session = get_session()
        # For the server's answer to "Expect: 100-continue" aiohttp waits without any time-out.
        session.unregister("before-call.s3", add_expect_header)
        made = fsspec.filesystem(
            "s3",
            use_listings_cache=False,
            skip_instance_cache=True,
            session=session,
            config_kwargs={
                "connect_timeout": answer_s,
                "read_timeout": answer_s,
                "retries": {"total_max_attempts": 1},
            },
            **_secrets_in_files(os.environ),
        )
        made.retries = 1  # `_ask` is the one that tries again
        return made

    @contextmanager
    def impatient(self, patience_s: float) -> Iterator[None]:
        """Give up sooner meanwhile."""
        usual, self._patience_s = self._patience_s, min(patience_s, self._patience_s)
        try:
            yield
        finally:
            self._patience_s = usual

    def list(self, folder: str, prefix: str = "") -> dict[str, Entry]:
        """Every object below a folder, at any depth, whose name begins with ``prefix``."""
        start = f"{folder.rstrip('/')}/{prefix}"
        found = self._ask(lambda: self._fs.find(self._base, detail=True, prefix=start), missing_is_bucket=True)
        return {name[len(self._base) + 1 :]: _entry(info) for name, info in found.items()}

    def stat(self, key: str) -> Entry | None:
        """What is known of an object; None if there is none."""
        found = self._ask(lambda: _or_none(lambda: self._fs.info(self._path(key))))
        return None if found is None or found["type"] != "file" else _entry(found)

    def read(self, key: str) -> bytes | None:
        """The bytes of a small object; None if there is none."""
        return self._ask(lambda: _or_none(lambda: self._fs.cat_file(self._path(key))))

    def download(self, key: str, target: Path) -> bool:
        """Write an object to a file; returns whether there was one."""

        def get() -> bool:
            self._fs.get_file(self._path(key), str(target))
            return True

        return bool(self._ask(lambda: _or_none(get)))

    def write(self, key: str, content: bytes, *, once: bool = False) -> str | None:
        """Put an object and return its version; with ``once`` None, and nothing is put, where there is one already."""
        mode = "create" if once else "overwrite"

        def put() -> str | None:
            try:
                return str(self._fs.pipe_file(self._path(key), content, mode=mode, chunksize=2**32)["ETag"])
            except FileExistsError:
                return None

        return self._ask(put, missing_is_bucket=True)

    def upload(self, key: str, source: Path, *, once: bool = False) -> str | None:
        """`write` for the content of a file of any size."""
        if source.stat().st_size < AT_ONCE_BYTES:
            return self.write(key, source.read_bytes(), once=once)
        mode = "create" if once else "overwrite"

        def put() -> bool:
            try:
                self._fs.put_file(str(source), self._path(key), mode=mode, chunksize=AT_ONCE_BYTES // 2)
            except FileExistsError:
                return False
            return True

        if not self._ask(put, missing_is_bucket=True):
            return None
        put_now = self.stat(key)
        return put_now.version if put_now else None

    def copy(self, source: str, target: str) -> None:
        """Copy an object within the store; raises FileNotFoundError if there is none."""
        self._ask(lambda: self._fs.cp_file(self._path(source), self._path(target)))

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; one that is gone already is fine."""
        paths = [self._path(key) for key in keys]
        for start in range(0, len(paths), AT_ONCE_KEYS):
            self._ask(partial(self._remove, paths[start : start + AT_ONCE_KEYS]))

    def _remove(self, paths: Sequence[str]) -> None:
        if len(paths) == 1:
            self._fs.rm_file(paths[0])
            return
        bucket = self._base.split("/")[0]
        objects = [{"Key": path[len(bucket) + 1 :]} for path in paths]
        answer = self._fs.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        if answer.get("Errors"):
            raise OSError(f"{len(answer['Errors'])} objects could not be removed: {answer['Errors'][0].get('Message')}")

    def _path(self, key: str) -> str:
        return f"{self._base}/{key}".rstrip("/")

    def _ask(self, call: Callable[[], Answer], *, missing_is_bucket: bool = False) -> Answer:
        """Make a call until it is answered, with growing pauses; what cannot change by waiting is raised at once."""
        give_up, pause = time.monotonic() + self._patience_s, FIRST_PAUSE_S
        while True:
            try:
                return call()
            except PermissionError as error:
                raise UserError(self._refused(error)) from error
            except FileNotFoundError as error:
                if missing_is_bucket:
                    bucket = self._base.split("/")[0]
                    raise UserError(f"The store {self.url} is not there: make the bucket {bucket!r} first.") from error
                raise
            except Exception as error:
                if _is_missing_credentials(error):
                    raise UserError(self._refused(error)) from error
                if not _may_pass(error):
                    raise
                if time.monotonic() + pause > give_up:
                    raise StoreUnreachable(f"the store {self.url} does not answer: {_first_line(error)}") from error
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _refused(self, error: Exception) -> str:
        return (
            f"The store {self.url} refuses access ({_first_line(error)}): check AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL, and that they may list, read, write and delete there."
        )


def _patience() -> float:
    text = os.environ.get(PATIENCE_VARIABLE) or str(PATIENCE_S)
    try:
        return max(0.0, float(text))
    except ValueError as error:
        raise UserError(f"{PATIENCE_VARIABLE} must be a number of seconds, got {text!r}.") from error


def _secrets_in_files(environment: Mapping[str, str]) -> dict[str, str]:
    """Credentials from the files that ``AWS_…_FILE`` name and that are not empty; the AWS library finds all others."""
    found = {}
    for argument, variable in SECRETS.items():
        path = environment.get(f"{variable}_FILE")
        if path:
            try:
                found[argument] = Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise UserError(f"{variable}_FILE names {path}, which cannot be read.") from error
    return {argument: secret for argument, secret in found.items() if secret}


def _entry(info: Mapping[str, Any]) -> Entry:
    return Entry(str(info["ETag"]), int(info["size"]), info["LastModified"])


def _or_none(call: Callable[[], Answer]) -> Answer | None:
    try:
        return call()
    except FileNotFoundError:
        return None


def _is_missing_credentials(error: Exception) -> bool:
    return type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError")


def _may_pass(error: Exception) -> bool:
    """Whether another try may go better: the network's or the server's trouble, not a full disk here, no bug."""
    if isinstance(error, OSError):
        return error.errno not in FULL and not isinstance(error, FileExistsError | IsADirectoryError)
    return type(error).__module__.split(".")[0] in ("botocore", "aiobotocore", "aiohttp", "fsspec", "asyncio")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
