"""A server on 127.0.0.1 that speaks as much of the Hub's protocol as an upload needs."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_a-token-of-this-test"


@contextmanager
def local_hub() -> Iterator[Any]:
    """Serve; what was sent is in the server's ``created``, ``messages`` and ``files``."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.endpoint = f"http://127.0.0.1:{server.server_port}"
    server.seen, server.created, server.messages, server.large, server.files = [], [], [], {}, {}
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Hub(BaseHTTPRequestHandler):
    """Repositories, git files in the commit, large files by LFS; only `TOKEN` is let in."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        server: Any = self.server
        server.seen.append(self.path)
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            self._answer({"error": "Invalid credentials"}, 401)
        elif self.path == "/api/repos/create":
            server.created.append(json.loads(body))
            self._answer({"url": f"{server.endpoint}/me/mine"})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [
                {"path": one["path"], "uploadMode": self._mode(one["path"]), "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif self.path.endswith("/info/lfs/objects/batch"):
            self._answer({"transfer": "basic", "objects": [self._action(one) for one in json.loads(body)["objects"]]})
        else:
            self._commit([json.loads(line) for line in body.splitlines()])

    def do_PUT(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["content-length"]))
        server.large[hashlib.sha256(body).hexdigest()] = body
        self._answer({})

    def log_message(self, *arguments: Any) -> None:
        pass

    @staticmethod
    def _mode(path: str) -> str:
        return "lfs" if path.endswith(".safetensors") else "regular"

    def _action(self, one: dict[str, Any]) -> dict[str, Any]:
        server: Any = self.server
        upload = {"upload": {"href": f"{server.endpoint}/large/{one['oid']}", "header": {}}}
        return one if one["oid"] in server.large else {**one, "actions": upload}

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        server: Any = self.server
        values = [line["value"] for line in lines]
        server.messages.append(values[0]["summary"])
        for line, value in zip(lines[1:], values[1:], strict=True):
            is_large = line["key"] == "lfsFile"
            content = server.large[value["oid"]] if is_large else base64.b64decode(value["content"])
            server.files[value["path"]] = content
        self._answer({"commitUrl": f"{server.endpoint}/me/mine/commit/1", "commitOid": "1"})

    def _answer(self, content: dict[str, Any], status: int = 200) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
