"""``selfexplore compare``: SFT, RFT, continued RFT, outcome DPO and Self-Explore side by side."""

from __future__ import annotations

import argparse
import json

from selfexplore_tasks.commands.common import Subcommands, add_command
from selfexplore_tasks.errors import UserError


def declare(subcommands: Subcommands[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = add_command(
        subcommands,
        "compare",
        compare,
        "compare the arms of a round (recipe: `compare: true`) with paired bootstrap intervals",
        "selfexplore compare --experiment seed0 --experiment seed1 --experiment seed2",
    )
    parser.add_argument(
        "--experiment",
        action="append",
        required=True,
        metavar="E",
        help="experiment; give several (one per seed) for pooled differences",
    )
    parser.add_argument("--split", choices=("dev", "test"), help="only this split")
    parser.add_argument("--json", action="store_true", help="print JSON: scores, comparisons and pooled")


def compare(options: argparse.Namespace) -> None:
    from selfexplore_tasks.comparison import comparison_report, comparison_rows, pooled_rows
    from selfexplore_tasks.report import score_rows
    from selfexplore_tasks.store.experiments import load_experiment
    from selfexplore_tasks.store.home import Store

    store = Store.opened()
    slugs = [load_experiment(store, slug).slug for slug in dict.fromkeys(options.experiment)]
    splits = (options.split,) if options.split else ("dev", "test")
    scores = [row for row in score_rows(store, slugs) if row["split"] in splits]
    rows = [row for row in comparison_rows(store, slugs) if row["split"] in splits]
    if not rows:
        raise UserError(f"{', '.join(slugs)}: no round after round 0 is finished, so there is nothing to compare yet.")
    pooled = pooled_rows(store, rows)
    if options.json:
        print(json.dumps({"scores": scores, "comparisons": rows, "pooled": pooled}, indent=1))
        return
    print(comparison_report(scores, rows, pooled))
    missing = [slug for slug in slugs if slug not in {row["experiment"] for row in rows}]
    if missing:
        print(f"\nWithout a finished round, so left out: {', '.join(missing)}")
