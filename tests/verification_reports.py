"""Verification reports made by hand, with plausible figures, so that no test has to export a network for one."""

import math
from pathlib import Path

import numpy as np
from fixtures_bundle import tiny_manifest

from levit_deploy.architectures import config_for
from levit_deploy.blame import Blame, ProbeError
from levit_deploy.bundle import Bundle
from levit_deploy.golden import PHOTOGRAPHS, STRUCTURED, golden_images
from levit_deploy.manifest import Member
from levit_deploy.metamorphic import CHECKS, ORDER, REPEATED, BatchCheck
from levit_deploy.preprocessing import preprocessing_for
from levit_deploy.probes import probes_of
from levit_deploy.rung_record import FlipRecord, HopRecord, RungRecord
from levit_engines.verification.report import ImageSet, Origin, Stage, VerificationReport

CONFIG = config_for("384")
PROBES = probes_of(CONFIG)
SIZES = (1, 2, 4, 8)
STAGES = ("eager fp32", "fused", "traced", "simplified", "onnxruntime")
EVIL = "<script>alert('1')</script> & \"$x$\" \N{RIGHT-TO-LEFT OVERRIDE}\x00\ud800{{ 7 * 7 }}"
CULPRIT, FURTHER_CULPRIT = "stages.1.blocks.0.attention.qkv", "stages.2.downsample.attention:mixed values"
SOME_PROBES = tuple(probe for place, probe in enumerate(PROBES) if place % 3 == 0 or probe.name == FURTHER_CULPRIT)
HASHES = {"model.onnx": "a1" * 32, "labels.txt": "b2" * 32, "golden.safetensors": "c3" * 32, "parity.json": "d4" * 32}


def rung_record(stage="fused", share=0.1, **changes):
    """A rung at `share` of its bound."""
    fields = {
        "stage": stage,
        "batch_size": 1,
        "verdict": "pass" if share <= 1.0 else "miss",
        "decisive_image": 2,
        "worst_image": 1,
        "bound": 4.56e-05,
        "bound_share": share,
        "max_abs_error": share * 5e-05,
        "relative_l2": share * 1.2e-06,
        "sqnr_db": 118.4,
        "top1_agreement": 1.0,
        "top5_overlap": 1.0,
        "flips": (),
        "hop": None,
    }
    return RungRecord(**{**fields, **changes})


def hop_record(previous, share=0.05, **changes):
    """What one step changed, at `share` of what it may."""
    fields = {
        "previous": previous,
        "verdict": "pass" if share <= 1.0 else "miss",
        "bound_share": share,
        "max_abs_error": share * 9e-05,
        "relative_l2": share * 2e-06,
        "sqnr_db": 121.0,
        "top1_agreement": 1.0,
        "top5_overlap": 1.0,
        "flips": 0,
    }
    return HopRecord(**{**fields, **changes})


def batch_checks(share=0.0, **changes):
    """The checks of an engine at all sizes; `changes` concern the last one of them."""
    checks = [
        BatchCheck(
            check=check,
            batch_size=size,
            rows=2 * size,
            worst_error=share * 9e-05,
            worst_share=share,
            worst_image=3,
            worst_position=size - 1,
            identical_rows=0 if share else 2 * size,
        )
        for size in SIZES
        for check in CHECKS
        if (check in (REPEATED, ORDER) if size == 1 else check != ORDER)
    ]
    if changes:
        last = checks.pop()
        names = BatchCheck.__dataclass_fields__
        checks.append(BatchCheck(**{**{name: getattr(last, name) for name in names}, **changes}))
    return tuple(checks)


def depth(seed=0, broken_from=None, probes=PROBES):
    """Errors that grow like rounding does; from the probe with this name on they are ten thousand times larger."""
    generator = np.random.default_rng(seed)
    factor, found = 1.0, []
    for place, probe in enumerate(PROBES):
        if probe.name == broken_from:
            factor = 1e4
        if probe not in probes:
            continue
        magnitude = 4.0 if "scores" not in probe.name else 20.0
        bound = magnitude * 2e-06 * (1 + place / 30) * (0.8 + 0.4 * math.sin(place) ** 2)
        error = bound * factor * float(generator.uniform(0.05, 0.25))
        found.append(ProbeError(probe=probe, image=0, error=error, bound=bound, magnitude=magnitude))
    return tuple(found)


def make_bundle_value(path=Path("bundles/levit-384-fp32"), **changes):
    """A bundle that exists in memory only."""
    fields = {
        "name": "levit-384-fp32",
        "config": CONFIG,
        "members": {name: Member(size_bytes=1234567, sha256=digest) for name, digest in HASHES.items()},
        "weights": {
            "origin": "official",
            "file_name": "LeViT-384-9bdaf2e2.pth",
            "file_sha256": "9bdaf2e2" * 8,
            "container": None,
            "notes": ["the distillation head was folded in"],
            "state_sha256": "e5" * 32,
        },
        "versions": {"levit-deploy": "0.1.0", "torch": "2.13.0", "onnx": "1.23.2"},
        "graph": {"form": "convolutions", "opset": 17, "nodes": 411, "simplified": True, "simplification": "kept"},
    }
    return Bundle(path, tiny_manifest(**{**fields, **changes}))


def image_set(side=64):
    """The golden images, small."""
    names, pixels = golden_images(preprocessing_for("official", side))
    assert names == PHOTOGRAPHS + STRUCTURED
    return ImageSet(
        source="golden images of the bundle",
        names=names,
        pixels=pixels,
        best_classes=tuple(37 * place % 1000 for place in range(len(names))),
    )


