"""Which gold answers can be graded against."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfexplore_tasks.grading import readable
from selfexplore_tasks.grading.readable import unreadable_golds

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"

PLAIN = ["42", "1,080", "-3/4", r"\frac12", "50%", "Friday", r"\text{(C)}", "[0,1)", r"(-\infty, 4]", r"\infty", "∞"]
PLAIN += [r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "x = 3", "12:30", r"\left( 1, 2 \right)", "5!", "3 and 4", "<"]
BROKEN = ["", " ", "$$", r"\frac{1}{", r"\frac{}{}", "???", "-", "5 +", "= 5", "^2", "x=", "((", "}{", "x^{2", "1)"]
BROKEN += [r"\begin{pmatrix} 1", r"\sqrt", "\0", "\\", "9" * 3_000]


@pytest.mark.parametrize("gold", PLAIN)
def test_plain_golds_are_readable_without_a_subprocess(gold: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(readable, "SymbolicPool")
    assert unreadable_golds([gold]) == set()


def test_of_the_rest_math_verify_decides() -> None:
    assert unreadable_golds([*BROKEN, *PLAIN]) == set(BROKEN)


def test_every_published_gold_is_readable_without_a_subprocess(monkeypatch: pytest.MonkeyPatch) -> None:
    if not DATA.is_dir():
        pytest.skip("the shared benchmark files (../shared/data) are not here")
    golds = []
    for name in ("train", "test"):
        with (DATA / "math" / f"{name}.jsonl").open(encoding="utf-8") as lines:
            golds += [json.loads(line)["answer"] for line in lines]
        with (DATA / "gsm8k" / f"{name}.jsonl").open(encoding="utf-8") as lines:
            golds += [json.loads(line)["answer"].rpartition("####")[2] for line in lines]
    assert len(golds) == 12_500 + 7_473 + 1_319
    monkeypatch.delattr(readable, "SymbolicPool")
    assert unreadable_golds(golds) == {""}
