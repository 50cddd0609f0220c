"""What every exported graph promises, checked on the finished protobuf.

No Identity, Dropout or BatchNormalization; no dead node or unread constant; for a static batch no shape
arithmetic; names that carry a module path; and the ONNX checker with full, strict shape inference.
"""

from __future__ import annotations

import onnx

from levit_deploy.errors import ExportError
from levit_export.naming import SEPARATOR

FORBIDDEN = frozenset({"Identity", "Dropout", "BatchNormalization"})
SHAPE_ARITHMETIC = frozenset({"Shape", "Size", "Gather", "Unsqueeze", "Squeeze", "Concat", "ConstantOfShape", "Range"})


def require_promises(model: onnx.ModelProto, *, static: bool) -> None:
    """Raise ExportError, naming the nodes at fault, when the graph breaks one of the promises above."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"the exported graph does not pass the ONNX checker: {reason}") from error
    unwanted = FORBIDDEN | SHAPE_ARITHMETIC if static else FORBIDDEN
    _refuse("nodes that should not be left", [n for n in model.graph.node if n.op_type in unwanted])
    _refuse("dead nodes", _dead_nodes(model.graph))
    _refuse("nodes without a module path", [n for n in model.graph.node if SEPARATOR not in n.name])
    read = {name for node in model.graph.node for name in node.input}
    unread = [constant.name for constant in model.graph.initializer if constant.name not in read]
    if unread:
        raise ExportError(f"the exported graph has unread constants: {', '.join(unread[:5])}")


def _dead_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    return [node for node in graph.node if not read.intersection(node.output)]


def _refuse(what: str, nodes: list[onnx.NodeProto]) -> None:
    if nodes:
        named = ", ".join(f"{node.name} ({node.op_type})" for node in nodes[:5])
        raise ExportError(f"the exported graph has {len(nodes)} {what}: {named}")
