"""The engine `native` on real LeViTs: every variant and instruction set, and what is said where it cannot run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_bundle import BundleFactory
from native_kernels import needs_kernels

from levit_deploy.architectures import VARIANTS
from levit_deploy.bundle import Bundle
from levit_deploy.errors import BundleError, ConfigError, EnvironmentIncompleteError
from levit_deploy.preprocessing import normalize
from levit_engines import open_runner
from levit_engines.cli import verify
from levit_engines.native import library, opening
from levit_engines.native.library import load_library, supported_instruction_sets
from levit_engines.native.parameters import shapes
from levit_export.pipeline import ExportReport
from levit_export.request import Target

pytestmark = needs_kernels
Exporter = Callable[..., ExportReport]
SMALL: dict[str, Any] = {"image_size": 32, "simplify": False, "batch": (1, 4)}


@pytest.fixture
def bundle(exported: Exporter) -> Bundle:
    return exported(arch="128S", **SMALL).bundle


@pytest.mark.parametrize("arch", VARIANTS)
def test_every_variant_is_right_with_every_instruction_set(arch: str, exported: Exporter) -> None:
    bundle = exported(arch=arch, **SMALL).bundle
    golden, manifest = bundle.golden(), bundle.manifest
    images = normalize(golden.images, manifest.preprocessing)
    supported = supported_instruction_sets(load_library())
    for name in supported:
        with opening.open_runner(bundle, "native", 2, instruction_set=name) as runner:
            logits = np.concatenate([runner.infer(images[first : first + 3]) for first in range(0, 12, 3)])
        assert (np.abs(logits - golden.logits).max(axis=1) <= np.array(manifest.golden_tolerance)).all(), name
        assert runner.provenance["instruction_set"] == name
    assert supported[-1] == "portable"
    with open_runner(bundle, engine="native") as best:
        assert best.provenance["instruction_set"] == supported[0]


def test_an_instruction_set_that_this_cpu_has_not_is_refused(bundle: Bundle) -> None:
    with pytest.raises(EnvironmentIncompleteError, match="this CPU has not the instruction set mmx"):
        opening.open_runner(bundle, "native", instruction_set="mmx")


def test_its_parameters_are_those_of_the_fused_network(exported: Exporter) -> None:
    import torch

    from levit_deploy.fusion import fuse
    from levit_deploy.model import Levit

    for config in VARIANTS.values():
        with torch.device("meta"):
            state = fuse(Levit(config)).state_dict()
        assert {path: tuple(value.shape) for path, value in state.items()} == shapes(config)


def test_pixels_give_the_logits_of_the_images_that_they_are(exported: Exporter) -> None:
    bundle = exported(
        arch="128S", image_size=32, simplify=False, batch=(2, 2), target=Target.GPU, uint8_input=True
    ).bundle
    pixels = bundle.golden().images[:2]
    with open_runner(bundle, engine="native") as runner, open_runner(bundle) as reference:
        difference = np.abs(runner.infer(pixels) - reference.infer(pixels)).max()
    assert 0 < difference < min(bundle.manifest.golden_tolerance)


def test_levit_verify_holds_it_to_the_bounds_when_asked(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([str(bundle.path), "--engine", "native"]) == 0
    assert "native" in capsys.readouterr().out


def test_without_the_library_the_compiler_is_named(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    with pytest.raises(EnvironmentIncompleteError, match=r"no C\+\+ compiler was found at installation; install"):
        open_runner(bundle, engine="native")


def test_a_file_that_is_no_library_of_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / library.FILE
    path.write_bytes(b"\x7fELF")
    with pytest.raises(EnvironmentIncompleteError, match="cannot be loaded"):
        load_library(path)


def test_a_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "VERSION", 99)
    with pytest.raises(EnvironmentIncompleteError, match="has version 2, wanted is 99: install levit-deploy again"):
        load_library()


def test_other_precisions_are_refused(make_bundle: BundleFactory) -> None:
    with pytest.raises(ConfigError, match="the engine native takes fp32: choose from onnxruntime"):
        open_runner(make_bundle(precision="fp16"), engine="native")


def test_a_graph_of_another_network_is_refused(make_bundle: BundleFactory) -> None:
    with pytest.raises(BundleError, match="export it again"):
        open_runner(make_bundle(), engine="native")
