"""Looking: experiments, problems, comparisons. Numbers are those of ``selfexplore … --json``."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Path, Query, Response
from pydantic import BaseModel, TypeAdapter

from selfexplore_tasks.pages.compare import compare_page
from selfexplore_tasks.pages.experiment import experiment_page
from selfexplore_tasks.pages.experiments import experiment_rows
from selfexplore_tasks.pages.model import ComparePage, ExperimentPage, ExperimentRow
from selfexplore_tasks.pages.problem import RATIONALES_SHOWN, problem_page
from selfexplore_tasks.pages.problem_model import ProblemList, ProblemPage
from selfexplore_tasks.pages.problems import Status, problem_list
from selfexplore_tasks.planning import claimed_rounds
from selfexplore_ui import sources
from selfexplore_ui.security import may_see_runs
from selfexplore_ui.workers import PAGES

router = APIRouter(tags=["pages"])

Slug = Annotated[str, Path(max_length=64, description="Name of an experiment.")]
Split = Annotated[Literal["train", "dev", "test"] | None, Query(description="Only problems of this split.")]
Offset = Annotated[int, Query(ge=0, le=10_000_000, description="Rows to leave out.")]
Limit = Annotated[int, Query(ge=1, le=200, description="Rows to show.")]
SideOf = Annotated[str, Query(max_length=80, description="EXPERIMENT:ROUND")]


EXPERIMENTS = TypeAdapter(list[ExperimentRow])
TOTAL = "X-Total-Count"


class RunPlace(BaseModel):
    """Which round a Dag run works on; null while it has not claimed one."""

    experiment: str
    round: int | None


@router.get(
    "/experiments",
    response_model=list[ExperimentRow],
    responses={200: {"headers": {TOTAL: {"description": "Experiments there are.", "schema": {"type": "integer"}}}}},
)
@PAGES.file
def experiments(
    offset: Offset = 0, limit: Annotated[int, Query(ge=1, le=1000, description="Rows to show.")] = 200
) -> Response:
    """Experiments, the newest first, with what runs right now; those that cannot be read come last and say why."""
    reader = sources.reader()
    rows = experiment_rows(reader, sources.running_runs(), offset=offset, limit=limit)
    headers = {TOTAL: str(len(reader.slugs()))}
    return Response(EXPERIMENTS.dump_json(rows), media_type="application/json", headers=headers)


@router.get("/experiments/{experiment}")
@PAGES.json
def experiment_of(experiment: Slug) -> ExperimentPage:
    """Accuracy, funnel, first pits, training, costs and arms of an experiment."""
    return experiment_page(sources.reader(), experiment, sources.running_runs())


@router.get("/experiments/{experiment}/problems")
@PAGES.json
def problems(
    experiment: Slug,
    round: Annotated[int | None, Query(ge=0, le=999_999, description="Default: the last one.")] = None,
    split: Split = None,
    status: Status = "all",
    pit_step: Annotated[int | None, Query(ge=1, le=1_000_000, description="A first pit at this step.")] = None,
    text: Annotated[str, Query(max_length=200, description="In the question or the id, in any case.")] = "",
    offset: Offset = 0,
    limit: Limit = 50,
) -> ProblemList:
    """The problems of an experiment as seen in one round."""
    return problem_list(
        sources.reader(),
        experiment,
        round_number=round,
        split=split,
        status=status,
        pit_step=pit_step,
        text=text,
        offset=offset,
        limit=limit,
    )


@router.get("/experiments/{experiment}/problems/{problem_id:path}")
@PAGES.json
def problem(
    experiment: Slug,
    problem_id: Annotated[str, Path(max_length=500)],
    limit: Annotated[int, Query(ge=1, le=500, description="Rationales of a round.")] = RATIONALES_SHOWN,
) -> ProblemPage:
    """One problem with its rationales, rollouts, pairs and answers."""
    return problem_page(sources.reader(), experiment, problem_id, limit=limit)


@router.get("/compare")
@PAGES.json
def compare(
    left: SideOf,
    right: SideOf,
    benchmark: Annotated[str | None, Query(max_length=200)] = None,
    split: Split = None,
    offset: Offset = 0,
    limit: Limit = 50,
) -> ComparePage:
    """Two rounds side by side: paired differences (right minus left) and the problems that flipped."""
    sides = _side(left), _side(right)
    return compare_page(sources.reader(), *sides, benchmark=benchmark, split=split, offset=offset, limit=limit)


@router.get("/runs/{run_id:path}", dependencies=[may_see_runs])
@PAGES.json
def run(run_id: Annotated[str, Path(max_length=250)]) -> RunPlace:
    """The experiment and round of a Dag run of ``selfexplore_round``."""
    reader = sources.reader()
    for slug in reader.slugs():
        for number, holder in claimed_rounds(reader.store, slug).items():
            if holder == run_id:
                return RunPlace(experiment=slug, round=number)
    conf = sources.run_conf(run_id)
    if not conf or not isinstance(conf.get("experiment"), str):
        raise HTTPException(404, "There is no such Dag run, or it names no experiment.")
    return RunPlace(experiment=conf["experiment"], round=None)


def _side(text: str) -> tuple[str, int]:
    slug, _, number = text.rpartition(":")
    if not (slug and number.isascii() and number.isdigit() and len(number) <= 6):
        raise HTTPException(400, "Name each side as EXPERIMENT:ROUND, e.g. mine:2.")
    return slug, int(number)
