"""The engine `native` on real LeViTs: every variant and instruction set, and what is said where it cannot run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fixtures_bundle import BundleFactory
from integer_layers import PHOTOGRAPHS
from native_kernels import needs_kernels, save_without_bias_of_one_key

from levit_deploy.architectures import VARIANTS
from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.errors import BundleError, ConfigError, EnvironmentIncompleteError
from levit_deploy.preprocessing import normalize
from levit_engines import default_engine, open_runner
from levit_engines.cli import verify
from levit_engines.native import library, opening
from levit_engines.native.library import load_library, supported_instruction_sets
from levit_engines.native.parameters import shapes
from levit_engines.native.quantized import split_quantized
from levit_export.pipeline import ExportReport
from levit_export.request import Precision, Target

pytestmark = needs_kernels
Exporter = Callable[..., ExportReport]
SMALL: dict[str, Any] = {"image_size": 32, "simplify": False, "batch": (1, 4)}
INT8: dict[str, Any] = {**SMALL, "precision": Precision.INT8, "calibration": PHOTOGRAPHS}


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


def test_a_simplified_graph_lacks_what_one_key_does_not_depend_on(exported: Exporter, tmp_path: Path) -> None:
    checkpoint = save_without_bias_of_one_key(tmp_path / "weights.safetensors")
    bundle = exported(checkpoint=checkpoint, image_size=64, batch=(1, 4)).bundle
    names = {constant.name for constant in onnx.load_model_from_string(bundle.read(MODEL)).graph.initializer}
    assert "stages.1.downsample.attention.bias" in names
    assert "stages.2.blocks.0.attention.bias" not in names
    golden = bundle.golden()
    images = normalize(golden.images[:4], bundle.manifest.preprocessing)
    for engine in ("native", "torch-eager"):
        with open_runner(bundle, engine=engine) as runner:
            errors = np.abs(runner.infer(images) - golden.logits[:4]).max(axis=1)
        assert (errors <= np.array(bundle.manifest.golden_tolerance)[:4]).all()


@pytest.mark.parametrize("arch", VARIANTS)
def test_int8_is_that_of_the_graph_with_every_instruction_set(arch: str, exported: Exporter) -> None:
    bundle = exported(arch=arch, **INT8).bundle
    images = normalize(bundle.golden().images, bundle.manifest.preprocessing)
    with open_runner(bundle, engine="onnxruntime") as reference:
        expected = reference.infer(images[:4])
    for name in supported_instruction_sets(load_library()):
        with opening.open_runner(bundle, "native", 2, instruction_set=name) as runner:
            logits = runner.infer(images[:4])
            assert int(runner.provenance["quantized_layers"]) > 0
        # The bound of the bundle is for the rounding; against the same rounding there is much less left.
        assert (np.abs(logits - expected).max(axis=1) <= np.array(bundle.manifest.golden_tolerance)[:4] / 4).all(), name


def test_layers_that_an_int8_bundle_keeps_in_float_stay_so(exported: Exporter) -> None:
    bundle = exported(arch="128S", **{**INT8, "image_size": 64}, min_sqnr_db=30.0).bundle
    described = bundle.manifest.graph["quantization"]
    with open_runner(bundle, engine="native") as runner:
        assert runner.provenance["quantized_layers"] == str(described["layers"])
    assert described["kept_layers"]


def test_an_int8_layer_that_is_not_ours_is_refused(exported: Exporter) -> None:
    model = onnx.load_model_from_string(exported(arch="128S", **INT8).bundle.read(MODEL))
    weights = next(
        one for one in model.graph.initializer if one.data_type == onnx.TensorProto.INT8 and len(one.dims) > 1
    )
    too_large = np.full(tuple(weights.dims), 100, np.int8)
    weights.CopyFrom(onnx.numpy_helper.from_array(too_large, weights.name))
    with pytest.raises(BundleError, match="a quantised layer is not as levit-export writes it; export it again"):
        split_quantized(model.SerializeToString(), name="model.onnx")


def test_int8_for_gpus_is_refused(exported: Exporter) -> None:
    with pytest.raises(ConfigError, match=r"is int8 for GPUs, .* export it with --target cpu"):
        open_runner(exported(arch="128S", **INT8, target=Target.GPU).bundle, engine="native")


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
    with open_runner(bundle, engine="native") as runner, open_runner(bundle, engine="onnxruntime") as reference:
        difference = np.abs(runner.infer(pixels) - reference.infer(pixels)).max()
    assert 0 < difference < min(bundle.manifest.golden_tolerance)


def test_levit_verify_holds_it_to_the_bounds_where_it_is_the_default(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for default in ("native", "onnxruntime"):
        monkeypatch.setattr("levit_engines.verification.run.default_engine", lambda bundle, default=default: default)
        assert verify.main([str(bundle.path), "--json"]) == 0
        printed = capsys.readouterr()
        stages = [stage["name"] for stage in json.loads(printed.out)["stages"]]
        assert ("onnxruntime" in stages, "native" in stages) == (True, default == "native")
        assert "note" not in printed.err


def test_without_an_engine_named_the_default_one_runs(bundle: Bundle) -> None:
    with open_runner(bundle) as runner:
        assert runner.provenance["engine"] == default_engine(bundle)


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
    said = f"has version {library.VERSION}, wanted is 99: install levit-deploy again"
    monkeypatch.setattr(library, "VERSION", 99)
    with pytest.raises(EnvironmentIncompleteError, match=said):
        load_library()


def test_other_precisions_are_refused(make_bundle: BundleFactory) -> None:
    with pytest.raises(ConfigError, match="the engine native takes fp32, int8: choose from onnxruntime"):
        open_runner(make_bundle(precision="fp16"), engine="native")


def test_a_graph_of_another_network_is_refused(make_bundle: BundleFactory) -> None:
    with pytest.raises(BundleError, match="export it again"):
        open_runner(make_bundle(), engine="native")
