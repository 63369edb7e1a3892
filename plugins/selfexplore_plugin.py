"""Registers the Self-Explore page with Airflow: in the navigation, and as a tab of every round's Dag run.

Airflow loads every file of this folder in each of its processes, under its bare name; the page itself is in the package
`selfexplore_ui`, which ``.airflowignore`` hides from that, and is made in the api-server alone.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/selfexplore"
URL_ROUTE = "selfexplore"
ICON = f"{PREFIX}/static/icon.svg"
ICON_DARK = f"{PREFIX}/static/icon-dark.svg"


VIEWS: list[dict[str, Any]] = [
    {
        "name": "Self-Explore",
        "href": f"{PREFIX}/",
        "destination": "nav",
        "url_route": URL_ROUTE,
        "icon": ICON,
        "icon_dark_mode": ICON_DARK,
        "nav_top_level": True,
    },
    {
        "name": "Self-Explore",
        # Airflow fills in the Dag run's id; it shows the tab on the runs of every Dag.
        "href": f"{PREFIX}/?run={{RUN_ID}}",
        "destination": "dag_run",
        "url_route": f"{URL_ROUTE}-run",
        "icon": ICON,
        "icon_dark_mode": ICON_DARK,
    },
]


class SelfExplorePlugin(AirflowPlugin):
    """The page below ``/selfexplore``; every address of it needs a login (`selfexplore_ui.security`)."""

    name = "selfexplore"
    external_views = VIEWS

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Made when the api-server asks: every other process of Airflow loads this file too."""
        from selfexplore_ui.app import create_app

        return [{"app": create_app(), "url_prefix": PREFIX, "name": "Self-Explore"}]
