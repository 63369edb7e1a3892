"""A file that is sent and is nowhere any more: its name is gone when the sending begins."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio
import anyio.to_thread
from fastapi import Response
from starlette.types import Receive, Scope, Send

CHUNK_BYTES = 256 * 1024
SENDING_S = 900.0
"""A client that takes longer is cut off: what it has not read still takes disk."""


class SentFile(Response):
    """Unlinks a file and sends what it held from the open descriptor; the disk is free when that is closed.

    ``ended`` is called once, whether all was sent, the client left, or it was too slow.
    """

    def __init__(self, path: Path, headers: Mapping[str, str], ended: Callable[[], None]) -> None:
        self._file = path.open("rb", buffering=0)
        path.unlink()
        size = os.fstat(self._file.fileno()).st_size
        super().__init__(headers={**headers, "Content-Length": str(size)})
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send in pieces; where not all is sent in time the connection is cut, which the client can tell by length."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            with anyio.move_on_after(SENDING_S):
                more = True
                while more:
                    piece = await anyio.to_thread.run_sync(self._file.read, CHUNK_BYTES)
                    more = bool(piece)
                    await send({"type": "http.response.body", "body": piece, "more_body": more})
        finally:
            self._file.close()
            self._ended()
