"""The page in a real Airflow, over a real finished experiment, used as a person would use it.

Screenshots of every view at both widths and in both themes are kept in ``.run/screenshots``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import FrameLocator, Page, expect

from chromium import WIDTHS, Watch, overflow
from selfexplore_tasks.report import score_rows
from visits import PATIENCE_MS, TEXTS, Visit, shot

ROUND_MS = 400_000  # for the stages of a round 0
VIEWS = {
    "experiments": "#/",
    "start": "#/start",
    "experiment": "#/experiment/mini",
    "problems": "#/problems/mini?round=1&split=train",
    "compare": "#/compare?left=mini:0&right=mini:1",
    "sql": "#/sql?q=select%20*%20from%20scores&run=1",
}
SMALL_ROUND = {
    "problems.train_count": "60",
    "problems.dev_count": "20",
    "problems.test_count": "20",
    "problems.rationale_count": "40",
    "sft.max_steps": "30",
    "engine.kind": "transformers",
}
"""Further fields of the start form that make round 0 of `arithmetic-tiny` as short as it can be."""


@pytest.fixture
def in_airflow(visit: Visit) -> Iterator[Callable[..., tuple[Page, FrameLocator]]]:
    """Opens the page as users do: by its name in Airflow's navigation, at a width."""
    opened: list[Page] = []

    def open_(width: str = "wide") -> tuple[Page, FrameLocator]:
        page = visit.context.new_page()
        opened.append(page)
        page.set_default_timeout(PATIENCE_MS)
        page.set_viewport_size(dict(zip(("width", "height"), WIDTHS[width], strict=True)))
        page.goto(visit.airflow.address)
        page.get_by_role("link", name="Self-Explore").first.click()
        frame = page.frame_locator("iframe")
        frame.get_by_role("heading", name="Experiments").wait_for()
        return page, frame

    yield open_
    for page in opened:
        page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_fits_and_runs_without_a_fault(visit: Visit, view: str, width: str, theme: str) -> None:
    page = visit.context.new_page()
    page.add_init_script(f"try {{ localStorage.setItem('theme', '{theme}') }} catch {{}}")
    page.set_viewport_size(dict(zip(("width", "height"), WIDTHS[width], strict=True)))
    watch = Watch(page)
    page.goto(f"{visit.address}{VIEWS[view]}")
    page.wait_for_selector("main:not([aria-busy]) h1", timeout=PATIENCE_MS)
    page.wait_for_load_state("networkidle")
    shot(page, f"{view}-{width}-{theme}")
    assert page.locator("html").get_attribute("data-theme") == theme
    assert overflow(page) == 0
    assert watch.faults == []
    assert {url for url in watch.requests if not url.startswith((visit.airflow.address, "data:"))} == set()
    page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_airflow_s_address_bar_keeps_step_and_back_works(
    in_airflow: Callable[..., tuple[Page, FrameLocator]], visit: Visit, width: str
) -> None:
    page, frame = in_airflow(width)
    frame.get_by_role("link", name="mini", exact=True).click()
    expect(frame.locator("h1")).to_contain_text("mini")
    page.wait_for_url("**/plugin/*/selfexplore/#/experiment/mini")
    frame.locator(".plot svg").first.wait_for()
    shot(page, f"airflow-experiment-{width}")
    address = page.url
    page.go_back()
    expect(frame.locator("h1")).to_have_text("Experiments")
    page.goto("about:blank")
    page.goto(address)
    expect(frame.locator("h1")).to_contain_text("mini")


def test_the_theme_follows_airflow_s(in_airflow: Callable[..., tuple[Page, FrameLocator]]) -> None:
    page, frame = in_airflow()
    for theme in ("dark", "light"):
        page.evaluate(f"localStorage.setItem('theme', '{theme}')")
        expect(frame.locator("html")).to_have_attribute("data-theme", theme)


def test_a_number_leads_to_its_completions(visit: Visit) -> None:
    page = visit.open("#/experiment/mini")
    page.get_by_role("link", name="1", exact=True).first.click()
    expect(page.locator("main")).to_contain_text("Problems as round 1 saw them")
    page.get_by_label("Split").select_option("train")
    page.wait_for_url("**split=train**")
    page.wait_for_selector("main:not([aria-busy]) tbody a")
    page.get_by_label("First pit at step").fill("1")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**pit_step=1**")
    page.wait_for_selector("main:not([aria-busy]) tbody a")
    page.locator("tbody a").first.click()
    expect(page.locator(".step.pit").first).to_contain_text("first pit")
    pass_text = page.locator(".step.pit .step-pass").first.inner_text()
    drawn = int(pass_text.split(" of ")[1].split()[0])
    assert pass_text == f"0 of {drawn} reach the answer"
    page.locator(".step.pit details").first.locator("summary").click()
    expect(page.locator(".step.pit").first.locator(".rollouts li")).to_have_count(drawn)
    assert page.locator("article .diff del, article .diff ins").count() > 0
    shot(page, "problem-wide")
    page.set_viewport_size({"width": 390, "height": 844})
    shot(page, "problem-narrow")
    assert overflow(page) == 0
    page.close()


