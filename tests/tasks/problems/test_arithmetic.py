"""The generator, its determinism, and the exact first wrong step of a rationale."""

import re
import time
from typing import Any

import pytest

from selfexplore_tasks.problems.arithmetic import (
    ArithmeticProblem,
    first_wrong_step,
    generate,
    parse_question,
    write_rationale,
)

QUESTION = "Eva has 18 shells, finds 8 more, keeps one of every 2, gets 3 times as many, loses 4. How many now?"
RATIONALE = """\
Eva has 18 + 8 = 26 shells now.
Eva has 26 / 2 = 13 shells now.
Eva has 13 * 3 = 39 shells now.
Eva has 39 - 4 = 35 shells now.
The answer is 35"""
STEPS = RATIONALE.split("\n")


@pytest.fixture(scope="module")
def problems() -> list[ArithmeticProblem]:
    return generate(500, seed=7)


def with_step(number: int, text: str) -> str:
    """Return the gold rationale with its 1-based step `number` replaced."""
    return "\n".join([*STEPS[: number - 1], text, *STEPS[number:]])


def test_same_seed_gives_the_same_problems_and_another_seed_others() -> None:
    assert generate(50, seed=3) == generate(50, seed=3)
    assert generate(50, seed=3)[0].question != generate(50, seed=4)[0].question


def test_a_seed_means_the_same_problem_on_every_machine() -> None:
    assert generate(1, seed=0)[0] == ArithmeticProblem(
        problem_id="arithmetic-0-000000",
        question="Mia has 50 stamps, loses 1, loses 9, keeps one of every 4, gets 3 times as many, "
        "gets 2 times as many. How many now?",
        gold_answer="60",
        gold_rationale="Mia has 50 - 1 = 49 stamps now.\n"
        "Mia has 49 - 9 = 40 stamps now.\n"
        "Mia has 40 / 4 = 10 stamps now.\n"
        "Mia has 10 * 3 = 30 stamps now.\n"
        "Mia has 30 * 2 = 60 stamps now.\n"
        "The answer is 60",
    )


def test_a_longer_list_begins_with_the_shorter_one(problems: list[ArithmeticProblem]) -> None:
    assert generate(100, seed=7) == problems[:100]


def test_questions_and_ids_are_distinct(problems: list[ArithmeticProblem]) -> None:
    assert len({problem.question for problem in problems}) == len(problems)
    assert len({problem.problem_id for problem in problems}) == len(problems)


def test_every_equation_holds_and_leads_from_the_start_to_the_answer(
    problems: list[ArithmeticProblem],
) -> None:
    for problem in problems:
        value = int(re.findall(r"[0-9]+", problem.question)[0])
        *steps, answer_line = problem.gold_rationale.split("\n")
        for line in steps:
            left, operation, right, result = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", line)[0]
            quotient, remainder = divmod(int(left), int(right))
            assert operation != "/" or remainder == 0
            totals = {
                "+": int(left) + int(right),
                "-": int(left) - int(right),
                "*": int(left) * int(right),
                "/": quotient,
            }
            assert int(left) == value
            assert totals[operation] == int(result)
            value = int(result)
        assert answer_line == f"The answer is {value}"
        assert problem.gold_answer == str(value)


def test_operands_of_the_rationale_are_the_numbers_of_the_question(problems: list[ArithmeticProblem]) -> None:
    numbers_of_question = [re.findall(r"[0-9]+", problem.question.replace("one", "")) for problem in problems]
    for problem, (start, *operands) in zip(problems, numbers_of_question, strict=True):
        equations = re.findall(r"(\d+) [-+*/] (\d+) =", problem.gold_rationale)
        assert equations[0][0] == start
        assert [right for _, right in equations] == operands


def test_difficulty_settings_are_obeyed() -> None:
    problems = generate(
        200, seed=1, min_steps=3, max_steps=4, max_value=30, operations=("+", "/"), start_range=(5, 20),
        term_range=(2, 6), divisor_range=(3, 3),
    )  # fmt: skip
    chains = [parse_question(problem.question) for problem in problems]
    steps = [step for chain in chains for step in chain.steps]
    assert {len(chain.steps) for chain in chains} == {3, 4}
    assert {step.operation for step in steps} == {"+", "/"}
    assert max(step.result for step in steps) <= 30
    assert all(5 <= chain.steps[0].left <= 20 for chain in chains)
    assert {step.right for step in steps if step.operation == "+"} == set(range(2, 7))
    assert {step.right for step in steps if step.operation == "/"} == {3}


