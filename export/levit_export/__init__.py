"""PyTorch -> ONNX: `export(ExportRequest(arch="384"))` writes a verified bundle and returns it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from levit_export.pipeline import export
    from levit_export.request import ExportRequest

__all__ = ["ExportRequest", "export"]


def __getattr__(name: str) -> Any:
    # Lazily, since both import PyTorch.
    if name == "export":
        from levit_export.pipeline import export

        return export
    if name == "ExportRequest":
        from levit_export.request import ExportRequest

        return ExportRequest
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
