"""An ONNX graph on ONNX Runtime as a candidate of the parity ladder; its values are probed by their names.

Names of nodes carry module paths (`levit_export.passes.names`), so a probe finds its value in either graph form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from levit_deploy.errors import BundleError, ExportError
from levit_deploy.messages import short_message
from levit_deploy.onnxruntime_session import SessionSettings, open_session
from levit_deploy.probes import INPUT_PATH, Probe, Role, sample
from levit_export.naming import INPUT_NAME, LOGITS_NAME, SEPARATOR, TOP_K_NAMES, packed_path
from levit_export.precision.emulation import emulated, has_half_precision

if TYPE_CHECKING:
    import onnxruntime

    from levit_deploy.module_truth import ProbeValues

# Which node under the module's path writes a role's value: the first of this type.
NODE_TYPE_OF_ROLE = {Role.SCORES: "MatMul", Role.WEIGHTS: "Softmax"}


class GraphCandidate:
    """A graph on ONNX Runtime's CPU provider: as it is written, or `optimized` by ONNX Runtime as users get it."""

    def __init__(
        self,
        stage: str,
        model: onnx.ModelProto,
        probes: Sequence[Probe],
        *,
        optimized: bool,
        threads: int | None = None,
    ) -> None:
        """Load the graph. Raises ExportError when ONNX Runtime refuses it."""
        self.stage = stage
        self._model = model
        self._probes = probes
        self._optimized = optimized
        self._threads = threads
        self._session = self._open(model)
        self._outputs = [output.name for output in self._session.get_outputs()]

    @property
    def takes_pixels(self) -> bool:
        """Whether the graph normalises RGB pixels by itself."""
        return bool(self._session.get_inputs()[0].type == "tensor(uint8)")

    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits (n, K). Raises ExportError when it cannot run, or when its best classes contradict its logits."""
        results = _run(self._session, self._outputs, images)
        if LOGITS_NAME not in results:
            raise ExportError(f"the graph gives {', '.join(results)}, but no {LOGITS_NAME!r}")
        logits: NDArray[np.float32] = results[LOGITS_NAME]
        # Logits that are not finite have no best classes; the ladder will say what they are.
        if set(TOP_K_NAMES) <= set(results) and np.isfinite(logits).all():
            _require_best_classes(logits, *(results[name] for name in TOP_K_NAMES))
        return logits

    def probe(self, images: NDArray[Any]) -> ProbeValues:
        """Every probe whose value has a name in the graph; reading values keeps some nodes from being fused."""
        return probed(self._model, self._probes, images, lambda graph, names: _run(self._open(graph), names, images))

    def _open(self, model: onnx.ModelProto) -> onnxruntime.InferenceSession:
        try:
            return open_session(
                model.SerializeToString(),
                SessionSettings(threads=self._threads, optimized=self._optimized),
                name="the exported graph",
            )
        except BundleError as error:
            raise ExportError(str(error)) from error


def graph_as_written(stage: str, model: onnx.ModelProto, probes: Sequence[Probe]) -> GraphCandidate:
    """The graph node by node, so that what an engine makes of it is a step of its own.

    In half precision every result is rounded, as no engine is bound to do. Raises ExportError.
    """
    return GraphCandidate(stage, emulated(model) if has_half_precision(model) else model, probes, optimized=False)


ReadValues = Callable[[onnx.ModelProto, list[str]], Mapping[str, NDArray[Any]]]
"""Runs a graph, and gives those of its outputs that are named."""


def probed(
    model: onnx.ModelProto, probes: Sequence[Probe], images: NDArray[Any], read_values: ReadValues
) -> ProbeValues:
    """Sampled values of the probes whose value has a name in the graph, which `read_values` runs on `images`."""
    names = values_of(model.graph, probes)
    wanted = sorted(set(names.values()) - {INPUT_NAME})
    # Asked for nothing, ONNX Runtime would give everything.
    results = {INPUT_NAME: images, **(read_values(_with_outputs(model, wanted), wanted) if wanted else {})}
    return {probe.name: _sampled(results[name], probe, len(images)) for probe, name in names.items()}


def _run(session: onnxruntime.InferenceSession, outputs: list[str], images: NDArray[Any]) -> dict[str, NDArray[Any]]:
    try:
        values = session.run(outputs, {INPUT_NAME: images})
    except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
        raise ExportError(f"ONNX Runtime cannot run the exported graph: {short_message(error)}") from error
    return dict(zip(outputs, values, strict=True))


def _sampled(value: NDArray[Any], probe: Probe, images: int) -> NDArray[np.float64]:
    is_tensor = isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
    if not is_tensor or not 2 <= value.ndim <= 4 or len(value) % images:
        return np.empty((images, 0))  # no value of these images: it counts as infinitely wrong
    # A linear layer may have been written as a product of (B·T, C).
    rows = value.reshape(images, -1, value.shape[-1]) if value.ndim == 2 else value
    return sample(rows, probe).astype(np.float64)


def values_of(graph: onnx.GraphProto, probes: Sequence[Probe]) -> dict[Probe, str]:
    """The names of the graph's values that `probes` mean; without those that the graph does not have."""
    nodes: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        nodes.setdefault(node.name.rpartition(SEPARATOR)[0], []).append(node)
    constants = {constant.name for constant in graph.initializer}
    found = {probe: _value_of(nodes, probe, following) for probe, following in zip_longest(probes, probes[1:])}
    return {probe: name for probe, name in found.items() if name is not None and name not in constants}


