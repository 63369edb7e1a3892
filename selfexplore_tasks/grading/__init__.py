"""Grading: what a completion answers, and whether that equals the gold answer.

Flow: ``extract`` finds the answer in the text, ``compare`` decides numbers and plain text exactly and in this
process, ``pool`` asks Math-Verify in bounded subprocesses about the rest, ``grader`` puts the verdict together.
``readable`` says which gold answers can be graded against, ``files`` grades any file.
"""

from __future__ import annotations

from selfexplore_tasks.grading.compare import answers_equal, normalise_answer, parse_number
from selfexplore_tasks.grading.extract import extract_answer, gold_from_gsm8k, last_boxed, last_number
from selfexplore_tasks.grading.grader import AnswerPair, Equality, Grade, Grader, GradeRequest, SecondGrader, Verdict
from selfexplore_tasks.grading.pool import SymbolicOptions

__all__ = [
    "AnswerPair",
    "Equality",
    "Grade",
    "GradeRequest",
    "Grader",
    "SecondGrader",
    "SymbolicOptions",
    "Verdict",
    "answers_equal",
    "extract_answer",
    "gold_from_gsm8k",
    "last_boxed",
    "last_number",
    "normalise_answer",
    "parse_number",
]
