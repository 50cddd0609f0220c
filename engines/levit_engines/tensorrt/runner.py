"""The plan of a bundle on an NVIDIA GPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from levit_deploy.bundle import Bundle
from levit_deploy.errors import RunnerError
from levit_deploy.manifest import BatchSizes
from levit_engines.built import entry_of
from levit_engines.bundle_runner import BundleRunner, require_specification
from levit_engines.tensorrt.api import Library
from levit_engines.tensorrt.compatibility import build_again, require_capability, require_platform, require_version
from levit_engines.tensorrt.devices import Gpu, find_gpu, load_cuda
from levit_engines.tensorrt.execution import Execution
from levit_engines.tensorrt.flavours import Flavour, flavour_of, load_library
from levit_engines.tensorrt.kernels import KeptKernels
from levit_engines.tensorrt.memory import CudaRuntime
from levit_engines.tensorrt.optional_api import SpecializingLibrary


class TensorRTRunner(BundleRunner):
    """A Runner on one execution context of TensorRT or TensorRT-RTX.

    Safe to call from several threads, which take turns. Batch sizes are those of the engine's profile.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: str,
        *,
        threads: int | None = None,
        library: Library | None = None,
        cuda: CudaRuntime | None = None,
        kernel_folder: Path | None = None,
    ) -> None:
        """Check that the engine can run here, then load and try it; `library` and `cuda` default to what is installed.

        Kernels that the library compiles while it runs are kept in `kernel_folder`, if there is one.

        Raises:
            EnvironmentIncompleteError: the bundle has no such engine, or it is not for this machine.
            BundleError: the plan is altered, or is none.
            RunnerError: the GPU failed.
        """
        flavour = flavour_of(engine)
        require_specification(bundle)
        entry = entry_of(bundle, engine)
        library = load_library(flavour) if library is None else library
        require_version(bundle, flavour, entry, library)
        require_platform(bundle, flavour, entry)
        cuda = cast(CudaRuntime, load_cuda(flavour.extra)) if cuda is None else cuda
        gpu = find_gpu(cuda)
        require_capability(bundle, flavour, entry, library, gpu)
        plan = bundle.read(entry.files[0])
        kernels = None
        if kernel_folder is not None:
            sha256 = bundle.manifest.members[entry.files[0]].sha256
            kernels = KeptKernels(kernel_folder, plan_sha256=sha256, version=library.__version__, gpu=gpu)
        minimum, maximum = entry.profile.minimum, entry.profile.maximum
        self._batch_sizes = _profiled(bundle.manifest.batch_sizes, minimum, maximum)
        self._turn = threading.Condition()
        self._one_at_a_time = threading.Lock()
        self._users = 0
        self._gpu_ns: int | None = None
        self._execution: Execution | None = Execution(
            library,
            cuda,
            images=bundle.manifest.input,
            outputs=bundle.manifest.outputs,
            maximum=maximum,
            # Kernels for the shape at hand are compiled while the first runs go on; a graph would keep the others.
            graphs=minimum == maximum or not isinstance(library, SpecializingLibrary),
        )
        try:
            self._execution.load(plan, str(bundle.path / entry.files[0]), build_again(bundle, flavour), kernels)
            graph = _try(self._execution, bundle, entry.profile.optimum)
        except BaseException:
            self._execution.close()
            raise
        super().__init__(
            bundle,
            engine=engine,
            provenance=_provenance(bundle, entry.files[0], flavour, library, gpu, graph=graph),
            notes=tuple(note for note in (_thread_note(flavour, threads), kernels.note if kernels else "") if note),
        )

    @property
    def batch_sizes(self) -> BatchSizes:
        """How many images one call may hold: what the engine was built for."""
        return self._batch_sizes

    @property
    def device(self) -> str:
        """Always the first GPU that the process may see."""
        return "cuda:0"

    @property
    def gpu_ns(self) -> int | None:
        """See `BundleRunner.gpu_ns`."""
        return self._gpu_ns

    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        with self._using() as execution:
            logits = execution.run(images)
            self._gpu_ns = execution.gpu_ns
            return logits

    def _free(self) -> None:
        """Free the GPU, once the calls that have begun are done."""
        with self._turn:
            execution, self._execution = self._execution, None
            self._turn.wait_for(lambda: self._users == 0)
        if execution is not None:
            execution.close()

    @contextmanager
    def _using(self) -> Iterator[Execution]:
        """The execution, for one thread at a time; calls that wait keep it from being freed."""
        with self._turn:
            execution = self._execution
            if execution is None:
                raise RunnerError(f"the runner of {self._bundle.path} is closed: open another")
            self._users += 1
        try:
            with self._one_at_a_time:
                yield execution
        finally:
            with self._turn:
                self._users -= 1
                self._turn.notify_all()


def _profiled(sizes: BatchSizes, minimum: int, maximum: int) -> BatchSizes:
    """`sizes` within a profile; its ends count as verified where no verified size is left."""
    verified = tuple(size for size in sizes.verified if minimum <= size <= maximum)
    return replace(sizes, minimum=minimum, maximum=maximum, verified=verified or (minimum, maximum))


def _try(execution: Execution, bundle: Bundle, batch: int) -> bool:
    """Run zeros twice, so that what fails does it now, and images find a warm engine; whether that was by a graph."""
    specification = bundle.manifest.input
    sides = [side for side in specification.shape[1:] if isinstance(side, int)]
    zeros = np.zeros((batch, *sides), specification.dtype)
    for _ in range(2):
        execution.run(zeros)
    return execution.uses_graph


def _thread_note(flavour: Flavour, threads: int | None) -> str:
    return "" if threads is None else f"--threads {threads} changes nothing: {flavour.title} runs on the GPU"


def _provenance(
    bundle: Bundle, file: str, flavour: Flavour, library: Library, gpu: Gpu, *, graph: bool
) -> dict[str, str]:
    return {
        "engine_version": library.__version__,
        "library": flavour.title,
        "device": "cuda:0",
        "gpu": gpu.name,
        "compute_capability": gpu.capability_text,
        "driver": gpu.driver,
        "cuda_graph": "yes" if graph else "no",
        "graph": file,
        "plan_sha256": bundle.manifest.members[file].sha256,
    }
