r"""Splitting a rationale into steps; joining the steps gives the text back, character for character.

``lines`` (GSM8K): one step a line. ``sentences`` (MATH): sentences and display lines. A sentence may be cut

* after ``.``, ``!`` or ``?`` (with closing quotes or brackets) that white space and no lower-case letter follow, where
  it does not end an abbreviation, an initial or a list number;
* after a formula whose own text ends in such a mark (``$x = 5.$ Then``), by the same rule;
* after a display formula (``$$…$$``, ``\[…\]``, ``\begin…\end``) and the marks behind it;
* at a blank line, and at a line break that comes after ``.!?:;``, before a list mark or an upper-case letter, or
  between two formulas.

It is never cut inside ``$…$``, ``$$…$$``, ``\[…\]``, ``\(…\)``, ``\begin…\end`` or ``[asy]…[/asy]``; ``$…$`` ends at
the latest at a blank line (as in TeX), and a formula that is never closed protects nothing.

What is no step by itself is part of a neighbour: words that lead to a display formula ("We obtain:") go with it, the
rest of its sentence, if that has no formula and no digit ("ways to choose."), too; a figure (``[asy]``) goes with the
text before it, at the very beginning with the text after it; so do pieces of a few characters. Time is linear.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

from selfexplore_tasks.grading.extract import extract_answer

StepStyle = Literal["lines", "sentences"]
Span = tuple[int, int, bool]
"""A formula or environment: start, end, whether it is displayed."""

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
_BEHIND_DISPLAY = re.compile(r"\s*+(?:[.,;:!?](?!\d))*+\s*+")
_MATHS = re.compile(r"[\d$\\]")
_LAST_WORD = re.compile(r"[A-Za-z0-9.]+\Z")
_LIST_MARK = re.compile(r"(?:[-*\u2022#]|\d{1,3}[.)]|\([a-z0-9]{1,2}\))")
_ABBREVIATION = re.compile(
    r"e\.g|i\.e|etc|vs|cf|[dm]r|mrs|ms|prof|st|nos?|figs?|eqs?|resp|approx|al|ch|sec|pp?|viz|[ap]\.m|u\.s",
    re.IGNORECASE,
)
_ANSWER_MARK = "####"
_FIGURE = "[asy]"
_CLOSING = "$)]}*\"'\u2019\u201d\\ \t\n"
"""What may stand behind the mark that ends a sentence, inside of a formula too."""


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
    return start.startswith((phrase, _ANSWER_MARK))


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
        if steps and (is_short or is_first_short or _is_tail(steps[-1][-1], piece)):
            steps[-1].append(piece)
            is_first_short = is_first_short and sum(map(len, "".join(steps[-1]).split())) < MIN_STEP_CHARACTERS
        else:
            is_first_short = is_short and not steps
            steps.append([piece])
    return ["".join(parts) for parts in steps]


def _is_tail(before: str, piece: str) -> bool:
    """Whether the piece only ends the sentence of the display formula before it."""
    is_behind_display = before.rstrip(" \t\n.,;:!?").endswith(("\\]", "$$", "}"))
    return is_behind_display and piece[:1].islower() and _MATHS.search(piece) is None


def _sentences(text: str) -> list[str]:
    spans = protected_spans(text)
    cuts = {cut for cut in _cuts(text, spans) if 0 < cut < len(text)}.difference(_joints(text, spans))
    return [text[start:end] for start, end in pairwise([0, *sorted(cuts), len(text)]) if end > start]


def _joints(text: str, spans: list[Span]) -> Iterator[int]:
    """Yield the positions around display formulas and figures where a cut would part what belongs together."""
    position = 0
    has_text = is_open = False
    for start, end, is_display in spans:
        lead = text[position:start].rstrip()
        if lead:
            has_text, is_open = True, not _ends_sentence(lead)
        if text.startswith(_FIGURE, start):
            yield start
            if not has_text:
                yield _skip(_SPACE, text, end)
        else:
            if is_display and is_open:
                yield start
            has_text = True
        position = end
        is_open = not is_display and not _ends_sentence(text[start:end])


def _ends_sentence(text: str) -> bool:
    """Whether the text, maybe a formula with its signs, ends in the mark of a finished sentence."""
    return text.rstrip(_CLOSING).endswith((".", "!", "?"))


def _cuts(text: str, spans: list[Span]) -> Iterator[int]:
    """Yield the positions where the text may be cut, outside every formula."""
    position = 0
    for start, end, is_display in [*spans, (len(text), len(text), False)]:
        yield from _plain_cuts(text, position, start)
        position = end
        if is_display:
            yield _skip(_BEHIND_DISPLAY, text, end)
        else:
            after = _skip(_SPACE, text, end)
            if after > end and _ends_sentence(text[start:end]) and not _goes_on(text, after):
                yield after


def _plain_cuts(text: str, start: int, end: int) -> Iterator[int]:
    for match in _CUT.finditer(text, start, end):
        if match["sentence"] is not None:
            is_inside = _goes_on(text, match.end()) or _is_abbreviated(text, start, match)
            is_cut = match["space"].count("\n") > 1 or not is_inside
        else:
            is_cut = match["newline"].count("\n") > 1 or _is_line_cut(text, match.start(), match.end())
        if is_cut:
            yield match.end()


def _goes_on(text: str, position: int) -> bool:
    """Whether what stands here cannot begin a sentence: a lower-case letter, or a mark as in `3, 5, . . ., 9`."""
    following = text[position : position + 1]
    return following.islower() or following in set(".,;:!?")


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
    return _ABBREVIATION.fullmatch(letters) is not None or (len(letters) == 1 and letters.isupper())


def _is_line_cut(text: str, start: int, end: int) -> bool:
    before = text[max(0, start - 1) : start]
    # Formulas on lines of their own are display lines.
    if before in set(".!?:;") or (before == "$" and text.startswith("$", end)):
        return True
    return text[end : end + 1].isupper() or _LIST_MARK.match(text, end) is not None


def _skip(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def protected_spans(text: str) -> list[Span]:
    """Return the formulas and environments, in order and disjoint."""
    tokens = [(match.lastgroup or "", match.start(), match.end()) for match in _TOKEN.finditer(text)]
    environment_ends = _match_environments(tokens)
    positions: dict[str, list[int]] = {}
    for index, (kind, _, _) in enumerate(tokens):
        positions.setdefault(kind, []).append(index)
    spans: list[Span] = []
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
