"""What must work where PyTorch, or anything but the base install, is absent."""

import pkgutil
import subprocess
import sys

import pytest

import levit_benchmarks
import levit_deploy
import levit_engines
import levit_export

NEED_TORCH = (
    "levit_deploy.checkpoints",
    "levit_deploy.fusion",
    "levit_deploy.initialization",
    "levit_deploy.quantization_noise",
    "levit_deploy.recording",
    "levit_deploy.reference",
    "levit_deploy.rounding",
    "levit_export.",
    "levit_engines.verification.weights",
    "levit_benchmarks.bound_study",
    "levit_benchmarks.blame_study",
    "levit_benchmarks.defects",
    "levit_benchmarks.graph_defects",
    "levit_benchmarks.study_inputs",
    "levit_benchmarks.precision_study",
    "levit_benchmarks.trained_digits",
    "levit_benchmarks.peers.timm_export",
    "levit_benchmarks.peers.transformers_export",
)
# Exactly this module, not what has it as a prefix (levit_deploy.module_truth runs anywhere).
NEED_TORCH_EXACTLY = ("levit_deploy.model",)
WITHOUT_TORCH = ("levit_export.cli", "levit_export.batch_sizes", "levit_export.graph_candidate", "levit_export.naming")
PACKAGES = (levit_deploy, levit_export, levit_engines, levit_benchmarks)
MODULES = sorted(
    module.name for package in PACKAGES for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
)
LIGHT = [
    name
    for name in MODULES
    if (not name.startswith(NEED_TORCH) and name not in NEED_TORCH_EXACTLY) or name in WITHOUT_TORCH
]
HEAVY_PACKAGES = (
    *("torch", "torchvision", "timm", "transformers", "onnxscript", "onnxsim", "onnxruntime"),
    *("matplotlib", "jinja2", "pyarrow"),
)


def test_the_lists_above_are_of_modules_that_exist():
    for prefix in NEED_TORCH:
        assert any(name.startswith(prefix) for name in MODULES), prefix
    assert {*WITHOUT_TORCH, *NEED_TORCH_EXACTLY} <= set(MODULES)
    assert len(LIGHT) > 15


@pytest.mark.parametrize("name", LIGHT)
def test_module_imports_without_any_heavy_package(name):
    code = (
        f"import sys\nfor package in {HEAVY_PACKAGES!r}: sys.modules[package] = None\n"
        f"import importlib; importlib.import_module({name!r})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_importing_the_packages_imports_nothing_heavy():
    code = (
        "import sys, levit_deploy, levit_export, levit_engines, levit_benchmarks\n"
        f"print([name for name in {HEAVY_PACKAGES!r} + ('numpy', 'rich', 'PIL') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
