"""The one place that imports and configures ONNX Runtime.

ONNX Runtime is imported inside `open_session` only: importing this module costs nothing and works without it.
Its Linux wheels, from 1.29 on, send telemetry and write below the home directory unless they are told not to
before they are loaded.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from levit_deploy.errors import BundleError, ConfigError, EnvironmentIncompleteError, LevitError
from levit_deploy.messages import short_message
from levit_deploy.onnxruntime_plugin import RTX_PROVIDER, rtx_devices
from levit_deploy.threads import available_threads

if TYPE_CHECKING:
    import onnxruntime

TELEMETRY_VARIABLE = "ORT_DISABLE_TELEMETRY"
TF32_VARIABLE = "NVIDIA_TF32_OVERRIDE"
CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
TENSORRT_PROVIDER = "TensorrtExecutionProvider"
GPU_PROVIDERS = (CUDA_PROVIDER, TENSORRT_PROVIDER)
_MOST_NODES_NAMED = 20
_LOG_FATAL_ONLY = 4


def disable_telemetry() -> None:
    """Tell ONNX Runtime to send nothing and to write nothing; a value that the user has set is left alone.

    Works only before ONNX Runtime is imported.
    """
    os.environ.setdefault(TELEMETRY_VARIABLE, "1")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """How a session is opened; the defaults of ONNX Runtime were measured best for all that is not named here.

    `threads` None means `available_threads()`. The `provider` asked for serves the whole graph, or opening fails.
    Not `optimized`, the graph runs node by node, as it is written. `entries` are ONNX Runtime's session configuration
    entries, and `save_optimized` where the graph is written to once it is optimised.
    """

    threads: int | None = None
    provider: str = CPU_PROVIDER
    provider_options: Mapping[str, str] = field(default_factory=dict)
    optimized: bool = True
    entries: Mapping[str, str] = field(default_factory=dict)
    save_optimized: Path | None = None


def open_session(
    model: bytes | Path, settings: SessionSettings | None = None, *, name: str | None = None
) -> onnxruntime.InferenceSession:
    """A session on `model`, silent on stderr. `name` is what messages call the model; the path by default.

    Raises:
        BundleError: ONNX Runtime refuses the model.
        ConfigError: `threads` is below 1.
        EnvironmentIncompleteError: ONNX Runtime or the provider is missing, cannot start here, or cannot serve the
            whole graph; then the nodes that it cannot run are listed.
    """
    settings = settings or SessionSettings()
    if settings.threads is not None and settings.threads < 1:
        raise ConfigError(f"threads {settings.threads} must be at least 1")
    name = name or (str(model) if isinstance(model, Path) else "model")
    runtime = import_onnxruntime()
    _require_provider(runtime, settings.provider)
    options = _session_options(runtime, settings)
    if settings.provider != CPU_PROVIDER:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = _session(runtime, model, options, settings)
    except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
        if settings.provider != CPU_PROVIDER and _is_about_provider(error):
            raise _provider_refusal(runtime, model, settings, name) from error
        raise BundleError(f"{name}: ONNX Runtime refuses it ({short_message(error)}); export it again") from error
    if session.get_providers()[0] != settings.provider:
        raise _cannot_start(name, settings.provider)
    return session


def import_onnxruntime() -> Any:
    """The package `onnxruntime`, loaded without its telemetry and silent. Raises EnvironmentIncompleteError."""
    disable_telemetry()
    try:
        import onnxruntime
    except ImportError as error:
        raise EnvironmentIncompleteError(
            f'ONNX Runtime cannot be imported ({error}): pip install "levit-deploy[cpu]"'
        ) from error
    onnxruntime.set_default_logger_severity(_LOG_FATAL_ONLY)
    return onnxruntime


def _session(
    runtime: Any, model: bytes | Path, options: Any, settings: SessionSettings, *, rest_on_cpu: bool = False
) -> onnxruntime.InferenceSession:
    """A session on the provider asked for; `rest_on_cpu` lets the CPU run what that leaves over."""
    source = model if isinstance(model, bytes) else str(model)
    wanted = dict(settings.provider_options)
    if settings.provider == RTX_PROVIDER:  # goes by device, not by name; the CPU follows by itself
        options.add_provider_for_devices(rtx_devices(runtime)[:1], wanted)
        providers = None
    else:
        providers = [(settings.provider, wanted), *([(CPU_PROVIDER, {})] if rest_on_cpu else [])]
    # Its fallback would print to stdout and try again on the CPU.
    return runtime.InferenceSession(source, options, providers=providers, enable_fallback=0)


def _require_provider(runtime: Any, provider: str) -> None:
    if provider in (TENSORRT_PROVIDER, RTX_PROVIDER):
        # Neither has an option for it. TF32 keeps 10 bits of the mantissa: not what a fp32 bundle promises.
        os.environ.setdefault(TF32_VARIABLE, "0")
    if provider == RTX_PROVIDER:
        rtx_devices(runtime)
        return
    available = runtime.get_available_providers()
    if provider not in available:
        raise EnvironmentIncompleteError(
            f"this ONNX Runtime has no {provider}, only {', '.join(available)}: install the build that has it"
            + (
                ' (pip uninstall onnxruntime, then pip install "levit-deploy[gpu]")'
                if provider in GPU_PROVIDERS
                else ""
            )
        )
    if provider in GPU_PROVIDERS and hasattr(runtime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            runtime.preload_dlls()
    if provider == TENSORRT_PROVIDER:
        with contextlib.suppress(ImportError, OSError):  # then TensorRT may be a package of the system
            importlib.import_module("tensorrt_libs")  # loads them where the provider does not look


def _session_options(runtime: Any, settings: SessionSettings) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = settings.threads or available_threads()
    # Whatever goes wrong arrives as an exception too; the log would only say it twice.
    options.log_severity_level = _LOG_FATAL_ONLY
    if not settings.optimized:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if settings.save_optimized is not None:
        options.optimized_model_filepath = str(settings.save_optimized)
    for key, value in settings.entries.items():
        options.add_session_config_entry(key, value)
    return options


def _is_about_provider(error: Exception) -> bool:
    text = str(error)
    return "fallback to CPU EP" in text or "ExecutionProvider" in text or "TensorRT" in text or "CUDA" in text


def _provider_refusal(runtime: Any, model: bytes | Path, settings: SessionSettings, name: str) -> LevitError:
    """Why the provider cannot serve the graph: the graph is opened once more, with the CPU for what is left over."""
    options = _session_options(runtime, settings)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        session = _session(runtime, model, options, settings, rest_on_cpu=True)
    except Exception as error:
        return EnvironmentIncompleteError(
            f"{name}: {settings.provider} cannot start here; levit-doctor says what is missing ({short_message(error)})"
        )
    if session.get_providers()[0] != settings.provider:
        return _cannot_start(name, settings.provider)
    if not hasattr(session, "get_provider_graph_assignment_info"):  # before 1.24
        return EnvironmentIncompleteError(f"{name}: {settings.provider} cannot run the whole graph")
    nodes = nodes_elsewhere(session, settings.provider)
    shown = ", ".join(nodes[:_MOST_NODES_NAMED]) + (" …" if len(nodes) > _MOST_NODES_NAMED else "")
    return EnvironmentIncompleteError(
        f"{name}: {settings.provider} cannot run the whole graph; it leaves {len(nodes)} nodes to the CPU: {shown}"
    )


def _cannot_start(name: str, provider: str) -> EnvironmentIncompleteError:
    return EnvironmentIncompleteError(
        f"{name}: {provider} could not start here: its driver or a library that it needs is missing; "
        "levit-doctor says which"
    )


def nodes_elsewhere(session: onnxruntime.InferenceSession, provider: str) -> tuple[str, ...]:
    """The nodes, as "name (operator)", that another provider than this one runs.

    The session must have been opened with the entry `session.record_ep_graph_assignment_info`.
    """
    return tuple(
        f"{node.name} ({node.op_type})"
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != provider
        for node in part.get_nodes()
    )
