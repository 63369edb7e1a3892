"""After an import the usual stages go on, and `rft.first_round: skip` takes the model that sampled as it is."""

from __future__ import annotations

from typing import Any

from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.manifests import read_manifest


def context_of(bench: Any, round_number: int = 1) -> StageContext:
    return StageContext(bench.store, load_experiment(bench.store, "brought"), round_number, "explore")


def finish_round_zero(bench: Any) -> None:
    for stage in ("sft", "evaluate", "gate", "summarize"):
        run_stage(bench.store, "brought", stage, round_number=0)


def test_imported_pairs_train_a_policy_that_is_evaluated(finished: Any) -> None:
    finished.stages("dpo")
    manifest = read_manifest(finished.store, "brought", 1, "dpo")
    assert manifest.row_counts == {"pairs": 8, "too_long": 0}
    assert manifest.notes["start_model_id"] == "0/base"
    finish_round_zero(finished)
    finished.stages("arms", "evaluate", "gate", "summarize")
    models = finished.rows("select distinct model_id from scores order by model_id")
    assert [row["model_id"] for row in models] == ["0/base", "1/policy"]


def test_the_explorer_stays_the_one_that_explored(finished: Any) -> None:
    """Round 0 may end later: what RFT left as it was is still the base model."""
    finish_round_zero(finished)
    assert context_of(finished).explorer_id == "0/base"


def test_a_sampled_round_skips_rft_too(bench: Any) -> None:
    """Nothing imported: the champion samples, explores, and stays as it is."""
    bench.run("stage", "prepare", "--experiment", "brought", "--round", 0, "--recipe", bench.recipe)
    finish_round_zero(bench)
    bench.stages("sample", "rft_set", "rft", "sample_explorer", "outcome_pairs")
    context = context_of(bench)
    assert context.skips_rft and not context_of(bench, 2).skips_rft
    assert context.generator_id == context.explorer_id == context.pair_source_id == "0/base"
    assert bench.rows("select distinct model_id from rationales") == [{"model_id": "0/base"}]
    assert not bench.store.model_dir("brought", "1/rft").exists()
