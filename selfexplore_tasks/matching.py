"""Choosing rationales and pairing them, by Levenshtein distance in characters; pure functions (method, steps 4 and 6).

Ties: wherever several texts are equally good the one with the lowest index is taken. Texts that are exactly
equal count as one, represented by the lowest index, so repeated samples cost nothing.

Results are exact. A distance is only calculated where bounds leave the choice open: a distance is at least the
difference of the lengths, at most the longer length, and at most the way over a third text.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import Literal

from rapidfuzz.distance import Levenshtein

ChainDropReason = Literal["duplicate_chain", "over_limit"]
DistanceDropReason = Literal["too_close", "over_limit"]
CorrectDropReason = Literal["duplicate_text", "over_limit", "no_wrong_rationale", "no_wrong_left", "too_close"]
WrongDropReason = Literal["duplicate_text", "no_correct_rationale", "no_correct_left"]


@dataclass(frozen=True)
class Match:
    """A correct and a wrong rationale, by their indices, and their edit distance in characters."""

    correct_index: int
    wrong_index: int
    distance: int


@dataclass(frozen=True)
class Matching:
    """The matches of one problem in order of the correct rationales, and why each other index has none."""

    matches: list[Match]
    correct_dropped: dict[int, CorrectDropReason]
    wrong_dropped: dict[int, WrongDropReason]


def farthest_pairs(correct: Sequence[str], wrong: Sequence[str], max_pairs: int) -> Matching:
    """Pair each correct rationale, in order, with the unused wrong one at the largest distance (GSM8K style).

    A text is used once on either side, also where it occurs at several indices. At most ``max_pairs`` pairs.
    """
    return _match(correct, wrong, max_pairs, _Farthest())


def shortest_beyond_pairs(
    correct: Sequence[str], wrong: Sequence[str], max_pairs: int, min_distances: Sequence[float]
) -> Matching:
    """Pair each correct rationale, in order, with the shortest unused wrong one that is far enough (MATH style).

    Far enough: distance / (sum of both lengths) > the threshold. The thresholds are tried in order, the next
    one only where no wrong rationale passes; a correct one for which none passes is ``too_close``.
    """
    return _match(correct, wrong, max_pairs, partial(_shortest_beyond, min_distances=min_distances))


def _match(
    correct: Sequence[str],
    wrong: Sequence[str],
    max_pairs: int,
    choose: Callable[[str, Mapping[str, int]], tuple[str, int] | None],
) -> Matching:
    """Match greedily; ``choose`` returns the wrong text for a correct one, out of the unused ones, and the distance."""
    first_correct, first_wrong = _first_indices(correct), _first_indices(wrong)
    unused = dict(first_wrong)
    matches: list[Match] = []
    dropped: dict[int, CorrectDropReason] = {}
    for index, text in enumerate(correct):
        if first_correct[text] != index:
            dropped[index] = "duplicate_text"
        elif not unused:
            dropped[index] = "no_wrong_left" if wrong else "no_wrong_rationale"
        elif len(matches) >= max_pairs:
            dropped[index] = "over_limit"
        elif (found := choose(text, unused)) is None:
            dropped[index] = "too_close"
        else:
            chosen, distance = found
            matches.append(Match(index, unused.pop(chosen), distance))
    left: WrongDropReason = "no_correct_left" if correct else "no_correct_rationale"
    matched = {match.wrong_index for match in matches}
    return Matching(
        matches,
        dropped,
        {
            index: left if first_wrong[text] == index else "duplicate_text"
            for index, text in enumerate(wrong)
            if index not in matched
        },
    )


@dataclass
class _Farthest:
    """Finds the candidate at the largest distance; what earlier texts are far from bounds the next ones' distances."""

    _earlier: list[tuple[str, dict[str, int]]] = field(default_factory=list)

    def __call__(self, text: str, candidates: Mapping[str, int]) -> tuple[str, int]:
        distances: dict[str, int] = {}
        chosen, best = "", (-1, 0)
        for bound, order, candidate in self._bounded(text, candidates):
            if (bound, order) < best:
                break
            distances[candidate] = Levenshtein.distance(text, candidate)
            if (distances[candidate], order) > best:
                chosen, best = candidate, (distances[candidate], order)
        self._earlier.append((text, distances))
        return chosen, best[0]

    def _bounded(self, text: str, candidates: Mapping[str, int]) -> list[tuple[int, int, str]]:
        """Return (largest possible distance, minus its order, candidate), the most promising first."""
        ways = [(Levenshtein.distance(text, other), known) for other, known in self._earlier]
        bounds = []
        for order, candidate in enumerate(candidates):
            bound = max(len(text), len(candidate))
            for distance, known in ways:
                if candidate in known and distance + known[candidate] < bound:
                    bound = distance + known[candidate]
            bounds.append((bound, -order, candidate))
        return sorted(bounds, reverse=True)