def make_report(stages, **changes):
    """A report about `stages`."""
    fields = {
        "bundle": make_bundle_value(),
        "truth": "the eager model in float64, from the official weights",
        "images": image_set(),
        "labels": tuple(f"kind {index} of dog" for index in range(1000)),
        "stages": tuple(stages),
        "misses": (),
        "notes": (),
        "environment": {
            "date": "2026-11-22T13:05:07+00:00",
            "cpu": "AMD EPYC 7B13",
            "usable cpus": "2",
            "system": "Linux 6.1 x86_64, glibc 2.36",
            "python": "3.11.7",
            "levit-deploy": "0.1.0",
            "onnxruntime": "1.32.0",
        },
        "seconds": {"read": 0.1, "weights": 1.4, "truth": 41.25, **dict.fromkeys(STAGES, 6.5)},
    }
    return VerificationReport(**{**fields, **changes})


def passing_stage(name, place=1, **changes):
    """A stage that holds, with its values inside and a step from the one before it."""
    hop = None if place == 0 else hop_record(STAGES[place - 1], 0.02 + 0.01 * place)
    rungs = tuple(
        rung_record(name, 0.1 + 0.02 * place + 0.003 * number, batch_size=size, hop=hop)
        for number, size in enumerate(SIZES)
    )
    return Stage(**{"name": name, "origin": Origin.MEASURED, "rungs": rungs, "depth": depth(place), **changes})


def passing_report(**changes):
    """Every stage holds; the engine offers a third of its values inside."""
    stages = [passing_stage(name, place) for place, name in enumerate(STAGES[:-1])]
    engine = passing_stage(
        "onnxruntime",
        4,
        depth=depth(9, probes=SOME_PROBES),
        batch_checks=batch_checks(0.2, worst_share=0.0, worst_error=0.0, identical_rows=16),
        provenance={"engine": "onnxruntime 1.32.0", "provider": "CPUExecutionProvider", "threads": "2"},
    )
    return make_report([*stages, engine], **{"notes": ("the distillation head was folded into the first",), **changes})


def blame(stage, name=CULPRIT, profile=()):
    """The finding that `name` is the first wrong value of `profile`."""
    place = [found.probe.name for found in profile].index(name)
    before, after = profile[place - 1], profile[place]
    unseen = PROBES[PROBES.index(before.probe) + 1 : PROBES.index(after.probe)]
    return Blame(stage=stage, batch_size=2, before=before, after=after, unseen=unseen)


def missing_report(**changes):
    """Everything that can go wrong, told by somebody who would like to run a script in the reader's browser."""
    recorded = passing_stage("eager fp32", 0, origin=Origin.RECORDED, depth=())
    broken, later = depth(2, CULPRIT), depth(3, FURTHER_CULPRIT, SOME_PROBES)
    flips = (
        FlipRecord(image=2, reference_class=74, candidate_class=1, margin=0.0123),
        FlipRecord(image=7, reference_class=259, candidate_class=4, margin=1.75),
    )
    missed = rung_record("simplified", 2345.6, flips=flips, batch_size=2, top1_agreement=5 / 6, sqnr_db=21.37)
    hop = hop_record("fused", 1200.0, flips=2)
    stages = (
        recorded,
        passing_stage("fused", 1),
        Stage(name="traced", origin=Origin.NOT_RUN, reason=f"torch could not trace it: {EVIL}"),
        Stage(
            name="simplified",
            origin=Origin.MEASURED,
            rungs=(
                rung_record("simplified", 0.5),
                missed,
                rung_record("simplified", 3.0, batch_size=4, flips=flips[:1]),
            ),
            blame=blame("simplified", profile=broken),
            depth=broken,
        ),
        Stage(
            name=EVIL,
            origin=Origin.MEASURED,
            rungs=(not_a_number_rung(hop),),
            blame=blame(EVIL, FURTHER_CULPRIT, later),
            depth=(*later[:-3], *not_finite(later[-3:])),
            batch_checks=batch_checks(0.4, worst_share=math.nan, worst_error=math.nan, identical_rows=3),
            provenance={"engine": EVIL},
        ),
    )
    labels = (EVIL, *(f"kind {index}" for index in range(1, 1000)))
    fields = {
        "labels": labels,
        "misses": (f"the weights are not those of the bundle: {EVIL}",),
        "bundle": make_bundle_value(Path(f"bundles/{EVIL}"), name=EVIL, weights={"origin": EVIL, "notes": [EVIL]}),
        "truth": f"the float64 logits that the bundle carries {EVIL}",
        "environment": {"cpu": EVIL},
        "notes": (EVIL,),
    }
    return make_report(stages, **{**fields, **changes})


def not_a_number_rung(hop=None):
    """A rung whose logits hold a NaN, about images and classes that do not exist."""
    return rung_record(
        EVIL,
        math.nan,
        verdict="miss",
        max_abs_error=math.nan,
        relative_l2=math.nan,
        sqnr_db=math.inf,
        top1_agreement=0.25,
        worst_image=99,
        decisive_image=0,
        flips=(FlipRecord(image=-1, reference_class=4000, candidate_class=-5, margin=math.nan),),
        hop=hop,
    )


def not_finite(found):
    """The same values with errors that no drawing can hold: none, infinite, not a number."""
    return tuple(
        ProbeError(probe=one.probe, image=one.image, error=error, bound=one.bound, magnitude=one.magnitude)
        for one, error in zip(found, (0.0, math.inf, math.nan), strict=True)
    )
