"""The page's files: nothing that its policy would refuse, the library as it was released, the API as it is."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from common.params import RECIPE_FIELDS, SLUG_PATTERN, round_params
from selfexplore_tasks.planning import DEFAULT_RECIPE
from selfexplore_ui.app import create_app

STATIC = Path(__file__).parents[2] / "plugins" / "selfexplore_ui" / "static"
MODULES = sorted((STATIC / "js").rglob("*.js"))
PARSES_MARKUP = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|DOMParser|createContextualFragment"
RUNS_TEXT = r"\beval\(|\bFunction\(|javascript:|setTimeout\(\s*[\"'`]"
names = pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(STATIC)))


def test_the_vendored_files_are_those_of_the_release() -> None:
    listed = re.findall(
        r"^\| `([\w.]+)` .* `([0-9a-f]{64})` \|$", (STATIC / "vendor/README.md").read_text(), re.MULTILINE
    )
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (STATIC / "vendor").glob("*.js")}
    assert dict(listed) == found
    assert len(found) == 2


@pytest.mark.parametrize("library", ["plot", "d3"])
def test_each_library_comes_with_its_licence(library: str) -> None:
    text = (STATIC / "vendor" / f"{library}.LICENSE").read_text()
    assert "Permission to use, copy, modify, and/or distribute this software" in text


def test_the_script_that_fetches_them_names_the_same_versions() -> None:
    listed = re.findall(
        r"^\| `[\w.]+` \| `([^`]+)` \| ([\d.]+) \|", (STATIC / "vendor/README.md").read_text(), re.MULTILINE
    )
    script = (STATIC.parent / "vendor.sh").read_text()
    assert len(listed) == 2
    for package, version in listed:
        assert f'"{package}@{version}"' in script


@names
def test_no_module_parses_markup_or_runs_text(module: Path) -> None:
    source = module.read_text(encoding="utf-8")
    assert re.findall(f"{PARSES_MARKUP}|{RUNS_TEXT}", source) == []


@names
def test_a_module_imports_only_what_is_there(module: Path) -> None:
    source = module.read_text(encoding="utf-8")
    for imported, path in re.findall(r'^import \{([^}]*)\} from "(\.[^"]+)";$', source, re.MULTILINE):
        text = (module.parent / path).read_text(encoding="utf-8")
        for name in re.split(r"[,\s]+", imported.strip(", \n")):
            assert re.search(rf"^export (async )?(function|const|class) {name}\b", text, re.MULTILINE), (
                f"{path}: {name}"
            )
    assert len(re.findall(r"^import ", source, re.MULTILINE)) == len(
        re.findall(r'^import \{[^}]*\} from "\.', source, re.MULTILINE)
    )


@pytest.mark.parametrize("name", ["index.html", "report.html"])
def test_the_shell_has_no_script_of_its_own(name: str) -> None:
    shell = (STATIC / name).read_text(encoding="utf-8")
    for attributes, content in re.findall(r"<script([^>]*)>(.*?)</script>", shell, re.DOTALL):
        assert (" src=" in attributes and content == "") or 'type="application/json"' in attributes
    assert re.findall(r"\son\w+=|javascript:", shell) == []


def test_the_page_loads_nothing_from_elsewhere() -> None:
    shell = (STATIC / "index.html").read_text(encoding="utf-8")
    for path in re.findall(r'(?:src|href)="(static/[^"]+)"', shell):
        assert (STATIC / path.removeprefix("static/")).is_file(), path
    own = [STATIC / "index.html", STATIC / "report.html", *STATIC.glob("*.css"), *MODULES]
    for path in own:
        urls = set(re.findall(r"(?:https?:)?//[\w-]+(?:\.[\w-]+)+[^\s\"'`)]*", path.read_text(encoding="utf-8")))
        assert urls <= {"http://www.w3.org/2000/svg"}, path.name


def test_every_path_that_the_page_asks_for_is_in_the_api() -> None:
    source = (STATIC / "js/api.js").read_text(encoding="utf-8")
    used = dict(re.findall(r'^  (\w+): "(/[^"]+)",$', source, re.MULTILINE))
    assert len(used) > 15
    served = {_anonymous(route.path) for route in create_app().routes if isinstance(route, APIRoute)}
    assert {_anonymous(f"/api{path}") for path in used.values()} <= served - {"/{}"}


def _anonymous(path: str) -> str:
    """A path whose parts have no names."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def test_the_start_form_is_the_dag_s_own() -> None:
    params = round_params()
    fields: list[dict[str, Any]] = json.loads((STATIC / "js/start_fields.json").read_text(encoding="utf-8"))
    shown = {field["name"]: tuple(field["fields"]) for field in fields}
    assert shown == RECIPE_FIELDS
    assert {*shown, "experiment", "recipe", "compare", "overrides", "round"} == set(params)
    for field in fields:
        schema = params[field["name"]].schema
        assert field["type"] in schema["type"]
        for key in ("title", "section", "minimum", "maximum"):
            assert field[key] == schema[key], field["name"]


def test_the_forms_take_the_names_that_the_dag_takes() -> None:
    escaped = SLUG_PATTERN.strip("^$").replace("_-]", r"_\\-]").replace(r"(\.", r"(\\.")
    assert f'export const SLUG = "{escaped}";' in (STATIC / "js/names.js").read_text(encoding="utf-8")
    copies = [module.name for module in MODULES if "{0,63}" in module.read_text(encoding="utf-8")]
    assert copies == ["names.js"]
    assert f'const DEFAULT_RECIPE = "{DEFAULT_RECIPE}";' in (STATIC / "js/views/start.js").read_text(encoding="utf-8")
