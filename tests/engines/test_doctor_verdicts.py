"""Verdicts on made-up machines: only a probe that passed makes an engine work, and every other has one remedy."""

from dataclasses import replace

import pytest
from doctor_facts import GPU, NO_DRIVER, WITH_GPU, make_facts, make_probe

from levit_engines.catalogue import CATALOGUE
from levit_engines.doctor.clashes import find_clashes
from levit_engines.doctor.diagnosis import diagnose, plan_probes
from levit_engines.doctor.facts import DriverState, Nvidia, features
from levit_engines.doctor.probe import BINDINGS, BUILD, COMPARE, COMPILE, DEVICE, IMPORT, OPEN, PROVIDER, RUN, Outcome
from levit_engines.doctor.verdicts import State, judge

ALL_MODULES = {module for engine in CATALOGUE.values() for module in engine.packages}
HIDDEN_GPU = replace(NO_DRIVER, hardware=True)
SILENT_DRIVER = Nvidia(state=DriverState.FAILED, message="it has failed", hardware=True)
BLIND_DRIVER = Nvidia(state=DriverState.PRESENT)


def verdict(name, facts, probe=None):
    return judge(CATALOGUE[name], facts, probe, find_clashes(facts, [probe] if probe else []))


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_probe_that_passed_is_what_works_means(name):
    # Whatever else was found: no driver, no package, no compiler.
    found = verdict(name, make_facts(compiler=False), make_probe(name))
    assert (found.state, found.remedy) == (State.WORKS, "")


@pytest.mark.parametrize("name", CATALOGUE)
def test_nothing_works_without_a_probe(name):
    facts = make_facts(dict.fromkeys(("torch", "onnxruntime", "openvino", "tensorrt"), "1"), nvidia=WITH_GPU)
    found = verdict(name, facts)
    assert found.state is State.FAILS
    assert found.reason.endswith("is not installed")
    assert found.remedy == f'pip install "levit-deploy[{next(iter(CATALOGUE[name].packages.values()))}]"'


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CRASHED, Outcome.TIMED_OUT])
@pytest.mark.parametrize("name", CATALOGUE)
def test_every_failure_has_a_reason_and_a_remedy(name, outcome):
    for stage in (IMPORT, PROVIDER, OPEN, BUILD, COMPILE, RUN, COMPARE):
        found = verdict(name, make_facts(modules=ALL_MODULES, nvidia=WITH_GPU), make_probe(name, outcome, stage, "why"))
        assert (found.state, found.reason) == (State.FAILS, "why")
        assert found.remedy


@pytest.mark.parametrize(
    ("nvidia", "reason", "remedy"),
    [
        (NO_DRIVER, "no NVIDIA driver", "use a machine with an NVIDIA GPU and its driver"),
        (HIDDEN_GPU, "no NVIDIA driver", "install the NVIDIA driver (in a container: start it with access to the GPU)"),
        (
            SILENT_DRIVER,
            "the NVIDIA driver does not answer: it has failed",
            "install the NVIDIA driver again and restart",
        ),
        (BLIND_DRIVER, "the NVIDIA driver sees no GPU", "give this machine or container access to a GPU"),
    ],
    ids=["no GPU", "no driver", "driver fails", "no GPU seen"],
)
@pytest.mark.parametrize("name", ["onnxruntime-cuda", "onnxruntime-tensorrt", "onnxruntime-tensorrt-rtx", "tensorrt"])
def test_without_a_gpu_that_is_the_reason(name, nvidia, reason, remedy):
    for probe in (None, make_probe(name, Outcome.FAILED, OPEN, "something about CUDA")):
        found = verdict(name, make_facts(nvidia=nvidia), probe)
        assert (found.state, found.reason, found.remedy) == (State.FAILS, reason, remedy)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "torch-eager", "torch-compile"])
def test_an_engine_of_the_cpu_needs_no_driver(name):
    assert "driver" not in verdict(name, make_facts()).reason


def test_tensorrt_rtx_builds_without_a_gpu():
    probe = make_probe("tensorrt-rtx", Outcome.FAILED, DEVICE, "CUDA says …", built=True)
    found = verdict("tensorrt-rtx", make_facts(), probe)
    assert found.state is State.BUILDS_ONLY
    assert found.reason == "built the test graph; cannot run it here: no NVIDIA driver"


def test_tensorrt_rtx_is_worth_installing_without_a_gpu():
    assert verdict("tensorrt-rtx", make_facts()).remedy == 'pip install "levit-deploy[rtx]"'


@pytest.mark.parametrize("stage", [RUN, COMPARE])
def test_an_engine_that_runs_wrongly_is_not_one_that_builds_only(stage):
    probe = make_probe("tensorrt-rtx", Outcome.FAILED, stage, "gave 0, right is 1", built=True)
    assert verdict("tensorrt-rtx", make_facts(nvidia=WITH_GPU), probe).state is State.FAILS


@pytest.mark.parametrize(
    ("stage", "reason", "remedy"),
    [
        (BINDINGS, "no module cuda", 'pip install "levit-deploy[gpu]"'),
        (DEVICE, "CUDA says cudaErrorInsufficientDriver", "update the NVIDIA driver"),
        (
            DEVICE,
            "CUDA says cudaErrorNoDevice",
            "let CUDA see a GPU: unset CUDA_VISIBLE_DEVICES, or name one that exists",
        ),
    ],
)
def test_a_gpu_that_cuda_cannot_use(stage, reason, remedy):
    probe = make_probe("tensorrt", Outcome.FAILED, stage, reason, built=True)
    found = verdict("tensorrt", make_facts(nvidia=WITH_GPU), probe)
    assert (found.state, found.remedy) == (State.BUILDS_ONLY, remedy)


