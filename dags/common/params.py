"""The trigger form: what a person fills in, and how it becomes recipe fields.

Every field may stay empty, except the experiment's name: empty means "as the recipe says".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Param

from selfexplore_tasks.estimates import describe
from selfexplore_tasks.planning import DEFAULT_RECIPE
from selfexplore_tasks.recipe_files import recipe_names

SLUG_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}(\.[A-Za-z0-9_-]+)*$"

# Form fields that stand for recipe fields. One temperature serves both places where the paper has one.
RECIPE_FIELDS: dict[str, tuple[str, ...]] = {
    "max_rounds": ("max_rounds",),
    "samples_per_problem": ("sample.n",),
    "rollouts_per_step": ("explore.k",),
    "temperature": ("sample.temperature", "explore.temperature"),
    "shards": ("shards",),
    "seed": ("seed",),
}


def round_params() -> dict[str, Param]:
    """The params of ``selfexplore_round`` in the order of the form."""
    return {
        "experiment": Param(
            type="string",
            pattern=SLUG_PATTERN,
            maxLength=64,
            title="Experiment",
            description="Name of the experiment. A new name starts with round 0; a known one goes on where it stopped.",
            section="Experiment",
        ),
        "recipe": Param(
            None,
            type=["null", "string"],
            examples=recipe_names(),
            title="Recipe",
            description="A recipe that comes with the package, or the path of a YAML file. "
            f"Empty: the experiment's own, {DEFAULT_RECIPE} if it is new. {_costs()}",
            section="Experiment",
        ),
        "max_rounds": _number("Max rounds", "Rounds after round 0; each one triggers the next.", "integer", 1, 1000),
        "samples_per_problem": _number(
            "Samples per problem", "Rationales drawn for every training problem.", "integer", 1, 10_000, "Method"
        ),
        "rollouts_per_step": _number(
            "Rollouts per step (k)",
            "Attempts to finish a wrong rationale after each of its steps; the first pit is where all of them fail.",
            *("integer", 1, 1000, "Method"),
        ),
        "temperature": _number(
            "Temperature", "Sampling temperature of rationales and rollouts.", "number", 0.01, 5, "Method"
        ),
        "compare": Param(
            False,
            type="boolean",
            title="Compare",
            description="Train also outcome DPO and continued RFT, as many steps from the same explorer, "
            "and report all with paired intervals. Unchecked: the recipe's value.",
            section="Method",
        ),
        "shards": _number(
            "Shards", "Workers that share sampling and exploring: one for each GPU.", "integer", 1, 1024, "Running"
        ),
        "seed": _number("Seed", "Everything random derives from it.", "integer", 0, 2**31 - 1, "Running"),
        "overrides": Param(
            {},
            type=["null", "object"],
            title="Further recipe fields",
            description='Other fields of the recipe by dotted name, e.g. {"dpo.beta": 0.2, "engine.kind": "vllm"}.',
            section="Running",
        ),
        "round": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            title="Round",
            description="Leave empty: the next unfinished round. Set by the round before when it triggers this one.",
            section="Running",
        ),
    }


def recipe_overrides(params: Mapping[str, Any]) -> dict[str, object]:
    """Dotted recipe fields with the values the form gives; a field of its own wins over ``overrides``."""
    fields: dict[str, object] = dict(params["overrides"] or {})
    if params["compare"]:
        fields["compare"] = True
    for name, dotted_names in RECIPE_FIELDS.items():
        if params[name] is not None:
            fields |= dict.fromkeys(dotted_names, params[name])
    return fields


def _costs() -> str:
    """What a round of each recipe takes: counted from the recipe alone, so the form stays the same from run to run."""
    return f"{'; '.join(describe(name) for name in recipe_names())}. Time: selfexplore estimate RECIPE."


def _number(
    title: str, description: str, kind: str, minimum: float, maximum: float, section: str = "Experiment"
) -> Param:
    return Param(
        None,
        type=["null", kind],
        minimum=minimum,
        maximum=maximum,
        title=title,
        description=f"{description} Empty: the recipe's value.",
        section=section,
    )
