"""levit-verify on bundles that were altered: bad input is one line that names the file, never a traceback or a pass."""

import json
import os

import numpy as np
import onnx
import pytest
from bundle_surgery import copy_of, edit_weights, edited_graph, edited_json, edited_tensors, replace_file

from levit_deploy.bundle import GOLDEN, LABELS, MANIFEST, MODEL, MODULES, PARITY
from levit_engines.cli import verify

MEMBERS = (MODEL, LABELS, GOLDEN, MODULES, PARITY)
# No stage can be run, which is quick, where a test is about something else.
NO_MODEL = b"not ONNX"


@pytest.fixture(scope="module")
def bundle(exported):
    return exported(arch="128S", image_size=64, batch=(1, 3), simplify=False).bundle.path


@pytest.fixture
def run(capsys):
    """Run the command: (exit code, stdout, stderr without the progress)."""

    def run_here(*arguments):
        code = verify.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, "".join(line for line in err.splitlines(keepends=True) if not line.startswith("["))

    return run_here


def assert_bad_input(result, named):
    code, out, err = result
    assert (code, out) == (3, "")
    assert err.startswith("levit-verify: error: ")
    assert err.count("\n") == 1
    assert named in err


def flip_one_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    replace_file(path, bytes(content))


def cut_off_the_end(path):
    replace_file(path, path.read_bytes()[:-1])


def append(path):
    replace_file(path, path.read_bytes() + b"\n")


def empty(path):
    replace_file(path, b"")


def remove(path):
    path.unlink()


def make_link(path):
    outside = path.parent.parent / "outside"
    path.rename(outside)
    path.symlink_to(outside)


def make_folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = (flip_one_bit, cut_off_the_end, append, empty, remove, make_link, make_folder)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_that_is_not_as_it_was_written_is_named(bundle, run, tmp_path, member, damage):
    copy = copy_of(bundle, tmp_path)
    damage(copy / member)
    assert_bad_input(run(copy), member)


def test_damage_is_seen_before_any_weights_are_loaded(bundle, run, tmp_path):
    copy = copy_of(bundle, tmp_path)
    flip_one_bit(copy / GOLDEN)
    assert_bad_input(run(copy, "--checkpoint", tmp_path / "absent.pth", "--json"), GOLDEN)


def change_hash(manifest):
    digest = manifest["members"][MODEL]["sha256"]
    manifest["members"][MODEL]["sha256"] = ("1" if digest[0] == "0" else "0") + digest[1:]


MANIFESTS = {
    "hash": (change_hash, MODEL),
    "size": (lambda manifest: manifest["members"][LABELS].update(size_bytes=1), LABELS),
    "unlisted member": (lambda manifest: manifest["members"].pop(MODULES), MODULES),
    "unlisted ladder": (lambda manifest: manifest["members"].pop(PARITY), PARITY),
    "member outside": (lambda manifest: manifest["members"].update({"../x": manifest["members"][LABELS]}), "../x"),
    "no network": (lambda manifest: manifest.pop("network"), "'network'"),
    "other variant": (lambda manifest: manifest["network"].update(arch="128"), "128"),
    "schema": (lambda manifest: manifest.update(schema_version=2), "schema version 2"),
    "tolerance": (lambda manifest: manifest["golden_tolerance"].__setitem__(0, 1.0), PARITY),
    "fewer tolerances": (lambda manifest: manifest["golden_tolerance"].pop(), GOLDEN),
    "NaN as tolerance": (
        lambda manifest: manifest["golden_tolerance"].__setitem__(0, float("nan")),
        "golden_tolerance",
    ),
    "batch sizes": (lambda manifest: manifest["batch_sizes"].update(maximum=0), "batch sizes"),
    "other input": (lambda manifest: manifest["input"].update(dtype="uint8"), "uint8"),
}


@pytest.mark.parametrize(("edit", "named"), MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_manifest_that_contradicts_itself_or_its_files_is_refused(bundle, run, tmp_path, edit, named):
    assert_bad_input(run(copy_of(bundle, tmp_path, edit_manifest=edit)), named)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000], ids=lambda content: repr(content[:2]))
def test_a_manifest_that_is_none_is_refused(bundle, run, tmp_path, content):
    copy = copy_of(bundle, tmp_path)
    replace_file(copy / MANIFEST, content)
    assert_bad_input(run(copy), MANIFEST)


