"""levit-run beside levit-classify: the same classes, documents, exit codes and messages on the same images."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fixtures_bundle import BundleFactory, files_below, tiny_model
from levit_documents import python_document, require_alike
from onnx.external_data_helper import set_external_data
from PIL import Image

from levit_deploy.architectures import VARIANTS
from levit_deploy.bundle import GOLDEN, LABELS, MODEL, Golden, open_bundle
from levit_engines import build
from levit_engines.cli import classify
from levit_export.request import Precision, Target

# What both languages call what runs the network: of levit-run, of levit-classify, and nothing, the fastest.
NAMES = {
    "onnxruntime": (["--provider", "cpu"], ["--engine", "onnxruntime"]),
    "native": (["--provider", "native"], ["--engine", "native"]),
    "default": ([], []),
}


@pytest.mark.slow
@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES.keys())
@pytest.mark.parametrize("arch", VARIANTS)
def test_every_variant_gives_the_document_of_levit_classify(
    arch: str,
    names: tuple[list[str], list[str]],
    runtime: Any,
    exported: Any,
    photographs: list[Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = exported(arch=arch, image_size=32, simplify=False, batch=(1, 4)).bundle.path
    shown = runtime.run(bundle, *photographs, "--json", "--top-k", "7", *names[0])
    assert shown.returncode == 0, shown.stderr
    require_alike(json.loads(shown.stdout), python_document(capsys, bundle, *photographs, "--top-k", "7", *names[1]))
    assert shown.stderr.count("\n") == 1
    assert "untrained weights, the probabilities mean nothing" in shown.stderr


@pytest.mark.slow
@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES.keys())
def test_int8_gives_the_document_of_levit_classify(
    names: tuple[list[str], list[str]],
    runtime: Any,
    exported: Any,
    photographs: list[Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    calibration = photographs[0].parent
    bundle = exported(arch="128S", image_size=64, precision=Precision.INT8, calibration=calibration).bundle.path
    shown = runtime.run(bundle, *photographs, "--json", *names[0])
    assert shown.returncode == 0, shown.stderr
    require_alike(json.loads(shown.stdout), python_document(capsys, bundle, *photographs, *names[1]))


@pytest.mark.slow
def test_half_precision_gives_the_document_of_levit_classify_or_says_what_to_do(
    runtime: Any, exported: Any, photographs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"arch": "128S", "image_size": 64, "target": Target.GPU}
    bundle = exported(**small, precision=Precision.FP16).bundle.path
    shown = runtime.run(bundle, *photographs, "--json")
    assert shown.returncode == 0, shown.stderr
    require_alike(json.loads(shown.stdout), python_document(capsys, bundle, *photographs))
    refused = runtime.run(exported(**small, precision=Precision.BF16).bundle.path, photographs[0])
    assert refused.returncode == 2
    assert "is bf16, which ONNX Runtime has no kernels for on a CPU" in refused.stderr


KINDS = {
    "static": {"batch": 1},
    "static, last group padded": {"batch": 3},
    "dynamic": {"batch": "batch", "maximum": 4},
    "dynamic, above the count": {"batch": "batch", "maximum": 64},
    "uint8": {"batch": 2, "dtype": "uint8"},
    "uint8 dynamic": {"batch": "batch", "maximum": 4, "dtype": "uint8"},
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_bundle_gives_the_same_classes(
    kind: dict[str, Any],
    runtime: Any,
    make_bundle: BundleFactory,
    images: list[Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = make_bundle(**kind).path
    shown = runtime.run(bundle, *images, "--json", "--no-self-test")
    assert (shown.returncode, shown.stderr) == (0, "")
    require_alike(json.loads(shown.stdout), python_document(capsys, bundle, *images))


def test_the_document_is_written_like_pythons(
    runtime: Any, small_bundle: Path, photographs: list[Path], tmp_path: Path
) -> None:
    odd = tmp_path / 'é "\\\n\udcff.jpg'
    odd.write_bytes(photographs[0].read_bytes())
    text = runtime.run(small_bundle, odd, "--json").stdout
    document = json.loads(text)
    assert document["images"][0]["file"] == str(odd)
    assert text == json.dumps(document, indent=2, ensure_ascii=True) + "\n"


@pytest.mark.parametrize(("provider", "engine"), [("cpu", "onnxruntime"), ("native", "native")])
def test_the_table_is_drawn_like_levit_classifys(
    provider: str,
    engine: str,
    runtime: Any,
    small_bundle: Path,
    photographs: list[Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = photographs[:2]
    assert classify.main([str(small_bundle), *map(str, names), "--threads", "1", "--engine", engine]) == 0
    drawn = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    shown = runtime.run(small_bundle, *names, "--provider", provider).stdout.splitlines()
    # Long paths are folded by the one and not by the other: the tables themselves are compared.
    table = [line for line in drawn if line and line[0] in "┏┃┡│└"]
    assert [line for line in shown if line[0] in "┏┃┡│└"] == table
    assert drawn[-1] == shown[-1] == f"engine {engine}, device cpu, threads 1"


def test_a_folder_stands_for_its_images(runtime: Any, small_bundle: Path, photographs: list[Path]) -> None:
    folder = photographs[0].parent
    named = runtime.run(small_bundle, *photographs, "--json")
    assert runtime.run(small_bundle, folder, "--json").stdout == named.stdout


def test_an_image_may_come_on_standard_input(runtime: Any, small_bundle: Path, photographs: list[Path]) -> None:
    with photographs[0].open("rb") as file:
        shown = runtime.run(small_bundle, "-", "--json", stdin=file)
    (image,) = json.loads(shown.stdout)["images"]
    (expected,) = json.loads(runtime.run(small_bundle, photographs[0], "--json").stdout)["images"]
    assert image == {**expected, "file": "-"}


def test_the_self_test_says_what_it_found(runtime: Any, small_bundle: Path) -> None:
    shown = runtime.run(small_bundle, "--self-test")
    assert shown.returncode == 0
    assert shown.stdout.startswith("self-test: 12 golden images reproduced, largest error ")
    document = json.loads(runtime.run(small_bundle, "--self-test", "--json").stdout)
    assert document["self_test"]["golden_images"] == 12
    assert 0 < document["self_test"]["largest_share_of_tolerance"] <= 1


def test_what_does_not_reproduce_its_golden_logits_does_not_serve(
    runtime: Any, small_bundle: Path, make_bundle: BundleFactory, images: list[Path]
) -> None:
    bundle = make_bundle().path  # its golden logits are zero, its network's are not
    for arguments in ([images[0]], ["--self-test"]):
        shown = runtime.run(bundle, *arguments)
        assert (shown.returncode, shown.stdout) == (1, "")
        assert shown.stderr.count("\n") == 1
        for part in ("levit-run: error: ", "self-test failed", "golden image first", "rounding explains 0.0001"):
            assert part in shown.stderr
    assert runtime.run(bundle, images[0], "--no-self-test").returncode == 0


def test_logits_that_are_not_numbers_fail_the_self_test(
    runtime: Any, make_bundle: BundleFactory, images: list[Path]
) -> None:
    from fixtures_bundle import WEIGHTS

    bad = tiny_model().replace(WEIGHTS.tobytes(), np.full_like(WEIGHTS, np.nan).tobytes())
    bundle = make_bundle(members={MODEL: bad}).path
    assert "self-test failed" in runtime.run(bundle, images[0]).stderr
    shown = runtime.run(bundle, images[0], "--no-self-test")
    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr == f"levit-run: error: {images[0]}: the logits are not finite; export the bundle again\n"


def test_a_benchmark_prints_what_its_count_carries(
    runtime: Any, make_bundle: BundleFactory, images: list[Path]
) -> None:
    bundle = make_bundle().path
    shown = runtime.run(bundle, *images, "--no-self-test", "--benchmark", "0.5", "--json")
    assert shown.returncode == 0, shown.stderr
    measured = json.loads(shown.stdout)["benchmark"]
    fewest = {"p50": 11, "p90": 64, "p99": 662, "p99.9": 6636}
    assert list(measured["percentiles_ms"]) == [name for name, count in fewest.items() if measured["calls"] >= count]
    assert measured["seconds"] >= 0.5
    stages = measured["mean_stages_ms"]
    assert list(stages) == ["decode", "resize", "normalize", "inference", "rank"]
    assert sum(stages.values()) <= measured["mean_ms"]
    table = runtime.run(bundle, images[0], "--no-self-test", "--benchmark", "0.01").stdout
    assert "encoded image to classes: " in table


class TestBuiltGraph:
    @pytest.fixture
    def built(self, small_bundle: Path, tmp_path: Path) -> Path:
        copy = tmp_path / "built"
        shutil.copytree(small_bundle, copy)
        build(copy, engine="onnxruntime")
        return copy

    def test_it_is_used_and_agrees(
        self, built: Path, runtime: Any, small_bundle: Path, photographs: list[Path]
    ) -> None:
        shown = runtime.run_in_onnxruntime(built, *photographs, "--json")
        assert shown.returncode == 0, shown.stderr
        assert "note:" not in shown.stderr
        plain = json.loads(runtime.run_in_onnxruntime(small_bundle, *photographs, "--json").stdout)
        require_alike(json.loads(shown.stdout), {**plain, "bundle": str(built)})

    @pytest.mark.parametrize(
        ("place", "value", "reason"),
        [
            ("libraries", {"onnxruntime": "1.0.0"}, "it was made for onnxruntime 1.0.0, here is "),
            ("requirements", {"architecture": "z80"}, "it was made for architecture z80, here is "),
        ],
    )
    def test_another_machine_uses_the_graph_itself_and_says_so(
        self, place: str, value: dict[str, str], reason: str, built: Path, runtime: Any, photographs: list[Path]
    ) -> None:
        file = built / "manifest.json"
        manifest = json.loads(file.read_text())
        manifest["engines"]["onnxruntime"][place] |= value
        file.write_text(json.dumps(manifest))
        shown = runtime.run_in_onnxruntime(built, photographs[0])
        assert shown.returncode == 0
        assert shown.stderr.startswith(f"note: the optimised graph of the bundle is not used, {reason}")

    def test_altered_it_is_refused(self, built: Path, runtime: Any, photographs: list[Path]) -> None:
        for name in open_bundle(built).manifest.engines["onnxruntime"].files:
            content = (built / name).read_bytes()
            (built / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            shown = runtime.run_in_onnxruntime(built, photographs[0])
            assert shown.returncode == 3
            assert f"{name}: altered" in shown.stderr
            (built / name).write_bytes(content)

    @pytest.mark.parametrize(
        ("place", "name"),
        [("requirements", "instruction set"), ("requirements", "architecture"), ("libraries", "onnxruntime")],
    )
    def test_both_languages_have_the_same_words_for_this_machine(
        self, place: str, name: str, built: Path, runtime: Any, photographs: list[Path]
    ) -> None:
        """The note says what the runtime found here; Python wrote what it found into the manifest."""
        (found,) = edit_engine(built, lambda entry: [entry[place].pop(name)])
        assert found
        shown = runtime.run_in_onnxruntime(built, photographs[0])
        assert f"it was made for {name} nothing, here is {found}: ONNX Runtime optimises" in shown.stderr

    def test_without_an_instruction_set_it_is_not_used(
        self, built: Path, runtime: Any, photographs: list[Path]
    ) -> None:
        edit_engine(built, lambda entry: entry["requirements"].update({"instruction set": ""}))
        shown = runtime.run_in_onnxruntime(built, photographs[0])
        assert shown.returncode == 0
        assert "is not used, it was made for instruction set nothing, here is " in shown.stderr

    def test_weights_that_are_not_listed_are_not_loaded(
        self, built: Path, runtime: Any, photographs: list[Path]
    ) -> None:
        weights = built / edit_engine(built, lambda entry: entry["files"].pop())
        assert weights.name == "weights.bin"
        shown = runtime.run_in_onnxruntime(built, photographs[0], cwd=weights.parent)
        assert shown.returncode == 0
        assert "it keeps weights in 'weights.bin', which manifest.json does not list with it" in shown.stderr

    def test_a_graph_that_onnxruntime_refuses_is_replaced_by_the_model(
        self, built: Path, runtime: Any, small_bundle: Path, photographs: list[Path]
    ) -> None:
        graph = built / open_bundle(built).manifest.engines["onnxruntime"].files[0]
        model = onnx.load_model(graph, load_external_data=False)
        model.graph.node[0].op_type = "Unknown"
        for content, said in ((model.SerializeToString(), "refuses it ("), (b"no model", "not an ONNX model")):
            replace_member(built, graph, content)
            shown = runtime.run_in_onnxruntime(built, photographs[0], "--json")
            assert shown.returncode == 0, shown.stderr
            assert shown.stderr.startswith("note: the optimised graph of the bundle is not used, ")
            assert said in shown.stderr.splitlines()[0]
            plain = json.loads(runtime.run_in_onnxruntime(small_bundle, photographs[0], "--json").stdout)
            require_alike(json.loads(shown.stdout), {**plain, "bundle": str(built)})

    def test_the_note_is_one_line_whatever_the_folder_is_called(
        self, built: Path, runtime: Any, photographs: list[Path]
    ) -> None:
        edit_engine(built, lambda entry: entry["requirements"].update(architecture="two\nlines"))
        odd = built.with_name("od\nd\x1b[2J")
        built.rename(odd)
        shown = runtime.run_in_onnxruntime(odd, photographs[0])
        assert shown.returncode == 0
        notes = shown.stderr.splitlines()
        assert len(notes) == 2  # the other is of untrained weights
        assert "two\\x0alines" in notes[0]
        assert "\x1b" not in shown.stderr


def edit_engine(bundle: Path, edit: Callable[[dict[str, Any]], Any]) -> Any:
    """What `edit` returns, once it has changed the manifest's entry of the optimised graph."""
    file = bundle / "manifest.json"
    manifest = json.loads(file.read_text())
    result = edit(manifest["engines"]["onnxruntime"])
    file.write_text(json.dumps(manifest))
    return result


