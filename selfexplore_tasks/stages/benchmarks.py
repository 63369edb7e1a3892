"""Benchmarks (after a promotion): the champion on the test problems of every benchmark that is only measured.

For the report alone: nothing here is looked at by the gate.
"""

from __future__ import annotations

from selfexplore_tasks.stages.chunks import finish_chunks
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.evaluate import evaluate_models
from selfexplore_tasks.store.manifests import Manifest


def run(context: StageContext) -> Manifest | None:
    """Write `evaluations` and `scores` of the champion after this round; nothing without further benchmarks."""
    others = {benchmark.name for benchmark in context.recipe.problems.benchmarks}
    problems = [problem for problem in context.problems("test") if problem.source in others]
    if not problems:
        print("benchmarks: the recipe names no further benchmark (problems.benchmarks)", flush=True)
        return context.commit({}, row_counts={"evaluations": 0}, notes={"models": []})
    champion = str(context.manifest("summarize").notes["champion"])
    paths, versions = evaluate_models(context, [champion], problems)
    with context.catalogue({"evaluations": paths}) as connection:
        scores = connection.sql(
            "select * exclude (experiment, round) from int_scores where experiment = $experiment and round = $round "
            "and list_contains($names, benchmark) and split = 'test' order by benchmark",
            params={"experiment": context.slug, "round": context.round_number, "names": sorted(others)},
        ).to_arrow_table()
    rows = [{**row, "promoted": row["model_id"].startswith(f"{context.round_number}/")} for row in scores.to_pylist()]
    for row in rows:
        print(f"benchmarks: {champion} {row['benchmark']} {100 * row['accuracy']:.1f}%", flush=True)
    return finish_chunks(
        context,
        "evaluations",
        paths,
        {"models": [champion], "benchmark_versions": versions},
        {"scores": [context.write_rows("scores", rows)]},
    )
