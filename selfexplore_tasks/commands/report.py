"""``selfexplore report``: what an experiment did, as one HTML file or as Markdown."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from selfexplore_tasks.commands.common import Subcommands, add_command
from selfexplore_tasks.errors import UserError

FORMATS = ("html", "md")


def declare(subcommands: Subcommands[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = add_command(
        subcommands,
        "report",
        report,
        "write what an experiment did: one HTML file with charts that needs no network, or Markdown for a pull request",
        "selfexplore report --experiment demo -o report.html",
    )
    parser.add_argument("--experiment", required=True, metavar="E", help="name of the experiment")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the file to write; without it, print")
    parser.add_argument(
        "--format", choices=FORMATS, help="default: what the file's name ends with, html where it says nothing"
    )


def report(options: argparse.Namespace) -> None:
    from selfexplore_tasks.pages.reader import Reader
    from selfexplore_tasks.pages.report import html_report, report_page
    from selfexplore_tasks.pages.report_text import markdown_report
    from selfexplore_tasks.store.files import write_text
    from selfexplore_tasks.store.home import Store

    page = report_page(Reader(Store.opened(options.experiment)), options.experiment)
    text = markdown_report(page) if _format(options) == "md" else html_report(page)
    if options.output is None:
        sys.stdout.write(text)
        return
    try:
        write_text(options.output, text)
    except OSError as error:
        raise UserError(f"The report cannot be written to {options.output}: {error.strerror}.") from error
    print(options.output)


def _format(options: argparse.Namespace) -> str:
    suffix = options.output.suffix.removeprefix(".") if options.output else ""
    return str(options.format or (suffix if suffix in FORMATS else "html"))