def _shortest_beyond(
    text: str, candidates: Mapping[str, int], min_distances: Sequence[float]
) -> tuple[str, int] | None:
    at_least: dict[str, int] = {}
    # sorted() keeps equally long ones in order of index.
    by_length = sorted(candidates, key=len)
    for threshold in min_distances:
        for candidate in by_length:
            limit = threshold * (len(text) + len(candidate))
            if max(len(text), len(candidate)) <= limit:
                continue
            if candidate not in at_least:
                # More than the limit is all that is asked: the distance comes back as the limit and 1.
                at_least[candidate] = Levenshtein.distance(text, candidate, score_cutoff=int(limit))
            if at_least[candidate] > limit:
                return candidate, Levenshtein.distance(text, candidate)
    return None


def spread_by_chain(texts: Sequence[str], chains: Sequence[Hashable], max_kept: int) -> list[ChainDropReason | None]:
    """Keep one text per distinct chain of equations, at most ``max_kept``; return each text's drop reason.

    Reading of method step 4: among the texts with the same chain the one kept has the largest *sum* of edit
    distances to all distinct texts of the *other* chains. All of those count, not just the ones kept so far
    (as in the published code), so the choice for one chain does not depend on the order in which the chains
    are visited. With a single chain all sums are 0 and the first text stays. Where there are more than
    ``max_kept`` chains, those that occur first are kept; the representative of a later chain is
    ``over_limit``, every other text ``duplicate_chain``.
    """
    if len(texts) != len(chains):
        raise ValueError(f"{len(texts)} texts and {len(chains)} chains: there must be one chain per text")
    groups: dict[Hashable, dict[str, int]] = {}
    for index, (text, chain) in enumerate(zip(texts, chains, strict=True)):
        groups.setdefault(chain, {}).setdefault(text, index)
    distances = _Distances(texts)
    reasons: list[ChainDropReason | None] = ["duplicate_chain"] * len(texts)
    for position, chain in enumerate(groups):
        reasons[_farthest_of(groups, chain, distances)] = None if position < max_kept else "over_limit"
    return reasons


class _Distances:
    """Distances between the texts of a problem, each calculated once."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        self._known = array("i", [-1]) * (len(self._places) * (len(self._places) - 1) // 2)

    def total(self, text: str, others: Collection[str]) -> int:
        """Return the sum of the distances from a text to others.

        Right rationales of one problem are alike: the hint lets the library try the middle of its table first.
        """
        own, known, total = self._places[text], self._known, 0
        for other in others:
            place = self._places[other]
            if own == place:
                continue
            at = own * (own - 1) // 2 + place if place < own else place * (place - 1) // 2 + own
            if known[at] < 0:
                known[at] = Levenshtein.distance(text, other, score_hint=len(text) // 2)
            total += known[at]
        return total


def _farthest_of(groups: dict[Hashable, dict[str, int]], chain: Hashable, distances: _Distances) -> int:
    own = groups[chain]
    if len(own) == 1:
        return next(iter(own.values()))
    others = list(dict.fromkeys(text for other, texts in groups.items() if other != chain for text in texts))
    bounds = _bounds_of_totals(own, others)
    enough = max(low for low, _ in bounds.values())
    # The first of those with the same total stays: later ones must exceed it.
    open_texts = [text for text, (_, high) in bounds.items() if high >= enough]
    if len(open_texts) == 1:
        return own[open_texts[0]]
    totals = {text: distances.total(text, others) for text in open_texts}
    return own[max(totals, key=totals.__getitem__)]


def _bounds_of_totals(texts: Collection[str], others: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return for each text the least and the most that its distances to the others can add up to, by the lengths."""
    lengths = sorted(map(len, others))
    sums = [0, *accumulate(lengths)]
    bounds = {}
    for text in texts:
        shorter = bisect_left(lengths, len(text))
        gap = len(text) * (2 * shorter - len(lengths)) + sums[-1] - 2 * sums[shorter]
        # The longer of two lengths is half of their sum and their difference.
        bounds[text] = (gap, (len(text) * len(lengths) + sums[-1] + gap) // 2)
    return bounds


def spread_by_distance(texts: Sequence[str], min_distance: float, max_kept: int) -> list[DistanceDropReason | None]:
    """Keep, in order, each text that is far from every kept one, at most ``max_kept``; return the drop reasons.

    Far: distance / mean of both lengths > ``min_distance`` (an equal text is never far). A text that is far
    from all kept ones but comes after ``max_kept`` of them is ``over_limit``.
    """
    kept: list[str] = []
    seen: dict[str, DistanceDropReason | None] = {}
    reasons: list[DistanceDropReason | None] = []
    for text in texts:
        if text in seen:
            reasons.append("too_close" if seen[text] is None else seen[text])
            continue
        reason: DistanceDropReason | None = None
        if not all(_is_far(text, other, min_distance) for other in kept):
            reason = "too_close"
        elif len(kept) >= max_kept:
            reason = "over_limit"
        else:
            kept.append(text)
        seen[text] = reason
        reasons.append(reason)
    return reasons


def _is_far(first: str, second: str, min_distance: float) -> bool:
    limit = min_distance * (len(first) + len(second)) / 2
    return Levenshtein.distance(first, second, score_cutoff=int(limit)) > limit


def _first_indices(texts: Sequence[str]) -> dict[str, int]:
    """Map each distinct text to its lowest index, in order of index."""
    indices: dict[str, int] = {}
    for index, text in enumerate(texts):
        indices.setdefault(text, index)
    return indices
