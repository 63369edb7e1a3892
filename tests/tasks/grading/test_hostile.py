"""Ten thousand texts that try to hang, crash, exhaust or run something, graded by the real grader."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from selfexplore_tasks.grading import Grader, GradeRequest

WORKER = "selfexplore_tasks.grading.worker"
MAX_SECONDS = 5.0
GOLDS = ("2", "1,080", "x+1", r"\frac{\sqrt{3}}{2}", "[0,1)", r"\text{Friday}", "{1, 2}", "x = 3")
ALPHABET = (
    *("\\frac", "\\sqrt", "\\boxed{", "\\left(", "\\right)", "\\begin{matrix}", "\\end{matrix}", "\\text{", "\\int"),
    *("{", "}", "(", ")", "[", "]", "^", "_", "!", "=", "<", ",", ";", "&", "\\\\", "$", "%", "|", "\\"),
    *("9", "12", "1e9", "x", "y", "i", "\\pi", " ", "\n"),
    *("\0", "\u202e", "\u200b", "\ud800", "٣", "½", "\U0001d7d7", "∞"),
)
BRACKETS = (
    *(("(", ")"), ("{", "}"), ("[", "]"), ("|", "|"), ("f(", ")"), ("2^{", "}"), ("-", "")),
    *((r"\frac{", "}{2}"), (r"\sqrt{", "}"), (r"\left(", r"\right)")),
    *((r"\boxed{", "}"), (r"\text{", "}"), (r"\sin(", ")")),
)
NUMBER_FORMS = (
    *("{0}", "{0}.{0}", "{0}/{0}", "1/0{0}", "{0}e{1}", "{0}%", "-{0}", "--{0}"),
    *("1_000_{0}", "0x{0}", "\0{0}\0", "{0}\u0660", "nan", "-inf"),
)
Maker = Callable[[random.Random], str]


def _nested(rng: random.Random) -> str:
    opening, closing = rng.choice(BRACKETS)
    depth = rng.choice([3, 30, 300, 3_000])
    return opening * depth + rng.choice(["1", "x", "9", ""]) + closing * (depth - rng.choice([0, 0, 1]))


def _power(rng: random.Random) -> str:
    base, top = rng.choice("23579x"), rng.choice(["9", "99", "999999999", "10^{10}", "{10^{10}}", "-9", "0.5", "x"])
    return rng.choice(
        [
            "**".join([base] * rng.randint(2, 6)),
            "^{".join([base] * rng.randint(2, 6)) + "}" * rng.randint(0, 5),
            f"{base}^{{{top}}}",
            f"{base}^{{{base}^{{{top}}}}} - {base}^{{{top}}}",
            f"({base}+1)^{{{top}}} + y",
            f"10^{{10^{{{top}}}}}",
            f"{base}E{rng.randint(1, 10**9)}",
            rf"\sqrt[{top}]{{{base}}}",
            rf"\log_{{{base}}} {base}^{{{top}}}",
        ]
    )


def _factorial(rng: random.Random) -> str:
    number = rng.choice(["9", "99", "99999", "10^{9}", "(10^{10^{10}})", "x"])
    return rng.choice(
        [
            number + "!" * rng.randint(1, 9),
            rf"\frac{{{number}!}}{{{number}!}}",
            rf"\binom{{{number}}}{{{rng.randint(1, 10**6)}}}",
            rf"\left({number}!\right)!",
            rf"\gcd({number}!, {number}!+1)",
            rf"{number}! \mod 7",
        ]
    )


def _series(rng: random.Random) -> str:
    end = rng.choice(["10", "10^{9}", r"\infty", "n", "99999999"])
    term = rng.choice([r"\sin(k)", "k^{k}", r"\frac{1}{k^2}", "k!", r"x^{k}", r"\sqrt{k^3+1}"])
    return rng.choice(
        [
            rf"\sum_{{k=1}}^{{{end}}} {term}",
            rf"\prod_{{k=1}}^{{{end}}} {term}",
            rf"\int_0^{{{end}}} {term} dk",
            rf"\int \int {term} dk dx",
            rf"\lim_{{k \to {end}}} {term}",
            rf"\frac{{d}}{{dk}} {term}",
            rf"\begin{{pmatrix}} {' & '.join([term] * rng.randint(1, 30))} \end{{pmatrix}}^{{{end}}}",
            "x^{50} + " + " + ".join(f"{i}x^{{{i}}}" for i in range(rng.randint(1, 40))) + " = 0",
            rf"\left\{{ {', '.join(f'{term}+{i}' for i in range(rng.randint(1, 20)))} \right\}}",
        ]
    )


def _code(rng: random.Random) -> str:
    canary = "canary"
    body = rng.choice(
        [
            f"__import__('os').system('touch {canary}')",
            f"__import__('pathlib').Path('{canary}').touch()",
            f"open('{canary}','w').write('x')",
            f"exec(\"open('{canary}', 'w')\")",
            f"eval(compile('open(\"{canary}\",\"w\")','a','exec'))",
            f"().__class__.__base__.__subclasses__()[0]('{canary}')",
            f"(lambda: open('{canary}', 'a'))()",
            f'sympify(\'open("{canary}","w")\')',
            f"$(touch {canary})",
            f"`touch {canary}`",
            f"; touch {canary} #",
            f"\\write18{{touch {canary}}}",
            f"\\input{{|touch {canary}}}",
            "{0.__class__.__init__.__globals__}",
            "%s%s%n%x",
            "{}{1}{x!r:>999999999}",
            "${jndi:ldap://127.0.0.1/a}",
            "'; drop table rationales; --",
            "cos\npickle\n(S'touch canary'\ntR.",
        ]
    )
    return rng.choice(["{}", r"\text{{{}}}", "${}$", r"\operatorname{{{}}}(2)", "2+{}", r"\boxed{{{}}}"]).format(body)


def _long(rng: random.Random) -> str:
    piece = rng.choice(["1", "x", "{", "\\frac", "1,000,", "(1+", "9^", "\0", "\u202e", "$", "\\", "= 1 ", "\\boxed{1"])
    length = rng.choice([900, 1_100, 9_000, 90_000, 1_000_000])
    return (piece * (length // len(piece) + 1))[:length]


def _odd_number(rng: random.Random) -> str:
    digits = "".join(rng.choices("0123456789", k=rng.choice([1, 50, 500, 5_000])))
    return rng.choice(NUMBER_FORMS).format(digits, digits[:9])


def _soup(rng: random.Random) -> str:
    return "".join(rng.choices(ALPHABET, k=rng.randint(1, 60)))


def _unicode(rng: random.Random) -> str:
    return "".join(chr(rng.choice([rng.randrange(0x110000), rng.randrange(0x3000)])) for _ in range(rng.randint(1, 80)))


MAKERS: tuple[Maker, ...] = (_nested, _power, _factorial, _series, _code, _long, _odd_number, _soup, _soup, _unicode)


def hostile_texts(count: int) -> Iterator[str]:
    """Yield completions of every kind in turn; most state their answer, some only hint at it."""
    rng = random.Random(20240416)
    frames = ("The answer is {}", "The answer is ${}$", "so\n#### {}", r"\boxed{{{}}}", "{}")
    for number in range(count):
        text = MAKERS[number % len(MAKERS)](rng)
        yield rng.choices(frames, weights=(6, 2, 1, 2, 1))[0].format(text)


def timed_grade(grader: Grader, request: GradeRequest) -> tuple[float, str]:
    """Return the wall seconds of one grade, and its reason."""
    started = time.monotonic()
    (grade,) = grader.grade([request])
    return time.monotonic() - started, grade.reason


def lines_below_workers() -> list[list[str]]:
    """Command lines of what the grading workers started; a process that has just ended has none."""
    lines = []
    for worker in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if WORKER in worker.cmdline():
                lines += [child.cmdline() for child in worker.children(recursive=True)]
    return [line for line in lines if line]


def grade_all(count: int, folder: Path, timeout_s: float = 5.0) -> list[tuple[float, str, str]]:
    """Grade ``count`` texts one by one; return (seconds, reason, begin of the text) of each, slowest first."""
    timed = []
    with Grader(answer_phrase="The answer is", timeout_s=timeout_s) as grader:
        grader.grade([GradeRequest("The answer is 1+x", "x+1", "stop")])
        for number, text in enumerate(hostile_texts(count)):
            request = GradeRequest(text, GOLDS[number % len(GOLDS)], "stop")
            seconds, reason = timed_grade(grader, request)
            if seconds > MAX_SECONDS:
                # What stands still because of other processes does so once.
                seconds, reason = timed_grade(grader, request)
            timed.append((seconds, reason, text[:80]))
            if number % 50 == 0:
                assert all(WORKER in line for line in lines_below_workers())
        for prediction, gold in (("2", "2"), ("1+x", "x+1")):
            (after,) = grader.grade([GradeRequest(f"The answer is {prediction}", gold, "stop")])
            assert after.verdict == "correct"
    assert list(folder.iterdir()) == []
    return sorted(timed, reverse=True)


def check(timed: list[tuple[float, str, str]]) -> None:
    """Check that every text was decided in time, and that all ways of deciding were met."""
    seconds, reason, text = timed[0]
    assert seconds < MAX_SECONDS, f"{seconds:.1f} s, {reason}: {text!r}"
    reasons = {reason for _, reason, _ in timed}
    assert {"unequal_number", "unequal_text", "unequal_symbolic", "unparsed", "no_answer"} <= reasons
    assert {"too_long", "too_complex", "timeout"} <= reasons


def test_a_thousand_hostile_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check(grade_all(1_000, tmp_path, timeout_s=2.0))


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_ten_thousand_hostile_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check(grade_all(10_000, tmp_path))
