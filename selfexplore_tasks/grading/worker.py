"""The subprocess that runs Math-Verify: one JSON line in, one JSON line out, until its input ends.

It runs alone in its process because Math-Verify's time-outs are SIGALRM, which needs the main thread, and because
symbolic mathematics on model text may take any amount of time and memory. Started by ``pool``.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from typing import Any

_WARM_UP: dict[str, Any] = {
    "gold": "$x+1$",
    "prediction": "$1+x$",
    "match_types": ["latex", "expr"],
    "precision": 6,
    "strict": True,
    "allow_set_relation_comp": False,
}
_WARM_UP_S = 60.0


def main(arguments: Sequence[str]) -> int:
    """Serve comparisons; arguments: address-space limit in bytes, seconds one comparison may take."""
    memory_bytes, timeout_s = int(arguments[0]), float(arguments[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What the libraries print must not land between the replies.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    # One comparison loads everything (sympy, the grammar) before the first deadline starts.
    if not _is_equal(_WARM_UP, round(_WARM_UP_S)):
        return 1
    print(json.dumps({"ready": True}), file=replies, flush=True)
    for line in sys.stdin:
        # CPU time, default action "terminate": ends this process even inside one long C call, and even when
        # the parent is gone and cannot.
        signal.setitimer(signal.ITIMER_PROF, 2 * timeout_s)
        reply = {"is_equal": _answer(json.loads(line), timeout_s)}
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(reply), file=replies, flush=True)
    return 0


def _answer(task: dict[str, Any], timeout_s: float) -> bool | None:
    """Return the comparison's result; None if Math-Verify could not finish it (memory, recursion, its own faults)."""
    try:
        return _is_equal(task, max(1, round(timeout_s)))
    except Exception:
        # Whatever a comparison of hostile text raises is this comparison's failure, not the worker's.
        return None


def _is_equal(task: dict[str, Any], seconds: int) -> bool:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    kinds: dict[str, Any] = {"latex": LatexExtractionConfig(), "expr": ExprExtractionConfig()}
    extraction = [kinds[name] for name in task["match_types"]]
    gold = parse(task["gold"], extraction, parsing_timeout=seconds)
    prediction = parse(task["prediction"], extraction, parsing_timeout=seconds)
    return bool(
        verify(
            gold,
            prediction,
            float_rounding=task["precision"],
            strict=task["strict"],
            allow_set_relation_comp=task["allow_set_relation_comp"],
            timeout_seconds=seconds,
        )
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
