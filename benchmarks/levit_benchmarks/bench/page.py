"""The report of a run as a folder: one HTML page that needs nothing beside itself, its plots as files, its samples."""

from __future__ import annotations

import os
import re
import tempfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from levit_benchmarks.bench import findings, page_content, plots
from levit_benchmarks.bench.document import record_bytes
from levit_benchmarks.bench.record import RunRecord
from levit_deploy import commandline
from levit_deploy.bundle import write_durably
from levit_deploy.decoding import printable
from levit_deploy.errors import ConfigError

if TYPE_CHECKING:
    from jinja2 import Environment

EXTRAS = {"jinja2": "report", "matplotlib": "report"}
TEMPLATE = "report.html.jinja"
PAGE, RECORD = "index.html", "run.json"
# The first bytes of every page of ours, by which it is known that its folder may be replaced.
MARKER = b"<!doctype html>\n<!-- levit-bench report -->\n"
_OUR_FILES = re.compile(rf"{re.escape(PAGE)}|{re.escape(RECORD)}|(frontier|latency|share)-\d+\.svg")


def require_packages() -> None:
    """Raise EnvironmentIncompleteError when a package that draws pages is not installed."""
    commandline.require_packages(EXTRAS, purpose="--report")


def require_destination(folder: Path, *, overwrite: bool = False) -> None:
    """Raise ConfigError unless a report may be written to `folder`.

    It is absent, or empty, or, with `overwrite`, an earlier report of ours and nothing else.
    """
    parent = folder.absolute().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(f"--report {folder}: {parent} is not a folder that can be written to")
    try:
        is_free = not folder.exists() and not folder.is_symlink()
    except OSError as error:
        raise ConfigError(f"--report {folder}: cannot be the name of a folder ({error.strerror})") from error
    if is_free:
        return
    if folder.is_symlink() or not folder.is_dir() or not _is_ours(folder):
        raise ConfigError(f"--report {folder}: not a report of levit-bench, so it is not replaced: choose another name")
    if not overwrite and any(folder.iterdir()):
        raise ConfigError(f"--report {folder} exists: choose another name, or replace it with --overwrite")


def _is_ours(folder: Path) -> bool:
    """Whether everything in `folder` was written by us; nobody's notes beside it must go with it."""
    try:
        names = {path.name for path in folder.iterdir()}
        if not names:
            return True
        with (folder / PAGE).open("rb") as file:
            return file.read(len(MARKER)) == MARKER and all(_OUR_FILES.fullmatch(name) for name in names)
    except OSError:
        return False


def write_report(record: RunRecord, folder: Path, *, overwrite: bool = False) -> Path:
    """Write the report to `folder`, whole or not at all, and return the path of its page.

    Raises:
        ConfigError: see `require_destination`.
        EnvironmentIncompleteError: see `require_packages`.
    """
    require_packages()
    require_destination(folder, overwrite=overwrite)
    folder = folder.absolute()
    drawings = plots.drawings(record)
    files = {drawing.name + ".svg": drawing.svg.encode() for drawing in drawings}
    files |= {PAGE: render_page(record, drawings).encode(), RECORD: record_bytes(record)}
    with tempfile.TemporaryDirectory(prefix=".levit-bench.", dir=folder.parent) as beside:
        made, replaced = Path(beside, "new"), Path(beside, "old")
        for name, content in files.items():
            write_durably(made / name, content)
        require_destination(folder, overwrite=overwrite)  # others may have written there meanwhile
        if folder.exists():
            folder.rename(replaced)
        try:
            made.rename(folder)
        except BaseException:
            if replaced.exists() and not folder.exists():
                replaced.rename(folder)
            raise
    return folder / PAGE


def render_page(record: RunRecord, drawings: tuple[plots.Drawing, ...]) -> str:
    """The page, with `drawings` in it; the same text for the same run."""
    require_packages()
    template = resources.files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    return _environment().from_string(template).render(_content(record, drawings))


def _environment() -> Environment:
    """Every value is escaped and on one line, unless it was marked as HTML; a value that is missing is an error."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # What stands in a drawing is ours, or was escaped when it was drawn.
    environment.filters["drawing"] = lambda drawing: Markup(plots.for_a_page(drawing))
    environment.filters["plain"] = page_content.plain_table
    return environment


def _content(record: RunRecord, drawings: tuple[plots.Drawing, ...]) -> dict[str, Any]:
    views = page_content.group_views(record, drawings)
    return {
        "headline": page_content.headline(views),
        "machine": findings.machine_sentence(record.environment),
        "packages": findings.packages_sentence(record.environment),
        "failures": findings.failure_sentences(record),
        "groups": views,
        "tables": page_content.tables(record),
        "candidates": findings.candidates_of(record),
        "environment": record.environment,
        "settings": record.settings,
        "record_file": RECORD,
    }
