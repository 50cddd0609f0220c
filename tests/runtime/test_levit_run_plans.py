"""Plans of TensorRT in levit-run: refused where they cannot run, and run with doubles of NVIDIA's libraries.

The doubles (engines/runtime/tests/nvidia_double) are headers and libraries of our own with the few functions that the
adapter uses; they compute the tiny network of `fixtures_bundle`. No GPU was seen by any of this.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import levit_ctypes as levit
import numpy as np
import pytest
from fixtures_bundle import CLASSES, SIDE, WEIGHTS, BundleFactory
from levit_documents import require_alike
from shared_exports import locked, shared_folder

from levit_deploy.bundle import GOLDEN, MODEL, Bundle, Golden
from levit_deploy.bundle_engines import add_engine
from levit_deploy.engine_entry import EngineEntry, Profile
from levit_deploy.preprocessing import normalize, preprocessing_for
from levit_engines.tensorrt.compatibility import platform_here

ROOT = Path(__file__).parents[2]
DOUBLE = ROOT / "engines" / "runtime" / "tests" / "nvidia_double"
ADAPTER = ROOT / "engines" / "runtime" / "src" / "tensorrt_adapter.cpp"
VERSION = "10.13.3.9"
LARGEST = 4

Planned = Callable[..., Path]


def plan_bytes(minimum: int = 1, maximum: int = LARGEST) -> bytes:
    """The tiny network as a plan that the double of TensorRT loads."""
    return b"double plan\n" + struct.pack("<4i", SIDE, CLASSES, minimum, maximum) + WEIGHTS.tobytes()


def true_golden(golden: Golden) -> bytes:
    """The golden images of the tiny bundle with the logits that its network has."""
    images = normalize(golden.images, preprocessing_for("untrained", SIDE)).astype(np.float64)
    logits = images.mean(axis=(2, 3)) @ WEIGHTS.astype(np.float64)
    return Golden(names=golden.names, images=golden.images, logits=logits).to_bytes()


def add_plan(bundle: Bundle, content: bytes, engine: str, **changes: Any) -> None:
    fields: dict[str, Any] = {
        "files": ("network.plan",),
        "model_sha256": bundle.manifest.members[MODEL].sha256,
        "libraries": {"tensorrt": VERSION},
        "requirements": {"compute_capabilities": "8.6", "platform": platform_here()},
        "profile": Profile(minimum=1, optimum=1, maximum=LARGEST),
        "options": {},
        "network": {},
        "machine": {},
        "build_seconds": 1.0,
        "verified": "nothing",
    }
    add_engine(bundle, engine, EngineEntry(**{**fields, **changes}), {"network.plan": content})


@pytest.fixture
def planned(make_bundle: BundleFactory) -> Planned:
    """Write a tiny bundle with a plan; `changes` are fields of the engine's entry."""

    def make(content: bytes | None = None, engine: str = "tensorrt", **changes: Any) -> Path:
        sizes: dict[str, Any] = {"batch": "batch", "maximum": LARGEST}
        golden = make_bundle("without golden logits", **sizes).golden()
        bundle = make_bundle("planned", **sizes, members={GOLDEN: true_golden(golden)})
        add_plan(bundle, plan_bytes() if content is None else content, engine, **changes)
        return bundle.path

    return make


def refusal(shown: subprocess.CompletedProcess[str], code: int = 4) -> str:
    """The one line of an exit with this code."""
    assert (shown.returncode, shown.stdout) == (code, ""), shown.stderr
    assert shown.stderr.startswith("levit-run: error: ")
    assert shown.stderr.count("\n") == 1, shown.stderr
    return str(shown.stderr)


class TestWithoutTensorRT:
    def test_it_says_how_to_build_it_in(self, runtime: Any, planned: Planned, images: list[Path]) -> None:
        said = refusal(runtime.run(planned(), images[0], "--provider", "tensorrt-plan"))
        assert "built without TensorRT" in said
        assert "-DLEVIT_TENSORRT=ON -DTENSORRT_ROOT=FOLDER" in said

    def test_a_bundle_without_a_plan_names_the_command(
        self, runtime: Any, make_bundle: BundleFactory, images: list[Path]
    ) -> None:
        bundle = make_bundle().path
        said = refusal(runtime.run(bundle, images[0], "--provider", "tensorrt-plan"))
        assert f"{bundle}: has no plan of TensorRT yet: run levit-build {bundle} --engine tensorrt" in said

    def test_a_plan_of_tensorrt_rtx_is_told_apart(self, runtime: Any, planned: Planned, images: list[Path]) -> None:
        said = refusal(runtime.run(planned(engine="tensorrt-rtx"), images[0], "--provider", "tensorrt-plan"))
        assert "only one of TensorRT-RTX, which levit-classify --engine tensorrt-rtx runs" in said

    def test_the_library_says_the_same(self, runtime: Any, planned: Planned) -> None:
        library = levit.load(runtime.library)
        options = levit.default_options(library)
        options.provider = levit.TENSORRT_PLAN
        with pytest.raises(levit.LevitError, match="built without TensorRT") as raised:
            levit.Classifier(library, planned(), options)
        assert raised.value.status == levit.ENVIRONMENT

    def test_the_info_names_the_library_that_runs_it(self, runtime: Any, small_bundle: Path) -> None:
        with levit.Classifier(levit.load(runtime.library), small_bundle) as opened:
            info = opened.info()
        assert (info.tensorrt_version, info.tensorrt_library) == (b"", b"")