def _value_of(nodes: Mapping[str, Sequence[onnx.NodeProto]], probe: Probe, following: Probe | None) -> str | None:
    """What a node of the module writes or, of values between modules, what the first node after it reads.

    The latter finds a value too when the node that should compute it is not there.
    """
    if probe.role is Role.OUTPUT and probe.path in nodes:
        return str(nodes[probe.path][-1].output[0])
    if packed_path(probe.path) in nodes:  # what that layer gives is not what the probe means
        return None
    if probe.path == INPUT_PATH:
        return INPUT_NAME
    if probe.role in NODE_TYPE_OF_ROLE:
        writer = _first_node(nodes, probe)
        return None if writer is None else str(writer.output[0])
    if following is None or (probe.role is Role.PICKED_TOKENS and _picks_by_stride(nodes.get(following.path, ()))):
        return None
    reader = _first_node(nodes, following)
    return None if reader is None or not reader.input else str(reader.input[0])


def _picks_by_stride(query: Sequence[onnx.NodeProto]) -> bool:
    """Whether the query layer itself picks its tokens, as a convolution does: then there is no such value."""
    return any(node.op_type == "Conv" for node in query)


def _first_node(nodes: Mapping[str, Sequence[onnx.NodeProto]], probe: Probe) -> onnx.NodeProto | None:
    """The first node of the probed module, of the type that writes the role if that is known."""
    wanted = NODE_TYPE_OF_ROLE.get(probe.role)
    return next((node for node in nodes.get(probe.path, ()) if wanted in (None, node.op_type)), None)


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy of `model` that gives the values `names` too."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    present = {output.name for output in model.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    return copy


def _require_best_classes(
    logits: NDArray[np.float32], probabilities: NDArray[np.float32], classes: NDArray[np.int64]
) -> None:
    """Raise ExportError unless the graph's best classes are those of its own logits."""
    if classes.shape != probabilities.shape or classes.ndim != logits.ndim or classes.dtype.kind != "i":
        raise ExportError(f"the graph's best classes are {classes.dtype} {classes.shape}")
    if not ((classes >= 0) & (classes < logits.shape[1])).all():
        raise ExportError(f"the graph's best classes are not all from 0 to {logits.shape[1] - 1}")
    best = -np.sort(-logits, axis=1)[:, : classes.shape[1]]
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    expected = -np.sort(-exponentials / exponentials.sum(1, keepdims=True), axis=1)[:, : classes.shape[1]]
    named_right = np.array_equal(np.take_along_axis(logits, classes, axis=1), best)
    if not (named_right and np.allclose(probabilities, expected, rtol=1e-4, atol=1e-7)):
        raise ExportError("the graph's best classes are not those of its logits")
