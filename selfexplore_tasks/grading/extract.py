"""Finding the answer in a text: pure string work, linear in the text, nothing is evaluated."""

from __future__ import annotations

import re
from functools import lru_cache

from selfexplore_tasks.grading.compare import parse_number, strip_wrapping

MAX_TEXT = 100_000
"""Longer texts (characters) are read from their end only: such a text is a model that did not stop."""
TAIL = 10_000
"""Characters read of a text longer than ``MAX_TEXT``."""

_GSM8K_MARK = "####"
_BOXED = re.compile(
    r"\\f?boxed(?![A-Za-z])\s*(?:(?P<brace>(?=\{))|(?P<bare>[-+]?\d+(?:[.,/]\d+)*|[A-Za-z](?![A-Za-z])))"
)
_OPENS_DISPLAY = re.compile(r"\s*(?:\\begin\s*\{|\\\[|\$\$)")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_NUMBER = re.compile(
    r"(?:(?<![\w)\]}])-\s?)?\$?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+)(?:/\d+(?![\d.]))?"
)
_CALCULATOR_MARK = re.compile(r"<<[^<>\n]*>>")
_SENTENCE_END = re.compile(r"\.\s")


def readable_part(text: str) -> str:
    """Return the text, or its last ``TAIL`` characters if it is longer than ``MAX_TEXT``."""
    return text if len(text) <= MAX_TEXT else text[-TAIL:]


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last ``\boxed{…}`` with balanced braces, or None.

    A number or single letter without braces counts too: MATH has some ``\boxed 2``.

    >>> last_boxed(r"so \boxed{1} or rather \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    boxes = list(_BOXED.finditer(text))
    closing = _closing_braces(text, boxes[0].end()) if boxes else {}
    for box in reversed(boxes):
        if box["bare"]:
            return box["bare"]
        if box.end() in closing:
            return text[box.end() + 1 : closing[box.end()]].strip()
    return None


def _closing_braces(text: str, begin: int) -> dict[int, int]:
    """Map every opening brace at or after ``begin`` to its closing one; unbalanced braces are absent."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACE.finditer(text, begin):
        if match.group() == "{":
            opened.append(match.start())
        elif match.group() == "}" and opened:
            closing[opened.pop()] = match.start()
    return closing


def last_number(text: str) -> str | None:
    """Return the last number in the text as written (sign, thousands commas, decimals, ``a/b``), or None."""
    text = readable_part(text)
    # Line by line from the end: most rationales have many numbers, and the last line has the one that counts.
    end = len(text)
    while end > 0:
        begin = _line_begin(text, end)
        found = _NUMBER.findall(text[begin:end])
        if found:
            return found[-1]
        end = begin
    return None


def _line_begin(text: str, end: int) -> int:
    """Where the last lines before ``end`` begin; a minus at the end of a line may belong to a number on the next."""
    begin = text.rfind("\n", 0, end - 1) + 1
    while begin and text[begin - 2 : begin - 1] == "-":
        begin = text.rfind("\n", 0, begin - 1) + 1
    return begin


def extract_answer(text: str, answer_phrase: str, *more_phrases: str) -> str | None:
    r"""Return the strict answer: what follows the last answer phrase on its line, else ``####``, else ``\boxed{}``.

    Where the first phrase gives no answer, ``more_phrases`` are tried in order, before the other two forms.

    The phrase is found in any case and as whole words. Where a box or a display opens on its line, the last box
    from there on is the answer. Where nothing follows the phrase, the next of the three forms is tried. The result
    is trimmed for reading (``$``, quotes, bold marks and the final period go) but not normalised: that is
    ``compare.normalise_answer``'s, for the gold answer and this one alike.
    """
    text = readable_part(text)
    for pattern in map(_phrase_pattern, (answer_phrase, *more_phrases, _GSM8K_MARK)):
        start = max((match.end() for match in pattern.finditer(text)), default=None)
        if start is not None and (answer := _answer_at(text, start)):
            return answer
    boxed = last_boxed(text)
    return (strip_wrapping(boxed) or None) if boxed is not None else None


@lru_cache(maxsize=64)
def _phrase_pattern(phrase: str) -> re.Pattern[str]:
    phrase = phrase.strip()
    before = r"(?<!\w)" if phrase[:1].isalnum() else ""
    after = r"(?!\w)" if phrase[-1:].isalnum() else ""
    words = r"\s+".join(re.escape(word) for word in phrase.split())
    return re.compile(before + words + after, re.IGNORECASE)


def _answer_at(text: str, start: int) -> str:
    """Read the answer from ``start`` to the end of its line; a box or a display that opens there may go on after it."""
    end = text.find("\n", start)
    line = text[start : end if end >= 0 else len(text)]
    boxed = last_boxed(line)
    if boxed is None and (_BOXED.search(line) or _OPENS_DISPLAY.match(line)):
        boxed = last_boxed(text[start:])
    if boxed is not None:
        return strip_wrapping(boxed)
    line = _CALCULATOR_MARK.sub("", line).lstrip(" \t:=*")
    sentence_end = _SENTENCE_END.search(line)
    if sentence_end and _is_complete(line[: sentence_end.start()]):
        line = line[: sentence_end.start()]
    # "**The answer is: 18**" leaves half of a bold mark.
    return strip_wrapping(strip_wrapping(line).rstrip("* "))


def _is_complete(text: str) -> bool:
    """Whether the text before a period is an answer by itself, so that what follows is another sentence."""
    return parse_number(text) is not None or (text.count("$") >= 2 and text.count("$") % 2 == 0)


def gold_from_gsm8k(answer_text: str) -> tuple[str, str]:
    """Split GSM8K's ``answer`` column into (rationale, gold): the lines before ``####`` and what follows it.

    The gold is returned as written ("1,080"). It is empty where there is no ``####``.
    """
    rationale, mark, gold = answer_text.rpartition(_GSM8K_MARK)
    if not mark:
        return answer_text.strip(), ""
    return rationale.strip(), gold.strip()
