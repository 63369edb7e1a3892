"""The FastAPI app that Airflow mounts at ``/selfexplore``."""

from __future__ import annotations

import logging
from typing import Any

import duckdb
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.pages.snapshot import NotFound, Unreadable
from selfexplore_ui import console_api, control_api, me_api, pages_api, recipes_api, site
from selfexplore_ui.security import Guard, may_view, same_site

DESCRIPTION = """What Self-Explore's rounds did: experiments, problems, comparisons, SQL.

Log in as for Airflow's own API: a bearer token of `POST /auth/token`, or the session's cookie. Shares are 0 to 1, times
are seconds. An error is `{"detail": "one sentence"}`.
"""


class Refusal(BaseModel):
    """Why there is no answer, in one sentence."""

    detail: str


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal, "description": why}
    for status, why in {
        400: "What was asked for makes no sense; the sentence says why.",
        401: "Nobody is logged in.",
        403: "The user may not do this, or a POST comes from another site.",
        404: "There is no such experiment, round, problem or recipe.",
        409: "The experiment's state does not allow it.",
        422: "A parameter or the body is malformed.",
        503: "The experiment cannot be read now, or too many requests wait: try again.",
    }.items()
}
"""How the routes refuse, for the description of the API."""

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
    viewing, answers = [may_view], {status: REFUSALS[status] for status in REFUSALS if status != 409}
    for router in (me_api.router, pages_api.router, site.reports, recipes_api.router, console_api.router):
        app.include_router(router, prefix="/api", dependencies=viewing, responses=answers)
    app.include_router(control_api.router, prefix="/api", dependencies=[*viewing, same_site], responses=REFUSALS)
    app.include_router(site.router, dependencies=viewing)
    app.add_middleware(Guard)
    app.add_exception_handler(NotFound, _not_found)
    app.add_exception_handler(Unreadable, _unreadable)
    app.add_exception_handler(FileNotFoundError, _unreadable)
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
    said = isinstance(error, Unreadable)
    return _error(503, str(error) if said else "The store changed while it was read, or memory ran out: try again.")


async def _failed(_: Request, error: Exception) -> JSONResponse:
    log.error("a request failed", exc_info=error)
    return _error(500, "This failed; the api-server's log says why.")
