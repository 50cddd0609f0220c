"""Findings that nobody measured, and goals to hold them against."""

from pathlib import Path

import pytest

from levit_benchmarks.bench.record import Sessions
from levit_benchmarks.tune.finding import Finding
from levit_benchmarks.tune.option import Option
from levit_deploy.architectures import PUBLISHED


def make_option(arch="192", engine="onnxruntime", *, threads=2, batch=1, top1="published", commands=()):
    return Option(
        bundle=f"levit-{arch}-fp32",
        path=Path(f"/bundles/levit-{arch}-fp32"),
        network=f"LeViT-{arch}",
        top1=PUBLISHED[arch].top1 if top1 == "published" else top1,
        precision="fp32",
        engine=engine,
        batch=batch,
        sessions=Sessions(sessions=1, threads=threads),
        commands=commands,
    )


def make_finding(arch, median_ms, *, outcome=None, p90_ms=None, opening_s=2.0, **options):
    option = make_option(arch, **options)
    percentiles = {50.0: median_ms} if p90_ms is None else {50.0: median_ms, 90.0: p90_ms}
    return Finding(
        option=option,
        confirmed=outcome is not None,
        count=100,
        median_ms=median_ms,
        percentiles_ms=percentiles,
        images_per_s=1e3 * option.batch / median_ms,
        outcome=outcome,
        opening_s=opening_s,
    )


@pytest.fixture
def option():
    return make_option


@pytest.fixture
def finding():
    return make_finding
