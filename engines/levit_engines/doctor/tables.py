"""The diagnosis for people: what is here, which engines run, and what to do, on 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from levit_deploy.decoding import printable
from levit_engines.doctor.diagnosis import Diagnosis
from levit_engines.doctor.facts import DriverState, Facts, Gpu, features
from levit_engines.doctor.verdicts import State

_MARKS = {State.WORKS: ("✓", "green"), State.BUILDS_ONLY: ("◐", "yellow"), State.FAILS: ("✗", "red")}
_GIB = 1 << 30
_MIB_PER_GIB = 1024


def print_diagnosis(diagnosis: Diagnosis, console: Console | None = None) -> None:
    """Everything, to stdout unless another console is given."""
    console = console or Console()
    _print_pairs(console, "Machine", _machine(diagnosis.facts))
    _print_pairs(console, "Engine packages", _packages(diagnosis.facts))
    for clash in diagnosis.clashes:
        _print_heading(console, "Clash")
        console.print(Text.assemble(("✗ ", "red"), printable(f"{', '.join(clash.packages)}: {clash.consequence}")))
    _print_engines(console, diagnosis)
    if diagnosis.bundle is not None:
        _print_entries(console, diagnosis)
    _print_remedies(console, diagnosis)
    console.print(f"\nProbes took {diagnosis.seconds:.1f} s.", highlight=False)


def remedies(diagnosis: Diagnosis) -> dict[str, list[str]]:
    """What to do, each once, with what it is good for."""
    found: dict[str, list[str]] = {}
    for clash in diagnosis.clashes:
        found.setdefault(clash.remedy, [])
    for verdict in diagnosis.verdicts:
        if verdict.remedy:
            found.setdefault(verdict.remedy, []).append(verdict.engine)
    for entry in diagnosis.entries:
        if entry.remedy and entry.engine not in found.setdefault(entry.remedy, []):
            found[entry.remedy].append(entry.engine)
    return found


def _machine(facts: Facts) -> dict[str, str]:
    machine, nvidia = facts.machine, facts.nvidia
    present = features(machine.architecture, machine.cpu_flags)
    rows = {
        "levit-deploy": facts.toolkit,
        "Python": machine.python,
        "system": f"{machine.system}, {machine.architecture}",
        "CPU": machine.cpu,
        "CPU features": ", ".join(f"{name} {'yes' if has else 'no'}" for name, has in present.items()) or "unknown",
        "CPUs": f"{machine.usable_cpus} usable of {machine.logical_cpus}",
        "memory": f"{machine.memory_bytes / _GIB:.1f} GiB",
    }
    if nvidia.state is DriverState.FAILED:
        rows["NVIDIA driver"] = f"does not answer: {nvidia.message}"
    elif nvidia.state is DriverState.ABSENT:
        rows["NVIDIA driver"] = "none, though there is an NVIDIA GPU" if nvidia.hardware else "none"
    elif not nvidia.gpus:
        rows["NVIDIA driver"] = "present, but sees no GPU"
    return rows | {f"GPU {index}": _gpu(gpu) for index, gpu in enumerate(nvidia.gpus)}


def _gpu(gpu: Gpu) -> str:
    memory = "memory unknown" if gpu.memory_mib is None else f"{gpu.memory_mib / _MIB_PER_GIB:.0f} GiB"
    return f"{gpu.name}, compute capability {gpu.compute_capability or 'unknown'}, {memory}, driver {gpu.driver}"


def _packages(facts: Facts) -> dict[str, str]:
    # CUDA's own libraries are a dozen or more, and interest only where they clash.
    shown = {name: version for name, version in sorted(facts.packages.items()) if not name.startswith("nvidia-")}
    hidden = len(facts.packages) - len(shown)
    return (shown or {"none": ""}) | ({"nvidia-…": f"{hidden} libraries"} if hidden else {})


def _print_heading(console: Console, text: str) -> None:
    console.print(f"\n[bold]{text}[/]", highlight=False)


def _print_pairs(console: Console, title: str, rows: Mapping[str, str]) -> None:
    _print_heading(console, title)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(Text(f"  {printable(name)}"), Text(printable(value)))
    console.print(table)


def _print_engines(console: Console, diagnosis: Diagnosis) -> None:
    rows = [
        (*_MARKS[verdict.state], verdict.engine, verdict.state.value, verdict.reason) for verdict in diagnosis.verdicts
    ]
    _print_verdicts(console, "Engines", rows)


def _print_entries(console: Console, diagnosis: Diagnosis) -> None:
    rows = []
    for entry in diagnosis.entries:
        mark, colour = _MARKS[State.WORKS if entry.opens else State.FAILS]
        unchecked = f"not checked: {', '.join(entry.unchecked)}" if entry.unchecked else ""
        told = "; ".join(part for part in (entry.reason or "fits this machine", unchecked) if part)
        rows.append((mark, colour, entry.engine, "opens" if entry.opens else "does not open", told))
    _print_verdicts(console, f"Engines in the bundle {printable(diagnosis.bundle or '')}", rows)
    if not rows:
        console.print("  none; its graph runs on every engine that works without building")


def _print_verdicts(console: Console, title: str, rows: Iterable[tuple[str, str, str, str, str]]) -> None:
    _print_heading(console, title)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for mark, colour, name, verdict, reason in rows:
        table.add_row(
            Text.assemble((f"{mark} ", colour), printable(name)), Text(verdict, colour), Text(printable(reason))
        )
    console.print(table)


def _print_remedies(console: Console, diagnosis: Diagnosis) -> None:
    found = remedies(diagnosis)
    if not found:
        return
    _print_heading(console, "What to do")
    for remedy, engines in found.items():
        purpose = f"for {', '.join(engines)}" if engines else "to end a clash"
        console.print(Text(f"  {purpose}:"))
        # Not wrapped, so that it can be copied.
        console.print(Text(f"      {printable(remedy)}"), soft_wrap=True)
