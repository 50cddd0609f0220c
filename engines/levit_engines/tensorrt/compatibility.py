"""Whether a built engine can run here, asked before anything of it is loaded."""

from __future__ import annotations

from levit_deploy.bundle import Bundle
from levit_deploy.engine_entry import EngineEntry
from levit_deploy.errors import BundleError, EnvironmentIncompleteError
from levit_engines.tensorrt.api import Library, TrtRuntime
from levit_engines.tensorrt.devices import Gpu
from levit_engines.tensorrt.flavours import Flavour
from levit_engines.tensorrt.optional_api import DiagnosingLibrary, HeaderCheckingRuntime
from levit_engines.tensorrt.targets import fits

# What a header can say against a plan that is not the plan's fault; the rest is.
_OF_THE_MACHINE = {"VERSION_MISMATCH", "UNSUPPORTED_CC", "OLD_CUDA_DRIVER", "OLD_CUDA_RUNTIME"}
_PASSING = {"INSUFFICIENT_GPU_MEMORY", "CUDA_ERROR"}  # loading itself tells these better


def require_version(bundle: Bundle, flavour: Flavour, entry: EngineEntry, library: Library) -> None:
    """Raise EnvironmentIncompleteError unless the library is the very version that built the engine."""
    built_with = entry.libraries.get(flavour.module)
    if built_with != library.__version__:
        raise EnvironmentIncompleteError(
            f"{bundle.path}: built with {flavour.title} {built_with}, this is {library.__version__}: "
            f"run {_build_again(bundle, flavour)} here, or install that version"
        )


def require_capability(bundle: Bundle, flavour: Flavour, entry: EngineEntry, gpu: Gpu) -> None:
    """Raise EnvironmentIncompleteError unless the engine was built for a GPU like this one."""
    recorded = entry.requirements.get("compute_capabilities", "")
    if not fits(recorded, gpu.capability):
        option = f" --compute-capability {gpu.capability_text}" if flavour.portable else ""
        raise EnvironmentIncompleteError(
            f"{bundle.path}: built for compute capability {recorded}, this GPU has {gpu.capability_text}: "
            f"run {_build_again(bundle, flavour)}{option}"
        )


def require_loadable_header(runtime: TrtRuntime, library: Library, plan: bytes, name: str) -> None:
    """Raise BundleError when the plan's first bytes are no plan's, EnvironmentIncompleteError when it is not for here.

    Does nothing with a library that cannot tell, or that says only that it is invalid and not why.
    """
    if not isinstance(runtime, HeaderCheckingRuntime) or not isinstance(library, DiagnosingLibrary):
        return
    validity, diagnostics = runtime.get_engine_validity(plan[: runtime.engine_header_size])
    if validity.name != "INVALID":
        return
    named = library.EngineInvalidityDiagnostics.__members__
    found = {word for word, member in named.items() if int(member) & int(diagnostics)} - _PASSING
    if not found:
        return
    words = ", ".join(sorted(found)).lower().replace("_", " ")
    if found <= _OF_THE_MACHINE:
        raise EnvironmentIncompleteError(f"{name}: not for this machine ({words}): build it here with --overwrite")
    raise BundleError(f"{name}: not a plan ({words}): build it again with --overwrite")


def _build_again(bundle: Bundle, flavour: Flavour) -> str:
    return f"levit-build {bundle.path} --engine {flavour.engine} --overwrite"
