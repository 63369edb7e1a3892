r"""Whether a gold answer can be read at all: no prediction can be graded against ``\frac{1}{``.

Readable without a subprocess: a number, a text without digits and LaTeX that holds a letter or symbol, or a balanced
text that neither begins nor ends with an operator. Of the rest, what Math-Verify can parse.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from selfexplore_tasks.grading.compare import MAX_ANSWER, normalise_answer, parse_number
from selfexplore_tasks.grading.pool import SymbolicPool

_TIMEOUT_S = 5.0
_ENVIRONMENT = re.compile(r"\\(begin|end)\s*\{([^{}]*)\}")
# Words and grades ("A+", "B)") are compared as text, however they are punctuated.
_MATHEMATICAL = re.compile(r"[\\^_=\d]")
# Half-open intervals mix round and square brackets.
_PARTNERS = {"}": "{", ")": "([", "]": "(["}
_DANGLING = re.compile(r"[=^_*/].*|.*[-+=^_*/\\]|.*\\(?:d?frac|sqrt|cdot|times|div|pm)|.*\\frac\s*\{\s*\}.*", re.DOTALL)


def unreadable_golds(golds: Sequence[str]) -> set[str]:
    """Return the gold answers that cannot be read; a subprocess is started only where plain rules do not decide."""
    unsettled: dict[str, str] = {}
    unreadable: set[str] = set()
    for gold in dict.fromkeys(golds):
        normalised = normalise_answer(gold)
        if len(normalised) > MAX_ANSWER or not _has_content(normalised):
            unreadable.add(gold)
        elif _MATHEMATICAL.search(normalised) and parse_number(gold) is None and _is_broken(normalised):
            unsettled[gold] = normalised
    if unsettled:
        with SymbolicPool(timeout_s=_TIMEOUT_S, workers=1) as pool:
            parsed = pool.can_parse(list(unsettled.values()))
        unreadable.update(gold for gold, is_parsed in zip(unsettled, parsed, strict=True) if not is_parsed)
    return unreadable


def _is_broken(text: str) -> bool:
    return not _is_balanced(text) or _DANGLING.fullmatch(text) is not None


def _has_content(text: str) -> bool:
    return any(character.isalnum() or unicodedata.category(character) == "Sm" for character in text)


def _is_balanced(text: str) -> bool:
    """Whether brackets and LaTeX environments close in the order they open."""
    opened: list[str] = []
    for character in text:
        if character in "{([":
            opened.append(character)
        elif character in _PARTNERS and (not opened or opened.pop() not in _PARTNERS[character]):
            return False
    environments: list[str] = []
    for kind, name in _ENVIRONMENT.findall(text):
        if kind == "begin":
            environments.append(name)
        elif not environments or environments.pop() != name:
            return False
    return not opened and not environments
