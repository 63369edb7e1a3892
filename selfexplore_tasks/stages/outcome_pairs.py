"""Outcome pairs (method, step 6): a correct and a wrong rationale of the same problem, far apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from selfexplore_tasks.matching import Matching, farthest_pairs, shortest_beyond_pairs
from selfexplore_tasks.prompts import PromptFormat
from selfexplore_tasks.recipe import Pairs, Recipe
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.problem_stream import candidates_of, each_problem, write_rows_of
from selfexplore_tasks.stages.problem_workers import worked
from selfexplore_tasks.stages.rft_set import select_correct
from selfexplore_tasks.store.manifests import Manifest
from selfexplore_tasks.store.schemas import TABLES

CANDIDATES = pa.schema(
    [
        *(TABLES["rationales"].field(name) for name in ("problem_id", "rationale_id", "text")),
        ("is_correct", pa.bool_()),
        ("is_selected", pa.bool_()),
    ]
)
"""``is_selected``: what the selection of the RFT set says of a correct rationale; null where it has to be made."""
SIDES = ("chosen", "rejected")


def run(context: StageContext) -> Manifest:
    """Write `pairs` of kind outcome: every pair, and every rationale that found no partner with the reason why."""
    prompts = context.prompts(context.pair_source_id)
    takes_all = context.recipe.pairs.problems == "all"
    questions = {
        problem.problem_id: problem.question
        for problem in context.problems("train")
        if takes_all or problem.gold_rationale is None
    }
    candidates = candidates_of(
        context,
        "select *, case when $is_selected then is_in_rft_set end as is_selected from int_pair_candidates "
        "where experiment = $experiment and round = $round and model_id = $model_id "
        "and (is_answers_only or $takes_all) and (not ($is_selected and is_correct) or is_in_rft_set) "
        "order by problem_id, sample_index",
        CANDIDATES,
        model_id=context.pair_source_id,
        takes_all=takes_all,
        is_selected=_is_selected(context),
    )
    dropped, kept = Counter[str](), 0

    def tally(rows: pa.Table) -> None:
        nonlocal kept
        kept += rows["drop_reason"].null_count
        dropped.update(rows["drop_reason"].drop_null().to_pylist())

    def rows() -> Iterator[pa.Table]:
        for found in worked("outcome_pairs", context.recipe, candidates, context.threads):
            yield _with_prompts(found, prompts, questions, context.round_number)

    path = write_rows_of(context, "pairs", rows(), tally)
    print(f"outcome_pairs: {kept:,} kept, dropped {dict(dropped)}", flush=True)
    counts = {"pairs": kept + dropped.total(), "kept": kept}
    return context.commit({"pairs": [path]}, row_counts=counts, notes={"dropped": dict(dropped)})


def _is_selected(context: StageContext) -> bool:
    """Whether stage rft_set has put the same candidates through the same selection."""
    return context.pair_source_id == context.sample_source_id and context.recipe.rft.data == "round"


def work(candidates: pa.Table, recipe: Recipe) -> pa.Table:
    """Pair whole problems' rationales: a row per kept correct one, then one per wrong one that is in no pair.

    Each row has the two texts and their ids (null where there is no pair), edit_distance and drop_reason.
    """
    found: list[_Found] = []
    for begin, rows in each_problem(candidates):
        texts, is_correct, is_selected = (rows[name].to_pylist() for name in ("text", "is_correct", "is_selected"))
        found += (one.moved(begin) for one in _pair(texts, is_correct, is_selected, recipe))
    places = {side: pa.array([getattr(one, side) for one in found], pa.int32()) for side in SIDES}
    columns = {"problem_id": candidates["problem_id"].take(pc.coalesce(*places.values()))}
    for side, place in places.items():
        columns[side] = candidates["text"].take(place)
        columns[f"{side}_rationale_id"] = candidates["rationale_id"].take(place)
    columns["edit_distance"] = pa.array([one.edit_distance for one in found], pa.int32())
    columns["drop_reason"] = pa.array([one.drop_reason for one in found], pa.string())
    return pa.table(columns)


@dataclass(frozen=True)
class _Found:
    """A row of pairs: places of the two rationales among the candidates, None where there is no pair."""

    chosen: int | None
    rejected: int | None
    edit_distance: int | None
    drop_reason: str | None

    def moved(self, by: int) -> _Found:
        return _Found(
            None if self.chosen is None else self.chosen + by,
            None if self.rejected is None else self.rejected + by,
            self.edit_distance,
            self.drop_reason,
        )


def _pair(
    texts: Sequence[str], is_correct: Sequence[bool], is_selected: Sequence[bool | None], recipe: Recipe
) -> Iterator[_Found]:
    """Pair the rationales of one problem, given in order of drawing."""
    correct = [place for place, is_right in enumerate(is_correct) if is_right]
    wrong = [place for place, is_right in enumerate(is_correct) if not is_right]
    if any(is_selected[place] is None for place in correct):
        reasons = select_correct([texts[place] for place in correct], recipe.rft).drop_reasons
        kept = [place for place, reason in zip(correct, reasons, strict=True) if reason is None]
    else:
        kept = [place for place in correct if is_selected[place]]
    matching = match([texts[place] for place in kept], [texts[place] for place in wrong], recipe.pairs)
    partner = {one.correct_index: one for one in matching.matches}
    for index, place in enumerate(kept):
        if index in partner:
            yield _Found(place, wrong[partner[index].wrong_index], partner[index].distance, None)
        else:
            yield _Found(place, None, None, matching.correct_dropped[index])
    for index, reason in matching.wrong_dropped.items():
        yield _Found(None, wrong[index], None, reason)


def match(correct: Sequence[str], wrong: Sequence[str], settings: Pairs) -> Matching:
    """Match the texts of one problem in the recipe's style."""
    if settings.style == "farthest":
        return farthest_pairs(correct, wrong, settings.max_per_problem)
    return shortest_beyond_pairs(correct, wrong, settings.max_per_problem, settings.min_distances)


def _with_prompts(found: pa.Table, prompts: PromptFormat, questions: Mapping[str, str], round_number: int) -> pa.Table:
    """Rows of `pairs` from what ``work`` gives."""
    problems = found["problem_id"].combine_chunks().dictionary_encode()
    texts = pa.array([prompts.text(questions[problem_id]) for problem_id in problems.dictionary.to_pylist()])
    rationale_ids = pc.coalesce(found["chosen_rationale_id"], found["rejected_rationale_id"])
    count = found.num_rows
    columns = {
        **{name: found[name] for name in found.column_names},
        "pair_id": pc.binary_join_element_wise("outcome/", rationale_ids, f"#{round_number}", ""),
        "kind": pa.repeat("outcome", count),
        "pit_step": pa.nulls(count, pa.int32()),
        "prompt": texts.take(problems.indices),
        "prefix": pa.repeat("", count),
        "chosen_rollout_id": pa.nulls(count, pa.string()),
        "is_kept": pc.is_null(found["drop_reason"]),
    }
    return pa.table({name: columns[name] for name in TABLES["pairs"].names}, schema=TABLES["pairs"])
