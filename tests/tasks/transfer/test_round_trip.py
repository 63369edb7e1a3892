"""What a round drew, taken out with SQL and brought in again, gives the same pairs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfexplore_tasks.cli import main
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.store.home import Store

RowsOf = Callable[[Store, str], list[dict[str, Any]]]
RATIONALES = """
select
    question,
    gold_answer as gold,
    list(text order by sample_index) as texts,
    list(finish_reason order by sample_index) as finish_reason
from rationales inner join stg_problems using (experiment, problem_id)
where model_id = '1/rft'
group by all
order by question
"""
ROLLOUTS = """
select
    question,
    inputs.text as rationale,
    step_index as step,
    prefix,
    list(rollouts.text order by rollout_index) as texts,
    list(finish_reason order by rollout_index) as finish_reason
from rollouts inner join int_exploration_inputs as inputs using (experiment, round, rationale_id)
group by all
order by question, rationale, step desc
"""
COMPARED = {
    "verdicts": "select problem_id, text, verdict, answer from rationales where model_id in ('1/rft', '1/imported')",
    "rollouts": "select problem_id, step_index, step_count, prefix, text, is_correct, finish_reason from rollouts",
    "pits": "select problem_id, first_pit_step, step_count, pass_counts, draw_counts, true_wrong_step from first_pits",
    "pairs": (
        "select problem_id, kind, pit_step, prompt, prefix, chosen, rejected, edit_distance, is_kept, drop_reason "
        "from pairs"
    ),
}


@pytest.fixture(scope="module")
def brought(
    finished_store: Store, round_recipe: Path, rows_of: RowsOf, tmp_path_factory: pytest.TempPathFactory
) -> Store:
    """Experiment ``mini`` again, with the explorer's rationales and its rollouts imported and no model run."""
    folder = tmp_path_factory.mktemp("brought")
    store = Store(folder / "home")
    for name, sql in (("rationales", RATIONALES), ("rollouts", ROLLOUTS)):
        lines = [json.dumps(row) for row in rows_of(finished_store, sql)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    recipe = ["--recipe", str(round_recipe), "--set", "rft.first_round=skip"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFEXPLORE_HOME", str(store.root))
        assert main(["import", "rationales", str(folder / "rationales.jsonl"), "--experiment", "mini", *recipe]) == 0
        for stage in ("rft_set", "rft", "sample_explorer", "outcome_pairs"):
            run_stage(store, "mini", stage, round_number=1)
        assert main(["import", "rollouts", str(folder / "rollouts.jsonl"), "--experiment", "mini"]) == 0
        run_stage(store, "mini", "granular_pairs", round_number=1)
    return store


@pytest.mark.parametrize("what", COMPARED)
def test_it_gives_the_same(what: str, brought: Store, finished_store: Store, rows_of: RowsOf) -> None:
    sql = f"{COMPARED[what]} order by all"
    expected = rows_of(finished_store, sql)
    assert expected
    assert rows_of(brought, sql) == expected


def test_no_model_was_trained(brought: Store) -> None:
    """Not even round 0 was evaluated: the base model is there for its tokenizer."""
    made = {str(path.relative_to(brought.root / "models" / "mini")) for path in brought.root.glob("models/mini/*/*")}
    assert made == {"round=000/base"}
