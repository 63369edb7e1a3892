"""RFT set (method, step 4): gold rationales and the model's own correct ones, deduplicated per problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa

from selfexplore_tasks.equations import equations_of
from selfexplore_tasks.matching import spread_by_chain, spread_by_distance
from selfexplore_tasks.recipe import Recipe, Rft
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.problem_stream import TABLE_ROWS, candidates_of, each_problem, write_rows_of
from selfexplore_tasks.stages.problem_workers import worked
from selfexplore_tasks.store.manifests import Manifest
from selfexplore_tasks.store.parts import to_table
from selfexplore_tasks.store.schemas import TABLES

CANDIDATES = pa.schema([TABLES["rationales"].field(name) for name in ("problem_id", "rationale_id", "text")])


@dataclass(frozen=True)
class Selection:
    """What became of each text: its chain of equations (null by distance), and its drop reason (null = kept)."""

    chains: list[str | None]
    drop_reasons: list[str | None]


def run(context: StageContext) -> Manifest:
    """Write `rft_examples`: every candidate is a row, kept or with the reason it was dropped."""
    candidates = candidates_of(
        context,
        "select * from int_rft_candidates where experiment = $experiment and round = $round "
        "and (model_id = $model_id or ($is_accumulated and model_id is null)) "
        "order by problem_id, sample_index nulls first, rationale_id",
        CANDIDATES,
        model_id=context.sample_source_id,
        is_accumulated=context.recipe.rft.data == "accumulated",
    )
    kept, dropped = Counter[str](), Counter[str]()

    def tally(rows: pa.Table) -> None:
        for origin, reason in zip(rows["origin"].to_pylist(), rows["drop_reason"].to_pylist(), strict=True):
            (kept if reason is None else dropped)[reason or origin] += 1

    sampled = worked("rft_set", context.recipe, candidates, context.threads)
    path = write_rows_of(context, "rft_examples", chain(_gold_rows(context), sampled), tally)
    print(f"rft_set: kept {dict(kept)}, dropped {dict(dropped)}", flush=True)
    counts = {"rft_examples": kept.total() + dropped.total()}
    counts |= {f"kept_{origin}": count for origin, count in kept.items()}
    return context.commit({"rft_examples": [path]}, row_counts=counts, notes={"dropped": dict(dropped)})


def _gold_rows(context: StageContext) -> Iterator[pa.Table]:
    if context.recipe.sft is None:
        return
    nothing = dict.fromkeys(TABLES["rft_examples"].names)
    problems = [problem for problem in context.problems("train") if problem.gold_rationale is not None]
    for begin in range(0, len(problems), TABLE_ROWS):
        rows = [
            {**nothing, "problem_id": one.problem_id, "origin": "gold", "text": one.gold_rationale, "is_kept": True}
            for one in problems[begin : begin + TABLE_ROWS]
        ]
        yield to_table("rft_examples", rows)


def work(candidates: pa.Table, recipe: Recipe) -> pa.Table:
    """Rows of `rft_examples` for whole problems' candidates, deduplicated as the recipe says."""
    selections = [select_correct(rows["text"].to_pylist(), recipe.rft) for _, rows in each_problem(candidates)]
    reasons = [reason for selection in selections for reason in selection.drop_reasons]
    columns = {
        "problem_id": candidates["problem_id"],
        "rationale_id": candidates["rationale_id"],
        "origin": pa.repeat("sampled", candidates.num_rows),
        "text": candidates["text"],
        "equation_chain": [own for selection in selections for own in selection.chains],
        "is_kept": [reason is None for reason in reasons],
        "drop_reason": reasons,
    }
    return pa.table(columns, schema=TABLES["rft_examples"])


def select_correct(texts: Sequence[str], settings: Rft) -> Selection:
    """Deduplicate one problem's correct rationales, in order of drawing, as the recipe says."""
    if settings.style == "distance":
        spread = spread_by_distance(texts, settings.min_distance, settings.max_per_problem)
        return Selection([None] * len(texts), list(spread))
    equations = [equations_of(text) for text in texts]
    chains = ["; ".join(equation.key for equation in own) for own in equations]
    holding = [index for index, own in enumerate(equations) if all(equation.holds for equation in own)]
    found = spread_by_chain(
        [texts[index] for index in holding], [chains[index] for index in holding], settings.max_per_problem
    )
    reasons: list[str | None] = ["false_equation"] * len(texts)
    for index, reason in zip(holding, found, strict=True):
        reasons[index] = reason
    return Selection(list(chains), reasons)
