"""Half a minute of real work with a recipe's base model: how many tokens a second this machine generates and trains on.

The work is done in a process of its own, which is ended when it takes too long; what it has measured until then counts.
Every measurement is one line on its standard output, after `PROBE`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.estimates.counts import Work
from selfexplore_tasks.estimates.disk import parameter_count
from selfexplore_tasks.estimates.measurements import PROBED, Observation
from selfexplore_tasks.launch import stage_environment
from selfexplore_tasks.processes import end_group, usable_cores
from selfexplore_tasks.recipe import Recipe

if TYPE_CHECKING:
    from selfexplore_tasks.problems.model import Problem
    from selfexplore_tasks.prompts import PromptFormat

MARK = "PROBE "
PROBE_S = 30.0
# Loading libraries and model twice comes on top of the measured time.
LOADING_S = 300.0
GROWTH = 4
MOST_STEPS = 1_000
STAGES = {"generate": "sample", "train": "sft"}


@dataclass(frozen=True)
class Speed:
    """What one worker did of a kind of work."""

    kind: str
    tokens: int
    seconds: float


def probe(recipe: Recipe, *, seconds: float = PROBE_S) -> list[Observation]:
    """Generate and train with the recipe's base model for at most ``seconds`` (besides loading it).

    A model that is not here is fetched first. Raises UserError where nothing could be measured.
    """
    command = [sys.executable, "-m", __name__, str(seconds)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=stage_environment(f"1/{recipe.shards}", {}),
    )
    timer = threading.Timer(seconds + LOADING_S, end_group, [process.pid], {"grace_s": 1.0})
    timer.start()
    try:
        output, _ = process.communicate(recipe.model_dump_json())
    finally:
        timer.cancel()
        end_group(process.pid, grace_s=1.0)
    lines = output.splitlines()
    measured = [Speed(**json.loads(line.removeprefix(MARK))) for line in lines if line.startswith(MARK)]
    if not measured:
        reason = next((line for line in reversed(lines) if line.strip()), "it took too long")
        raise UserError(f"The probe measured nothing ({reason}): estimate without --probe, or mend that first.")
    return [_observation(speed, parameter_count(recipe)) for speed in measured]


def _observation(speed: Speed, parameters: int) -> Observation:
    return Observation(
        stage=STAGES[speed.kind],
        nearness=PROBED,
        round=0,
        work=Work(1.0, speed.tokens, models=0),
        items=1.0,
        tokens=speed.tokens,
        seconds=speed.seconds,
        workers=1,
        parameters=parameters,
    )


def measure(recipe: Recipe, folder: Path, *, seconds: float) -> Iterator[Speed]:
    """Yield the speed of generating, then that of training; each takes half of ``seconds`` at most."""
    from selfexplore_tasks.problems.splits import load_problems
    from selfexplore_tasks.prompts import PromptFormat
    from selfexplore_tasks.training.base_model import make_base_model

    loaded, _ = load_problems(recipe.problems, seed=recipe.seed, answer_phrase=recipe.prompt.answer_phrase)
    problems = [problem for problem in loaded if problem.split == "train"]
    solved = [problem for problem in problems if problem.gold_rationale is not None]
    texts = [recipe.prompt.template.replace("{question}", one.question) + str(one.gold_rationale) for one in solved]
    model_dir = make_base_model(recipe.model, folder / "base", texts=texts, seed=recipe.seed)
    prompts = PromptFormat(recipe.prompt, model_dir)
    yield _generating(recipe, model_dir, problems, prompts, seconds / 2)
    if solved:
        yield _training(recipe, model_dir, solved, prompts, folder / "trained", seconds / 2)


def _generating(
    recipe: Recipe, model_dir: Path, problems: Sequence[Problem], prompts: PromptFormat, seconds: float
) -> Speed:
    """Draw for one problem, then for more and more of them while there is time for it; the last batch counts."""
    from selfexplore_tasks.engines.protocol import GenerationRequest
    from selfexplore_tasks.engines.select import open_engine

    settings = recipe.sample

    def request(problem: Problem) -> GenerationRequest:
        return GenerationRequest(
            prompt_token_ids=prompts.prompt_ids(problem.question),
            n=settings.n,
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_new_tokens=settings.max_new_tokens,
            stop=recipe.prompt.stop,
            seed=recipe.seed,
        )

    engine = open_engine(
        recipe.engine,
        model_dir,
        dtype=recipe.model.dtype,
        context_length=recipe.model.context_length,
        seed=recipe.seed,
        log=lambda line: None,
    )
    began, count, size = time.monotonic(), 0, 1
    try:
        while True:
            requests = [request(problem) for problem in islice(cycle(problems), count, count + size)]
            started = time.monotonic()
            completions = engine.generate(requests)
            took = time.monotonic() - started
            if size >= settings.chunk_size or time.monotonic() - began + GROWTH * took > seconds:
                tokens = sum(len(one.token_ids) for drawn in completions for one in drawn)
                return Speed("generate", tokens, took)
            count, size = count + size, min(GROWTH * size, settings.chunk_size)
    finally:
        engine.close()


class _EnoughError(Exception):
    """Ends a training that has been measured."""


def _training(
    recipe: Recipe,
    model_dir: Path,
    solved: Sequence[Problem],
    prompts: PromptFormat,
    output_dir: Path,
    seconds: float,
) -> Speed:
    """Train on gold rationales, as SFT (without one: RFT) would, until the time is over."""
    from selfexplore_tasks.training.data import TrainingExample
    from selfexplore_tasks.training.sft import train_sft

    settings = recipe.sft or recipe.rft
    examples = [
        TrainingExample(
            prompts.prompt_ids(one.question),
            (*prompts.completion_ids(one.question, "", str(one.gold_rationale)), prompts.eos_token_id),
        )
        for one in solved[: 4 * settings.batch_size]
    ]
    watch = _Watch(seconds)
    with suppress(_EnoughError):
        train_sft(
            model_dir=model_dir,
            output_dir=output_dir,
            examples=examples,
            settings=settings.model_copy(update={"max_steps": MOST_STEPS}),
            seed=recipe.seed,
            threads=recipe.engine.threads or usable_cores(),
            on_progress=watch.update,
        )
    fitting = [one.token_count for one in examples if one.longest <= settings.max_length]
    tokens = watch.steps * settings.batch_size * sum(fitting) / len(fitting)
    return Speed("train", round(tokens), watch.seconds)


class _Watch:
    """Counts the steps of a training after the first one, and ends it when the time is over."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._first: float | None = None
        self.steps = 0
        self.seconds = 0.0

    def update(self, step: int, total: int, logs: dict[str, float]) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
            return
        self.steps, self.seconds = step - 1, now - self._first
        if self.seconds * step / self.steps > self._limit:
            raise _EnoughError


def _main(seconds: float) -> None:
    """Measure the recipe on standard input."""
    recipe = Recipe.model_validate_json(sys.stdin.read())
    with tempfile.TemporaryDirectory(prefix="selfexplore-probe-") as folder:
        for speed in measure(recipe, Path(folder), seconds=seconds):
            # A library's progress bar may have left its line open.
            print(f"\n{MARK}{json.dumps(asdict(speed))}", flush=True)


if __name__ == "__main__":
    try:
        _main(float(sys.argv[1]))
    except UserError as error:
        sys.exit(str(error))
