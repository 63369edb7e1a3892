"""``selfexplore``: the command line. Imports stay light so that --help is instant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from selfexplore_tasks import __version__
from selfexplore_tasks.commands import (
    champion,
    compare,
    control,
    core,
    estimate,
    grade,
    housekeeping,
    pits,
    report,
    sql,
    store,
    transfer,
)
from selfexplore_tasks.commands.common import Subcommands, add_command, add_overrides
from selfexplore_tasks.errors import CheckFailed, UserError
from selfexplore_tasks.failures import ExitCode, failure_of
from selfexplore_tasks.stages.names import AFTER_A_ROUND, ROUND_STAGES, ROUND_ZERO_STAGES, SHARDED_STAGES
from selfexplore_tasks.store.home import Store

ALL_STAGES = tuple(dict.fromkeys((*ROUND_ZERO_STAGES, *ROUND_STAGES, *AFTER_A_ROUND)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns a `failures.ExitCode`, with one sentence on stderr where it is not 0."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except BrokenPipeError:
        return ExitCode.FAILED
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except Exception as error:
        code, sentence = _explain(error)
        print(f"error: {sentence}", file=sys.stderr)
        return code
    return ExitCode.DONE


def _explain(error: Exception) -> tuple[ExitCode, str]:
    """What to tell the user; an error that nobody foresaw is raised again."""
    if isinstance(error, CheckFailed):  # first: it quotes rows, whose text may say anything
        return ExitCode.BAD_DATA, str(error)
    try:
        known = failure_of(error, Store.from_environment().root)
    except UserError as no_store:  # what SELFEXPLORE_HOME names can be none
        return ExitCode.USER_ERROR, str(no_store)
    if known is not None:
        return known
    if isinstance(error, UserError):
        return ExitCode.USER_ERROR, str(error)
    raise error


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command, each with an example."""
    parser = argparse.ArgumentParser(
        prog="selfexplore",
        description="Self-Explore (arXiv 2404.10346): a model learns from the first wrong step of its own solutions.",
        epilog="Data is in $SELFEXPLORE_HOME (default ~/.selfexplore). Example: selfexplore scores --experiment demo",
    )
    parser.add_argument("--version", action="version", version=f"selfexplore {__version__}")
    subcommands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_stage(subcommands)
    _add_recipe(subcommands)
    estimate.declare(subcommands)
    _add_experiments(subcommands)
    _add_tables(subcommands)
    compare.declare(subcommands)
    report.declare(subcommands)
    champion.declare(subcommands)
    control.declare(subcommands)
    pits.declare(subcommands)
    transfer.declare(subcommands)
    grade.declare(subcommands)
    housekeeping.declare(subcommands)
    sql.declare(subcommands)
    store.declare(subcommands)
    add_command(
        subcommands, "where", core.where, "show where the data is and which engine runs here", "selfexplore where"
    )
    return parser


def _add_stage(subcommands: Subcommands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        subcommands,
        "stage",
        core.stage,
        "run one stage of one round; a stage that is done returns at once, one that was killed goes on",
        "selfexplore stage sample --experiment mine --round 1 --shard 1/2",
    )
    parser.add_argument("name", choices=ALL_STAGES, metavar="NAME", help=", ".join(ALL_STAGES))
    parser.add_argument("--experiment", required=True, metavar="E", help="name of the experiment")
    parser.add_argument("--round", required=True, type=int, metavar="R", help="0 = prepare and SFT, then 1, 2, ...")
    parser.add_argument(
        "--shard", default="1/1", metavar="I/N", help=f"worker I of N (stages {', '.join(SHARDED_STAGES)})"
    )
    parser.add_argument("--recipe", metavar="R", help="recipe name or YAML file; creates the experiment if it is new")
    parser.add_argument(
        "--redo", action="store_true", help="first forget the stage and what depends on it (for one shard only)"
    )
    add_overrides(parser)


def _add_recipe(subcommands: Subcommands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        subcommands, "recipe", None, "list, show and check recipes", "selfexplore recipe show arithmetic-tiny"
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    add_command(actions, "list", core.recipe_list, "list the ready recipes", "selfexplore recipe list")
    show = add_command(
        actions,
        "show",
        core.recipe_show,
        "print a recipe with every default filled in",
        "selfexplore recipe show gsm8k-mistral-7b --set sample.n=8 > mine.yaml",
    )
    show.add_argument("name", metavar="NAME", help="recipe name or YAML file")
    add_overrides(show)
    check = add_command(
        actions, "check", core.recipe_check, "check a recipe file", "selfexplore recipe check mine.yaml"
    )
    check.add_argument("name", metavar="FILE", help="YAML file or recipe name")
    add_overrides(check)
    add_command(actions, "fields", core.recipe_fields, "describe every field of a recipe", "selfexplore recipe fields")


def _add_experiments(subcommands: Subcommands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        subcommands, "experiments", None, "list, fork and delete experiments", "selfexplore experiments list"
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    listing = add_command(
        actions, "list", core.experiments_list, "list experiments", "selfexplore experiments list --json"
    )
    listing.add_argument("--json", action="store_true", help="print JSON")
    delete = add_command(
        actions,
        "delete",
        core.experiments_delete,
        "delete an experiment: its tables, models and manifests",
        "selfexplore experiments delete mine --yes",
    )
    delete.add_argument("experiment", metavar="E", help="name of the experiment")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    control.declare_fork(actions)


def _add_tables(subcommands: Subcommands[argparse.ArgumentParser]) -> None:
    for name, run, summary in (
        ("rounds", core.rounds, "what each round did: champion, counts, seconds and tokens"),
        ("scores", core.scores, "accuracy of every model with its 95%% interval"),
    ):
        parser = add_command(subcommands, name, run, summary, f"selfexplore {name} --experiment demo --json")
        parser.add_argument("--experiment", metavar="E", help="only this experiment")
        parser.add_argument("--json", action="store_true", help="print JSON")
