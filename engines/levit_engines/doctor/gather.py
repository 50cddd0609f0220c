"""Finding the facts: the only place, besides the probes, that looks at the machine."""

from __future__ import annotations

import os
import shlex
import shutil

from levit_deploy.commandline import DISTRIBUTION
from levit_deploy.machine import describe_machine, package_versions
from levit_engines.doctor.facts import Facts
from levit_engines.doctor.nvidia import describe_nvidia
from levit_engines.doctor.packages import found_modules, installed_packages

_COMPILERS = ("g++", "clang++", "c++")


def gather_facts() -> Facts:
    """All that can be known without importing an engine."""
    packages, builds = installed_packages()
    return Facts(
        toolkit=package_versions([DISTRIBUTION])[DISTRIBUTION] or "unknown (not installed)",
        machine=describe_machine(),
        nvidia=describe_nvidia(),
        packages=packages,
        onnxruntime_builds=builds,
        modules=found_modules(),
        compiler=_has_compiler(),
    )


def _has_compiler() -> bool:
    chosen = shlex.split(os.environ.get("CXX", ""))[:1]
    return any(shutil.which(name) for name in chosen or _COMPILERS)
