"""Packages that cannot live beside each other, or that are there in name only."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from levit_engines.doctor.facts import Facts
from levit_engines.doctor.packages import cuda_wheels, packages_of
from levit_engines.doctor.probe import IMPORT, Outcome, Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """Packages at odds, what comes of it, and the one command or act that ends it."""

    packages: tuple[str, ...]
    consequence: str
    remedy: str

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {**asdict(self), "packages": list(self.packages)}


def find_clashes(facts: Facts, probes: Iterable[Probe] = ()) -> tuple[Clash, ...]:
    """Everything at odds here; what cannot be imported is known only from `probes`."""
    return (
        *_onnxruntime_clash(facts),
        *_cuda_clashes(facts.packages),
        *_broken_packages(facts, probes),
    )


def reinstall(names: Sequence[str], packages: Mapping[str, str]) -> str:
    """The command that installs the same versions again."""
    wanted = " ".join(f'"{name}=={packages[name]}"' if name in packages else name for name in names)
    return f"pip install --force-reinstall --no-deps {wanted}"


def _onnxruntime_clash(facts: Facts) -> list[Clash]:
    builds = facts.onnxruntime_builds
    if len(builds) < 2:
        return []
    extra = "gpu" if facts.nvidia.gpus and "onnxruntime-gpu" in builds else "cpu"
    return [
        Clash(
            packages=builds,
            consequence="each overwrites files of the other, so what is imported is neither of them for certain",
            # To remove only one would take files of the other along.
            remedy=f'pip uninstall -y {" ".join(builds)} && pip install "levit-deploy[{extra}]"',
        )
    ]


def _cuda_clashes(packages: Mapping[str, str]) -> list[Clash]:
    families: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, (family, major) in cuda_wheels(packages).items():
        families["nvidia" if family.startswith("nvidia") else family][major].append(name)
    kept = _major_of_torch(packages)
    twice = {family: majors for family, majors in families.items() if len(majors) > 1 and family != "nvidia"}
    clashes = [
        _cuda_clash(majors, kept, "wheels for two CUDA releases write into the same folder")
        for majors in twice.values()
    ]
    rest: dict[str, list[str]] = defaultdict(list)
    for family, majors in families.items():
        for major, names in majors.items() if family not in twice else ():
            rest[major] += names
    if len(rest) > 1:
        clashes.append(_cuda_clash(rest, kept, "libraries of two CUDA releases: one process may load some of each"))
    return clashes


def _cuda_clash(majors: Mapping[str, Sequence[str]], kept: str | None, consequence: str) -> Clash:
    keep = kept if kept is not None and kept in majors else max(majors)
    others = [name for major, names in sorted(majors.items()) if major != keep for name in names]
    return Clash(
        packages=tuple(name for _, names in sorted(majors.items()) for name in names),
        consequence=f"{consequence} (CUDA {' and '.join(sorted(majors))})",
        remedy=f"keep those of CUDA {keep}: pip uninstall -y {' '.join(others)}"
        + (f" && {reinstall(majors[keep], {})}" if "same folder" in consequence else ""),
    )


def _major_of_torch(packages: Mapping[str, str]) -> str | None:
    """The CUDA major that the installed PyTorch was built for, as its version says ("2.13.0+cu130")."""
    match = re.search(r"\+cu(\d{2})\d", packages.get("torch", ""))
    return match[1] if match else None


def _broken_packages(facts: Facts, probes: Iterable[Probe]) -> list[Clash]:
    broken: dict[str, Probe] = {}
    for probe in probes:
        if probe.stage == IMPORT and probe.outcome in (Outcome.FAILED, Outcome.CRASHED):
            broken.setdefault(probe.module, probe)
    clashes = []
    for module, probe in broken.items():
        names = packages_of(module, facts.packages, facts.onnxruntime_builds)
        if names:
            clashes.append(
                Clash(
                    packages=names,
                    consequence=f"installed, but {module} cannot be imported: {probe.reason}",
                    remedy=reinstall(names, facts.packages),
                )
            )
    return clashes
