r"""Equality of two answers where it can be decided exactly and cheaply: numbers and plain text.

Gold and prediction go through the same ``normalise_answer``; comparing a raw gold with a normalised prediction
is the published code's fault (79 GSM8K golds with a comma). Rules:

* Numbers are exact fractions: ``1,080 = 1080``, ``5.0 = 5``, ``1/2 = 0.5 = \frac12``; no rounding, 0.33 is not 1/3.
* Currency signs, degrees and units after a number are ignored (``$5``, ``5 dollars``, ``5\text{ cm}^2``), but words
  that change the value (million, dozen, half, pm) are not units.
* A percent sign is a unit too: ``50% = 50``, and ``50%`` is not ``0.5``.
* A comma inside a number must be a thousands comma: ``1,22`` is no number.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Literal

MAX_ANSWER = 1_000
"""Answers longer than this (characters) are compared as text only."""
MAX_DIGITS = 100
"""Numbers with more digits are not read as numbers."""

REMEMBERED = 8_192
"""Answers of which the normal form and the number are remembered: a problem's rationales share a few."""

LocalReason = Literal["equal_number", "unequal_number", "equal_text", "unequal_text", "too_long"]

_DASHES = "\u2212\u2013\u2010\u2011\ufe63\uff0d"
_SPACES = "\u00a0\u202f\u2009\u2007"
_PLAIN_CHARACTERS = str.maketrans(dict.fromkeys(_DASHES, "-") | dict.fromkeys(_SPACES, " ") | {"\0": None})
_WRAPPERS = (
    re.compile(r"\$\$?([^$]*)\$\$?"),
    re.compile(r"\\\((.*)\\\)", re.DOTALL),
    re.compile(r"\\\[(.*)\\\]", re.DOTALL),
    re.compile(r"\\(?:boxed|fbox|text|mbox|textbf|textrm|textnormal|mathrm|mathbf)\s*\{([^{}]*)\}"),
    re.compile(r"\*\*([^*]*)\*\*"),
    re.compile(r"\"([^\"]*)\""),
    re.compile(r"'([^']*)'"),
    re.compile(r"`([^`]*)`"),
)
_CLEANUPS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\\(?:left|right|bigl?|bigr|Bigl?|Bigr)(?![A-Za-z])\s*"), ""),
    (re.compile(r"\{,\}|,\\!\s*"), ","),
    (re.compile(r"\\[!;:,]"), ""),
    (re.compile(r"\\ |~|\\q?quad(?![A-Za-z])"), " "),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degree(?![A-Za-z])|°"), ""),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\\?\$|[€£¥]"), ""),
    (re.compile(r"\s+"), " "),
)
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{{1,2}})?(?![\d,.])"
_UNIT_MACRO = r"\\(?:text|mbox|textbf|textrm|textnormal|mathrm|mathbf)"
_UNIT = (
    rf"(?:(?P<unit>\s*%|\s*{_UNIT_MACRO}\s*\{{[^{{}}]{{0,60}}\}}|\s+[A-Za-z][A-Za-z .'/-]{{0,80}}"
    r"|(?:km|cm|mm|kg|mg|lbs?|oz|ft|mph|kph|hrs?|mins?|secs?|ml|cents|dollars))(?:\s*\^\s*\{?[23]\}?|[²³])?)?\s*\.?"
)
_NUMBER_FORMS = tuple(
    re.compile(rf"(?P<sign>[+-]?)\s*{form}{_UNIT}")
    for form in (
        rf"(?P<top>{_DECIMAL})",
        rf"(?P<top>{_DECIMAL})\s*/\s*(?P<bottom>{_DECIMAL})",
        r"(?P<whole>\d+)[ -](?P<top>\d+)\s*/\s*(?P<bottom>\d+)",
        rf"(?P<whole>\d+)?\s*\\frac\s*\{{\s*(?P<top>-?\s*{_DECIMAL})\s*\}}\s*\{{\s*(?P<bottom>{_DECIMAL})\s*\}}",
        r"(?P<whole>\d+)?\s*\\frac\s*(?P<top>\d)\s*(?P<bottom>\d)",
    )
)
_NOT_UNITS = frozenset(
    [
        "hundred",
        "thousand",
        "million",
        "billion",
        "trillion",
        "dozen",
        "score",
        "k",
        "am",
        "pm",
        "and",
        "or",
        "to",
        "pi",
        "i",
        "e",
        "x",
        "mod",
        "modulo",
        "half",
        "halves",
        "third",
        "thirds",
        "quarter",
        "quarters",
        "fourth",
        "fourths",
        "fifth",
        "fifths",
        "sixth",
        "sixths",
        "seventh",
        "sevenths",
        "eighth",
        "eighths",
        "ninth",
        "ninths",
        "tenth",
        "tenths",
        "hundredth",
        "hundredths",
        "thousandth",
        "thousandths",
        "squared",
        "cubed",
        "sqrt",
        "root",
        "base",
        "factorial",
        # "5 minus two", "3 over four": a number word makes the words a calculation.
        *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
        *("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),
    ]
)
_WORDS = re.compile(r"[A-Za-z][A-Za-z '-]*")
_TEXT_MACRO = re.compile(r"\\(?:text|mbox|textbf|textrm|textnormal|mathrm)\s*\{([^{}]*)\}")
# A space between digits separates two numbers, unless a group of three follows: "1 2" is not 12, "1 000" is 1000.
_LOOSE_SPACE = re.compile(r"(?<!\d) | (?!\d)|(?<=\d) (?=\d{3}(?!\d))")
_LETTER_CHOICE = re.compile(r"\(([A-Za-z])\)")


def strip_wrapping(text: str) -> str:
    r"""Remove what only surrounds an answer: spaces, quotes, ``$…$``, ``\(…\)``, ``\boxed{}``, a final period."""
    for _ in range(4):
        before = text
        text = text.strip().rstrip(".,;: ")
        for wrapper in _WRAPPERS:
            if match := wrapper.fullmatch(text):
                text = match.group(1)
        if text == before:
            break
    return text


def normalise_answer(text: str) -> str:
    """Return the form in which gold and prediction are compared; the one normalisation there is."""
    return text.strip() if len(text) > MAX_ANSWER else _normalised(text)


@lru_cache(maxsize=REMEMBERED)
def _normalised(text: str) -> str:
    text = strip_wrapping(text.translate(_PLAIN_CHARACTERS))
    if "\\begin" not in text and "&" not in text:
        text = text.replace("\\\\", "\\")
    for pattern, replacement in _CLEANUPS:
        text = pattern.sub(replacement, text)
    return strip_wrapping(text)


def parse_number(text: str) -> Fraction | None:
    """Return the number an answer states, exactly, or None if it is not one number (rules: module docstring)."""
    return _number(normalise_answer(text))


def _number(normalised: str) -> Fraction | None:
    return None if len(normalised) > 2 * MAX_DIGITS else _short_number(normalised)


@lru_cache(maxsize=REMEMBERED)
def _short_number(normalised: str) -> Fraction | None:
    if sum(map(str.isdigit, normalised)) > MAX_DIGITS:
        return None
    for form in _NUMBER_FORMS:
        match = form.fullmatch(normalised)
        if match and _is_unit(match["unit"]):
            return _fraction(match.groupdict())
    return None


def _fraction(parts: dict[str, str | None]) -> Fraction | None:
    top, bottom, whole = (_plain(parts.get(name)) for name in ("top", "bottom", "whole"))
    if parts["sign"] and top.startswith("-"):
        return None
    value = Fraction(top)
    if bottom:
        denominator = Fraction(bottom)
        if denominator == 0:
            return None
        value /= denominator
    if whole:
        value += Fraction(whole)
    return -value if parts["sign"] == "-" else value


def _plain(digits: str | None) -> str:
    return (digits or "").replace(",", "").replace(" ", "").rstrip(".")


def _is_unit(unit: str | None) -> bool:
    if not unit or unit.strip() == "%":
        return True
    words = re.findall(r"[a-z]+", _TEXT_MACRO.sub(r"\1", unit).casefold().replace("a.m.", "am").replace("p.m.", "pm"))
    if not words:
        return False
    in_macro = "\\" in unit
    is_named = in_macro or len(words[0]) > 1 or (words[0] == "a" and len(words) > 1)
    # "5 dozens" is no more 5 than "5 dozen".
    singular = (word.removesuffix("s") for word in words)
    return is_named and _NOT_UNITS.isdisjoint(words) and _NOT_UNITS.isdisjoint(singular)


def answers_equal(first: str, second: str) -> bool:
    """Whether both texts are numbers and the same number, by exact arithmetic."""
    first_number = parse_number(first)
    return first_number is not None and first_number == parse_number(second)


def compare_locally(gold: str, prediction: str) -> LocalReason | None:
    """Decide equality without symbolic mathematics; None where that is needed.

    Both arguments are normalised. Two numbers are decided exactly, equal texts are equal, two different phrases
    of words are different, and a text without digits or LaTeX is never equal to a number.
    """
    gold_number, predicted_number = _number(gold), _number(prediction)
    if gold_number is not None and predicted_number is not None:
        return "equal_number" if gold_number == predicted_number else "unequal_number"
    gold_key, predicted_key = _text_key(gold), _text_key(prediction)
    if gold_key and gold_key == predicted_key:
        return "equal_text"
    if max(len(gold), len(prediction)) > MAX_ANSWER:
        return "too_long"
    if not gold_key or not predicted_key or _are_words(gold_key, predicted_key):
        return "unequal_text"
    other = prediction if gold_number is not None else gold if predicted_number is not None else None
    if other is not None and not re.search(r"[\d\\]", other):
        return "unequal_text"
    return None


def _text_key(normalised: str) -> str:
    key = strip_wrapping(_TEXT_MACRO.sub(r"\1", normalised)) if len(normalised) <= MAX_ANSWER else normalised
    if match := _LETTER_CHOICE.fullmatch(key):
        key = match.group(1)
    key = " ".join(key.split())
    return key.casefold() if _WORDS.fullmatch(key) and len(key) > 1 else _LOOSE_SPACE.sub("", key)


def _are_words(first: str, second: str) -> bool:
    """Whether both are words rather than products of variables (three letters or fewer could be either)."""
    return bool(_WORDS.fullmatch(first) and _WORDS.fullmatch(second)) and max(len(first), len(second)) > 3
