"""Generated arithmetic word problems whose first wrong step is known exactly.

A problem is a chain: a starting count, then 1 to `max_steps` operations, each applied to the count so far.

    Eva has 18 shells, finds 8 more, keeps one of every 2. How many now?

    Eva has 18 + 8 = 26 shells now.
    Eva has 26 / 2 = 13 shells now.
    The answer is 13

The rationale has one step a line and plain `a + b = c` equations, like GSM8K's without the calculator
marks. The chain can be read back from the question, so `first_wrong_step` judges any rationale without a
model: it measures how often the first pit that rollouts find is the step that is really wrong.

Every count is a positive whole number of at most `max_value`; divisions leave no remainder.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

OPERATIONS: Final = ("+", "-", "*", "/")
MAX_STEPS: Final = 50
# Drawing a step lists every operand that applies, so this bounds its time.
MAX_VALUE: Final = 9_999
# More digits than this in one number is never right, and a bound keeps hostile text cheap to judge.
MAX_DIGITS: Final = 9
# No line of a right rationale is longer; anything that is, is wrong without being looked at.
MAX_LINE_CHARS: Final = 200
# Longer than any question of MAX_STEPS steps.
_MAX_QUESTION_CHARS: Final = 4_000
# Draws in a row without a new question before `generate` gives up.
_MAX_FRUITLESS_DRAWS: Final = 5_000

_OWNERS: Final = ("Eva", "Tom", "Mia", "Sam", "Ana", "Leo", "Ida", "Max")
_ITEMS: Final = ("shells", "coins", "books", "cards", "stamps", "plums", "beads", "pens")
_PHRASES: Final = {
    "+": ("finds {} more", "buys {} more", "wins {} more"),
    "-": ("loses {}", "sells {}", "gives away {}"),
    "*": ("gets {} times as many",),
    "/": ("keeps one of every {}",),
}

_NUMBER = rf"([0-9]{{1,{MAX_DIGITS}}})"
_QUESTION = re.compile(
    rf"([A-Z][a-z]+) has {_NUMBER} ([a-z]+)((?:, [a-z ]+[0-9]{{1,{MAX_DIGITS}}}[a-z ]*)+)\. How many now\?"
)
_STEP_LINE = re.compile(rf"([A-Z][a-z]+) has {_NUMBER} ([-+*/]) {_NUMBER} = {_NUMBER} ([a-z]+) now\.")
_ANSWER_LINE = re.compile(rf"The answer is {_NUMBER}")
_ANSWER_PREFIX: Final = "The answer is"
_PHRASE_PATTERNS: Final = tuple(
    (operation, re.compile(phrase.format(_NUMBER))) for operation, phrases in _PHRASES.items() for phrase in phrases
)


@dataclass(frozen=True)
class ArithmeticProblem:
    """One problem with its only right chain of steps; `gold_answer` is a whole number in decimal digits."""

    problem_id: str
    question: str
    gold_answer: str
    gold_rationale: str


@dataclass(frozen=True)
class Step:
    """One operation of a chain: `left operation right = result`, all positive whole numbers."""

    left: int
    operation: str
    right: int
    result: int


@dataclass(frozen=True)
class Chain:
    """What a question says: who owns how many of what, and the steps to the answer (at least one)."""

    owner: str
    item: str
    steps: tuple[Step, ...]

    @property
    def answer(self) -> int:
        """The count after the last step."""
        return self.steps[-1].result


@dataclass(frozen=True)
class Difficulty:
    """What makes a problem hard. Ranges are inclusive; the operand of + and - is a `term`."""

    min_steps: int
    max_steps: int
    max_value: int
    operations: tuple[str, ...]
    start_range: tuple[int, int]
    term_range: tuple[int, int]
    factor_range: tuple[int, int]
    divisor_range: tuple[int, int]

    def __post_init__(self) -> None:
        """Raise ValueError, naming the setting, where no problem could follow these settings."""
        if not 1 <= self.min_steps <= self.max_steps <= MAX_STEPS:
            steps = f"min_steps={self.min_steps}, max_steps={self.max_steps}"
            raise ValueError(f"{steps}: must be 1 <= min_steps <= max_steps <= {MAX_STEPS}")
        if not 2 <= self.max_value <= MAX_VALUE:
            raise ValueError(f"max_value={self.max_value} must be from 2 to {MAX_VALUE}")
        unknown = set(self.operations) - set(OPERATIONS)
        if unknown or not self.operations:
            raise ValueError(f"operations={self.operations} must be some of {OPERATIONS}")
        for name in ("start_range", "term_range", "factor_range", "divisor_range"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise ValueError(f"{name}=({low}, {high}) must be (low, high) with 1 <= low <= high")
        if self.start_range[0] > self.max_value:
            raise ValueError(f"start_range={self.start_range} begins above max_value={self.max_value}")


def generate(
    count: int,
    *,
    seed: int,
    min_steps: int = 2,
    max_steps: int = 6,
    max_value: int = 99,
    operations: Sequence[str] = OPERATIONS,
    start_range: tuple[int, int] = (2, 50),
    term_range: tuple[int, int] = (1, 9),
    factor_range: tuple[int, int] = (2, 3),
    divisor_range: tuple[int, int] = (2, 5),
) -> list[ArithmeticProblem]:
    """Return `count` problems with distinct questions; the same arguments always give the same list.

    A longer list begins with the shorter one of the same seed and settings. The number of steps is uniform
    between `min_steps` and `max_steps`; so is each step's operation among those possible on the count so far.
    Ranges are inclusive (low, high): `start_range` of the first count, `term_range` of what + and - add and
    take away, `factor_range` of *, `divisor_range` of /.

    Raises ValueError where the settings are impossible, or too narrow for `count` distinct questions.
    """
    difficulty = Difficulty(
        min_steps,
        max_steps,
        max_value,
        tuple(operations),
        start_range,
        term_range,
        factor_range,
        divisor_range,
    )
    chains = _draw_distinct(random.Random(seed), difficulty, count)
    return [
        ArithmeticProblem(f"arithmetic-{seed}-{index:06d}", question, str(chain.answer), write_rationale(chain))
        for index, (question, chain) in enumerate(chains.items())
    ]


def write_rationale(chain: Chain) -> str:
    """Return the chain's right rationale: one line a step, then `The answer is X`; no newline at the end."""
    lines = [
        f"{chain.owner} has {step.left} {step.operation} {step.right} = {step.result} {chain.item} now."
        for step in chain.steps
    ]
    return "\n".join([*lines, f"{_ANSWER_PREFIX} {chain.answer}"])


