"""The FastAPI app that Airflow mounts at ``/selfexplore``."""

from __future__ import annotations

import logging

import duckdb
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.pages.reader import NotFound
from selfexplore_ui import console_api, control_api, pages_api, recipes_api, site
from selfexplore_ui.security import Guard, may_view, same_site

DESCRIPTION = """What Self-Explore's rounds did: experiments, problems, comparisons, SQL.

Log in as for Airflow's own API: a bearer token of `POST /auth/token`, or the session's cookie. Shares are 0 to 1, times
are seconds. An error is `{"detail": "one sentence"}`.
"""

log = logging.getLogger(__name__)


def create_app() -> FastAPI:
    """Make the app; it reads `$SELFEXPLORE_HOME` with the first request."""
    app = FastAPI(
        title="Self-Explore",
        version="1",
        description=DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.include_router(site.shell)
    viewing = [may_view]
    app.include_router(pages_api.router, prefix="/api", dependencies=viewing)
    app.include_router(recipes_api.router, prefix="/api", dependencies=viewing)
    app.include_router(console_api.router, prefix="/api", dependencies=viewing)
    app.include_router(control_api.router, prefix="/api", dependencies=[*viewing, same_site])
    app.include_router(site.router, dependencies=viewing)
    app.add_middleware(Guard)
    app.add_exception_handler(NotFound, _not_found)
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(duckdb.Error, _unreadable)
    app.add_exception_handler(Exception, _failed)
    return app


def _error(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, headers)


async def _not_found(_: Request, error: Exception) -> JSONResponse:
    return _error(404, str(error))


async def _user_error(_: Request, error: Exception) -> JSONResponse:
    return _error(400, str(error))


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    """One sentence about the first fault; what was sent is not repeated."""
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    first = faults[0] if faults else {"loc": (), "msg": "it cannot be read"}
    place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    return _error(422, f"{place[:200]}: {first['msg']}.")


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    known = error if isinstance(error, HTTPException) else HTTPException(500)
    return _error(known.status_code, str(known.detail), dict(known.headers or {}))


async def _unreadable(_: Request, error: Exception) -> JSONResponse:
    log.error("the store could not be read", exc_info=error)
    return _error(503, "The tables changed while they were read, or memory ran out: try again.")


async def _failed(_: Request, error: Exception) -> JSONResponse:
    log.error("a request failed", exc_info=error)
    return _error(500, "This failed; the api-server's log says why.")