class TestConfiguring:
    @staticmethod
    def configure(folder: Path, *definitions: str) -> subprocess.CompletedProcess[str]:
        command = ["cmake", "-S", str(ROOT), "-B", str(folder), *(f"-D{text}" for text in definitions)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_asked_for_without_headers_it_ends_with_what_to_do(self, runtime: Any, tmp_path: Path) -> None:
        shown = self.configure(tmp_path, "LEVIT_TENSORRT=ON", f"TENSORRT_ROOT={tmp_path}")
        assert shown.returncode != 0
        said = " ".join(shown.stderr.split())
        for part in ("NvInferRuntime.h of TensorRT 10 or later", "-DTENSORRT_ROOT=FOLDER", "-DLEVIT_TENSORRT=OFF"):
            assert part in said

    def test_left_to_itself_it_builds_without(self, runtime: Any, tmp_path: Path) -> None:
        shown = self.configure(tmp_path, f"TENSORRT_ROOT={tmp_path}")
        assert shown.returncode == 0, shown.stderr
        assert "-- Plans of TensorRT are not run" in shown.stdout

    def test_left_to_itself_it_takes_headers_that_are_there(self, runtime: Any, tmp_path: Path) -> None:
        shown = self.configure(tmp_path, f"TENSORRT_ROOT={DOUBLE}", f"CUDAToolkit_ROOT={DOUBLE}")
        assert shown.returncode == 0, shown.stderr
        assert "-- Plans of TensorRT are run, with the headers of 10.13.3" in shown.stdout

    def test_headers_that_are_too_old_are_told(self, runtime: Any, tmp_path: Path) -> None:
        shutil.copytree(DOUBLE / "include", tmp_path / "include")
        version = tmp_path / "include" / "NvInferVersion.h"
        version.write_text(version.read_text().replace("DOUBLE_MAJOR 10", "DOUBLE_MAJOR 8"))
        roots = (f"TENSORRT_ROOT={tmp_path}", f"CUDAToolkit_ROOT={tmp_path}")
        shown = self.configure(tmp_path / "build", "LEVIT_TENSORRT=ON", *roots)
        assert shown.returncode != 0
        assert 'unsuitable version "8.13.3"' in " ".join(shown.stderr.split())

    def test_another_word_is_refused(self, runtime: Any, tmp_path: Path) -> None:
        shown = self.configure(tmp_path, "LEVIT_TENSORRT=maybe")
        assert shown.returncode != 0
        assert "LEVIT_TENSORRT is 'maybe': choose AUTO, ON or OFF" in " ".join(shown.stderr.split())


def test_the_adapter_compiles_with_nvidias_headers() -> None:
    """In CI there are none, and nothing of NVIDIA's may be committed."""
    tensorrt = os.environ.get("LEVIT_TENSORRT_HEADERS")
    if tensorrt is None:
        pytest.skip("no headers of TensorRT: LEVIT_TENSORRT_HEADERS names the folder of NvInferRuntime.h")
    cuda = os.environ.get("LEVIT_CUDA_HEADERS", "/usr/local/cuda/include")
    flags = ["-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
    folders = ["-isystem", tensorrt, "-isystem", cuda, "-I", str(ADAPTER.parents[1] / "include")]
    shown = subprocess.run(["c++", *flags, *folders, str(ADAPTER)], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr


@pytest.fixture(scope="session")
def doubled(build_runtime: Callable[..., None], runtime: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """levit-run with the adapter, under sanitizers, and the libraries that it opens, all made from the doubles."""
    shared = shared_folder(tmp_path_factory)
    folder, built = shared / "doubled-build", shared / "doubled-build" / "built"
    with locked(shared / "doubled-build.lock"):
        if not built.exists():
            build_runtime(
                folder,
                "levit-run",
                LEVIT_TENSORRT="ON",
                TENSORRT_ROOT=str(DOUBLE),
                CUDAToolkit_ROOT=str(DOUBLE),
                LEVIT_SANITIZE="address,undefined",
                LEVIT_BUILD_TESTS="OFF",
                CMAKE_BUILD_TYPE="RelWithDebInfo",
                CMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g1",
            )
            for name, others in (("cudart", []), ("nvinfer", [folder / "libcudart.so"])):
                command = ["c++", "-std=c++17", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
                command += ["-I", DOUBLE / "include", DOUBLE / f"{name}.cpp", *others, "-Wl,-rpath,$ORIGIN"]
                command += ["-o", folder / f"lib{name}.so", f"-Wl,-soname,lib{name}.so"]
                shown = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
                assert shown.returncode == 0, shown.stderr
            built.touch()
    return type(runtime)(folder)


def run_plan(
    doubled: Any, *arguments: object, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """levit-run on the plan; neither ONNX Runtime nor anything of NVIDIA's can be found."""
    variables = {
        "LEVIT_TENSORRT_LIBRARY": str(doubled.folder / "libnvinfer.so"),
        "LEVIT_CUDA_LIBRARY": str(doubled.folder / "libcudart.so"),
        "LEVIT_ONNXRUNTIME": "/absent/libonnxruntime.so",
        "ASAN_OPTIONS": "detect_leaks=1",
    }
    everything = os.environ | variables | dict(environment or {})
    shown: subprocess.CompletedProcess[str] = doubled.run(*arguments, "--provider", "tensorrt-plan", env=everything)
    return shown


@pytest.mark.slow
class TestWithDoubles:
    def test_it_gives_the_classes_of_the_graph(
        self, doubled: Any, runtime: Any, planned: Planned, images: list[Path]
    ) -> None:
        bundle = planned()
        expected = json.loads(runtime.run(bundle, *images, "--json").stdout)
        shown = run_plan(doubled, bundle, *images, "--json")
        assert (shown.returncode, shown.stderr) == (0, "")
        found = json.loads(shown.stdout)
        require_alike(found, {**expected, "engine": "tensorrt", "device": "cuda:0"}, tolerance=1e-5)

    def test_a_plan_for_fewer_images_runs_them_in_its_own_groups(
        self, doubled: Any, runtime: Any, planned: Planned, images: list[Path]
    ) -> None:
        bundle = planned(plan_bytes(2, 3), profile=Profile(minimum=2, optimum=2, maximum=3))
        for some in (images, images[:1]):
            expected = json.loads(runtime.run(bundle, *some, "--json").stdout)["images"]
            shown = run_plan(doubled, bundle, *some, "--json")
            assert (shown.returncode, shown.stderr) == (0, "")
            require_alike(json.loads(shown.stdout)["images"], expected, tolerance=1e-5)

    def test_the_golden_images_are_replayed(self, doubled: Any, planned: Planned) -> None:
        shown = run_plan(doubled, planned(), "--self-test", "--json")
        assert (shown.returncode, shown.stderr) == (0, "")
        document = json.loads(shown.stdout)["self_test"]
        assert document["golden_images"] == 2
        assert 0 < document["largest_share_of_tolerance"] <= 1

    def test_a_plan_that_computes_something_else_does_not_serve(
        self, doubled: Any, planned: Planned, images: list[Path]
    ) -> None:
        content = plan_bytes()
        bundle = planned(content[:-4] + struct.pack("<f", 7.0))
        assert "self-test failed" in refusal(run_plan(doubled, bundle, images[0]), 1)

    @pytest.mark.parametrize(
        ("variable", "value", "code", "said"),
        [
            ("DOUBLE_FAILS", "driver", 4, "no NVIDIA driver, or one too old"),
            ("DOUBLE_GPUS", "0", 4, "no NVIDIA GPU can be used here (cudaErrorNoDevice)"),
            ("DOUBLE_VERSION", "10701", 4, "this is TensorRT-RTX 1.7.1.9, whose plans levit-classify"),
            ("DOUBLE_VERSION", "110100", 4, "this is TensorRT 11.1.0.9, this program was compiled with the headers of"),
            ("DOUBLE_VERSION", "101400", 4, "built with TensorRT 10.13.3.9, this is 10.14.0.9: run levit-build"),
            ("DOUBLE_FAILS", "createInferRuntime_INTERNAL", 4, "TensorRT cannot start (no reason was given)"),
            ("DOUBLE_FAILS", "deserializeCudaEngine", 4, "cannot load it (the plan is for another GPU): run levit-"),
            ("DOUBLE_FAILS", "createExecutionContext", 4, "can make no execution context"),
            ("DOUBLE_FAILS", "cudaMalloc", 4, "bytes on the GPU failed: cudaErrorMemoryAllocation"),
            ("DOUBLE_FAILS", "getTensorDataType", 3, "network.plan: has input images float16 (any, 3, 32, 32)"),
            ("DOUBLE_FAILS", "getTensorFormat", 3, "images float32 in a format of its own"),
            ("DOUBLE_FAILS", "setTensorAddress", 1, "TensorRT refuses the memory of images"),
            ("DOUBLE_FAILS", "setInputShape", 1, "refuses a batch of 1 images: the shape is not in the profile"),
            ("DOUBLE_FAILS", "cudaMemcpyAsync", 1, "copying images to the GPU failed: cudaErrorLaunchFailure"),
            ("DOUBLE_FAILS", "enqueueV3", 1, "TensorRT failed: a kernel failed"),
            ("DOUBLE_FAILS", "cudaStreamSynchronize", 1, "running the network failed: cudaErrorLaunchFailure"),
        ],
    )
    def test_what_fails_is_told_on_one_line_and_all_is_given_back(
        self, variable: str, value: str, code: int, said: str, doubled: Any, planned: Planned, images: list[Path]
    ) -> None:
        shown = run_plan(doubled, planned(), images[0], environment={variable: value})
        assert said in refusal(shown, code)

    def test_a_library_that_is_missing_or_another_one_is_told(
        self, doubled: Any, planned: Planned, images: list[Path]
    ) -> None:
        bundle = planned()
        places = ({"LEVIT_TENSORRT_LIBRARY": "/absent.so"}, {"LEVIT_CUDA_LIBRARY": "/absent.so"})
        for place in places:
            (variable,) = place
            said = refusal(run_plan(doubled, bundle, images[0], environment=place))
            assert f"what {variable} names cannot be loaded (/absent.so: no such file)" in said
        library = str(doubled.folder / "libcudart.so")
        said = refusal(run_plan(doubled, bundle, images[0], environment={"LEVIT_TENSORRT_LIBRARY": library}))
        assert f"{library}: has no getInferLibVersion" in said
        said = refusal(run_plan(doubled, bundle, images[0], environment={"LEVIT_TENSORRT_LIBRARY": ""}))
        assert "libnvinfer.so.10 cannot be loaded: install TensorRT" in said

    def test_the_real_library_of_tensorrt_rtx_is_refused_by_its_name(
        self, doubled: Any, planned: Planned, images: list[Path]
    ) -> None:
        package = pytest.importorskip("tensorrt_rtx_libs", reason="tensorrt-rtx-cu13 is in the extra 'test'")
        (library,) = Path(package.__path__[0]).glob("libtensorrt_rtx.so.*")
        said = refusal(run_plan(doubled, planned(), images[0], environment={"LEVIT_TENSORRT_LIBRARY": str(library)}))
        assert f"{library}: this is TensorRT-RTX 1." in said
        assert "name libnvinfer.so of TensorRT 10 in LEVIT_TENSORRT_LIBRARY" in said

    def test_an_altered_plan_is_refused_before_anything_of_it_is_read(
        self, doubled: Any, planned: Planned, images: list[Path]
    ) -> None:
        bundle = planned()
        (plan,) = bundle.rglob("network.plan")
        plan.write_bytes(plan_bytes()[:-1] + b"\0")
        assert "network.plan: altered or damaged" in refusal(run_plan(doubled, bundle, images[0]), 3)

    def test_what_is_no_plan_is_told(self, doubled: Any, planned: Planned, images: list[Path]) -> None:
        said = refusal(run_plan(doubled, planned(b"something else"), images[0]), 3)
        assert "network.plan: not a whole plan (assertion header.magicTag" in said

    @pytest.mark.parametrize(
        ("requirements", "said"),
        [
            ({"compute_capabilities": "9.0", "platform": platform_here()}, "compute capability 9.0, this GPU has 8.6"),
            ({"compute_capabilities": "8.6", "platform": "linux-z80"}, "was built on linux-z80, this is linux-"),
        ],
    )
    def test_a_plan_for_another_machine_is_refused(
        self, requirements: dict[str, str], said: str, doubled: Any, planned: Planned, images: list[Path]
    ) -> None:
        assert said in refusal(run_plan(doubled, planned(requirements=requirements), images[0]))
