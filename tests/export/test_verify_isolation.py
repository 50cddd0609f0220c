"""levit-verify as a process: a bundle by itself needs no PyTorch, and no run leaves a file in the home folder."""

import json
import subprocess
import sys

import pytest
from fixtures_bundle import clean_environment, command_without, files_below

WITHOUT_TORCH = command_without(
    "levit_engines.cli.verify",
    ("torch", "torchvision", "timm", "onnxscript", "onnx_ir", "onnxsim"),
    also='import os; assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"',
)


@pytest.fixture(scope="module")
def bundle(exported):
    return exported(arch="128S", image_size=64, batch=(1, 3), simplify=False).bundle.path


def test_a_bundle_alone_needs_no_torch_and_leaves_no_file(bundle, run_python, tmp_path):
    result = run_python(WITHOUT_TORCH, bundle, "--json", "--report", tmp_path / "page.html")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["verdict"] == "pass"
    assert all(line.startswith("[") for line in result.stderr.splitlines())
    assert (tmp_path / "page.html").is_file()
    # Matplotlib, which draws the page, remembers in the user's cache what fonts there are.
    assert [file for file in files_below(tmp_path) if "matplotlib" not in file] == []


def test_weights_without_torch_name_the_extra(bundle, run_python):
    code = "import sys; sys.modules.update(torch=None, onnxscript=None, onnx_ir=None)\n"
    code += "from levit_engines.cli.verify import main\nsys.exit(main())"
    result = run_python(code, bundle, "--untrained")
    assert result.returncode == 4
    assert 'pip install "levit-deploy[export]"' in result.stderr
    assert result.stderr.count("\n") == 1


def test_help_shows_an_example_and_loads_no_engine(tmp_path):
    code = "import sys; sys.modules.update(torch=None, onnxruntime=None, onnx=None)\n"
    code += "from levit_engines.cli.verify import main\nmain(['--help'])"
    environment = clean_environment(tmp_path)
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "example:" in shown.stdout
    for option in ("--checkpoint", "--pretrained", "--untrained", "--images", "--engine", "--report", "--json"):
        assert option in shown.stdout
