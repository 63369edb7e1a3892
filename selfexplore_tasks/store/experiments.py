"""Experiments: a name, a frozen recipe, and the rounds that exist."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.recipe import Recipe
from selfexplore_tasks.recipe_files import change_recipe, changed_fields, load_recipe, recipe_hash
from selfexplore_tasks.store.files import remove_file, remove_folder, write_json
from selfexplore_tasks.store.home import Store, check_slug
from selfexplore_tasks.store.locks import live_stages
from selfexplore_tasks.store.manifests import installed_versions
from selfexplore_tasks.store.shared import shared_copy

SHOWN_FIELDS = 5


@dataclass(frozen=True)
class ForkPoint:
    """The experiment that a fork has its rounds up to ``round`` from."""

    experiment: str
    round: int


@dataclass(frozen=True)
class EarlierRecipe:
    """What a fork's rounds up to ``until`` were made with, where the fork changed it."""

    until: int
    recipe: Recipe
    recipe_hash: str


@dataclass(frozen=True)
class Experiment:
    """One experiment as stored in ``experiments/<slug>.json``; ``earlier`` in order of rounds."""

    slug: str
    recipe: Recipe
    recipe_hash: str
    created_at: str
    forked_from: ForkPoint | None = None
    earlier: tuple[EarlierRecipe, ...] = ()

    def at(self, round_number: int) -> Experiment:
        """The experiment with the recipe that a round was, or will be, made with."""
        for one in self.earlier:
            if round_number <= one.until:
                return replace(self, recipe=one.recipe, recipe_hash=one.recipe_hash)
        return self


def open_experiment(
    store: Store, slug: str, recipe_name: str | None, overrides: dict[str, object] | None = None
) -> Experiment:
    """Return the experiment, creating it when it is new; everything that can be checked is checked first.

    Args:
        recipe_name: a shipped recipe's name or a YAML file; None takes the existing experiment's own.
        overrides: dotted recipe keys, e.g. ``{"sample.n": 4}``. ``max_rounds`` and ``shards`` may differ from the
            stored ones (they do not change results) and are then updated.

    Raises:
        UserError: bad name or recipe, unwritable store, unusable model or problems, or the name is taken by
            an experiment with another recipe. Nothing has been written then.
    """
    check_slug(slug)
    exists = store.experiment_file(slug).exists()
    if recipe_name is None and not exists:
        raise UserError(f"Experiment {slug!r} does not exist yet: give it a recipe (selfexplore recipe list).")
    if exists:
        stored = load_experiment(store, slug)
        recipe = load_recipe(recipe_name, overrides) if recipe_name else change_recipe(stored.recipe, overrides or {})
        _check_same_recipe(stored, recipe)
        if stored.recipe == recipe:
            return stored
        store.check_writable()
        _check_changed_means(stored.recipe, recipe)
        return save_experiment(store, replace(stored, recipe=recipe))
    _check_no_half_fork(store, slug)
    recipe = load_recipe(str(recipe_name), overrides)
    store.check_writable()
    _check_inputs(recipe)
    created_at = datetime.now(UTC).isoformat(timespec="seconds")
    save_experiment(store, Experiment(slug, recipe, recipe_hash(recipe), created_at), once=True)
    made = load_experiment(store, slug)
    _check_same_recipe(made, recipe)  # another machine may have been quicker
    return made


def load_experiment(store: Store, slug: str) -> Experiment:
    """Return an existing experiment; raises UserError if there is none of that name."""
    path = store.experiment_file(slug)
    if not path.exists():
        known = ", ".join(experiment_names(store)) or "none yet"
        raise UserError(f"Experiment {slug!r} does not exist in {store.root} (there: {known}).")
    content = json.loads(path.read_text(encoding="utf-8"))
    return Experiment(
        slug=slug,
        recipe=Recipe.model_validate(content["recipe"]),
        recipe_hash=content["recipe_hash"],
        created_at=content["created_at"],
        forked_from=ForkPoint(**content["forked_from"]) if content.get("forked_from") else None,
        earlier=tuple(
            EarlierRecipe(one["until"], Recipe.model_validate(one["recipe"]), one["recipe_hash"])
            for one in content.get("earlier", ())
        ),
    )


def experiment_names(store: Store) -> list[str]:
    return sorted(path.stem for path in (store.root / "experiments").glob("*.json"))


def last_round(store: Store, slug: str) -> int | None:
    """The last round that was summarized; None if not even round 0 was."""
    folder = store.root / "manifests" / check_slug(slug)
    done = [int(path.parent.name.removeprefix("round=")) for path in folder.glob("round=*/summarize.json")]
    return max(done, default=None)