def test_what_is_no_bundle_is_refused(run, tmp_path):
    assert_bad_input(run(tmp_path), str(tmp_path))
    assert_bad_input(run(tmp_path / "absent"), "absent")


def first_rung(**changes):
    return lambda parity: parity["rungs"][0].update(changes)


def without(*names):
    def edit(parity):
        for name in names:
            parity.pop(name)

    return edit


FLIP = {"image": 1, "reference_class": 1, "candidate_class": 2, "margin": 0.1}
LADDERS = {
    "no rungs": without("rungs"),
    "rungs that are a number": lambda parity: parity.update(rungs=3),
    "rungs that are an object": lambda parity: parity.update(rungs={}),
    "nothing measured": lambda parity: parity.update(rungs=[]),
    "a rung that is a text": lambda parity: parity.update(rungs=["fused"]),
    "no bounds": without("bound"),
    "bounds that are a list": lambda parity: parity.update(bound=[]),
    "other bounds": lambda parity: parity["bound"]["per_image"].__setitem__(0, 1.0),
    "NaN as a bound": lambda parity: parity["bound"]["per_image"].__setitem__(0, float("nan")),
    "batch size that is a text": first_rung(batch_size="1"),
    "no verdict": first_rung(verdict=None),
    "error that is none": first_rung(max_abs_error=None),
    "error that is a word": first_rung(max_abs_error="small"),
    "error beyond float64": first_rung(max_abs_error=10**400),
    "flips that are a number": first_rung(flips=1),
    "flip without a class": first_rung(flips=[{**FLIP, "candidate_class": None}]),
    "hop that is a list": first_rung(hop=[]),
}
NO_LADDERS = {"empty": b"", "{}": b"{}", "[]": b"[]", "null": b"null", "binary": b"\xff\x00", "deep": b"[" * 100_000}


@pytest.mark.parametrize("edit", LADDERS.values(), ids=LADDERS.keys())
def test_a_ladder_with_a_broken_rung_is_refused(bundle, run, tmp_path, edit):
    content = edited_json((bundle / PARITY).read_bytes(), edit)
    assert_bad_input(run(copy_of(bundle, tmp_path, {PARITY: content})), PARITY)


@pytest.mark.parametrize("content", NO_LADDERS.values(), ids=NO_LADDERS.keys())
def test_a_ladder_that_is_none_is_refused(bundle, run, tmp_path, content):
    assert_bad_input(run(copy_of(bundle, tmp_path, {PARITY: content})), PARITY)


ODD_FIGURES = {
    "NaN tokens": {"max_abs_error": float("nan"), "sqnr_db": float("inf")},
    "an image that there is not": {"worst_image": 100, "decisive_image": 100},
    "an image before the first": {"worst_image": -100, "decisive_image": -100},
    "a flip of an image that there is not": {"flips": [{**FLIP, "image": 100}]},
    "a flip to a class that there is not": {"flips": [{**FLIP, "candidate_class": 9999}]},
    "a name with codes for the terminal": {"stage": "\x1b[2J[red]evil\n", "hop": None},
}


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "json"])
@pytest.mark.parametrize("changes", ODD_FIGURES.values(), ids=ODD_FIGURES.keys())
def test_odd_figures_of_the_export_break_neither_form(bundle, run, tmp_path, changes, form):
    """They are only shown: whether they are refused as bad input or told, nothing breaks and nothing is obeyed."""

    def edit(parity):
        for rung in parity["rungs"]:
            rung.update(changes)

    content = edited_json((bundle / PARITY).read_bytes(), edit)
    code, out, err = run(copy_of(bundle, tmp_path, {PARITY: content, MODEL: NO_MODEL}), *form)
    assert code in (1, 3)
    assert err.count("\n") == (1 if code == 3 else 0)
    assert "\x1b" not in out
    if form and code == 1:
        json.loads(out, parse_constant=lambda token: pytest.fail(f"{token} is not JSON"))


@pytest.mark.parametrize("share", [5.0, "nan", "inf"])
def test_a_pass_beyond_its_bound_is_none(bundle, run, tmp_path, share):
    content = edited_json((bundle / PARITY).read_bytes(), first_rung(verdict="pass", bound_share=share))
    code, out, _ = run(copy_of(bundle, tmp_path, {PARITY: content, MODEL: NO_MODEL}), "--json")
    assert code == 3 or json.loads(out)["stages"][0]["verdict"] == "miss"


