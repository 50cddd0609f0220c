"""The error over the depth of the network, as an SVG drawing to stand inside a page. Wraps Matplotlib.

Nothing a bundle says is drawn, except through the numbers: names of stages stand in the page, beside their colours.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from levit_deploy.blame import ProbeError
from levit_deploy.decoding import printable
from levit_deploy.probes import Probe, Role
from levit_engines.verification.figures import error_text, share_text
from levit_engines.verification.report import Stage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_IN, HEIGHT_IN, CULPRIT_ROW_IN = 11.6, 4.4, 0.2
INK, QUIET, EDGE, RULE, ALARM, CARD = "#1d1f23", "#565b66", "#9aa0aa", "#dfe1e5", "#a61b1b", "#fdfdfb"
CHARACTER_PT = 5.4
SMALLEST, LARGEST = 1e-150, 1e150
MARKED_EVERY = 12


@dataclass(frozen=True, slots=True)
class Look:
    """How a line is told from others, without colour too: its markers as Matplotlib and as a text have them."""

    color: str
    marker: str
    shape: str


# Each colour is at least 4.5 : 1 on white.
LOOKS = (
    Look("#0b5fa5", "o", "●"),
    Look("#b4450b", "s", "■"),
    Look("#0f766e", "^", "▲"),
    Look("#7e3794", "D", "◆"),
    Look("#846000", "v", "▼"),
    Look("#475569", "P", "✚"),
    Look("#b4185d", "X", "✖"),
)


@dataclass(frozen=True, slots=True)
class Series:
    """One line of the drawing."""

    stage: Stage
    look: Look


@dataclass(frozen=True, slots=True)
class Culprit:
    """A module that was found to be the first wrong one, and by which stages; `number` is its mark in the drawing."""

    number: int
    found: ProbeError
    stages: tuple[str, ...]


def series_of(stages: Sequence[Stage]) -> tuple[Series, ...]:
    """A line for each stage whose values inside were read."""
    deep = [stage for stage in stages if stage.depth]
    return tuple(Series(stage, LOOKS[place % len(LOOKS)]) for place, stage in enumerate(deep))


def culprits_of(stages: Sequence[Stage], order: Sequence[Probe]) -> tuple[Culprit, ...]:
    """The modules that the stages were blamed on, in order of execution."""
    blamed: dict[Probe, list[tuple[str, ProbeError]]] = {}
    for stage in stages:
        if stage.blame is not None and stage.blame.after is not None:
            blamed.setdefault(stage.blame.after.probe, []).append((stage.name, stage.blame.after))
    known = [probe for probe in order if probe in blamed]
    return tuple(
        Culprit(number, blamed[probe][0][1], tuple(name for name, _ in blamed[probe]))
        for number, probe in enumerate(known, start=1)
    )


def order_of(probes: Sequence[Probe], stages: Sequence[Stage]) -> tuple[Probe, ...]:
    """`probes`, which are in order of execution, as far as any stage offers them."""
    offered = {found.probe for stage in stages for found in stage.depth}
    return tuple(probe for probe in probes if probe in offered)


def draw(series: Sequence[Series], order: Sequence[Probe], culprits: Sequence[Culprit], *, description: str) -> str:
    """An `<svg>` element that scales with its container; `description` is what it says in words."""
    import matplotlib
    from matplotlib.figure import Figure

    # What a user's own settings say must not reach the page; they are theirs again afterwards.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        # The seed of the drawing's internal names; text as text, which the page gives its own typeface.
        matplotlib.rc("svg", hashsalt="levit-verify", fonttype="none")
        matplotlib.rc("text", parse_math=False)
        matplotlib.rc("path", simplify=False)
        figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN + CULPRIT_ROW_IN * len(culprits)), facecolor="none")
        axes = figure.add_axes(_place_of_axes(len(culprits)), facecolor="none")
        _prepare(axes, _limits(series), len(order))
        _draw_groups(axes, order)
        _draw_bounds(axes, series, order)
        _draw_lines(axes, series, order)
        _draw_culprits(axes, culprits, order)
        buffer = io.StringIO()
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=metadata)
    return _for_a_page(buffer.getvalue(), _hints(series, order), description)


def _place_of_axes(culprits: int) -> tuple[float, float, float, float]:
    """Left, bottom, width and height as parts of the figure, with a row above for each culprit."""
    height = HEIGHT_IN + CULPRIT_ROW_IN * culprits
    top = height - 0.12 - CULPRIT_ROW_IN * culprits
    return 0.066, 0.6 / height, 0.925, (top - 0.6) / height


def _limits(series: Sequence[Series]) -> tuple[float, float]:
    """Room for all errors and bounds that a logarithmic axis can hold."""
    values = [number for line in series for found in line.stage.depth for number in (found.error, found.bound)]
    usable = [value for value in values if math.isfinite(value) and value > 0.0] or [1.0]
    return max(min(usable) / 3, SMALLEST), min(max(usable) * 3, LARGEST)


def _prepare(axes: Axes, limits: tuple[float, float], count: int) -> None:
    """A logarithmic error axis, and a place for each probe."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.set_ylim(limits)
    axes.set_xlim(-0.5, count - 0.5)
    axes.yaxis.set_major_locator(LogLocator(numticks=9))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", labelsize=8.5, colors=QUIET, which="both", length=3)
    axes.tick_params(axis="x", bottom=False, labelbottom=False)
    axes.set_ylabel("largest error", fontsize=9, color=INK)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(QUIET)
    for place in range(count):
        # Not seen: it takes the pointer, so that the page can say what is there.
        axes.axvspan(place - 0.5, place + 0.5, gid=_hint_id(place), color=INK, alpha=0.0, linewidth=0, zorder=9)


