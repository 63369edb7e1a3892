"""Exact evaluation of arithmetic tokens, with bounds on depth, digits and results; nothing is passed to Python."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

MAX_TOKENS = 500
MAX_DEPTH = 20
"""Nesting of parentheses, and signs in a row."""
MAX_DIGITS = 50
MAX_BITS = 4_096
"""Size of an intermediate result's numerator and denominator."""
MAX_EXPONENT = 64


class NotArithmeticError(ValueError):
    """The tokens are not arithmetic, or exceed the bounds."""


def evaluate(tokens: Sequence[str]) -> Fraction:
    """Return the value of ``+ - * / // ^ ( ) %`` and plain decimal numbers, one token each.

    Raises NotArithmeticError, and ZeroDivisionError for a division by zero.
    """
    if len(tokens) > MAX_TOKENS:
        raise NotArithmeticError("too long")
    return _Parser(tokens).parse()


class _Parser:
    """Recursive descent over tokens: sum > product > sign > power > percent > number or parentheses."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self._position = 0
        self._depth = 0

    def parse(self) -> Fraction:
        value = self._sum()
        if self._position < len(self._tokens):
            raise NotArithmeticError(f"unexpected {self._tokens[self._position]}")
        return value

    def _peek(self) -> str:
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._position += 1
        return token

    def _sum(self) -> Fraction:
        value = self._product()
        while self._peek() in ("+", "-"):
            value = _bounded(value + self._product() if self._take() == "+" else value - self._product())
        return value

    def _product(self) -> Fraction:
        value = self._signed()
        while self._peek() in ("*", "/", "//", "("):
            # "2(3+4)" is a product too.
            operator = "*" if self._peek() == "(" else self._take()
            value = _bounded(_multiply(value, operator, self._signed()))
        return value

    def _signed(self) -> Fraction:
        is_negative = False
        signs = 0
        while self._peek() in ("+", "-"):
            signs += 1
            if signs > MAX_DEPTH:
                raise NotArithmeticError("too many signs")
            is_negative ^= self._take() == "-"
        value = self._power()
        return -value if is_negative else value

    def _power(self) -> Fraction:
        base = self._percent()
        if self._peek() != "^":
            return base
        self._take()
        exponent = self._percent()
        if exponent.denominator != 1 or abs(exponent) > MAX_EXPONENT:
            raise NotArithmeticError("the exponent is not a small whole number")
        return _bounded(base ** int(exponent))

    def _percent(self) -> Fraction:
        value = self._atom()
        while self._peek() == "%":
            self._take()
            value = _bounded(value / 100)
        return value

    def _atom(self) -> Fraction:
        token = self._take()
        if token == "(":
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise NotArithmeticError("nested too deeply")
            value = self._sum()
            if self._take() != ")":
                raise NotArithmeticError("a parenthesis is not closed")
            self._depth -= 1
            return value
        if not token or not token[0].isdigit() or len(token) > MAX_DIGITS:
            raise NotArithmeticError("a number is missing or too long")
        return Fraction(token)


def _multiply(first: Fraction, operator: str, second: Fraction) -> Fraction:
    if operator == "*":
        return first * second
    return Fraction(first // second) if operator == "//" else first / second


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise NotArithmeticError("the number is too large")
    return value
