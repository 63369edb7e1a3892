"""The equations of a rationale: their normalised chain, and whether their arithmetic holds.

Equations are read line by line: from the calculator marks ``<<16-3=13>>`` where a line has any, else from plain
text such as ``18 + 8 = 26``. Plain text is read cautiously, for a good rationale must not be dropped over prose:
what has words or variables in it (``3 apples * 2 = 6``, ``2x + 3 = 7``), mixed numbers (``1 1/2``), spaced digits
(``18 000``) or no operator at all is no equation. A chain ``a = b = c`` is one equation.

Evaluation is exact (fractions) in a small parser: ``+ - * / ^``, ``//`` (rounds down), the letter x and the usual
signs for times and divided by, parentheses, decimals, percent, currency signs and thousands commas; nothing is ever
passed to Python. Two sides agree if they are equal, or if one is written with d >= 1 decimal places and the other
rounds (half either way) or truncates to it (``1/3 = 0.33``, ``2/3 = 0.67``, ``2/3 = 0.66``), or if they differ by
less than one part in 10^9 (``8.294400000000001``).
Whole numbers get no tolerance: ``10/3 = 3`` does not hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from selfexplore_tasks.expressions import NotArithmeticError, evaluate

MAX_LENGTH = 500
"""A longer equation (characters) is not evaluated; in a mark it does not hold."""

REMEMBERED = 8_192
"""Lines and marks whose equations are remembered: a problem's rationales share many. No longer ones than MAX_LENGTH."""

_MARK = re.compile(r"<<([^<>\n]*)>>")
_LINE = re.compile(r"[^\n]+")
_LATEX = (
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])"), "*"),
    (re.compile(r"\\div(?![A-Za-z])"), "/"),
    (re.compile(r"\\[()\[\],!;]"), " "),
    (re.compile(r"\\(?=[$%])"), ""),
)
_BULLET = re.compile(r"\s*[-*\u2022]\s+")
_TOKEN = re.compile(
    r"(?P<number>(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d+)?|\.\d+)|(?P<sign>\*\*|//|[-+*/^()%=\u2212\u2013\u00d7\u00f7\u00b7])"
    r"|(?P<times>[xX](?=\s*[\d.$(]))|(?P<space>[\s$\u20ac\u00a3]+)|(?P<other>.)",
    re.DOTALL,
)
_CONTINUES = re.compile(r"(?<=[\d)%])(?:[A-Za-z_]|:\d)|and\s+\$?\(?\d+/\d")
_PRECEDES = re.compile(r"(?:[A-Za-z_:]|[%\d]\s+of\s+\$?)\Z")
_SIGNS = {"\u2212": "-", "\u2013": "-", "\u00d7": "*", "\u00f7": "/", "\u00b7": "*", "**": "^"}
_BINARY = frozenset(("+", "-", "*", "/", "//", "^"))


@dataclass(frozen=True)
class Equation:
    """One equation: its normalised form, and whether it holds."""

    key: str
    holds: bool


@dataclass
class _Run:
    """A stretch of arithmetic in a line; partial where a number at its end belongs to something longer."""

    tokens: list[str]
    is_start_partial: bool = False
    is_end_partial: bool = False

    def complete(self) -> Iterator[_Run]:
        """Yield the run if it has an equals sign."""
        if "=" in self.tokens:
            yield self


def equation_chain(text: str) -> tuple[str, ...]:
    """Return the text's equations in order, normalised: no spaces, one sign per operation, plain numbers.

    >>> equation_chain("He has 5.0 x 2 = <<5*2=10>>10 and more.\\nNow 10 + 1,000 = 1010.")
    ('5*2=10', '10+1000=1010')
    """
    return tuple(equation.key for equation in equations_of(text))


def equations_hold(text: str) -> bool:
    """Whether every equation of the text holds; True if it has none.

    A division by zero or a mark that is not arithmetic (``<<x+1=3>>``, ``<<7>>``) does not hold.
    """
    return all(equation.holds for equation in equations_of(text))


def equations_of(text: str) -> list[Equation]:
    """Return the text's equations in order."""
    lines = (match.group() for match in _LINE.finditer(text) if "=" in match.group() or "<<" in match.group())
    return [
        equation
        for line in lines
        for equation in (_remembered(line) if len(line) <= MAX_LENGTH else equations_of_line(line))
    ]


def equations_of_line(line: str) -> tuple[Equation, ...]:
    """Return the equations of one line: its marks, or what stands in plain text where it has none."""
    return _read_line(line, _from_mark)


@lru_cache(maxsize=REMEMBERED)
def _remembered(line: str) -> tuple[Equation, ...]:
    return _read_line(line, _remembered_mark)


def _read_line(line: str, read_mark: Callable[[str], Equation]) -> tuple[Equation, ...]:
    marks = _MARK.findall(line) if "<<" in line else []
    return tuple(map(read_mark, marks)) if marks else tuple(_from_plain(line)) if "=" in line else ()


@lru_cache(maxsize=REMEMBERED)
def _remembered_mark(content: str) -> Equation:
    return _from_mark(content)


