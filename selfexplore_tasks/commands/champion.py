"""``selfexplore champion``: the best model of an experiment, who chose it, and another choice by hand."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from selfexplore_tasks.commands.common import Subcommands, add_command, chosen_experiments, print_rows
from selfexplore_tasks.commands.control import add_experiment, add_who, signature


def declare(subcommands: Subcommands[argparse.ArgumentParser]) -> None:
    """Declare the command and its actions."""
    parser = add_command(
        subcommands, "champion", None, "show, choose and publish the best model", "selfexplore champion show mine"
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    for name, run, summary in (
        ("show", show, "show the champion and the folder that transformers and vLLM load"),
        ("history", history, "list every champion, with who chose it and why"),
    ):
        reading = add_command(actions, name, run, summary, f"selfexplore champion {name} mine --json")
        add_experiment(reading)
        reading.add_argument("--json", action="store_true", help="print JSON")
    choose = add_command(
        actions,
        "set",
        choose_champion,
        "choose a champion by hand, which holds from the next round on",
        'selfexplore champion set mine 1/policy --why "best on our own problems"',
    )
    add_experiment(choose)
    choose.add_argument("model", metavar="MODEL", help="round and name, e.g. 1/policy")
    add_who(choose)
    back = add_command(
        actions, "rollback", roll_back, "go back to the champion before", "selfexplore champion rollback mine"
    )
    add_experiment(back)
    add_who(back)
    push = add_command(
        actions,
        "push",
        push_to_hub,
        "upload the champion with its model card to the Hub (token: HF_TOKEN, or `hf auth login`)",
        "selfexplore champion push mine --repo me/mine-self-explore --private",
    )
    add_experiment(push)
    push.add_argument("--repo", required=True, metavar="OWNER/NAME", help="model repository; made if it is not there")
    push.add_argument("--private", action="store_true", help="make a new repository private")


def show(options: argparse.Namespace) -> None:
    from selfexplore_tasks.store.champions import champion, fetch_champion

    store, (slug,) = chosen_experiments(options.experiment)
    entry = champion(store, slug)
    fetch_champion(store, slug)
    print_rows([{**asdict(entry), "folder": str(store.champion_link(slug))}], as_json=options.json)


def history(options: argparse.Namespace) -> None:
    from selfexplore_tasks.store.champions import champion_history

    store, (slug,) = chosen_experiments(options.experiment)
    print_rows([asdict(entry) for entry in champion_history(store, slug)], as_json=options.json)


def choose_champion(options: argparse.Namespace) -> None:
    from selfexplore_tasks.store.champions import set_champion

    store, (slug,) = chosen_experiments(options.experiment)
    entry = set_champion(store, slug, options.model, **signature(options))
    print(f"{entry.model_id} is the champion of {slug} from round {entry.round + 1} on.")


def roll_back(options: argparse.Namespace) -> None:
    from selfexplore_tasks.store.champions import rollback

    store, (slug,) = chosen_experiments(options.experiment)
    entry = rollback(store, slug, **signature(options))
    print(f"{entry.model_id} is the champion of {slug} again, from round {entry.round + 1} on.")


def push_to_hub(options: argparse.Namespace) -> None:
    from selfexplore_tasks.champion_push import push_champion

    store, (slug,) = chosen_experiments(options.experiment)
    print(push_champion(store, slug, options.repo, is_private=options.private))
