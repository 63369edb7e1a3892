"""The published rule for the RFT set and outcome pairs, written plainly: the reference of ``bench_pairs``.

docs/method.md word for word ("RFT set", style equations; "Outcome pairs", style farthest), in one process, with the C++
library `editdistance` for every pair of texts that the rule compares. Equations are read by the project's own reader,
line by line without its memory. A program of its own so that its time and memory can be taken:

    python tests/benchmarks/bench_pairs_reference.py --store FOLDER --problems 500 --output reference.json
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import editdistance
import pyarrow.parquet as pq

from selfexplore_tasks.equations import equations_of_line

MAX_PER_PROBLEM = 8
"""Both rft.max_per_problem and pairs.max_per_problem."""

Pair = tuple[str | None, str | None, int | None, str | None]


@dataclass(frozen=True)
class Rationale:
    rationale_id: str
    text: str
    is_correct: bool


@dataclass
class Result:
    """Of one problem: the drop reason of every correct rationale (null: kept), and the rows of `pairs`."""

    selection: dict[str, str | None] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)


def build(rationales: Sequence[Rationale]) -> Result:
    """Apply the rule to one problem's rationales in order of drawing."""
    result = Result()
    correct = [one for one in rationales if one.is_correct]
    result.selection = dict(zip([one.rationale_id for one in correct], select(correct), strict=True))
    kept = [one for one in correct if result.selection[one.rationale_id] is None]
    result.pairs = list(pair(kept, [one for one in rationales if not one.is_correct]))
    return result


def select(correct: Sequence[Rationale]) -> list[str | None]:
    reasons: list[str | None] = ["duplicate_chain"] * len(correct)
    chains: dict[str, dict[str, int]] = {}
    for index, one in enumerate(correct):
        equations = [equation for line in one.text.split("\n") for equation in equations_of_line(line)]
        if all(equation.holds for equation in equations):
            chain = "; ".join(equation.key for equation in equations)
            chains.setdefault(chain, {}).setdefault(one.text, index)
        else:
            reasons[index] = "false_equation"
    for position, (chain, own) in enumerate(chains.items()):
        others = [text for other, texts in chains.items() if other != chain for text in texts]
        if len(own) > 1:
            farthest = max(own, key=lambda text: sum(editdistance.eval(text, other) for other in others))
        else:
            farthest = next(iter(own))
        reasons[own[farthest]] = None if position < MAX_PER_PROBLEM else "over_limit"
    return reasons


def pair(kept: Sequence[Rationale], wrong: Sequence[Rationale]) -> Iterator[Pair]:
    first: dict[str, Rationale] = {}
    for one in wrong:
        first.setdefault(one.text, one)
    free, used = dict(first), set()
    for one in kept:
        if not free:
            yield one.rationale_id, None, None, "no_wrong_left" if wrong else "no_wrong_rationale"
            continue
        distances = {text: editdistance.eval(one.text, text) for text in free}
        farthest = max(distances, key=distances.__getitem__)
        used.add(free[farthest].rationale_id)
        yield one.rationale_id, free.pop(farthest).rationale_id, distances[farthest], None
    for one in wrong:
        if one.rationale_id not in used:
            left = "no_correct_left" if kept else "no_correct_rationale"
            yield None, one.rationale_id, None, left if first[one.text] is one else "duplicate_text"


def read_problems(store: Path, wanted: set[str] | None) -> Iterator[tuple[str, list[Rationale]]]:
    """Yield the problems of a store that ``bench_pairs_data`` made (each in one part, in order of drawing)."""
    columns = ["problem_id", "rationale_id", "text", "verdict"]
    for path in sorted((store / "tables" / "rationales").rglob("part-*.parquet")):
        problems: dict[str, list[Rationale]] = {}
        with pq.ParquetFile(path) as part:
            rows = part.read(columns).to_pylist()
        for row in rows:
            if (wanted is None or row["problem_id"] in wanted) and row["verdict"] in ("correct", "wrong"):
                rationale = Rationale(row["rationale_id"], row["text"], row["verdict"] == "correct")
                problems.setdefault(row["problem_id"], []).append(rationale)
        yield from problems.items()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--problems", type=int, help="a seeded sample of so many (all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    [listed] = (options.store / "tables" / "problems").rglob("part-*.parquet")
    with pq.ParquetFile(listed) as part:
        ids = part.read(["problem_id"])["problem_id"].to_pylist()
    wanted = None if options.problems is None else set(random.Random(options.seed).sample(ids, options.problems))
    results, seconds = {}, 0.0
    for problem_id, rationales in read_problems(options.store, wanted):
        begun = time.perf_counter()
        results[problem_id] = asdict(build(rationales))
        seconds += time.perf_counter() - begun
        if len(results) % 250 == 0:
            print(f"reference: {len(results):,} problems in {seconds:.0f} s", file=sys.stderr, flush=True)
    options.output.write_text(
        json.dumps({"seconds": seconds, "problems": len(wanted or ids), "results": results}), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
