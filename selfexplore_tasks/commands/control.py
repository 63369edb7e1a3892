"""``selfexplore pause``, ``resume``, ``cancel``, ``approve`` and ``experiments fork``: the hand on the wheel."""

from __future__ import annotations

import argparse
import getpass

from selfexplore_tasks.commands.common import Subcommands, add_command, add_overrides, chosen_experiments


def declare(subcommands: Subcommands[argparse.ArgumentParser]) -> None:
    """Declare the commands on a running experiment."""
    for name, run, summary in (
        ("pause", pause, "let the round under way finish and start no other"),
        ("resume", resume, "let an experiment go on that was paused or cancelled"),
        ("cancel", cancel, "stop an experiment now; what its stages have committed stays"),
    ):
        parser = add_command(subcommands, name, run, summary, f'selfexplore {name} mine --why "the machine is needed"')
        add_experiment(parser)
        add_who(parser)
    parser = add_command(
        subcommands,
        "approve",
        approve,
        "answer a round that waits for approval of its promotion (recipe: gate.require_approval)",
        'selfexplore approve mine --round 2 --reject --why "reads worse"',
    )
    add_experiment(parser)
    parser.add_argument("--round", required=True, type=int, metavar="R", help="the round that waits")
    parser.add_argument("--reject", action="store_true", help="the champion stays")
    add_who(parser)


def declare_fork(actions: Subcommands[argparse.ArgumentParser]) -> None:
    """Declare ``experiments fork``."""
    parser = add_command(
        actions,
        "fork",
        fork,
        "make a new experiment that goes on from a finished round of another one, and shares its files",
        "selfexplore experiments fork mine --round 2 --as stronger-beta --set dpo.beta=0.2",
    )
    add_experiment(parser)
    parser.add_argument("--round", required=True, type=int, metavar="R", help="last round to take over")
    parser.add_argument("--as", required=True, dest="new_name", metavar="NEW", help="name of the new experiment")
    add_overrides(parser)


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """Give a command the experiment's name."""
    parser.add_argument("experiment", metavar="E", help="name of the experiment")


def add_who(parser: argparse.ArgumentParser) -> None:
    """Give a command ``--who`` and ``--why``, which stay on record."""
    parser.add_argument("--who", metavar="NAME", help="who decides; default the user who runs the command")
    parser.add_argument("--why", default="", metavar="TEXT", help="the reason, in a few words")


def signature(options: argparse.Namespace) -> dict[str, str]:
    """What goes on record of a decision: who and why."""
    return {"who": options.who or getpass.getuser(), "why": options.why}


def pause(options: argparse.Namespace) -> None:
    from selfexplore_tasks.store import control

    store, (slug,) = chosen_experiments(options.experiment)
    control.pause(store, slug, **signature(options))
    print(f"{slug} pauses after the round under way; go on with `selfexplore resume {slug}`.")


def resume(options: argparse.Namespace) -> None:
    from selfexplore_tasks.store import control

    store, (slug,) = chosen_experiments(options.experiment)
    control.resume(store, slug, **signature(options))
    print(f"{slug} may go on: trigger it again where nothing is queued.")


def cancel(options: argparse.Namespace) -> None:
    from selfexplore_tasks.store import control
    from selfexplore_tasks.store.shared import shared_copy

    store, (slug,) = chosen_experiments(options.experiment)
    left = control.cancel(store, slug, **signature(options))
    print(f"{slug} is cancelled; go on with `selfexplore resume {slug}`.")
    if left:
        here = "End it where it was started." if shared_copy(store.root) is None else "It ends itself within seconds."
        print(f"Still running, as nothing on this machine launched it: {', '.join(left)}. {here}")


def approve(options: argparse.Namespace) -> None:
    from selfexplore_tasks.store.approvals import write_approval

    store, (slug,) = chosen_experiments(options.experiment)
    write_approval(store, slug, options.round, approved=not options.reject, **signature(options))
    print(f"Round {options.round} of {slug}: {'rejected' if options.reject else 'approved'}.")


def fork(options: argparse.Namespace) -> None:
    from selfexplore_tasks.commands.core import parse_overrides
    from selfexplore_tasks.store.forks import fork_experiment

    store, (slug,) = chosen_experiments(options.experiment)
    made = fork_experiment(store, slug, options.round, options.new_name, parse_overrides(options.set))
    print(f"{made.slug} begins with round {options.round + 1}, as {slug} after round {options.round}.")
