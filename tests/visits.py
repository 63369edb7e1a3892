"""Visits of the page in a real Airflow, by a browser that is logged in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import BrowserContext, Page

from selfexplore_tasks.cli import main
from selfexplore_tasks.local_airflow import USER, LocalAirflow
from selfexplore_tasks.store.home import Store

SHOTS = Path(__file__).parents[1] / ".run" / "screenshots"
PATIENCE_MS = 60_000  # for a page, on a busy machine
HOSTILE = '<img src=x onerror="window.hacked=1"></div><script>window.hacked=2</script>'
TEXTS = 25  # rationales of a problem of the hostile experiment, the last of them right: more than are shown at first


@dataclass(frozen=True)
class Visit:
    """A browser that is logged in, and the Airflow and store that it looks at."""

    airflow: LocalAirflow
    store: Store
    context: BrowserContext

    @property
    def address(self) -> str:
        return f"{self.airflow.address}/selfexplore/"

    def open(self, hash_: str) -> Page:
        """A new tab with a view of the page, outside Airflow's frame."""
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{self.address}{hash_}")
        page.wait_for_selector("main:not([aria-busy]) h1")
        return page


def bring_hostile_experiment(folder: Path, recipe: Path) -> None:
    """Experiment ``hostile``: problems and rationales that try to leave the page, brought as a user's files."""
    problems = [{"question": f"{HOSTILE} {index}?", "answer": "4", "rationale": "2+2=4"} for index in range(30)]
    (folder / "problems.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in problems), encoding="utf-8")
    wrong = [f"First {HOSTILE}\nThe answer is {number}" for number in range(5, 4 + TEXTS)]
    texts = [*wrong, f"Well {HOSTILE}\nThe answer is 4"]
    rows = [{"question": row["question"], "gold": "4", "texts": texts} for row in problems]
    (folder / "rationales.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    counts = ["problems.train_count=20", "problems.dev_count=5", "problems.test_count=5", "problems.rationale_count=5"]
    settings = [f"problems.train.path={folder / 'problems.jsonl'}", f"description={HOSTILE}", *counts]
    arguments = ["import", "rationales", str(folder / "rationales.jsonl"), "--experiment", "hostile"]
    changes = [word for setting in settings for word in ("--set", setting)]
    assert main([*arguments, "--recipe", str(recipe), *changes, "--set", "rft.first_round=skip"]) == 0


def log_in(context: BrowserContext, airflow: LocalAirflow, user: str = USER) -> None:
    """Through Airflow's own form."""
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(airflow.address)
    page.fill("input[name=username]", user)
    page.fill("input[name=password]", user)  # dev_server gives every user its name as password
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Dags").first.wait_for()
    page.close()


def shot(page: Page, name: str) -> None:
    """Keep a screenshot of the whole page."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
