"""The page itself: one HTML shell, its static files, stored reports, and the description of the API."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

from selfexplore_tasks.pages.report import html_report, report_page
from selfexplore_ui import sources
from selfexplore_ui.pages_api import Slug
from selfexplore_ui.workers import PAGES

STATIC = FilePath(__file__).parent / "static"
REVALIDATED = {"cache-control": "no-cache"}
REPORT_CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
"""For whoever opens it in the browser all the same."""

HTML: dict[str, Any] = {"text/html": {"schema": {"type": "string"}}}

shell = APIRouter(include_in_schema=False)
reports = APIRouter(tags=["pages"])
router = APIRouter(include_in_schema=False)
files = StaticFiles(directory=STATIC, check_dir=False)


@shell.get("/")
async def index(request: Request) -> Response:
    """The shell; somebody who is not logged in is sent to Airflow's login and comes back."""
    credentials = await bearer_scheme(request)
    try:
        user = await get_user(request, None, credentials)
    except HTTPException:
        return RedirectResponse(get_auth_manager().get_url_login(next_url=str(request.url)))
    if not get_auth_manager().is_authorized_view(access_view=AccessView.PLUGINS, user=user):
        raise HTTPException(403, "Forbidden")
    return FileResponse(STATIC / "index.html", headers=REVALIDATED)


@router.get("/static/{path:path}")
async def static(path: str, request: Request) -> Response:
    """One static file, with its ETag."""
    if "\0" in path:
        raise HTTPException(404, "There is no such file.")
    response = await files.get_response(path, request.scope)
    response.headers.update(REVALIDATED)
    return response


@reports.get(
    "/report/{experiment}",
    status_code=200,
    response_class=Response,
    responses={200: {"description": "The report, a file to save that needs nothing else.", "content": HTML}},
)
@PAGES.file
def report(experiment: Slug) -> Response:
    """The report that the last finished round stored, as a file: it has scripts of its own, so it is not shown here.

    A fork, or an experiment of before there were reports, has none: it is made for this answer.
    """
    reader = sources.reader()
    path = reader.snapshot(experiment).store.report_file(experiment, "html")
    content = path.read_bytes() if path.is_file() else html_report(report_page(reader, experiment)).encode()
    saved = f'attachment; filename="{experiment}.html"'
    headers = {"content-security-policy": REPORT_CSP, "content-disposition": saved}
    return Response(content, media_type="text/html", headers=headers)


@router.get("/openapi.json")
async def openapi(request: Request) -> dict[str, Any]:
    """The API as OpenAPI."""
    described: dict[str, Any] = request.app.openapi()
    return {**described, "servers": [{"url": request.scope.get("root_path", "")}]}


@router.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def nothing(path: str) -> Response:
    """Whatever else: it, too, is told only to who is logged in."""
    raise HTTPException(404, "There is nothing at this address.")
