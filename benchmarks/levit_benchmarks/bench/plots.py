"""The plots of a run, as SVG: accuracy over latency, distributions of latency, shares of the limit. Wraps Matplotlib.

Nothing is told by colour alone: lines have markers of their own, bars and distributions stand beside their names.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from levit_benchmarks.bench import findings
from levit_benchmarks.bench.figures import percent, significant
from levit_benchmarks.bench.record import SINGLE_STREAM, Candidate, Group, RunRecord
from levit_benchmarks.bench.summary import CandidateSummary, summarize
from levit_deploy import commandline
from levit_deploy.architectures import PUBLISHED
from levit_deploy.decoding import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXTRAS = {"matplotlib": "report"}
WIDTH_IN, FRONTIER_HEIGHT_IN, ROW_IN, MARGIN_IN = 9.6, 5.2, 0.42, 0.95
INK, QUIET, RULE, FILL, TRACK = "#1d1f23", "#565b66", "#dfe1e5", "#0b5fa5", "#e4e6ea"
# Each is at least 4.5 : 1 on white, and they differ in lightness and in their markers.
LOOKS = (
    ("#0b5fa5", "o", "-"),
    ("#b4450b", "s", "--"),
    ("#0f766e", "^", "-."),
    ("#7e3794", "D", ":"),
    ("#846000", "v", "--"),
    ("#475569", "P", "-."),
    ("#b4185d", "X", "-"),
)
# Top-1 in percent, and the side of the input in pixels that it is for. Of the others as LeViT's paper cites them.
# Source: Graham et al., arXiv 2104.01136, Table 3.
PUBLISHED_TOP1: Mapping[str, tuple[float, int]] = MappingProxyType(
    {f"LeViT-{arch}": (figures.top1, 224) for arch, figures in PUBLISHED.items()}
    | {
        "EfficientNet-B0": (77.1, 224),
        "EfficientNet-B1": (79.1, 240),
        "EfficientNet-B2": (80.1, 260),
        "EfficientNet-B3": (81.6, 300),
        "EfficientNet-B4": (82.9, 380),
        "DeiT-Tiny": (76.6, 224),
        "DeiT-Small": (82.6, 224),
    }
)
OURS = "LeViT"
LONGEST_NAME = 44
BINS = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A plot of one group; `svg` is a file of its own, `description` says in words what it shows."""

    name: str
    title: str
    caption: str
    description: str
    svg: str


@dataclass(frozen=True, slots=True)
class _Point:
    network: str
    latency_ms: float
    top1: float

    @property
    def label(self) -> str:
        return self.network.partition("-")[2]


def require_packages(purpose: str = "--report") -> None:
    """Raise EnvironmentIncompleteError when Matplotlib is not installed."""
    commandline.require_packages(EXTRAS, purpose=purpose)


def drawings(record: RunRecord) -> tuple[Drawing, ...]:
    """Every plot that the run has figures for: of each group, in order.

    Raises:
        EnvironmentIncompleteError: when Matplotlib is not installed.
    """
    require_packages()
    made: list[Drawing] = []
    for place, (group, title) in enumerate(zip(record.groups, findings.group_titles(record.groups), strict=True), 1):
        summaries = summarize(group, record.limits)
        made += _drawings_of(group, summaries, title, place)
    return tuple(made)


def frontier(record: RunRecord) -> Drawing | None:
    """Accuracy over latency of the first single-stream group that has two published networks or more, or None."""
    require_packages()
    for place, (group, title) in enumerate(zip(record.groups, findings.group_titles(record.groups), strict=True), 1):
        series = _series(group, summarize(group, record.limits))
        if group.scenario == SINGLE_STREAM and series:
            return _frontier(series, title, place)
    return None


def _drawings_of(group: Group, summaries: Sequence[CandidateSummary], title: str, place: int) -> Iterator[Drawing]:
    series = _series(group, summaries)
    if series:
        yield _frontier(series, title, place)
    yield _distributions(group, title, place)
    if any(summary.share_of_limit is not None for summary in summaries):
        yield _shares(summaries, title, place)


def _series(group: Group, summaries: Sequence[CandidateSummary]) -> dict[str, list[_Point]]:
    """Points by what a line stands for; nothing when fewer than two networks were measured as they were published."""
    found: list[tuple[Candidate, _Point]] = []
    for candidate, summary in zip(group.candidates, summaries, strict=True):
        top1, image_size = PUBLISHED_TOP1.get(candidate.network, (0.0, 0))
        is_published = candidate.image_size == image_size and candidate.precision == "fp32"
        if is_published and 50 in summary.percentiles_ms:
            found.append((candidate, _Point(candidate.network, summary.percentiles_ms[50], top1)))
    if len({point.network for _, point in found}) < 2:
        return {}
    lines = Counter(_line_of(candidate) for candidate, _ in found)
    points: dict[str, list[_Point]] = {}
    for candidate, point in sorted(found, key=lambda pair: pair[1].top1):
        name = _line_of(candidate)
        # A bundle may have any name: what nothing else shares is known by its engine.
        points.setdefault(name if lines[name] > 1 else _engine_line(candidate), []).append(point)
    return dict(sorted(points.items(), key=lambda line: (not line[1][0].network.startswith(OURS), line[0])))


