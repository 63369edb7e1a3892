"""``selfexplore pits score``: are first pits where the truth, or a person, says they are?"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from selfexplore_tasks.commands.common import Subcommands, add_command, add_overrides, print_rows
from selfexplore_tasks.errors import UserError

if TYPE_CHECKING:
    from selfexplore_tasks.pits.labelled import LabelledRun

LABELLED_OPTIONS = ("golds", "gold", "question", "steps", "label", "limit", "model", "set")
PERCENT = ("exact", "early", "late", "explorer_accuracy")


def declare(subcommands: Subcommands[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = add_command(
        subcommands, "pits", None, "measure first pits against the truth", "selfexplore pits score --experiment demo"
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    parser = add_command(
        actions,
        "score",
        score,
        "share of first pits that are exact, early and late: against the computable truth of generated arithmetic, "
        "or, with --labels, against human labels of the first wrong step (ProcessBench's F1)",
        "selfexplore pits score --experiment mine --labels processbench_gsm8k.jsonl --golds gsm8k --limit 100",
    )
    parser.add_argument("--experiment", required=True, metavar="E", help="name of the experiment")
    parser.add_argument("--json", action="store_true", help="print JSON")
    labelled = parser.add_argument_group("with --labels")
    labelled.add_argument("--labels", metavar="FILE", help=".jsonl or .parquet: question, list of steps, 0-based label")
    labelled.add_argument("--golds", metavar="G", help="gold answers: gsm8k, math, svamp (test split), or a file")
    labelled.add_argument("--gold", metavar="COLUMN", help="column of FILE with the gold answer, instead of --golds")
    labelled.add_argument("--question", metavar="COLUMN", help="column (default: problem)")
    labelled.add_argument("--steps", metavar="COLUMN", help="column (default: steps)")
    labelled.add_argument("--label", metavar="COLUMN", help="column, -1 = none wrong (default: label)")
    labelled.add_argument("--limit", type=int, metavar="N", help="a seeded sample of N solutions; default all")
    labelled.add_argument("--model", metavar="M", help="model that explores, e.g. 1/rft; default the champion")
    add_overrides(parser)


def score(options: argparse.Namespace) -> None:
    if options.labels is None:
        _score_known_truth(options)
    else:
        _score_labels(options)


def _score_known_truth(options: argparse.Namespace) -> None:
    from selfexplore_tasks.report import query_rows
    from selfexplore_tasks.store.experiments import load_experiment
    from selfexplore_tasks.store.home import Store

    given = next((name for name in LABELLED_OPTIONS if getattr(options, name)), None)
    if given:
        raise UserError(f"--{given} goes with --labels: without it the pits of the experiment are scored as they are.")
    store = Store.opened(options.experiment)
    slug = load_experiment(store, options.experiment).slug
    rows = query_rows(
        store, [slug], "from pit_accuracy order by round, is_total, wrong_step nulls last, explorer_id, k"
    )
    if not rows:
        raise UserError(
            f"{slug}: no explored rationale has a computable first wrong step (generated arithmetic has), or none is "
            "explored yet. To score against labels of your own, give --labels FILE."
        )
    if options.json:
        print_rows(rows, as_json=True)
        return
    print_rows([_readable(row) for row in rows], as_json=False)


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    """Percent instead of shares, one column that says which step, and no keys that are the same in every row."""
    step = "all" if row["is_total"] else row["wrong_step"] or "none"
    shown = {"round": row["round"], "first wrong step": step}
    for name in ("rationale_count", "exact", "early", "late", "rollouts_per_rationale", "k", "explorer_accuracy"):
        value = row[name]
        shown[name.replace("_", " ")] = f"{100 * value:.1f}%" if name in PERCENT and value is not None else value
    return shown


def _score_labels(options: argparse.Namespace) -> None:
    from dataclasses import replace

    from selfexplore_tasks.commands.core import parse_overrides
    from selfexplore_tasks.pits.labelled import explore_labelled
    from selfexplore_tasks.pits.labels import LabelColumns, read_labels, sample_labels
    from selfexplore_tasks.recipe_files import change_recipe
    from selfexplore_tasks.stages.context import StageContext
    from selfexplore_tasks.store.champions import champion_before
    from selfexplore_tasks.store.experiments import last_round, load_experiment
    from selfexplore_tasks.store.home import Store

    if options.limit is not None and options.limit < 1:
        raise UserError(f"--limit must be 1 or more, got {options.limit}.")
    store = Store.opened(options.experiment)
    experiment = load_experiment(store, options.experiment)
    experiment = replace(experiment, recipe=change_recipe(experiment.recipe, parse_overrides(options.set)))
    named = {name: getattr(options, name) for name in ("question", "steps", "label", "gold")}
    columns = LabelColumns(**{name: column for name, column in named.items() if column})
    solutions = sample_labels(
        read_labels(options.labels, columns, options.golds), options.limit, experiment.recipe.seed
    )
    finished = last_round(store, experiment.slug)
    if options.model is None and finished is None:
        raise UserError(f"{experiment.slug!r} has no champion yet: name the model, e.g. --model 0/base.")
    model_id = options.model or champion_before(store, experiment.slug, int(finished or 0) + 1)
    context = StageContext(store, experiment, int(finished or 0), "pits")
    # What the engine and the progress print must not stand between the lines of a JSON answer.
    with redirect_stdout(sys.stderr if options.json else sys.stdout):
        run = explore_labelled(context, model_id, solutions)
    _print_run(run, model_id, as_json=options.json)


def _print_run(run: LabelledRun, model_id: str, *, as_json: bool) -> None:
    totals = {"model_id": model_id, "rollouts": run.rollout_count, "tokens": run.token_count}
    if as_json:
        print(json.dumps({**totals, **run.score.as_json(), "found": run.found, "labels": run.labels}, indent=1))
        return
    print_rows([totals], as_json=False)
    shares: dict[str, object] = {"solutions": run.score.solutions, "with wrong step": run.score.with_wrong_step}
    for name, value in run.score.as_json().items():
        if name.startswith(("accuracy", "f1", "early", "late")):
            shares[name.replace("_", " ")] = "-" if value is None else f"{100 * value:.1f}%"
    print_rows([shares], as_json=False)
