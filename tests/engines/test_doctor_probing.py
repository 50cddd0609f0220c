"""Probes for real: the engines that are installed, and children that crash, hang, lie or say nothing."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from levit_deploy.onnxruntime_plugin import RTX_PACKAGE
from levit_engines.catalogue import CATALOGUE
from levit_engines.doctor import sample
from levit_engines.doctor.diagnosis import main_module
from levit_engines.doctor.nvidia import describe_nvidia
from levit_engines.doctor.packages import found_modules
from levit_engines.doctor.probe import COMPARE, DEVICE, IMPORT, OPEN, PROVIDER, START, Outcome, ProbeTask
from levit_engines.doctor.probing import run_probes
from levit_engines.native.library import library_path

INSTALLED = found_modules()
ON_CPU = [
    name
    for name, engine in CATALOGUE.items()
    if engine.device == "cpu" and main_module(engine) in INSTALLED and (name != "native" or library_path().is_file())
]
TRY = "from levit_engines.doctor import child\n{}\nchild.main()"
NOTE = "import json, os, sys, time\nopen(sys.argv[2], 'a').write(json.dumps({{'stage': {!r}}}) + '\\n')\n"


def task(target="onnxruntime", timeout_s=120.0):
    return ProbeTask(target=target, module=target, title=target, timeout_s=timeout_s)


def probe(target="onnxruntime", **options):
    (found,) = run_probes([task(target)], at_once=1, **options)
    return found


def test_the_numbers_of_the_test_graph_are_right():
    model = onnx.load_model_from_string(sample.sample_graph())
    onnx.checker.check_model(model, full_check=True)
    (found,) = ReferenceEvaluator(model).run(None, {sample.INPUT: sample.IMAGE})
    np.testing.assert_array_equal(found, sample.EXPECTED)
    assert np.all(sample.EXPECTED != 0)


@pytest.mark.parametrize(
    "engine",
    [pytest.param(name, marks=[pytest.mark.slow] if name == "torch-compile" else []) for name in ON_CPU],
)
def test_an_engine_that_is_installed_works(engine):
    (found,) = run_probes([task(engine, 400.0)], at_once=1)
    assert (found.outcome, found.reason, found.stage) == (Outcome.PASSED, "", COMPARE)


@pytest.mark.skipif("tensorrt_rtx" not in INSTALLED, reason="needs TensorRT-RTX")
@pytest.mark.skipif(bool(describe_nvidia().gpus), reason="says what happens without a GPU")
def test_tensorrt_rtx_builds_where_there_is_no_gpu():
    found = probe("tensorrt-rtx")
    assert (found.outcome, found.stage, found.built) == (Outcome.FAILED, DEVICE, True)
    assert "CUDA" in found.reason


def test_a_provider_that_the_build_lacks_is_named():
    runtime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in runtime.get_available_providers():
        pytest.skip("this build has it")
    found = probe("onnxruntime-cuda")
    assert (found.outcome, found.stage) == (Outcome.FAILED, PROVIDER)
    assert "this build has no CUDAExecutionProvider" in found.reason


@pytest.mark.skipif("onnxruntime" not in INSTALLED, reason="needs ONNX Runtime")
@pytest.mark.skipif(RTX_PACKAGE in INSTALLED, reason="says what happens without the package")
def test_a_provider_whose_package_is_not_there_is_named():
    found = probe("onnxruntime-tensorrt-rtx")
    assert (found.outcome, found.stage) == (Outcome.FAILED, PROVIDER)
    assert RTX_PACKAGE in found.reason


@pytest.mark.parametrize("engine", [name for name in ON_CPU if name != "torch-compile"])
def test_wrong_numbers_do_not_work(engine):
    wrong = "from levit_engines.doctor import sample; sample.KERNEL[1, 0, 0, 1] = 2"
    found = probe(engine, child=TRY.format(wrong))
    assert (found.outcome, found.stage) == (Outcome.FAILED, COMPARE)
    assert found.reason.startswith("gave [[")


@pytest.mark.parametrize("numbers", [[[12, 14, np.nan]], [[12, 14, 36]], [12, 14, 37], [], None], ids=str)
def test_nothing_but_the_right_numbers_is_right(numbers):
    sample.require_expected(sample.EXPECTED)
    with pytest.raises(sample.MismatchError, match="gave"):
        sample.require_expected(numbers)


def test_a_package_that_cannot_be_imported():
    found = probe(child=TRY.format("import sys; sys.modules['onnxruntime'] = None"))
    assert (found.outcome, found.stage) == (Outcome.FAILED, IMPORT)
    assert "onnxruntime" in found.reason


def test_a_crash_is_an_answer():
    code = NOTE.format(OPEN) + "print('last words', flush=True); os.kill(os.getpid(), 11)"
    found = probe(child=code)
    assert (found.outcome, found.stage) == (Outcome.CRASHED, OPEN)
    assert found.reason == f"the process was ended by SIGSEGV while {OPEN}: last words"


def test_a_process_that_ends_without_a_word():
    found = probe(child="import os; os._exit(3)")
    assert (found.outcome, found.stage) == (Outcome.CRASHED, START)
    assert found.reason == f"the process ended with code 3 while {START}"


def test_what_a_child_may_write_into_its_record_is_not_believed():
    found = probe(child="import sys; open(sys.argv[2], 'w').write('[1]\\n{')")
    assert found.outcome is Outcome.CRASHED


def test_a_child_that_hangs_is_ended_with_its_own_children(tmp_path):
    code = NOTE.format(IMPORT) + (
        f"import subprocess; process = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(tmp_path / 'id')!r}, 'w').write(str(process.pid)); time.sleep(60)"
    )
    start_s = time.perf_counter()
    (found,) = run_probes([task(timeout_s=2.0)], at_once=1, child=code)
    assert (found.outcome, found.reason) == (Outcome.TIMED_OUT, f"no answer within 2 s while {IMPORT}")
    assert time.perf_counter() - start_s < 30
    assert_ended(int((tmp_path / "id").read_text()))


def test_an_interrupted_examination_leaves_no_process(tmp_path):
    class Impatient:
        def started(self, name):
            if name == "second":
                raise KeyboardInterrupt

        def finished(self, name, seconds):
            raise AssertionError(name)

    place = f"{str(tmp_path)!r} + '/' + sys.argv[1]"
    code = f"import os, sys, time; open({place}, 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        run_probes([task("first"), task("second")], at_once=2, child=code, observer=Impatient())
    for file in tmp_path.iterdir():
        assert_ended(int(file.read_text()))


def test_no_more_at_once_than_asked_for_and_answers_in_the_order_of_the_questions():
    running, most = set(), []

    class Counting:
        def started(self, name):
            running.add(name)
            most.append(len(running))

        def finished(self, name, seconds):
            running.remove(name)

    code = "import sys, time; time.sleep(0.3 if sys.argv[1] == 'a' else 0.05)"
    found = run_probes([task(name) for name in "abcd"], at_once=2, child=code, observer=Counting())
    assert [one.target for one in found] == list("abcd")
    assert max(most) == 2


def test_a_file_of_the_users_folder_is_not_taken_for_an_engine(tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("raise RuntimeError('not me')")
    monkeypatch.chdir(tmp_path)
    assert "not me" not in probe().reason


def test_the_search_path_stays_what_it_is_in_another_folder(tmp_path, monkeypatch):
    (tmp_path / "made_up_module.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f".{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert probe("made_up_module").passed


def assert_ended(process):
    """A process that was killed may stay for a moment, until its new parent has noticed."""
    deadline_s = time.perf_counter() + 10
    while time.perf_counter() < deadline_s:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    raise AssertionError(f"process {process} lives on")
