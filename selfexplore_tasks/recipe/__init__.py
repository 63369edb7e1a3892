"""What a user writes: one YAML file is one experiment, checked completely before any work starts.

Every field has a description (``selfexplore recipe fields`` prints them, ``recipe show NAME`` the values). Defaults
are the paper's (arXiv 2404.10346, section 4 and appendix) unless a field says otherwise.
"""

from selfexplore_tasks.recipe.labels import Evaluate, Explore, Grading, Pairs, Sample, Steps
from selfexplore_tasks.recipe.model import Engine, Example, Model, Prompt, ScratchModel
from selfexplore_tasks.recipe.problems import (
    ArithmeticSource,
    Benchmark,
    BenchmarkSource,
    Columns,
    Problems,
    Source,
    TableSource,
)
from selfexplore_tasks.recipe.training import (
    SMOOTHED_LOSSES,
    Accelerate,
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
from selfexplore_tasks.recipe.unattended import ByRound, Gate, Guard, Retention, Stop
from selfexplore_tasks.recipe.whole import Recipe

__all__ = [
    "SMOOTHED_LOSSES",
    "Accelerate",
    "AlarmName",
    "Alarms",
    "ArithmeticSource",
    "Arms",
    "Benchmark",
    "BenchmarkSource",
    "ByRound",
    "Columns",
    "ContinuedRftArm",
    "Dpo",
    "DpoLoss",
    "Engine",
    "Evaluate",
    "Example",
    "Explore",
    "Gate",
    "Grading",
    "Guard",
    "Lora",
    "Model",
    "OutcomeArm",
    "Pairs",
    "Problems",
    "Prompt",
    "Recipe",
    "Reporter",
    "Retention",
    "Rft",
    "Sample",
    "ScratchModel",
    "Source",
    "Steps",
    "Stop",
    "TableSource",
    "Training",
]
