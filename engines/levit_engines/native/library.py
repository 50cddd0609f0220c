"""The compiled library and its C interface (engines/native/include/levit/native.h)."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from levit_deploy.architectures import LevitConfig
from levit_deploy.errors import EnvironmentIncompleteError, InputError, RunnerError
from levit_engines.native.quantized import QuantizedWeights

VERSION = 3
FILE = "liblevit_native.so.1"
INSTRUCTION_SETS = ("amx", "avx512-vnni", "avx512", "avx2", "portable")
_NOT_FINITE = 2
_MESSAGE_BYTES = 512
_FLOATS = ctypes.POINTER(ctypes.c_float)
_BYTES = ctypes.POINTER(ctypes.c_uint8)


class Options(ctypes.Structure):
    """levit_native_options."""

    _fields_ = (
        ("image_size", ctypes.c_int32),
        ("classes", ctypes.c_int32),
        ("key_width", ctypes.c_int32),
        ("widths", ctypes.c_int32 * 3),
        ("heads", ctypes.c_int32 * 3),
        ("depths", ctypes.c_int32 * 3),
        ("threads", ctypes.c_int32),
        ("instruction_set", ctypes.c_char_p),
    )


class Parameter(ctypes.Structure):
    """levit_native_parameter."""

    _fields_ = (
        ("values", _FLOATS),
        ("count", ctypes.c_size_t),
        ("scales", _FLOATS),
        ("input_scale", ctypes.c_float),
        ("input_offset", ctypes.c_int32),
    )


def library_path() -> Path:
    """Where the installation puts the library."""
    return Path(__file__).parent / FILE


def load_library(path: Path | None = None) -> ctypes.CDLL:
    """The library at `path`, by default the installed one. Raises EnvironmentIncompleteError."""
    path = path or library_path()
    again = "install levit-deploy again where a C++ compiler is (apt-get install g++)"
    if not path.is_file():
        raise EnvironmentIncompleteError(f"{path} is not there: no C++ compiler was found at installation; {again}")
    try:
        library = ctypes.CDLL(str(path))
        version = library.levit_native_version()
    except (OSError, AttributeError) as error:
        raise EnvironmentIncompleteError(f"{path} cannot be loaded ({error}): {again}") from error
    if version != VERSION:
        raise EnvironmentIncompleteError(f"{path} has version {version}, wanted is {VERSION}: {again}")
    library.levit_native_destroy.restype = None
    library.levit_native_destroy.argtypes = [ctypes.c_void_p]
    library.levit_native_instruction_set.restype = ctypes.c_char_p
    library.levit_native_instruction_set.argtypes = [ctypes.c_void_p]
    return library


def supported_instruction_sets(library: ctypes.CDLL) -> tuple[str, ...]:
    """Those of INSTRUCTION_SETS that this CPU has, the best first."""
    return tuple(name for name in INSTRUCTION_SETS if library.levit_native_supports(name.encode("ascii")))


class Network:
    """A network in the library. Calls from several threads run at the same time if it has one thread, else in turns."""

    def __init__(
        self,
        library: ctypes.CDLL,
        config: LevitConfig,
        parameters: Sequence[NDArray[np.float32] | QuantizedWeights],
        *,
        threads: int,
        instruction_set: str = "",
    ) -> None:
        """`parameters` in the order of `levit_engines.native.parameters.shapes`. Raises EnvironmentIncompleteError."""
        options = Options(
            image_size=config.image_size,
            classes=config.num_classes,
            key_width=config.key_dim,
            widths=(ctypes.c_int32 * 3)(*config.embed_dims),
            heads=(ctypes.c_int32 * 3)(*config.heads),
            depths=(ctypes.c_int32 * 3)(*config.depths),
            threads=threads,
            instruction_set=instruction_set.encode("ascii"),
        )
        floats = [np.ascontiguousarray(_values(one), np.float32) for one in parameters]
        given = (Parameter * len(parameters))(*map(_parameter, parameters, floats))
        self._library, self._config = library, config
        self._handle = ctypes.c_void_p()
        message = ctypes.create_string_buffer(_MESSAGE_BYTES)
        failed = library.levit_native_create(
            ctypes.byref(options),
            given,
            ctypes.c_size_t(len(parameters)),
            ctypes.byref(self._handle),
            message,
            ctypes.c_size_t(_MESSAGE_BYTES),
        )
        if failed:
            raise EnvironmentIncompleteError(f"the native engine refuses the network: {_text(message)}")
        # With the last reference: a call that runs in another thread holds one.
        weakref.finalize(self, library.levit_native_destroy, self._handle)

    @property
    def instruction_set(self) -> str:
        """That of its kernels, one of INSTRUCTION_SETS."""
        name: bytes = self._library.levit_native_instruction_set(self._handle)
        return name.decode("ascii")

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (B, K) of normalised images (B, 3, S, S), contiguous.

        Raises InputError where they hold NaN or infinity, else RunnerError.
        """
        return self._logits(self._library.levit_native_run, len(images), images.ctypes.data_as(_FLOATS))

    def run_pixels(self, pixels: NDArray[np.uint8], normalized: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (B, K) of RGB pixels (B, S, S, 3), contiguous; `normalized` (3, 256) is what each byte becomes.

        Raises RunnerError.
        """
        given = (pixels.ctypes.data_as(_BYTES), normalized.ctypes.data_as(_FLOATS))
        return self._logits(self._library.levit_native_run_pixels, len(pixels), *given)

    def _logits(self, function: Any, batch: int, *images: object) -> NDArray[np.float32]:
        """What `function` of the library writes for a batch of `images`."""
        logits = np.empty((batch, self._config.num_classes), np.float32)
        message = ctypes.create_string_buffer(_MESSAGE_BYTES)
        failed = function(
            self._handle,
            *images,
            ctypes.c_size_t(batch),
            logits.ctypes.data_as(_FLOATS),
            message,
            ctypes.c_size_t(_MESSAGE_BYTES),
        )
        if failed == _NOT_FINITE:
            raise InputError(_text(message))
        if failed:
            raise RunnerError(f"the native engine failed: {_text(message)}")
        return logits


def _values(parameter: NDArray[np.float32] | QuantizedWeights) -> NDArray[np.float32] | NDArray[np.int8]:
    return parameter.values if isinstance(parameter, QuantizedWeights) else parameter


def _parameter(parameter: NDArray[np.float32] | QuantizedWeights, values: NDArray[np.float32]) -> Parameter:
    """`parameter`, whose numbers as float32 are `values`, as the library takes it; both must be kept alive."""
    given = Parameter(values=values.ctypes.data_as(_FLOATS), count=values.size)
    if isinstance(parameter, QuantizedWeights):
        given.scales = parameter.scales.ctypes.data_as(_FLOATS)
        given.input_scale, given.input_offset = parameter.input_scale, parameter.input_offset
    return given


def _text(message: ctypes.Array[ctypes.c_char]) -> str:
    return message.value.decode("utf-8", "replace")