def put(name, change):
    return lambda tensors: tensors.__setitem__(name, change(tensors[name]))


MODULE_VALUES = {
    "no bound": lambda tensors: tensors.pop("bound/stages.0.blocks.1.mlp.expand"),
    "nothing": lambda tensors: tensors.clear(),
    "fewer images": put("value/head", lambda values: values[:1]),
    "no samples": put("value/head", lambda values: values[:, :0]),
    "other rank": put("value/head", lambda values: values[0]),
    "other bounds": put("bound/head", lambda bounds: bounds[:1]),
    "float32": put("value/head", lambda values: values.astype(np.float32)),
    "NaN values": put("value/head", lambda values: values * np.nan),
    "NaN bounds": put("bound/head", lambda bounds: bounds * np.nan),
    "infinite bounds": put("bound/head", lambda bounds: bounds * np.inf),
    "negative bounds": put("bound/head", lambda bounds: -bounds),
}
MODULE_IMAGES = ("[0, 12]", "[-1, 0]", "[]", "5", "[true, 1]", "[0.0, 1.0]", "[", "[0]", "[" * 100_000)


@pytest.mark.parametrize("edit", MODULE_VALUES.values(), ids=MODULE_VALUES.keys())
def test_module_values_that_fit_no_network_are_refused(bundle, run, tmp_path, edit):
    content = edited_tensors((bundle / MODULES).read_bytes(), edit)
    assert_bad_input(run(copy_of(bundle, tmp_path, {MODULES: content})), MODULES)


@pytest.mark.parametrize("images", MODULE_IMAGES, ids=lambda images: images[:9])
def test_module_values_of_images_that_there_are_not_are_refused(bundle, run, tmp_path, images):
    content = edited_tensors(
        (bundle / MODULES).read_bytes(), lambda tensors: None, lambda metadata: metadata.update(images=images)
    )
    assert_bad_input(run(copy_of(bundle, tmp_path, {MODULES: content})), MODULES)


GOLDEN_SETS = {
    "smaller images": put("images", lambda images: images[:, :32, :32]),
    "other type": put("images", lambda images: images.astype(np.float32)),
    "fewer logits": put("logits", lambda logits: logits[:5]),
    "other classes": put("logits", lambda logits: logits[:, :7]),
    "float32": put("logits", lambda logits: logits.astype(np.float32)),
    "no logits": lambda tensors: tensors.pop("logits"),
}


@pytest.mark.parametrize("edit", GOLDEN_SETS.values(), ids=GOLDEN_SETS.keys())
def test_golden_sets_that_do_not_fit_are_refused(bundle, run, tmp_path, edit):
    content = edited_tensors((bundle / GOLDEN).read_bytes(), edit)
    assert_bad_input(run(copy_of(bundle, tmp_path, {GOLDEN: content})), GOLDEN)


@pytest.mark.parametrize("names", ["[1, 2]", "5", "[", "[" * 100_000], ids=lambda names: names[:9])
def test_golden_sets_with_other_names_are_refused(bundle, run, tmp_path, names):
    content = edited_tensors(
        (bundle / GOLDEN).read_bytes(), lambda tensors: None, lambda metadata: metadata.update(names=names)
    )
    assert_bad_input(run(copy_of(bundle, tmp_path, {GOLDEN: content})), GOLDEN)


@pytest.mark.parametrize("member", [GOLDEN, MODULES])
@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"not safetensors"], ids=["empty", "binary", "text"])
def test_members_that_are_no_safetensors_are_refused(bundle, run, tmp_path, member, content):
    assert_bad_input(run(copy_of(bundle, tmp_path, {member: content})), member)


@pytest.mark.parametrize("labels", [b"", b"one\n", b"\xff\n", b"a\n\nb\n"], ids=repr)
def test_labels_that_do_not_fit_are_refused(bundle, run, tmp_path, labels):
    assert_bad_input(run(copy_of(bundle, tmp_path, {LABELS: labels})), LABELS)


def rename_input(graph):
    graph.input[0].name = "pixels"
    for node in graph.node:
        node.input[:] = ["pixels" if name == "images" else name for name in node.input]


def rename_output(graph):
    graph.output[0].name = "scores"
    graph.node[-1].output[0] = "scores"


