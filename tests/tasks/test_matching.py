"""Matching and spreading by edit distance, against definitions written out plainly."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from selfexplore_tasks.matching import (
    Match,
    farthest_pairs,
    shortest_beyond_pairs,
    spread_by_chain,
    spread_by_distance,
)

TEXTS = st.lists(st.text(alphabet="ab", max_size=6), max_size=8)


def test_farthest_takes_the_unused_wrong_one_at_the_largest_distance() -> None:
    assert farthest_pairs(["aaaa", "aaab"], ["aaaa", "bbbb", "bbba"], 8) == [Match(0, 1, 4), Match(1, 2, 4)]
    assert farthest_pairs(["a"], ["b", "c"], 8) == [Match(0, 0, 1)]
    assert farthest_pairs(["aa", "ab"], ["bb", "bb"], 8) == [Match(0, 0, 2)]
    assert farthest_pairs(["a", "b"], ["c", "d"], 1) == [Match(0, 0, 1)]
    assert farthest_pairs(["a"], [], 8) == farthest_pairs([], ["a"], 8) == farthest_pairs(["a"], ["b"], 0) == []


@given(TEXTS, TEXTS, st.integers(0, 5))
def test_farthest_pairs_are_as_defined(correct: list[str], wrong: list[str], max_pairs: int) -> None:
    matches = farthest_pairs(correct, wrong, max_pairs)
    used: set[str] = set()
    for match in matches:
        text = correct[match.correct_index]
        free = [other for other in wrong if other not in used]
        best = max(Levenshtein.distance(text, other) for other in free)
        assert match.distance == best == Levenshtein.distance(text, wrong[match.wrong_index])
        lowest = min(i for i, other in enumerate(wrong) if other in free and Levenshtein.distance(text, other) == best)
        assert match.wrong_index == lowest
        used.add(wrong[match.wrong_index])
    assert len(matches) == min(max_pairs, len(set(correct)), len(set(wrong)))
    assert [match.correct_index for match in matches] == sorted({match.correct_index for match in matches})


def test_shortest_beyond_tries_the_thresholds_in_order() -> None:
    long_one, short_one, near = "x" * 40, "y" * 10, "aaaaaaaab"
    assert shortest_beyond_pairs(["a" * 10], [long_one, short_one, near], 8, (0.5, 0.4, 0.3)) == [Match(0, 0, 40)]
    assert shortest_beyond_pairs(["a" * 10], [near, short_one], 8, (0.5, 0.4, 0.3)) == [Match(0, 1, 10)]
    assert shortest_beyond_pairs(["a" * 10], [near], 8, (0.5, 0.4, 0.3)) == []
    assert shortest_beyond_pairs(["aaaa"], ["cccc", "bbbb"], 8, (0.3,)) == [Match(0, 0, 4)]


@given(TEXTS, TEXTS, st.integers(0, 5))
def test_shortest_beyond_pairs_are_as_defined(correct: list[str], wrong: list[str], max_pairs: int) -> None:
    thresholds = (0.5, 0.4, 0.3)
    used: set[str] = set()
    for match in shortest_beyond_pairs(correct, wrong, max_pairs, thresholds):
        text, chosen = correct[match.correct_index], wrong[match.wrong_index]

        def is_beyond(other: str, threshold: float, text: str = text) -> bool:
            return Levenshtein.distance(text, other) > threshold * (len(text) + len(other))

        free = [other for other in wrong if other not in used]
        passing = next(found for t in thresholds if (found := [o for o in free if is_beyond(o, t)]))
        assert chosen == min(passing, key=len)
        assert match.wrong_index == wrong.index(chosen)
        used.add(chosen)
    assert len(used) <= max_pairs


def test_chain_keeps_the_text_farthest_from_the_other_chains() -> None:
    texts = ["aaaa", "aabb", "bbbb", "bbbb"]
    assert spread_by_chain(texts, ["2", "1", "1", "1"], 8) == [None, "duplicate_chain", None, "duplicate_chain"]
    assert spread_by_chain(["ab", "cd"], ["1", "1"], 8) == [None, "duplicate_chain"]
    assert spread_by_chain(["a", "b", "c", "d"], ["1", "2", "3", "3"], 2) == [
        None,
        None,
        "over_limit",
        "duplicate_chain",
    ]
    assert spread_by_chain([], [], 8) == []
    with pytest.raises(ValueError, match="one chain per text"):
        spread_by_chain(["a"], [], 8)


@given(st.lists(st.tuples(st.text(alphabet="ab", max_size=5), st.integers(0, 3)), max_size=10), st.integers(0, 4))
def test_one_text_per_chain(pairs: list[tuple[str, int]], max_kept: int) -> None:
    texts, chains = [text for text, _ in pairs], [chain for _, chain in pairs]
    reasons = spread_by_chain(texts, chains, max_kept)
    representatives = [i for i, reason in enumerate(reasons) if reason != "duplicate_chain"]
    assert sorted(chains[i] for i in representatives) == sorted(set(chains))
    assert sum(reason is None for reason in reasons) == min(max_kept, len(set(chains)))
    for i in representatives:
        others = {text for text, chain in pairs if chain != chains[i]}
        totals = {
            j: sum(Levenshtein.distance(texts[j], other) for other in others)
            for j in range(len(texts))
            if chains[j] == chains[i]
        }
        assert totals[i] == max(totals.values())
        assert i == min(j for j, total in totals.items() if total == totals[i])


def test_distance_is_greedy_in_order() -> None:
    assert spread_by_distance(["aaaaa", "aaaab", "aaabb", "bbbbb"], 0.2, 8) == [None, "too_close", None, None]
    assert spread_by_distance(["aa", "aa", "bb", "cc", "cc"], 0.2, 2) == [
        None,
        "too_close",
        None,
        "over_limit",
        "over_limit",
    ]
    assert spread_by_distance(["", ""], 0.0, 8) == [None, "too_close"]


@given(TEXTS, st.floats(0, 1), st.integers(1, 4))
def test_kept_texts_are_far_apart_and_dropped_ones_are_not(texts: list[str], limit: float, max_kept: int) -> None:
    reasons = spread_by_distance(texts, limit, max_kept)
    kept: list[str] = []

    def is_far(text: str) -> bool:
        return all(Levenshtein.distance(text, o) > limit * (len(text) + len(o)) / 2 for o in kept)

    for text, reason in zip(texts, reasons, strict=True):
        if reason is None:
            assert is_far(text)
            kept.append(text)
        elif reason == "over_limit":
            assert is_far(text)
            assert len(kept) == max_kept
        else:
            assert not is_far(text)
    assert len(kept) <= max_kept


@settings(deadline=None)
@given(st.sampled_from(["same", "few"]))
def test_repeated_texts_are_cheap(kind: str) -> None:
    texts = ["the same long text " * 20 + ("" if kind == "same" else str(i % 5)) for i in range(20_000)]
    start = time.perf_counter()
    spread_by_chain(texts, [text[-1] for text in texts], 8)
    spread_by_distance(texts, 0.2, 8)
    farthest_pairs(texts, texts, 8)
    shortest_beyond_pairs(texts, texts, 8, (0.5, 0.4, 0.3))
    assert time.perf_counter() - start < 2.0
