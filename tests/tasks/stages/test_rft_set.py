"""The RFT set: what is kept of one problem's correct rationales, why the rest is not, and every candidate in a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from selfexplore_tasks.recipe import Rft
from selfexplore_tasks.stages.rft_set import select_correct
from selfexplore_tasks.store.home import Store

RowsOf = Callable[[Store, str], list[dict[str, Any]]]
ANSWER = "The answer is 10"


def selected(*texts: str, **settings: object) -> list[str | None]:
    """The drop reasons of one problem's correct rationales (null = kept)."""
    return select_correct(texts, Rft.model_validate(settings)).drop_reasons


def test_one_rationale_per_chain_of_equations() -> None:
    """Kept of a chain is the one farthest from the other chains' texts; marks and plain lines count alike."""
    near = f"4 + 6 = 10\n{ANSWER}"
    far = f"He walks four miles in the morning and six more at night, 4+6=<<4+6=10>>10.\n{ANSWER}"
    assert selected(near, far, f"2 * 5 = 10\n{ANSWER}") == ["duplicate_chain", None, None]
    assert selected(near, f"6 + 4 = 10\n{ANSWER}") == [None, None]


def test_arithmetic_that_does_not_hold_is_dropped_first() -> None:
    """A false equation neither represents its chain nor counts towards the limit."""
    assert selected(
        f"2 + 2 = 5\n5 * 2 = 10\n{ANSWER}",
        f"4 + 6 = 10\n{ANSWER}",
        f"10 / 0 = 10\n{ANSWER}",
        f"2 * 5 = 10\n{ANSWER}",
        max_per_problem=2,
    ) == ["false_equation", None, "false_equation", None]


def test_texts_without_an_equation_share_one_chain() -> None:
    assert selected(f"It is ten.\n{ANSWER}", f"Ten of them.\n{ANSWER}") == [None, "duplicate_chain"]


def test_the_limit_takes_the_chains_drawn_first() -> None:
    chains = [f"{number} + {10 - number} = 10\n{ANSWER}" for number in range(1, 6)]
    dropped = ["over_limit", "over_limit", "duplicate_chain"]
    assert selected(*chains, chains[4], max_per_problem=3) == [None] * 3 + dropped


@pytest.mark.parametrize("limit", [0.1, 0.2, 0.5])
def test_by_distance_a_text_is_kept_that_is_far_from_every_kept_one(limit: float) -> None:
    """Distance / mean length must exceed the limit: at the limit itself a text is too close. Sums may be false here."""
    base = "a" * 100
    changes = round(100 * limit)
    at_limit, beyond = "b" * changes + base[changes:], "c" * (changes + 1) + base[changes + 1 :]
    assert selected(base, at_limit, beyond, style="distance", min_distance=limit) == [None, "too_close", None]
    assert selected("2 + 2 = 5", style="distance") == [None]


def test_every_candidate_is_a_row(finished_store: Store, rows_of: RowsOf) -> None:
    """Each correct rationale of the sampling model stands in `rft_examples` once, kept or with its reason."""
    candidates = rows_of(
        finished_store, "select rationale_id, text from int_correct_rationales where model_id = '0/sft' order by 1"
    )
    rows = rows_of(
        finished_store,
        "select rationale_id, text, is_kept, drop_reason from rft_examples where origin = 'sampled' order by 1",
    )
    assert [(row["rationale_id"], row["text"]) for row in rows] == [(c["rationale_id"], c["text"]) for c in candidates]
    reasons = {row["drop_reason"] for row in rows}
    assert {None, "duplicate_chain"} <= reasons <= {None, "duplicate_chain", "false_equation", "over_limit"}
    assert all(row["is_kept"] == (row["drop_reason"] is None) for row in rows)