def test_the_cpu_build_of_onnxruntime_beside_a_gpu_is_to_be_replaced():
    facts = make_facts(builds=["onnxruntime"], nvidia=WITH_GPU)
    probe = make_probe("onnxruntime-cuda", Outcome.FAILED, PROVIDER, "this build has no CUDAExecutionProvider")
    remedy = 'pip uninstall -y onnxruntime && pip install "levit-deploy[gpu]"'
    assert verdict("onnxruntime-cuda", facts, probe).remedy == remedy


@pytest.mark.parametrize(
    ("stage", "reason", "remedy"),
    [
        (PROVIDER, "No module named 'onnxruntime_ep_nv_tensorrt_rtx'", 'pip install "levit-deploy[rtx-onnxruntime]"'),
        (
            DEVICE,
            'ONNX Runtime 1.23.2 is too old for it: pip install "levit-deploy[rtx-onnxruntime]"',
            'pip install "levit-deploy[rtx-onnxruntime]"',
        ),
        (
            DEVICE,
            "the driver shows it no GPU of compute capability 8.6",
            "use another engine for this GPU (onnxruntime-cuda, tensorrt), or update its driver",
        ),
    ],
    ids=["package", "runtime", "GPU"],
)
def test_what_the_plug_in_provider_lacks(stage, reason, remedy):
    name = "onnxruntime-tensorrt-rtx"
    facts = make_facts(builds=["onnxruntime"], nvidia=WITH_GPU)
    found = verdict(name, facts, make_probe(name, Outcome.FAILED, stage, reason))
    assert (found.state, found.reason, found.remedy) == (State.FAILS, reason, remedy)


def test_what_ends_a_clash_comes_before_what_mends_an_engine():
    facts = make_facts(builds=["onnxruntime", "onnxruntime-gpu"], nvidia=WITH_GPU)
    probe = make_probe("onnxruntime-cuda", Outcome.FAILED, PROVIDER, "this build has no CUDAExecutionProvider")
    assert verdict("onnxruntime-cuda", facts, probe).remedy == find_clashes(facts)[0].remedy


@pytest.mark.parametrize(
    ("compiler", "reason", "remedy"),
    [
        (False, "InvalidCxxCompiler", "install a C++ compiler (Debian, Ubuntu: apt install g++)"),
        (
            True,
            "fatal error: Python.h: No such file",
            "install Python's headers (Debian, Ubuntu: apt install python3-dev)",
        ),
        (True, "something else", 'pip install --force-reinstall --no-deps "torch==2.13"'),
    ],
)
def test_torch_compile_needs_a_compiler(compiler, reason, remedy):
    facts = make_facts({"torch": "2.13"}, compiler=compiler)
    probe = make_probe("torch-compile", Outcome.FAILED, COMPILE, reason)
    assert verdict("torch-compile", facts, probe).remedy == remedy


def test_a_machine_is_in_order_when_an_engine_works_and_nothing_clashes():
    works, fails = make_probe("onnxruntime"), make_probe("openvino", Outcome.FAILED, RUN, "why")
    both = ("onnxruntime", "openvino")
    assert diagnose(make_facts(), [works, fails], both).problem == ""
    assert diagnose(make_facts(), [fails], both).problem == "no engine works"
    assert diagnose(make_facts(), [fails], ["openvino"]).problem == "openvino does not run here"
    clashing = make_facts(builds=["onnxruntime", "onnxruntime-gpu"])
    assert diagnose(clashing, [works], both).problem == "packages are at odds (onnxruntime, onnxruntime-gpu)"


def test_to_build_only_is_not_to_work():
    probe = make_probe("tensorrt-rtx", Outcome.FAILED, DEVICE, "", built=True)
    assert diagnose(make_facts(), [probe], ["tensorrt-rtx"]).problem


def test_only_what_is_installed_is_tried():
    facts = make_facts(modules=["onnxruntime", "onnx", "cuda.bindings"])
    tasks = {task.target for task in plan_probes(tuple(CATALOGUE), facts)}
    of_onnxruntime = {name for name in CATALOGUE if name.startswith("onnxruntime")}
    assert tasks == {*of_onnxruntime, "onnx", "cuda.bindings"}
    assert {task.target for task in plan_probes(["onnxruntime"], facts)} == {"onnxruntime", "onnx"}


def test_the_slowest_probe_starts_first_and_has_more_time():
    tasks = plan_probes(tuple(CATALOGUE), make_facts(modules=ALL_MODULES))
    assert tasks[0].target == "torch-compile"
    assert tasks[0].timeout_s > tasks[1].timeout_s


def test_features_by_architecture():
    assert features("x86_64", ("avx2", "avx_vnni")) == {"AVX2": True, "AVX-512": False, "VNNI": True, "AMX": False}
    assert features("aarch64", ("asimddp",)) == {"dot product": True, "i8mm": False, "half precision": False}
    assert features("riscv64", ()) == {}


def test_what_is_said_of_a_gpu():
    document = make_facts(nvidia=WITH_GPU).to_json()
    assert document["gpus"] == [{"name": GPU.name, "compute_capability": "8.9", "memory_mib": 24576, "driver": "580.1"}]
    assert document["nvidia"] == {"driver": "present", "message": "", "gpu_without_driver": False}
