"""Packages that cannot live beside each other, found on made-up machines; and what is no clash is none."""

import pytest
from doctor_facts import WITH_GPU, make_facts, make_probe

from levit_engines.doctor.clashes import find_clashes
from levit_engines.doctor.packages import cuda_wheel, packages_of
from levit_engines.doctor.probe import IMPORT, RUN, Outcome

CUDA_13_GPU_STACK = (
    *("torch", "onnx", "openvino", "cuda-bindings", "cuda-python", "nvidia-cufft", "nvidia-cudnn-cu13"),
    *("tensorrt", "tensorrt-cu13", "tensorrt-cu13-bindings", "tensorrt-cu13-libs"),
    *("tensorrt-rtx-cu13", "tensorrt-rtx-cu13-libs", "onnxruntime-ep-nv-tensorrt-rtx"),
)


def versions(*names, **others):
    return {**dict.fromkeys(names, "1.0"), **others}


def test_a_stack_of_one_cuda_and_one_onnxruntime_is_no_clash():
    facts = make_facts(versions(*CUDA_13_GPU_STACK), builds=["onnxruntime-gpu"], nvidia=WITH_GPU)
    assert find_clashes(facts) == ()


@pytest.mark.parametrize(("nvidia", "extra"), [({}, "cpu"), ({"nvidia": WITH_GPU}, "gpu")], ids=["no GPU", "GPU"])
def test_two_builds_of_onnxruntime(nvidia, extra):
    (clash,) = find_clashes(make_facts(builds=["onnxruntime", "onnxruntime-gpu"], **nvidia))
    assert clash.packages == ("onnxruntime", "onnxruntime-gpu")
    assert clash.remedy == (f'pip uninstall -y onnxruntime onnxruntime-gpu && pip install "levit-deploy[{extra}]"')


def test_other_builds_of_onnxruntime_clash_too():
    (clash,) = find_clashes(make_facts(builds=["onnxruntime", "onnxruntime-openvino"]))
    assert "onnxruntime-openvino" in clash.packages


def test_libraries_of_two_cuda_releases():
    (clash,) = find_clashes(make_facts(versions("nvidia-cublas-cu12", "nvidia-cudnn-cu13", "tensorrt-cu13")))
    assert set(clash.packages) == {"nvidia-cublas-cu12", "nvidia-cudnn-cu13", "tensorrt-cu13"}
    assert clash.consequence.endswith("(CUDA 12 and 13)")
    assert clash.remedy == "keep those of CUDA 13: pip uninstall -y nvidia-cublas-cu12"


# As CUDA 13 names its libraries, of which each counts its own releases; and what is none of them.
OF_CUDA_13 = {
    "nvidia-cublas": "13.10.0.20",
    "nvidia-cuda-runtime": "13.5.37",
    "nvidia-cufft": "12.5.0.14",
    "nvidia-curand": "10.4.5.25",
    "nvidia-ml-py": "13.580.82",
}


def test_libraries_whose_names_say_no_cuda_release():
    (clash,) = find_clashes(make_facts({**OF_CUDA_13, "nvidia-cublas-cu12": "12.9"}))
    assert set(clash.packages) == {"nvidia-cublas-cu12", *OF_CUDA_13} - {"nvidia-ml-py"}
    assert clash.remedy == "keep those of CUDA 13: pip uninstall -y nvidia-cublas-cu12"


def test_libraries_whose_names_say_no_cuda_release_beside_a_pytorch_for_another():
    (clash,) = find_clashes(make_facts({**OF_CUDA_13, "nvidia-cublas-cu12": "12.9", "torch": "2.13.0+cu128"}))
    names = "nvidia-cublas nvidia-cuda-runtime nvidia-cufft nvidia-curand"
    assert clash.remedy == f"keep those of CUDA 12: pip uninstall -y {names}"


@pytest.mark.parametrize("others", [{"tensorrt-cu13": "10.16.1"}, {"nvidia-cudnn-cu13": "9.28"}, {"nvidia-ml-py": "1"}])
def test_libraries_whose_names_say_no_cuda_release_beside_the_same_release(others):
    assert find_clashes(make_facts({**OF_CUDA_13, **others})) == ()


