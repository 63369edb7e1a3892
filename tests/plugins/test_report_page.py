"""The report in a browser: opened from a file, it asks for nothing, shows its charts, and runs no text as a script."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from chromium import WIDTHS, Watch, overflow
from selfexplore_tasks.pages.model import ExperimentPage
from selfexplore_tasks.pages.reader import Reader
from selfexplore_tasks.pages.report import html_report, report_page
from selfexplore_tasks.store.home import Store

HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>{data}<!--"


@pytest.fixture(scope="module")
def page(finished_store: Store) -> ExperimentPage:
    return report_page(Reader(finished_store), "mini")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_file_needs_nothing_else(
    browser: Browser, page: ExperimentPage, tmp_path: Path, width: str, theme: str
) -> None:
    file = tmp_path / "report.html"
    file.write_text(html_report(page), encoding="utf-8")
    size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
    opened = browser.new_page(viewport=size, color_scheme="dark" if theme == "dark" else "light")
    watch = Watch(opened)
    opened.goto(file.as_uri())
    opened.wait_for_selector(".plot svg")
    figures = opened.locator("figure.chart").count()
    assert figures >= 6
    assert opened.locator(".plot svg[role=img][aria-label]").count() == figures
    assert opened.locator("html").get_attribute("data-theme") == theme
    assert (watch.faults, watch.requests, overflow(opened)) == ([], [file.as_uri()], 0)
    opened.screenshot(path=tmp_path / f"report-{width}-{theme}.png", full_page=True)
    opened.close()


def test_a_chart_shows_its_numbers_as_a_table(browser: Browser, page: ExperimentPage, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(html_report(page), encoding="utf-8")
    opened = browser.new_page()
    opened.goto(file.as_uri())
    chart = opened.locator("figure.chart").first
    button = chart.get_by_role("button", name="Show as table")
    button.click()
    points = [point for point in page.accuracy if (point.benchmark, point.split) == first_group(page)]
    assert chart.locator("tbody tr").count() == len(points)
    assert chart.locator("tbody tr td").nth(2).inner_text().startswith(f"{100 * points[0].accuracy:.1f}%")
    assert chart.get_by_role("button", name="Hide table").get_attribute("aria-expanded") == "true"
    opened.close()


def first_group(page: ExperimentPage) -> tuple[str, str]:
    return page.accuracy[0].benchmark, page.accuracy[0].split


def test_hostile_text_stays_text(browser: Browser, page: ExperimentPage, tmp_path: Path) -> None:
    row = page.experiment.model_copy(update={"experiment": HOSTILE, "recipe": HOSTILE, "stop_reason": HOSTILE})
    rounds = [one.model_copy(update={"decision_reason": HOSTILE, "alarms": [HOSTILE]}) for one in page.rounds]
    hostile = page.model_copy(update={"experiment": row, "rounds": rounds, "recipe": {HOSTILE: HOSTILE}})
    file = tmp_path / "report.html"
    file.write_text(html_report(hostile), encoding="utf-8")
    opened = browser.new_page()
    watch = Watch(opened)
    opened.goto(file.as_uri())
    opened.wait_for_selector(".plot svg")
    assert opened.evaluate("window.hacked") is None
    assert opened.locator("h1").inner_text() == HOSTILE
    assert opened.locator("img").count() == 0
    assert opened.title().startswith("</script><script>")
    assert (watch.faults, watch.requests) == ([], [file.as_uri()])
    opened.close()