def _from_mark(content: str) -> Equation:
    tokens = _tokens(content) if len(content) <= MAX_LENGTH else None
    if tokens is None or "=" not in tokens:
        return Equation("".join(content.split()), False)
    sides = _split_sides(tokens)
    return _equation(sides, [_value(side) for side in sides])


def _tokens(content: str) -> list[str] | None:
    """Return the normalised tokens, or None if there is anything that is not arithmetic."""
    tokens: list[str] = []
    for match in _TOKEN.finditer(content):
        if match["other"] is not None:
            return None
        if match["space"] is None:
            tokens.append(_normalise(match))
    return tokens


def _normalise(match: re.Match[str]) -> str:
    if match["times"] is not None:
        return "*"
    if match["sign"] is not None:
        return _SIGNS.get(match["sign"], match["sign"])
    whole, _, decimals = match["number"].replace(",", "").partition(".")
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    return f"{whole}.{decimals}" if decimals else whole


def _split_sides(tokens: list[str]) -> tuple[tuple[str, ...], ...]:
    sides: list[list[str]] = [[]]
    for token in tokens:
        if token == "=":
            sides.append([])
        else:
            sides[-1].append(token)
    return tuple(tuple(side) for side in sides)


def _from_plain(line: str) -> Iterator[Equation]:
    for pattern, replacement in _LATEX:
        line = pattern.sub(replacement, line)
    bullet = _BULLET.match(line)
    for run in _runs(line, bullet.end() if bullet else 0):
        sides = _split_sides(run.tokens)
        # "total = 2 + 3 = 5": before the first sign stands a word; "3 apples + 2 = 5": the left side is not all here.
        is_first_partial = not sides[0] or sides[0][0] in _BINARY or run.is_start_partial
        is_last_partial = not sides[-1] or sides[-1][-1] in _BINARY or run.is_end_partial
        sides = sides[is_first_partial : len(sides) - is_last_partial]
        has_operator = any(_BINARY.intersection(side[1:]) for side in sides)
        if len(sides) > 1 and has_operator:
            try:
                values = [_evaluated(side) for side in sides]
            except NotArithmeticError:
                continue
            yield _equation(sides, values)


def _runs(line: str, start: int) -> Iterator[_Run]:
    """Yield the stretches of arithmetic that have an equals sign."""
    run = _Run([])
    for match in _TOKEN.finditer(line, start):
        if match["space"] is not None:
            continue
        if match["other"] is not None:
            if run.tokens:
                run.is_end_partial = _CONTINUES.match(line, match.start()) is not None
                yield from run.complete()
            run = _Run([])
            continue
        token = _normalise(match)
        if token[0].isdigit() and run.tokens and _ends_value(run.tokens[-1]):
            # "1 1/2" or "18 000": neither number stands alone.
            run.is_end_partial = True
            yield from run.complete()
            run = _Run([], is_start_partial=True)
        if not run.tokens and _PRECEDES.search(line, max(start, match.start() - 20), match.start()):
            run.is_start_partial = True
        run.tokens.append(token)
    yield from run.complete()


def _ends_value(token: str) -> bool:
    return token[0] in "0123456789." or token in (")", "%")


def _equation(sides: tuple[tuple[str, ...], ...], values: list[Fraction | None]) -> Equation:
    """Put an equation together; a side without a value does not hold."""
    holds = all(
        first is not None and second is not None and _agree(first, second, *both)
        for (first, second), both in zip(pairwise(values), pairwise(sides), strict=True)
    )
    return Equation("=".join("".join(side) for side in sides), holds)


def _agree(first: Fraction, second: Fraction, first_side: tuple[str, ...], second_side: tuple[str, ...]) -> bool:
    difference = abs(first - second)
    if difference * 10**9 <= abs(second):
        return True
    return _is_rounded(first, second, second_side) or _is_rounded(second, first, first_side)


def _is_rounded(exact: Fraction, printed: Fraction, side: tuple[str, ...]) -> bool:
    """Whether ``side`` is one decimal number to which the exact value rounds or truncates."""
    decimals = [token.partition(".")[2] for token in side if token[0].isdigit()]
    if len(decimals) != 1 or not decimals[0] or _BINARY.difference("-").intersection(side):
        return False
    unit = Fraction(1, 10 ** len(decimals[0]))
    if "%" in side:
        unit /= 100
    is_truncated = abs(printed) <= abs(exact) and printed * exact >= 0 and abs(exact - printed) < unit
    return is_truncated or abs(exact - printed) * 2 <= unit


def _value(side: tuple[str, ...]) -> Fraction | None:
    """Evaluate one side; None if it is not arithmetic, too large, or divides by zero."""
    try:
        return _evaluated(side)
    except NotArithmeticError:
        return None


def _evaluated(side: tuple[str, ...]) -> Fraction | None:
    """Evaluate one side; None if it divides by zero. Raises NotArithmeticError."""
    try:
        return evaluate(side)
    except ZeroDivisionError:
        return None
