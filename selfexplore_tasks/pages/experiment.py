"""The page of one experiment."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from typing import Any, get_args

from selfexplore_tasks.comparison import label_arms
from selfexplore_tasks.estimates import read_estimate
from selfexplore_tasks.pages.experiments import experiment_row, round_rows
from selfexplore_tasks.pages.model import (
    AccuracyPoint,
    Difference,
    ExperimentPage,
    FunnelStep,
    PitCount,
    RoundRow,
    StageCost,
    StepPassRate,
    TrainingPoint,
)
from selfexplore_tasks.pages.reader import Reader, again_if_changed
from selfexplore_tasks.pages.snapshot import Snapshot
from selfexplore_tasks.stages.names import AFTER_A_ROUND, stages_of
from selfexplore_tasks.store.manifests import Manifest

FUNNEL_LABELS = {
    "problems": "Problems sampled",
    "rationales": "Rationales drawn",
    "wrong": "Wrong rationales",
    "explored": "Explored",
    "pits": "First pits found",
    "candidates": "Granular candidates",
    "pairs": "Granular pairs",
}
FUNNEL_STAGES = {
    "problems": "sample",
    "rationales": "sample",
    "wrong": "outcome_pairs",
    "explored": "granular_pairs",
    "pits": "granular_pairs",
    "candidates": "granular_pairs",
    "pairs": "granular_pairs",
}
"""The stage that has to be done before a step can be counted."""
LOGGED = {
    "loss": "loss",
    "margin": "rewards/margins",
    "reward_accuracy": "rewards/accuracies",
    "chosen_logprob": "logps/chosen",
    "rejected_logprob": "logps/rejected",
    "grad_norm": "grad_norm",
}
"""Fields of a training point, and what TRL calls them."""


@again_if_changed
def experiment_page(reader: Reader, slug: str, running_runs: Collection[str] = ()) -> ExperimentPage:
    """Everything about an experiment; raises NotFound, or Unreadable."""
    snapshot = reader.snapshot(slug)
    return ExperimentPage(
        experiment=experiment_row(reader, snapshot, running_runs),
        recipe=snapshot.recipe_content,
        accuracy=[AccuracyPoint(**row) for row in _whole(reader, snapshot, "accuracy", "scores")],
        rounds=[RoundRow(**row) for row in round_rows(reader, snapshot)],
        funnel=[step for number in snapshot.rounds if number for step in _funnel(reader, snapshot, number)],
        first_pits=[PitCount(**row) for row in _by_round(reader, snapshot, "first_pits")],
        pass_rates=[StepPassRate(**row) for row in _by_round(reader, snapshot, "pass_rates")],
        training=list(_training(snapshot)),
        costs=list(_costs(snapshot)),
        arms=_arms(reader, snapshot),
    )


def _whole(reader: Reader, snapshot: Snapshot, name: str, table: str) -> list[dict[str, Any]]:
    """Rows of a query over all parts of one small table."""
    parts = {table: snapshot.parts(table)}
    return reader.remember((name, snapshot.slug), snapshot.version(), lambda: reader.rows(name, parts))


def _by_round(reader: Reader, snapshot: Snapshot, name: str) -> Iterator[dict[str, Any]]:
    """Rows of a query over `first_pits`, kept round by round: it is large, and a finished round does not change."""
    for number in snapshot.rounds:
        parts = {"first_pits": snapshot.parts("first_pits", [number])}
        version = snapshot.version([number])
        yield from reader.remember((name, snapshot.slug, number), version, partial(reader.rows, name, parts))


def _funnel(reader: Reader, snapshot: Snapshot, number: int) -> list[FunnelStep]:
    """The steps of a round whose stage is done, each with the reasons why its rows went no further."""

    def read() -> list[dict[str, Any]]:
        parts = {table: snapshot.parts(table, [number]) for table in ("rationales", "pairs", "first_pits")}
        return reader.rows("funnel", parts, pair_source=_pair_source(snapshot, number))

    counts = reader.remember(("funnel", snapshot.slug, number), snapshot.version([number]), read)
    trained = snapshot.manifest(number, "dpo")
    steps = []
    for step in get_args(FunnelStep.model_fields["step"].annotation):
        if snapshot.manifest(number, FUNNEL_STAGES[step]) is None:
            continue
        found = {row["reason"]: row["count"] for row in counts if row["step"] == step and row["count"]}
        if step == "pairs" and trained is not None and trained.row_counts.get("too_long"):
            found["too_long"] = trained.row_counts["too_long"]
        count = found.pop(None, 0)
        drops = dict(sorted(found.items(), key=lambda drop: (-drop[1], drop[0])))
        steps.append(FunnelStep(round=number, step=step, label=FUNNEL_LABELS[step], count=count, drops=drops))
    return steps


def _pair_source(snapshot: Snapshot, number: int) -> str | None:
    """The model whose rationales become pairs in a round: the explorer where it drew any, else who sampled."""
    drawn = snapshot.manifest(number, "sample_explorer")
    source = drawn if drawn is not None and "model_id" in drawn.notes else snapshot.manifest(number, "sample")
    return str(source.notes["model_id"]) if source is not None else None


def _training(snapshot: Snapshot) -> Iterator[TrainingPoint]:
    """The logged steps of every preference training; an arm trained without preferences logs no margin."""
    for manifest in snapshot.manifests:
        for model_id, log in _logs(manifest):
            for line in log:
                if LOGGED["margin"] in line:
                    values = {name: line.get(key) for name, key in LOGGED.items()}
                    yield TrainingPoint(round=manifest.round, model_id=model_id, step=int(line["step"]), **values)


def _logs(manifest: Manifest) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    if manifest.stage == "dpo":
        yield str(manifest.notes["model_id"]), manifest.notes.get("log", [])
    elif manifest.stage == "arms":
        yield from ((model_id, manifest.notes[model_id]["log"]) for model_id in manifest.notes.get("models", []))


def _costs(snapshot: Snapshot) -> Iterator[StageCost]:
    """Every stage that is done, in the order of the round, beside what was estimated before the round."""
    for number in snapshot.rounds:
        estimate = read_estimate(snapshot.store, snapshot.slug, number)
        for stage in (*stages_of(number), *AFTER_A_ROUND):
            done = snapshot.manifest(number, stage)
            if done is not None:
                yield StageCost(
                    round=number,
                    stage=stage,
                    seconds=done.seconds,
                    tokens=done.token_count,
                    estimated_seconds=estimate.seconds.get(stage) if estimate else None,
                    estimated_tokens=estimate.tokens.get(stage) if estimate else None,
                )


def _arms(reader: Reader, snapshot: Snapshot) -> list[Difference]:
    """Every pair of compared models of a round; the numbers of `selfexplore compare`."""
    rows = label_arms([dict(row) for row in _whole(reader, snapshot, "comparisons", "comparisons")])
    renamed = {"low": "difference_low", "high": "difference_high"}
    return [Difference(**{name: row[renamed.get(name, name)] for name in Difference.model_fields}) for row in rows]
