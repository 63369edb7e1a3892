"""Splitting rationales into steps."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfexplore_tasks.steps import MIN_STEP_CHARACTERS, StepStyle, explorable_steps, protected_spans, split_steps

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
STYLES: tuple[StepStyle, ...] = ("lines", "sentences")
PIECES = st.sampled_from(
    [
        "$",
        "$$",
        "\\[",
        "\\]",
        "\\(",
        "\\)",
        "\\begin{align}",
        "\\end{align}",
        "\\\\",
        "\\$",
        "[asy]",
        "[/asy]",
        "\n",
        "\n\n",
        " ",
        ". ",
        "! ",
        "A",
        "bcd efg hijk lmn",
        "3.5",
        "e.g. ",
        "1. ",
        "- ",
        "#### 5",
        "The answer is 5.",
    ]
)


def test_lines_keep_their_newline_and_blank_lines_go_to_the_step_before() -> None:
    assert split_steps("\n a\nb\n\n \nc", "lines") == ["\n a\n", "b\n\n \n", "c"]
    assert split_steps("", "lines") == []
    assert split_steps("\n \n", "lines") == ["\n \n"]


@pytest.mark.parametrize(
    "steps",
    [
        ["He pays 3.50 dollars. ", "Then he pays 4.25 dollars. ", "That is too much money."],
        ["We use e.g. Vieta here, cf. Dr. Smith, i.e. No. 5 in the list. ", "Then we are done here."],
        ["We have $x = 1. Then y$ follows here. ", "Next we see the rest."],
        ["Hence we get $x = 5.$ ", "Then $y$ is even bigger."],
        ["We have\n\\[a = b. So\n\nc = d.\\]", "Then the other follows."],
        ["Consider\n\\begin{align*}\na &= b. \\\\[2pt]\nC &= d.\n\\end{align*}\n", "Then the other follows."],
        ["Is it really so? ", "Yes it really is! ", "(It is really so.) ", "Then it goes on and on."],
        ["First paragraph here\n\n", "second paragraph here"],
        ["The steps are these:\n", "1. Take the number five.\n", "2. Add the number six.\n"],
        ["It costs $5 today. ", "He has $6 more than that."],
        ["Let us see \\(a. B\\) and $$c. D$$", "It is all done here."],
        ["This sentence wraps at\nthe end of a line and goes on."],
    ],
)
def test_sentences(steps: list[str]) -> None:
    assert split_steps("".join(steps), "sentences") == steps


def test_short_pieces_are_merged() -> None:
    assert split_steps("So. It is five apples. Done. The end is near now.", "sentences") == [
        "So. It is five apples. Done. ",
        "The end is near now.",
    ]
    assert split_steps("Ok. No.", "sentences") == ["Ok. No."]


@given(st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=80), st.sampled_from(STYLES))
def test_joining_gives_the_text_back(text: str, style: StepStyle) -> None:
    steps = split_steps(text, style)
    assert "".join(steps) == text
    assert all(steps)
    if len(steps) > 1:
        assert all(step.strip() for step in steps)
        if style == "sentences":
            assert all(len(re.sub(r"\s", "", step)) >= MIN_STEP_CHARACTERS for step in steps)


@given(st.lists(PIECES, max_size=40).map("".join))
def test_no_cut_inside_a_formula(text: str) -> None:
    cuts = cut_positions(split_steps(text, "sentences"))
    assert not [(cut, start, end) for start, end, _ in protected_spans(text) for cut in cuts if start < cut < end]


def cut_positions(steps: list[str]) -> list[int]:
    positions: list[int] = []
    for step in steps:
        positions.append((positions[-1] if positions else 0) + len(step))
    return positions


def test_math_solutions_are_cut_outside_formulas_by_an_independent_reading() -> None:
    formula = re.compile(r"\$\$.*?\$\$|\$[^$]*\$|\\\[.*?\\\]|\\\(.*?\\\)|\\begin\{(\w+\*?)\}.*?\\end\{\1\}", re.DOTALL)
    for name in ("train", "test"):
        path = DATA / "math" / f"{name}.jsonl"
        if not path.is_file():
            pytest.skip("needs ../shared/data/math, which this checkout has not beside it")
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            steps = split_steps(row["solution"], "sentences")
            assert "".join(steps) == row["solution"]
            masked = re.sub(r"\\\\|\\\$", "xx", row["solution"])
            cuts = set(cut_positions(steps))
            inside = [
                match.group() for match in formula.finditer(masked) if cuts & set(range(match.start() + 1, match.end()))
            ]
            # This one solution writes prices as "$4" among its formulas.
            assert not inside or row["unique_id"] == "train/algebra/2609.json"


@pytest.mark.parametrize("style", STYLES)
def test_explorable_steps_end_before_the_answer(style: StepStyle) -> None:
    text = "She has 2 + 3 = 5 apples.\nThen she eats 1 of the apples.\nThe answer is 4\nMore text after that.\n"
    steps = explorable_steps(text, style, answer_phrase="The answer is", max_steps=20)
    assert steps == ["She has 2 + 3 = 5 apples.\n", "Then she eats 1 of the apples.\n"]
    assert explorable_steps(text, style, answer_phrase="the ANSWER is", max_steps=1) == steps[:1]


def test_explorable_steps_of_other_answer_forms() -> None:
    assert explorable_steps("one two three\n#### 5", "lines", answer_phrase="The answer is", max_steps=9) == [
        "one two three\n"
    ]
    assert explorable_steps("One two three four. #### 5", "sentences", answer_phrase="A:", max_steps=9) == []
    same_line = "We add all of the numbers. The answer is 5."
    assert explorable_steps(same_line, "sentences", answer_phrase="The answer is", max_steps=9) == [
        "We add all of the numbers. "
    ]
    for text in ("The answer is 5", "", " \n\n", "#### 5"):
        assert explorable_steps(text, "lines", answer_phrase="The answer is", max_steps=9) == []


@given(st.lists(PIECES, max_size=30).map("".join), st.sampled_from(STYLES), st.integers(1, 5))
def test_explorable_steps_are_a_prefix(text: str, style: StepStyle, max_steps: int) -> None:
    steps = explorable_steps(text, style, answer_phrase="The answer is", max_steps=max_steps)
    assert text.startswith("".join(steps))
    assert len(steps) <= max_steps
    assert not any(step.lstrip().startswith(("The answer is", "####")) for step in steps)


@pytest.mark.parametrize(
    "piece", ["$", "\\[", "\\begin{a}", "\\end{a}", ". ", "\n", " ", "a", "A. ", "$ \\(", "1.", "...", "\n \n"]
)
def test_time_is_linear(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    start = time.perf_counter()
    for style in STYLES:
        split_steps(text, style)
    assert time.perf_counter() - start < 4.0


@pytest.mark.parametrize("last", ["So, the answer is 8.", "Therefore she has \\boxed{8}"])
def test_a_last_step_that_states_the_answer_is_not_explored(last: str) -> None:
    text = f"3 + 4 = 8\n{last}"
    assert explorable_steps(text, "lines", answer_phrase="The answer is", max_steps=20) == ["3 + 4 = 8\n"]