def _line_of(candidate: Candidate) -> str:
    """What is left of a candidate's name without its network: variants on one engine share it."""
    family, _, variant = candidate.network.partition("-")
    pattern = rf"(?i)(?<![a-z0-9])({re.escape(family)}[-_ ]?)?{re.escape(variant)}(?![a-z0-9])[-_]?"
    rest = " ".join(re.sub(pattern, " ", candidate.name).split()).strip(" -_/:,@")
    return f"{family}, {rest}" if rest else _engine_line(candidate)


def _engine_line(candidate: Candidate) -> str:
    return f"{candidate.network.partition('-')[0]}, {candidate.engine} {candidate.precision}"


def _frontier(series: dict[str, list[_Point]], title: str, place: int) -> Drawing:
    def draw(figure: Figure) -> None:
        axes = figure.add_axes((0.075, 0.125, 0.905, 0.82))
        _plain_axes(axes)
        axes.set_xscale("log")
        _readable_log_axis(axes, [point.latency_ms for line in series.values() for point in line])
        for number, (name, line) in enumerate(series.items()):
            color, marker, style = LOOKS[number % len(LOOKS)]
            x, y = [point.latency_ms for point in line], [point.top1 for point in line]
            axes.plot(
                x, y, color=color, marker=marker, linestyle=style, markersize=7, linewidth=1.6, label=_short(name)
            )
            for point in line:
                axes.annotate(
                    point.label,
                    (point.latency_ms, point.top1),
                    xytext=(7, -11),
                    textcoords="offset points",
                    color=color,
                    size=8.5,
                )
        axes.set_xlabel(f"median latency of one call, ms ({title}; measured here)", color=INK, size=9.5)
        axes.set_ylabel("ImageNet top-1, % (published, not measured)", color=INK, size=9.5)
        axes.margins(x=0.06, y=0.12)
        axes.legend(loc="lower right", frameon=True, framealpha=1.0, edgecolor=RULE, fontsize=9, handlelength=3.2)

    described = "; ".join(
        f"{name}: " + ", ".join(f"{point.label} {significant(point.latency_ms)} ms" for point in line)
        for name, line in series.items()
    )
    return Drawing(
        name=f"frontier-{place}",
        title=f"Accuracy over latency: {title}",
        caption=(
            "Up and to the left is better. Latency was measured in this run; top-1 is what LeViT's authors published "
            "of the float32 network with trained weights, and was not measured here."
        ),
        description=f"Published top-1 over measured median latency. {described}",
        svg=_svg(draw, FRONTIER_HEIGHT_IN, f"frontier-{place}"),
    )


def _distributions(group: Group, title: str, place: int) -> Drawing:
    """A row for each candidate: how its calls are distributed, and a tick for the median of each round."""
    calls = {
        one.name: np.concatenate([np.asarray(turn.bursts[one.name].latencies_ns) for turn in group.rounds]) / 1e6
        for one in group.candidates
    }
    medians = {
        one.name: [float(np.median(turn.bursts[one.name].latencies_ns)) / 1e6 for turn in group.rounds]
        for one in group.candidates
    }

    def draw(figure: Figure) -> None:
        axes = _row_axes(figure, list(calls))
        axes.set_xscale("log")
        everything = np.concatenate(list(calls.values()))
        _readable_log_axis(axes, everything)
        low, high = np.log10(everything.min()), np.log10(everything.max())
        room = max(0.02, 0.03 * (high - low))
        edges = np.linspace(low - room, high + room, BINS + 1)
        for row, (name, values) in enumerate(calls.items()):
            _draw_distribution(axes, row, values, medians[name], edges)
        axes.set_xlim(10 ** edges[0], 10 ** edges[-1])
        axes.set_xlabel("latency of one call, ms", color=INK, size=9.5)

    described = "; ".join(
        f"{name}: median {significant(float(np.median(values)))} ms" for name, values in calls.items()
    )
    return Drawing(
        name=f"latency-{place}",
        title=f"Latencies: {title}",
        caption=(
            "Height: how many calls took that long, on a logarithmic axis. Long tick: the median of all calls; short "
            "ticks below: the median of each round, so their spread is how far rounds differ."
        ),
        description=f"Distribution of all calls of each candidate. {described}",
        svg=_svg(draw, _height(len(calls)), f"latency-{place}"),
    )


