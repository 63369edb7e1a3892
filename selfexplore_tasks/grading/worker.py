"""The subprocess that runs Math-Verify: one JSON line in, one JSON line out, until its input ends.

It runs alone in its process because symbolic mathematics on model text may take any amount of time and memory. The
first process loads the libraries, which takes seconds, and never sees such a text; a fork of it serves the requests,
and where that is killed or dies another fork takes its place at once.

A request is ended three times over: by a timer of the fork (which lives on), by the pool's deadline (it kills the
fork), and by a timer that ends the fork (for when the pool is gone). Started by ``pool``.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import struct
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, Literal, TextIO

Outcome = Literal["equal_symbolic", "unequal_symbolic", "unparsed", "parsed", "timeout", "error"]

_WARM_UP: dict[str, Any] = {
    "gold": "$x+1$",
    "prediction": "$1+x$",
    "match_types": ["latex", "expr"],
    "precision": 6,
    "strict": True,
    "allow_set_relation_comp": False,
}
_PROGRESS = struct.Struct("qq")  # the request being answered (0: none), and the last one answered


class _OutOfTimeError(BaseException):
    """Not an Exception: Math-Verify and sympy swallow those."""


def main(arguments: Sequence[str]) -> int:
    """Serve requests; arguments: address-space limit in bytes, CPU seconds one request may take."""
    memory_bytes, seconds = int(arguments[0]), float(arguments[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What the libraries print must not land between the replies.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    # One comparison loads everything (sympy, the grammar) before the first timer starts.
    if _compare(_WARM_UP) != "equal_symbolic":
        return 1
    with mmap.mmap(-1, _PROGRESS.size) as progress:
        while True:
            child = os.fork()
            if child == 0:
                _serve(replies, progress, seconds)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if not os.WIFSIGNALED(status):
                return os.waitstatus_to_exitcode(status)


def _serve(replies: TextIO, progress: mmap.mmap, seconds: float) -> None:
    """Answer requests until the input ends, each once: one that a dying fork may have swallowed comes again.

    ``progress`` tells the next fork which request this one died of.
    """
    signal.signal(signal.SIGVTALRM, _stop)
    lost, answered = _PROGRESS.unpack(progress[:])
    answered = max(lost, answered)
    print(json.dumps({"ready": os.getpid(), "lost": lost}), file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["number"] <= answered:
            continue
        progress[:] = _PROGRESS.pack(request["number"], answered)
        # Default action "terminate": works inside one long C call too.
        signal.setitimer(signal.ITIMER_PROF, 3 * seconds)
        outcome = _answer(request, seconds)
        signal.setitimer(signal.ITIMER_PROF, 0)
        answered = request["number"]
        progress[:] = _PROGRESS.pack(0, answered)
        print(json.dumps({"number": request["number"], "outcome": outcome}), file=replies, flush=True)


def _stop(number: int, frame: FrameType | None) -> None:
    raise _OutOfTimeError


def _answer(request: dict[str, Any], seconds: float) -> Outcome:
    """Return the outcome of one request; ``error`` if Math-Verify failed (memory, recursion, its own faults)."""
    try:
        # CPU time, so that a busy machine does not change verdicts.
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        try:
            return _compare(request) if "gold" in request else _parse(request["text"])
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except _OutOfTimeError:
        return "timeout"
    except Exception:
        # Whatever hostile text raises is this request's failure, not the worker's.
        return "error"


def _compare(request: dict[str, Any]) -> Outcome:
    from math_verify import verify

    gold, prediction = (_read(request[side], request["match_types"]) for side in ("gold", "prediction"))
    if verify(
        gold,
        prediction,
        float_rounding=request["precision"],
        strict=request["strict"],
        allow_set_relation_comp=request["allow_set_relation_comp"],
        timeout_seconds=None,
    ):
        return "equal_symbolic"
    return "unequal_symbolic" if _has_mathematics(gold) and _has_mathematics(prediction) else "unparsed"


def _parse(text: str) -> Outcome:
    return "parsed" if _has_mathematics(_read(text, ["latex"])) else "unparsed"


def _read(text: str, match_types: Sequence[str]) -> list[Any]:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse

    kinds: dict[str, Any] = {"latex": LatexExtractionConfig(), "expr": ExprExtractionConfig()}
    # Its own time-out would come back as "unequal".
    return list(parse(text, [kinds[name] for name in match_types], parsing_timeout=None))


def _has_mathematics(parsed: Sequence[Any]) -> bool:
    """Whether Math-Verify made anything of the text: what it cannot parse it returns as the text itself."""
    return any(not isinstance(found, str) for found in parsed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
