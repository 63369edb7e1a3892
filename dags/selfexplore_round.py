"""
### One round of Self-Explore

Trigger it with the name of an experiment. A new name starts with **round 0** (problems, supervised fine-tuning, first
evaluation); every round triggers the next one until `max_rounds` or the stop rule ends the experiment. A known name
goes on with its first unfinished round, so triggering again after a failure resumes: finished stages return at once.

A candidate that is really better on dev becomes the champion (section `gate` of the recipe); with
`gate.require_approval` a person answers in **Required Actions** first. Clearing a task redoes exactly that stage and
what depends on it; a round with a successor refuses to run again: `selfexplore experiments fork` goes another way.

`airflow dags test selfexplore_round -c '{"experiment": "trial"}'` runs one round in the foreground (round 0 when the
experiment is new); the round it triggers waits for a scheduler.

Method: [Self-Explore](https://arxiv.org/abs/2404.10346). Tables, models and manifests are in `$SELFEXPLORE_HOME`.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Metadata, TriggerRule, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from common.alerts import alert_failure, kind_of_end, send_alert
from common.approval import approval_step, describe_proposal, record_approval
from common.assets import CHAMPION
from common.links import ExperimentLink
from common.params import recipe_overrides, round_params
from common.runs import ROUND_DAG, is_running, not_failed_yet
from common.stages import DUCKDB_POOL, RETRIES, gpu_place, run_stage
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.planning import (
    claim_round,
    open_or_create,
    plan_round,
    reason_to_end,
    round_run_id,
    shard_labels,
)
from selfexplore_tasks.stages.names import GENERATING_STAGES, SHARDED_STAGES, TRAINING_STAGES
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest


@task(pool=DUCKDB_POOL)
def open_experiment() -> dict[str, Any]:
    """Open or create the experiment and claim the round that this Dag run works on."""
    context = get_current_context()
    params, store = context["params"], Store.opened(context["params"]["experiment"])
    try:
        overrides = recipe_overrides(params)
        experiment = open_or_create(store, params["experiment"], params["recipe"], overrides, params["round"])
        number = claim_round(
            store, experiment, requested=params["round"], run_id=context["run_id"], is_running=is_running
        )
        plan_round(store, experiment, number)
    except UserError as error:
        raise AirflowFailException(str(error)) from error
    return {"experiment": experiment.slug, "round": number}


@task(pool=DUCKDB_POOL)
def list_shards(plan: dict[str, Any]) -> list[str]:
    """The workers that share sampling and exploring: one mapped task each."""
    return shard_labels(load_experiment(Store.opened(plan["experiment"]), plan["experiment"]).recipe.shards)


@task.branch(pool=DUCKDB_POOL)
def choose_stages(plan: dict[str, Any]) -> str:
    """Round 0 prepares the experiment; every other round begins by sampling."""
    return "prepare" if plan["round"] == 0 else "sample"


@task(pool=DUCKDB_POOL)
def describe_promotion(plan: dict[str, Any]) -> dict[str, str]:
    """What a person is asked, where the recipe wants a promotion approved; else skipped."""
    proposal = describe_proposal(Store.opened(plan["experiment"]), plan)
    if proposal is None:
        raise AirflowSkipException("nobody need be asked: no promotion, or gate.require_approval is off")
    return proposal


@task(pool=DUCKDB_POOL, outlets=[CHAMPION])
def publish_champion(plan: dict[str, Any]) -> Any:
    """Tell the Dags that wait for a new champion; skipped where the champion stayed."""
    summary = read_manifest(Store.opened(plan["experiment"]), plan["experiment"], plan["round"], "summarize")
    if summary is None or not summary.notes["promoted"]:
        raise AirflowSkipException("the champion stayed")
    yield Metadata(CHAMPION, extra={**plan, "model_id": summary.notes["champion"]})


@task.short_circuit(pool=DUCKDB_POOL, multiple_outputs=True)
def plan_next(plan: dict[str, Any]) -> dict[str, Any]:
    """Go on if the experiment has a next round: its conf and its fixed Dag run id. Else say why it ends."""
    store = Store.opened(plan["experiment"])
    experiment = load_experiment(store, plan["experiment"])
    reason = reason_to_end(store, experiment.slug, plan["round"])
    if reason is not None:
        text = f"{experiment.slug} ends with round {plan['round']}: {reason}"
        send_alert(kind_of_end(reason), text, get_current_context())
        return {}
    following = plan["round"] + 1
    return {
        "conf": {"experiment": experiment.slug, "round": following},
        "run_id": not_failed_yet(round_run_id(experiment, following)),
    }


with DAG(
    dag_id=ROUND_DAG,
    dag_display_name="Self-Explore: one round",
    description="Sample, explore, train and evaluate one round; then trigger the next one.",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    params=round_params(),
    default_args={"owner": "selfexplore", "on_failure_callback": alert_failure, **RETRIES},
    tags=["self-explore"],
):
    plan: Any = open_experiment()
    shards: Any = list_shards(plan)

    def stage(name: str, **settings: Any) -> Any:
        """The stage's task, under its own name; generating and training hold the GPU."""
        is_heavy = name in GENERATING_STAGES or name in TRAINING_STAGES
        place = gpu_place() if is_heavy else {"pool": DUCKDB_POOL}
        runner = run_stage.override(task_id=name, **place, **settings)
        if name in SHARDED_STAGES:
            return runner.partial(stage=name, plan=plan).expand(shard=shards)
        return runner(name, plan)

    prepare, sft = stage("prepare"), stage("sft")
    sample, rft_set, rft = stage("sample"), stage("rft_set"), stage("rft")
    sample_explorer, outcome_pairs, explore = stage("sample_explorer"), stage("outcome_pairs"), stage("explore")
    granular_pairs, dpo, arms = stage("granular_pairs"), stage("dpo"), stage("arms")
    # Both branches end here, and one of them is always skipped.
    evaluate = stage("evaluate", trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)
    gate, approve = stage("gate"), approval_step()
    # Most promotions need nobody's word: then the three steps in front are skipped.
    summarize = stage("summarize", trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)
    summarize.operator.operator_extra_links = (ExperimentLink(),)
    decision: Any = plan_next(plan)
    answered: Any = record_approval(plan, approve.output)  # type: ignore[arg-type]
    next_round = TriggerDagRunOperator(
        task_id="next_round",
        trigger_dag_id=ROUND_DAG,
        trigger_run_id=decision["run_id"],
        conf=decision["conf"],
        logical_date=None,
        skip_when_already_exists=True,
    )

    choose_stages(plan) >> [prepare, sample]
    prepare >> sft >> evaluate
    sample >> rft_set >> rft >> sample_explorer >> outcome_pairs >> explore >> granular_pairs >> dpo >> arms
    arms >> evaluate >> gate >> summarize >> [decision, publish_champion(plan)]
    gate >> describe_promotion(plan) >> approve >> answered >> summarize
    decision >> next_round
