"""Whether a built engine can run here, asked before anything of it is loaded."""

from __future__ import annotations

import platform

from levit_deploy.bundle import Bundle
from levit_deploy.engine_entry import EngineEntry
from levit_deploy.errors import BundleError, EnvironmentIncompleteError, LevitError
from levit_engines.tensorrt.api import Library, TrtRuntime
from levit_engines.tensorrt.devices import Gpu
from levit_engines.tensorrt.flavours import Flavour
from levit_engines.tensorrt.optional_api import DiagnosingLibrary, HeaderCheckingRuntime, TargetingLibrary
from levit_engines.tensorrt.targets import fits, known_capabilities

# What a header can say against a plan that is not the plan's fault; the rest is.
_OF_THE_MACHINE = {"VERSION_MISMATCH", "UNSUPPORTED_CC", "OLD_CUDA_DRIVER", "OLD_CUDA_RUNTIME"}
_PASSING = {"INSUFFICIENT_GPU_MEMORY", "CUDA_ERROR"}  # loading itself tells these better
# What a library names when it finds that bytes are no whole plan; anything else that it refuses is for another machine.
_OF_THE_FILE = ("magicTag", "blobSize", "bufferSize", "empty memory buffer")


def platform_here() -> str:
    """Operating system and processor, as a manifest records them."""
    return f"{platform.system().lower()}-{platform.machine()}"


def build_again(bundle: Bundle, flavour: Flavour) -> str:
    """The command that puts another plan in place of the one in `bundle`."""
    return f"levit-build {bundle.path} --engine {flavour.engine} --overwrite"


def require_version(bundle: Bundle, flavour: Flavour, entry: EngineEntry, library: Library) -> None:
    """Raise EnvironmentIncompleteError unless the library is the very version that built the engine."""
    built_with = entry.libraries.get(flavour.module)
    if built_with != library.__version__:
        raise EnvironmentIncompleteError(
            f"{bundle.path}: built with {flavour.title} {built_with}, this is {library.__version__}: "
            f"run {build_again(bundle, flavour)} here, or install that version"
        )


def require_platform(bundle: Bundle, flavour: Flavour, entry: EngineEntry) -> None:
    """Raise EnvironmentIncompleteError unless the engine was built on the same system and kind of processor.

    NVIDIA says of TensorRT that plans are for one platform; of TensorRT-RTX that they are for Linux and Windows, and
    nothing of another processor.
    """
    recorded = entry.requirements.get("platform", "")
    if recorded != platform_here():
        raise EnvironmentIncompleteError(
            f"{bundle.path}: built on {recorded}, this is {platform_here()}: run {build_again(bundle, flavour)} here"
        )


def require_capability(bundle: Bundle, flavour: Flavour, entry: EngineEntry, library: Library, gpu: Gpu) -> None:
    """Raise EnvironmentIncompleteError unless the engine was built for a GPU like this one."""
    recorded = entry.requirements.get("compute_capabilities", "")
    if fits(recorded, gpu.capability):
        return
    remedy = f"run {build_again(bundle, flavour)}"
    if isinstance(library, TargetingLibrary):
        known = known_capabilities(library.ComputeCapability.__members__)
        if gpu.capability_text in known:
            remedy += f" --compute-capability {gpu.capability_text}"
        else:
            remedy = f"{flavour.title} {library.__version__} builds for {', '.join(known)} only, use another engine"
    raise EnvironmentIncompleteError(
        f"{bundle.path}: built for compute capability {recorded}, this GPU has {gpu.capability_text}: {remedy}"
    )


def require_loadable_header(runtime: TrtRuntime, library: Library, plan: bytes, name: str, remedy: str) -> None:
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
        raise EnvironmentIncompleteError(f"{name}: not for this machine ({words}): run {remedy} here")
    raise BundleError(f"{name}: not a plan ({words}): run {remedy}")


def refusal_to_load(said: str, name: str, remedy: str) -> LevitError:
    """The error for a plan that the library did not load, by what it `said`.

    The plan's hash was compared before: unless the library finds that it is no whole plan, it is for another machine.
    """
    if any(words in said for words in _OF_THE_FILE):
        return BundleError(f"{name}: not a whole plan ({said}): run {remedy}")
    return EnvironmentIncompleteError(f"{name}: this GPU and its driver cannot load it ({said}): run {remedy} here")
