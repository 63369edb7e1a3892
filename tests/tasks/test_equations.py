"""Equation chains and whether they hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfexplore_tasks import equations
from selfexplore_tasks.equations import MAX_LENGTH, equation_chain, equations_hold, equations_of, equations_of_line
from selfexplore_tasks.expressions import evaluate

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.parametrize(
    ("text", "chain"),
    [
        ("", ()),
        ("no equations here", ()),
        ("She has 16 - 3 = <<16-3=13>>13 eggs.\nThen 13 * 2 = $<<13*2=26>>26.", ("16-3=13", "13*2=26")),
        ("Eva has 18 + 8 = 26 shells now.", ("18+8=26",)),
        ("It is 0.2 x 50 = $10.", ("0.2*50=10",)),
        ("So 1,000 \u00d7 2 \u00f7 4 = 500.00!", ("1000*2/4=500",)),
        (r"\(3 \times 4 = 12\) and $5 \cdot 2=10$", ("3*4=12", "5*2=10")),
        ("total = 2 + 3 = 5", ("2+3=5",)),
        ("- 2 + 3 = 5", ("2+3=5",)),
        ("She has 5. 3 + 4 = 7. Then 2 * 2 = 4.", ("3+4=7", "2*2=4")),
        ("2(3+4) = 14", ("2(3+4)=14",)),
        ("3 apples + 2 = 5", ()),
        ("3 apples = 3", ()),
        ("2x + 3 = 7", ()),
        ("70 = (3/2)x", ()),
        ("x = 5", ()),
        ("1 1/2 * 2 = 3", ()),
        ("$80 000 * 2 = $160 000", ()),
        ("4/3 = 1 and 1/3", ()),
        ("6:00 + 48 = 6:48", ()),
        ("<<5*2/5=2.0=2.0>>2", ("5*2/5=2=2",)),
    ],
)
def test_chain(text: str, chain: tuple[str, ...]) -> None:
    assert equation_chain(text) == chain


@pytest.mark.parametrize(
    "text",
    [
        "no equations",
        "<<1/3=0.33>>",
        "<<2/3=0.67>>",
        "<<2/3=0.66>>",
        "<<41.472*0.2=8.294400000000001>>",
        "<<50*20%=10>>",
        "<<20%=.2>>",
        "<<-3+5=2>>",
        "<<2*(3+4)=14=14.0>>",
        "<<2^3=8>>",
        "<<$1,000/4=$250>>",
        "0.5 + 0.5 = 1",
    ],
)
def test_holds(text: str) -> None:
    assert equations_hold(text)


@pytest.mark.parametrize(
    "text",
    [
        "<<2+2=5>>",
        "2 + 2 = 5",
        "<<10/3=3>>",
        "<<1/3=0.3>><<1/3=0.35>>",
        "<<5/0=0>>",
        "5 / 0 = 0",
        "<<x+1=3>>",
        "<<7>>",
        "<<>>",
        "<<2+=2>>",
        "<<2=2=3>>",
        "<<__import__('os')=1>>",
        "<<9**9**9**9=1>>",
        "<<9^64^64=1>>",
        f"<<{'(' * 5_000}1{')' * 5_000}=1>>",
        f"<<{'-' * 400}1=1>>",
        f"<<{'9' * 400}=1>>",
        f"<<1={'1+' * 400}1>>",
    ],
)
def test_does_not_hold(text: str) -> None:
    assert not equations_hold(text)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from("+-*"), st.integers(-3, 3))
def test_agrees_with_arithmetic(first: int, second: int, operator: str, offset: int) -> None:
    true = {"+": first + second, "-": first - second, "*": first * second}[operator]
    for text in (
        f"<<{first}{operator}{second}={true + offset}>>",
        f"so {first:,} {operator} {second:,} = {true + offset:,}.",
    ):
        assert equations_hold(text) == (offset == 0 or abs(offset) * 10**9 <= abs(true + offset))
        assert equation_chain(text) == (f"{first}{operator}{second}={true + offset}",)


@given(st.text(alphabet="0123456789+-*/x^()%$=.,<> \na", max_size=120))
def test_any_text_is_read_without_error(text: str) -> None:
    chain = equation_chain(text)
    assert isinstance(equations_hold(text), bool)
    assert chain or equations_hold(text)


@given(st.lists(st.text(alphabet="012+*=<> \na", max_size=12).map(lambda piece: piece * 60), max_size=6))
def test_remembered_lines_read_as_if_they_were_new(pieces: list[str]) -> None:
    """Short lines are remembered, long ones are not; a line's equations do not depend on the text around it."""
    text = "\n".join([*pieces, *(piece[:MAX_LENGTH] for piece in pieces), "1 + 2 = 3"])
    plain = [equation for line in text.split("\n") for equation in equations_of_line(line)]
    assert equations_of(text) == plain == equations_of(text)


@pytest.mark.parametrize("piece", ["<<", ">>", "=", "1+", "1=", "(", "1 = 1 + ", "-", "x", "1 ", "<<1=1>>", "1+1=2 a "])
def test_work_is_bounded(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token of a long text is evaluated more than a few times; patterns that go back and forth would not end."""
    evaluated = 0

    def counted(tokens: Sequence[str]) -> Fraction:
        nonlocal evaluated
        evaluated += len(tokens)
        return evaluate(tokens)

    monkeypatch.setattr(equations, "evaluate", counted)
    text = piece * (100_000 // len(piece))
    equations_hold(text)
    equation_chain(text)
    assert evaluated <= 3 * len(text)


def test_text_that_is_no_utf_8_is_read() -> None:
    assert equation_chain("\ud800 1 + 2 = 3 \x00\ufffd <<4+4=8>>") == ("4+4=8",)
    assert equations_hold("\udfff 1 + 2 = 3 \x00")
    assert not equations_hold("<<\ud800=3>>")


def test_gsm8k_gold_rationales_hold() -> None:
    count = false = false_marks = 0
    for name in ("train", "test"):
        path = DATA / "gsm8k" / f"{name}.jsonl"
        if not path.is_file():
            pytest.skip("needs ../shared/data/gsm8k, which this checkout has not beside it")
        for line in path.read_text(encoding="utf-8").splitlines():
            answer = json.loads(line)["answer"]
            count += 1
            false += not equations_hold(answer)
            marked = "\n".join(part for part in answer.splitlines() if "<<" in part)
            false_marks += not equations_hold(marked)
    # What is left are slips of the annotators and fractions written in prose ("25 / 1/3 = 75").
    assert (count, false_marks) == (8_792, 0)
    assert false <= 45
