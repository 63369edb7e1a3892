"""The report: the page of one experiment as one HTML file that needs nothing else.

It holds the page's own style sheet, chart library, chart modules and JSON, so every chart exists once. A policy in its
head names the hash of each script: whatever a model or a recipe wrote, no other script runs, and nothing is loaded.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from pathlib import Path

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.pages.experiment import experiment_page
from selfexplore_tasks.pages.model import ExperimentPage
from selfexplore_tasks.pages.reader import Reader
from selfexplore_tasks.pages.report_text import markdown_report
from selfexplore_tasks.store.files import write_text
from selfexplore_tasks.store.home import Store

STATIC_DIR = Path(__file__).parents[2] / "plugins" / "selfexplore_ui" / "static"
SCRIPTS = ("js/theme_first.js", "vendor/d3.min.js", "vendor/plot.umd.min.js")
ENTRY = "js/report.js"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; script-src"

_IMPORT = re.compile(r'^import [^;]*? from "(\./[\w./]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=async function|function|const|class)", re.MULTILINE)
_PLACE = re.compile(r"\{(policy|title|style|data|scripts)\}")


def report_page(reader: Reader, slug: str) -> ExperimentPage:
    """What a report of the experiment holds: what is done, not what runs right now. Raises NotFound."""
    page = experiment_page(reader, slug)
    row = page.experiment
    now = row.model_copy(update={"live": [], "state": "ended" if row.stop_reason else "idle"})
    return page.model_copy(update={"experiment": now})


def html_report(page: ExperimentPage) -> str:
    """One self-contained HTML file; raises UserError where the page's own files are missing."""
    scripts = [_static(name) for name in SCRIPTS]
    bundle = _bundle(ENTRY)
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in [*scripts, bundle])
    tags = [*(f"<script>{script}</script>" for script in scripts), f'<script type="module">{bundle}</script>']
    parts = {
        "policy": f"{POLICY} {hashes}",
        "title": html.escape(f"{page.experiment.experiment}: Self-Explore"),
        "style": _static("style.css"),
        "data": page.model_dump_json().replace("<", r"\u003c"),
        "scripts": "\n".join(tags),
    }
    return _PLACE.sub(lambda place: parts[place[1]], _static("report.html"))


def store_report(store: Store, slug: str) -> None:
    """Write both reports below ``reports/<slug>``, each in one step."""
    page = report_page(Reader(store), slug)
    write_text(store.report_file(slug, "md"), markdown_report(page))
    write_text(store.report_file(slug, "html"), html_report(page))


def _static(name: str) -> str:
    path = STATIC_DIR / name
    if not path.is_file():
        raise UserError(f"{path} is missing: run from a clone (make install, or pip install --editable).")
    return path.read_text(encoding="utf-8")


def _bundle(entry: str) -> str:
    """A module and those it imports as one script: each once, what is imported first, without import and export."""
    done: dict[str, str] = {}

    def add(name: str) -> None:
        if name in done:
            return
        source = _static(name)
        for imported in _IMPORT.findall(source):
            add(str(Path(name).parent / imported))
        done[name] = _EXPORT.sub("", _IMPORT.sub("", source))

    add(entry)
    return "\n".join(done.values())


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
