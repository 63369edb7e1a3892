"""Values of a result as JSON and CSV have them."""

from __future__ import annotations

import json
import math
import re
from datetime import date, datetime, time
from decimal import Decimal

EXACT_IN_JAVASCRIPT = 2**53
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


def plain(value: object) -> object:
    """JSON for a value of DuckDB: what JSON or a browser has no number for becomes text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Decimal) and value.is_finite():
        value = int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, int):
        return value if abs(value) <= EXACT_IN_JAVASCRIPT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, date | datetime | time) else str(value)


def csv_cell(value: object) -> object:
    """A cell of a CSV file that people open in a spreadsheet.

    Model text may begin with a sign that makes a spreadsheet compute the cell (`=HYPERLINK(…)`): such text gets an
    apostrophe in front, as OWASP advises. Numbers stay as they are, those in texts too; parquet and
    `selfexplore sql --csv`, which programs read, hold the exact text.
    """
    cell = plain(value)
    if isinstance(cell, dict | list):
        return json.dumps(cell, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(FORMULA_SIGNS) and not NUMBER.fullmatch(value):
        return f"'{value}"
    return "" if cell is None else cell
