"""Links from a task to the page that shows what it made."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

# The plugin's page within Airflow's own frame: `/plugin/<url_route>/<address of the page>`.
PAGE = "/plugin/selfexplore/selfexplore/"


class ExperimentLink(BaseOperatorLink):
    """The experiment's page, found by the Dag run; the task leaves the address behind when it ends."""

    name = "Self-Explore"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        prefix = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
        return f"{prefix}{PAGE}?run={quote(ti_key.run_id, safe='')}"
