"""Why an experiment ends: the sentence names what was missing."""

from __future__ import annotations

import pytest

from selfexplore_tasks.stopping import is_better, missing_for_training

DRAWN = {"rationales": 80, "rationales_correct": 30, "rationales_wrong": 40, "rationales_unfinished": 10}


@pytest.mark.parametrize(
    ("candidate", "champion", "expected"), [(0.6, 0.5, True), (0.5, 0.5, False), (None, 0.5, False), (0.6, None, False)]
)
def test_only_a_measured_higher_accuracy_is_better(
    candidate: float | None, champion: float | None, expected: bool
) -> None:
    assert is_better(candidate, champion) is expected


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