def parse_question(question: str) -> Chain:
    """Read the chain back from a question that `generate` wrote. Raises ValueError for any other text."""
    match = _QUESTION.fullmatch(question.strip()) if len(question) <= _MAX_QUESTION_CHARS else None
    if match is None:
        raise ValueError(f"not a generated arithmetic question: {question[:80]!r}")
    owner, start, item, clauses = match.groups()
    value, steps = int(start), []
    for clause in clauses.removeprefix(", ").split(", "):
        operation, operand = _parse_clause(clause)
        result = _apply(value, operation, operand)
        if result is None:
            raise ValueError(f"{value} {operation} {operand} leaves no positive whole number: {question[:80]!r}")
        steps.append(Step(value, operation, operand, result))
        value = result
    return Chain(owner, item, tuple(steps))


def first_wrong_step(problem: ArithmeticProblem | str, rationale: str) -> int | None:
    """Return the 1-based number of the first wrong step of `rationale`, or None where all of it is right.

    `problem` is a generated problem or its question text (ValueError for any other text). A step is a line
    that is not blank. It is right when it is, word for word, what the problem says at that step; a false
    equation, other operands (those of + and * may change places), another owner or item, or any other line
    is wrong.

    A rationale whose n steps are all right can still fail: it stops early, ends in a wrong answer line or
    none, or goes on after it. It then goes wrong where the next step would stand: the result is n + 1.

    Safe on hostile text: nothing is evaluated, and the time is linear in its length.
    """
    chain = parse_question(problem if isinstance(problem, str) else problem.question)
    lines = [line for line in rationale.split("\n") if line.strip()]
    for number, step in enumerate(chain.steps, start=1):
        if number > len(lines) or not _is_right_step(lines[number - 1], chain, step):
            return number
    ending = lines[len(chain.steps) :]
    is_right_ending = len(ending) == 1 and _is_right_answer(ending[0], chain)
    return None if is_right_ending else len(chain.steps) + 1


