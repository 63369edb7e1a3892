"""Exact equality of numbers and plain text."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfexplore_tasks.grading import Grader, GradeRequest
from selfexplore_tasks.grading.compare import answers_equal, compare_locally, normalise_answer, parse_number


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1,080", "1080"),
        ("5.0", "5"),
        ("5.", "5"),
        ("1/2", "0.5"),
        (r"\frac{1}{2}", ".5"),
        (r"\dfrac12", "1/2"),
        (r"1\frac{1}{2}", "1 1/2"),
        ("$5", "5"),
        (r"\$5", "5 dollars"),
        ("50%", "50"),
        (r"50\%", "50 percent"),
        ("\u22123", "-3"),
        (r"14{,}916", "14916"),
        (r"32,\! 349", "32349"),
        (r"90^\circ", "90"),
        (r"15\mbox{ cm}^2", "15"),
        ("18 eggs", "**18**"),
        ("1.5e3", "1500"),
        ("-1/2", r"-\frac{1}{2}"),
        ("$1,000$", r"\boxed{1000}"),
    ],
)
def test_equal_numbers(first: str, second: str) -> None:
    assert answers_equal(first, second)
    assert answers_equal(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [("50%", "0.5"), ("1/3", "0.33"), ("5", "-5"), ("1,22", "1.22"), ("2 million", "2"), ("5 pm", "5"), ("x", "x")],
)
def test_different_or_no_numbers(first: str, second: str) -> None:
    assert not answers_equal(first, second)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "2x",
        "5 m",
        "1,2",
        "12:00",
        "3 and 4",
        "1/0",
        "9" * 200,
        "1e999",
        "1 2",
        "--5",
        "5!",
        "2 dozen",
        "9**9",
        "1_000",
    ],
)
def test_not_a_number(text: str) -> None:
    assert parse_number(text) is None


def test_gold_and_prediction_are_normalised_alike() -> None:
    # The published code normalised one side only, which made every gold with a comma a wrong answer.
    for gold, prediction in [("1,080", "1080"), ("1080", "1,080"), ("$1,080.00", "1080"), ("1080", "$1,080.00")]:
        assert compare_locally(normalise_answer(gold), normalise_answer(prediction)) == "equal_number"


@pytest.mark.parametrize(
    ("gold", "prediction", "reason"),
    [
        (r"\text{Evelyn}", "evelyn.", "equal_text"),
        (r"\text{(C)}", "C", "equal_text"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})", "equal_text"),
        ("listen", "silent", "unequal_text"),
        ("5", "the cat", "unequal_text"),
        ("5", "", "unequal_text"),
        ("5", "6", "unequal_number"),
        ("x+1", "1+x", None),
        ("2", r"\sqrt{4}", None),
        ("x", "1" * 2_000, "too_long"),
    ],
)
def test_local_decision(gold: str, prediction: str, reason: str | None) -> None:
    assert compare_locally(normalise_answer(gold), normalise_answer(prediction)) == reason


@given(st.fractions(min_value=-(10**12), max_value=10**12, max_denominator=10**6))
def test_every_fraction_is_read_back(value: Fraction) -> None:
    assert parse_number(f"{value.numerator}/{value.denominator}") == value
    assert parse_number(f"{value.numerator:,}") == value.numerator


@given(st.text(max_size=60))
def test_normalisation_never_fails_and_a_text_equals_itself(text: str) -> None:
    normalised = normalise_answer(text)
    assert compare_locally(normalised, normalised) in ("equal_number", "equal_text", None, "unequal_text")
    if parse_number(text) is not None:
        assert answers_equal(text, text)


@pytest.mark.parametrize(
    ("gold", "prediction", "is_equal"),
    [
        ("9", "3^2", True),
        ("8", "2^3", True),
        ("5", "5^2", False),
        ("1000", "10^3", True),
        ("5", "5\\text{ cm}^2", True),
        ("5", "5 dozens", False),
        ("5", "5 minus two", False),
        ("3", "3 over four", False),
        ("7", "7 factorial", False),
        ("5", "5 slices of pizza", True),
        ("5", "5 miles per hour", True),
        ("12", "1 2", False),
        ("1000", "1 000", True),
    ],
)
def test_powers_calculations_and_gaps_are_not_read_as_their_first_number(
    gold: str, prediction: str, is_equal: bool
) -> None:
    with Grader(answer_phrase="The answer is") as grader:
        (found,) = grader.grade([GradeRequest(f"The answer is {prediction}", gold, "stop")])
    assert found.is_correct_strict is is_equal
