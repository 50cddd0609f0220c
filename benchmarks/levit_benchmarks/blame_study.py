"""Whether the module that the parity ladder names is the one that is wrong: seeded defects in every hop.

A network is untrained and seeded; its truth is the eager network in float64. A copy of one stage of its deployment
gets one defect, drawn by kind, place and size. Where the logits miss their bound, the ladder names a module: exact
is the one that holds the defect; within one is that, or one directly before or after it in the order in which
modules are probed. A miss without a named module is neither. A defect that no bound notices is harmless, one that
the engine refuses to run is no matter of parity: both are drawn again. Honest stages must hold, with nothing named.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from rich.console import Console
from rich.table import Table

from levit_benchmarks.defects import EAGER_DEFECTS, FOLDING_DEFECTS, FUSED_DEFECTS, NetworkDefect
from levit_benchmarks.graph_defects import GRAPH_DEFECTS, GraphDefect
from levit_benchmarks.progress import ProgressDisplay
from levit_deploy.architectures import VARIANTS, LevitConfig, config_for
from levit_deploy.blame import Blame, ProbeError, find_culprit
from levit_deploy.commandline import make_parser, positive_int, print_line, run_command
from levit_deploy.errors import ConfigError, ExportError
from levit_deploy.fusion import fuse
from levit_deploy.golden import golden_images
from levit_deploy.initialization import randomize
from levit_deploy.ladder import Candidate, ModuleReference, Truth, blame, measure, probe_depth
from levit_deploy.machine import describe_machine, package_versions
from levit_deploy.manifest import BatchSizes
from levit_deploy.model import Levit, create_model
from levit_deploy.module_truth import ModuleTruth
from levit_deploy.parity import finite_or_text
from levit_deploy.preprocessing import preprocessing_for
from levit_deploy.probes import probes_of
from levit_deploy.reference import EagerCandidate, truth_of
from levit_export.graph_candidate import GraphCandidate
from levit_export.pipeline import trace_network
from levit_export.request import ExportRequest, Target
from levit_export.simplification import simplify
from levit_export.tracing import finish_serialized

PROGRAM = "python -m levit_benchmarks.blame_study"
SCHEMA_VERSION = 1
IMAGES = ("astronaut", "rocket", "gradients", "noise")
EXACT_AIM, WITHIN_ONE_AIM = 0.95, 1.0
MOST_DRAWS = 12  # of a kind that stays harmless or refused; then the next kind takes its turn
PACKAGES = ("levit-deploy", "torch", "numpy", "onnx", "onnxscript", "onnxsim", "onnxruntime")
EAGER, FUSED, TRACED, SIMPLIFIED, ENGINE = HOPS = ("eager fp32", "fused", "traced", "simplified", "onnxruntime")
FORMS = {"grid": Target.CPU, "tokens": Target.GPU}
HARMLESS, REFUSED, NO_PLACE = "harmless", "refused", "no place"

Build = Callable[[str, np.random.Generator], "tuple[Candidate, str] | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the study is run with; `defects` are those of one variant, over all its hops."""

    archs: tuple[str, ...]
    image_size: int
    defects: int
    seed: int
    forms: tuple[str, ...] = tuple(FORMS)
    images: tuple[str, ...] = IMAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One stage in one form that defects are put into: `build` makes a candidate and says what is broken in it."""

    hop: str
    form: str
    honest: Candidate
    kinds: tuple[str, ...]
    build: Build


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One defect that made the logits miss their bound, and what the ladder said of it."""

    arch: str
    hop: str
    form: str
    kind: str
    seed: tuple[int, ...]
    expected: str
    logit_share: float
    blame: Blame
    distance: int | None

    @property
    def exact(self) -> bool:
        """Whether the named module is the broken one."""
        return self.distance == 0

    @property
    def within_one(self) -> bool:
        """Whether it is that or a direct neighbour."""
        return self.distance is not None and self.distance <= 1

    def to_json(self) -> dict[str, Any]:
        """The row in the result."""
        before, after = self.blame.before, self.blame.after
        return {
            "arch": self.arch,
            "hop": self.hop,
            "form": self.form,
            "kind": self.kind,
            "seed": list(self.seed),
            "expected": self.expected,
            "named": self.blame.module,
            "exact": self.exact,
            "within_one": self.within_one,
            "logit_share": _rounded(self.logit_share),
            "before": None if before is None else _probe_row(before),
            "after": None if after is None else _probe_row(after),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """An honest stage: the largest shares of the bounds of its logits and of its probes, and what is named."""

    arch: str
    hop: str
    form: str
    logit_share: float
    probe_share: float
    probes: int
    named: str | None

    def __bool__(self) -> bool:
        return self.logit_share <= 1.0 and self.probe_share <= 1.0 and self.named is None


class _Remembering:
    """What the truth said of some images, kept: every defect of a network asks again."""

    def __init__(self, source: ModuleReference) -> None:
        self._source = source
        self._known: dict[tuple[int, ...], ModuleTruth] = {}

    def about(self, images: Sequence[int]) -> ModuleTruth:
        key = tuple(images)
        if key not in self._known:
            self._known[key] = self._source.about(images)
        return self._known[key]


def module_distance(config: LevitConfig, expected: str, named: str | None) -> int | None:
    """Steps between two modules in the order in which they are probed; None where one is not among them."""
    order = [module for module, _ in groupby(probe.module for probe in probes_of(config))]
    places = {path: np.flatnonzero([module == path for module in order]) for path in (expected, named)}
    if not all(place.size for place in places.values()):
        return None
    # An attention comes twice, before and after its bias, and so does a block.
    return int(np.abs(places[expected][:, None] - places[named][None, :]).min())


def _truth(model: Levit, settings: Settings) -> Truth:
    contract = preprocessing_for("untrained", settings.image_size)
    names, pixels = golden_images(contract)
    truth = truth_of(model, settings.images, pixels[[names.index(name) for name in settings.images]], contract)
    return Truth(golden=truth.golden, bounds=truth.bounds, contract=truth.contract, modules=_Remembering(truth.modules))


def _eager_subject(model: Levit) -> Subject:
    def build(kind: str, generator: np.random.Generator) -> tuple[Candidate, str] | None:
        return _broken_network(EAGER, model, EAGER_DEFECTS[kind], generator)

    honest = EagerCandidate(stage=EAGER, model=model)
    return Subject(hop=EAGER, form="", honest=honest, kinds=tuple(EAGER_DEFECTS), build=build)


def _broken_network(
    stage: str, model: Levit, defect: NetworkDefect, generator: np.random.Generator, *, folded: bool = False
) -> tuple[Candidate, str] | None:
    broken = copy.deepcopy(model)
    path = defect(broken, generator)
    return None if path is None else (EagerCandidate(stage=stage, model=fuse(broken) if folded else broken), path)


def _fused_subject(model: Levit, fused: Levit) -> Subject:
    def build(kind: str, generator: np.random.Generator) -> tuple[Candidate, str] | None:
        if kind in FOLDING_DEFECTS:
            return _broken_network(FUSED, model, FOLDING_DEFECTS[kind], generator, folded=True)
        return _broken_network(FUSED, fused, FUSED_DEFECTS[kind], generator)

    honest = EagerCandidate(stage=FUSED, model=fused)
    return Subject(hop=FUSED, form="", honest=honest, kinds=(*FUSED_DEFECTS, *FOLDING_DEFECTS), build=build)


def _graph_subject(hop: str, form: str, graph: onnx.ModelProto, config: LevitConfig) -> Subject:
    probes = probes_of(config)

    def candidate(model: onnx.ModelProto) -> GraphCandidate:
        return GraphCandidate(hop, model, probes, optimized=hop == ENGINE)

    def build(kind: str, generator: np.random.Generator) -> tuple[Candidate, str] | None:
        broken = onnx.ModelProto()
        broken.CopyFrom(graph)
        defect: GraphDefect = GRAPH_DEFECTS[kind]
        path = defect(broken.graph, generator)
        return None if path is None else (candidate(broken), path)

    return Subject(hop=hop, form=form, honest=candidate(graph), kinds=tuple(GRAPH_DEFECTS), build=build)


def _graph_subjects(fused: Levit, form: str) -> Iterator[Subject]:
    config = fused.config
    request = ExportRequest(arch=config.arch, image_size=config.image_size, target=FORMS[form], uint8_input=True)
    contract = preprocessing_for("untrained", config.image_size)
    traced = trace_network(fused, request, contract, BatchSizes(minimum=1, maximum=1, verified=(1,)))
    simplification = simplify(traced, static=True)
    # Mostly onnxsim finds nothing to remove: then it is what reading the file and naming its nodes anew gives.
    simplified = simplification.model if simplification.kept else finish_serialized(traced)
    for hop, graph in ((TRACED, traced), (SIMPLIFIED, simplified), (ENGINE, simplified)):
        yield _graph_subject(hop, form, graph, config)


def build_subjects(settings: Settings, arch: str) -> tuple[Truth, tuple[Subject, ...]]:
    """One network: its truth, and every stage of it in every form."""
    model = create_model(arch, image_size=settings.image_size)
    randomize(model, settings.seed)
    fused = fuse(model.eval())
    subjects = [_eager_subject(model), _fused_subject(model, fused)]
    for form in settings.forms:
        subjects.extend(_graph_subjects(fused, form))
    return _truth(model, settings), tuple(subjects)


def inspect_honest(arch: str, subject: Subject, truth: Truth) -> Control:
    """The stage without a defect."""
    rung = measure(subject.honest, truth, (1,)).decisive
    known, profile = probe_depth(subject.honest, truth, rung)
    found = find_culprit(known, profile, stage=subject.hop, batch_size=1)
    return Control(
        arch=arch,
        hop=subject.hop,
        form=subject.form,
        logit_share=rung.bound_share,
        probe_share=float(np.max([error.bound_share for error in profile])),
        probes=len(profile),
        named=found.module,
    )


def judge(arch: str, subject: Subject, truth: Truth, kind: str, seed: tuple[int, ...]) -> Outcome | str:
    """Put one defect in; what the ladder says, or why nothing is to be said: harmless, refused, no place."""
    try:
        with torch.no_grad():
            built = subject.build(kind, np.random.default_rng(seed))
        if built is None:
            return NO_PLACE
        candidate, expected = built
        measured = measure(candidate, truth, (1,))
    except (ExportError, ValueError):  # onnx or NumPy, on other shapes
        return REFUSED
    if measured:
        return HARMLESS
    found = blame(candidate, truth, measured.decisive)
    return Outcome(
        arch=arch,
        hop=subject.hop,
        form=subject.form,
        kind=kind,
        seed=seed,
        expected=expected,
        logit_share=measured.decisive.bound_share,
        blame=found,
        distance=module_distance(config_for(arch), expected, found.module),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantStudy:
    """What was found about some variants; `passed_over` counts draws by hop, kind, and why they count for nothing."""

    outcomes: tuple[Outcome, ...] = ()
    controls: tuple[Control, ...] = ()
    passed_over: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def __add__(self, other: VariantStudy) -> VariantStudy:
        return VariantStudy(
            outcomes=self.outcomes + other.outcomes,
            controls=self.controls + other.controls,
            passed_over=self.passed_over + other.passed_over,
        )


def inject(arch: str, subject: Subject, truth: Truth, count: int, seed: tuple[int, ...]) -> VariantStudy:
    """Put `count` defects, one at a time, into one stage; its kinds take turns. Fewer where no kind is left."""
    kinds = deque(subject.kinds)
    kinds.rotate(-count * seed[-2])  # another variant goes on where one left off
    outcomes: list[Outcome] = []
    passed_over: Counter[tuple[str, str, str]] = Counter()
    draws = iter(range(sys.maxsize))
    while kinds and len(outcomes) < count:
        kind = kinds.popleft()
        for draw in islice(draws, MOST_DRAWS):
            outcome = judge(arch, subject, truth, kind, (*seed, draw))
            if isinstance(outcome, Outcome):
                outcomes.append(outcome)
                kinds.append(kind)
                break
            passed_over[subject.hop, kind, outcome] += 1
            if outcome == NO_PLACE:
                break
    return VariantStudy(outcomes=tuple(outcomes), passed_over=passed_over)


def study_variant(settings: Settings, arch: str, finished: Callable[[int], None]) -> VariantStudy:
    """Put its share of defects into every hop of one variant; `finished` is told how many more are done."""
    truth, subjects = build_subjects(settings, arch)
    study = VariantStudy(controls=tuple(inspect_honest(arch, subject, truth) for subject in subjects))
    counts = _counts([subject.hop for subject in subjects], settings.defects)
    for place, (subject, count) in enumerate(zip(subjects, counts, strict=True)):
        study += inject(arch, subject, truth, count, (settings.seed, list(VARIANTS).index(arch), place))
        finished(count)
    return study


def _counts(hops: Sequence[str], defects: int) -> list[int]:
    """As many defects for each hop, as far as that goes, and of those as many for each of its forms."""
    of_hop = dict(zip(HOPS, _split(defects, len(HOPS)), strict=True))
    forms = {hop: iter(_split(of_hop[hop], hops.count(hop))) for hop in dict.fromkeys(hops)}
    return [next(forms[hop]) for hop in hops]


def _split(count: int, parts: int) -> list[int]:
    return [count // parts + (part < count % parts) for part in range(parts)]


def summarize(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """How many defects there are, and the shares of them named exactly and within one module."""
    count = len(outcomes)
    return {
        "defects": count,
        "exact": sum(outcome.exact for outcome in outcomes) / count if count else None,
        "within_one": sum(outcome.within_one for outcome in outcomes) / count if count else None,
    }


def summary_of(study: VariantStudy) -> dict[str, Any]:
    """The shares over all defects, by hop, by form, by variant and by kind."""
    fields: dict[str, Callable[[Outcome], str]] = {
        "by_hop": lambda outcome: outcome.hop,
        "by_stage": lambda outcome: f"{outcome.hop}, {outcome.form}" if outcome.form else outcome.hop,
        "by_variant": lambda outcome: outcome.arch,
        "by_kind": lambda outcome: outcome.kind,
    }
    groups = {
        name: {value: summarize([outcome for outcome in study.outcomes if of(outcome) == value]) for value in values}
        for name, of in fields.items()
        for values in [sorted({of(outcome) for outcome in study.outcomes})]
    }
    reasons = {reason: _total(study, reason) for reason in (HARMLESS, REFUSED)}
    return {**summarize(study.outcomes), "kinds": len(groups["by_kind"]), "passed_over": reasons, **groups}


def _total(study: VariantStudy, reason: str) -> int:
    return sum(count for (_, _, why), count in study.passed_over.items() if why == reason)


def find_misses(study: VariantStudy, settings: Settings) -> list[str]:
    """Why the study fails its aims, one sentence each."""
    misses = [
        f"{control.arch}, {control.hop} {control.form}: without a defect its logits are at {control.logit_share:.3g} "
        f"of their bound, its worst value at {control.probe_share:.3g}, and {control.named} is named"
        for control in study.controls
        if not control
    ]
    figures = summarize(study.outcomes)
    planned = settings.defects * len(settings.archs)
    if figures["defects"] < planned:
        misses.append(f"only {figures['defects']} of {planned} defects could be made")
    for name, aim in (("exact", EXACT_AIM), ("within_one", WITHIN_ONE_AIM)):
        if figures[name] is None or not figures[name] >= aim:
            misses.append(f"{name.replace('_', ' ')}: {figures[name]} of the defects, aim {aim}")
    return misses


def document_of(study: VariantStudy, settings: Settings, wall_s: float) -> dict[str, Any]:
    """The whole result as plain JSON values."""
    misses = find_misses(study, settings)
    return {
        "schema_version": SCHEMA_VERSION,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": describe_machine().to_json(),
        "packages": package_versions(PACKAGES),
        "settings": asdict(settings),
        "aims": {"exact": EXACT_AIM, "within_one": WITHIN_ONE_AIM},
        "wall_s": round(wall_s, 1),
        "summary": summary_of(study),
        "misses": misses,
        "verdict": "miss" if misses else "pass",
        "controls": [_control_row(control) for control in study.controls],
        "passed_over": [
            {"hop": hop, "kind": kind, "reason": reason, "draws": count}
            for (hop, kind, reason), count in sorted(study.passed_over.items())
        ],
        "defects": [outcome.to_json() for outcome in study.outcomes],
    }


def _control_row(control: Control) -> dict[str, Any]:
    shares = {"logit_share": _rounded(control.logit_share), "probe_share": _rounded(control.probe_share)}
    return {**asdict(control), **shares}


def _probe_row(error: ProbeError) -> dict[str, Any]:
    return {"probe": error.probe.name, "error": _rounded(error.error), "bound": _rounded(error.bound)}


def _rounded(value: float) -> float | str:
    """Four significant digits: what a reader can use, and the same on most machines."""
    return finite_or_text(float(f"{value:.4g}"))


def print_findings(document: Mapping[str, Any]) -> None:
    """Tables by hop and by variant, and every defect that was not named exactly."""
    console = Console(highlight=False)
    summary = document["summary"]
    for title, groups in (("hop", summary["by_stage"]), ("variant", summary["by_variant"])):
        table = Table(title=f"modules named, by {title}")
        for column in (title, "defects", "exact", "within one"):
            table.add_column(column, justify="left" if column == title else "right")
        for name, figures in (*groups.items(), ("all", summary)):
            table.add_row(name, str(figures["defects"]), _percent(figures["exact"]), _percent(figures["within_one"]))
        console.print(table)
    passed_over = ", ".join(f"{count} {reason}" for reason, count in summary["passed_over"].items())
    console.print(f"{summary['kinds']} kinds; drawn again: {passed_over}; controls: {len(document['controls'])}")
    for row in document["defects"]:
        if not row["exact"]:
            place = " ".join((row["arch"], row["hop"], row["form"])).strip()
            console.print(f"not exact: {place}, {row['kind']}: expected {row['expected']}, named {row['named']}")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _study(options: argparse.Namespace) -> int:
    path: Path = options.json
    if not path.parent.is_dir() or path.is_dir():
        raise ConfigError(f"{path} is not a file in an existing folder")
    archs = dict.fromkeys(config_for(name, image_size=options.image_size).arch for name in options.arch)
    settings = Settings(
        archs=tuple(archs),
        image_size=options.image_size,
        defects=options.defects,
        seed=options.seed,
        forms=tuple(form for form in FORMS if form in options.form),
    )
    torch.set_num_threads(options.threads)
    start_s, study = time.perf_counter(), VariantStudy()
    with ProgressDisplay(settings.defects * len(settings.archs)) as display:
        for arch in settings.archs:
            study += study_variant(settings, arch, lambda count, arch=arch: display.advance(count, arch))  # type: ignore[misc]
    document = document_of(study, settings, time.perf_counter() - start_s)
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print_findings(document)
    for miss in document["misses"]:
        print_line(f"{PROGRAM}: miss: {miss}")
    print_line(f"figures: {path}")
    return 1 if document["misses"] else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 where an aim is missed."""
    example = f"{PROGRAM} --arch 128S 384 --defects 40 --image-size 64 --json blame-study.json"
    parser = make_parser(PROGRAM, (__doc__ or "").partition("\n")[0], example)
    parser.add_argument("--arch", nargs="+", default=list(VARIANTS), help="variants (default: all)")
    parser.add_argument("--defects", type=positive_int, default=40, metavar="N", help="of each variant (default: 40)")
    parser.add_argument("--image-size", type=positive_int, default=64, metavar="PX", help="(default: 64)")
    parser.add_argument("--form", nargs="+", choices=FORMS, default=list(FORMS), help="of the graph (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and defects (default: 0)")
    parser.add_argument("--threads", type=positive_int, default=1, metavar="N", help="of PyTorch (default: 1)")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the result goes")
    options = parser.parse_args(arguments)
    return run_command(PROGRAM, lambda: _study(options))


if __name__ == "__main__":
    sys.exit(main())
