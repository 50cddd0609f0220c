"""levit.h for ctypes: what a foreign language needs to use the edge runtime. Needs nothing but numpy."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

OK, FAILED, ARGUMENT, INPUT, ENVIRONMENT, MEMORY = range(6)
CPU, CUDA, TENSORRT, TENSORRT_PLAN, NATIVE, FASTEST = range(6)
NO_IMAGE = ctypes.c_size_t(-1).value

FUNCTIONS = (
    "levit_abi_version",
    "levit_version",
    "levit_last_error",
    "levit_options_init",
    "levit_open",
    "levit_close",
    "levit_get_info",
    "levit_label",
    "levit_self_test",
    "levit_run_encoded",
    "levit_run_pixels",
    "levit_run_tensor",
    "levit_preprocess_encoded",
    "levit_preprocess_pixels",
)


class Options(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("provider", ctypes.c_int32),
        ("device", ctypes.c_uint32),
        ("threads", ctypes.c_uint32),
        ("self_test", ctypes.c_uint32),
        ("use_built_graph", ctypes.c_uint32),
        ("onnxruntime_library", ctypes.c_char_p),
    ]


class Info(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        *((name, ctypes.c_char_p) for name in ("name", "arch", "precision", "weights_origin", "provider")),
        *((name, ctypes.c_char_p) for name in ("graph", "note", "onnxruntime_version", "onnxruntime_library")),
        *((name, ctypes.c_uint32) for name in ("image_size", "classes", "batch_minimum", "batch_maximum")),
        ("takes_pixels", ctypes.c_uint32),
        ("golden_images", ctypes.c_uint32),
        ("golden_share", ctypes.c_double),
        *((name, ctypes.c_char_p) for name in ("tensorrt_version", "tensorrt_library", "instruction_set")),
    ]


class Encoded(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("size", ctypes.c_size_t)]


class Timings(ctypes.Structure):
    _fields_ = [(f"{stage}_ms", ctypes.c_double) for stage in ("decode", "resize", "normalize", "inference", "rank")]


class Result(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("top_k", ctypes.c_uint32),
        ("guesses", ctypes.c_void_p),
        ("logits", ctypes.c_void_p),
        ("timings", Timings),
        ("failed_image", ctypes.c_size_t),
    ]


class LevitError(Exception):
    """A status that is not 0; `image` is the index of the image at fault, or NO_IMAGE."""

    def __init__(self, status: int, message: str, image: int = NO_IMAGE) -> None:
        super().__init__(message)
        self.status, self.image = status, image


def load(path: Path | str) -> ctypes.CDLL:
    """liblevit.so, with the types of its functions."""
    library = ctypes.CDLL(str(path))
    for name in FUNCTIONS:
        getattr(library, name).restype = ctypes.c_int32
    library.levit_abi_version.restype = ctypes.c_uint32
    for name in ("levit_version", "levit_last_error", "levit_label"):
        getattr(library, name).restype = ctypes.c_char_p
    for name in ("levit_options_init", "levit_close"):
        getattr(library, name).restype = None
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    library.levit_options_init.argtypes = [pointer, size]
    library.levit_open.argtypes = [ctypes.c_char_p, pointer, pointer]
    library.levit_close.argtypes = [pointer]
    library.levit_get_info.argtypes = [pointer, pointer]
    library.levit_label.argtypes = [pointer, ctypes.c_uint32]
    library.levit_self_test.argtypes = [pointer, pointer, pointer]
    library.levit_run_encoded.argtypes = [pointer, pointer, size, pointer]
    library.levit_run_tensor.argtypes = [pointer, pointer, size, size, pointer]
    library.levit_preprocess_encoded.argtypes = [pointer, pointer, pointer, size]
    return library


def default_options(library: ctypes.CDLL) -> Options:
    """Options as the library fills them."""
    options = Options()
    library.levit_options_init(ctypes.byref(options), ctypes.sizeof(options))
    return options


class Classifier:
    """A bundle that is opened; safe to use from several threads."""

    def __init__(self, library: ctypes.CDLL, bundle: Path | str, options: Options | None = None) -> None:
        self._library, self._handle = library, ctypes.c_void_p()
        given = None if options is None else ctypes.byref(options)
        self._require(library.levit_open(str(bundle).encode(), given, ctypes.byref(self._handle)))

    def info(self) -> Info:
        info = Info(struct_size=ctypes.sizeof(Info))
        self._require(self._library.levit_get_info(self._handle, ctypes.byref(info)))
        return info

    def logits_of_encoded(self, contents: Sequence[bytes]) -> Any:
        images = (Encoded * len(contents))(*(Encoded(content, len(content)) for content in contents))
        return self._logits(len(contents), lambda result: self._library.levit_run_encoded(
            self._handle, images, len(contents), result
        ))  # fmt: skip

    def logits_of_tensor(self, images: Any) -> Any:
        images = np.ascontiguousarray(images)
        return self._logits(len(images), lambda result: self._library.levit_run_tensor(
            self._handle, images.ctypes.data, images.nbytes, len(images), result
        ))  # fmt: skip

    def preprocess(self, content: bytes) -> Any:
        side = self.info().image_size
        rgb = np.empty((side, side, 3), np.uint8)
        image = Encoded(content, len(content))
        self._require(
            self._library.levit_preprocess_encoded(self._handle, ctypes.byref(image), rgb.ctypes.data, rgb.nbytes)
        )
        return rgb

    def close(self) -> None:
        self._library.levit_close(self._handle)
        self._handle = ctypes.c_void_p()

    def __enter__(self) -> Classifier:  # noqa: PYI034 (typing_extensions is not needed for this)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _logits(self, count: int, call: Any) -> Any:
        logits = np.empty((count, self.info().classes), np.float32)
        result = Result(struct_size=ctypes.sizeof(Result), logits=logits.ctypes.data)
        self._require(call(ctypes.byref(result)), result)
        return logits

    def _require(self, status: int, result: Result | None = None) -> None:
        if status != OK:
            message = self._library.levit_last_error().decode()
            raise LevitError(status, message, NO_IMAGE if result is None else result.failed_image)
