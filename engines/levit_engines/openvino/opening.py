"""Opening a bundle in OpenVINO: the compiled network where the bundle has one that fits, else the graph."""

from __future__ import annotations

from typing import Any

from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.errors import BundleError
from levit_deploy.messages import short_message
from levit_engines.bundle_runner import require_specification
from levit_engines.cpu_build import misfit
from levit_engines.openvino.blob import load_blob
from levit_engines.openvino.compiling import OPTIONS, compile_graph, require_equal
from levit_engines.openvino.library import full_version, import_openvino
from levit_engines.openvino.runner import OpenVinoRunner


def open_runner(bundle: Bundle, engine: str, threads: int | None = None) -> OpenVinoRunner:
    """The network of `bundle` on the CPU. Raises what `levit_engines.open_runner` does."""
    require_specification(bundle)
    openvino = import_openvino()
    compiled, member, notes = _compiled(openvino, bundle, engine, threads)
    require_equal(compiled, bundle.manifest, name=str(bundle.path / member))
    provenance = {
        "engine_version": full_version(openvino),
        "threads": str(compiled.get_property("INFERENCE_NUM_THREADS")),
        "inference_precision": compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
        "graph": member,
    }
    return OpenVinoRunner(bundle, compiled, engine=engine, threads=threads, provenance=provenance, notes=notes)


def _compiled(openvino: Any, bundle: Bundle, engine: str, threads: int | None) -> tuple[Any, str, tuple[str, ...]]:
    """The network, the member it comes from, and why that is not the compiled one if the bundle has one."""
    entry = bundle.manifest.engines.get(engine)
    notes: tuple[str, ...] = ()
    if entry is not None:
        reason = misfit(bundle, entry, {"openvino": full_version(openvino)})
        if dict(entry.options) != OPTIONS:
            reason = "it was made with other options"
        if reason is None:
            try:
                return load_blob(openvino, bundle, entry, threads), entry.files[0], ()
            except BundleError:
                raise
            except Exception as error:  # OpenVINO raises RuntimeError, but also what its Python layer meets
                reason = f"OpenVINO refuses it ({short_message(error)})"
        notes = (
            f"the compiled network of the bundle is not used, {reason}: OpenVINO compiles {MODEL} instead; "
            f"levit-build {bundle.path} --engine {engine} --overwrite makes one that fits",
        )
    return compile_graph(openvino, bundle.read(MODEL), threads, name=str(bundle.path / MODEL)), MODEL, notes
