"""``selfexplore estimate``: tokens, time and disk of an experiment before it runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from selfexplore_tasks.commands.common import Subcommands, add_command, add_overrides, print_rows
from selfexplore_tasks.errors import UserError

if TYPE_CHECKING:
    from selfexplore_tasks.estimates import RoundEstimate
    from selfexplore_tasks.recipe import Recipe
    from selfexplore_tasks.store.home import Store

UNITS = {
    "prepare": "problems",
    "sft": "examples",
    "sample": "rationales",
    "rft_set": "rationales",
    "rft": "examples",
    "sample_explorer": "rationales",
    "outcome_pairs": "rationales",
    "explore": "rollouts",
    "granular_pairs": "rollouts",
    "dpo": "pairs",
    "arms": "examples",
    "evaluate": "answers",
}


def declare(subcommands: Subcommands[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = add_command(
        subcommands,
        "estimate",
        estimate,
        "tell tokens, time and disk of every stage before anything runs, and what that rests on",
        "selfexplore estimate arithmetic-tiny --set sample.n=16 --probe",
    )
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="recipe name or YAML file")
    add_overrides(parser)
    parser.add_argument("--experiment", metavar="E", help="the rounds that an experiment still has to run")
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="rounds after round 0 (default: the recipe's max_rounds)"
    )
    parser.add_argument("--probe", action="store_true", help="first generate and train for 30 seconds with the model")
    parser.add_argument("--json", action="store_true", help="print JSON")


def estimate(options: argparse.Namespace) -> None:
    from selfexplore_tasks.estimates import estimate_rounds
    from selfexplore_tasks.store.home import Store

    store = Store.opened()
    recipe = _recipe(store, options)
    rounds = _rounds(store, options, recipe)
    probed = []
    if options.probe:
        from selfexplore_tasks.estimates.probe import probe

        print("Loading the model, then generating and training for at most 30 s ...", file=sys.stderr)
        probed = probe(recipe)
    estimates = estimate_rounds(store, recipe, options.experiment, rounds, probed)
    total = _total(store, recipe, estimates)
    if options.json:
        print(
            json.dumps({"recipe": recipe.name, "rounds": [asdict(one) for one in estimates], "total": total}, indent=1)
        )
        return
    for one in [one for one in estimates if one.round == 0] + [one for one in estimates if one.round][:1]:
        print(f"Round {one.round}")
        print_rows(_rows(one), as_json=False)
        print()
    print(_sentence(rounds, total))


def _recipe(store: Store, options: argparse.Namespace) -> Recipe:
    from selfexplore_tasks.commands.core import parse_overrides
    from selfexplore_tasks.recipe_files import change_recipe, load_recipe
    from selfexplore_tasks.store.experiments import load_experiment

    overrides = parse_overrides(options.set)
    if options.recipe is not None:
        if options.experiment is not None:
            raise UserError("Give a recipe or --experiment, not both: an experiment has its own recipe.")
        return load_recipe(options.recipe, overrides)
    if options.experiment is None:
        raise UserError("Give a recipe (selfexplore recipe list) or --experiment.")
    return change_recipe(load_experiment(store, options.experiment).recipe, overrides)


def _rounds(store: Store, options: argparse.Namespace, recipe: Recipe) -> list[int]:
    from selfexplore_tasks.store.experiments import last_round

    last = recipe.max_rounds if options.rounds is None else options.rounds
    if last < 0:
        raise UserError(f"--rounds must be 0 or more, got {last}.")
    done = None if options.experiment is None else last_round(store, options.experiment)
    rounds = list(range(0 if done is None else done + 1, last + 1))
    if not rounds:
        raise UserError(f"Experiment {options.experiment!r} has finished round {done} already: give larger --rounds.")
    return rounds


def _total(store: Store, recipe: Recipe, estimates: Sequence[RoundEstimate]) -> dict[str, float]:
    from selfexplore_tasks.estimates.disk import free_bytes
    from selfexplore_tasks.estimates.model import total_disk

    return {
        "tokens": sum(sum(one.tokens.values()) for one in estimates),
        "seconds": round(sum(sum(one.seconds.values()) for one in estimates), 1),
        "disk_bytes": total_disk(estimates, recipe.retention.keep_rounds),
        "free_bytes": free_bytes(store),
    }


def _rows(one: RoundEstimate) -> list[dict[str, Any]]:
    rows = [
        {
            "stage": stage,
            "work": f"{one.items[stage]:,} {UNITS[stage]}" if one.items[stage] else None,
            "tokens": f"{one.tokens[stage]:,}" if one.tokens[stage] else None,
            "time": _duration(seconds),
            "from": one.sources[stage],
        }
        for stage, seconds in one.seconds.items()
    ]
    sums = {"tokens": f"{sum(one.tokens.values()):,}", "time": _duration(sum(one.seconds.values()))}
    return [*rows, {"stage": "all", "work": None, **sums, "from": f"needs {_bytes(one.disk_bytes)} of disk"}]


def _sentence(rounds: Sequence[int], total: dict[str, float]) -> str:
    which = f"Round {rounds[0]}" if len(rounds) == 1 else f"Rounds {rounds[0]} to {rounds[-1]}"
    needed, free = _bytes(total["disk_bytes"]), _bytes(total["free_bytes"])
    tokens, time = f"{total['tokens']:,}", _duration(total["seconds"])
    return f"{which}: about {tokens} tokens, {time} and {needed} of disk ({free} are free)."


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3_600:.1f} h"


def _bytes(count: float) -> str:
    from selfexplore_tasks.estimates.disk import in_words

    return in_words(count)