def delete_experiment(store: Store, slug: str) -> None:
    """Remove everything the experiment made; raises UserError if it does not exist or a stage of it runs."""
    load_experiment(store, slug)
    live = live_stages(store, slug)
    if live:
        raise UserError(f"Experiment {slug!r} is live: {live[0]} is running. Stop it before deleting.")
    delete_rounds(store, slug)
    remove_file(store.experiment_file(slug))
    remove_folder(store.lock_dir(slug))


def delete_rounds(store: Store, slug: str) -> None:
    """Remove what the rounds made and what people said of them, but not the experiment file."""
    copy = shared_copy(store.root)
    if copy is not None:
        copy.remove_rounds(slug)
    for folder in store.experiment_dirs(slug):
        shutil.rmtree(folder, ignore_errors=True)
    for path in (store.champion_file(slug), store.control_file(slug)):
        path.unlink(missing_ok=True)


def save_experiment(store: Store, experiment: Experiment, *, once: bool = False) -> Experiment:
    """Write the experiment file, which makes the experiment visible; ``once`` as in `write_atomically`."""
    content = {
        "recipe": experiment.recipe.model_dump(mode="json"),
        "recipe_hash": experiment.recipe_hash,
        "created_at": experiment.created_at,
        "forked_from": asdict(experiment.forked_from) if experiment.forked_from else None,
        "earlier": [
            {"until": one.until, "recipe": one.recipe.model_dump(mode="json"), "recipe_hash": one.recipe_hash}
            for one in experiment.earlier
        ],
        "versions": installed_versions(),
    }
    write_json(store.experiment_file(experiment.slug), content, once=once)
    return experiment


def fork_marker(store: Store, slug: str) -> Path:
    """A file that stands from the beginning of a fork to its end."""
    return store.lock_dir(slug) / "fork.json"


def _check_no_half_fork(store: Store, slug: str) -> None:
    marker = fork_marker(store, slug)
    if marker.exists():
        origin = ForkPoint(**json.loads(marker.read_text(encoding="utf-8")))
        raise UserError(
            f"{slug!r} is an unfinished fork: finish it with `selfexplore experiments fork {origin.experiment} "
            f"--round {origin.round} --as {slug}`, or choose another name."
        )


def _check_same_recipe(stored: Experiment, recipe: Recipe) -> None:
    fields = changed_fields(stored.recipe, recipe)
    if not fields:
        return
    shown = ", ".join(fields[:SHOWN_FIELDS])
    more = f" and {len(fields) - SHOWN_FIELDS} more" if len(fields) > SHOWN_FIELDS else ""
    raise UserError(
        f"Experiment {stored.slug!r} was made with another recipe (different: {shown}{more}): "
        "choose another experiment name, go another way from a finished round with `selfexplore experiments fork "
        f"{stored.slug} --round R --as NEW --set KEY=VALUE`, or delete it with `selfexplore experiments delete`."
    )


def check_means(recipe: Recipe) -> None:
    """Raise UserError if the recipe's engine, way of training or trackers cannot be used here."""
    from selfexplore_tasks.engines.select import check_engine
    from selfexplore_tasks.training.layout import check_accelerate
    from selfexplore_tasks.training.reporters import check_reporters

    check_engine(recipe.engine.kind)
    check_accelerate(recipe)
    check_reporters(recipe.report_to)


def _check_changed_means(before: Recipe, recipe: Recipe) -> None:
    """The same for what may change in an experiment; its engine may be another machine's."""
    from selfexplore_tasks.training.layout import check_accelerate
    from selfexplore_tasks.training.reporters import check_reporters

    if recipe.accelerate != before.accelerate:
        check_accelerate(recipe)
    if recipe.report_to != before.report_to:
        check_reporters(recipe.report_to)


def _check_inputs(recipe: Recipe) -> None:
    """Look at the model and every problem before anything is written."""
    from selfexplore_tasks.problems.splits import load_problems
    from selfexplore_tasks.training.base_model import check_model

    check_model(recipe.model)
    check_means(recipe)
    problems, _ = load_problems(recipe.problems, seed=recipe.seed, answer_phrase=recipe.prompt.answer_phrase)
    if recipe.sft is not None and all(problem.gold_rationale is None for problem in problems):
        raise UserError(
            "sft needs gold rationales, but the training problems have none: "
            "name their column in problems.train.columns.rationale, or set sft: null."
        )
