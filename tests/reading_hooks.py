"""Builds the image and bundle half of the C++ runtime as a library of test hooks, and calls it through ctypes."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from levit_deploy.preprocessing import CropRounding, Preprocessing

RUNTIME = Path(__file__).parents[1] / "engines/runtime"
HOOKS = RUNTIME / "tests/reading_hooks.cpp"
# The inference half needs ONNX Runtime's headers; these need only the image libraries.
PATTERNS = ("bundle.cpp", "bundle_files.cpp", "bundle_golden.cpp", "decode*.cpp", "json.cpp", "manifest*.cpp")
PATTERNS += ("preprocess*.cpp", "resample.cpp", "safetensors.cpp", "sha256.cpp", "text.cpp")
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fPIC", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
LIBRARIES = ("-ljpeg", "-lpng", "-lz", "-lcrypto")
MESSAGE_BYTES = 1024
MAX_OUTPUT_BYTES = 1 << 20


class RefusedError(Exception):
    """A status other than 0, with its message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Resizer:
    """A preprocessor of the C++ runtime, whose memory is used again from call to call."""

    library: ctypes.CDLL
    handle: ctypes.c_void_p
    side: int

    def resize(self, pixels: NDArray[np.uint8], *, stride: int | None = None, bgr: bool = False) -> NDArray[np.uint8]:
        """The window of (H, W, 3) pixels; with `stride`, of an array whose rows are that many bytes apart."""
        height, width = pixels.shape[:2]
        output = np.empty((self.side, self.side, 3), np.uint8)
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        status = self.library.hook_resize(
            self.handle,
            ctypes.c_void_p(pixels.ctypes.data),
            width,
            height,
            ctypes.c_ssize_t(width * 3 if stride is None else stride),
            int(bgr),
            ctypes.c_void_p(output.ctypes.data),
            message,
        )
        _require(status, message)
        return output

    def normalize(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(S, S, 3) pixels as (3, S, S) planes."""
        output = np.empty((3, self.side, self.side), np.float32)
        contiguous = np.ascontiguousarray(pixels)
        self.library.hook_normalize(
            self.handle, ctypes.c_void_p(contiguous.ctypes.data), ctypes.c_void_p(output.ctypes.data)
        )
        return output


class ReadingHooks:
    """The functions of engines/runtime/tests/reading_hooks.cpp."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))
        self.library.hook_image_new.restype = ctypes.c_void_p
        self.library.hook_image_pixels.restype = ctypes.POINTER(ctypes.c_uint8)
        self.image = ctypes.c_void_p(self.library.hook_image_new())  # one for all, as in a stream of images

    def decode(self, data: bytes, *, apply_exif_orientation: bool = False) -> NDArray[np.uint8]:
        """(H, W, 3) pixels of an encoded image."""
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        status = self.library.hook_decode(
            self.image, data, ctypes.c_size_t(len(data)), int(apply_exif_orientation), message
        )
        _require(status, message)
        width, height = self.library.hook_image_width(self.image), self.library.hook_image_height(self.image)
        pointer = self.library.hook_image_pixels(self.image)
        return np.ctypeslib.as_array(pointer, (height, width, 3)).copy()

    def resizer(self, contract: Preprocessing) -> Resizer:
        """A preprocessor for `contract`."""
        handle, message = ctypes.c_void_p(), ctypes.create_string_buffer(MESSAGE_BYTES)
        three = ctypes.c_double * 3
        status = self.library.hook_preprocessor_new(
            contract.image_size,
            contract.resize_shorter_side,
            int(contract.crop_rounding is CropRounding.FLOOR),
            three(*contract.mean),
            three(*contract.std),
            ctypes.byref(handle),
            message,
        )
        _require(status, message)
        resizer = Resizer(self.library, handle, contract.image_size)
        weakref.finalize(resizer, self.library.hook_preprocessor_free, handle)
        return resizer

    def check_bundle(self, path: Path, *, everything: bool = True) -> None:
        """Open a bundle and, with `everything`, verify and read all its members."""
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        _require(self.library.hook_bundle(os.fsencode(path), int(everything), None, None, message), message)

    def golden(self, path: Path, images: NDArray[np.uint8], logits: NDArray[np.float64]) -> None:
        """Fill `images` and `logits` from the golden set of a bundle."""
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        places = (ctypes.c_void_p(images.ctypes.data), ctypes.c_void_p(logits.ctypes.data))
        _require(self.library.hook_bundle(os.fsencode(path), 1, *places, message), message)

    def names(self, path: Path) -> list[str]:
        """The labels of a bundle and then the names of its golden images."""
        message, names = ctypes.create_string_buffer(MESSAGE_BYTES), ctypes.create_string_buffer(MAX_OUTPUT_BYTES)
        size = ctypes.c_size_t(MAX_OUTPUT_BYTES)
        _require(self.library.hook_bundle_names(os.fsencode(path), names, size, message), message)
        return names.value.decode().split("\n")[:-1]


def _require(status: int, message: ctypes.Array[ctypes.c_char]) -> None:
    if status != 0:
        text = message.value.decode()
        assert text.isprintable(), "a message must be one line, whatever the input"
        raise RefusedError(status, text)


def build_reading_hooks(folder: Path, flags: Sequence[str] = ()) -> Path:
    """The library, built once in `folder` by whichever process comes first."""
    compiler = os.environ.get("CXX") or shutil.which("c++")
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("no C++ compiler: in CI that is a failure")
        pytest.skip("no C++ compiler, as in: apt-get install g++ libjpeg-dev libpng-dev libssl-dev")
    library = folder / "libreading_hooks.so"
    with (folder / "reading_hooks.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            _build(compiler, library, flags)
    return library


def _build(compiler: str, library: Path, flags: Sequence[str]) -> None:
    sources = [HOOKS, *sorted({path for pattern in PATTERNS for path in (RUNTIME / "src").glob(pattern)})]
    objects = [library.parent / f"{source.stem}.o" for source in sources]

    def compile_one(source: Path, target: Path) -> None:
        command = [compiler, *FLAGS, *flags, f"-I{RUNTIME / 'src'}", "-c", str(source), "-o", str(target)]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, sources, objects))
    partial = library.with_suffix(".partial")
    command = [compiler, "-shared", *flags, *map(str, objects), "-o", str(partial), *LIBRARIES]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    partial.rename(library)


if __name__ == "__main__":
    print(build_reading_hooks(Path(sys.argv[1])))  # noqa: T201
