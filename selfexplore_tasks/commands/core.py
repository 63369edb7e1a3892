"""What the commands on stages, recipes, experiments and tables do."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from selfexplore_tasks.commands.common import chosen_experiments, print_rows
from selfexplore_tasks.errors import UserError


def stage(options: argparse.Namespace) -> None:
    from selfexplore_tasks.loading import LOADING
    from selfexplore_tasks.stages.redo import finish_redo, redo_stage
    from selfexplore_tasks.stages.registry import check_order, check_stage, run_stage
    from selfexplore_tasks.store.experiments import open_experiment
    from selfexplore_tasks.store.home import Store

    shard_index, shard_count = parse_shard(options.shard)
    if options.round < 0:
        raise UserError(f"--round must be 0 or more, got {options.round}.")
    store = Store.opened(options.experiment)
    check_stage(options.name, options.round, shard_count)
    if options.recipe:
        check_order(store, options.experiment, options.name, options.round)
    open_experiment(store, options.experiment, options.recipe, parse_overrides(options.set))
    finish_redo(store, options.experiment)
    if options.redo:
        redo_stage(store, options.experiment, options.round, options.name)
    LOADING.process_is_ready()
    run_stage(
        store,
        options.experiment,
        options.name,
        round_number=options.round,
        shard_index=shard_index,
        shard_count=shard_count,
    )


def recipe_list(options: argparse.Namespace) -> None:
    from selfexplore_tasks.recipe_files import load_recipe, recipe_names

    rows = [{"recipe": name, "description": load_recipe(name).description} for name in recipe_names()]
    print_rows(rows, as_json=False)


def recipe_show(options: argparse.Namespace) -> None:
    import yaml

    from selfexplore_tasks.recipe_files import load_recipe

    recipe = load_recipe(options.name, parse_overrides(options.set))
    print(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True), end="")


def recipe_check(options: argparse.Namespace) -> None:
    from selfexplore_tasks.recipe_files import load_recipe, recipe_hash
    from selfexplore_tasks.training.layout import check_accelerate

    recipe = load_recipe(options.name, parse_overrides(options.set))
    check_accelerate(recipe)
    print(f"{options.name}: recipe {recipe.name!r} is valid, hash {recipe_hash(recipe)}")


def recipe_fields(options: argparse.Namespace) -> None:
    from selfexplore_tasks.recipe_fields import describe_fields

    for field in describe_fields():
        print(f"{field.path} ({field.type}, default {field.default})\n    {field.description}")


def experiments_list(options: argparse.Namespace) -> None:
    from selfexplore_tasks.store.control import read_control
    from selfexplore_tasks.store.experiments import experiment_names, last_round, load_experiment
    from selfexplore_tasks.store.home import Store
    from selfexplore_tasks.store.locks import live_stages

    store = Store.opened()
    rows: list[dict[str, Any]] = []
    for name in experiment_names(store):
        experiment = load_experiment(store, name)
        control, origin = read_control(store, name), experiment.forked_from
        rows.append(
            {
                "experiment": name,
                "recipe": experiment.recipe.name,
                "recipe_hash": experiment.recipe_hash,
                "created_at": experiment.created_at,
                "last_round": last_round(store, name),
                "running": ", ".join(live_stages(store, name)) or None,
                "state": control.state if control and control.state != "running" else None,
                "forked_from": f"{origin.experiment}, round {origin.round}" if origin else None,
            }
        )
    print_rows(rows, as_json=options.json)


def experiments_delete(options: argparse.Namespace) -> None:
    from selfexplore_tasks.store.experiments import delete_experiment, load_experiment
    from selfexplore_tasks.store.home import Store

    store = Store.opened()
    load_experiment(store, options.experiment)
    if not options.yes and not _confirmed(f"Delete experiment {options.experiment!r} and everything it made?"):
        raise UserError("Nothing deleted; give --yes to delete without being asked.")
    delete_experiment(store, options.experiment)
    print(f"Deleted {options.experiment}.")


def rounds(options: argparse.Namespace) -> None:
    from selfexplore_tasks.report import round_report, round_rows

    store, slugs = chosen_experiments(options.experiment)
    if options.json:
        print(json.dumps(round_rows(store, slugs), indent=1))
        return
    for slug in slugs:
        print(f"Experiment {slug}\n\n{round_report(store, slug)}\n")


def scores(options: argparse.Namespace) -> None:
    from selfexplore_tasks.report import score_rows

    store, slugs = chosen_experiments(options.experiment)
    print_rows(score_rows(store, slugs), as_json=options.json)


def where(options: argparse.Namespace) -> None:
    from selfexplore_tasks.engines.select import choose_engine
    from selfexplore_tasks.store.catalogue import SQL_DIR
    from selfexplore_tasks.store.experiments import experiment_names
    from selfexplore_tasks.store.home import Store

    store = Store.opened()
    engine, reason = choose_engine("auto")
    lines = {
        "store": f"{store.place} (SELFEXPLORE_HOME)",
        "tables": store.root / "tables",
        "models": store.root / "models",
        "manifests": store.root / "manifests",
        "sql": SQL_DIR,
        "engine": f"{engine}: {reason}",
        "experiments": ", ".join(experiment_names(store)) or "none yet",
    }
    for name, value in lines.items():
        print(f"{name:<12}{value}")


def parse_shard(text: str) -> tuple[int, int]:
    """`2/4` -> (1, 4): 0-based index and count."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise UserError(f"--shard must be I/N with 1 <= I <= N, e.g. 1/2; got {text!r}.")
    return int(index) - 1, int(count)


def parse_overrides(settings: Sequence[str]) -> dict[str, object]:
    """`["sample.n=4"]` -> `{"sample.n": 4}`; values are read as YAML."""
    import yaml

    overrides: dict[str, object] = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or not key:
            raise UserError(f"--set must be KEY=VALUE, e.g. sample.n=8; got {setting!r}.")
        try:
            overrides[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"--set {key}: {value!r} is not a YAML value.") from error
    return overrides


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
