"""levit-export as a user meets it: output, files, exit codes, one line for every error."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from levit_deploy import bundle as bundle_module
from levit_deploy.bundle import open_bundle
from levit_deploy.checkpoints import state_dict_for_timm
from levit_deploy.initialization import randomize
from levit_deploy.model import create_model
from levit_engines.cli import classify
from levit_export import cli

SMALL = ("--arch", "128S", "--image-size", "64", "--no-simplify")


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run the command in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run_here(*arguments):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = exit_.code
        return code, *capsys.readouterr()

    return run_here


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A fine-tuned checkpoint: 7 classes at 64 pixels, timm's names."""
    model = create_model("128S", num_classes=7, image_size=64)
    randomize(model, 3)
    path = tmp_path_factory.mktemp("checkpoint") / "fine-tuned.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state_dict_for_timm(model).items()}, path)
    return path


def one_line(stderr):
    lines = [line for line in stderr.splitlines() if not line.startswith("[")]
    assert len(lines) == 1, stderr
    assert lines[0].startswith("levit-export: error: ")
    assert "Traceback" not in stderr
    return lines[0]


def test_shows_stages_then_the_bundle_then_the_next_command(run, tmp_path):
    code, out, err = run(*SMALL)
    assert code == 0
    for stage in ("load", "fuse", "trace", "simplify", "verify", "write"):
        assert stage in err
        assert stage in out
    assert "levit-classify levit-128S-fp32" in out
    assert "untrained" in err
    manifest = open_bundle(tmp_path / "levit-128S-fp32").manifest
    assert manifest.weights["origin"] == "untrained"
    assert manifest.weights["seed"] == 0
    assert os.listdir(tmp_path) == ["levit-128S-fp32"]

    code, _, err = run(*SMALL)
    assert code == 2
    assert "--overwrite" in one_line(err)

    (tmp_path / "levit-128S-fp32" / "labels.txt").write_text("damaged")
    assert run(*SMALL, "--overwrite", "--seed", "5")[0] == 0
    replaced = open_bundle(tmp_path / "levit-128S-fp32")
    replaced.verify()
    assert replaced.manifest.weights["seed"] == 5
    assert os.listdir(tmp_path) == ["levit-128S-fp32"]


def test_json_is_one_document_with_the_same_content(run, tmp_path, checkpoint):
    labels = tmp_path / "names.txt"
    labels.write_text("".join(f"name {index}\n" for index in range(7)))
    code, out, _ = run("--checkpoint", checkpoint, "--labels", labels, "--json", "-o", "out", "--dynamic-batch", "1:2")
    assert code == 0
    document = json.loads(out, parse_constant=lambda token: pytest.fail(token))
    assert [stage["name"] for stage in document["stages"]] == ["load", "fuse", "trace", "simplify", "verify", "write"]
    assert {rung["stage"] for rung in document["rungs"]} >= {"eager fp32", "fused", "traced"}
    assert {rung["batch_size"] for rung in document["rungs"]} == {1, 2}
    assert all(rung["verdict"] == "pass" for rung in document["rungs"])
    manifest = document["manifest"]
    assert manifest["network"]["num_classes"] == 7
    assert manifest["network"]["image_size"] == 64
    assert manifest["weights"]["origin"] == "timm"
    assert manifest["weights"]["file_name"] == "fine-tuned.safetensors"
    assert manifest["preprocessing"]["resize_shorter_side"] == 71  # floor(64 / 0.9), as timm evaluates
    bundle = open_bundle(tmp_path / "out")
    assert bundle.labels() == tuple(f"name {index}" for index in range(7))
    assert str(tmp_path) not in (tmp_path / "out" / "manifest.json").read_text()


def test_other_resolution_is_interpolated_and_says_so(run, checkpoint, tmp_path):
    code, _, err = run("--checkpoint", checkpoint, "--image-size", "96", "--no-simplify", "-o", "out")
    assert code == 0
    assert "interpolated" in err
    assert "fine-tun" in err
    notes = open_bundle(tmp_path / "out").manifest.weights["notes"]
    assert any("interpolated" in note for note in notes)