def double_classes(graph):
    graph.node[-1].output[0] = "half"
    graph.node.append(onnx.helper.make_node("Concat", ["half", "half"], ["logits"], axis=1))
    graph.output[0].type.tensor_type.shape.dim[1].dim_value *= 2


def give_a_scalar(graph):
    graph.node[-1].output[0] = "all"
    graph.node.append(onnx.helper.make_node("ReduceMax", ["all"], ["logits"], keepdims=0))
    graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, []))


def unknown_operator(graph):
    graph.node[0].op_type = "NoSuchOperator"


OTHER_GRAPHS = {
    "other input": rename_input,
    "other output": rename_output,
    "other classes": double_classes,
    "scalar": give_a_scalar,
    "unknown operator": unknown_operator,
}


@pytest.mark.parametrize("edit", OTHER_GRAPHS.values(), ids=OTHER_GRAPHS.keys())
def test_a_graph_that_is_not_what_the_manifest_says_is_bad_input(bundle, run, tmp_path, edit):
    assert_bad_input(run(copy_of(bundle, tmp_path, {MODEL: edited_graph(bundle, edit)})), MODEL)


@pytest.mark.parametrize("content", [b"", b"\xff not ONNX"], ids=["empty", "text"])
def test_a_model_that_is_none_is_bad_input(bundle, run, tmp_path, content):
    assert_bad_input(run(copy_of(bundle, tmp_path, {MODEL: content})), MODEL)


def forget_names(graph):
    for node in graph.node:
        node.name = ""


def shapeless_value(graph):
    graph.node.append(onnx.helper.make_node("ReduceMax", ["logits"], ["most"], name="stem.conv1/Max", keepdims=0))


def sequence_value(graph):
    graph.node.append(onnx.helper.make_node("SequenceConstruct", ["logits"], ["all"], name="stem.conv1/All"))


def short_value(graph):
    graph.node.append(onnx.helper.make_node("Shape", ["logits"], ["shape"], name="stem.conv1/Shape"))


@pytest.mark.parametrize("edit", [forget_names, shapeless_value, sequence_value, short_value])
def test_a_graph_with_odd_names_is_still_measured(bundle, run, tmp_path, edit):
    """Its logits are right, whatever is found where a value inside should be."""
    altered = copy_of(bundle, tmp_path, {MODEL: edited_graph(bundle, edit)})
    code, out, err = run(altered, "--json", "--engine", "onnxruntime")  # OpenVINO has no sequences
    assert err == ""
    assert code == 0
    assert {stage["verdict"] for stage in json.loads(out)["stages"]} == {"pass"}


def test_a_defect_in_a_graph_without_names_is_still_a_miss(bundle, run, tmp_path):
    def spoil(graph):
        forget_names(graph)
        edit_weights(graph, "head.bias", lambda values: values.__setitem__(0, values[0] + 1))

    code, out, err = run(copy_of(bundle, tmp_path, {MODEL: edited_graph(bundle, spoil)}))
    assert (code, err) == (1, "")
    assert any(line.startswith("✗ traced") and "no module can be named" in line for line in out.splitlines())


def fewer_images(count):
    """The first images of everything, all hashes and shapes in agreement."""

    def members_of(bundle):
        def cut(tensors):
            tensors.update({name: values[:count] for name, values in tensors.items()})

        def cut_names(metadata):
            metadata.update(names=json.dumps(json.loads(metadata["names"])[:count]))

        def first_only(tensors):
            tensors.update({name: values[:1] for name, values in tensors.items()})

        def cut_bounds(parity):
            parity["bound"].update(per_image=parity["bound"]["per_image"][:count])

        return {
            GOLDEN: edited_tensors((bundle / GOLDEN).read_bytes(), cut, cut_names),
            MODULES: edited_tensors(
                (bundle / MODULES).read_bytes(), first_only, lambda metadata: metadata.update(images="[0]")
            ),
            PARITY: edited_json((bundle / PARITY).read_bytes(), cut_bounds),
        }

    return members_of


@pytest.mark.parametrize("count", [0, 1])
def test_a_bundle_with_too_few_images_to_compare_is_refused(bundle, run, tmp_path, count):
    def cut(manifest):
        manifest["golden_tolerance"] = manifest["golden_tolerance"][:count]

    copy = copy_of(bundle, tmp_path, fewer_images(count)(bundle), cut)
    code, out, err = run(copy)
    assert (code, out) == (3, "")
    assert err.count("\n") == 1


