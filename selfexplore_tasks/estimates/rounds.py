"""Estimating rounds: what the recipe lets expect, corrected by what this store has measured, else by a stated guess.

Of a measured stage the time to start it (load a model) is taken off and stays; the rest grows with the tokens (without
tokens: the texts), and is the median of the last runs: of the same stage and model, else of a probe, else of another
stage of its kind (generating, training), else of another model in proportion to the number of weights. How many texts
there are and how long, the nearest experiment tells: this one, else one of the same recipe, else of the same model.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log, log10
from statistics import median

from selfexplore_tasks.estimates.counts import Work, expected_counts, work_of_round
from selfexplore_tasks.estimates.disk import (
    base_folder,
    checkpoint_bytes,
    expected_table_bytes,
    model_bytes,
    parameter_count,
)
from selfexplore_tasks.estimates.measurements import (
    OTHER_MODEL,
    OWN,
    PROBED,
    SAME_MODEL,
    SAME_RECIPE,
    History,
    Observation,
    gpu_count,
    kind_of,
    read_history,
    workers_of,
)
from selfexplore_tasks.estimates.model import RoundEstimate
from selfexplore_tasks.processes import usable_cores
from selfexplore_tasks.recipe import Recipe
from selfexplore_tasks.recipe_files import load_recipe
from selfexplore_tasks.store.experiments import Experiment
from selfexplore_tasks.store.home import Store

MEASUREMENTS = 5
# Seconds to load a model and its libraries, or to start a process; at most this share of a measured stage.
START_S, START_SHARE = {"generate": 12.0, "train": 8.0, "relational": 1.0}, 0.7
SECONDS_PER_ROW = 0.0003
# What one worker reaches where nothing was measured: operations a second of a core and of a GPU, and tokens a second of
# a model so small that its size does not count.
OPERATIONS = {"generate": 2, "train": 6}  # for a weight and a token
CORE_SPEED, GPU_SPEED = 1.5e10, 1.0e14
CORE_TOKENS, GPU_TOKENS = 3_500, 30_000


def estimate_round(store: Store, experiment: Experiment, round_number: int) -> RoundEstimate:
    """Return what the round will take; it never fails for want of measurements, ``sources`` say what it rests on."""
    return estimate_rounds(store, experiment.recipe, experiment.slug, [round_number])[0]


def estimate_rounds(
    store: Store, recipe: Recipe, slug: str | None, rounds: Sequence[int], probed: Sequence[Observation] = ()
) -> list[RoundEstimate]:
    """Return one estimate a round.

    Args:
        slug: the experiment that the rounds belong to, if it exists already.
        probed: what `probe` has measured just now.
    """
    history = read_history(store, recipe, slug)
    parameters = parameter_count(recipe, base_folder(store, slug) if slug else None)
    observations = (*history.observations, *probed)
    return [_estimate(recipe, number, history, observations, parameters) for number in rounds]


def describe(recipe_name: str) -> str:
    """One line on a later round's tokens and lasting disk, from the recipe alone: the same on every machine."""
    recipe = load_recipe(recipe_name)
    work = work_of_round(recipe, 1, expected_counts(recipe.problems))
    tokens = sum(one.tokens for one in work.values())
    disk = model_bytes(recipe, 1, parameter_count(recipe)) + expected_table_bytes(work, None)
    return f"{recipe.name}: about {_rough(tokens)} tokens and {_rough(disk)}B a round"


def _estimate(
    recipe: Recipe, number: int, history: History, observations: Sequence[Observation], parameters: int
) -> RoundEstimate:
    work = {
        stage: _corrected(stage, expected, observations)
        for stage, expected in work_of_round(recipe, number, history.counts).items()
    }
    timed = {stage: _seconds(recipe, number, stage, one, observations, parameters) for stage, one in work.items()}
    items = {stage: round(one.items) for stage, one in work.items()}
    if number:  # looks at what was explored
        items["granular_pairs"] = items["explore"]
    models = model_bytes(recipe, number, parameters)
    tables = expected_table_bytes(work, history.bytes_per_row)
    return RoundEstimate(
        round=number,
        source=max(timed.values())[1],
        disk_bytes=models + tables + checkpoint_bytes(recipe, number, parameters),
        model_bytes=models,
        table_bytes=tables,
        items=items,
        tokens={stage: round(one.tokens) for stage, one in work.items()},
        seconds={stage: round(seconds, 1) for stage, (seconds, _) in timed.items()},
        sources={stage: source for stage, (_, source) in timed.items()},
    )


