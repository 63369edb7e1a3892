"""Finding the answer in a text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfexplore_tasks.grading import extract
from selfexplore_tasks.grading.extract import extract_answer, gold_from_gsm8k, last_boxed, last_number


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("2 + 3 = 5\nThe answer is 5", "5"),
        ("the ANSWER  is: 5.", "5"),
        ("The answer is 4.\nNo, the answer is 5.", "5"),
        ("The answer is $1,080.", "$1,080"),
        ("The answer is **18**.", "18"),
        ("**The answer is: 18.**", "18"),
        ("The answer is <<8=8>>8.", "8"),
        ("The answer is 18. I hope it is correct.", "18"),
        ("The answer is 5.25 dollars.", "5.25 dollars"),
        (r"The answer is $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        ("The final answer is \\boxed{\n5\n}", ""),
        ("She has 5.\n#### 5", "5"),
        ("#### 1\nThe answer is 2", "2"),
        ("The answer is\n#### 7", "7"),
        (r"so $x = \boxed{1}$ or $\boxed{2}$", "2"),
        ("The answer is 5\nand 7 more", "5"),
        ("The answer is\n\\[x = \\boxed{7}\\]", "7"),
        ("The answer is \\begin{align*}\n1 + 2\n= \\boxed{3}\n\\end{align*}", "3"),
        ("The answer is $$5$$", "5"),
        ("The answer is 5\nIn a box: $\\boxed{7}$", "5"),
        ("so it is $\\boxed 2$.", "2"),
    ],
)
def test_strict_answer(text: str, answer: str) -> None:
    phrase = "The final answer is" if answer == "" else "The answer is"
    assert extract_answer(text, phrase) == (answer or "5")


@pytest.mark.parametrize("text", ["", "She has 5 left.", "The answer is", "The answer is \n", "The answers isn't 5"])
def test_no_strict_answer(text: str) -> None:
    assert extract_answer(text, "The answer is") is None


def test_phrase_is_matched_as_whole_words() -> None:
    assert extract_answer("Idea: 7\nA: 5\nTEA: 9", "A:") == "5"


@pytest.mark.parametrize(
    ("text", "boxed"),
    [
        (r"\boxed{a{b}c}", "a{b}c"),
        (r"\boxed{1} and \boxed{2", "1"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\fbox{x} no", None),
        (r"\boxed {3}", "3"),
        (r"$\boxed 2$.", "2"),
        (r"\boxed 1,080, then", "1,080"),
        (r"\boxed{1} or \boxed -3", "-3"),
        (r"\boxed 3 or \boxed{4}", "4"),
        (r"\boxed x", "x"),
        (r"use \boxed to mark it", None),
        (r"\boxedcolumn 3", None),
        ("no box", None),
    ],
)
def test_last_boxed(text: str, boxed: str | None) -> None:
    assert last_boxed(text) == boxed


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("she has 3 cats and 1,080.50 dogs.", "1,080.50"),
        ("5-3", "3"),
        ("it fell to -3 degrees", "-3"),
        ("a share of .25", ".25"),
        ("so 1/2", "1/2"),
        ("costs $5.", "$5"),
        ("2,000, 30", "30"),
        ("none", None),
    ],
)
def test_last_number(text: str, number: str | None) -> None:
    assert last_number(text) == number


@given(st.text(alphabet="12,./$- \n\ra)]", max_size=20))
def test_the_last_number_is_the_last_of_all(text: str) -> None:
    """Reading from the end finds what reading everything finds."""
    numbers = extract._NUMBER.findall(text)
    assert last_number(text) == (numbers[-1] if numbers else None)


def test_gold_from_gsm8k_splits_before_the_mark() -> None:
    assert gold_from_gsm8k("a\nb = <<1+1=2>>2\n#### 1,080") == ("a\nb = <<1+1=2>>2", "1,080")
    assert gold_from_gsm8k("no mark") == ("no mark", "")


def test_only_the_end_of_an_endless_text_is_read() -> None:
    text = "The answer is 1\n" + "x " * 60_000
    assert extract_answer(text, "The answer is") is None
    assert extract_answer(text + "\nThe answer is 2", "The answer is") == "2"


@pytest.mark.parametrize("piece", ["\\boxed{", "{", "}", "1,111,", "$", "The answer is ", "-", "1/", ".", "\\"])
def test_repetition_costs_linear_time(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    start = time.perf_counter()
    extract_answer(text, "The answer is")
    last_number(text)
    assert time.perf_counter() - start < 2.0


@given(st.text(alphabet="\\boxed{}$1#. \nThe answer is", max_size=200))
def test_extraction_accepts_any_text(text: str) -> None:
    answer = extract_answer(text, "The answer is")
    assert answer is None or answer == answer.strip() != ""
