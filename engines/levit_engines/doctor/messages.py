"""Other programs' messages, made fit to be shown: one short line, without the paths of this machine."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from levit_deploy.decoding import printable
from levit_deploy.messages import short_message

_FOLDERS = re.compile(r"(?<![\w./])(?:/[\w.+@~-]+)*/(?=[\w.+@~-])")


def one_line(text: str) -> str:
    """`text` on one short line, every path in it reduced to its last name."""
    # By name first: these may hold blanks, which elsewhere end a path.
    for folder in sorted({sys.prefix, sys.base_prefix, str(Path.home())} - {"/"}, key=len, reverse=True):
        text = text.replace(folder, "")
    return printable(short_message(_FOLDERS.sub("", text)))