def test_too_many_problems_for_the_settings_is_one_clear_error() -> None:
    narrow: dict[str, Any] = {
        "min_steps": 1,
        "max_steps": 1,
        "operations": ("-",),
        "start_range": (2, 2),
        "term_range": (1, 1),
    }
    assert len(generate(100, seed=0, **narrow)) == 100
    with pytest.raises(ValueError, match=r"give about 192 distinct questions, 1000 were asked for: widen"):
        generate(1000, seed=0, **narrow)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_steps": 0}, "min_steps=0"),
        ({"min_steps": 5, "max_steps": 4}, "max_steps=4"),
        ({"max_steps": 10**6}, "max_steps=1000000"),
        ({"max_value": 1}, "max_value=1"),
        ({"max_value": 10**9}, "max_value=1000000000"),
        ({"operations": ()}, "operations="),
        ({"operations": ("+", "%")}, "operations="),
        ({"term_range": (9, 1)}, "term_range="),
        ({"divisor_range": (0, 4)}, "divisor_range="),
        ({"start_range": (100, 200)}, "start_range="),
        ({"operations": ("-",), "start_range": (2, 9), "term_range": (50, 60)}, "give about 0 distinct"),
    ],
)
def test_impossible_settings_name_the_setting(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        generate(10, seed=0, **settings)


def test_question_text_reads_back_to_its_rationale(problems: list[ArithmeticProblem]) -> None:
    for problem in problems:
        assert write_rationale(parse_question(problem.question)) == problem.gold_rationale
    assert write_rationale(parse_question(QUESTION)) == RATIONALE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "How many?",
        QUESTION.replace("finds 8 more", "eats 8"),
        QUESTION.replace("18", "1" * 5000),
        QUESTION.replace("every 2", "every 0"),
        QUESTION.replace("every 2", "every 4"),
        QUESTION.replace("loses 4", "loses 39"),
        "Eva has 18 shells" + ", gets 999999999 times as many" * 50_000 + ". How many now?",
        "\0" * 1_000_000,
    ],
)
def test_other_text_is_no_question(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(not a|26 /|39 -)"):
        parse_question(text)


def test_gold_rationales_have_no_wrong_step(problems: list[ArithmeticProblem]) -> None:
    for problem in problems:
        assert first_wrong_step(problem, problem.gold_rationale) is None
        assert first_wrong_step(problem.question, problem.gold_rationale + "\n") is None


def test_a_corrupted_step_is_found_where_it_is(problems: list[ArithmeticProblem]) -> None:
    for problem in problems:
        lines = problem.gold_rationale.split("\n")
        for number in range(1, len(lines)):
            wrong = re.sub(r"= (\d+)", lambda match: f"= {int(match.group(1)) + 1}", lines[number - 1])
            assert first_wrong_step(problem, "\n".join([*lines[: number - 1], wrong, *lines[number:]])) == number


@pytest.mark.parametrize(
    "step",
    [
        "Eva has 26 / 2 = 12 shells now.",  # false
        "Eva has 24 / 2 = 12 shells now.",  # true, but not of the count so far
        "Eva has 26 / 1 = 26 shells now.",  # true, but not what the question says
        "Eva has 26 - 13 = 13 shells now.",  # the right count by another operation
        "Eva has 2 / 26 = 13 shells now.",  # the operands of / may not change places
        "Tom has 26 / 2 = 13 shells now.",
        "Eva has 26 / 2 = 13 coins now.",
        "Eva has 26 / 2 = 13 shells",
        "So Eva has half of them.",
        "The answer is 35",
        "26" * 500_000,
        "Eva has 26 / 2 = " + "1" * 1_000_000 + " shells now.",
        "\0",
        "__import__('os').system('false')",
        "Eva has \uff126 / 2 = 13 shells now.",  # a full-width digit
    ],
)
def test_any_line_the_problem_does_not_say_is_wrong(step: str) -> None:
    assert first_wrong_step(QUESTION, with_step(2, step)) == 2


def test_the_first_of_two_wrong_steps_counts() -> None:
    both = with_step(3, "Eva has 13 * 3 = 38 shells now.").replace("= 35 shells", "= 34 shells")
    assert first_wrong_step(QUESTION, both) == 3


@pytest.mark.parametrize(
    "number_and_step", [(1, "Eva has 8 + 18 = 26 shells now."), (3, "Eva has 3 * 13 = 39 shells now.")]
)
def test_operands_of_plus_and_times_may_change_places(number_and_step: tuple[int, str]) -> None:
    assert first_wrong_step(QUESTION, with_step(*number_and_step)) is None


def test_blank_lines_are_no_steps() -> None:
    assert first_wrong_step(QUESTION, "\n \n" + RATIONALE.replace("\n", "\n\n")) is None


@pytest.mark.parametrize(
    ("rationale", "number"),
    [
        ("", 1),
        ("\n".join(STEPS[:2]), 3),  # stops early
        ("\n".join([*STEPS[:2], "The answer is 35"]), 3),  # answers early
        ("\n".join(STEPS[:4]), 5),  # no answer
        ("\n".join([*STEPS[:4], "The answer is 34"]), 5),
        ("\n".join([*STEPS[:4], "The answer is " + "9" * 1_000_000]), 5),
        (
            "\n".join([*STEPS[:4], "Eva has 35 + 1 = 36 shells now.", "The answer is 36"]),
            5,
        ),  # one step too many
        (RATIONALE + "\nEva has 35 + 1 = 36 shells now.", 5),  # goes on after the answer
    ],
)
def test_a_bad_ending_after_n_right_steps_is_step_n_plus_1(rationale: str, number: int) -> None:
    assert first_wrong_step(QUESTION, rationale) == number


@pytest.mark.parametrize(
    "text",
    [
        "\0" * 1_000_000,
        "\n" * 1_000_000,
        "9" * 1_000_000,
        "Eva has " * 125_000,
        RATIONALE * 5_000,
        "\ud800" * 1_000_000,
    ],
)
def test_a_megabyte_of_hostile_text_is_judged_quickly(text: str) -> None:
    started_at = time.perf_counter()
    assert first_wrong_step(QUESTION, text) in (1, 5)
    assert time.perf_counter() - started_at < 1.0
