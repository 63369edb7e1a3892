"""The model card of a champion: what it was trained from and on, how well it does, and by which decisions it rose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from selfexplore_tasks.engines.common import is_local
from selfexplore_tasks.problems.benchmarks import BENCHMARKS
from selfexplore_tasks.recipe import Recipe
from selfexplore_tasks.report import format_accuracy
from selfexplore_tasks.store.catalogue import connect
from selfexplore_tasks.store.experiments import Experiment, load_experiment
from selfexplore_tasks.store.files import write_text
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, read_manifests

Rows = list[tuple[str, ...]]

_ACCURACY = "Greedy answers under the strict verdict, 95% Wilson intervals. Promotion was decided on dev."
_GAINS = "Over other models on the same problems, 95% paired bootstrap intervals."
_DATA = "Only the problems of split train were trained on."
_LINEAGE = "What each model was trained from, back to the base model."
_DECISIONS = "Who was the champion after each round, and why."


def write_card(store: Store, slug: str, model_id: str, folder: Path) -> None:
    """Write ``README.md`` into the model's folder, in one step: a fork that shares the older file keeps that one."""
    write_text(folder / "README.md", card_text(store, slug, model_id))


def card_text(store: Store, slug: str, model_id: str) -> str:
    """The card: YAML front matter as the Hub reads it, then words and tables for people."""
    experiment = load_experiment(store, slug).at(int(model_id.split("/")[0]))
    manifests = read_manifests(store, slug)
    scores, gains, problems = _measured(store, slug, model_id)
    sections = (
        _section("Accuracy", _ACCURACY, ("benchmark", "split", "accuracy, %", "problems"), _score_rows(scores)),
        _section("Gains", _GAINS, ("over", "benchmark", "split", "points", "problems"), _gain_rows(gains)),
        _section("Data", _DATA, ("split", "source", "problems"), [_cells(row.values()) for row in problems]),
        _section("Lineage", _LINEAGE, ("model", "from", "stage", "examples"), lineage(manifests, model_id)),
        _section("Decisions", _DECISIONS, ("round", "champion", "decision"), _decisions(manifests)),
    )
    return "\n".join(
        [
            *("---", _front_matter(experiment, model_id, scores), "---", ""),
            *(f"# {slug}: {model_id}", ""),
            "Trained by Self-Explore on Airflow, after [Self-Explore](https://arxiv.org/abs/2404.10346).",
            *("", *_table(("", ""), _facts(experiment, manifests)), ""),
            *(line for section in sections for line in section),
            *("## Recipe", "", "```yaml", _recipe_yaml(experiment.recipe), "```", ""),
        ]
    )


def lineage(manifests: Sequence[Manifest], model_id: str) -> Rows:
    """The model, then what it started from, back to the base: model, start model, stage and training examples."""
    made = {
        str(model): one
        for one in manifests
        if "start_model_id" in one.notes
        for model in one.notes.get("models", [one.notes.get("model_id")])
    }
    steps: Rows = []
    while model_id in made:
        one = made.pop(model_id)
        start = str(one.notes["start_model_id"])
        count = one.row_counts.get("examples", one.row_counts.get("pairs"))
        examples = "as the round's policy" if count is None else f"{count:,}"
        steps.append((model_id, start, f"{one.stage} of round {one.round}", examples))
        model_id = start
    return steps


def _measured(store: Store, slug: str, model_id: str) -> list[list[dict[str, Any]]]:
    """Rows of the model's scores and comparisons, and how many problems of which split and source there are."""
    of_model = {"model": model_id}
    connection = connect(store, [slug])
    try:
        return [
            connection.sql(sql, params=params).to_arrow_table().to_pylist()
            for sql, params in (
                ("from scores where model_id = $model order by benchmark, split", of_model),
                ("from comparisons where model_id = $model order by baseline_id, benchmark, split", of_model),
                ("select split, source, count(*) as n from problems group by all order by all", {}),
            )
        ]
    finally:
        connection.close()


def _front_matter(experiment: Experiment, model_id: str, scores: Sequence[dict[str, Any]]) -> str:
    front: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["self-explore", "dpo", "math"],
        "metrics": ["accuracy"],
        "model-index": [
            {
                "name": f"{experiment.slug}-{model_id.replace('/', '-')}",
                "results": [
                    {
                        "task": {"type": "text-generation"},
                        "dataset": {"name": row["benchmark"], "type": row["benchmark"], "split": row["split"]},
                        "metrics": [{"type": "accuracy", "value": round(float(row["accuracy"]), 4)}],
                    }
                    for row in scores
                ],
            }
        ],
    }
    # The Hub takes ids of its own only; paths and generated problems are told in the text.
    base = experiment.recipe.model.path
    if base is not None and not is_local(base):
        front["base_model"] = base
    datasets = _hub_datasets(experiment.recipe)
    if datasets:
        front["datasets"] = datasets
    return yaml.safe_dump(front, sort_keys=False).rstrip()


def _hub_datasets(recipe: Recipe) -> list[str]:
    sources = [recipe.problems.train, recipe.problems.test, *(one.source for one in recipe.problems.benchmarks)]
    named = [
        source.path if source.kind == "hub" else BENCHMARKS[source.kind].hub_id
        for source in sources
        if source is not None and source.kind in ("hub", *BENCHMARKS)
    ]
    return list(dict.fromkeys(named))


def _facts(experiment: Experiment, manifests: Sequence[Manifest]) -> Rows:
    model, origin = experiment.recipe.model, experiment.forked_from
    forked = f", forked from {origin.experiment} after round {origin.round}" if origin else ""
    last = max(manifests, key=lambda one: one.finished_at)
    return [
        ("base model", model.path or model.gguf_package or "random weights"),
        ("recipe", f"{experiment.recipe.name}, hash {experiment.recipe_hash}"),
        ("experiment", f"{experiment.slug}, made {experiment.created_at}{forked}"),
        ("seed", str(experiment.recipe.seed)),
        ("versions", ", ".join(f"{name} {version}" for name, version in last.versions.items())),
    ]


def _score_rows(scores: Sequence[dict[str, Any]]) -> Rows:
    return [_cells((row["benchmark"], row["split"], format_accuracy(row), row["problem_count"])) for row in scores]


def _gain_rows(gains: Sequence[dict[str, Any]]) -> Rows:
    rows = []
    for row in gains:
        low, high = 100 * row["difference_low"], 100 * row["difference_high"]
        points = f"{100 * row['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
        rows.append(_cells((row["baseline_id"], row["benchmark"], row["split"], points, row["problem_count"])))
    return rows


def _decisions(manifests: Sequence[Manifest]) -> Rows:
    return [
        _cells((one.round, one.notes["champion"], one.notes.get("decision_reason", "")))
        for one in manifests
        if one.stage == "summarize"
    ]


def _recipe_yaml(recipe: Recipe) -> str:
    return yaml.safe_dump(recipe.model_dump(mode="json", exclude_defaults=True), sort_keys=False).rstrip()


def _section(title: str, note: str, header: tuple[str, ...], rows: Rows) -> list[str]:
    return [f"## {title}", "", note, "", *_table(header, rows), ""] if rows else []


def _table(header: tuple[str, ...], rows: Rows) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (header, ("---",) * len(header), *rows)]


def _cells(values: Iterable[Any]) -> tuple[str, ...]:
    """Texts of one table row; what a person wrote may hold a bar or a line break."""
    return tuple(" ".join(str(value).split()).replace("|", "\\|") for value in values)
