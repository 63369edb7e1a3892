"""Recipes for the start form: the shipped ones, their fields, and what is wrong with what a person types.

Nothing here reads a file that a request names: a recipe in a file of one's own is checked when the round starts.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path
from pydantic import BaseModel, Field, JsonValue

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.planning import DEFAULT_RECIPE
from selfexplore_tasks.recipe import Recipe
from selfexplore_tasks.recipe_files import (
    change_recipe,
    changed_fields,
    describe_fields,
    load_recipe,
    recipe_hash,
    recipe_names,
)
from selfexplore_tasks.store.home import check_slug
from selfexplore_ui import sources
from selfexplore_ui.security import same_site
from selfexplore_ui.workers import PAGES

router = APIRouter(tags=["recipes"])


class RecipeName(BaseModel):
    """A shipped recipe."""

    name: str
    description: str


class FieldDoc(BaseModel):
    """A field by dotted name; ``default`` is this recipe's value as JSON, or a word where it has no single one."""

    path: str
    type: str
    default: str
    description: str


class RecipeDoc(RecipeName):
    """A shipped recipe with all fields."""

    fields: list[FieldDoc]


class Draft(BaseModel):
    """What a person has typed so far: a shipped recipe, or none where the experiment has its own."""

    recipe: str | None = Field(None, max_length=200)
    experiment: str | None = Field(None, max_length=64, description="Its name, new or known.")
    overrides: dict[str, JsonValue] = Field({}, max_length=200, description="Dotted recipe fields.")


class Verdict(BaseModel):
    """Whether the draft could start; ``message`` is one sentence either way."""

    ok: bool
    message: str
    recipe_hash: str | None


@router.get("/recipes")
@PAGES.json
def recipes() -> list[RecipeName]:
    """The recipes that come with the package."""
    return [RecipeName(name=name, description=load_recipe(name).description) for name in recipe_names()]


@router.get("/recipes/{name}")
@PAGES.json
def recipe_of(name: Annotated[str, Path(max_length=100)]) -> RecipeDoc:
    """One recipe with every field, its type and its value."""
    if name not in recipe_names():
        raise HTTPException(404, f"There is no recipe {name!r} in the package.")
    recipe = load_recipe(name)
    values = recipe.model_dump(mode="json")
    fields = [
        FieldDoc(
            path=one.path, type=one.type, default=_value(values, one.path, one.default), description=one.description
        )
        for one in describe_fields()
    ]
    return RecipeDoc(name=name, description=recipe.description, fields=fields)


@router.post("/recipes/check", dependencies=[same_site])
@PAGES.json
def check(draft: Draft) -> Verdict:
    """Check a recipe as far as it can be without touching data or models."""
    try:
        recipe = _recipe(draft)
    except UserError as error:
        return Verdict(ok=False, message=str(error), recipe_hash=None)
    return Verdict(ok=True, message=f"{recipe.description}", recipe_hash=recipe_hash(recipe))


def _recipe(draft: Draft) -> Recipe:
    overrides: dict[str, object] = dict(draft.overrides)
    known = draft.experiment and check_slug(draft.experiment) in sources.reader().slugs()
    if draft.recipe and draft.recipe not in recipe_names():
        raise UserError(
            f"Only recipes of the package are checked here ({', '.join(recipe_names())}): a file of yours is checked "
            "when the round starts."
        )
    if not known:
        return load_recipe(draft.recipe or DEFAULT_RECIPE, overrides)
    stored = sources.reader().snapshot(str(draft.experiment)).recipe
    recipe = load_recipe(draft.recipe, overrides) if draft.recipe else change_recipe(stored, overrides)
    if changed := changed_fields(stored, recipe):
        raise UserError(f"Experiment {draft.experiment!r} exists with another {changed[0]}: choose another name.")
    return recipe


def _value(values: dict[str, Any], path: str, default: str) -> str:
    """The recipe's value under a dotted path, as JSON; the default's text where a list or choice is on the way."""
    import json

    found: Any = values
    for part in path.split("."):
        if not isinstance(found, dict) or part not in found:
            return default
        found = found[part]
    return default if isinstance(found, dict) else json.dumps(found)