def _draw_distinct(generator: random.Random, difficulty: Difficulty, count: int) -> dict[str, Chain]:
    """Draw `count` chains by distinct question; ValueError where new questions have run out."""
    chains: dict[str, Chain] = {}
    fruitless_draws = 0
    while len(chains) < count:
        drawn = _draw(generator, difficulty)
        if drawn is not None and drawn[0] not in chains:
            chains[drawn[0]] = drawn[1]
            fruitless_draws = 0
            continue
        fruitless_draws += 1
        if fruitless_draws > _MAX_FRUITLESS_DRAWS:
            raise ValueError(
                f"these settings give about {len(chains)} distinct questions, {count} were asked for: "
                "widen the ranges, raise max_steps or ask for fewer"
            )
    return chains


def _draw(generator: random.Random, difficulty: Difficulty) -> tuple[str, Chain] | None:
    """Draw one question with its chain; None where the chain ran into a count no operation applies to."""
    low, high = difficulty.start_range
    step_count = generator.randint(difficulty.min_steps, difficulty.max_steps)
    value = start = generator.randint(low, min(high, difficulty.max_value))
    steps: list[Step] = []
    for _ in range(step_count):
        step = _draw_step(generator, difficulty, value)
        if step is None:
            return None
        steps.append(step)
        value = step.result
    owner, item = generator.choice(_OWNERS), generator.choice(_ITEMS)
    clauses = [generator.choice(_PHRASES[step.operation]).format(step.right) for step in steps]
    question = f"{owner} has {start} {item}, {', '.join(clauses)}. How many now?"
    return question, Chain(owner, item, tuple(steps))


def _draw_step(generator: random.Random, difficulty: Difficulty, value: int) -> Step | None:
    """Draw an operation that applies to `value`, then its operand, both uniformly; None if none does."""
    ranges = {
        "+": difficulty.term_range,
        "-": difficulty.term_range,
        "*": difficulty.factor_range,
        "/": difficulty.divisor_range,
    }
    steps_by_operation: list[list[Step]] = []
    for operation in difficulty.operations:
        low, high = ranges[operation]
        # No operand above max_value can apply, so the length of the range costs nothing.
        operands = range(low, min(high, difficulty.max_value) + 1)
        results = [(operand, _apply(value, operation, operand)) for operand in operands]
        steps = [
            Step(value, operation, operand, result)
            for operand, result in results
            if result is not None and result <= difficulty.max_value
        ]
        if steps:
            steps_by_operation.append(steps)
    return generator.choice(generator.choice(steps_by_operation)) if steps_by_operation else None


def _apply(value: int, operation: str, operand: int) -> int | None:
    """Return `value operation operand`, or None where it is not a positive whole number."""
    if operation == "+":
        return value + operand
    if operation == "-":
        return value - operand if value > operand else None
    if operation == "*":
        return value * operand if operand > 0 else None
    return value // operand if operand > 0 and value % operand == 0 else None


def _parse_clause(clause: str) -> tuple[str, int]:
    """Return (operation, operand) of one clause such as `finds 8 more`; ValueError for any other text."""
    for operation, pattern in _PHRASE_PATTERNS:
        if match := pattern.fullmatch(clause):
            return operation, int(match.group(1))
    raise ValueError(f"not a clause of a generated arithmetic question: {clause[:80]!r}")


def _is_right_step(line: str, chain: Chain, step: Step) -> bool:
    match = _STEP_LINE.fullmatch(line.strip()) if len(line) <= MAX_LINE_CHARS else None
    if match is None:
        return False
    owner, left, operation, right, result, item = match.groups()
    operands = (int(left), int(right))
    if step.operation in "+*" and operands == (step.right, step.left):
        operands = (step.left, step.right)
    written = (owner, item, Step(operands[0], operation, operands[1], int(result)))
    return written == (chain.owner, chain.item, step)


def _is_right_answer(line: str, chain: Chain) -> bool:
    match = _ANSWER_LINE.fullmatch(line.strip()) if len(line) <= MAX_LINE_CHARS else None
    return match is not None and int(match.group(1)) == chain.answer