def _corrected(stage: str, expected: Work, observations: Sequence[Observation]) -> Work:
    """The expected work, as far off as that of the nearest measured stage was; other models' texts tell nothing."""
    if not expected.items or not expected.tokens:
        return expected
    known = [one for one in observations if one.kind == kind_of(stage) and one.nearness < PROBED]
    same = [one for one in known if one.stage == stage]
    items = expected.items * median([one.items / one.work.items for one in _nearest(same)] or [1.0])
    lengths = [(one.tokens / one.items) / (one.work.tokens / one.work.items) for one in _nearest(same or known)]
    return Work(items, items * expected.tokens / expected.items * median(lengths or [1.0]), expected.models)


def _nearest(observations: Sequence[Observation]) -> list[Observation]:
    """The last measurements of those that are equally near and nearest."""
    best = min((one.nearness for one in observations), default=None)
    return _latest([one for one in observations if one.nearness == best])


def _latest(observations: Sequence[Observation]) -> list[Observation]:
    return sorted(observations, key=lambda one: one.finished_at)[-MEASUREMENTS:]


def _seconds(
    recipe: Recipe, number: int, stage: str, work: Work, observations: Sequence[Observation], parameters: int
) -> tuple[float, str]:
    """Wall seconds of a stage and where they come from."""
    kind, workers = kind_of(stage), workers_of(recipe, stage)
    if kind != "relational" and not work.items:
        return START_S["relational"], "nothing to do"
    same = [one for one in observations if one.stage == stage]
    measured = [one for one in same if one.nearness < PROBED]
    # The models of round 0 are others than those of the rounds after it.
    like = [one for one in measured if (one.round == 0) == (number == 0)]
    # Starting up weighs on small stages: those of about the same size tell most.
    kin = sorted(
        [
            one
            for one in observations
            if one.kind == kind and kind != "relational" and one.stage != stage and one.tokens
        ],
        key=lambda one: abs(log(one.tokens / max(1.0, work.tokens))),
    )
    for found in (
        _latest(like or measured),
        [one for one in observations if one.kind == kind and one.nearness == PROBED],
        [one for one in kin if one.nearness < PROBED][:MEASUREMENTS],
        _latest(same),
        kin[:MEASUREMENTS],
    ):
        if found:
            return median(_scaled(one, work, workers, parameters) for one in found), _named(found, stage)
    return _guess(kind, work, workers, parameters)


def _scaled(one: Observation, work: Work, workers: int, parameters: int) -> float:
    start = min(START_S[one.kind], START_SHARE * one.seconds / max(1, one.work.models)) if one.work.models else 0.0
    measured = one.seconds - start * one.work.models
    growth = work.tokens / one.tokens if one.tokens else (work.items or 1.0) / one.items
    size = parameters / one.parameters if one.nearness == OTHER_MODEL and one.kind != "relational" else 1.0
    first = START_S[one.kind] if one.nearness == PROBED else start
    return first * work.models + measured * growth * size * one.workers / workers


def _named(found: Sequence[Observation], stage: str) -> str:
    furthest = max(found, key=lambda one: one.nearness)
    if furthest.nearness == PROBED:
        return "probe"
    whose = {OWN: "experiment", SAME_RECIPE: "recipe", SAME_MODEL: "model"}.get(furthest.nearness)
    stages = ", ".join(sorted({one.stage for one in found} - {stage}))
    return (
        f"measured: {len(found)} {'run' if len(found) == 1 else 'runs'} of "
        f"{f'this {whose}' if whose else f'another model ({_rough(furthest.parameters)} weights), scaled'}"
        f"{f' (stage {stages})' if stages else ''}"
    )


def _guess(kind: str, work: Work, workers: int, parameters: int) -> tuple[float, str]:
    if kind == "relational":
        return START_S[kind] + SECONDS_PER_ROW * work.items, "guess"
    gpus = gpu_count()
    if gpus:
        speed, fastest, where = GPU_SPEED * workers, GPU_TOKENS * workers, "a GPU"
    else:
        # The cores are shared by however many workers there are; a tiny model keeps only one of them busy.
        speed, fastest, where = CORE_SPEED * usable_cores(), CORE_TOKENS * workers, f"{usable_cores()} CPU cores"
    seconds = max(OPERATIONS[kind] * parameters * work.tokens / speed, work.tokens / fastest)
    return START_S[kind] * work.models + seconds, f"guess: {_rough(parameters)} weights on {where}"


def _rough(count: float) -> str:
    """A count to its first digit or two, e.g. `1.5 M`."""
    digits = -floor(log10(count)) + (1 if f"{count:e}"[0] == "1" else 0) if count >= 1 else 0
    rounded = round(count, digits)
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if rounded >= size:
            return f"{rounded / size:g} {unit}"
    return f"{rounded:g} "
