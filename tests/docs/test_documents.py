"""Documents are executed and their links followed, not trusted."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scripts import load_script

from levit_deploy.bundle import open_bundle
from levit_deploy.checkpoints import state_dict_for_timm
from levit_deploy.initialization import randomize
from levit_deploy.model import create_model

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")])
LINK = re.compile(r"\]\((?!https?://|#)(?P<target>[^)#\s]+)")
LEVIT_RUN_HELP = ROOT / "engines" / "runtime" / "cli" / "arguments.cpp"
PHOTOGRAPH = ROOT / "levit_deploy" / "data" / "photographs" / "coffee.jpg"


def quick_start_commands():
    return load_script("readme_commands").quick_start_commands(README)


def test_quick_start_is_two_commands_one_exports_and_one_tests():
    """CI runs both in fresh clones; here only that there are two, and that they install before they run."""
    exports, tests = quick_start_commands()
    for command in (exports, tests):
        assert "\n" not in command
        assert "-m venv" in command
        assert "-c constraints.txt" in command
    assert exports.endswith("levit-export --arch 384")
    assert tests.endswith("pytest")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "for number in 1 2" in ci


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files(document):
    for match in LINK.finditer(document.read_text(encoding="utf-8")):
        assert (document.parent / match["target"]).exists(), match["target"]


@pytest.fixture(scope="module")
def known_options():
    """Every option that the help of a program of ours names."""
    help_text = "".join(
        subprocess.run([SCRIPTS / command, "--help"], capture_output=True, text=True, check=True).stdout
        for command in (
            *("levit-export", "levit-build", "levit-classify", "levit-verify", "levit-doctor", "levit-bench"),
            *("levit-tune", "levit-eval"),
        )
    )
    for module in ("loadgen", "verdict_study", "session_creation", "export_cost"):
        help_text += subprocess.run(
            [sys.executable, "-m", f"levit_benchmarks.{module}", "--help"], capture_output=True, text=True, check=True
        ).stdout
    help_text += LEVIT_RUN_HELP.read_text(encoding="utf-8")
    return set(re.findall(r"(?<![\w-])--[a-z0-9-]+", help_text))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_options_that_are_named_exist(document, known_options):
    named = set(re.findall(r"`[^`\n]*?(--[a-z0-9-]+)", document.read_text(encoding="utf-8")))
    assert named - known_options <= {"--preset"}  # of CMake


@pytest.mark.slow
def test_commands_of_the_readme_run(tmp_path):
    block = next(text for text in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) if "photo.jpg" in text)
    commands = block.strip().splitlines()
    assert len(commands) == 3
    model = create_model("256")
    randomize(model, 0)
    torch.save({"model": state_dict_for_timm(model)}, tmp_path / "LeViT-256.pth")
    shutil.copy(PHOTOGRAPH, tmp_path / "photo.jpg")
    for command in commands:
        if "--pretrained" in command:  # needs the internet; its path is tested against a local server
            continue
        program, *arguments = command.split()
        result = subprocess.run(
            [SCRIPTS / program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
    assert "class name" in result.stdout
    assert open_bundle(tmp_path / "levit-256-fp32").manifest.batch_sizes.verified == tuple(range(1, 9))


@pytest.mark.slow
def test_python_of_the_readme_runs(tmp_path):
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    shutil.copy(PHOTOGRAPH, tmp_path / "photo.jpg")
    code = snippet + "\nassert logits.shape == (1, 1000)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