def replace_member(bundle: Path, member: Path, content: bytes) -> None:
    """Write a member of a bundle anew, and its hash into the manifest."""
    member.write_bytes(content)
    file = bundle / "manifest.json"
    manifest = json.loads(file.read_text())
    record = {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest["members"][member.relative_to(bundle).as_posix()] = record
    file.write_text(json.dumps(manifest))


def test_a_model_that_keeps_weights_elsewhere_is_refused(
    runtime: Any, make_bundle: BundleFactory, images: list[Path], tmp_path: Path
) -> None:
    """No path is followed: not to a file beside the model, not to one in the current folder, not out of the bundle."""
    model = onnx.load_model_from_string(tiny_model())
    (weights,) = model.graph.initializer
    content = weights.raw_data
    (tmp_path / "w.bin").write_bytes(content)
    for place in ("w.bin", str(tmp_path / "w.bin")):
        set_external_data(weights, place, length=len(content))
        weights.ClearField("raw_data")
        bundle = make_bundle(members={MODEL: model.SerializeToString(), "w.bin": content}).path
        shown = runtime.run(bundle, images[0], "--no-self-test", cwd=tmp_path)
        assert (shown.returncode, shown.stdout) == (3, "")
        assert f"{MODEL}: it keeps weights in '{place}', which manifest.json does not list with it" in shown.stderr
        shutil.rmtree(bundle)
        weights.raw_data = content


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 10, 99)).save(stream, kind)
    return stream.getvalue()


