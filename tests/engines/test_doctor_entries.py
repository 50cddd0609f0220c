"""Which engines of a bundle can be opened, on made-up machines."""

from dataclasses import replace
from importlib import import_module

import pytest
from doctor_facts import WITH_GPU, make_facts, make_probe

from levit_deploy.engine_entry import EngineEntry, Profile
from levit_engines.built import BuildRequest
from levit_engines.catalogue import CATALOGUE
from levit_engines.doctor.entries import judge_entry
from levit_engines.doctor.gather import gather_facts
from levit_engines.doctor.packages import found_modules
from levit_engines.doctor.probe import DEVICE, Outcome
from levit_engines.doctor.verdicts import judge

MODEL = "a" * 64
REBUILD = "levit-build BUNDLE --engine {} --overwrite"
FACTS = make_facts(
    {"onnxruntime": "1.32.0", "openvino": "2026.4.1", "tensorrt-rtx-cu13": "1.7.1.116"},
    builds=["onnxruntime"],
    nvidia=WITH_GPU,
)
ENTRY = EngineEntry(
    files=("engines/x/optimized.onnx",),
    model_sha256=MODEL,
    libraries={"onnxruntime": "1.32.0"},
    requirements={"architecture": "x86_64", "instruction set": "avx2 avx512f"},
    profile=Profile(minimum=1, optimum=1, maximum=1),
    options={},
    network={},
    machine={},
    build_seconds=1.0,
    verified="golden images",
)


def entry_verdict(entry, name="onnxruntime", facts=FACTS, probe=None):
    verdict = judge(CATALOGUE[name], facts, probe or make_probe(name))
    return judge_entry(name, entry, MODEL, facts, verdict)


def test_an_engine_that_fits_opens():
    found = entry_verdict(ENTRY)
    assert (found.opens, found.reason, found.remedy, found.unchecked) == (True, "", "", ())


@pytest.mark.parametrize(
    "requirements", [{"compute_capabilities": "8.6, 12.0"}, {"platform": "linux-aarch64"}], ids=["GPU", "platform"]
)
def test_an_engine_for_another_machine_does_not_open(requirements):
    found = entry_verdict(replace(ENTRY, libraries={}, requirements=requirements), "tensorrt-rtx")
    assert (found.opens, found.remedy) == (False, REBUILD.format("tensorrt-rtx"))


def test_an_engine_for_several_gpus_opens():
    assert entry_verdict(replace(ENTRY, libraries={}, requirements={"compute_capabilities": "8.0, 8.9"})).opens


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_sha256": "b" * 64}, "it was built from another model.onnx"),
        ({"libraries": {"onnxruntime": "1.31.0"}}, "it was built with onnxruntime 1.31.0, here is 1.32.0"),
        ({"libraries": {"unheard-of": "1"}}, "it was built with unheard-of 1, here is none"),
        (
            {"requirements": {"architecture": "aarch64"}},
            "it was built for architecture aarch64, which is not what is here",
        ),
        (
            {"requirements": {"instruction set": "avx2"}},
            "it was built for instruction set avx2, which is not what is here",
        ),
    ],
    ids=["graph", "version", "library", "architecture", "instructions"],
)
def test_an_engine_that_does_not_fit_is_to_be_built_again(change, reason):
    found = entry_verdict(replace(ENTRY, **change))
    assert (found.opens, found.reason, found.remedy) == (False, reason, REBUILD.format("onnxruntime"))


def test_a_library_may_be_named_as_a_module_and_with_its_commit():
    rtx = replace(
        ENTRY,
        libraries={"tensorrt_rtx": "1.7.1.116"},
        requirements={"compute_capabilities": "8.6, 8.9", "platform": "linux-x86_64"},
    )
    assert entry_verdict(rtx, "tensorrt-rtx").opens
    openvino = replace(ENTRY, libraries={"openvino": "2026.4.1-22982-e213a147257-releases/2026/4"}, requirements={})
    assert entry_verdict(openvino, "openvino").opens


def test_where_the_engine_does_not_run_its_remedy_is_the_remedy():
    facts = make_facts()
    probe = make_probe("tensorrt-rtx", Outcome.FAILED, DEVICE, "", built=True)
    found = entry_verdict(ENTRY, "tensorrt-rtx", facts, probe)
    assert not found.opens
    assert found.remedy == "use a machine with an NVIDIA GPU and its driver"


def test_an_engine_nobody_knows_does_not_open():
    found = judge_entry("abacus", ENTRY, MODEL, FACTS, None)
    assert (found.opens, found.reason) == (False, "this toolkit has no such engine")


def test_what_cannot_be_checked_is_named():
    found = entry_verdict(replace(ENTRY, requirements={"moon": "full"}))
    assert (found.opens, found.unchecked) == (True, ("moon",))


@pytest.mark.parametrize("name", [name for name, engine in CATALOGUE.items() if engine.buildable])
def test_the_words_of_the_engines_themselves_are_understood(name, make_bundle):
    engine = CATALOGUE[name]
    if not set(engine.packages) <= found_modules():
        pytest.skip(f"needs {', '.join(engine.packages)}")
    built = import_module(engine.module).build(make_bundle(), name, BuildRequest())
    facts = replace(gather_facts(), nvidia=WITH_GPU)
    entry = replace(ENTRY, libraries=built.libraries, requirements=built.requirements)
    found = entry_verdict(entry, name, facts)
    assert (found.reason, found.opens, found.unchecked) == ("", True, ())
