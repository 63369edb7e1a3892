"""``selfexplore store copy``: a store that began in a folder goes on in a bucket."""

from __future__ import annotations

import argparse
import os

from selfexplore_tasks.commands.common import Subcommands, add_command

EXAMPLE = "selfexplore store copy ~/.selfexplore s3://bucket/prefix"


def declare(subcommands: Subcommands[argparse.ArgumentParser]) -> None:
    parser = add_command(subcommands, "store", None, "bring a store to another place", EXAMPLE)
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    copying = add_command(
        actions,
        "copy",
        copy,
        "copy experiments from a folder to a store on S3; cut off, run it again",
        EXAMPLE,
    )
    copying.add_argument("source", metavar="FROM", help="folder of a store")
    copying.add_argument("target", metavar="TO", help="s3://bucket/prefix; the bucket must exist")
    copying.add_argument("--experiment", metavar="E", help="only this experiment")


def copy(options: argparse.Namespace) -> None:
    from selfexplore_tasks.errors import UserError
    from selfexplore_tasks.store.experiments import experiment_names
    from selfexplore_tasks.store.home import Store, check_slug
    from selfexplore_tasks.store_copy import copy_experiment

    source, target = (
        Store.from_environment({**os.environ, "SELFEXPLORE_HOME": home}) for home in (options.source, options.target)
    )
    slugs = [check_slug(options.experiment)] if options.experiment else experiment_names(source)
    if not slugs:
        raise UserError(f"There is no experiment in {source.place}.")
    for slug in slugs:
        models, files = copy_experiment(source, target, slug)
        print(f"{slug} is in {target.place}: {models} models, {files} files", flush=True)