@pytest.mark.parametrize("sizes", [[], [5], [0]], ids=str)
def test_batch_sizes_that_cannot_have_been_verified_are_refused(bundle, run, tmp_path, sizes):
    edit = copy_of(bundle, tmp_path, edit_manifest=lambda manifest: manifest["batch_sizes"].update(verified=sizes))
    code, out, err = run(edit)
    assert (code, out) == (3, "")
    assert err.count("\n") == 1


def odd_best_classes(manifest):
    manifest["outputs"].append(
        {"name": "top_k_probabilities", "dtype": "float32", "layout": "NK", "shape": ["batch", "k"]}
    )


RECORDS = {
    "best classes": odd_best_classes,
    "target": lambda manifest: manifest.update(target="toaster"),
    "opset": lambda manifest: manifest["graph"].update(opset="new"),
    "opset out of range": lambda manifest: manifest["graph"].update(opset=3),
    "negative seed": lambda manifest: manifest["weights"].update(seed=-1),
}


@pytest.mark.parametrize("edit", RECORDS.values(), ids=RECORDS.keys())
def test_records_that_name_no_export_are_one_line(bundle, run, tmp_path, edit):
    code, out, err = run(copy_of(bundle, tmp_path, edit_manifest=edit), "--untrained")
    assert code in (2, 3)
    assert out == ""
    assert err.count("\n") == 1


def test_json_has_no_nan_though_a_manifest_may(bundle, run, tmp_path):
    def put_nan(manifest):
        manifest["weights"].update(odd=float("nan"))

    code, out, _ = run(copy_of(bundle, tmp_path, {MODEL: NO_MODEL}, put_nan), "--json")
    assert code in (1, 3)
    if code == 1:
        json.loads(out, parse_constant=lambda token: pytest.fail(f"{token} is not JSON"))


def test_nothing_is_left_behind(bundle, run, tmp_path):
    copy = copy_of(bundle, tmp_path)
    before = sorted(os.listdir(copy))
    flip_one_bit(copy / MODEL)
    run(copy)
    assert sorted(os.listdir(copy)) == before
    assert os.listdir(tmp_path) == ["copy"]


def swap_mean_and_std(manifest):
    contract = manifest["preprocessing"]
    contract["mean"], contract["std"] = contract["std"], contract["mean"]


RECIPES = {
    "resize": lambda manifest: manifest["preprocessing"].update(resize_shorter_side=64),
    "mean and std": swap_mean_and_std,
    "precision": lambda manifest: manifest.update(precision="int8"),
    "target": lambda manifest: manifest.update(target="gpu"),
    "fewer batch sizes": lambda manifest: manifest["batch_sizes"].update(verified=[1]),
    "weights": lambda manifest: manifest["weights"].update(state_sha256="0" * 64),
    "toolkit": lambda manifest: manifest["versions"].update({"levit-deploy": "9"}),
}


@pytest.mark.parametrize("edit", RECIPES.values(), ids=RECIPES.keys())
def test_a_manifest_that_says_something_else_than_the_graph_is_refused(bundle, run, tmp_path, edit):
    result = run(copy_of(bundle, tmp_path, edit_manifest=edit))
    assert_bad_input(result, MANIFEST)
    assert MODEL in result[2]


@pytest.mark.parametrize("stage", ["eager fp32", "fused", "traced", "onnxruntime"])
def test_a_ladder_without_one_of_its_stages_is_refused(bundle, run, tmp_path, stage):
    def forget(parity):
        parity["rungs"] = [rung for rung in parity["rungs"] if (rung["stage"], rung["batch_size"]) != (stage, 2)]

    content = edited_json((bundle / PARITY).read_bytes(), forget)
    result = run(copy_of(bundle, tmp_path, {PARITY: content}))
    assert_bad_input(result, PARITY)
    assert f"{stage!r} at batch 2" in result[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "told"), [("value", "are not those of the weights"), ("bound", "more of head than rounding explains")]
)
def test_wrong_module_values_are_told_by_the_weights(bundle, run, tmp_path, kind, told):
    def spoil(tensors):
        tensors[f"{kind}/head"] *= 10

    content = edited_tensors((bundle / MODULES).read_bytes(), spoil)
    code, out, _ = run(copy_of(bundle, tmp_path, {MODULES: content}), "--untrained")
    assert code == 1
    assert f"✗ {MODULES}: " in out
    assert told in out