def test_a_query_gives_a_table_a_chart_and_a_file(visit: Visit) -> None:
    page = visit.open("#/sql")
    query = "select model_id, split, accuracy from scores where experiment = 'mini' order by all"
    page.get_by_label("SQL query").fill(query)
    page.keyboard.press("Control+Enter")
    scores = sorted((row["model_id"], row["split"], row["accuracy"]) for row in score_rows(visit.store, ["mini"]))
    expect(page.locator(".result-table tbody tr")).to_have_count(len(scores))
    cells = page.locator(".result-table tbody tr").first.locator("td").all_inner_texts()
    assert cells == [str(value) for value in scores[0]]
    page.locator("summary", has_text="Chart").click()
    page.locator("#sql-output .plot svg").wait_for()
    with page.expect_download() as started:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(started.value.path()).read_text(encoding="utf-8"))))
    assert [(row["model_id"], row["split"], float(row["accuracy"])) for row in rows] == scores
    shot(page, "sql-result")
    reloaded = visit.open(page.url.removeprefix(visit.address))
    expect(reloaded.locator(".result-table tbody tr")).to_have_count(len(scores))
    for one in (page, reloaded):
        one.close()


def test_a_wrong_query_shows_where_it_is_wrong(visit: Visit) -> None:
    page = visit.open("#/sql")
    page.get_by_label("SQL query").fill("select round,\n  acuracy from scores")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("button", name="Go to line 2, column 3").click()
    assert page.evaluate("[document.activeElement.id, document.activeElement.selectionStart]") == ["sql-text", 16]
    shot(page, "sql-error")
    page.close()


def test_ten_thousand_rows_do_not_hang_the_page(visit: Visit) -> None:
    page = visit.open("#/sql")
    page.get_by_label("SQL query").fill("select range as n, repeat('word ', 20) as text from range(10000)")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator(".pager").first).to_contain_text("1 to 100 of 10,000")
    page.locator("th button", has_text="n").first.click()
    page.locator("th button", has_text="n").first.click()
    expect(page.locator(".result-table tbody td").first).to_have_text("9999")
    assert page.locator("th").first.get_attribute("aria-sort") == "descending"
    page.close()


def test_the_editor_can_be_left_by_keyboard(visit: Visit) -> None:
    page = visit.open("#/sql")
    page.get_by_label("SQL query").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "sql-text"
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "sql-run"
    page.close()


def test_what_a_model_wrote_stays_text(visit: Visit) -> None:
    page = visit.open("#/problems/hostile?split=train")
    link = page.locator("tbody tr", has_text=f"1 of {TEXTS}").first.locator("a")
    assert link.inner_text().startswith("<img src=x")
    link.click()
    page.locator(".steps").first.wait_for()
    assert "<script>window.hacked=2</script>" in page.locator(".steps").first.inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main script").count() == 0
    page.close()


def test_a_recipe_is_checked_while_it_is_typed(visit: Visit) -> None:
    page = visit.open("#/start?recipe=arithmetic-tiny")
    page.get_by_role("button", name="Add a field").click()
    page.get_by_label("Field", exact=True).fill("dpo.beta")
    expect(page.locator(".override .hint")).to_contain_text("Strength of the pull towards the reference model")
    page.get_by_label("Value").fill("-1")
    expect(page.locator(".field-error").last).to_contain_text("dpo.beta must be a number")
    page.get_by_label("Value").fill("0.5")
    expect(page.locator("#start-check")).to_have_text("The recipe is valid.")
    page.close()


def test_compared_rounds_lead_to_the_problems_that_flipped(visit: Visit) -> None:
    page = visit.open("#/compare")
    page.get_by_label("Left").select_option("mini:0")
    page.get_by_label("Right").select_option("mini:1")
    page.get_by_role("button", name="Compare").click()
    page.wait_for_selector("main .plot svg")
    page.locator("tbody a").first.click()
    expect(page.locator("h2").first).to_have_text("How each model answered")
    page.close()


@pytest.mark.slow
def test_a_round_is_started_followed_and_cancelled(
    in_airflow: Callable[..., tuple[Page, FrameLocator]], visit: Visit
) -> None:
    page, frame = in_airflow()
    frame.get_by_role("link", name="Start an experiment").click()
    frame.get_by_label("Experiment", exact=True).fill("from-the-page")
    frame.get_by_label("Recipe").select_option("arithmetic-tiny")
    frame.get_by_label("Shards").fill("1")
    for number, (path, value) in enumerate(SMALL_ROUND.items()):
        frame.get_by_role("button", name="Add a field").click()
        frame.get_by_label("Field", exact=True).nth(number).fill(path)
        frame.get_by_label("Value").nth(number).fill(value)
    expect(frame.locator("#start-check")).to_have_text("The recipe is valid.")
    shot(page, "start-filled")
    frame.get_by_role("button", name="Start", exact=True).click()
    row = frame.get_by_role("row").filter(has_text="from-the-page")
    expect(row).to_contain_text("running", timeout=ROUND_MS)
    expect(row.locator("progress").first).to_be_visible(timeout=ROUND_MS)
    shot(page, "experiments-running")
    expect(row).to_contain_text("0/sft", timeout=ROUND_MS)
    row.get_by_role("button", name="Cancel from-the-page").click()
    frame.get_by_label("Why (stays on record)").fill("seen enough")
    frame.get_by_role("button", name="Cancel the experiment").click()
    expect(row).to_contain_text("cancelled")
    assert json.loads(visit.store.control_file("from-the-page").read_text(encoding="utf-8"))["why"] == "seen enough"
    shot(page, "experiments-cancelled")
    [run] = page.evaluate("fetch('/api/v2/dags/selfexplore_round/dagRuns').then((answer) => answer.json())")["dag_runs"]
    of_run = visit.open(f"?run={quote(run['dag_run_id'])}")
    expect(of_run.locator("h1")).to_contain_text("from-the-page")
    of_run.close()
