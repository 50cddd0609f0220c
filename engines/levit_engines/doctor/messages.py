"""Other programs' messages, made fit to be shown: one line, not endless, and without the paths of this machine."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from levit_deploy.decoding import printable

LONGEST = 240
_FOLDERS = re.compile(r"(?<![\w./])(?:/[\w.+@~-]+)*/(?=[\w.+@~-])")


def one_line(text: str) -> str:
    """`text` on one line, every path in it reduced to its last name, cut where it becomes too long."""
    # By name first: these may hold blanks, which elsewhere end a path.
    for folder in sorted({sys.prefix, sys.base_prefix, str(Path.home())} - {"/"}, key=len, reverse=True):
        text = text.replace(folder, "")
    line = printable(_FOLDERS.sub("", " ".join(text.split())))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
