"""A Runner on one ONNX Runtime session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from levit_deploy.bundle import Bundle
from levit_deploy.errors import RunnerError
from levit_deploy.messages import short_message
from levit_deploy.onnxruntime_session import CPU_PROVIDER, SessionSettings, open_session
from levit_deploy.runner import LOGITS
from levit_engines.bundle_runner import BundleRunner

if TYPE_CHECKING:
    import onnxruntime


class OnnxRuntimeRunner(BundleRunner):
    """A session on the bundle's graph.

    Safe to call from several threads: they share the session, and with it its threads.
    """

    def __init__(
        self,
        bundle: Bundle,
        session: onnxruntime.InferenceSession,
        *,
        engine: str,
        settings: SessionSettings,
        provenance: Mapping[str, str],
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(bundle, engine=engine, provenance=provenance, notes=tuple(notes))
        self._settings = settings
        self._session: onnxruntime.InferenceSession | None = session

    @property
    def device(self) -> str:
        """The CPU, or the GPU and its index."""
        return "cpu" if self._settings.provider == CPU_PROVIDER else "cuda:0"

    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        session = self._session  # kept alive until the call ends, should another thread close the runner
        if session is None:
            self._require_open()
        try:
            logits: NDArray[np.float32] = self._logits(session, images)
        except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
            raise RunnerError(f"ONNX Runtime failed: {short_message(error)}") from error
        return logits

    def read_values(self, graph: bytes, names: Sequence[str], images: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """See `BundleRunner.read_values`; reading values keeps some nodes from being fused."""
        session = open_session(graph, self._settings, name="the graph with its values as outputs")
        try:
            return dict(zip(names, session.run(list(names), {self.input.name: images}), strict=True))
        except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
            raise RunnerError(f"ONNX Runtime failed: {short_message(error)}") from error

    def _logits(self, session: Any, images: NDArray[Any]) -> NDArray[np.float32]:
        (logits,) = session.run([LOGITS], {self.input.name: images})
        return logits  # type: ignore[no-any-return]

    def _free(self) -> None:
        self._session = None


class BoundOnnxRuntimeRunner(OnnxRuntimeRunner):
    """A session whose input is copied to the device by us, and whose logits alone are copied back.

    A binding belongs to one call, so several threads may call.
    """

    def _logits(self, session: Any, images: NDArray[Any]) -> NDArray[np.float32]:
        import onnxruntime

        device, _, index = self.device.partition(":")
        pixels = onnxruntime.OrtValue.ortvalue_from_numpy(images, device, int(index or 0))
        binding = session.io_binding()
        binding.bind_ortvalue_input(self.input.name, pixels)
        binding.bind_output(LOGITS, "cpu")  # the only output that is computed and copied
        session.run_with_iobinding(binding)
        (logits,) = binding.copy_outputs_to_cpu()
        return logits  # type: ignore[no-any-return]
