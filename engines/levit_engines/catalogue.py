"""The engines: what each is called, what it needs, and which module drives it. Importing this loads none of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One way to run a bundle's graph.

    `packages` maps what must be importable to the extra that installs it. `buildable` engines can be compiled into the
    bundle by levit-build; those that `need_building` run in no other way. `module` has `open_runner`, and `build` where
    the engine is buildable.
    """

    name: str
    title: str
    module: str
    packages: Mapping[str, str]
    device: str = "cpu"
    buildable: bool = False
    needs_building: bool = False
    provider: str | None = field(default=None)


CATALOGUE = {
    engine.name: engine
    for engine in (
        Engine(
            name="onnxruntime",
            title="ONNX Runtime, CPU",
            module="levit_engines.onnxruntime",
            packages={"onnxruntime": "cpu"},
            buildable=True,
            provider="CPUExecutionProvider",
        ),
        Engine(
            name="onnxruntime-cuda",
            title="ONNX Runtime, CUDA",
            module="levit_engines.onnxruntime",
            packages={"onnxruntime": "gpu"},
            device="cuda",
            provider="CUDAExecutionProvider",
        ),
        Engine(
            name="onnxruntime-tensorrt",
            title="ONNX Runtime, TensorRT",
            module="levit_engines.onnxruntime",
            packages={"onnxruntime": "gpu"},
            device="cuda",
            provider="TensorrtExecutionProvider",
        ),
        Engine(
            name="openvino",
            title="OpenVINO, CPU",
            module="levit_engines.openvino",
            packages={"openvino": "openvino"},
            buildable=True,
        ),
        Engine(
            name="tensorrt",
            title="TensorRT",
            module="levit_engines.tensorrt",
            packages={"tensorrt": "gpu", "cuda.bindings": "gpu"},
            device="cuda",
            buildable=True,
            needs_building=True,
        ),
        Engine(
            name="tensorrt-rtx",
            title="TensorRT-RTX",
            module="levit_engines.tensorrt",
            packages={"tensorrt_rtx": "rtx", "cuda.bindings": "rtx"},
            device="cuda",
            buildable=True,
            needs_building=True,
        ),
        Engine(
            name="torch-eager",
            title="PyTorch, eager",
            module="levit_engines.torch",
            packages={"torch": "export"},
        ),
        Engine(
            name="torch-compile",
            title="PyTorch, torch.compile",
            module="levit_engines.torch",
            packages={"torch": "export"},
        ),
    )
}
