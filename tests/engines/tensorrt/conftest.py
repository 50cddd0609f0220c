"""Bundles to build from, traced once and not verified, which would take most of the time; and bundles with a plan."""

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from fixtures_bundle import tiny_model
from tensorrt_fakes import MAGIC, VERSION

from levit_deploy.architectures import config_for
from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.bundle_engines import add_engine
from levit_deploy.engine_entry import EngineEntry, Profile
from levit_deploy.fusion import fuse
from levit_deploy.manifest import TensorSpecification
from levit_deploy.preprocessing import normalize, preprocessing_for
from levit_engines.tensorrt.compatibility import platform_here
from levit_export.batch_sizes import sizes_to_verify
from levit_export.forms.packed import moved_rows
from levit_export.loading import load_weights
from levit_export.naming import TOP_K_NAMES
from levit_export.pipeline import trace_network
from levit_export.precision.calibration import read_calibration
from levit_export.precision.integers import Quantizer
from levit_export.request import ExportRequest

SIDE = 64
Tracer = Callable[..., Bundle]


@pytest.fixture(scope="session")
def rtx() -> None:
    """Skip a test of real builds where the library is not there."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip('tensorrt_rtx is not installed: pip install "levit-deploy[rtx]"')


@pytest.fixture(scope="session")
def graphs() -> Callable[..., bytes]:
    """The traced graph of a request, made once."""
    done: dict[str, bytes] = {}

    def graph(**options: Any) -> bytes:
        key = repr(sorted(options.items()))
        if key not in done:
            request = ExportRequest(**{"image_size": SIDE, **options})
            weights = load_weights(request)
            contract = preprocessing_for(weights.origin, weights.model.config.image_size)
            fused = fuse(weights.model)
            model = trace_network(fused, request, contract, sizes_to_verify(*request.batch))
            if request.calibration is not None:
                pixels = read_calibration(request.calibration, contract).pixels[: request.batch[1]]
                batches, method = [normalize(pixels, contract)], request.calibration_method
                quantizer = Quantizer(model, batches, method, target=request.target, moved=moved_rows(fused))
                model = quantizer.quantize().model
            done[key] = model.SerializeToString(deterministic=True)
        return done[key]

    return graph


@pytest.fixture
def traced(make_bundle: Callable[..., Bundle], graphs: Callable[..., bytes]) -> Tracer:
    """A bundle with the traced graph of a variant, at 64 pixels unless told; options are those of an ExportRequest."""

    def make(**options: Any) -> Bundle:
        request = ExportRequest(**{"image_size": SIDE, **options})
        side = request.image_size or SIDE
        model = graphs(**options)
        low, high = request.batch
        batch: int | str = "batch" if low != high else low
        image = (side, side, 3) if request.uint8_input else (3, side, side)
        kind = ("uint8", "NHWC") if request.uint8_input else ("float32", "NCHW")
        outputs = [TensorSpecification(name="logits", dtype="float32", layout="NK", shape=(batch, 1000))]
        if request.top_k is not None:
            for name, dtype in zip(TOP_K_NAMES, ("float32", "int64"), strict=True):
                outputs.append(TensorSpecification(name=name, dtype=dtype, layout="NK", shape=(batch, request.top_k)))
        return make_bundle(
            f"{request.arch}-{len(options)}",
            members={MODEL: model},
            config=config_for(str(request.arch), image_size=side),
            precision=request.precision.value,
            preprocessing=preprocessing_for("untrained", side),
            input=TensorSpecification(name="images", dtype=kind[0], layout=kind[1], shape=(batch, *image)),
            outputs=tuple(outputs),
            batch_sizes=sizes_to_verify(low, high),
        )

    return make


@pytest.fixture
def built(make_bundle: Callable[..., Bundle]) -> Callable[..., Bundle]:
    """A bundle of dynamic batch 1 to 4 with an engine "tensorrt" whose plan is the fake's; `changes` to the entry."""

    def build(
        engine: str = "tensorrt",
        *,
        plan: bytes | None = None,
        batch: int | str = "batch",
        dtype: str = "float32",
        members: Mapping[str, bytes] | None = None,
        **changes: Any,
    ) -> Bundle:
        bundle = make_bundle(batch=batch, dtype=dtype, maximum=4, members=members)
        highest = batch if isinstance(batch, int) else 4
        fields: dict[str, Any] = {
            "files": ("network.plan",),
            "model_sha256": bundle.manifest.members[MODEL].sha256,
            "libraries": {engine.replace("-", "_"): VERSION},
            "requirements": {"compute_capabilities": "8.6", "platform": platform_here()},
            "profile": Profile(minimum=batch if isinstance(batch, int) else 1, optimum=highest, maximum=highest),
            "options": {},
            "network": {},
            "machine": {},
            "build_seconds": 1.0,
            "verified": "",
        }
        content = MAGIC + tiny_model(dtype, batch) if plan is None else plan
        return add_engine(bundle, engine, EngineEntry(**{**fields, **changes}), {"network.plan": content})

    return build
