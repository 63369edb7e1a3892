"""The card of an exported folder: what the pairs are, where they came from, and what to mind when training on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from selfexplore_tasks.store.experiments import Experiment
from selfexplore_tasks.store.manifests import Manifest

TRAINER_CLASS = "selfexplore_tasks.training.trainers.StepDPOTrainer"
EXAMPLE_FUNCTION = "selfexplore_tasks.training.data.preference_example"
EOS_WARNING = (
    "TRL's own DPOTrainer appends an end of sequence to rejected. Self-Explore does not: a rejected step stands in the "
    f"middle of a solution. Train with {TRAINER_CLASS}, on token ids from {EXAMPLE_FUNCTION}."
)
_MEANING = {
    "granular": "`rejected` is the first step from which no rollout recovered (the first pit), `chosen` a right "
    "continuation from just before it; `prompt` holds the question and the steps before.",
    "outcome": "`chosen` is a right solution, `rejected` a wrong one of the same problem; `prompt` holds the question.",
}


def licence_warning(sources: Sequence[str]) -> str:
    """What to check before pairs made from these problems are published."""
    return (
        f"The texts hold problems from {', '.join(sources)}: check their licence before you publish (MATH must not be "
        "published again)."
    )


@dataclass(frozen=True)
class DataCard:
    """What the card says. ``made_by`` is the manifest of the stage that made the pairs."""

    experiment: Experiment
    made_by: Manifest
    kind: str
    pair_count: int
    sources: tuple[str, ...]
    data_file: str

    def text(self) -> str:
        """The README.md: YAML front matter that `datasets.load_dataset` reads, then words for people."""
        front = {
            "configs": [
                {"config_name": "default", "data_files": [{"split": "train", "path": self.data_file}]},
            ],
            "tags": ["preference", "dpo", "self-explore", self.kind],
        }
        facts = {
            "kind": self.kind,
            "pairs": f"{self.pair_count:,}",
            "experiment": f"{self.experiment.slug}, round {self.made_by.round}",
            "recipe": f"{self.experiment.recipe.name}, hash {self.experiment.recipe_hash}",
            "seed": str(self.made_by.seed),
            "problems": ", ".join(self.sources),
            "versions": ", ".join(f"{name} {version}" for name, version in self.made_by.versions.items()),
        }
        lines = [f"| {name} | {value} |" for name, value in facts.items()]
        return "\n".join(
            [
                "---",
                yaml.safe_dump(front, sort_keys=False).rstrip(),
                "---",
                "",
                f"# {self.kind.capitalize()} preference pairs of {self.experiment.slug}",
                "",
                "Made by Self-Explore on Airflow, after [Self-Explore](https://arxiv.org/abs/2404.10346). "
                + _MEANING[self.kind],
                "",
                "| | |",
                "|---|---|",
                *lines,
                "",
                "## Training",
                "",
                EOS_WARNING,
                "",
                "## Publishing",
                "",
                licence_warning(self.sources),
                "",
            ]
        )
