"""Which round runs next, and whether it may: what the Dag decides before and after the stages.

A Dag run *claims* its round in the store, so that running it again (a cleared task, a retry) means the same round, and
a second Dag run of the same experiment is refused while the first one lives.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.estimates import RoundEstimate, check_disk, estimate_round, read_estimate, save_estimate
from selfexplore_tasks.stopping import stop_reason
from selfexplore_tasks.store.control import check_may_run, check_not_cancelled, is_paused
from selfexplore_tasks.store.experiments import Experiment, last_round, load_experiment, open_experiment
from selfexplore_tasks.store.files import write_text
from selfexplore_tasks.store.home import Store, check_slug
from selfexplore_tasks.store.locks import exclusive_lock
from selfexplore_tasks.store.manifests import read_manifest, read_manifests
from selfexplore_tasks.store.rounds import round_facts

DEFAULT_RECIPE = "arithmetic-tiny"
CLAIMS = "runs"


def open_or_create(
    store: Store, slug: str, recipe: str | None, overrides: dict[str, object], requested: int | None = None
) -> Experiment:
    """Return the experiment; a new one without a recipe takes the default.

    Raises:
        UserError: as `open_experiment`; or a later round than 0 is ``requested`` of a new experiment.
    """
    exists = store.experiment_file(slug).exists()
    if requested and not exists:
        raise UserError(f"Experiment {slug!r} is new and begins with round 0: leave the round empty.")
    return open_experiment(store, slug, recipe if exists else recipe or DEFAULT_RECIPE, overrides)


def claim_round(
    store: Store, experiment: Experiment, *, requested: int | None, run_id: str, is_running: Callable[[str], bool]
) -> int:
    """Decide which round the Dag run ``run_id`` works on and claim it.

    Args:
        requested: the round asked for; None means the one this Dag run claimed before, else the first unfinished one.
        is_running: tells whether another Dag run, named by its id, is still queued or running.

    Raises:
        UserError: the round has a successor, its predecessor is unfinished, the experiment has ended,
            or another Dag run works on it.
    """
    slug = experiment.slug
    check_not_cancelled(store, slug)
    with exclusive_lock(store, slug, CLAIMS) as folder:
        claims = _read_claims(folder)
        own = next((number for number, holder in claims.items() if holder == run_id), None)
        if requested is None:
            requested = own
        if requested is None:
            done = last_round(store, slug)
            requested = 0 if done is None else done + 1
        if not any(manifest.round == requested for manifest in read_manifests(store, slug)):
            check_may_run(store, slug)  # paused: a round that has begun is finished, no other begins
        _check_order(store, experiment, requested)
        for number, holder in claims.items():
            # A summarized round needs nobody any more: its Dag run may still be closing when it triggers this one.
            if holder != run_id and not read_manifest(store, slug, number, "summarize") and is_running(holder):
                raise UserError(
                    f"Experiment {slug!r} is live: its round {number} runs as Dag run {holder!r}. "
                    "Wait for it, or choose another experiment name."
                )
        write_text(folder / f"round-{requested:03d}.run", run_id)
    return requested


def plan_round(store: Store, experiment: Experiment, round_number: int) -> RoundEstimate | None:
    """Estimate a round before its first stage, keep the estimate, and check that the disk has room for it.

    None for a round that is under way already: its first estimate stands. Raises UserError when the disk is too full.
    """
    if read_estimate(store, experiment.slug, round_number) is not None:
        return None
    estimate = estimate_round(store, experiment, round_number)
    check_disk(store, experiment, round_number, estimate.disk_bytes)
    save_estimate(store, experiment.slug, estimate)
    return estimate


def reason_to_end(store: Store, slug: str, round_number: int) -> str | None:
    """Why no round follows this finished one: what the round lacked, the stop rule, or a person's pause."""
    manifest = read_manifest(store, slug, round_number, "summarize")
    if manifest is None:
        return f"round {round_number} is not finished"
    if manifest.notes.get("stop_reason"):
        return str(manifest.notes["stop_reason"])
    recipe = load_experiment(store, slug).recipe
    done = [one for one in read_manifests(store, slug) if one.round <= round_number]
    reason = stop_reason(round_facts(done), recipe.stop, recipe.max_rounds)
    if reason is None and is_paused(store, slug):
        return f"paused: go on with `selfexplore resume {slug}`, then trigger it again"
    return reason


