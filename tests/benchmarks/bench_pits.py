"""Which exploration settings find the true first wrong step, and for how many tokens?

Draws many rollouts once after every step of an experiment's wrong rationales, then lets the real search
(`pit_search`) run over these draws under every setting. Needs generated arithmetic, whose truth is known:

    selfexplore stage outcome_pairs --experiment mine --round 1      # and the stages before it
    python tests/benchmarks/bench_pits.py --experiment mine --round 1 --draws 16 --temperatures 0.5 0.7 1.0
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from tabulate import tabulate

from selfexplore_tasks.engines.protocol import GenerationRequest
from selfexplore_tasks.exploration import WrongRationale
from selfexplore_tasks.grading import GradeRequest
from selfexplore_tasks.pit_search import Draws, run_search
from selfexplore_tasks.problems.arithmetic import first_wrong_step
from selfexplore_tasks.progress import Progress
from selfexplore_tasks.recipe import Explore
from selfexplore_tasks.seeds import derive_seed
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.explore import wrong_rationales
from selfexplore_tasks.stages.generation import open_grader
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.home import Store

COUNTS = (2, 3, 4, 5, 6, 8, 12, 16)


@dataclass(frozen=True)
class Drawn:
    """One rationale: its true first wrong step (None = no explorable one), and per step (correct, tokens) of draws."""

    true_step: int | None
    draws: list[list[tuple[bool, int]]]


@dataclass(frozen=True)
class Found:
    """What one setting found over all rationales."""

    exact: float
    early: float
    late: float
    tokens: float


def main() -> None:
    options = _options()
    store = Store.from_environment()
    context = StageContext(store, load_experiment(store, options.experiment), options.round, "bench_pits")
    rationales = wrong_rationales(context)[: options.limit]
    texts = {row["rationale_id"]: row["text"] for row in context.query("from int_exploration_inputs")}
    if context.recipe.explore.temperature not in options.temperatures:
        raise SystemExit(f"--temperatures must hold the recipe's own, {context.recipe.explore.temperature}")
    rows = []
    for temperature in options.temperatures:
        drawn = _draw(context, rationales, texts, temperature, options.draws)
        for settings in _settings(options.draws):
            found = _simulate(drawn, settings)
            rows.append({"temperature": temperature, **_name(settings), **vars(found)})
    default = next(row["tokens"] for row in rows if _is_default(row, context.recipe.explore.temperature))
    for row in rows:
        row["cost"] = row["tokens"] / default
    rows.sort(key=lambda row: -row["exact"])
    print(json.dumps(rows) if options.json else tabulate(rows, headers="keys", floatfmt=".3f"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--round", type=int, default=1)
    parser.add_argument("--draws", type=int, default=16, help="rollouts drawn after every step")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.7], help="must hold the recipe's own")
    parser.add_argument("--limit", type=int, help="explore only so many rationales")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _draw(
    context: StageContext, rationales: list[WrongRationale], texts: dict[str, str], temperature: float, count: int
) -> list[Drawn]:
    """Draw ``count`` rollouts after every step of every rationale."""
    prompts, explore = context.prompts(context.explorer_id), context.recipe.explore
    places = [(one, step) for one in rationales for step in range(1, len(one.steps) + 1)]
    requests = [
        GenerationRequest(
            prompt_token_ids=prompts.prompt_ids(one.question, one.prefix(step)),
            n=count,
            temperature=temperature,
            top_p=explore.top_p,
            max_new_tokens=explore.max_new_tokens,
            stop=context.recipe.prompt.stop,
            seed=derive_seed(context.recipe.seed, "bench_pits", one.rationale_id, step),
        )
        for one, step in places
    ]
    with context.engine(context.explorer_id) as engine, open_grader(context) as grader:
        with Progress(f"T={temperature}", len(requests) * count, "rollouts") as progress:
            completions = engine.generate(requests, progress.advance)
        graded = iter(
            grader.grade(
                [
                    GradeRequest(done.text, one.gold_answer, done.finish_reason)
                    for (one, _), drawn in zip(places, completions, strict=True)
                    for done in drawn
                ]
            )
        )
    draws: dict[str, list[list[tuple[bool, int]]]] = {one.rationale_id: [] for one in rationales}
    for (one, _), drawn in zip(places, completions, strict=True):
        draws[one.rationale_id].append([(next(graded).is_correct_strict, len(done.token_ids)) for done in drawn])
    return [Drawn(_truth(one, texts[one.rationale_id]), draws[one.rationale_id]) for one in rationales]


def _truth(rationale: WrongRationale, text: str) -> int | None:
    step = first_wrong_step(rationale.question, text)
    return None if step is None or step > len(rationale.steps) else step


def _settings(draws: int) -> Iterator[Explore]:
    searches = ("linear", "binary", "noisy_binary")
    for k, confirm, adaptive, search in itertools.product(COUNTS, (False, True), (False, True), searches):
        # noisy_binary draws one by one, adaptive or not.
        if k * (1 + confirm) <= draws and (adaptive or search != "noisy_binary"):
            yield Explore(k=k, confirm=confirm, adaptive=adaptive, search=search)


def _simulate(drawn: list[Drawn], settings: Explore) -> Found:
    outcomes = {"exact": 0, "early": 0, "late": 0}
    tokens = 0
    for one in drawn:
        pit, asked = run_search(len(one.draws), settings, partial(_count_correct, one))
        outcomes[_outcome(pit, one.true_step)] += 1
        tokens += sum(count for wanted in asked for _, count in _part(one, wanted))
    shares = {name: count / len(drawn) for name, count in outcomes.items()}
    return Found(**shares, tokens=tokens / len(drawn))


def _part(one: Drawn, wanted: Draws) -> list[tuple[bool, int]]:
    return one.draws[wanted.step - 1][wanted.first_index : wanted.first_index + wanted.count]


def _count_correct(one: Drawn, wanted: Draws) -> int:
    return sum(is_correct for is_correct, _ in _part(one, wanted))


def _outcome(pit: int | None, truth: int | None) -> str:
    if pit == truth:
        return "exact"
    return "late" if pit is None or (truth is not None and pit > truth) else "early"


def _name(settings: Explore) -> dict[str, object]:
    return {name: getattr(settings, name) for name in ("k", "confirm", "adaptive", "search")}


def _is_default(row: dict[str, object], temperature: float) -> bool:
    """Whether this is the paper's setting (k = 4, step by step): what costs are relative to."""
    return all(row[name] == value for name, value in {**_name(Explore()), "temperature": temperature}.items())


if __name__ == "__main__":
    main()
