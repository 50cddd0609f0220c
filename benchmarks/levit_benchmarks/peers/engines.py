"""The engines that peers run on: each writes the file that is timed, and opens it. Importing this loads none."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from levit_benchmarks.peers.reference import Infer
from levit_deploy.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

ONNX_FILE, WEIGHTS_FILE, PROGRAMS_FOLDER = "model.onnx", "weights.safetensors", "programs"
# timm's LeViT keeps the gathered biases of its first call, and is compiled once more at the second.
CALLS_TO_COMPILE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedEngine:
    """A network that is ready for batches of one size."""

    version: str
    infer: Infer
    close: Callable[[], None]
    side_by_side: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One session: its images (B, 3, S, S) and its threads. `build` makes the fused network, its weights any."""

    batch: int
    image_size: int
    threads: int
    build: Callable[[], nn.Module]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the images."""
        return self.batch, 3, self.image_size, self.image_size


class Engine(Protocol):
    """How a network of PyTorch is run, after an export where it `exports`.

    `write` returns the name of the file that is timed; `open` finds it in the same folder.
    """

    @property
    def name(self) -> str: ...

    @property
    def packages(self) -> tuple[str, ...]: ...

    @property
    def exports(self) -> bool: ...

    @property
    def description(self) -> str: ...

    def import_library(self) -> None: ...

    def write(self, network: nn.Module, setting: Setting, folder: Path) -> str: ...

    def open(self, folder: Path, setting: Setting) -> OpenedEngine: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRuntime:
    """ONNX Runtime on the CPU, with the export and the session that everybody starts with."""

    name: str = "onnxruntime"
    packages: tuple[str, ...] = ("onnxscript", "onnxruntime")
    exports: bool = True
    description: str = "torch.onnx.export(dynamo=True), default opset, static batch; session options are the defaults"

    def import_library(self) -> None:
        from levit_deploy.onnxruntime_session import import_onnxruntime

        import_onnxruntime()

    def write(self, network: nn.Module, setting: Setting, folder: Path) -> str:
        return _export(network, setting, folder)

    def open(self, folder: Path, setting: Setting) -> OpenedEngine:
        from levit_deploy.onnxruntime_session import SessionSettings, import_onnxruntime, open_session

        session = open_session(folder / ONNX_FILE, SessionSettings(threads=setting.threads))
        feed, logits = session.get_inputs()[0].name, session.get_outputs()[0].name

        def infer(images: NDArray[Any]) -> NDArray[np.float32]:
            (found,) = session.run([logits], {feed: images})
            array: NDArray[np.float32] = found
            return array

        return OpenedEngine(
            version=import_onnxruntime().__version__,
            infer=infer,
            close=lambda: None,
            side_by_side=setting.threads == 1,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenVino:
    """OpenVINO on the CPU, with the properties that our own engine asks for."""

    name: str = "openvino"
    packages: tuple[str, ...] = ("onnxscript", "openvino")
    exports: bool = True
    description: str = "torch.onnx.export(dynamo=True), default opset, static batch; latency hint, float32"

    def import_library(self) -> None:
        from levit_engines.openvino.library import import_openvino

        import_openvino()

    def write(self, network: nn.Module, setting: Setting, folder: Path) -> str:
        return _export(network, setting, folder)

    def open(self, folder: Path, setting: Setting) -> OpenedEngine:
        from levit_engines.openvino.compiling import compile_graph
        from levit_engines.openvino.library import full_version, import_openvino

        openvino, path = import_openvino(), folder / ONNX_FILE
        request = compile_graph(openvino, path.read_bytes(), setting.threads, name=str(path)).create_infer_request()

        def infer(images: NDArray[Any]) -> NDArray[np.float32]:
            logits: NDArray[np.float32] = request.infer([images], share_inputs=True)[0]
            return logits

        return OpenedEngine(version=full_version(openvino), infer=infer, close=lambda: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Torch:
    """PyTorch in inference mode; compiled in `mode`, or eager where that is None."""

    name: str
    mode: str | None = None
    packages: tuple[str, ...] = ("safetensors",)
    exports: bool = False

    @property
    def description(self) -> str:
        """As a user would write it."""
        return "eager" if self.mode is None else f"torch.compile(mode={self.mode!r}), programs cached when prepared"

    def import_library(self) -> None:
        importlib.import_module("torch")

    def write(self, network: nn.Module, setting: Setting, folder: Path) -> str:
        import safetensors.torch

        state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        safetensors.torch.save_file(state, folder / WEIGHTS_FILE)
        if self.mode is not None:
            self.open(folder, setting).close()  # this takes minutes, and leaves its programs
        return WEIGHTS_FILE

    def open(self, folder: Path, setting: Setting) -> OpenedEngine:
        import safetensors.torch
        import torch

        from levit_engines.torch.runner import ProcessThreads, call

        network = setting.build().eval()
        network.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS_FILE))
        threads = ProcessThreads(setting.threads)
        threads.take()
        try:
            runnable = self._compiled(network, setting, folder)
        except BaseException:
            threads.give_back()
            raise

        def infer(images: NDArray[Any]) -> NDArray[np.float32]:
            logits: NDArray[np.float32] = call(runnable, torch.from_numpy(images)).numpy()
            return logits

        return OpenedEngine(version=torch.__version__, infer=infer, close=threads.give_back)

    def _compiled(self, network: nn.Module, setting: Setting, folder: Path) -> Any:
        if self.mode is None:
            return network
        import torch

        from levit_engines.torch.compiling import refusal
        from levit_engines.torch.runner import call

        compiled = torch.compile(network, mode=self.mode)
        try:
            with _programs_in(folder / PROGRAMS_FOLDER):
                for _ in range(CALLS_TO_COMPILE):
                    call(compiled, torch.zeros(setting.shape))
        except Exception as error:  # compilers raise whatever they meet
            raise refusal(error) from error
        return compiled


ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        engine.name: engine
        for engine in (
            OnnxRuntime(),
            OpenVino(),
            Torch(name="torch-eager"),
            Torch(name="torch-compile", mode="default"),
            Torch(name="torch-compile-max-autotune", mode="max-autotune"),
        )
    }
)


def engine_for(name: str) -> Engine:
    """The engine of that name; ConfigError, listing the choices, where there is none."""
    if name not in ENGINES:
        raise ConfigError(f"no peer runs on {name!r}: choose from {', '.join(ENGINES)}")
    return ENGINES[name]


def _export(network: nn.Module, setting: Setting, folder: Path) -> str:
    import torch

    torch.onnx.export(
        network,
        (torch.zeros(setting.shape),),
        folder / ONNX_FILE,
        dynamo=True,
        external_data=False,  # one file, so one hash
        verbose=False,
    )
    return ONNX_FILE


@contextmanager
def _programs_in(folder: Path) -> Iterator[None]:
    """What torch.compile makes meanwhile is kept in `folder`, and taken from there."""
    with patch.dict("os.environ", {"TORCHINDUCTOR_CACHE_DIR": str(folder)}):
        yield
