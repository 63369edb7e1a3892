"""Why an experiment ends: the sentence names what was missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfexplore_tasks.recipe import Stop
from selfexplore_tasks.stopping import RoundFacts, missing_for_training, stop_reason

DRAWN = {"rationales": 80, "rationales_correct": 30, "rationales_wrong": 40, "rationales_unfinished": 10}


def finished(*rounds: tuple[bool, int, int, float]) -> list[RoundFacts]:
    """Rounds 0, 1, ... of (promoted, pairs, tokens, seconds)."""
    return [RoundFacts(number, *facts) for number, facts in enumerate(rounds)]


FIRST, GOOD, WORSE, STARVED = (
    (True, 0, 1_000, 1800.0),
    (True, 50, 1_000, 1800.0),
    (False, 50, 1_000, 1800.0),
    (False, 3, 1_000, 1800.0),
)


@pytest.mark.parametrize(
    ("rounds", "stop", "max_rounds", "expected"),
    [
        ([], {}, 1, None),
        ([FIRST], {"patience": 1, "min_pairs": 10}, 1, None),
        ([WORSE], {"patience": 1}, 1, None),
        ([FIRST, GOOD], {}, 1, "max_rounds=1 reached"),
        ([FIRST, GOOD, STARVED], {}, 5, None),
        ([FIRST, STARVED, GOOD], {"min_pairs": 10}, 5, None),
        ([FIRST, GOOD, STARVED], {"min_pairs": 4}, 5, "stop.min_pairs=4: round 2 trained on 3 granular pairs"),
        ([FIRST, GOOD, WORSE], {"patience": 2}, 5, None),
        ([FIRST, WORSE, GOOD, WORSE, WORSE], {"patience": 3}, 9, None),
        ([FIRST, GOOD, WORSE, WORSE], {"patience": 2}, 5, "stop.patience=2: no promotion since round 1"),
        ([FIRST, WORSE, WORSE], {"patience": 2}, 5, "stop.patience=2: no promotion since round 0"),
        ([FIRST, GOOD], {"max_tokens": 2_001}, 5, None),
        ([FIRST, GOOD], {"max_tokens": 2_000}, 5, "stop.max_tokens=2000: 2,000 tokens in 2 rounds"),
        ([FIRST], {"max_tokens": 900}, 5, "stop.max_tokens=900: 1,000 tokens in 1 rounds"),
        ([FIRST, GOOD], {"max_hours": 1.01}, 5, None),
        ([FIRST, GOOD], {"max_hours": 1}, 5, "stop.max_hours=1: 1.0 hours in 2 rounds"),
        ([FIRST, STARVED], {"min_pairs": 9, "patience": 1, "max_tokens": 1, "max_hours": 0.1}, 1, "max_rounds=1"),
        ([FIRST, STARVED], {"min_pairs": 9, "patience": 1, "max_tokens": 1, "max_hours": 0.1}, 2, "stop.min_pairs=9"),
        ([FIRST, WORSE], {"min_pairs": 9, "patience": 1, "max_tokens": 1, "max_hours": 0.1}, 2, "stop.patience=1"),
        ([FIRST, GOOD], {"min_pairs": 9, "patience": 1, "max_tokens": 1, "max_hours": 0.1}, 2, "stop.max_tokens=1"),
    ],
)
def test_the_stop_reason_names_the_field_that_was_reached(
    rounds: list[tuple[bool, int, int, float]], stop: dict[str, float], max_rounds: int, expected: str | None
) -> None:
    found = stop_reason(finished(*rounds), Stop.model_validate(stop), max_rounds)
    assert found == expected if expected is None else found is not None and found.startswith(expected)


histories = st.lists(
    st.tuples(st.booleans(), st.integers(0, 20), st.integers(0, 10_000), st.floats(0, 36_000)), min_size=1, max_size=12
).map(lambda rounds: finished(*rounds))
limits = st.integers(1, 30)
stops = st.builds(
    Stop,
    patience=st.none() | st.integers(1, 6),
    min_pairs=st.none() | st.integers(1, 10),
    max_tokens=st.none() | st.integers(1, 100_000),
    max_hours=st.none() | st.floats(0.1, 100),
)


@given(rounds=histories, stop=stops, max_rounds=limits)
def test_it_stops_if_and_only_if_a_limit_is_reached(rounds: list[RoundFacts], stop: Stop, max_rounds: int) -> None:
    last, after_first = rounds[-1], rounds[1:]
    reached = {
        "max_rounds": last.round >= max_rounds,
        "stop.min_pairs": stop.min_pairs is not None and bool(after_first) and last.pairs < stop.min_pairs,
        "stop.patience": stop.patience is not None
        and len(after_first) >= stop.patience
        and not any(one.promoted for one in after_first[-stop.patience :]),
        "stop.max_tokens": stop.max_tokens is not None and sum(one.tokens for one in rounds) >= stop.max_tokens,
        "stop.max_hours": stop.max_hours is not None and sum(one.seconds for one in rounds) / 3600 >= stop.max_hours,
    }
    first = next((name for name, is_reached in reached.items() if is_reached), None)
    reason = stop_reason(rounds, stop, max_rounds)
    assert (reason and reason.split("=")[0]) == first


@given(rounds=histories, stop=stops, max_rounds=limits, more=st.integers(0, 5))
def test_a_larger_limit_never_stops_earlier(rounds: list[RoundFacts], stop: Stop, max_rounds: int, more: int) -> None:
    larger = Stop(
        patience=stop.patience and stop.patience + more,
        min_pairs=stop.min_pairs and max(1, stop.min_pairs - more),
        max_tokens=stop.max_tokens and stop.max_tokens + more,
        max_hours=stop.max_hours and stop.max_hours + more,
    )
    if stop_reason(rounds, stop, max_rounds) is None:
        assert stop_reason(rounds, larger, max_rounds + more) is None


@given(rounds=histories, stop=stops, max_rounds=limits, next_round=st.tuples(st.booleans(), st.integers(0, 20)))
def test_a_budget_once_spent_stays_spent(
    rounds: list[RoundFacts], stop: Stop, max_rounds: int, next_round: tuple[bool, int]
) -> None:
    budgets = Stop(max_tokens=stop.max_tokens, max_hours=stop.max_hours)
    longer = [*rounds, RoundFacts(len(rounds), *next_round, tokens=0, seconds=0.0)]
    if (stop_reason(rounds, budgets, max_rounds) or "").startswith("stop.max_"):
        assert stop_reason(longer, budgets, max_rounds) is not None


def test_a_round_that_trained_everything_misses_nothing() -> None:
    assert missing_for_training(DRAWN, rft_skipped=False, dpo_skipped=False) is None


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({**DRAWN, "rationales_correct": 0}, "no rationale is correct (of 80: 40 wrong, 10 unfinished, 0 without"),
        ({"rationales": 80, "rationales_correct": 80}, "no rationale is wrong (of 80)"),
        (DRAWN, "no problem has both a correct and a wrong rationale (30 correct, 40 wrong of 80)"),
        ({**DRAWN, "outcome_pairs_kept": 5, "wrong_explored": 5}, "no first pit in 5 explored rationales"),
        ({**DRAWN, "outcome_pairs_kept": 5, "pits_found": 4}, "no granular pair was usable (4 pits)"),
    ],
)
def test_what_was_missing_is_said_first_cause_first(counts: dict[str, int], sentence: str) -> None:
    found = missing_for_training(counts, rft_skipped=False, dpo_skipped=True)
    assert found is not None
    assert found.startswith(sentence)
