"""What the recipe's fields are, read from the pydantic models: for documentation, the CLI and error sentences."""

from __future__ import annotations

import difflib
import json
import reprlib
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from selfexplore_tasks.recipe import Recipe

_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


class RecipeField(NamedTuple):
    """One field: dotted path, what it takes, its default as JSON-like text (`required` if none), description."""

    path: str
    type: str
    default: str
    description: str


def describe_fields() -> list[RecipeField]:
    """Return every field of a recipe, sections before what they hold.

    Fields of one of several possible sections name it: ``problems.train[arithmetic].count``; those of the
    items of a list have ``[]``: ``prompt.examples[].question``.
    """
    return list(_describe(Recipe, ""))


def explain(fault: ErrorDetails) -> str:
    """Return what is wrong, where and what would be right, as a sentence without its full stop."""
    path, models, field = _resolve(fault["loc"])
    context = fault.get("ctx", {})
    kind = fault["type"]
    if kind == "extra_forbidden":
        return _explain_unknown(path, str(fault["loc"][-1]), models)
    if kind == "missing":
        described = f": {field.description}" if field and field.description else ""
        return f"{path} is missing{described.rstrip('.')}"
    if kind == "value_error":
        return f"{path}: {context['error']}" if path else str(context["error"])
    if kind.startswith("union_tag"):
        expected = str(context.get("expected_tags", "")).replace("'", "") or "arithmetic, gsm8k, math, svamp, file, hub"
        return f"{path}.kind must be one of {expected}{_given(context['tag']) if 'tag' in context else ''}"
    if field is not None and kind != "recursion_loop":
        in_list = isinstance(fault["loc"][-1], int)
        wanted = _annotation_text(get_args(field.annotation)[0]) if in_list else _type_text(field)
        return f"{path} must be {wanted}{_given(fault['input'])}"
    return f"{path or 'the recipe'}: {fault['msg']}"


def _given(value: object) -> str:
    return f", got {'null' if value is None else reprlib.repr(value)}"


def _explain_unknown(path: str, key: str, models: Sequence[type[BaseModel]]) -> str:
    known = list(dict.fromkeys(name for model in models for name in model.model_fields))
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if near:
        return f"{path} is not a known key: did you mean {path.removesuffix(key)}{near[0]}"
    return f"{path} is not a known key: known here are {', '.join(known)}"


def _resolve(location: Iterable[int | str]) -> tuple[str, list[type[BaseModel]], FieldInfo | None]:
    """Return the dotted path of an error's location, the models it may lie in, and its field if it is one.

    pydantic puts the kind of a section that may be one of several into the location; the path leaves it out.
    """
    path = ""
    models: list[type[BaseModel]] = [Recipe]
    parents = models
    field: FieldInfo | None = None
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
            continue
        chosen = [model for model in models if part in _kinds(model)]
        if chosen and len(models) > 1:
            models = parents = chosen
            continue
        path = f"{path}.{part}" if path else part
        parents = models
        field = next((model.model_fields[part] for model in models if part in model.model_fields), None)
        models = _models(field.annotation) if field else []
    return path, parents, field


def _kinds(model: type[BaseModel]) -> tuple[str, ...]:
    kind = model.model_fields.get("kind")
    return get_args(kind.annotation) if kind else ()


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections an annotation may hold, directly, in a union or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _describe(model: type[BaseModel], prefix: str) -> Iterator[RecipeField]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        sections = _models(field.annotation)
        yield RecipeField(path, _type_text(field), _default_text(field), field.description or "")
        many = "[]" if get_origin(field.annotation) is tuple else ""
        for section in sections:
            choice = f"[{'|'.join(_kinds(section))}]" if len(sections) > 1 else ""
            yield from _describe(section, f"{path}{many}{choice}.")


def _default_text(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if isinstance(field.default, BaseModel):
        return "as below"
    return json.dumps(field.default)


def _type_text(field: FieldInfo) -> str:
    return _annotation_text(field.annotation, field.metadata)


def _annotation_text(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Return an annotation in words, with its range: `a whole number of at least 1 or null`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        sections = len(_models(annotation)) > 1
        texts = ["a section with a kind"] if sections else []
        texts += [_annotation_text(part, metadata) for part in arguments if not (sections and _models(part))]
        return " or ".join(texts)
    if annotation is type(None):
        return "null"
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}" if len(arguments) > 1 else str(arguments[0])
    if origin is tuple:
        fewest = " of at least one" if any(isinstance(limit, MinLen) for limit in metadata) else ""
        return f"a list{fewest}, each {_annotation_text(arguments[0])}"
    if _models(annotation):
        return "a section"
    if origin is not None:
        return _annotation_text(arguments[0], [*metadata, *arguments[1:]])
    return _NAMES[annotation] + _range_text(_flatten(metadata))


def _flatten(metadata: Iterable[Any]) -> Iterator[Any]:
    """Yield plain limits, also those that pydantic wraps in a field of an alias such as ``PositiveInt``."""
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from item.metadata
        else:
            yield item


def _range_text(metadata: Iterable[Any]) -> str:
    limits: list[str] = []
    for item in metadata:
        if isinstance(item, Ge):
            limits.append(f"at least {item.ge}")
        elif isinstance(item, Gt):
            limits.append(f"above {item.gt}")
        elif isinstance(item, Le):
            limits.append(f"at most {item.le}")
        elif isinstance(item, Lt):
            limits.append(f"below {item.lt}")
        elif isinstance(item, MinLen):
            limits.append("not empty")
        elif pattern := getattr(item, "pattern", None):
            limits.append(f"that matches {pattern}")
    return f" ({' and '.join(limits)})" if limits else ""
