"""Seeds derived from names, so that a row's randomness depends on what it is, not on when it was drawn."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: str | int) -> int:
    """Return a seed in [0, 2**31) that depends on every part, e.g. (recipe seed, rationale id)."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
