"""What a user writes: one YAML file is one experiment, checked completely before any work starts.

Every field has a description (``selfexplore recipe fields`` prints them, ``recipe show NAME`` the values). Defaults
are the paper's (arXiv 2404.10346, section 4 and appendix) unless a field says otherwise.
"""

from selfexplore_tasks.recipe.labels import Evaluate, Explore, Grading, Pairs, Sample, Steps
from selfexplore_tasks.recipe.model import Engine, Example, Model, Prompt, ScratchModel
from selfexplore_tasks.recipe.problems import (
    ArithmeticSource,
    BenchmarkSource,
    Columns,
    Problems,
    Source,
    TableSource,
)
from selfexplore_tasks.recipe.training import (
    SMOOTHED_LOSSES,
    AlarmName,
    Alarms,
    Arms,
    ContinuedRftArm,
    Dpo,
    DpoLoss,
    Lora,
    OutcomeArm,
    Reporter,
    Rft,
    Training,
)
from selfexplore_tasks.recipe.whole import Recipe

__all__ = [
    "SMOOTHED_LOSSES",
    "AlarmName",
    "Alarms",
    "ArithmeticSource",
    "Arms",
    "BenchmarkSource",
    "Columns",
    "ContinuedRftArm",
    "Dpo",
    "DpoLoss",
    "Engine",
    "Evaluate",
    "Example",
    "Explore",
    "Grading",
    "Lora",
    "Model",
    "OutcomeArm",
    "Pairs",
    "Problems",
    "Prompt",
    "Recipe",
    "Reporter",
    "Rft",
    "Sample",
    "ScratchModel",
    "Source",
    "Steps",
    "TableSource",
    "Training",
]
