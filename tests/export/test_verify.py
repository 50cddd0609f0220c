"""levit-verify as a user meets it: honest bundles pass, whatever is wrong with one is a miss that names the module."""

import importlib.util
import json
import os

import numpy as np
import onnx
import pytest
import torch
from bundle_surgery import copy_of, edit_weights, edited_graph, edited_json, edited_tensors
from PIL import Image
from safetensors.torch import save_file

from levit_deploy.bundle import GOLDEN, MODEL, PARITY, open_bundle
from levit_deploy.checkpoints import state_dict_for_timm
from levit_deploy.errors import EnvironmentIncompleteError
from levit_deploy.golden import PHOTOGRAPHS, STRUCTURED
from levit_deploy.initialization import randomize
from levit_deploy.model import create_model
from levit_engines.cli import verify
from levit_engines.verification import candidates
from levit_export.request import Target

SMALL = {"arch": "128S", "image_size": 64}
RECORDED, MEASURED = ("eager fp32", "fused"), ("traced", "onnxruntime")


@pytest.fixture(scope="module")
def bundle(exported):
    """Convolutions, normalised images, one to three at a time; its weights are drawn from seed 0."""
    return exported(**SMALL, batch=(1, 3), simplify=False).bundle.path


@pytest.fixture(scope="module")
def gpu_bundle(exported, tmp_path_factory):
    """Tokens, pixels, the best classes beside the logits, always two images.

    It says that it is simplified, which our own graphs never need to be.
    """
    options = {"target": Target.GPU, "batch": (2, 2), "uint8_input": True, "top_k": 3, "simplify": False}
    original = exported(**SMALL, **options).bundle.path
    folder = tmp_path_factory.mktemp("simplified")

    def add_stage(parity):
        parity["rungs"] += [{**rung, "stage": "simplified"} for rung in parity["rungs"] if rung["stage"] == "traced"]

    members = {PARITY: edited_json((original / PARITY).read_bytes(), add_stage)}
    return copy_of(original, folder, members, lambda manifest: manifest["graph"].update(simplified=True))


@pytest.fixture(autouse=True)
def without_native_kernels(monkeypatch):
    """They compute from the constants of a graph and see no defect between them: test_native_runner.py has theirs."""
    monkeypatch.setattr("levit_engines.verification.run.default_engine", lambda bundle: "onnxruntime")


@pytest.fixture
def run(capsys):
    """Run the command: (exit code, stdout, stderr without the progress)."""

    def run_here(*arguments):
        try:
            code = verify.main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = exit_.code
        out, err = capsys.readouterr()
        return code, out, "".join(line for line in err.splitlines(keepends=True) if not line.startswith("["))

    return run_here


def read_json(out):
    return json.loads(out, parse_constant=lambda token: pytest.fail(f"{token} is not JSON"))


def stages_of(document):
    return {stage["name"]: stage for stage in document["stages"]}


def told(out, stage=""):
    """All that the table says about what failed, of one stage."""
    lines = [line for line in out[out.index("Hop by hop") :].splitlines() if line.startswith(f"✗ {stage}")]
    return "\n".join(lines)


def one_error(err):
    (line,) = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert line.startswith("levit-verify: error: ")
    return line


def assert_is_a_page(file, *, says):
    text = file.read_text(encoding="utf-8")
    assert text.lower().startswith("<!doctype html>")
    assert says in text
    assert os.listdir(file.parent) == [file.name]


def test_an_honest_bundle_holds_by_itself(bundle, run, tmp_path):
    before = {name: (bundle / name).stat().st_mtime_ns for name in os.listdir(bundle)}
    code, out, err = run(bundle, "--report", tmp_path / "page.html")
    assert (code, err) == (0, "")
    assert "page.html" in out
    assert_is_a_page(tmp_path / "page.html", says="levit-128S-fp32")
    for stage in RECORDED:
        assert f"✓ {stage}*" in out
    for stage in MEASURED:
        assert f"✓ {stage} " in out
    assert "✗" not in out
    assert "traced → onnxruntime" in out
    assert "extreme neighbours" in out
    assert "Verdict:  holds" in out
    assert {name: (bundle / name).stat().st_mtime_ns for name in os.listdir(bundle)} == before


