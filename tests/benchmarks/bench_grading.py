"""Measure how many completions a second the grader decides: plain numbers, plain text, and Math-Verify.

Not a test: run ``python tests/benchmarks/bench_grading.py --help``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

from selfexplore_tasks.grading import Grader, GradeRequest

BATCH = 1_000


def requests_of(kind: str, count: int) -> Iterator[GradeRequest]:
    """Yield different completions of one kind, half of them wrong."""
    steps = "Eva has 18 + 8 = 26 shells.\nShe gives 4 away, so 26 - 4 = 22 are left.\n"
    for number in range(count):
        stated = number + number % 2
        answer, gold = {
            "number": (f"{stated:,}", str(number)),
            "text": (rf"\text{{{_word(stated)}}}", _word(number)),
            "symbolic": (f"{stated} + x", f"x + {number}"),
        }[kind]
        yield GradeRequest(f"{steps}The answer is {answer}", gold, "stop")


def _word(number: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in f"{number:06d}")


def measure(kind: str, count: int, workers: int) -> float:
    """Return completions per second, without the start of the subprocesses."""
    requests = list(requests_of(kind, count))
    with Grader(answer_phrase="The answer is", workers=workers) as grader:
        grader.grade([GradeRequest(f"The answer is {i} + y", f"y + {i}", "stop") for i in range(workers)])
        started = time.perf_counter()
        right = sum(
            grade.is_correct_strict
            for begin in range(0, count, BATCH)
            for grade in grader.grade(requests[begin : begin + BATCH])
        )
        seconds = time.perf_counter() - started
    if right != (count + 1) // 2:
        raise RuntimeError(f"{kind}: {right} of {count} are right, but half of them should be")
    return count / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=20_000, help="completions that need no Math-Verify (20000)")
    parser.add_argument("--symbolic-count", type=int, default=500, help="completions that need it (500)")
    parser.add_argument("--workers", type=int, default=1, help="subprocesses of Math-Verify (1)")
    options = parser.parse_args()
    for kind, count in (("number", options.count), ("text", options.count), ("symbolic", options.symbolic_count)):
        print(f"{kind:<10}{measure(kind, count, options.workers):>12,.0f} completions per second", flush=True)


if __name__ == "__main__":
    main()
