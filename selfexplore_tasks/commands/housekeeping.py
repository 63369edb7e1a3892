"""``selfexplore housekeeping``: free what experiments no longer need."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from selfexplore_tasks.commands.common import Subcommands, add_command, chosen_experiments, print_rows


def declare(subcommands: Subcommands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        subcommands,
        "housekeeping",
        run,
        "prune models by the recipe's retention rule, merge small parts, remove leftovers, end orphaned processes",
        "selfexplore housekeeping --dry-run",
    )
    parser.add_argument("--experiment", metavar="E", help="only this experiment")
    parser.add_argument("--dry-run", action="store_true", help="tell what would be freed, change nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> None:
    from selfexplore_tasks.housekeeping import keep_house

    store, slugs = chosen_experiments(options.experiment)
    rows = [asdict(freed) for freed in keep_house(store, slugs, dry_run=options.dry_run)]
    print_rows(rows, as_json=options.json)
    if not options.json:
        size, done = sum(row["size"] for row in rows), "would be freed" if options.dry_run else "freed"
        print(f"\n{size / 2**20:.1f} MiB {done} (parts that were merged go a run later, after an hour)")