def parse_starts(text: str) -> list[tuple[str, str]]:
    """Read `name=recipe, name=recipe` as pairs of experiment and recipe; raises UserError for anything else."""
    pairs = []
    for entry in (entry.strip() for entry in re.split(r"[,\n]", text)):
        slug, _, recipe = (part.strip() for part in entry.partition("="))
        if entry and not (slug and recipe):
            raise UserError(f"{entry!r} names no experiment and recipe: write e.g. nightly=arithmetic-tiny.")
        if entry:
            pairs.append((check_slug(slug), recipe))
    if len({slug for slug, _ in pairs}) < len(pairs):
        raise UserError("An experiment is listed twice: give each one name.")
    return pairs


def reason_not_to_start(store: Store, slug: str, is_running: Callable[[str], bool]) -> str | None:
    """Why a scheduled start leaves an experiment alone; None where it is new or may go on."""
    if not store.experiment_file(slug).exists():
        return None
    for number, holder in claimed_rounds(store, slug).items():
        if is_running(holder):
            return f"its round {number} runs as Dag run {holder!r}"
    try:
        check_may_run(store, slug)
    except UserError as stopped:
        return str(stopped)
    done = last_round(store, slug)
    following = round_run_id(load_experiment(store, slug), 0 if done is None else done + 1)
    if is_running(following):
        return f"its next round waits to start as Dag run {following!r}"
    reason = None if done is None else reason_to_end(store, slug, done)
    return f"it ended with round {done} ({reason})" if reason else None


def following_round(store: Store, slug: str, round_number: int) -> int | None:
    """Return the round that follows a finished one, or None where `reason_to_end` gives a reason."""
    return None if reason_to_end(store, slug, round_number) else round_number + 1


def round_run_id(experiment: Experiment, round_number: int) -> str:
    """The Dag run id of a round: the same however often it is asked for, another once the experiment was made anew."""
    created = re.sub(r"[^0-9A-Za-z]", "", experiment.created_at.split("+")[0])
    return f"{experiment.slug}__{created}__round_{round_number:03d}"


def shard_labels(count: int) -> list[str]:
    """What `--shard` of each worker says, e.g. ``["1/2", "2/2"]``."""
    return [f"{index}/{count}" for index in range(1, count + 1)]


def _check_order(store: Store, experiment: Experiment, round_number: int) -> None:
    slug = experiment.slug
    if any(manifest.round > round_number for manifest in read_manifests(store, slug)):
        raise UserError(
            f"Round {round_number} of {slug!r} has a successor and cannot run again: go another way from there with "
            f"`selfexplore experiments fork {slug} --round {round_number} --as NEW`."
        )
    if round_number == 0 or read_manifest(store, slug, round_number, "summarize"):
        return
    if read_manifest(store, slug, round_number - 1, "summarize") is None:
        raise UserError(f"Round {round_number} of {slug!r} cannot start: round {round_number - 1} is not finished.")
    reason = reason_to_end(store, slug, round_number - 1)
    if reason:
        raise UserError(
            f"Experiment {slug!r} ended with round {round_number - 1} ({reason}): start an experiment of another name, "
            "or trigger this one with larger limits (max_rounds, stop.*)."
        )


def claimed_rounds(store: Store, slug: str) -> dict[int, str]:
    """The id of the Dag run that last claimed each round."""
    return _read_claims(store.lock_dir(slug) / CLAIMS)


def _read_claims(folder: Path) -> dict[int, str]:
    files = sorted(folder.glob("round-*.run"))
    return {int(path.stem.removeprefix("round-")): path.read_text(encoding="utf-8") for path in files}
