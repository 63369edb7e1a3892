"""Matching and spreading by edit distance, against definitions written out plainly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from selfexplore_tasks import matching
from selfexplore_tasks.matching import (
    Match,
    Matching,
    farthest_pairs,
    shortest_beyond_pairs,
    spread_by_chain,
    spread_by_distance,
)

TEXTS = st.lists(st.text(alphabet="ab", max_size=6), max_size=8)


def test_farthest_takes_the_unused_wrong_one_at_the_largest_distance() -> None:
    assert farthest_pairs(["aaaa", "aaab"], ["aaaa", "bbbb", "bbba"], 8) == Matching(
        [Match(0, 1, 4), Match(1, 2, 4)], {}, {0: "no_correct_left"}
    )


def test_equals_go_to_the_lowest_index() -> None:
    """The rules for ties in docs/method.md: first correct first, first wrong of equals, an equal text once."""
    assert farthest_pairs(["a"], ["b", "c"], 8).matches == [Match(0, 0, 1)]
    assert farthest_pairs(["a", "b"], ["cc", "dd"], 8).matches == [Match(0, 0, 2), Match(1, 1, 2)]
    assert farthest_pairs(["aa", "ab", "aa"], ["bb", "bb"], 8) == Matching(
        [Match(0, 0, 2)], {1: "no_wrong_left", 2: "duplicate_text"}, {1: "duplicate_text"}
    )
    assert shortest_beyond_pairs(["aaaa"], ["cccc", "bbbb"], 8, (0.3,)).matches == [Match(0, 0, 4)]


def test_every_text_without_a_partner_has_its_reason() -> None:
    assert farthest_pairs(["a", "b"], ["c", "d"], 1) == Matching(
        [Match(0, 0, 1)], {1: "over_limit"}, {1: "no_correct_left"}
    )
    assert farthest_pairs(["a", "b"], [], 8) == Matching([], {0: "no_wrong_rationale", 1: "no_wrong_rationale"}, {})
    assert farthest_pairs([], ["a", "a"], 8) == Matching([], {}, {0: "no_correct_rationale", 1: "duplicate_text"})
    assert shortest_beyond_pairs(["a" * 10, "z" * 10], ["a" * 9], 8, (0.5, 0.4, 0.3)) == Matching(
        [Match(1, 0, 10)], {0: "too_close"}, {}
    )


def assert_complete(found: Matching, correct: list[str], wrong: list[str]) -> None:
    """Every index is in a match or has a reason, never both."""
    matched = [match.correct_index for match in found.matches]
    assert sorted([*matched, *found.correct_dropped]) == list(range(len(correct)))
    assert matched == sorted(matched)
    assert sorted([*(match.wrong_index for match in found.matches), *found.wrong_dropped]) == list(range(len(wrong)))


@given(TEXTS, TEXTS, st.integers(0, 5))
def test_farthest_pairs_are_as_defined(correct: list[str], wrong: list[str], max_pairs: int) -> None:
    found = farthest_pairs(correct, wrong, max_pairs)
    assert_complete(found, correct, wrong)
    used: set[str] = set()
    for match in found.matches:
        text = correct[match.correct_index]
        free = [other for other in wrong if other not in used]
        best = max(Levenshtein.distance(text, other) for other in free)
        assert match.distance == best == Levenshtein.distance(text, wrong[match.wrong_index])
        lowest = min(i for i, other in enumerate(wrong) if other in free and Levenshtein.distance(text, other) == best)
        assert match.wrong_index == lowest
        used.add(wrong[match.wrong_index])
    assert len(found.matches) == min(max_pairs, len(set(correct)), len(set(wrong)))


def test_shortest_beyond_tries_the_thresholds_in_order() -> None:
    long_one, short_one, near = "x" * 40, "y" * 10, "aaaaaaaab"
    thresholds = (0.5, 0.4, 0.3)
    assert shortest_beyond_pairs(["a" * 10], [long_one, short_one, near], 8, thresholds).matches == [Match(0, 0, 40)]
    assert shortest_beyond_pairs(["a" * 10], [near, short_one], 8, thresholds).matches == [Match(0, 1, 10)]
    assert shortest_beyond_pairs(["a" * 10], [near], 8, thresholds).matches == []


@given(TEXTS, TEXTS, st.integers(0, 5))
def test_shortest_beyond_pairs_are_as_defined(correct: list[str], wrong: list[str], max_pairs: int) -> None:
    thresholds = (0.5, 0.4, 0.3)
    found = shortest_beyond_pairs(correct, wrong, max_pairs, thresholds)
    assert_complete(found, correct, wrong)
    used: set[str] = set()
    for match in found.matches:
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


# Texts that share lines, as rationales do: there the bounds over third texts bite.
LINES = st.lists(
    st.lists(st.sampled_from(["He has 3 apples.", "3 + 4 = 7", "So 7 are left, you see.", "x", ""]), max_size=5).map(
        "\n".join
    ),
    max_size=12,
)


@given(LINES, LINES, st.integers(1, 8))
def test_bounds_do_not_change_the_farthest_pairs(correct: list[str], wrong: list[str], max_pairs: int) -> None:
    """Against the rule without any bound: every distance calculated, the first of equals taken."""
    free, expected = list(dict.fromkeys(wrong)), []
    for text in dict.fromkeys(correct):
        if free and len(expected) < max_pairs:
            chosen = max(free, key=lambda other, text=text: Levenshtein.distance(text, other))
            free.remove(chosen)
            distance = Levenshtein.distance(text, chosen)
            expected.append(Match(correct.index(text), wrong.index(chosen), distance))
    assert farthest_pairs(correct, wrong, max_pairs).matches == expected


@given(LINES, LINES, st.lists(st.floats(0, 1), min_size=1, max_size=3))
def test_bounds_do_not_change_the_shortest_pairs(correct: list[str], wrong: list[str], thresholds: list[float]) -> None:
    """Whatever order the thresholds are in."""
    free, expected = sorted(dict.fromkeys(wrong), key=len), []
    for text in dict.fromkeys(correct):
        far = (
            (other, Levenshtein.distance(text, other))
            for threshold in thresholds
            for other in free
            if Levenshtein.distance(text, other) > threshold * (len(text) + len(other))
        )
        chosen, distance = next(far, (None, 0))
        if chosen is not None:
            free.remove(chosen)
            expected.append(Match(correct.index(text), wrong.index(chosen), distance))
    assert shortest_beyond_pairs(correct, wrong, 100, thresholds).matches == expected


@given(LINES, st.lists(st.integers(0, 3), min_size=12, max_size=12), st.integers(1, 4))
def test_bounds_do_not_change_what_a_chain_keeps(texts: list[str], chains: list[int], max_kept: int) -> None:
    chains = chains[: len(texts)]
    expected = ["duplicate_chain"] * len(texts)
    for position, chain in enumerate(dict.fromkeys(chains)):
        others = {text for text, other in zip(texts, chains, strict=True) if other != chain}
        own = [index for index, other in enumerate(chains) if other == chain]
        totals = {index: sum(Levenshtein.distance(texts[index], other) for other in others) for index in own}
        expected[max(own, key=totals.__getitem__)] = "over_limit" if position >= max_kept else ""
    assert spread_by_chain(texts, chains, max_kept) == [reason or None for reason in expected]


class Counted:
    """The library's distances, with the texts that were compared."""

    def __init__(self) -> None:
        self.compared: list[tuple[str, str]] = []

    def distance(
        self, first: str, second: str, *, score_cutoff: int | None = None, score_hint: int | None = None
    ) -> int:
        self.compared.append((first, second))
        return int(Levenshtein.distance(first, second, score_cutoff=score_cutoff, score_hint=score_hint))

    @property
    def cells(self) -> int:
        """Size of the tables behind the distances: what the time is proportional to."""
        return sum(len(first) * len(second) for first, second in self.compared)


