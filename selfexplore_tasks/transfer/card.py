"""The card of an exported folder: what the pairs are, where they came from, and what to mind when training on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from selfexplore_tasks.recipe import Recipe
from selfexplore_tasks.store.experiments import Experiment
from selfexplore_tasks.store.manifests import Manifest

TRAINER_CLASS = "selfexplore_tasks.training.trainers.StepDPOTrainer"
EXAMPLE_FUNCTION = "selfexplore_tasks.training.data.preference_example"
_MEANING = {
    "granular": "`rejected` is the first step from which no rollout recovered (the first pit){rest}, `chosen` a right "
    "continuation from just before it; `prompt` holds the question and the steps before.",
    "outcome": "`chosen` is a right solution, `rejected` a wrong one of the same problem; `prompt` holds the question.",
}


def is_complete(kind: str, recipe: Recipe) -> bool:
    """Whether a rejected text is a whole solution rather than one step of it."""
    return kind == "outcome" or recipe.pairs.rejected == "remainder"


def eos_warning(kind: str, recipe: Recipe) -> str:
    """What TRL does to the end of rejected texts, what Self-Explore does, and with which class."""
    if not is_complete(kind, recipe):
        ours = "Self-Explore never does: a rejected step stands in the middle of a solution."
    elif recipe.dpo.eos_on_complete_rejected:
        ours = "So does this recipe (dpo.eos_on_complete_rejected: true)."
    else:
        ours = "This recipe does not, as in the published method, though these are complete solutions."
    return (
        f"TRL's own DPOTrainer appends an end of sequence to rejected. {ours} "
        f"To train as Self-Explore does, use {TRAINER_CLASS}, on token ids from {EXAMPLE_FUNCTION}."
    )


def licence_warning(sources: Sequence[str]) -> str:
    """What to check before pairs made from these problems are published."""
    return (
        f"The texts hold problems from {', '.join(sources)}: check their licence before you publish (MATH must not be "
        "published again)."
    )


@dataclass(frozen=True)
class DataCard:
    """What the card says. ``made_by`` is the manifest of the stage that made the pairs, by ``experiment``'s recipe."""

    experiment: Experiment
    made_by: Manifest
    kind: str
    pair_count: int
    sources: tuple[str, ...]
    data_file: str

    def text(self) -> str:
        """The README.md: YAML front matter that `datasets.load_dataset` reads, then words for people."""
        recipe = self.experiment.recipe
        rest = " with all that follows it" if is_complete(self.kind, recipe) else ""
        lines = [f"| {name} | {value} |" for name, value in self._facts().items()]
        return "\n".join(
            [
                *("---", self._front_matter(), "---", ""),
                *(f"# {self.kind.capitalize()} preference pairs of {self.experiment.slug}", ""),
                "Made by Self-Explore on Airflow, after [Self-Explore](https://arxiv.org/abs/2404.10346). "
                + _MEANING[self.kind].format(rest=rest),
                *("", "| | |", "|---|---|", *lines, ""),
                *("## Training", "", eos_warning(self.kind, recipe), ""),
                *("## Publishing", "", licence_warning(self.sources), ""),
            ]
        )

    def _front_matter(self) -> str:
        front = {
            "configs": [
                {"config_name": "default", "data_files": [{"split": "train", "path": self.data_file}]},
            ],
            "tags": ["preference", "dpo", "self-explore", self.kind],
        }
        return yaml.safe_dump(front, sort_keys=False).rstrip()

    def _facts(self) -> dict[str, str]:
        return {
            "kind": self.kind,
            "pairs": f"{self.pair_count:,}",
            "experiment": f"{self.experiment.slug}, round {self.made_by.round}",
            "recipe": f"{self.experiment.recipe.name}, hash {self.experiment.recipe_hash}",
            "seed": str(self.made_by.seed),
            "problems": ", ".join(self.sources),
            "versions": ", ".join(f"{name} {version}" for name, version in self.made_by.versions.items()),
        }