def _draw_distribution(
    axes: Axes, row: int, values: NDArray[np.float64], medians: Sequence[float], edges: NDArray[np.float64]
) -> None:
    counts, _ = np.histogram(np.log10(values), edges)
    first, last = np.flatnonzero(counts)[[0, -1]]
    heights, between = 0.72 * counts[first : last + 1] / counts.max(), 10 ** edges[first : last + 2]
    axes.axhline(row, color=QUIET, linewidth=0.6)
    axes.stairs(row - heights, between, baseline=row, fill=True, color=FILL, alpha=0.45, linewidth=0)
    axes.stairs(row - heights, between, baseline=row, color=FILL, linewidth=0.8)
    axes.vlines(float(np.median(values)), row - 0.76, row, color=INK, linewidth=1.6)
    axes.vlines(medians, row + 0.05, row + 0.17, color=QUIET, linewidth=0.8)


def _shares(summaries: Sequence[CandidateSummary], title: str, place: int) -> Drawing:
    names = [summary.name for summary in summaries]
    shares = [summary.share_of_limit for summary in summaries]

    def draw(figure: Figure) -> None:
        axes = _row_axes(figure, names)
        known = [share for share in shares if share is not None]
        for row, share in enumerate(shares):
            if share is None:
                axes.text(1.5, row, "unknown", va="center", color=QUIET, size=9)
                continue
            axes.barh(row, max(100.0, 100 * share), height=0.5, color=TRACK)
            axes.barh(row, 100 * share, height=0.5, color=FILL)
            inside = share > 0.85
            axes.text(
                100 * share + (-1.0 if inside else 1.0),
                row,
                percent(share),
                ha="right" if inside else "left",
                va="center",
                color="#ffffff" if inside else INK,
                size=9,
            )
        axes.set_xlim(0, max(100.0, 102 * max(known)))
        axes.set_xlabel("share of the measured GEMM peak, %", color=INK, size=9.5)

    described = "; ".join(f"{name}: {percent(share)}" for name, share in zip(names, shares, strict=True))
    return Drawing(
        name=f"share-{place}",
        title=f"Share of the limit: {title}",
        caption=(
            "The time that the network's multiply-accumulates would take at the peak that the same run measured, over "
            "the time they took. What is missing to 100 % is the most that an engine can still gain."
        ),
        description=f"Share of the machine's measured peak. {described}",
        svg=_svg(draw, _height(len(names)), f"share-{place}"),
    )


def _height(rows: int) -> float:
    return MARGIN_IN + ROW_IN * rows


def _row_axes(figure: Figure, names: Sequence[str]) -> Axes:
    """Axes with a row for each name, the first on top."""
    shown = [_short(name) for name in names]
    left = min(0.36, 0.02 + 0.0078 * max(map(len, shown)))
    height = figure.get_figheight()
    axes = figure.add_axes((left, 0.58 / height, 0.975 - left, (height - 0.70) / height))
    _plain_axes(axes)
    axes.set_ylim(len(names) - 0.5, -0.9)
    axes.set_yticks(range(len(names)), shown)
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=9)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    return axes


def _plain_axes(axes: Axes) -> None:
    axes.grid(color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=QUIET, labelsize=9, length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(QUIET)


def _readable_log_axis(axes: Axes, values: Sequence[float] | NDArray[np.float64]) -> None:
    """As many ticks as the range of the values needs; numbers without exponents."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    spread = max(values) / min(values)
    narrow = spread < 4
    steps = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0) if spread < 20 else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(MaxNLocator(6) if narrow else LogLocator(subs=steps, numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if narrow:
        axes.minorticks_off()


def _short(name: str) -> str:
    text = printable(name)
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME // 2]}…{text[1 - LONGEST_NAME // 2 :]}"


def _svg(draw: Callable[[Figure], None], height_in: float, name: str) -> str:
    """An SVG file of what `draw` puts on a figure; the same bytes for the same figures."""
    import matplotlib
    from matplotlib.figure import Figure

    # What a user's own settings say must not reach the plot; they are theirs again afterwards.
    with matplotlib.rc_context(), warnings.catch_warnings():
        # A name may hold letters that the typeface lacks: the reader's own has them, text stays text.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        matplotlib.rcdefaults()
        matplotlib.rc("svg", hashsalt=f"levit-bench {name}", fonttype="none")
        matplotlib.rc("text", parse_math=False)
        matplotlib.rc("path", simplify=False)
        matplotlib.rc("font", family="sans-serif")
        figure = Figure(figsize=(WIDTH_IN, height_in), facecolor="white")
        draw(figure)
        buffer = io.StringIO()
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=metadata)
    return buffer.getvalue()


def for_a_page(drawing: Drawing) -> str:
    """The `<svg>` element alone, to stand inside a page: described in words, its names apart from other drawings'."""
    element = drawing.svg[drawing.svg.index("<svg") :]
    opening, _, body = element.partition(">")
    (view_box,) = re.findall(r'viewBox="[-0-9. ]+"', opening)
    # Names are Matplotlib's own; what files say stands in text, where a quotation mark is never one of markup.
    body = re.sub(r'(<[^<>]*? (?:id="|xlink:href="#|clip-path="url\(#))', rf"\1{drawing.name}-", body)
    return f'<svg {view_box} role="img" aria-label="{html.escape(printable(drawing.description))}">{body}'
