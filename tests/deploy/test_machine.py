"""What is said of the machine explains figures, and names nobody."""

import json
import os
import pwd
import socket
import sys
from pathlib import Path

import pytest

from levit_deploy import machine
from levit_deploy.machine import describe_machine

MIB = 1 << 20


def test_the_description_of_the_machine_names_nobody():
    description = describe_machine().to_json()
    text = json.dumps(description, allow_nan=False)
    assert description["usable_cpus"] >= 1
    assert description["memory_bytes"] > MIB
    names = (socket.gethostname(), str(Path.home()), sys.prefix, f"/{pwd.getpwuid(os.getuid()).pw_name}")
    assert [name for name in names if name in text] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model name\t: A CPU\nflags\t: fpu avx2 avx512_vnni\n\nmodel name\t: B\n", ("A CPU", ("avx2", "avx512_vnni"))),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n", ("", ("asimd", "asimddp", "i8mm"))),
        ("", ("", ())),
    ],
    ids=["x86", "ARM", "nothing"],
)
def test_cpu_information(text, expected):
    assert machine._parse_cpu_information(text) == expected