def group_of(probe: Probe) -> str:
    """The part of the network that a probe belongs to, as the drawing names it."""
    parts = probe.path.split(".")
    if parts[0] == "stages":
        return f"downsample {parts[1]}" if parts[2] == "downsample" else f"stage {parts[1]}"
    return "head" if probe.path == "head" or probe.role is Role.POOLED else "stem"


def _block_of(probe: Probe) -> str:
    parts = probe.path.split(".")
    return parts[3] if len(parts) > 3 and parts[2] == "blocks" else ""


def _runs(names: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Name, first and last place of every run of equal names."""
    for name, places in groupby(range(len(names)), key=names.__getitem__):
        run = list(places)
        yield name, run[0], run[-1]


def _draw_groups(axes: Axes, order: Sequence[Probe]) -> None:
    """Names of the groups and numbers of the blocks below the axis, and a rule where one ends."""
    below = axes.get_xaxis_transform()
    for name, first, last in _runs([group_of(probe) for probe in order]):
        axes.text((first + last) / 2, -0.105, name, transform=below, ha="center", va="center", color=INK, size=8)
        if first:
            axes.axvline(first - 0.5, ymin=-0.065, color=EDGE, linewidth=0.7, clip_on=False)
    names = [f"{group_of(probe)}/{_block_of(probe)}" for probe in order]
    for name, first, last in _runs(names):
        block = name.rpartition("/")[2]
        if block:
            axes.text(
                (first + last) / 2,
                -0.035,
                f"block {block}",
                transform=below,
                ha="center",
                va="center",
                color=QUIET,
                size=7,
            )
        if block not in ("", "0"):
            axes.axvline(first - 0.5, color=RULE, linewidth=0.6, zorder=0)


def _draw_lines(axes: Axes, series: Sequence[Series], order: Sequence[Probe]) -> None:
    """A line for each stage, with its marks."""
    place_of = {probe: place for place, probe in enumerate(order)}
    for number, line in enumerate(series):
        known = [found for found in line.stage.depth if found.probe in place_of]
        places = [place_of[found.probe] for found in known]
        axes.plot(
            places,
            [found.error if found.error > 0.0 and math.isfinite(found.error) else math.nan for found in known],
            color=line.look.color,
            # Stages are often equal over long stretches: the ones below stay visible.
            linewidth=1.0 + 0.25 * (len(series) - 1 - number),
            marker=line.look.marker,
            markersize=4,
            markevery=(number * 3 % MARKED_EVERY, MARKED_EVERY),
        )
        _draw_edges(axes, line, place_of)
        _draw_beyond(axes, line, place_of)


def _draw_bounds(axes: Axes, series: Sequence[Series], order: Sequence[Probe]) -> None:
    """The bound as a dashed line; where stages were judged on different images, the band that their bounds span."""
    bounds: dict[Probe, list[float]] = {}
    for line in series:
        for found in line.stage.depth:
            bounds.setdefault(found.probe, []).append(found.bound if math.isfinite(found.bound) else math.nan)
    lowest = [min(bounds[probe]) for probe in order]
    highest = [max(bounds[probe]) for probe in order]
    axes.fill_between(range(len(order)), lowest, highest, color=INK, alpha=0.1, linewidth=0)
    axes.plot(range(len(order)), lowest, color=INK, linewidth=1.2, linestyle=(0, (5, 2.5)))


def _draw_edges(axes: Axes, line: Series, place_of: Mapping[Probe, int]) -> None:
    """Marks at the upper edge for errors that are not finite, at the lower edge for none at all."""
    lower, upper = axes.get_ylim()
    for found in line.stage.depth:
        if found.probe not in place_of or (math.isfinite(found.error) and found.error > 0.0):
            continue
        exact = found.error == 0.0
        axes.plot(
            [place_of[found.probe]],
            [lower if exact else upper],
            color=line.look.color,
            marker="|" if exact else "^",
            markersize=6,
            clip_on=False,
            zorder=4,
        )


def _draw_beyond(axes: Axes, line: Series, place_of: Mapping[Probe, int]) -> None:
    """A ring around every error beyond its own bound."""
    beyond = [found for found in line.stage.depth if not found and found.probe in place_of]
    shown = [found for found in beyond if math.isfinite(found.error)]
    axes.plot(
        [place_of[found.probe] for found in shown],
        [found.error for found in shown],
        color=ALARM,
        linestyle="none",
        marker="o",
        markersize=4.5,
        markerfacecolor="none",
        markeredgewidth=0.7,
    )


def _draw_culprits(axes: Axes, culprits: Sequence[Culprit], order: Sequence[Probe]) -> None:
    """A vertical line at each, and its path above the drawing."""
    for culprit in culprits:
        place = order.index(culprit.found.probe)
        height_in = axes.get_position().height * (HEIGHT_IN + CULPRIT_ROW_IN * len(culprits))
        top = 1 + CULPRIT_ROW_IN * (len(culprits) - culprit.number + 0.55) / height_in
        axes.axvline(place, ymax=top, color=ALARM, linewidth=1.3, clip_on=False, zorder=1)
        text = f"first wrong: {culprit.found.probe.name}"
        width = CHARACTER_PT * (len(text) + 6) / (72 * WIDTH_IN * axes.get_position().width)
        left = (place + 0.5) / len(order) + width > 1
        axes.annotate(
            f"{text} ({culprit.number})" if len(culprits) > 1 else text,
            (place, top),
            xycoords=axes.get_xaxis_transform(),
            xytext=(-5 if left else 5, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            color=ALARM,
            size=9,
            bbox={"facecolor": CARD, "edgecolor": "none", "pad": 1},
            annotation_clip=False,
        )


def _hint_id(place: int) -> str:
    return f"probe-{place}"


def _hints(series: Sequence[Series], order: Sequence[Probe]) -> Mapping[str, str]:
    """What stands at each place, in words."""
    found_at = [{found.probe: found for found in line.stage.depth} for line in series]
    hints = {}
    for place, probe in enumerate(order):
        lines = [probe.name]
        for line, found in zip(series, found_at, strict=True):
            if probe in found:
                error, share = error_text(found[probe].error), share_text(found[probe].bound_share)
                lines.append(f"{printable(line.stage.name)}: {error}, {share} of the bound")
        hints[_hint_id(place)] = "\n".join(lines)
    return hints


def _for_a_page(document: str, hints: Mapping[str, str], description: str) -> str:
    """The `<svg>` of a file, without namespaces or a size of its own, with a description and hints for the pointer."""
    drawing = document[document.index("<svg") :]
    opening, _, body = drawing.partition(">")
    (view_box,) = re.findall(r'viewBox="[-0-9. ]+"', opening)
    for name, hint in hints.items():
        body = body.replace(f'<g id="{name}">', f'<g id="{name}"><title>{html.escape(hint)}</title>', 1)
    return f'<svg {view_box} role="img" aria-label="{html.escape(description)}">{body}'
