"""The page's pure modules, called in a browser: the word diff, numbers as text, colours, addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser

JS = Path(__file__).parents[2] / "plugins" / "selfexplore_ui" / "static" / "js"
Call = Callable[..., Any]
RUN = "([path, name, values]) => import(path).then((module) => module[name](...values))"


@pytest.fixture(scope="module")
def call(browser: Browser) -> Iterator[Call]:
    """``call(module, function, *arguments)`` runs an exported function and returns its result."""
    page = browser.new_page()
    page.goto((JS.parent / "vendor" / "plot.LICENSE").as_uri())
    yield lambda module, name, *values: page.evaluate(RUN, [(JS / module).as_uri(), name, list(values)])
    page.close()


def sides(spans: list[dict[str, str]]) -> tuple[str, str]:
    """The two texts that the spans were made of."""
    before = "".join(span["text"] for span in spans if span["kind"] != "added")
    after = "".join(span["text"] for span in spans if span["kind"] != "removed")
    return before, after


@pytest.mark.parametrize(
    "before, after, spans",
    [
        ("", "", []),
        ("same text", "same text", [("same", "same text")]),
        ("", "new", [("added", "new")]),
        (
            "84 - 41 = 53 left",
            "84 - 41 = 43 left",
            [("same", "84 - 41 = "), ("removed", "53"), ("added", "43"), ("same", " left")],
        ),
        ("1,234.5 kg", "1,234.6 kg", [("removed", "1,234.5"), ("added", "1,234.6"), ("same", " kg")]),
        ("a b c d", "a c d e", [("same", "a "), ("removed", "b "), ("same", "c d"), ("added", " e")]),
        ("naïve 日本", "naïve 日本語", [("same", "naïve "), ("removed", "日本"), ("added", "日本語")]),
    ],
)
def test_a_diff_names_what_changed(call: Call, before: str, after: str, spans: list[tuple[str, str]]) -> None:
    assert [(span["kind"], span["text"]) for span in call("diff.js", "wordDiff", before, after)] == spans


texts = st.lists(st.sampled_from(["a", "b", "12", "12.5", "\n", "  ", "=", "日", "😀"]), max_size=25).map("".join)


@given(before=texts, after=texts)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_diff_loses_nothing_and_keeps_the_longest_common_part(call: Call, before: str, after: str) -> None:
    spans = call("diff.js", "wordDiff", before, after)
    assert sides(spans) == (before, after)
    left, right = call("diff.js", "words", before), call("diff.js", "words", after)
    same = sum(len(call("diff.js", "words", span["text"])) for span in spans if span["kind"] == "same")
    assert same >= _common(left, right)


def _common(left: list[str], right: list[str]) -> int:
    row = [0] * (len(right) + 1)
    for word in left:
        previous = 0
        for column, other in enumerate(right, 1):
            previous, row[column] = row[column], previous + 1 if word == other else max(row[column], row[column - 1])
    return row[-1]


def test_a_diff_of_huge_texts_tells_them_apart_as_a_whole(call: Call) -> None:
    before, after = "start " + "a b " * 5000 + "end", "start " + "c d " * 5000 + "end"
    spans = call("diff.js", "wordDiff", before, after)
    assert [span["kind"] for span in spans] == ["same", "removed", "added", "same"]
    assert sides(spans) == (before, after)


@pytest.mark.parametrize(
    "name, arguments, text",
    [
        ("percent", [0.5234], "52.3%"),
        ("percent", [None], "\N{EN DASH}"),
        ("percentInterval", [0.79, 0.756, 0.821], "79.0% [75.6, 82.1]"),
        ("percentInterval", [0.79, None, None], "79.0%"),
        ("points", [0.029], "+2.9 points"),
        ("points", [-0.0004], "0.0 points"),
        ("pointsInterval", [-0.004, -0.02, 0.012], "\N{MINUS SIGN}0.4 [\N{MINUS SIGN}2.0, 1.2]"),
        ("count", [1234567], "1,234,567"),
        ("compact", [999], "999"),
        ("compact", [12_345_678], "12.3 M"),
        ("compact", [976_000], "976 k"),
        ("duration", [0], "0 s"),
        ("duration", [2.34], "2.3 s"),
        ("duration", [95], "95 s"),
        ("duration", [600], "10 min"),
        ("duration", [3_599], "1 h 00 min"),
        ("duration", [7_500], "2 h 05 min"),
        ("duration", [190_000], "2 d 4 h"),
        ("number", [0.000123], "1.23e-4"),
        ("number", [1234], "1,234"),
        ("number", [None], "\N{EN DASH}"),
        ("shorten", ["abcdef", 4], "abc…"),
        ("shorten", ["😀😀😀", 3], "😀😀😀"),
    ],
)
def test_numbers_read_well(call: Call, name: str, arguments: list[Any], text: str) -> None:
    assert call("format.js", name, *arguments) == text


@pytest.mark.parametrize(
    "interval, text",
    [
        ([0.029, 0.023, 0.034, 0.9], "+2.9 [2.3, 3.4] (90%)"),
        ([0.029, 0.023, 0.034, 1 - 2 * 0.0025], "+2.9 [2.3, 3.4] (99.5%)"),
        ([0.029, 0.023, 0.034, 1 - 2 * 0.05 / 3], "+2.9 [2.3, 3.4] (96.67%)"),
        ([0.029, 0.023, 0.034, None], "+2.9 [2.3, 3.4]"),
        ([None, None, None, None], "\N{EN DASH}"),
    ],
)
def test_an_interval_says_its_level(call: Call, interval: list[float | None], text: str) -> None:
    assert call("format.js", "leveledInterval", *interval) == text


@pytest.mark.parametrize(
    "values, width, ticks",
    [
        ([0, 1, 2, 3], 400, [0, 1, 2, 3]),
        (list(range(41)), 400, [0, 5, 10, 15, 20, 25, 30, 35, 40]),
        (list(range(1, 31)), 1200, list(range(1, 31))),
        (list(range(1, 301)), 400, [50, 100, 150, 200, 250, 300]),
        ([*map(str, range(1, 26)), "no pit"], 500, [*map(str, range(2, 26, 2)), "no pit"]),
        ([*map(str, range(1, 61)), "no pit"], 500, [*map(str, range(5, 60, 5)), "no pit"]),
    ],
)
def test_a_crowded_axis_is_thinned_to_round_numbers(
    call: Call, values: list[Any], width: int, ticks: list[Any]
) -> None:
    assert call("chart.js", "thinned", values, width) == ticks


def test_more_rationales_are_offered_up_to_the_most_that_the_api_gives(call: Call) -> None:
    steps, limit = [], call("problem_limit.js", "limitOf", None)
    while limit is not None:
        steps.append(limit)
        limit = call("problem_limit.js", "nextLimit", limit)
    assert steps == [20, 50, 100, 200, 500]
    assert [call("problem_limit.js", "limitOf", text) for text in ("9999", "-3", "7.5", "many")] == [500, 20, 7, 20]


def test_a_round_s_title_counts_all_of_its_rationales(call: Call) -> None:
    counts = {"round": 2, "rationale_count": 26, "correct_count": 5}
    assert call("problem_limit.js", "roundTitle", counts, 26) == "Round 2: 5 of 26 right"
    assert call("problem_limit.js", "roundTitle", counts, 20) == "Round 2: 5 of 26 right, showing 20 of 26"


@pytest.mark.parametrize(
    "status, body, is_change, words",
    [
        (403, {"detail": "Forbidden"}, True, "the right to trigger the Dag selfexplore_round"),
        (403, {"detail": "Forbidden"}, False, "the rights to view plugins"),
        (403, {"detail": "This request comes from another site."}, True, "another site"),
        (401, {"detail": "Not authenticated"}, False, "log in to Airflow again"),
        (409, {"detail": "mini has ended."}, True, "mini has ended."),
        (400, {"message": "There is no table x.", "position": 3}, True, "There is no table x."),
        (500, None, False, "status 500"),
    ],
)
def test_an_error_is_a_sentence(call: Call, status: int, body: Any, is_change: bool, words: str) -> None:
    assert words in call("api.js", "errorSentence", status, body, is_change)


@pytest.mark.parametrize("state, count", [("unreadable", 0), ("running", 3), ("ended", 1)])
def test_the_state_decides_what_is_offered(call: Call, state: str, count: int) -> None:
    row = {"experiment": "demo", "state": state, "last_round": 1}
    offered = [button for button in call("actions.js", "actionsOf", row, None) if button is not None]
    assert len(offered) == count


def test_a_fork_s_cost_says_where_it_begins(call: Call) -> None:
    row = {"tokens": 1200, "forked_from": None}
    assert call("experiment_parts.js", "costLabel", row) == "1.2 k tokens"
    assert call("experiment_parts.js", "costLabel", {**row, "forked_from": "a:1"}) == "1.2 k tokens, since the fork"


@pytest.mark.parametrize(
    "passed, drawn, name",
    [
        (None, None, None),
        (0, 0, None),
        (0, 4, "pass-none"),
        (1, 100, "pass-few"),
        (1, 4, "pass-few"),
        (2, 4, "pass-some"),
        (3, 4, "pass-many"),
        (4, 4, "pass-most"),
        (1, 1, "pass-most"),
    ],
)
def test_steps_are_classed_by_their_pass_rate(
    call: Call, passed: int | None, drawn: int | None, name: str | None
) -> None:
    assert call("colour.js", "passClass", passed, drawn) == name


@pytest.mark.parametrize("problem", ["train/3", "a b?c#d", "100%", "ü/../x", "<b>"])
def test_an_address_leads_back_to_its_parts(call: Call, problem: str) -> None:
    address = call(
        "route.js", "routeTo", "problem", ["demo", problem], {"text": "a & b=c", "round": 0, "none": None, "empty": ""}
    )
    assert call("route.js", "parseRoute", address) == {
        "name": "problem",
        "parts": ["demo", problem],
        "query": {"text": "a & b=c", "round": "0"},
    }


@pytest.mark.parametrize("address", ["", "#", "#/"])
def test_the_empty_address_is_the_list(call: Call, address: str) -> None:
    assert call("route.js", "parseRoute", address) == {"name": "experiments", "parts": [], "query": {}}


def test_a_broken_address_is_no_error(call: Call) -> None:
    assert call("route.js", "parseRoute", "#/problem/demo/100%")["parts"] == ["demo", "100%"]


def test_an_error_s_place_is_shown_under_its_line(call: Call) -> None:
    place = call("editor.js", "placeOf", "select 1\n\tform x", 10)
    assert place == {"line": 2, "column": 2, "content": "\tform x", "caret": "\t^"}


@pytest.mark.parametrize(
    "kind, numeric",
    [
        ("INTEGER", True),
        ("DOUBLE", True),
        ("DECIMAL(18,3)", True),
        ("VARCHAR", False),
        ("INTEGER[]", False),
        ("MAP(VARCHAR, BIGINT)", False),
    ],
)
def test_columns_of_numbers_are_known_by_their_type(call: Call, kind: str, numeric: bool) -> None:
    assert call("charts_sql.js", "isNumeric", kind) is numeric


def test_values_sort_as_numbers_or_words_with_unknown_ones_last(call: Call) -> None:
    assert [
        call("table.js", "compareValues", *pair) > 0 for pair in ((10, 9), ("a10", "a9"), (None, 1), (1, None))
    ] == [True, True, True, False]