USAGE = {
    "unknown arch": (("--arch", "512"), "128S, 128, 192, 256, 384"),
    "nothing": ((), "--arch"),
    "image size": (("--arch", "128S", "--image-size", "100"), "96"),
    "both batches": (("--arch", "128S", "--batch", "2", "--dynamic-batch"), "--batch"),
    "empty range": (("--arch", "128S", "--dynamic-batch", "4:4"), "--batch N"),
    "no range": (("--arch", "128S", "--dynamic-batch", "many"), "MIN:MAX"),
    "batch zero": (("--arch", "128S", "--batch", "0"), "--batch"),
    "opset": (("--arch", "128S", "--opset", "9"), "18 to 23"),
    "precision": (("--arch", "128S", "--precision", "int4"), "fp32"),
    "two sources": (("--arch", "128S", "--pretrained", "--checkpoint", "x.pth"), "--pretrained"),
    "top-k": ((*SMALL, "--top-k", "1001"), "1000 classes"),
    "huge image": (("--arch", "128S", "--image-size", "7168"), "768"),
    "huge seed": (("--arch", "128S", "--seed", "9" * 30), "--seed"),
    "seed of a checkpoint": (("--checkpoint", "x.pth", "--seed", "1"), "--seed"),
    "output below a file": (("--arch", "128S", "-o", "/dev/null/bundle"), "--output"),
}


@pytest.mark.parametrize(("arguments", "named"), USAGE.values(), ids=USAGE.keys())
def test_wrong_usage_exits_2_and_says_what_is_right(run, tmp_path, arguments, named):
    code, out, err = run(*arguments)
    assert code == 2
    assert named in err
    assert "Traceback" not in err
    assert out == ""
    assert os.listdir(tmp_path) == []


def bad_inputs(folder):
    (folder / "text.pth").write_text("these are not weights")
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, folder / "resnet.pth")
    (folder / "names.txt").write_text("one\ntwo\n")


BAD_INPUT = {
    "missing": (("--checkpoint", "absent.pth"), "absent.pth"),
    "text file": (("--checkpoint", "text.pth"), "text.pth"),
    "other network": (("--checkpoint", "resnet.pth"), "not a LeViT"),
    "labels": ((*SMALL, "--labels", "names.txt"), "2 names for 1000 classes"),
}


@pytest.mark.parametrize(("arguments", "named"), BAD_INPUT.values(), ids=BAD_INPUT.keys())
def test_bad_input_exits_3_with_one_line(run, tmp_path, arguments, named):
    bad_inputs(tmp_path)
    before = sorted(os.listdir(tmp_path))
    code, out, err = run(*arguments)
    assert code == 3
    assert named in one_line(err)
    assert out == ""
    assert sorted(os.listdir(tmp_path)) == before


def test_arch_that_contradicts_the_checkpoint_is_refused(run, checkpoint):
    code, _, err = run("--checkpoint", checkpoint, "--arch", "256")
    assert code == 3
    line = one_line(err)
    assert "128S" in line
    assert "256" in line


def test_missing_package_exits_4_and_names_the_extra(run, monkeypatch):
    honest = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else honest(name))
    code, _, err = run(*SMALL)
    assert code == 4
    assert "levit-deploy[cpu]" in one_line(err)


def test_failed_parity_exits_1_and_leaves_nothing(run, monkeypatch, tmp_path):
    from levit_export import pipeline

    monkeypatch.setattr(pipeline.EagerCandidate, "infer", lambda _, images: torch.zeros(len(images), 1000).numpy())
    code, out, err = run(*SMALL)
    assert code == 1
    assert "parity lost at stage 'eager fp32'" in one_line(err)
    assert out == ""
    assert os.listdir(tmp_path) == []


def test_interrupt_in_the_middle_of_the_write_leaves_nothing(run, monkeypatch, tmp_path):
    honest, calls = bundle_module.os.fsync, []

    def interrupted(descriptor):
        calls.append(descriptor)
        if len(calls) == 3:
            raise KeyboardInterrupt
        honest(descriptor)

    monkeypatch.setattr(bundle_module.os, "fsync", interrupted)
    code, out, _ = run(*SMALL)
    assert code == 130
    assert len(calls) >= 3
    assert out == ""
    assert os.listdir(tmp_path) == []


