"""
### One round of Self-Explore

Trigger it with the name of an experiment. A new name starts with **round 0** (problems, supervised fine-tuning, first
evaluation); every round triggers the next one until `max_rounds` or the stop rule ends the experiment. A known name
goes on with its first unfinished round, so triggering again after a failure resumes: finished stages return at once.

A round with a successor refuses to run again. `airflow dags test selfexplore_round -c '{"experiment": "trial"}'` runs
one round in the foreground (round 0 when the experiment is new); the round it triggers waits for a scheduler.

Method: [Self-Explore](https://arxiv.org/abs/2404.10346). Tables, models and manifests are in `$SELFEXPLORE_HOME`.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, TriggerRule, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from common.params import recipe_overrides, round_params
from common.stages import DUCKDB_POOL, GPU_POOL, RETRIES, run_stage
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.planning import claim_round, following_round, open_or_create, round_run_id, shard_labels
from selfexplore_tasks.stages.names import GENERATING_STAGES, SHARDED_STAGES, TRAINING_STAGES
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.home import Store

DAG_ID = "selfexplore_round"


def is_running(run_id: str) -> bool:
    """Whether the Dag run is queued or running; one that was deleted is not."""
    states = ["queued", "running"]
    return bool(get_current_context()["ti"].get_dr_count(dag_id=DAG_ID, run_ids=[run_id], states=states))


@task(pool=DUCKDB_POOL)
def open_experiment() -> dict[str, Any]:
    """Open or create the experiment and claim the round that this Dag run works on."""
    context = get_current_context()
    params, store = context["params"], Store.from_environment()
    try:
        overrides = recipe_overrides(params)
        experiment = open_or_create(store, params["experiment"], params["recipe"], overrides, params["round"])
        number = claim_round(
            store, experiment, requested=params["round"], run_id=context["run_id"], is_running=is_running
        )
    except UserError as error:
        raise AirflowFailException(str(error)) from error
    return {"experiment": experiment.slug, "round": number}


@task(pool=DUCKDB_POOL)
def list_shards(plan: dict[str, Any]) -> list[str]:
    """The workers that share sampling and exploring: one mapped task each."""
    return shard_labels(load_experiment(Store.from_environment(), plan["experiment"]).recipe.shards)


@task.branch(pool=DUCKDB_POOL)
def choose_stages(plan: dict[str, Any]) -> str:
    """Round 0 prepares the experiment; every other round begins by sampling."""
    return "prepare" if plan["round"] == 0 else "sample"


@task.short_circuit(pool=DUCKDB_POOL, multiple_outputs=True)
def gate(plan: dict[str, Any]) -> dict[str, Any]:
    """Go on if the experiment has a next round: its conf and its fixed Dag run id."""
    store = Store.from_environment()
    following = following_round(store, plan["experiment"], plan["round"])
    if following is None:
        return {}
    experiment = load_experiment(store, plan["experiment"])
    return {
        "conf": {"experiment": experiment.slug, "round": following},
        "run_id": round_run_id(experiment, following),
    }


with DAG(
    dag_id=DAG_ID,
    dag_display_name="Self-Explore: one round",
    description="Sample, explore, train and evaluate one round; then trigger the next one.",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    params=round_params(),
    default_args={"owner": "selfexplore", **RETRIES},
    tags=["self-explore"],
):
    plan: Any = open_experiment()
    shards: Any = list_shards(plan)

    def stage(name: str, **settings: Any) -> Any:
        """The stage's task, under its own name; generating and training hold the GPU."""
        is_heavy = name in GENERATING_STAGES or name in TRAINING_STAGES
        runner = run_stage.override(task_id=name, pool=GPU_POOL if is_heavy else DUCKDB_POOL, **settings)
        if name in SHARDED_STAGES:
            return runner.partial(stage=name, plan=plan).expand(shard=shards)
        return runner(name, plan)

    prepare, sft = stage("prepare"), stage("sft")
    sample, rft_set, rft = stage("sample"), stage("rft_set"), stage("rft")
    sample_explorer, outcome_pairs, explore = stage("sample_explorer"), stage("outcome_pairs"), stage("explore")
    granular_pairs, dpo, arms = stage("granular_pairs"), stage("dpo"), stage("arms")
    # Both branches end here, and one of them is always skipped.
    evaluate = stage("evaluate", trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)
    summarize = stage("summarize")
    decision: Any = gate(plan)
    next_round = TriggerDagRunOperator(
        task_id="next_round",
        trigger_dag_id=DAG_ID,
        trigger_run_id=decision["run_id"],
        conf=decision["conf"],
        logical_date=None,
        skip_when_already_exists=True,
    )

    choose_stages(plan) >> [prepare, sample]
    prepare >> sft >> evaluate
    sample >> rft_set >> rft >> sample_explorer >> outcome_pairs >> explore >> granular_pairs >> dpo >> arms
    arms >> evaluate >> summarize >> decision >> next_round