def test_where_no_version_tells_the_cuda_release_nothing_is_said():
    assert find_clashes(make_facts({"nvidia-cufft": "12.5.0.14", "nvidia-cublas-cu12": "12.9"})) == ()


def test_the_cuda_that_pytorch_was_built_for_is_kept():
    packages = versions("nvidia-cublas-cu12", "tensorrt-cu13", "tensorrt-cu13-libs", torch="2.13.0+cu128")
    (clash,) = find_clashes(make_facts(packages))
    assert clash.remedy == "keep those of CUDA 12: pip uninstall -y tensorrt-cu13 tensorrt-cu13-libs"


@pytest.mark.parametrize("family", ["tensorrt", "tensorrt-rtx"])
def test_two_flavours_of_tensorrt_overwrite_each_other(family):
    packages = versions(f"{family}-cu12-libs", f"{family}-cu13-libs")
    (clash,) = find_clashes(make_facts(packages))
    assert "same folder" in clash.consequence
    assert clash.remedy == (
        f"keep those of CUDA 13: pip uninstall -y {family}-cu12-libs"
        f" && pip install --force-reinstall --no-deps {family}-cu13-libs"
    )


def test_tensorrt_beside_tensorrt_rtx_of_another_cuda():
    (clash,) = find_clashes(make_facts(versions("tensorrt-cu12", "tensorrt-rtx-cu13")))
    assert clash.packages == ("tensorrt-cu12", "tensorrt-rtx-cu13")


def test_a_package_that_cannot_be_imported():
    facts = make_facts({"openvino": "2026.4"})
    (clash,) = find_clashes(facts, [make_probe("openvino", Outcome.FAILED, IMPORT, "ImportError: libtbb is missing")])
    assert clash.packages == ("openvino",)
    assert "cannot be imported: ImportError: libtbb is missing" in clash.consequence
    assert clash.remedy == 'pip install --force-reinstall --no-deps "openvino==2026.4"'


def test_one_broken_package_is_named_once():
    facts = make_facts({"torch": "2"})
    probes = [make_probe(name, Outcome.CRASHED, IMPORT, "SIGSEGV") for name in ("torch-eager", "torch-compile")]
    assert len(find_clashes(facts, probes)) == 1


@pytest.mark.parametrize(
    "probe",
    [
        make_probe("openvino"),
        make_probe("openvino", Outcome.FAILED, RUN, "wrong"),
        make_probe("openvino", Outcome.TIMED_OUT, IMPORT, "no answer"),  # slow is not broken
    ],
    ids=["works", "fails later", "slow"],
)
def test_what_is_imported_is_not_broken(probe):
    assert find_clashes(make_facts({"openvino": "2026.4"}), [probe]) == ()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tensorrt-rtx-cu13-libs", ("tensorrt-rtx", "13")),
        ("tensorrt-cu12", ("tensorrt", "12")),
        ("nvidia-cuda-runtime-cu12", ("nvidia-cuda-runtime", "12")),
        ("nvidia-cublas", None),
        ("tensorrt", None),
        ("torch", None),
    ],
)
def test_wheels_of_one_cuda_are_known_by_their_names(name, expected):
    assert cuda_wheel(name) == expected


def test_packages_of_a_module():
    packages = versions("tensorrt-rtx-cu13", "tensorrt-rtx-cu13-libs", "tensorrt", "torch", "onnxruntime-gpu")
    assert packages_of("tensorrt_rtx", packages, ()) == ("tensorrt-rtx-cu13",)
    assert packages_of("tensorrt", packages, ()) == ("tensorrt",)
    assert packages_of("onnxruntime", packages, ("onnxruntime-gpu",)) == ("onnxruntime-gpu",)
    assert packages_of("openvino", packages, ()) == ()
    plugin = versions("onnxruntime", "onnxruntime-ep-nv-tensorrt-rtx", "onnxruntime-ep-nv-tensorrt-rtx-cu13")
    assert packages_of("onnxruntime_ep_nv_tensorrt_rtx", plugin, ()) == tuple(plugin)[1:]