def test_tokens_pixels_and_best_classes_hold_by_themselves(gpu_bundle, run):
    code, out, err = run(gpu_bundle, "--json", "--engine", "onnxruntime", "--engine", "onnxruntime", "--threads", "1")
    assert (code, err) == (0, "")
    stages = stages_of(read_json(out))
    origins = {name: stage["origin"] for name, stage in stages.items()}
    assert {name for name, origin in origins.items() if "export" in origin} == {*RECORDED, "traced"}
    assert {name for name, origin in origins.items() if origin == "measured"} == {"simplified", "onnxruntime"}
    assert {rung["batch_size"] for stage in stages.values() for rung in stage["rungs"]} == {2}
    assert stages["simplified"]["depth"][0]["probe"] == "preprocessing"
    assert stages["onnxruntime"]["provenance"]["threads"] == "1"


@pytest.mark.slow
def test_json_from_the_weights_is_one_document_with_everything_in_it(gpu_bundle, run):
    code, out, err = run(gpu_bundle, "--untrained", "--json")
    assert code == 0
    assert "untrained" in err
    document = read_json(out)
    manifest = open_bundle(gpu_bundle).manifest
    assert document["verdict"] == "pass"
    assert document["misses"] == []
    assert len(document["images"]["names"]) == 12
    assert document["members"] == {name: member.to_json() for name, member in manifest.members.items()}
    assert document["weights"]["state_sha256"] == manifest.weights["state_sha256"]
    assert document["environment"]["onnxruntime"]
    assert document["environment"]["cpu"]
    stages = stages_of(document)
    assert list(stages) == [*RECORDED, "traced", "simplified", "onnxruntime", "openvino"]
    for stage in stages.values():
        assert (stage["origin"], stage["verdict"], stage["blame"]) == ("measured", "pass", None)
        assert [rung["batch_size"] for rung in stage["rungs"]] == [2]
        assert all(0 < rung["bound_share"] <= 1 for rung in stage["rungs"])
        assert all(0 <= found["bound_share"] <= 1 for found in stage["depth"])
        assert len(stage["depth"]) > 100
    previous = [stage["rungs"][0]["hop"] and stage["rungs"][0]["hop"]["previous"] for stage in stages.values()]
    assert previous == [None, "eager fp32", "fused", "traced", "simplified", "simplified"]
    checks = stages["onnxruntime"]["batch_checks"]
    assert {check["batch_size"] for check in checks} == {2}
    assert {check["verdict"] for check in checks} == {"pass"}
    assert stages["traced"]["batch_checks"] == []


def save_checkpoint(model, path):
    save_file({name: tensor.contiguous() for name, tensor in state_dict_for_timm(model).items()}, path)
    return path


