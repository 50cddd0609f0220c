"""Print one command of the README's quick start, so that CI runs what users are told to run.

Usage: readme_commands.py README.md NUMBER (from 1). Needs nothing but Python.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

SECTION = re.compile(r"^## Quick start$(?P<text>.*?)^## ", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^```bash\n(?P<command>.*?)^```$", re.MULTILINE | re.DOTALL)
INSTALLS = "pip install"


def quick_start_commands(readme: str) -> list[str]:
    """The commands of the quick start that set a machine up, in order; raises ValueError without the section."""
    section = SECTION.search(readme)
    if section is None:
        raise ValueError("the README has no section 'Quick start'")
    blocks = [match["command"].strip() for match in COMMAND.finditer(section["text"])]
    return [block for block in blocks if INSTALLS in block]


def main() -> int:
    readme, number = Path(sys.argv[1]), int(sys.argv[2])
    print(quick_start_commands(readme.read_text(encoding="utf-8"))[number - 1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
