r"""Splitting a rationale into steps; joining the steps gives the text back, character for character.

``lines`` (GSM8K): one step a line. ``sentences`` (MATH): sentences and display lines. A sentence may be cut

* after ``.``, ``!`` or ``?`` (with closing quotes or brackets) that white space and no lower-case letter follow, where
  it does not end an abbreviation, an initial or a list number;
* after a formula whose own text ends in such a mark (``$x = 5.$ Then``), by the same rule;
* after a display formula (``$$…$$``, ``\[…\]``, ``\begin…\end``): the text that leads to it stays with it;
* at a blank line, and at a line break after ``.!?:;`` or before a list mark or an upper-case letter.

It is never cut inside ``$…$``, ``$$…$$``, ``\[…\]``, ``\(…\)``, ``\begin…\end`` or ``[asy]…[/asy]``; ``$…$`` ends at
the latest at a blank line (as in TeX), and a formula that is never closed protects nothing. Time is linear in the text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

from selfexplore_tasks.grading.extract import extract_answer

StepStyle = Literal["lines", "sentences"]

MIN_STEP_CHARACTERS = 10
"""Sentences with fewer non-space characters are merged with the one before (the first: with the one after)."""

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_TOKEN = re.compile(
    r"(?P<skip>\\\\|\\\$)|(?P<double>\$\$)|(?P<single>\$)|(?P<open_display>\\\[)|(?P<close_display>\\\])"
    r"|(?P<open_inline>\\\()|(?P<close_inline>\\\))|(?P<begin>\\begin(?=\{)|\[asy\])|(?P<end>\\end\{[^{}\n]{0,40}\}|\[/asy\])"
    r"|(?P<blank>\n[^\S\n]*\n)"
)
_CUT = re.compile(
    # Each alternative starts only where its run starts and never gives back: no run is read twice.
    r"(?P<sentence>(?<![.!?])[.!?]++[\"')\]}*\u2019\u201d]*+)(?P<space>\s++)|(?P<newline>(?<![^\S\n])[^\S\n]*+\n\s*+)"
)
_SPACE = re.compile(r"\s+")
_LAST_WORD = re.compile(r"[A-Za-z0-9.]+\Z")
_LIST_MARK = re.compile(r"(?:[-*\u2022#]|\d{1,3}[.)]|\([a-z0-9]{1,2}\))")
_ABBREVIATIONS = frozenset(
    [
        "e.g",
        "i.e",
        "etc",
        "vs",
        "cf",
        "dr",
        "mr",
        "mrs",
        "ms",
        "prof",
        "st",
        "no",
        "nos",
        "fig",
        "figs",
        "eq",
        "eqs",
        "resp",
        "approx",
        "al",
        "ch",
        "sec",
        "p",
        "pp",
        "viz",
        "a.m",
        "p.m",
        "u.s",
    ]
)
_ANSWER_MARK = "####"


def split_steps(text: str, style: StepStyle) -> list[str]:
    """Split a rationale into steps with ``"".join(steps) == text``; an empty text has none.

    Every step keeps the white space after it. Blank lines belong to the step before them, at the very
    beginning to the first step.
    """
    if style == "lines":
        return _merge_blank(_LINE.findall(text))
    return _merge_short(_sentences(text))


def explorable_steps(text: str, style: StepStyle, *, answer_phrase: str, max_steps: int) -> list[str]:
    """Return the steps that may hold a first pit: those before the answer line, at most ``max_steps``, maybe none.

    The answer line is the first step (or line) that starts with the answer phrase, in any case, or with ``####``.
    What follows it is left out as well: a pit there would be an artefact. Where no line starts so, a last step that
    states the answer (`So the answer is 8.`, `\\boxed{8}`) is left out. The steps join to a prefix of the text.
    """
    phrase = answer_phrase.strip().casefold()
    end = 0
    for line in _LINE.findall(text):
        if _starts_answer(line, phrase):
            break
        end += len(line)
    steps: list[str] = []
    for step in split_steps(text[:end], style):
        if len(steps) == max_steps or _starts_answer(step, phrase):
            break
        steps.append(step)
    if steps and "".join(steps) == text and extract_answer(steps[-1], answer_phrase) is not None:
        steps.pop()
    return [] if not "".join(steps).strip() else steps


def _starts_answer(step: str, phrase: str) -> bool:
    start = step.lstrip(" \t*\n").casefold()
    return start.startswith((phrase, _ANSWER_MARK)) and bool(phrase)


def _merge_blank(pieces: list[str]) -> list[str]:
    steps: list[str] = []
    leading: list[str] = []
    for piece in pieces:
        if piece.strip():
            steps.append("".join(leading) + piece)
            leading = []
        elif steps and not leading:
            steps[-1] += piece
        else:
            leading.append(piece)
    return steps or (["".join(leading)] if leading else [])


def _merge_short(pieces: list[str]) -> list[str]:
    steps: list[list[str]] = []
    is_first_short = False
    for piece in pieces:
        is_short = sum(map(len, piece.split())) < MIN_STEP_CHARACTERS
        if steps and (is_short or is_first_short):
            steps[-1].append(piece)
            is_first_short = is_first_short and sum(map(len, "".join(steps[-1]).split())) < MIN_STEP_CHARACTERS
        else:
            is_first_short = is_short and not steps
            steps.append([piece])
    return ["".join(parts) for parts in steps]


def _sentences(text: str) -> list[str]:
    cuts = sorted({cut for cut in _cuts(text) if 0 < cut < len(text)})
    bounds = [0, *cuts, len(text)]
    return [text[start:end] for start, end in pairwise(bounds) if end > start]


def _cuts(text: str) -> Iterator[int]:
    """Yield the positions where the text may be cut, outside every formula."""
    position = 0
    for start, end, is_display in [*protected_spans(text), (len(text), len(text), False)]:
        yield from _plain_cuts(text, position, start)
        position = end
        after = _skip_space(text, end)
        is_ended = text[start:end].rstrip("$)]\\ \n").endswith((".", "!", "?")) and not text.startswith("\\end", start)
        if is_display or (is_ended and after > end and not _is_lower(text, after)):
            yield after


def _plain_cuts(text: str, start: int, end: int) -> Iterator[int]:
    for match in _CUT.finditer(text, start, end):
        if match["sentence"] is not None:
            is_inside = _is_lower(text, match.end()) or _is_abbreviated(text, start, match)
            is_cut = match["space"].count("\n") > 1 or not is_inside
        else:
            is_cut = match["newline"].count("\n") > 1 or _is_line_cut(text, match.start(), match.end())
        if is_cut:
            yield match.end()


def _is_lower(text: str, position: int) -> bool:
    return text[position : position + 1].islower()


def _is_abbreviated(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether the period ends an abbreviation, an initial or the number of a list item."""
    if not match["sentence"].startswith(".") or len(match["sentence"]) > 1:
        return False
    word = _LAST_WORD.search(text, max(start, match.start() - 20), match.start())
    if word is None:
        return False
    letters = word.group()
    if letters.isdigit():
        return not text[max(0, word.start() - 20) : word.start()].rpartition("\n")[2].strip() and len(letters) <= 3
    return letters.casefold() in _ABBREVIATIONS or (len(letters) == 1 and letters.isupper())


