"""NVIDIA's driver and GPUs, as nvidia-smi, which comes with the driver, describes them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from levit_engines.doctor.facts import DriverState, Gpu, Nvidia
from levit_engines.doctor.messages import one_line

PROGRAM = "nvidia-smi"
TIMEOUT_S = 20.0
PCI_DEVICES = Path("/sys/bus/pci/devices")
_QUERY = ("--query-gpu=name,compute_cap,memory.total,driver_version", "--format=csv,noheader")
_FIELDS = 4
_NVIDIA_VENDOR, _DISPLAY_CLASS = "0x10de", "0x03"


def describe_nvidia(program: str = PROGRAM, timeout_s: float = TIMEOUT_S) -> Nvidia:
    """Ask the driver's program; whatever becomes of that is an answer."""
    hardware = has_gpu(PCI_DEVICES)
    path = shutil.which(program)
    if path is None:
        return Nvidia(state=DriverState.ABSENT, hardware=hardware)
    try:
        result = subprocess.run(
            [path, *_QUERY], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return _failed(f"{PROGRAM} gave no answer within {timeout_s:g} s", hardware)
    except OSError as error:
        return _failed(f"{PROGRAM} cannot be run: {error.strerror}", hardware)
    if result.returncode != 0 and "No devices were found" not in result.stdout + result.stderr:
        message = one_line(result.stdout + result.stderr) or f"{PROGRAM} ended with code {result.returncode}"
        return _failed(message, hardware)
    return Nvidia(state=DriverState.PRESENT, gpus=parse_gpus(result.stdout), hardware=hardware)


def parse_gpus(text: str) -> tuple[Gpu, ...]:
    """The GPUs in the answer, a line each; lines of another form are left out."""
    rows = [[field.strip() for field in line.rsplit(",", _FIELDS - 1)] for line in text.splitlines()]
    return tuple(
        Gpu(
            name=name,
            compute_capability=capability if capability.replace(".", "", 1).isdecimal() else None,
            memory_mib=int(memory.split()[0]) if memory.split()[:1] and memory.split()[0].isdecimal() else None,
            driver=driver,
        )
        for name, capability, memory, driver in (row for row in rows if len(row) == _FIELDS)
    )


def has_gpu(devices: Path) -> bool:
    """Whether a display controller of NVIDIA is on the PCI bus, with a driver or without."""
    return any(
        _content(device / "vendor") == _NVIDIA_VENDOR and _content(device / "class").startswith(_DISPLAY_CLASS)
        for device in (devices.iterdir() if devices.is_dir() else ())
    )


def _failed(message: str, hardware: bool) -> Nvidia:
    return Nvidia(state=DriverState.FAILED, message=message, hardware=hardware)


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
