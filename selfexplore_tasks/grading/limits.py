"""What is not sent to Math-Verify: texts so long, so deep or with numbers so huge that it would only run out of time.

No answer in GSM8K or MATH comes near these limits. They save time; what bounds it is the pool's deadline.
"""

from __future__ import annotations

import math
import re
from typing import Literal

MAX_TEXT = 20_000
"""Characters."""
MAX_DEPTH = 10
"""Brackets inside brackets: the parser's time doubles with each."""

_BRACKET = re.compile(r"[(\[{]|[)\]}]")
_TOWER = re.compile(r"(?:\^|\*\*)\s*[{(]?\s*(\d+)\s*(?:\^|\*\*)\s*[{(]?\s*(\d+)(\s*(?:\^|\*\*))?")
_HUGE = re.compile(
    r"""
    (?:\^|\*\*)\s*[{(]?\s*[-+]?\d{7}    # 2^{9999999}
    | \d\s*[eE]\s*[-+]?\d{5}            # 2E99999
    | \d{5}\s*[)}]*\s*!                 # 99999!
    | \^\s*\{?\s*\d+\s*[)}]*\s*!        # 10^{9}!
    | !\s*!\s*!
    | !\s*(?:\\right)?\s*[)}]+\s*!      # (99!)!
    """,
    re.VERBOSE,
)


def over_limit(text: str) -> Literal["too_long", "too_complex"] | None:
    """Return which limit a text exceeds, or None."""
    if len(text) > MAX_TEXT:
        return "too_long"
    depth = 0
    for bracket in _BRACKET.findall(text):
        depth = depth + 1 if bracket in "([{" else max(0, depth - 1)
        if depth > MAX_DEPTH:
            return "too_complex"
    return "too_complex" if _HUGE.search(text) or any(map(_is_huge, _TOWER.finditer(text))) else None


def _is_huge(tower: re.Match[str]) -> bool:
    """Whether the exponent of a power of a power, such as 10^{10} in 2^{10^{10}}, has more than 6 digits."""
    base, exponent, more = tower.groups()
    return bool(more) or len(exponent) > 6 or int(exponent) * math.log10(int(base[:9]) + 1) > 6
