"""What the page does when something goes wrong, is missing, or changes while one looks at it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from selfexplore_tasks.store.forks import fork_experiment
from selfexplore_tasks.store.manifests import Manifest, write_manifest
from visits import PATIENCE_MS, TEXTS, Visit, log_in, shot

NEXT_LOOK_MS = 16_000  # after which an open page has looked again


@pytest.fixture
def page(visit: Visit) -> Iterator[Page]:
    """A tab whose clock is moved by hand."""
    tab = visit.context.new_page()
    tab.clock.install()
    tab.set_default_timeout(PATIENCE_MS)
    yield tab
    tab.close()


def show(page: Page, visit: Visit, address: str) -> None:
    page.goto(f"{visit.address}{address}")
    page.wait_for_selector("main:not([aria-busy]) h1")


@contextmanager
def offline(context: BrowserContext) -> Iterator[None]:
    context.set_offline(True)
    try:
        yield
    finally:
        context.set_offline(False)


def test_an_unreadable_experiment_hides_no_other(page: Page, visit: Visit) -> None:
    file = visit.store.experiment_file("broken")
    file.write_text('{"slug": "broken", ', encoding="utf-8")
    try:
        show(page, visit, "#/")
        row = page.get_by_role("row").filter(has_text="broken")
        expect(row).to_contain_text("unreadable")
        expect(row.locator("summary")).to_have_text("What to do")
        assert len(row.locator(".cell-more").inner_text()) > 20
        assert row.get_by_role("button").count() == 0
        assert row.get_by_role("link").count() == 0
        shot(page, "experiments-unreadable")
        page.get_by_role("link", name="mini", exact=True).click()
        expect(page.locator("h1")).to_contain_text("mini")
    finally:
        file.unlink()


def test_an_open_experiment_follows_what_happens_to_it(page: Page, visit: Visit) -> None:
    fork_experiment(visit.store, "hand", 0, "watched")
    show(page, visit, "#/experiment/watched")
    rounds = page.locator("#round-shown option")
    expect(rounds).to_have_text(["Round 0"])
    now = "2026-01-01T00:00:00+00:00"
    write_manifest(
        visit.store, Manifest("watched", 1, "sample", "h", 0, now, now, 1.0, 0, {}, {}, {"model_id": "0/sft"})
    )
    page.clock.run_for(NEXT_LOOK_MS)
    expect(rounds).to_have_text(["Round 0", "Round 1"])
    trouble = page.locator("#experiment-trouble")
    with offline(visit.context):
        page.clock.run_for(NEXT_LOOK_MS)
        expect(trouble).to_contain_text("Airflow does not answer")
    page.clock.run_for(NEXT_LOOK_MS)
    expect(trouble).to_have_text("")
    visit.store.experiment_file("watched").unlink()
    page.clock.run_for(NEXT_LOOK_MS)
    expect(trouble).to_contain_text("It is not looked at again")
    shot(page, "experiment-gone")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(4 * NEXT_LOOK_MS)
    assert [url for url in asked if "watched" in url] == []


def test_the_round_that_is_shown_has_an_address(page: Page, visit: Visit) -> None:
    show(page, visit, "#/experiment/mini")
    select = page.locator("#round-shown")
    expect(select).to_have_value("1")
    select.select_option("0")
    page.wait_for_url("**#/experiment/mini?round=0")
    page.reload()
    expect(select).to_have_value("0")
    page.go_back()
    expect(select).to_have_value("1")


def test_the_gate_s_interval_says_its_level(page: Page, visit: Visit) -> None:
    show(page, visit, "#/experiment/mini")
    decisions = page.get_by_role("table", name="What the gate decided after each round")
    level = page.evaluate("fetch('api/experiments/mini').then((answer) => answer.json())")["rounds"][1]["gain_level"]
    expect(decisions.get_by_role("row").nth(2)).to_contain_text(f"({100 * level:.4g}%)")
    expect(page.locator(".facts")).to_contain_text(f"a {100 * level:.4g}% interval")
    expect(page.get_by_text("not always 95%")).to_be_visible()
    show(page, visit, "#/")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="mini", exact=True))
    expect(row).to_contain_text(f"{100 * level:.4g}% interval")


def test_more_rationales_come_in_place(page: Page, visit: Visit) -> None:
    show(page, visit, "#/problems/hostile?split=train")
    page.locator("tbody tr", has_text=f"1 of {TEXTS}").first.locator("a").click()
    heading, cards = page.locator("#problem-rationales h3"), page.locator("#problem-rationales article")
    expect(heading).to_have_text(f"Round 1: 1 of {TEXTS} right, showing 20 of {TEXTS}")
    with offline(visit.context):
        page.get_by_role("button", name="Show up to 50 a round").click()
        expect(page.locator("#problem-rationales .field-error")).to_contain_text("Airflow does not answer")
    expect(cards).to_have_count(20)
    page.get_by_role("button", name="Show up to 50 a round").click()
    expect(cards).to_have_count(TEXTS)
    expect(heading).to_have_text(f"Round 1: 1 of {TEXTS} right")
    page.wait_for_url("**?limit=50")
    assert page.get_by_role("button", name="Show up to").count() == 0


def test_a_query_over_a_deleted_experiment_does_not_run(page: Page, visit: Visit) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    show(page, visit, "#/sql?q=select%201&experiment=deleted&run=1")
    expect(page.locator("#sql-output")).to_contain_text("There is no experiment deleted")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("button", name="Download CSV").click()
    assert asked == []
    page.get_by_label("over").select_option("mini")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator(".result-table tbody td")).to_have_text("1")


def test_a_cut_download_is_a_clear_warning(page: Page, visit: Visit) -> None:
    def cut(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers={**answer.headers, "X-Selfexplore-Cut": "1234567"})

    page.route("**/api/sql/download", cut)
    show(page, visit, "#/sql")
    with page.expect_download():
        page.get_by_role("button", name="Download CSV").click()
    expect(page.locator("#sql-output .notice-warning")).to_contain_text("only the first 1,234,567 rows")
    shot(page, "sql-cut")


def test_internal_views_are_folded_away(page: Page, visit: Visit) -> None:
    show(page, visit, "#/sql")
    internal = page.get_by_text("int_", exact=False)
    assert internal.count() > 0
    expect(internal.first).not_to_be_visible()
    page.get_by_text("Steps between").click()
    expect(internal.first).to_be_visible()
    expect(page.get_by_text("They may change")).to_be_visible()


def test_a_late_answer_about_an_older_draft_counts_for_nothing(page: Page, visit: Visit) -> None:
    held: list[Route] = []
    triggered: list[str] = []
    page.on("request", lambda request: triggered.append(request.url) if "dagRuns" in request.url else None)

    def hold_wrong(route: Route) -> None:
        draft: dict[str, Any] = json.loads(route.request.post_data or "{}")
        if draft["overrides"].get("shards") == 0:
            held.append(route)
        else:
            route.continue_()

    page.route("**/api/recipes/check", hold_wrong)
    show(page, visit, "#/start")
    page.get_by_label("Experiment", exact=True).fill("late")
    page.get_by_role("button", name="Add a field").click()
    page.get_by_label("Field", exact=True).fill("shards")
    with page.expect_request("**/api/recipes/check"):
        page.get_by_label("Value").fill("0")
        page.clock.run_for(1_000)
    page.get_by_label("Value").fill("2")
    page.clock.run_for(1_000)
    expect(page.locator("#start-check")).to_have_text("The recipe is valid.")
    with page.expect_response("**/api/recipes/check"):
        held.pop().continue_()
    expect(page.locator("#start-check")).to_have_text("The recipe is valid.")
    expect(page.locator(".field-error")).to_have_text("")

    page.unroute("**/api/recipes/check")
    page.get_by_label("Value").fill("0")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator(".field-error")).to_contain_text("shards")
    assert triggered == []


def test_a_viewer_is_offered_nothing_that_would_be_refused(visit: Visit, browser: Any) -> None:
    context = browser.new_context()
    log_in(context, visit.airflow, "viewer")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    show(page, visit, "#/")
    expect(page.get_by_role("link", name="mini", exact=True)).to_be_visible()
    assert page.get_by_role("button", name="Fork").count() == 0
    assert page.get_by_role("link", name="Start an experiment").count() == 0
    shot(page, "experiments-viewer")
    show(page, visit, "#/experiment/mini")
    assert page.get_by_role("button", name="Fork").count() == 0
    show(page, visit, "#/start")
    expect(page.get_by_text("To start one takes the right")).to_be_visible()
    expect(page.get_by_role("button", name="Start", exact=True)).not_to_be_visible()
    context.close()


def test_focus_moved_by_script_draws_no_frame_round_the_page(page: Page, visit: Visit) -> None:
    show(page, visit, "#/")
    page.get_by_role("link", name="mini", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("mini")
    outline = "[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]"
    assert page.evaluate(outline) == ["MAIN", "none"]
    page.keyboard.press("Tab")
    assert page.evaluate(outline)[1] == "solid"
