"""Exploring with the trained model of a finished round: the options' rows, pits, resume, and what they save."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from selfexplore_tasks.exploration import Exploration, Explorer, WrongRationale
from selfexplore_tasks.recipe import Explore
from selfexplore_tasks.stages import explore, granular_pairs
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.generation import open_grader
from selfexplore_tasks.steps import split_steps
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.home import Store

RowsOf = Callable[[Store, str], list[dict[str, Any]]]
OPTIONS: list[dict[str, object]] = [
    {"confirm": True},
    {"adaptive": True},
    {"search": "binary"},
    {"confirm": True, "adaptive": True, "search": "binary"},
    {"adaptive": True, "top_up": False},
    {"search": "noisy_binary"},
    {"confirm": True, "search": "noisy_binary", "top_up": False},
]


def context_of(store: Store, stage: str = "explore") -> StageContext:
    return StageContext(store, load_experiment(store, "mini"), 1, stage)


def change_explore(store: Store, **options: object) -> None:
    """Change the experiment's recipe as if it had been made with other options."""
    path = store.experiment_file("mini")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["recipe"]["explore"] |= options
    path.write_text(json.dumps(content), encoding="utf-8")


def found_with(context: StageContext, wrong: list[WrongRationale], *settings: Explore) -> list[list[Exploration]]:
    prompts = context.prompts(context.explorer_id)
    with context.engine(context.explorer_id) as engine, open_grader(context) as grader:
        seed = explore.rollout_seed(context)
        return [Explorer(engine, prompts, grader, one, (), seed).explore(wrong, int) for one in settings]


def draws(found: list[Exploration]) -> dict[tuple[str, int, int], str]:
    return {
        (one.rationale.rationale_id, rollout.step, rollout.index): rollout.completion.text
        for one in found
        for rollout in one.rollouts
    }


def token_count(found: list[Exploration]) -> int:
    return sum(len(rollout.completion.token_ids) for one in found for rollout in one.rollouts)


@pytest.fixture(scope="module")
def long_rationales(finished_store: Store) -> list[WrongRationale]:
    """Wrong rationales of several steps, so that pits lie at several steps."""
    query = """
        select rationale_id, problem_id, question, gold_answer, text
        from rationales inner join stg_problems using (experiment, problem_id)
        where verdict = 'wrong' and split = 'train'
        order by rationale_id
    """
    with context_of(finished_store).catalogue() as connection:
        rows = connection.sql(query).to_arrow_table().to_pylist()
    wrong = [WrongRationale(steps=tuple(split_steps(row.pop("text"), "lines")[:-1]), **row) for row in rows]
    return [one for one in wrong if len(one.steps) in (2, 3)][:40]


@pytest.mark.parametrize("search", ["linear", "binary"])
def test_adaptive_finds_exactly_the_same_pits_with_fewer_tokens(
    finished_store: Store, long_rationales: list[WrongRationale], search: str
) -> None:
    settings = [
        Explore.model_validate({"k": 4, "temperature": 1.0, "max_new_tokens": 24, "search": search, **options})
        for options in ({}, {"adaptive": True}, {"confirm": True}, {"confirm": True, "adaptive": True})
    ]
    plain, adaptive, confirmed, both = found_with(context_of(finished_store), long_rationales, *settings)
    assert len({one.first_pit_step for one in plain}) >= 3
    for all_drawn, saving in ((plain, adaptive), (confirmed, both)):
        assert [one.first_pit_step for one in saving] == [one.first_pit_step for one in all_drawn]
        assert draws(saving).items() < draws(all_drawn).items()
        assert token_count(saving) < 0.95 * token_count(all_drawn)
    first, second = draws(plain), draws(confirmed)
    assert all(second[place] == text for place, text in first.items() if place in second)
    assert sum(one.first_pit_step is None for one in confirmed) > sum(one.first_pit_step is None for one in plain)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options))
def test_every_option_passes_the_checks_and_gives_pits_and_pairs(
    options: dict[str, object], store_before: Callable[[str], Store], rows_of: RowsOf
) -> None:
    store = store_before("explore")
    change_explore(store, k=3, **options)
    context = context_of(store)
    (found,) = found_with(context, explore.wrong_rationales(context), context.recipe.explore)
    assert explore.run(context) is not None
    tested = 6 if "confirm" in options else 3
    granular_pairs.run(context_of(store, "granular_pairs"))
    pits = {row["rationale_id"]: row for row in rows_of(store, "select * from first_pits")}
    assert {row_id: row["first_pit_step"] for row_id, row in pits.items()} == {
        one.rationale.rationale_id: one.first_pit_step for one in found
    }
    for row in pits.values():
        pit = row["first_pit_step"]
        assert row["is_confirmed"] == (pit is not None and "confirm" in options)
        assert [passes is None for passes in row["pass_counts"]] == [count == 0 for count in row["draw_counts"]]
        assert pit is None or (row["pass_counts"][pit - 1], row["draw_counts"][pit - 1]) == (0, tested)
        assert row["true_wrong_step"] is not None
    assert rows_of(store, "select count(*)::integer as n from pairs where kind = 'granular' and is_kept") != [{"n": 0}]


def test_a_lost_chunk_is_drawn_again_as_it_was(store_before: Callable[[str], Store], rows_of: RowsOf) -> None:
    """Adaptive draws depend on what came before them: a chunk is explored whole, or again from its beginning."""
    store = store_before("explore")
    change_explore(store, k=4, confirm=True, adaptive=True, search="binary")
    query = "select * from rollouts order by rollout_id"
    manifest = explore.run(context_of(store))
    assert manifest is not None and len(manifest.parts["rollouts"]) > 2
    before = rows_of(store, query)
    (store.root / "manifests/mini/round=001/explore.json").unlink()
    part = context_of(store).part_path("rollouts", 1)
    others = {path: path.read_bytes() for path in part.parent.glob("part-explore-*") if path != part}
    part.unlink()
    again = explore.run(context_of(store))
    assert rows_of(store, query) == before
    assert again is not None and again.parts == manifest.parts
    assert {path: path.read_bytes() for path in others} == others
