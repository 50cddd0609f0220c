"""The one place that imports OpenVINO.

`import openvino` by itself reports its use over the network, and writes an identifier below the home directory. It
does neither when its companion package cannot be imported, so that one is hidden while OpenVINO is loaded for the
first time in a process. An OpenVINO that somebody else has imported before is left as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from levit_deploy.errors import EnvironmentIncompleteError

TELEMETRY_PACKAGE = "openvino_telemetry"


def import_openvino() -> Any:
    """The package `openvino`, loaded without its telemetry. Raises EnvironmentIncompleteError."""
    try:
        with _hidden(TELEMETRY_PACKAGE):
            import openvino
    except ImportError as error:
        raise EnvironmentIncompleteError(
            f'OpenVINO cannot be imported ({error}): pip install "levit-deploy[openvino]"'
        ) from error
    return openvino


def full_version(openvino: Any) -> str:
    """Release, build number and commit of the library: compiled networks are bound to all three."""
    return str(openvino.get_version())


@contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Importing `package` fails while this lasts; that OpenVINO is loaded already makes it do nothing."""
    if "openvino" in sys.modules:
        yield
        return
    modules = cast("dict[str, Any]", sys.modules)  # None is what makes an import fail
    loaded = {name: modules[name] for name in (package,) if name in modules}
    modules[package] = None
    try:
        yield
    finally:
        modules.pop(package, None)
        modules.update(loaded)
