"""The page of results says what the committed JSON says."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_page_is_generated_from_the_committed_results():
    result = subprocess.run([sys.executable, ROOT / "tools" / "make_results_page.py", "--check"], check=False)
    assert result.returncode == 0, "run tools/make_results_page.py"
