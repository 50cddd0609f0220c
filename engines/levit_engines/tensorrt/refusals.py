"""Flags that users of other builders know and that have no place here, each with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_PRECISION = "precision lives in the bundle: export it with levit-export --precision"
_DLA = "no LeViT runs whole on a DLA, and TensorRT-RTX accepts the setting and ignores it"
_PORTABLE = "an engine runs with the version that built it: build it with the version that will run it"
_WEIGHTS = "an engine and its weights are one proven whole: export and build again"
_SHAPES = "batch sizes are given with --min-batch, --opt-batch and --max-batch; the rest of a shape is the bundle's"

REFUSED_FLAGS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("--useDLACore", "--dla-core", "--allowGPUFallback", "--allow-gpu-fallback"), _DLA),
        **dict.fromkeys(("--versionCompatible", "--version-compatible", "--vc"), _PORTABLE),
        **dict.fromkeys(
            ("--hardwareCompatibilityLevel", "--hardware-compatibility-level"),
            "TensorRT-RTX does not support it: name the GPUs with --compute-capability; "
            "TensorRT builds for the GPU at hand",
        ),
        **dict.fromkeys(("--stripWeights", "--strip-weights", "--refit"), _WEIGHTS),
        **dict.fromkeys(("--fp16", "--bf16", "--fp8", "--int8", "--int4", "--best", "--noTF32"), _PRECISION),
        **dict.fromkeys(("--precisionConstraints", "--layerPrecisions", "--layerOutputTypes"), _PRECISION),
        **dict.fromkeys(("--stronglyTyped", "--strongly-typed"), "every engine is built so"),
        **dict.fromkeys(("--minShapes", "--optShapes", "--maxShapes"), _SHAPES),
        "--calib": "calibration happens at the export: levit-export --precision int8 --calibration DIR",
    }
)