def _is_line_cut(text: str, start: int, end: int) -> bool:
    if text[max(0, start - 1) : start] in set(".!?:;"):
        return True
    return text[end : end + 1].isupper() or _LIST_MARK.match(text, end) is not None


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def protected_spans(text: str) -> list[tuple[int, int, bool]]:
    """Return the formulas and environments as (start, end, is display), in order and disjoint."""
    tokens = [(match.lastgroup or "", match.start(), match.end()) for match in _TOKEN.finditer(text)]
    environment_ends = _match_environments(tokens)
    positions: dict[str, list[int]] = {}
    for index, (kind, _, _) in enumerate(tokens):
        positions.setdefault(kind, []).append(index)
    spans: list[tuple[int, int, bool]] = []
    index = 0
    while index < len(tokens):
        kind, start, _ = tokens[index]
        closing = _closing_token(text, tokens, positions, environment_ends, index)
        if closing is None:
            index += 1
            continue
        spans.append((start, tokens[closing][2], kind not in ("single", "open_inline")))
        index = closing + 1
    return spans


def _match_environments(tokens: list[tuple[str, int, int]]) -> dict[int, int]:
    opened: list[int] = []
    ends: dict[int, int] = {}
    for index, (kind, _, _) in enumerate(tokens):
        if kind == "begin":
            opened.append(index)
        elif kind == "end" and opened:
            ends[opened.pop()] = index
    return ends


def _closing_token(
    text: str,
    tokens: list[tuple[str, int, int]],
    positions: dict[str, list[int]],
    environment_ends: dict[int, int],
    index: int,
) -> int | None:
    """Return the index of the token that closes the formula opened by token ``index``, or None."""
    kind, _, end = tokens[index]
    if kind == "begin":
        return environment_ends.get(index)
    closing_kind = {"open_display": "close_display", "open_inline": "close_inline"}.get(kind, kind)
    if closing_kind not in ("double", "single", "close_display", "close_inline") or kind.startswith("close"):
        return None
    closing = _next(positions.get(closing_kind, []), index)
    if closing is None or kind != "single":
        return closing
    blank = _next(positions.get("blank", []), index)
    if blank is not None and blank < closing:
        return None
    start_of_close, end_of_close = tokens[closing][1:]
    # "$5 today and $6": a digit after both signs and a space before the second are prices, not a formula.
    is_price = (
        text[end : end + 1].isdigit()
        and text[start_of_close - 1].isspace()
        and text[end_of_close : end_of_close + 1].isdigit()
    )
    return None if is_price else closing


def _next(indices: list[int], index: int) -> int | None:
    following = bisect_right(indices, index)
    return indices[following] if following < len(indices) else None
