"""The two products behind one API: which module each is, what installs it, and which options it has no use for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from levit_deploy.errors import ConfigError, EnvironmentIncompleteError
from levit_engines.catalogue import CATALOGUE
from levit_engines.tensorrt.api import Library


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavour:
    """One product. `refused_options` are fields of BuildRequest, with why they mean nothing to it."""

    engine: str
    title: str
    module: str
    refused_options: Mapping[str, str]

    @property
    def portable(self) -> bool:
        """Whether it builds for GPUs that are not here."""
        return "compute_capabilities" not in self.refused_options

    @property
    def extra(self) -> str:
        """The extra of ours that installs it."""
        return CATALOGUE[self.engine].packages[self.module]


FLAVOURS: Mapping[str, Flavour] = MappingProxyType(
    {
        "tensorrt": Flavour(
            engine="tensorrt",
            title="TensorRT",
            module="tensorrt",
            refused_options=MappingProxyType(
                {
                    "compute_capabilities": "builds for the GPU at hand: run it on the machine that will run it",
                    "threads": "runs on the GPU",
                }
            ),
        ),
        "tensorrt-rtx": Flavour(
            engine="tensorrt-rtx",
            title="TensorRT-RTX",
            module="tensorrt_rtx",
            refused_options=MappingProxyType(
                {
                    "timing_cache": "takes no timings when it builds; its timing cache is a deprecated no-op",
                    "threads": "runs on the GPU",
                }
            ),
        ),
    }
)


def flavour_of(engine: str) -> Flavour:
    """The flavour that an engine's name stands for; raises ConfigError on another name."""
    if engine not in FLAVOURS:
        raise ConfigError(f"engine {engine!r} is not one of {', '.join(FLAVOURS)}")
    return FLAVOURS[engine]


def load_library(flavour: Flavour) -> Library:
    """Import the flavour's module; raises EnvironmentIncompleteError when it is not there, or lacks a library."""
    try:
        return cast(Library, importlib.import_module(flavour.module))
    except ModuleNotFoundError as error:
        if error.name != flavour.module:
            raise EnvironmentIncompleteError(f"{flavour.title} cannot be imported: {error}") from error
        raise EnvironmentIncompleteError(
            f'{flavour.title} is not installed: pip install "levit-deploy[{flavour.extra}]"'
        ) from error
    except (ImportError, OSError) as error:
        raise EnvironmentIncompleteError(
            f"{flavour.title} is installed but cannot be loaded ({' '.join(str(error).split())}): "
            "install its libraries, or put them on LD_LIBRARY_PATH"
        ) from error
