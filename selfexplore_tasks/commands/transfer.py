"""``selfexplore import`` and ``selfexplore export``: samples made elsewhere in, preference pairs out."""

from __future__ import annotations

import argparse

from selfexplore_tasks.commands.common import Subcommands, add_command, add_overrides


def declare(subcommands: Subcommands[argparse.ArgumentParser]) -> None:
    """Declare both commands."""
    importing = add_command(
        subcommands,
        "import",
        None,
        "bring in rationales or rollouts made elsewhere",
        "selfexplore import rationales mine.jsonl --experiment mine --recipe arithmetic-tiny",
    )
    imports = importing.add_subparsers(title="actions", required=True, metavar="ACTION")
    _declare_rationales(imports)
    _declare_rollouts(imports)
    exporting = add_command(
        subcommands,
        "export",
        None,
        "write what a round made for other tools",
        "selfexplore export pairs --experiment mine --format trl --output pairs.jsonl",
    )
    _declare_pairs(exporting.add_subparsers(title="actions", required=True, metavar="ACTION"))


def _declare_rationales(actions: Subcommands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        actions,
        "rationales",
        import_rationales,
        "take rationales from a jsonl or parquet file in place of a round's stage sample",
        "selfexplore import rationales mine.jsonl --experiment mine --recipe mine.yaml --texts completions",
    )
    _add_place(parser, "the first unfinished one after round 0")
    parser.add_argument("--recipe", metavar="R", help="recipe name or YAML file; creates the experiment if it is new")
    add_overrides(parser)
    parser.add_argument("--question", default="question", metavar="COL", help="column with the question")
    parser.add_argument("--gold", default="gold", metavar="COL", help="column with the gold answer")
    _add_text_columns(parser, "rationales")


def _declare_rollouts(actions: Subcommands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        actions,
        "rollouts",
        import_rollouts,
        "take rollouts from a jsonl or parquet file in place of a round's stage explore",
        "selfexplore import rollouts mine.parquet --experiment mine --rationale wrong --texts completions",
    )
    _add_place(parser, "the first unfinished one after round 0")
    parser.add_argument("--question", default="question", metavar="COL", help="column with the question")
    parser.add_argument("--rationale", default="rationale", metavar="COL", help="column with the whole wrong rationale")
    parser.add_argument("--step", default="step", metavar="COL", help="column with the steps given: 1, 2, ...")
    _add_text_columns(parser, "completions")


def _declare_pairs(actions: Subcommands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        actions,
        "pairs",
        export_pairs,
        "write a round's kept preference pairs",
        "selfexplore export pairs --experiment mine --format hub-folder --output pairs",
    )
    parser.add_argument("--experiment", required=True, metavar="E", help="name of the experiment")
    parser.add_argument("--round", type=int, metavar="R", help="round; default: the last that made such pairs")
    parser.add_argument("--kind", choices=("granular", "outcome"), default="granular", help="default: granular")
    parser.add_argument(
        "--format",
        choices=("trl", "parquet", "hub-folder"),
        required=True,
        help="trl = jsonl with prompt, chosen, rejected; parquet = also ids, steps and question; hub-folder = the same "
        "with a card",
    )
    parser.add_argument("--output", required=True, metavar="PATH", help="file (hub-folder: folder) to write")
    parser.add_argument("--force", action="store_true", help="write again what exists")


def _add_place(parser: argparse.ArgumentParser, default_round: str) -> None:
    parser.add_argument("file", metavar="FILE", help=".jsonl or .parquet file")
    parser.add_argument("--experiment", required=True, metavar="E", help="name of the experiment")
    parser.add_argument("--round", type=int, metavar="R", help=f"round, from 1 on; default: {default_round}")


def _add_text_columns(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--texts", default="texts", metavar="COL", help=f"column with {what}: lists of texts, or one text a row"
    )
    parser.add_argument(
        "--finish-reason",
        metavar="COL",
        help="column with stop or length for each text (default: finish_reason, if there is one); else all are stop",
    )


def import_rationales(options: argparse.Namespace) -> None:
    from selfexplore_tasks.commands.core import parse_overrides
    from selfexplore_tasks.store.home import Store
    from selfexplore_tasks.transfer import rationales

    rationales.import_rationales(
        Store.opened(options.experiment),
        options.experiment,
        options.file,
        rationales.RationaleColumns(
            question=options.question, gold=options.gold, texts=options.texts, finish_reason=options.finish_reason
        ),
        round_number=options.round,
        recipe_name=options.recipe,
        overrides=parse_overrides(options.set),
    )


def import_rollouts(options: argparse.Namespace) -> None:
    from selfexplore_tasks.store.home import Store
    from selfexplore_tasks.transfer import rollouts

    rollouts.import_rollouts(
        Store.opened(options.experiment),
        options.experiment,
        options.file,
        rollouts.RolloutColumns(
            question=options.question,
            rationale=options.rationale,
            step=options.step,
            texts=options.texts,
            finish_reason=options.finish_reason,
        ),
        round_number=options.round,
    )


def export_pairs(options: argparse.Namespace) -> None:
    from selfexplore_tasks.store.home import Store
    from selfexplore_tasks.table_files import user_path
    from selfexplore_tasks.transfer import exports

    made = exports.export_pairs(
        Store.opened(options.experiment),
        options.experiment,
        user_path(options.output),
        kind=options.kind,
        form=options.format,
        round_number=options.round,
        force=options.force,
    )
    print(f"export: {made.pair_count:,} {made.kind} pairs of round {made.round_number} written to {made.path}")
    for warning in made.warnings:
        print(f"export: {warning}")
