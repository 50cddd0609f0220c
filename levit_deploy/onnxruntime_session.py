"""The one place that imports and configures ONNX Runtime.

ONNX Runtime is imported inside `open_session` only: importing this module costs nothing and works without it.
Its Linux wheels, from 1.29 on, send telemetry and write below the home directory unless they are told not to
before they are loaded.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from levit_deploy.errors import BundleError, ConfigError, EnvironmentIncompleteError, LevitError

if TYPE_CHECKING:
    import onnxruntime

TELEMETRY_VARIABLE = "ORT_DISABLE_TELEMETRY"
CPU_PROVIDER = "CPUExecutionProvider"
_LOG_FATAL_ONLY = 4
_LONGEST_MESSAGE = 300


def disable_telemetry() -> None:
    """Tell ONNX Runtime to send nothing and to write nothing; a value that the user has set is left alone.

    Works only before ONNX Runtime is imported.
    """
    os.environ.setdefault(TELEMETRY_VARIABLE, "1")


def open_session(
    model: bytes | Path,
    *,
    threads: int | None = None,
    providers: Sequence[str] = (CPU_PROVIDER,),
    name: str | None = None,
    optimized: bool = True,
) -> onnxruntime.InferenceSession:
    """A session on `model`, silent on stderr, with ONNX Runtime's other defaults (they were measured best).

    `threads` defaults to `available_threads()`. `name` is what messages call the model; the path by default.
    The providers asked for serve the whole graph or the call fails: the CPU helps out only when it is listed.
    Not `optimized`, the graph runs node by node, as it is written.

    Raises:
        BundleError: ONNX Runtime refuses the model.
        ConfigError: `threads` is below 1, or no provider is named.
        EnvironmentIncompleteError: ONNX Runtime or a provider is missing, or cannot serve the whole graph.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads {threads} must be at least 1")
    if not providers:
        raise ConfigError("no execution provider was named")
    name = name or (str(model) if isinstance(model, Path) else "model")
    runtime = _import_onnxruntime()
    _require_providers(runtime, providers)
    options = _session_options(runtime, threads or available_threads(), providers)
    if not optimized:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = model if isinstance(model, bytes) else str(model)
    try:
        session = runtime.InferenceSession(source, options, providers=list(providers))
    except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
        raise _refusal(error, name, providers) from error
    if session.get_providers()[0] != providers[0]:
        raise EnvironmentIncompleteError(
            f"{name}: {providers[0]} could not start here: its driver or a library that it needs is missing"
        )
    return session


def available_threads() -> int:
    """How many threads this process may keep busy: its CPU affinity, or less where a cgroup quota says so."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_cpu_quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    return max(1, math.ceil(min(allowed, quota)))


def cgroup_cpu_quota(membership: Path, mount: Path) -> float:
    """CPUs that the tightest cgroup around this process allows; infinity where there is no limit.

    Reads version 2 (`cpu.max`) and version 1 (`cpu.cfs_quota_us`); `membership` is /proc/self/cgroup and
    `mount` /sys/fs/cgroup. In a container the path may not exist below the mount: then its parents count.
    """
    folders = [folder for line in _lines(membership) for folder in _cgroup_folders(line, mount)]
    return min((_folder_quota(folder) for folder in folders), default=math.inf)


def short_message(error: BaseException) -> str:
    """What ONNX Runtime says, on one line, without its prefix and not longer than a reader bears."""
    text = " ".join(str(error).split())
    if text.startswith("[ONNXRuntimeError]"):
        text = text.split(" : ", 3)[-1]
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "…"


def _import_onnxruntime() -> Any:
    disable_telemetry()
    try:
        import onnxruntime
    except ImportError as error:
        raise EnvironmentIncompleteError(
            f'ONNX Runtime cannot be imported ({error}): pip install "levit-deploy[cpu]"'
        ) from error
    onnxruntime.set_default_logger_severity(_LOG_FATAL_ONLY)
    return onnxruntime


def _require_providers(runtime: Any, providers: Sequence[str]) -> None:
    available = runtime.get_available_providers()
    for provider in providers:
        if provider not in available:
            raise EnvironmentIncompleteError(
                f"this ONNX Runtime has no {provider}, only {', '.join(available)}: install the build that has it"
            )


def _session_options(runtime: Any, threads: int, providers: Sequence[str]) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    # Whatever goes wrong arrives as an exception too; the log would only say it twice.
    options.log_severity_level = _LOG_FATAL_ONLY
    if CPU_PROVIDER not in providers:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _refusal(error: Exception, name: str, providers: Sequence[str]) -> LevitError:
    if "fallback to CPU EP" in str(error):
        return EnvironmentIncompleteError(f"{name}: {', '.join(providers)} cannot run the whole graph")
    return BundleError(f"{name}: ONNX Runtime refuses it ({short_message(error)}); export it again")


def _cgroup_folders(line: str, mount: Path) -> Iterator[Path]:
    """The folders that a line "id:controllers:path" of /proc/self/cgroup means, up to the mount's root."""
    _, _, rest = line.partition(":")
    controllers, _, path = rest.partition(":")
    if controllers and "cpu" not in controllers.split(","):
        return
    roots = (mount, mount / "unified") if not controllers else (mount / controllers, mount / "cpu")
    inner = Path(path.lstrip("/"))
    for root in roots:
        yield from (root / folder for folder in (inner, *inner.parents))


def _folder_quota(folder: Path) -> float:
    version2 = " ".join(_lines(folder / "cpu.max"))
    version1 = " ".join([*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")])
    for text in (version2, version1):
        quota, _, period = text.partition(" ")
        # "max" and "-1" mean that there is no limit.
        if quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0:
            return int(quota) / int(period)
    return math.inf


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