def weights_of_bundle(**changes):
    """The network that the bundles are made from, or one of another kind."""
    arch = changes.pop("arch", "128S")
    model = create_model(arch, **{"image_size": 64, **changes}).eval()
    randomize(model, 0)
    return model


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "cats").mkdir()
    for number in range(5):
        image = Image.effect_mandelbrot((90 + number, 70), (-2, -1, 1, 1), 20 + number).convert("RGB")
        image.save(folder / ("cats" if number % 2 else ".") / f"photograph {number}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.mark.slow
def test_the_checkpoint_of_the_bundle_holds_on_ones_own_photographs(bundle, run, photographs, tmp_path):
    file = save_checkpoint(weights_of_bundle(), tmp_path / "weights.safetensors")
    code, out, err = run(bundle, "--checkpoint", file, "--images", photographs, "--photographs", "3", "--json")
    assert code == 0, err
    document = read_json(out)
    names = document["images"]["names"]
    assert tuple(names[3:]) == PHOTOGRAPHS + STRUCTURED
    assert names[:3] == ["cats/photograph 1.png", "photograph 0.png", "photograph 4.png"]  # first, middle, last
    assert "3 of 5" in document["images"]["source"]
    assert "timm" in document["truth"]
    assert {stage["origin"] for stage in document["stages"]} == {"measured"}


@pytest.mark.slow
def test_a_checkpoint_that_differs_in_one_number_is_told_and_found(bundle, run, tmp_path):
    model = weights_of_bundle()
    with torch.no_grad():
        model.stages[1].blocks[1].mlp.expand.linear.weight[0, 0] += 0.5
    file = save_checkpoint(model, tmp_path / "weights.safetensors")
    code, out, _ = run(bundle, "--checkpoint", file)
    assert code == 1
    assert "the weights are not those of the bundle" in out
    assert "golden image 'astronaut': the bundle's float64 logits" in out
    assert "✓ eager fp32 " in out
    assert "✓ fused " in out
    for stage in MEASURED:
        assert f"✗ {stage} " in out
        assert "first wrong module: stages.1.blocks.1.mlp.expand (" in told(out, stage)
    assert "Verdict:  MISSED" in out


def not_a_checkpoint(path):
    path.write_text("no weights")
    return path


OTHER_WEIGHTS = {
    "variant": lambda path: save_checkpoint(weights_of_bundle(arch="128"), path),
    "class count": lambda path: save_checkpoint(weights_of_bundle(num_classes=7), path),
    "one head": lambda path: save_checkpoint(weights_of_bundle(distillation=False), path),
    "text": not_a_checkpoint,
    "nothing": lambda path: path,
}


@pytest.mark.parametrize("make", OTHER_WEIGHTS.values(), ids=OTHER_WEIGHTS.keys())
def test_weights_of_another_network_are_bad_input(bundle, run, make, tmp_path):
    code, out, err = run(bundle, "--checkpoint", make(tmp_path / "other.safetensors"), "--json")
    assert (code, out) == (3, "")
    assert "other.safetensors" in one_error(err)


def broken_image(folder):
    Image.effect_noise((40, 40), 50).save(folder / "fine.png")
    (folder / "torn.png").write_bytes((folder / "fine.png").read_bytes()[:200])
    return folder, "torn.png"


def folder_without_images(folder):
    (folder / "notes.txt").write_text("no image")
    return folder, "images"


def no_folder(folder):
    (folder / "archive.zip").write_bytes(b"")
    return folder / "archive.zip", "archive.zip"


BAD_IMAGES = {"broken image": broken_image, "no image": folder_without_images, "a file": no_folder}


@pytest.mark.parametrize("make", BAD_IMAGES.values(), ids=BAD_IMAGES.keys())
def test_images_that_cannot_be_used_are_bad_input(bundle, run, make, tmp_path):
    (tmp_path / "images").mkdir()
    folder, named = make(tmp_path / "images")
    code, out, err = run(bundle, "--untrained", "--images", folder)
    assert (code, out) == (3, "")
    assert named in one_error(err)


def node_of(graph, name):
    return next(node for node in graph.node if node.name == name)


def scale_a_row(graph):
    def scale(weights):
        weights[0] *= 1.002

    edit_weights(graph, "stages.1.blocks.1.mlp.expand.weight", scale)


def put_nan(graph):
    def spoil(weights):
        weights[0, 0] = np.nan

    edit_weights(graph, "stages.2.blocks.2.mlp.contract.weight", spoil)


def drop_residual(graph):
    add = node_of(graph, "stages.1.blocks.0/Add_1")
    add.input[0] = add.input[1]


def mix_batch(graph):
    for attribute in node_of(graph, "stages.0.blocks.0.attention/Softmax").attribute:
        attribute.i = 0


def swap_query_and_key(graph):
    path = "stages.1.blocks.0.attention"
    query, product = node_of(graph, f"{path}/Transpose"), node_of(graph, f"{path}/MatMul")
    query.input[0], product.input[1] = product.input[1], query.input[0]


DEFECTS = {
    "NaN": (put_nan, "stages.2.blocks.2.mlp.contract"),
    "dropped residual": (drop_residual, "stages.1.blocks.0"),
    "attention over the batch": (mix_batch, "stages.0.blocks.0.attention"),
    "swapped query and key": (swap_query_and_key, "stages.1.blocks.0.attention"),
}


@pytest.mark.parametrize(("defect", "module"), DEFECTS.values(), ids=DEFECTS.keys())
def test_a_defect_of_the_graph_is_found_from_the_bundle_alone(bundle, run, defect, module, tmp_path):
    copy = copy_of(bundle, tmp_path, {MODEL: edited_graph(bundle, defect)})
    code, out, err = run(copy, "--json")
    assert (code, err) == (1, "")
    document = read_json(out)
    assert document["verdict"] == "miss"
    stages = stages_of(document)
    assert [stages[name]["verdict"] for name in RECORDED] == ["pass", "pass"]
    for name in MEASURED:
        assert stages[name]["verdict"] == "miss"
        assert stages[name]["blame"]["module"] == module
        assert f"first wrong module: {module} (" in stages[name]["blame"]["sentence"]


def test_a_defect_is_told_in_the_table_and_on_the_page(bundle, run, tmp_path):
    module = "stages.1.blocks.1.mlp.expand"
    copy = copy_of(bundle, tmp_path, {MODEL: edited_graph(bundle, scale_a_row)})
    (tmp_path / "page").mkdir()
    code, out, err = run(copy, "--report", tmp_path / "page" / "page.html")
    assert (code, err) == (1, "")
    assert_is_a_page(tmp_path / "page" / "page.html", says=module)
    assert "✓ fused*" in out
    for stage in MEASURED:
        assert f"✗ {stage} " in out
        assert f"first wrong module: {module} (" in told(out, stage)
    assert "Verdict:  MISSED" in out


@pytest.fixture
def engine_with(monkeypatch):
    """From now on, the logits of every engine go through `defect(images, logits)`."""
    honest = candidates.open_runner

    class Defective:
        def __init__(self, runner, defect):
            self._runner, self._defect = runner, defect

        def __getattr__(self, name):
            return getattr(self._runner, name)

        def infer(self, images):
            return self._defect(images, self._runner.infer(images))

        def __enter__(self):
            self._runner.__enter__()
            return self

        def __exit__(self, *error):
            self._runner.__exit__(*error)

    def install(defect):
        monkeypatch.setattr(
            candidates, "open_runner", lambda *given, **options: Defective(honest(*given, **options), defect)
        )

    return install


def wrong_at_batch_2(images, logits):
    return logits + np.float32(0.01) * (len(images) == 2)


def mix_rows(images, logits):
    return logits + (logits.mean(axis=0) - logits) * np.float32(1e-3)


def nan_at_batch_3(images, logits):
    logits[-1, 0] = np.nan if len(images) == 3 else logits[-1, 0]
    return logits


# What goes wrong, the batch sizes that miss on the ladder, and a batch check with its size.
ENGINE_DEFECTS = {
    "one batch size": (wrong_at_batch_2, {2}, ("permuted", 2)),
    "mixed batch": (mix_rows, {2, 3}, ("extreme neighbours", 3)),
    "NaN": (nan_at_batch_3, {3}, ("permuted", 3)),
}


@pytest.mark.parametrize(("defect", "sizes", "check"), ENGINE_DEFECTS.values(), ids=ENGINE_DEFECTS.keys())
def test_a_defect_that_only_the_engine_has_is_found(bundle, run, engine_with, defect, sizes, check):
    engine_with(defect)
    code, out, err = run(bundle, "--json")
    assert (code, err) == (1, "")
    stages = stages_of(read_json(out))
    assert stages["traced"]["verdict"] == "pass"
    engine = stages["onnxruntime"]
    assert engine["verdict"] == "miss"
    assert {rung["batch_size"] for rung in engine["rungs"] if rung["verdict"] == "miss"} == sizes
    assert engine["blame"]["batch_size"] == min(sizes)
    assert engine["blame"]["module"] is None
    missed = {(found["check"], found["batch_size"]) for found in engine["batch_checks"] if found["verdict"] == "miss"}
    assert {size for _, size in missed} == sizes
    assert check in missed


def test_padding_that_changes_its_neighbours_is_found_by_the_batches_alone(bundle, run, engine_with):
    def notice_padding(images, logits):
        padded = not images.reshape(len(images), -1).any(axis=1).all() and images[0].any()
        return logits + np.float32(0.01) * padded

    engine_with(notice_padding)
    code, out, err = run(bundle)
    assert (code, err) == (1, "")
    assert "✓ onnxruntime" not in out
    assert "of what rounding allows" in out
    assert "padded" in told(out, "onnxruntime")
    assert "batch 3" in told(out, "onnxruntime")
    assert "first wrong module" not in out
    assert "Verdict:  MISSED" in out


def test_an_engine_that_cannot_run_is_a_miss_with_its_reason(bundle, run, monkeypatch):
    def missing(*given, **options):
        raise EnvironmentIncompleteError("no such engine here: pip install engine")

    monkeypatch.setattr(candidates, "open_runner", missing)
    code, out, err = run(bundle, "--engine", "onnxruntime")
    assert (code, err) == (4, "")
    row = next(line for line in out.splitlines() if line.startswith("✗ onnxruntime "))
    assert "not run" in row
    assert "✓ traced " in out
    assert "could not be run: no such engine here: pip install engine" in told(out, "onnxruntime")
    assert "Verdict:  MISSED" in out


@pytest.mark.parametrize(
    ("package", "options", "extra"),
    [("torch", ["--untrained"], "export"), ("onnx_ir", ["--pretrained"], "export"), ("onnxruntime", [], "cpu"),
     ("matplotlib", ["--report", "page.html"], "report")],
)  # fmt: skip
def test_a_missing_package_names_the_extra(bundle, run, monkeypatch, tmp_path, package, options, extra):
    monkeypatch.chdir(tmp_path)
    honest = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == package else honest(name, *rest)
    )
    code, out, err = run(bundle, *options)
    assert (code, out) == (4, "")
    line = one_error(err)
    assert package in line
    assert f"levit-deploy[{extra}]" in line


