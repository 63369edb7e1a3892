"""Finding, reading and explaining recipes: YAML in, a checked `Recipe` or one clear sentence out."""

from __future__ import annotations

import copy
import difflib
import hashlib
import importlib.resources
import json
from collections.abc import Hashable, Mapping
from pathlib import Path

import yaml
from pydantic import ValidationError

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.recipe import Recipe
from selfexplore_tasks.recipe_fields import RecipeField, describe_fields, explain

__all__ = [
    "RecipeField",
    "describe_fields",
    "format_errors",
    "load_recipe",
    "recipe_hash",
    "recipe_names",
]

_MAX_BYTES = 1 << 20
# What a run may be called, how far it goes, who works on it, what is kept and who is told changes no row that is made.
_NOT_HASHED = frozenset({"name", "description", "max_rounds", "shards", "accelerate", "report_to", "stop", "retention"})


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package, sorted."""
    folder = importlib.resources.files("selfexplore_tasks") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name_or_path: str, overrides: Mapping[str, object] | None = None) -> Recipe:
    """Return a checked recipe, from a shipped one's name or from a YAML file.

    ``overrides`` are merged before anything is checked: keys are dotted (``sample.n``), values are Python values.
    Raises UserError for whatever is wrong, with the file and the field.
    """
    text, origin = _read_text(name_or_path)
    return _build(_parse(text, origin), overrides or {}, origin)


def change_recipe(recipe: Recipe, overrides: Mapping[str, object]) -> Recipe:
    """Return the recipe with other values under dotted keys; raises UserError as `load_recipe`."""
    return _build(recipe.model_dump(mode="json"), overrides, f"recipe {recipe.name!r}")


def _build(tree: dict[str, object], overrides: Mapping[str, object], origin: str) -> Recipe:
    for key, value in overrides.items():
        tree = _override(tree, key.split("."), value, key)
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{origin}: {format_errors(error)}") from error


def recipe_hash(recipe: Recipe) -> str:
    """Return 12 hex digits of everything in the recipe that changes results.

    Left out: name, description, max_rounds, shards, accelerate, report_to, stop and retention. The content of named
    files is not part of it either.
    """
    content = recipe.model_dump(mode="json", exclude=set(_NOT_HASHED))
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def format_errors(error: ValidationError) -> str:
    """Return one sentence about a recipe's first fault, and how many more there are.

    An unknown key goes first: a misspelt required key is unknown and missing at the same time.
    """
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    more = f" ({len(faults) - 1} more found)" if len(faults) > 1 else ""
    return f"{explain(faults[0])}{more}."


def _read_text(name_or_path: str) -> tuple[str, str]:
    """Return the YAML text and how to call it in messages."""
    if name_or_path in recipe_names():
        entry = importlib.resources.files("selfexplore_tasks") / "recipes" / f"{name_or_path}.yaml"
        return entry.read_text(encoding="utf-8"), f"Recipe {name_or_path}"
    path = Path(name_or_path).expanduser()
    is_path = path.suffix in (".yaml", ".yml") or len(path.parts) > 1
    if not is_path:
        near = difflib.get_close_matches(name_or_path, recipe_names(), n=3, cutoff=0.4) or recipe_names()
        raise UserError(f"There is no recipe {name_or_path!r}: nearest are {', '.join(near)}, or name a .yaml file.")
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UserError(f"{name_or_path} is larger than 1 MiB, which no recipe is: check the path.")
        return path.read_text(encoding="utf-8-sig"), name_or_path
    except FileNotFoundError as error:
        raise UserError(f"Recipe file {name_or_path} does not exist: check the path.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"Recipe file {name_or_path} cannot be read ({reason}).") from error


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader, refusing a key given twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            # Keys merged in by `<<` may be given again: that is what merging is for.
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag.endswith(":merge"):
                continue
            if key_node.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key_node.value!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _parse(text: str, origin: str) -> dict[str, object]:
    try:
        # The loader is a safe one: no tag creates Python objects.
        tree = yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{origin} is not valid YAML: {error.problem}{line}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{origin} is not valid YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(tree, dict):
        found = "empty" if tree is None else f"a {type(tree).__name__}"
        raise UserError(f"{origin} must be a mapping of sections such as `problems:` and `model:`, but it is {found}.")
    return tree


def _override(tree: Mapping[str, object], parts: list[str], value: object, dotted: str) -> dict[str, object]:
    """Return a copy of the tree with one value replaced; sections on the way that are absent are made."""
    changed = dict(tree)
    if len(parts) == 1:
        changed[parts[0]] = copy.deepcopy(value)
        return changed
    inner = changed.get(parts[0])
    if inner is not None and not isinstance(inner, dict):
        raise UserError(f"Cannot set {dotted}: {parts[0]!r} holds a single value, not a section.")
    changed[parts[0]] = _override(inner or {}, parts[1:], value, dotted)
    return changed


def changed_fields(before: Recipe, after: Recipe) -> list[str]:
    """Dotted keys whose values differ and that change results, e.g. ``["sample.n"]``."""
    left, right = _leaves(before.model_dump(mode="json")), _leaves(after.model_dump(mode="json"))
    changed = [key for key in {**left, **right} if left.get(key) != right.get(key)]
    return [key for key in changed if key.split(".")[0] not in _NOT_HASHED]


def _leaves(tree: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    leaves: dict[str, object] = {}
    for key, value in tree.items():
        leaves |= _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves
