"""The engines: what each is called, what it needs, and which module drives it. Importing this loads none of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One way to run a bundle's graph.

    `distributions` maps what must be importable, what makes the engine first, to the package that pip installs it
    from, less the CUDA release in its name; `extra` is ours that installs them all. `precisions` are those of the
    bundles that it takes. `buildable` engines can be compiled into the bundle by levit-build, those of a GPU that
    `builds_without_gpu` also where there is none, and those that `need_building` run in no other way. A runner of one
    thread that is `side_by_side` computes for several callers at the same time. `module` has `open_runner`, and `build`
    where the engine is buildable.
    """

    name: str
    title: str
    module: str
    extra: str
    distributions: Mapping[str, str]
    device: str = "cpu"
    precisions: tuple[str, ...] = ("fp32", "fp16", "bf16", "int8")
    buildable: bool = False
    builds_without_gpu: bool = False
    needs_building: bool = False
    side_by_side: bool = False
    provider: str | None = None

    @property
    def packages(self) -> Mapping[str, str]:
        """What must be importable, and the extra that installs it."""
        return dict.fromkeys(self.distributions, self.extra)


CATALOGUE = {
    engine.name: engine
    for engine in (
        Engine(
            name="onnxruntime",
            title="ONNX Runtime, CPU",
            module="levit_engines.onnxruntime",
            extra="cpu",
            distributions={"onnxruntime": "onnxruntime"},
            precisions=("fp32", "fp16", "int8"),
            buildable=True,
            side_by_side=True,
            provider="CPUExecutionProvider",
        ),
        Engine(
            name="onnxruntime-cuda",
            title="ONNX Runtime, CUDA",
            module="levit_engines.onnxruntime",
            extra="gpu",
            distributions={"onnxruntime": "onnxruntime-gpu"},
            device="cuda",
            provider="CUDAExecutionProvider",
        ),
        Engine(
            name="onnxruntime-tensorrt",
            title="ONNX Runtime, TensorRT",
            module="levit_engines.onnxruntime",
            extra="gpu",
            distributions={"onnxruntime": "onnxruntime-gpu"},
            device="cuda",
            provider="TensorrtExecutionProvider",
        ),
        Engine(
            name="onnxruntime-tensorrt-rtx",
            title="ONNX Runtime, TensorRT-RTX",
            module="levit_engines.onnxruntime",
            extra="rtx-onnxruntime",
            distributions={
                "onnxruntime": "onnxruntime",
                "onnxruntime_ep_nv_tensorrt_rtx": "onnxruntime-ep-nv-tensorrt-rtx",
            },
            device="cuda",
            provider="NvTensorRTRTXExecutionProvider",
        ),
        Engine(
            name="openvino",
            title="OpenVINO, CPU",
            module="levit_engines.openvino",
            extra="openvino",
            distributions={"openvino": "openvino"},
            precisions=("fp32", "fp16", "int8"),
            buildable=True,
        ),
        Engine(
            name="native",
            title="Kernels of levit-deploy, CPU",
            module="levit_engines.native",
            extra="cpu",
            distributions={"levit_engines.native": "levit-deploy"},
            precisions=("fp32", "int8"),
            side_by_side=True,
        ),
        Engine(
            name="tensorrt",
            title="TensorRT",
            module="levit_engines.tensorrt",
            extra="gpu",
            distributions={"tensorrt": "tensorrt", "cuda.bindings": "cuda-bindings"},
            device="cuda",
            buildable=True,
            needs_building=True,
        ),
        Engine(
            name="tensorrt-rtx",
            title="TensorRT-RTX",
            module="levit_engines.tensorrt",
            extra="rtx",
            distributions={"tensorrt_rtx": "tensorrt-rtx", "cuda.bindings": "cuda-bindings"},
            device="cuda",
            buildable=True,
            builds_without_gpu=True,
            needs_building=True,
        ),
        Engine(
            name="torch-eager",
            title="PyTorch, eager",
            module="levit_engines.torch",
            extra="export",
            distributions={"torch": "torch"},
            precisions=("fp32",),
        ),
        Engine(
            name="torch-compile",
            title="PyTorch, torch.compile",
            module="levit_engines.torch",
            extra="export",
            distributions={"torch": "torch"},
            precisions=("fp32",),
        ),
    )
}
