"""What the user may do here, so that the page offers nothing that would be refused."""

from __future__ import annotations

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel

from selfexplore_ui.security import may_change, user_name

router = APIRouter(tags=["pages"])


class Me(BaseModel):
    """The user's name, and whether `may_change` lets them start, pause, resume, cancel and fork."""

    name: str
    may_change: bool


@router.get("/me")
def me(request: Request, user: GetUserDep) -> Me:
    """Who asks, and whether they may change anything."""
    try:
        may_change.dependency(request, user)
    except HTTPException:
        return Me(name=user_name(user), may_change=False)
    return Me(name=user_name(user), may_change=True)
