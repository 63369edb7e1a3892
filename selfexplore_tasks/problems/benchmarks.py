"""The benchmarks a recipe can name: where they live, how they are laid out, and how a gold solution is written.

A gold rationale is normalised to what a model is asked to write: the published steps, then one last line
``<answer phrase> <gold answer>``. GSM8K keeps its calculator marks (``<<48/2=24>>``), as the paper does: the
deduplication of RFT data reads the equations from them. MATH keeps its solution text, ``\\boxed{}`` included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from selfexplore_tasks.grading.extract import gold_from_gsm8k, last_boxed
from selfexplore_tasks.recipe import Columns

AnswerFormat = Literal["plain", "gsm8k", "boxed"]

_GSM8K_MARK = "####"


@dataclass(frozen=True)
class Benchmark:
    """One published benchmark.

    ``layouts`` are the column mappings it is found with, tried in order. ``local_file`` is its name under
    ``$SELFEXPLORE_DATA/<kind>/``, with ``{split}`` where there is one file a split. Several ``hub_configs``
    are read one after the other.
    """

    hub_id: str
    hub_configs: tuple[str | None, ...]
    local_file: str
    layouts: tuple[Columns, ...]
    answer_format: AnswerFormat


BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType(
    {
        "gsm8k": Benchmark("openai/gsm8k", ("main",), "{split}.jsonl", (Columns(),), "gsm8k"),
        "math": Benchmark(
            "EleutherAI/hendrycks_math",
            (
                "algebra",
                "counting_and_probability",
                "geometry",
                "intermediate_algebra",
                "number_theory",
                "prealgebra",
                "precalculus",
            ),
            "{split}.jsonl",
            (Columns(question="problem", answer="solution", rationale="solution"),),
            "boxed",
        ),
        # The file has no splits: whichever is named, all 1,000 problems are read.
        "svamp": Benchmark(
            "ChilleD/SVAMP",
            (None,),
            "svamp.jsonl",
            (Columns(question="question_concat", answer="Answer"), Columns()),
            "plain",
        ),
    }
)


def read_gold(
    answer: str, rationale: str, answer_format: AnswerFormat, answer_phrase: str
) -> tuple[str, str | None] | None:
    """Return (gold answer, gold rationale or None) of one row, or None where no answer is found.

    ``answer`` and ``rationale`` are the texts of the mapped columns, empty where there is none. In the
    ``gsm8k`` format the rationale is what stands before ``####``, unless a rationale column says otherwise.
    """
    if answer_format == "gsm8k":
        if _GSM8K_MARK not in answer:
            return None
        solution, found = gold_from_gsm8k(answer)
        rationale = rationale or solution
    elif answer_format == "boxed":
        found = last_boxed(answer) or ""
    else:
        found = answer
    # The answer line is one line, so an answer broken over several is joined.
    gold = " ".join(found.split())
    return (gold, with_answer_line(rationale, gold, answer_phrase)) if gold else None


def with_answer_line(rationale: str, gold_answer: str, answer_phrase: str) -> str | None:
    """Return the rationale ending in ``<answer_phrase> <gold_answer>``; None where it has no step.

    A last line that already states the answer, after the phrase or after ``####``, is replaced.
    """
    lines = rationale.strip().splitlines()
    if lines and lines[-1].strip().casefold().startswith((answer_phrase.casefold(), _GSM8K_MARK)):
        lines.pop()
    steps = "\n".join(line.rstrip() for line in lines).strip()
    return f"{steps}\n{answer_phrase} {gold_answer}" if steps else None