BAD_IMAGES = {
    "nothing": b"",
    "text": b"not an image",
    "cut PNG": encoded("PNG")[:60],
    "cut JPEG": encoded("JPEG")[:200],
    "head alone": encoded("JPEG")[:2],
}


@pytest.mark.parametrize("content", BAD_IMAGES.values(), ids=BAD_IMAGES.keys())
def test_a_bad_image_is_one_line_that_names_it(
    content: bytes, runtime: Any, small_bundle: Path, photographs: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(content)
    shown = runtime.run(small_bundle, photographs[0], bad, photographs[1], "--json")
    assert (shown.returncode, shown.stdout) == (3, "")
    assert shown.stderr.startswith(f"levit-run: error: {bad}: ")
    assert shown.stderr.count("\n") == 1


def test_a_missing_image_and_an_empty_folder_are_named(runtime: Any, small_bundle: Path, tmp_path: Path) -> None:
    for name in (tmp_path / "none.jpg", tmp_path):
        shown = runtime.run(small_bundle, name)
        assert (shown.returncode, shown.stdout) == (3, "")
        assert shown.stderr.startswith(f"levit-run: error: {name}: ")


@pytest.mark.parametrize(
    "arguments",
    [[], ["bundle"], ["bundle", "a.png", "--top-k", "0"], ["bundle", "a.png", "--provider", "steam"],
     ["bundle", "a.png", "--threads", "none"], ["bundle", "a.png", "--js"], ["bundle", "a.png", "--benchmark", "0"]],
    ids=lambda value: " ".join(value) or "nothing",
)  # fmt: skip
def test_misuse_exits_with_2(arguments: list[str], runtime: Any) -> None:
    shown = runtime.run(*arguments)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr.startswith("levit-run: error: ")
    assert shown.stderr.count("\n") == 1


def test_help_shows_an_example_that_runs(
    runtime: Any, small_bundle: Path, photographs: list[Path], tmp_path: Path
) -> None:
    text = runtime.run("--help").stdout
    example = text.partition("example:\n")[2].strip()
    (tmp_path / "levit-384-fp32").symlink_to(small_bundle)
    (tmp_path / "photo.jpg").symlink_to(photographs[0])
    command = example.replace("levit-run", str(runtime.folder / "levit-run"), 1)
    shown = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    for option in ("--top-k", "--threads", "--json", "--self-test", "--benchmark"):
        assert option in text


def test_a_full_disk_is_told(runtime: Any, small_bundle: Path, photographs: list[Path]) -> None:
    with Path("/dev/full").open("w") as full:
        shown = runtime.run(small_bundle, photographs[0], capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert shown.returncode == 4
    assert shown.stderr.endswith("levit-run: error: standard output: No space left on device\n")


def test_no_file_appears_in_an_empty_home(
    runtime: Any, small_bundle: Path, photographs: list[Path], empty_home: dict[str, str], tmp_path: Path
) -> None:
    shown = runtime.run(small_bundle, photographs[0], "--benchmark", "6", env=empty_home, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert files_below(tmp_path) == []


def test_golden_images_are_needed_to_test_oneself(runtime: Any, make_bundle: BundleFactory, images: list[Path]) -> None:
    nothing = Golden(names=(), images=np.zeros((0, 32, 32, 3), np.uint8), logits=np.zeros((0, 5)))
    bundle = make_bundle(members={GOLDEN: nothing.to_bytes()}, golden_tolerance=()).path
    shown = runtime.run(bundle, images[0])
    assert shown.returncode == 3
    assert "no golden images" in shown.stderr


def test_names_with_terminal_codes_are_harmless(runtime: Any, make_bundle: BundleFactory, images: list[Path]) -> None:
    labels = b"[red]a[/]\n[/]\n\x1b[2Jc\nd\ne\n"
    odd = images[0].with_name("[bold]\x1b[2J.png")
    odd.write_bytes(images[0].read_bytes())
    shown = runtime.run(make_bundle(members={LABELS: labels}).path, odd, "--no-self-test")
    assert shown.returncode == 0
    assert "\x1b" not in shown.stdout
    assert "[red]a[/]" in shown.stdout