USAGE = {
    "two sources of weights": (["--untrained", "--pretrained"], "give one of them"),
    "checkpoint and untrained": (["--untrained", "--checkpoint", "x.pth"], "give one of them"),
    "images without weights": (["--images", "."], "--checkpoint FILE, --pretrained or --untrained"),
    "unknown engine": (["--engine", "steam"], "onnxruntime"),
    "no photographs": (["--untrained", "--photographs", "0"], "at least 1"),
    "no threads": (["--threads", "none"], "at least 1"),
    "abbreviation": (["--untr"], "--untr"),
}


@pytest.mark.parametrize(("options", "named"), USAGE.values(), ids=USAGE.keys())
def test_wrong_usage_exits_2_and_says_what_is_right(bundle, run, options, named):
    code, out, err = run(bundle, *options)
    assert (code, out) == (2, "")
    assert named in err
    assert "Traceback" not in err


def test_untrained_weights_of_a_trained_bundle_are_wrong_usage(bundle, run, tmp_path):
    model = onnx.load_model_from_string((bundle / MODEL).read_bytes())
    next(entry for entry in model.metadata_props if entry.key == "levit.weights_origin").value = "timm"
    members = {MODEL: model.SerializeToString()}
    trained = copy_of(bundle, tmp_path, members, lambda manifest: manifest["weights"].update(origin="timm"))
    code, out, err = run(trained, "--untrained")
    assert (code, out) == (2, "")
    assert "--checkpoint FILE" in one_error(err)


