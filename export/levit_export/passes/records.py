"""Remove the exporter's debugging records: they hold source lines and paths of the exporting machine.

With them the same network would give other bytes on every machine; the module paths they also hold are in the
names by then (`names.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

import onnx_ir as ir


class RemoveExporterRecords(ir.passes.InPlacePass):
    """Clear the metadata and documentation of the model, its graph, nodes and values."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for record in _records(model):
            modified = modified or bool(record)
            record.clear()
        for described in (model, model.graph, *model.graph):
            modified = modified or bool(described.doc_string)
            described.doc_string = None
        return ir.passes.PassResult(model, modified=modified)


def _records(model: ir.Model) -> Iterator[MutableMapping[str, str]]:
    yield model.metadata_props
    yield model.graph.metadata_props
    for node in model.graph:
        yield node.metadata_props
        for output in node.outputs:
            yield output.metadata_props
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        yield value.metadata_props
