"""The report of a verification as one HTML page that needs nothing beside itself: no network, no scripts."""

from __future__ import annotations

import os
import secrets
import shlex
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from levit_deploy import commandline
from levit_deploy.decoding import printable
from levit_deploy.errors import ConfigError
from levit_deploy.probes import probes_of
from levit_engines.verification import depth_plot, figures, page_content
from levit_engines.verification.findings import findings
from levit_engines.verification.report import VerificationReport

if TYPE_CHECKING:
    from jinja2 import Environment

PACKAGES = ("jinja2", "matplotlib")
TEMPLATE = "report.html.jinja"
# The first bytes of every page of ours, by which it is known that it may be replaced.
MARKER = b"<!doctype html>\n<!-- levit-verify report -->\n"


def require_packages() -> None:
    """Raise EnvironmentIncompleteError when a package that draws pages is not installed."""
    commandline.require_packages(dict.fromkeys(PACKAGES, "report"), purpose="--report")


def require_destination(path: Path) -> None:
    """Raise ConfigError unless a page may be written to `path`: nothing is there, or an earlier page of ours."""
    parent = path.absolute().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(f"--report {path}: {parent} is not a folder that can be written to")
    try:
        is_free = not path.exists() and not path.is_symlink()
    except OSError as error:
        raise ConfigError(f"--report {path}: cannot be the name of a file ({error.strerror})") from error
    if is_free:
        return
    if path.is_symlink() or not path.is_file() or not _is_ours(path):
        raise ConfigError(f"--report {path}: not a page of levit-verify, so it is not replaced: choose another name")


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MARKER)) == MARKER
    except OSError:
        return False


def write_page(report: VerificationReport, path: Path, *, command: str | None = None) -> None:
    """Write the page to `path`, whole or not at all; it may take the place of an earlier page of ours, of nothing else.

    `command` is the command line that the page says it is from.

    Raises:
        ConfigError: see `require_destination`.
        EnvironmentIncompleteError: see `require_packages`.
    """
    require_destination(path)
    content = render_page(report, command=command).encode()
    staging = path.absolute().parent / f".levit-verify.{secrets.token_hex(8)}.partial"
    try:
        file = staging.open("xb")
    except OSError as error:
        raise ConfigError(f"--report {path}: cannot be written there ({error.strerror})") from error
    try:
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        require_destination(path)  # others may have written there meanwhile
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


def render_page(report: VerificationReport, *, command: str | None = None) -> str:
    """The page; the same text for the same report. Raises EnvironmentIncompleteError when a package is missing."""
    require_packages()
    template = resources.files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    return _environment().from_string(template).render(_content(report, command))


def _environment() -> Environment:
    """Every value is escaped and on one line, unless it was marked as HTML; a value that is missing is an error."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "error": figures.error_text,
        "decimal": figures.decimal_text,
        "share": figures.share_text,
        "agreement": figures.agreement_text,
        "size": figures.size_text,
        "plain": page_content.plain_table,
    }
    return environment


def _content(report: VerificationReport, command: str | None) -> dict[str, Any]:
    rows = page_content.ladder_rows(report)
    flips, flip_count = page_content.shown_flips(rows)
    return {
        "report": report,
        "manifest": report.bundle.manifest,
        "headline": page_content.headline(report),
        "findings": tuple(findings(report)),
        "measured_at": page_content.measured_at(report),
        "rows": rows,
        "by_batch_size": page_content.batch_size_table(report),
        "flips": flips,
        "flip_count": flip_count,
        "thumbnails": page_content.thumbnails(report),
        "batch_tables": page_content.batch_tables(report),
        "layer_rows": page_content.layer_rows(report.bundle.manifest),
        "command": command or f"levit-verify {shlex.quote(str(report.bundle.path))}",
        "command_is_exact": command is not None,
        **_depth_content(report),
    }


def _depth_content(report: VerificationReport) -> dict[str, Any]:
    from markupsafe import Markup

    series = depth_plot.series_of(report.stages)
    order = depth_plot.order_of(probes_of(report.bundle.manifest.config), report.stages)
    if not order:
        return {"drawing": None, "why_no_depth": page_content.why_no_depth(report)}
    culprits = depth_plot.culprits_of(report.stages, order)
    first_wrong = "; ".join(f"first wrong module {culprit.found.probe.name}" for culprit in culprits)
    description = f"Largest error at {len(order)} places in order of execution, on a logarithmic scale. {first_wrong}"
    return {
        # What stands in it is ours, or escaped there.
        "drawing": Markup(depth_plot.draw(series, order, culprits, description=description)),
        "series": series,
        "culprits": culprits,
        "depth_rows": page_content.depth_rows([line.stage for line in series], order),
    }