def test_nothing_to_verify_is_wrong_usage(run, capsys):
    code, out, err = run()
    assert (code, out) == (2, "")
    assert "BUNDLE" in err


@pytest.mark.slow
def test_from_the_weights_more_is_told_than_a_bundle_knows_of_itself(bundle, run, tmp_path):
    """Golden logits and tolerances that agree with each other, and with nothing else, beside a defect of the graph."""

    def raise_tolerance(manifest):
        manifest["golden_tolerance"][3] *= 4

    def raise_bound(parity):
        parity["bound"]["per_image"][3] *= 4

    def move_logits(tensors):
        tensors["logits"][5, 0] += 1e-9

    members = {
        PARITY: edited_json((bundle / PARITY).read_bytes(), raise_bound),
        GOLDEN: edited_tensors((bundle / GOLDEN).read_bytes(), move_logits),
    }
    lying = copy_of(bundle, tmp_path / "lying", members, raise_tolerance)
    assert run(lying)[0] == 0
    defect, module = DEFECTS["swapped query and key"]
    wrong = copy_of(lying, tmp_path / "wrong", {MODEL: edited_graph(lying, defect)})
    code, out, _ = run(wrong, "--untrained")
    assert code == 1
    of_golden_images = [line for line in told(out).splitlines() if line.startswith("✗ golden image ")]
    tolerance, logits = of_golden_images
    assert "'rocket': manifest.json tolerates " in tolerance
    assert "'checkerboard': the bundle's float64 logits are 1e-09 from" in logits
    for stage in RECORDED:
        assert f"✓ {stage} " in out
    for stage in MEASURED:
        assert f"✗ {stage} " in out
        assert f"first wrong module: {module} (" in told(out, stage)


