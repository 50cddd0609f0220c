"""The passes on small graphs written as text, and what the promises refuse."""

import onnx
import onnx_ir as ir
import pytest

from levit_deploy.errors import ExportError
from levit_export.passes.names import NAME_SCOPES, NameByModulePath
from levit_export.passes.promises import require_promises
from levit_export.passes.records import RemoveExporterRecords

HEADER = '<ir_version: 10, opset_import: ["" : 18]>'


def parse(text, opset_header=HEADER):
    """A model from text; "__" stands for the "." that the text form does not allow in a name."""
    model = onnx.parser.parse_model(f"{opset_header} levit {text}")
    for constant in model.graph.initializer:
        constant.name = constant.name.replace("__", ".")
    for node in model.graph.node:
        node.input[:] = [name.replace("__", ".") for name in node.input]
    return model


def two_layers():
    model = ir.serde.deserialize_model(
        parse(
            "(float[2,3] images) => (float[2,3] logits)"
            "<float[3,3] network__first__weight = {1,0,0,0,1,0,0,0,1}, int64[2] val_3 = {3,2}, int64[2] val_4 = {2,3}>"
            "{ a = MatMul(images, network__first__weight) b = Relu(a) c = Reshape(b, val_3)"
            "  d = Reshape(c, val_4) e = Relu(d) logits = Add(e, b) }"
        )
    )
    scopes = ["network.first", "network.first", "network", None, "network.second", ""]
    for node, scope in zip(model.graph, scopes, strict=True):
        if scope is not None:
            node.metadata_props[NAME_SCOPES] = repr(["", scope, "op"])
    return model


def test_names_follow_the_module_paths():
    model = two_layers()
    assert NameByModulePath(root="network")(model).modified
    assert [node.name for node in model.graph] == [
        "first/MatMul",
        "first/Relu",
        "levit/Reshape",
        "levit/Reshape_1",  # came without a path: belongs to what stands before it
        "second/Relu",
        "levit/Add",
    ]
    assert [node.outputs[0].name for node in model.graph][:5] == [node.name for node in model.graph][:5]
    assert model.graph.outputs[0].name == "logits"
    assert set(model.graph.initializers) == {
        "first.weight",
        "levit/Reshape:shape1",
        "levit/Reshape_1:shape1",
    }


def test_naming_twice_changes_nothing_even_without_the_records():
    model = two_layers()
    NameByModulePath(root="network")(model)
    RemoveExporterRecords()(model)
    assert not NameByModulePath(root="network")(model).modified


def test_several_results_of_a_node_are_numbered():
    model = ir.serde.deserialize_model(
        parse(
            "(float[2,4] images) => (float[2,2] logits)"
            "{ a, b = Split<axis=1, num_outputs=2>(images) logits = Add(a, b) }"
        )
    )
    NameByModulePath()(model)
    assert [output.name for output in model.graph[0].outputs] == ["levit/Split:0", "levit/Split:1"]


def test_records_of_the_exporter_are_removed():
    model = two_layers()
    model.graph[0].metadata_props["pkg.torch.onnx.stack_trace"] = 'File "/home/someone/secret.py"'
    model.graph.inputs[0].metadata_props["x"] = "y"
    model.doc_string = "somewhere"
    assert RemoveExporterRecords()(model).modified
    content = ir.serde.serialize_model(model).SerializeToString()
    assert b"secret" not in content
    assert b"somewhere" not in content
    assert not RemoveExporterRecords()(model).modified


def named(model):
    for number, node in enumerate(model.graph.node):
        node.name = f"levit/{node.op_type}_{number}"
    return model


GOOD = "(float[1,3] images) => (float[1,3] logits) <float[3] w = {1,2,3}> { logits = Mul(images, w) }"
BROKEN = {
    "Identity": "(float[1,3] images) => (float[1,3] logits) { a = Relu(images) logits = Identity(a) }",
    "dead nodes": "(float[1,3] images) => (float[1,3] logits) { dead = Relu(images) logits = Relu(images) }",
    "unread constants": "(float[1,3] images) => (float[1,3] logits) <float[3] w = {1,2,3}> { logits = Relu(images) }",
    "Shape": "(float[1,3] images) => (float[1,3] logits) { s = Shape(images) logits = Reshape(images, s) }",
    "ONNX checker": "(float[1,3] images) => (float[1,4] logits) { logits = Relu(images) }",
}


def test_good_graph_passes():
    require_promises(named(parse(GOOD)), static=True)


@pytest.mark.parametrize(("named_fault", "text"), BROKEN.items(), ids=BROKEN.keys())
def test_broken_promise_is_named(named_fault, text):
    with pytest.raises(ExportError, match=named_fault):
        require_promises(named(parse(text)), static=True)


def test_shape_arithmetic_is_allowed_where_the_batch_is_dynamic():
    require_promises(named(parse(BROKEN["Shape"].replace("1,3", "batch,3"))), static=False)


def test_node_without_a_module_path_is_refused():
    with pytest.raises(ExportError, match="without a module path"):
        require_promises(parse(GOOD), static=True)