def test_help_shows_an_example_and_needs_no_pytorch():
    code = "import sys; sys.modules['torch'] = None\nfrom levit_export.cli import main\nmain(['--help'])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert shown.returncode == 0
    assert "example:" in shown.stdout
    for option in ("--arch", "--checkpoint", "--pretrained", "--dynamic-batch", "--uint8-input", "--top-k"):
        assert option in shown.stdout


def test_without_pytorch_the_extra_is_named():
    code = (
        "import importlib.util, sys\n"
        "honest = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'torch' else honest(name, *rest)\n"
        "sys.modules['torch'] = None\n"
        "from levit_export.cli import main\n"
        "sys.exit(main(['--arch', '128S']))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert shown.returncode == 4
    assert "levit-deploy[export]" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_odd_characters_of_a_path_are_shown_as_they_are(run, tmp_path):
    code, out, _ = run(*SMALL, "-o", "a[red]b [/x] c")
    assert code == 0
    assert "Bundle:   a[red]b [/x] c" in out
    assert "levit-classify 'a[red]b [/x] c' photo.jpg" in out
    assert open_bundle(tmp_path / "a[red]b [/x] c").manifest.name == "levit-128S-fp32"


def test_closed_stdout_does_not_fail_an_export_that_is_done(tmp_path):
    command = f"{sys.executable} -c 'import sys; from levit_export.cli import main; sys.exit(main())' --arch 128S"
    shown = subprocess.run(
        ["sh", "-c", f"{command} --image-size 64 --no-simplify -o out >&-"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    open_bundle(tmp_path / "out").verify()


def test_gpu_form_with_pixels_and_orientation_serves_classify(run, tmp_path, capsys):
    options = ("--target", "gpu", "--uint8-input", "--batch", "2", "--top-k", "2", "--apply-exif-orientation")
    assert run(*SMALL, *options, "-o", "out")[0] == 0
    manifest = open_bundle(tmp_path / "out").manifest
    assert (manifest.target, manifest.input.dtype, manifest.batch_sizes.minimum) == ("gpu", "uint8", 2)
    assert manifest.preprocessing.apply_exif_orientation
    image = Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1), 50).convert("RGB")
    image.save(tmp_path / "upright.png")
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn right to view"
    turned.save(tmp_path / "turned.png", exif=exif)
    assert classify.main(["out", "upright.png", "turned.png", "--json"]) == 0
    upright, turned_back = json.loads(capsys.readouterr().out)["images"]
    assert upright["top"] == turned_back["top"]


def test_pretrained_goes_through_the_command(run, monkeypatch, tmp_path):
    official = create_model("128S", image_size=64)
    randomize(official, 4)
    file = tmp_path / "cache.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state_dict_for_timm(official).items()}, file)
    monkeypatch.setattr("levit_export.loading.fetch_pretrained", lambda arch: {"128S": file}[arch])
    code, _, err = run("--arch", "128S", "--pretrained", "--no-simplify", "-o", "out")
    assert code == 0
    assert "untrained" not in err
    assert open_bundle(tmp_path / "out").manifest.weights["file_name"] == "cache.safetensors"


def test_pretrained_offline_exits_4_and_says_what_to_do(run, monkeypatch, tmp_path):
    from levit_deploy.checkpoints import pretrained

    unreachable = replace(pretrained.PUBLISHED["128S"], checkpoint_url="http://127.0.0.1:9/LeViT.pth")
    monkeypatch.setattr(pretrained, "PUBLISHED", {"128S": unreachable})
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    code, out, err = run("--arch", "128S", "--pretrained")
    assert code == 4
    assert out == ""
    assert "--checkpoint" in err
    assert "http://127.0.0.1:9/LeViT.pth" in err
    assert not list((tmp_path / "hub").rglob("*.pth"))


def test_terminal_shows_a_live_list_of_stages(monkeypatch, capsys):
    from levit_deploy.progress import StageDisplay

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with StageDisplay({"load": "loading weights", "fuse": "folding normalisations"}) as display:
        for name in ("load", "fuse"):
            display.started(name)
            display.finished(name, 0.1)
    shown = capsys.readouterr().err
    assert "✓" in shown
    assert "loading weights" in shown
    assert "folding normalisations" in shown