def test_other_golden_logits_and_a_recorded_miss_are_misses(bundle, run, tmp_path):
    def move_logits(tensors):
        tensors["logits"][5, 0] += 0.01

    def record_miss(parity):
        next(rung for rung in parity["rungs"] if rung["stage"] == "fused").update(verdict="miss", bound_share=3.0)

    members = {
        GOLDEN: edited_tensors((bundle / GOLDEN).read_bytes(), move_logits),
        PARITY: edited_json((bundle / PARITY).read_bytes(), record_miss),
    }
    code, out, err = run(copy_of(bundle, tmp_path, members), "--json")
    assert (code, err) == (1, "")
    stages = stages_of(read_json(out))
    assert [stages[name]["verdict"] for name in RECORDED] == ["pass", "miss"]
    for name in MEASURED:
        assert {(rung["verdict"], rung["decisive_image"]) for rung in stages[name]["rungs"]} == {("miss", 5)}


def test_a_recorded_miss_alone_is_a_miss(bundle, run, tmp_path):
    def record_miss(parity):
        parity["rungs"][0].update(verdict="miss", bound_share=3.0)

    copy = copy_of(bundle, tmp_path, {PARITY: edited_json((bundle / PARITY).read_bytes(), record_miss)})
    code, out, err = run(copy)
    assert (code, err) == (1, "")
    assert "✗ eager fp32*" in out
    assert "✓ fused*" in out
    assert "✓ onnxruntime " in out
    assert "missed when the bundle was made" in told(out, "eager fp32")


def test_a_page_that_cannot_be_written_is_wrong_usage_before_anything_is_measured(bundle, capsys, tmp_path):
    assert verify.main([str(bundle), "--report", str(tmp_path / "absent" / "page.html")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "absent" in one_error(err)


def test_a_page_replaces_nothing_of_somebody_else(bundle, capsys, tmp_path):
    (tmp_path / "notes.html").write_text("mine")
    assert verify.main([str(bundle), "--report", str(tmp_path / "notes.html")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "notes.html" in one_error(err)
    assert (tmp_path / "notes.html").read_text() == "mine"
