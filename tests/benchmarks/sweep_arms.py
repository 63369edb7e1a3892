"""Learning rate and beta of each compared arm, tuned on dev only: both DPO arms get one grid, all arms the same steps.

    selfexplore stage granular_pairs --experiment mine --round 1     # and the stages before it
    python tests/benchmarks/sweep_arms.py --experiment mine --round 1 --learning-rates 3e-6 1e-5 3e-5 --betas 0.1 0.3

The test split is never touched. Models are trained beside the experiment's own and removed again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from tabulate import tabulate

from selfexplore_tasks.problems.model import Problem
from selfexplore_tasks.progress import Progress
from selfexplore_tasks.recipe import ContinuedRftArm
from selfexplore_tasks.stages.arms import continue_rft
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.dpo import train_on_pairs, training_pairs
from selfexplore_tasks.stages.evaluate import answer_greedily
from selfexplore_tasks.stages.generation import open_grader
from selfexplore_tasks.statistics import paired_bootstrap
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest


@dataclass(frozen=True)
class Trial:
    """One arm at one setting; ``train`` makes the model under the id it is given."""

    arm: str
    learning_rate: float
    beta: float | None
    train: Callable[[str], Any]


def main() -> None:
    options = _options()
    store = Store.from_environment()
    context = StageContext(store, load_experiment(store, options.experiment), options.round, "sweep_arms")
    problems = context.problems("dev")
    explorer = _solved(context, context.explorer_id, problems)
    steps = options.steps or _steps(context)
    rows = []
    for number, trial in enumerate(_trials(context, options, steps)):
        model_id = f"{options.round}/sweep-{number:03d}"
        folder = store.model_dir(context.slug, model_id)
        shutil.rmtree(folder, ignore_errors=True)
        result = trial.train(model_id)
        solved = _solved(context, model_id, problems)
        shutil.rmtree(folder)
        rows.append(_row(trial, steps, result.metrics, solved, explorer))
        print(tabulate(rows[-1:], headers="keys", tablefmt="plain"), flush=True)
    print(f"explorer {context.explorer_id}: {sum(explorer) / len(explorer):.4f} on {len(explorer)} dev problems")
    print(json.dumps(rows) if options.json else tabulate(rows, headers="keys", floatfmt=".4g"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--round", type=int, default=1)
    parser.add_argument("--arms", nargs="+", default=["granular", "outcome", "continued_rft"])
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[3e-6, 1e-5, 3e-5], help="of both DPO arms")
    parser.add_argument("--betas", type=float, nargs="+", default=[0.1], help="of both DPO arms")
    parser.add_argument("--rft-learning-rates", type=float, nargs="+", default=[1e-4, 3e-4, 1e-3])
    parser.add_argument("--steps", type=int, help="steps of every arm; default: stage dpo's, else those of dpo.epochs")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _steps(context: StageContext) -> int:
    done = read_manifest(context.store, context.slug, context.round_number, "dpo")
    if done is not None and "steps" in done.notes:
        return int(done.notes["steps"])
    dpo = context.recipe.dpo
    count = len(training_pairs(context, "granular"))
    return dpo.max_steps or max(1, -(-round(dpo.epochs * count) // dpo.batch_size))


def _trials(context: StageContext, options: argparse.Namespace, steps: int) -> Iterator[Trial]:
    for kind in ("granular", "outcome"):
        if kind in options.arms:
            for beta in options.betas:
                for rate in options.learning_rates:
                    yield Trial(kind, rate, beta, _preference(context, kind, rate, beta, steps))
    if "continued_rft" in options.arms:
        for rate in options.rft_learning_rates:
            yield Trial("continued_rft", rate, None, _continued(context, rate, steps))


def _preference(context: StageContext, kind: str, rate: float, beta: float, steps: int) -> Callable[[str], Any]:
    settings = context.recipe.dpo.model_copy(update={"learning_rate": rate, "beta": beta, "max_steps": steps})
    name = "dpo" if kind == "granular" else "outcome_dpo"
    return lambda model_id: train_on_pairs(
        context,
        training_pairs(context, kind),
        model_id=model_id,
        settings=settings,
        seed_parts=(name, context.round_number),
    )


def _continued(context: StageContext, rate: float, steps: int) -> Callable[[str], Any]:
    return partial(continue_rft, context, steps=steps, arm=ContinuedRftArm(learning_rate=rate))


def _solved(context: StageContext, model_id: str, problems: list[Problem]) -> list[bool]:
    prompts = context.prompts(model_id)
    with (
        context.engine(model_id) as engine,
        open_grader(context) as grader,
        Progress(f"dev of {model_id}", len(problems), "problems") as progress,
    ):
        graded = answer_greedily(context, problems, prompts, engine, grader, progress)
    return [grade.is_correct_strict for _, grade in graded]


def _row(
    trial: Trial, steps: int, metrics: dict[str, float], solved: list[bool], explorer: list[bool]
) -> dict[str, Any]:
    gained = sum(new and not old for new, old in zip(solved, explorer, strict=True))
    lost = sum(old and not new for new, old in zip(solved, explorer, strict=True))
    low, high = paired_bootstrap(gained, lost, len(solved), seed=0)
    return {
        "arm": trial.arm,
        "learning_rate": trial.learning_rate,
        "beta": trial.beta,
        "steps": steps,
        "dev": sum(solved) / len(solved),
        "difference": (gained - lost) / len(solved),
        "low": low,
        "high": high,
        "gained": gained,
        "lost": lost,
        "reward_accuracy": metrics.get("rewards/accuracies"),
        "chosen_logp": metrics.get("logps/chosen"),
    }


if __name__ == "__main__":
    main()
