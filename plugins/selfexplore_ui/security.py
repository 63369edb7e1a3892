"""Who may do what, and what every answer says to the browser.

- Every address: Airflow's session cookie or token, and the right to view plugins (viewers have it).
- What changes something: also the right to start runs of ``selfexplore_round``.
- Every POST: its ``Origin`` must be this site's. Browsers send one with each POST, so a request without it is taken
  only where an explicit ``Authorization: Bearer`` token says that no browser added the credentials by itself.
- No body over 64 KiB, no query string over 8 KiB, no path over 2 KiB.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag, requires_access_view
from airflow.configuration import conf
from fastapi import Depends, HTTPException, Request

ROUND_DAG = "selfexplore_round"
MAX_BODY, MAX_QUERY, MAX_PATH = 65_536, 8_192, 2_048
CSP = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
HEADERS = {
    b"content-security-policy": CSP.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
"""On every answer that does not say otherwise."""

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

may_view = Depends(requires_access_view(AccessView.PLUGINS))
may_see_runs = Depends(requires_access_dag("GET", DagAccessEntity.RUN, ROUND_DAG))
may_change = Depends(requires_access_dag("POST", DagAccessEntity.RUN, ROUND_DAG))


def user_name(user: GetUserDep) -> str:
    """The name under which a person's decisions stay on record."""
    return str(user.get_name())


UserName = Annotated[str, Depends(user_name)]


def check_origin(request: Request) -> None:
    """Raise 403 unless the request comes from this site, or shows a token of its own."""
    origin = request.headers.get("origin")
    if origin is None:
        if request.headers.get("authorization", "").lower().startswith("bearer "):
            return
        raise HTTPException(403, "This request says no Origin: send one, or a bearer token.")
    if origin not in {_origin(str(request.base_url)), _origin(conf.get("api", "base_url", fallback=""))}:
        raise HTTPException(
            403,
            "This request comes from another site. If it does not, a proxy hides this site's address: "
            "set `[api] base_url` to the one people use.",
        )


same_site = Depends(check_origin)


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


class Guard:
    """ASGI middleware: bounds what comes in, and puts the headers on what goes out."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(item for item in HEADERS.items() if item[0] not in given)]
            await send(message)

        if len(scope["query_string"]) > MAX_QUERY or len(scope["path"]) > MAX_PATH:
            await _refuse(send_with_headers, 414, b"The address is too long.")
        elif _declared_length(scope) > MAX_BODY:
            await _refuse(send_with_headers, 413, b"The request is larger than 64 KiB.")
        else:
            await self._app(scope, _bounded(receive), send_with_headers)


def _declared_length(scope: Scope) -> int:
    text = dict(scope["headers"]).get(b"content-length", b"0")
    return int(text) if text.isdigit() else 0


def _bounded(receive: Receive) -> Receive:
    """Count the bytes of a body whose length nobody declared."""
    seen = 0

    async def receive_some() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MAX_BODY:
            raise HTTPException(413, "The request is larger than 64 KiB.")
        return message

    return receive_some


async def _refuse(send: Send, status: int, detail: bytes) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"detail": "' + detail + b'"}'})