def test_a_very_long_text_is_not_compared_with_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that did not stop: lengths alone say that its text is the farthest, so it is compared once, or never."""
    counted = Counted()
    monkeypatch.setattr(matching, "Levenshtein", counted)
    endless = "and so on " * 10_000
    correct, wrong = [f"{number} is right" for number in range(30)], [f"{number} is wrong" for number in range(30)]
    kept = spread_by_chain([*correct, endless], ["1"] * 15 + ["2"] * 15 + ["1"], 8)
    assert kept[30] is None
    assert not any(endless in pair for pair in counted.compared if pair[0] in correct[:15] or pair[1] in correct[:15])
    counted.compared.clear()
    assert farthest_pairs(correct, [*wrong, endless, f"{endless}!"], 8).matches[0].wrong_index == 31
    assert counted.cells <= 3 * len(endless) * 20 + len(counted.compared) * 20**2


@pytest.mark.parametrize("length", [2_000, 20_000])
def test_work_on_long_texts_is_bounded(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only long texts: no two are compared more than twice, whatever is asked of them."""
    counted = Counted()
    monkeypatch.setattr(matching, "Levenshtein", counted)
    texts = [f"{number} " * (length // len(f"{number} ")) for number in range(12)]
    spread_by_chain(texts, [number % 3 for number in range(12)], 8)
    assert counted.cells <= 12 * 11 / 2 * length**2
    farthest_pairs(texts[:6], texts[6:], 8)
    assert counted.cells <= (12 * 11 / 2 + 6 * 6 + 6 * 5 / 2) * length**2


def test_texts_that_are_no_utf_8_are_matched() -> None:
    assert farthest_pairs(["a\ud800"], ["a\udfff", "\x00bc"], 8).matches == [Match(0, 1, 3)]


@pytest.mark.parametrize("distinct", [1, 5])
def test_repeated_texts_are_compared_once(distinct: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 2,000 texts only the distinct ones are compared, each pair a bounded number of times."""
    counted = Counted()
    monkeypatch.setattr(matching, "Levenshtein", counted)
    texts = [f"the same long text {number % distinct}" for number in range(2_000)]
    spread_by_chain(texts, [number % 2 for number in range(2_000)], 8)
    spread_by_distance(texts, 0.0, 8)
    farthest_pairs(texts, texts, 8)
    shortest_beyond_pairs(texts, texts, 8, (0.5, 0.4, 0.3))
    assert 0 < len(counted.compared) <= 4 * distinct**2
