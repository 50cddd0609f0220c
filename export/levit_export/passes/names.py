"""Name every node, value and constant after the PyTorch module that computes it.

A node becomes `stages.1.blocks.0.attention.qkv/Conv`, its result the same name, several results `…/Split:0`, `:1`;
a second node of that kind in a module `…/MatMul_1`. Constants that are not parameters are named after their first
reader, `…/Reshape:shape`. So a value found to be wrong names the module at fault, in every tool that shows names.

Idempotent: the path is read from the exporter's metadata or, once that is gone, from the name itself.
"""

from __future__ import annotations

import ast
from collections import Counter

import onnx_ir as ir

from levit_deploy.probes import ROOT_PATH
from levit_export.naming import SEPARATOR

NAME_SCOPES = "pkg.torch.onnx.name_scopes"
CONSTANT_ROLES = {"Reshape": "shape", "Split": "split", "ReduceMean": "axes", "Slice": "slice"}


class NameByModulePath(ir.passes.InPlacePass):
    """Rename in place; graph inputs, outputs and parameters keep the names they have.

    `root` is the path of the module that was exported inside a wrapper; it is cut from the front of every path.
    """

    def __init__(self, root: str = "") -> None:
        super().__init__()
        self._root = root

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        before = _names(graph)
        used: Counter[str] = Counter()
        path = ""
        constants = _set_constants_aside(graph)
        for node in graph:
            # Nodes that a rewrite created carry no path: they belong to what stands before them.
            path = self._module_path(node, default=path)
            node.name = _unique(f"{path or ROOT_PATH}{SEPARATOR}{node.op_type}", used)
            for position, output in enumerate(node.outputs):
                if not output.is_graph_output():
                    output.name = node.name if len(node.outputs) == 1 else f"{node.name}:{position}"
            for position, value in enumerate(node.inputs):
                if value in constants:
                    constants.remove(value)
                    role = CONSTANT_ROLES.get(node.op_type, "constant")
                    value.name = f"{node.name}:{role}{position}"
        if self._root:
            for value in tuple(graph.initializers.values()):
                value.name = str(value.name).removeprefix(f"{self._root}.")
        return ir.passes.PassResult(model, modified=_names(graph) != before)

    def _module_path(self, node: ir.Node, *, default: str) -> str:
        scopes = node.metadata_props.get(NAME_SCOPES)
        if scopes is not None:
            # "['', 'stages', 'stages.0', 'conv2d_3']": the last entry is the operation, not a module.
            path = str(ast.literal_eval(scopes)[-2])
            return path.removeprefix(self._root).removeprefix(".")
        name = node.name or ""
        return name.rsplit(SEPARATOR, 1)[0] if SEPARATOR in name else default


def _unique(name: str, used: Counter[str]) -> str:
    used[name] += 1
    return name if used[name] == 1 else f"{name}_{used[name] - 1}"


def _names(graph: ir.Graph) -> list[str | None]:
    values = [output.name for node in graph for output in node.outputs]
    return [node.name for node in graph] + values + sorted(graph.initializers)


def _set_constants_aside(graph: ir.Graph) -> set[ir.Value]:
    """The constants that are not parameters of a module, renamed so that no new name can meet an old one."""
    constants = [value for name, value in graph.initializers.items() if "." not in name or SEPARATOR in name]
    for number, value in enumerate(constants):
        value.name = f"~{number}"
    return set(constants)
