"""The C++ runtime's pixels are those of levit_deploy, byte for byte: resize, crop, normalise, decode."""

from __future__ import annotations

import contextlib
import ctypes
import io
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
import sklearn
from numpy.typing import NDArray
from PIL import Image
from reading_hooks import ReadingHooks, RefusedError, build_reading_hooks

from levit_deploy.decoding import decode_image
from levit_deploy.errors import ImageError
from levit_deploy.preprocessing import CropRounding, Preprocessing, normalize, preprocessing_for, resize_and_crop

OURS = Path(__file__).parents[2] / "levit_deploy/data/photographs"
SKIMAGE = Path(skimage.__file__).parent / "data"
SKLEARN = Path(sklearn.__file__).parent / "datasets/images"
SKIMAGE_NAMES = ("astronaut.png", "rocket.jpg", "hubble_deep_field.jpg", "retina.jpg", "ihc.png", "camera.png")
REAL_IMAGES = [
    *sorted(OURS.glob("*.jpg")),
    *(SKLEARN / name for name in ("china.jpg", "flower.jpg")),
    *(SKIMAGE / name for name in (*SKIMAGE_NAMES, "coins.png", "cell.png", "logo.png", "horse.png")),
]
GEOMETRIES_PER_SEED = 300


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> ReadingHooks:
    return ReadingHooks(build_reading_hooks(tmp_path_factory.mktemp("hooks")))


def noise(generator: np.random.Generator, width: int, height: int) -> NDArray[np.uint8]:
    pixels = generator.integers(0, 256, size=(height, width, 3), dtype=np.uint8)
    # Black and white make the filter overshoot most.
    return pixels if generator.random() < 0.7 else np.where(pixels < 128, 0, 255).astype(np.uint8)


def random_size(choice: random.Random) -> tuple[int, int]:
    kind = choice.random()
    if kind < 0.6:
        return choice.randint(1, 160), choice.randint(1, 160)
    if kind < 0.7:
        return choice.randint(150, 900), choice.randint(150, 900)
    long, short = choice.randint(1, 2500), choice.randint(1, 12)
    return (long, short) if kind < 0.85 else (short, long)


def random_contract(choice: random.Random) -> Preprocessing:
    shorter = choice.choice((1, 2, 7, choice.randint(1, 64), choice.randint(1, 64), choice.randint(64, 256)))
    return Preprocessing(
        image_size=choice.choice((shorter, choice.randint(1, shorter))),
        resize_shorter_side=shorter,
        crop_rounding=choice.choice(list(CropRounding)),
        mean=(choice.random(), choice.random(), choice.random()),
        std=(choice.uniform(0.01, 1), choice.uniform(0.01, 1), choice.uniform(0.01, 1)),
    )


@pytest.mark.parametrize("seed", range(8))
def test_every_byte_equals_pillow_on_random_geometries(hooks: ReadingHooks, seed: int) -> None:
    choice, generator = random.Random(seed), np.random.default_rng(seed)
    compared = 0
    while compared < GEOMETRIES_PER_SEED:
        (width, height), contract = random_size(choice), random_contract(choice)
        resized_width, resized_height = contract.resized_size(width, height)
        if resized_width * resized_height > 2_000_000:
            continue  # the reference resizes all of it, which takes seconds
        pixels, case = noise(generator, width, height), f"{width} x {height}, {contract}"
        window = resize_and_crop(Image.fromarray(pixels), contract)
        resizer = hooks.resizer(contract)
        assert np.array_equal(resizer.resize(pixels), window), case
        assert np.array_equal(resizer.normalize(window), normalize(window, contract)), case
        compared += 1


@pytest.mark.parametrize("size", [(224, 224), (256, 256), (1000, 1500), (1500, 1000), (4000, 300), (300, 900), (3, 5)])
@pytest.mark.parametrize("origin", ["official", "timm", "transformers"])
def test_every_byte_equals_pillow_at_real_sizes(hooks: ReadingHooks, origin: str, size: tuple[int, int]) -> None:
    contract, pixels = preprocessing_for(origin, 224), noise(np.random.default_rng(1), *size)
    expected = resize_and_crop(Image.fromarray(pixels), contract)
    np.testing.assert_array_equal(hooks.resizer(contract).resize(pixels), expected)


def test_stride_and_bgr_reach_the_same_pixels(hooks: ReadingHooks) -> None:
    contract = preprocessing_for("official", 32)
    frame = noise(np.random.default_rng(2), 90, 61)
    resizer = hooks.resizer(contract)
    expected = resizer.resize(frame)
    padded = np.zeros((61, 97, 3), np.uint8)
    padded[:, :90] = frame[:, :, ::-1]
    view = np.lib.stride_tricks.as_strided(padded, (61, 90, 3), padded.strides)
    np.testing.assert_array_equal(resizer.resize(view, stride=97 * 3, bgr=True), expected)


@pytest.mark.parametrize("portable", [False, True], ids=["this CPU", "any CPU"])
@pytest.mark.parametrize("seed", range(3))
def test_the_rows_of_every_cpu_equal_pillow(hooks: ReadingHooks, portable: bool, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for _ in range(150):
        width, resized = (int(generator.integers(1, limit)) for limit in (1500, 400))
        if width == resized:
            continue
        row = noise(generator, width, 1)
        found = np.empty((1, resized, 3), np.uint8)
        hooks.library.hook_resample_row(
            ctypes.c_void_p(row.ctypes.data), width, resized, int(portable), ctypes.c_void_p(found.ctypes.data)
        )
        expected = Image.fromarray(row).resize((resized, 1), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(found, np.asarray(expected), err_msg=f"{width} to {resized}")


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (2, 1_000_000)])
def test_elongated_images_are_refused_in_both(hooks: ReadingHooks, size: tuple[int, int]) -> None:
    contract = Preprocessing(image_size=224, resize_shorter_side=1200)
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    with pytest.raises(ImageError, match="too elongated"):
        resize_and_crop(Image.fromarray(pixels), contract)
    with pytest.raises(RefusedError, match="too elongated"):
        hooks.resizer(contract).resize(pixels)


@pytest.mark.parametrize("path", REAL_IMAGES, ids=lambda path: path.name)
def test_real_images_are_equal_from_the_file_to_the_network(hooks: ReadingHooks, path: Path) -> None:
    contract = preprocessing_for("official", 224)
    image = decode_image(path, apply_exif_orientation=False)
    decoded = hooks.decode(path.read_bytes())
    np.testing.assert_array_equal(decoded, np.asarray(image))
    np.testing.assert_array_equal(hooks.resizer(contract).resize(decoded), resize_and_crop(image, contract))


def gradient(mode: str, width: int, height: int) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    rows, columns = np.mgrid[:height, :width]
    pixels = (rows[..., None] * 7 + columns[..., None] * 5 + np.arange(bands) * 60) % 256
    return Image.fromarray(np.squeeze(pixels.astype(np.uint8), -1) if bands == 1 else pixels.astype(np.uint8), mode)


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def assert_same(hooks: ReadingHooks, data: bytes, *, apply: bool = False) -> None:
    expected = np.asarray(decode_image(data, apply_exif_orientation=apply))
    np.testing.assert_array_equal(hooks.decode(data, apply_exif_orientation=apply), expected)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr"])
@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2, "quality": 30}],
    ids=str,
)
@pytest.mark.parametrize("size", [(1, 1), (17, 23), (64, 48)])
def test_jpegs_are_equal(hooks: ReadingHooks, mode: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    assert_same(hooks, encoded(gradient(mode, *size), "JPEG", **options))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (13, 9), (64, 33)])
def test_pngs_are_equal(hooks: ReadingHooks, mode: str, size: tuple[int, int]) -> None:
    if mode == "I;16":
        image = Image.fromarray((np.arange(size[0] * size[1], dtype=np.uint16) * 997).reshape(size[::-1]))
    elif mode in ("1", "P"):
        image = gradient("L", *size).convert(mode)
    else:
        image = gradient(mode, *size)
    assert_same(hooks, encoded(image, "PNG"))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation_is_equal(hooks: ReadingHooks, file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a maker's name, which does not fit into the entry"
    data = encoded(gradient("RGB", 37, 50), file_format, exif=exif)
    for apply in (False, True):
        assert_same(hooks, data, apply=apply)


def test_animated_png_gives_its_first_frame(hooks: ReadingHooks) -> None:
    frames = [gradient("RGB", 9, 7), Image.new("RGB", (9, 7), (1, 2, 3))]
    assert_same(hooks, encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]))


@pytest.mark.parametrize("file_format", ["WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_formats_that_only_python_reads_are_refused_by_name(hooks: ReadingHooks, file_format: str) -> None:
    with pytest.raises(RefusedError, match=f"{file_format} images are not read by this runtime") as caught:
        hooks.decode(encoded(gradient("RGB", 8, 8), file_format))
    assert caught.value.status == ImageError.exit_code


def verdicts(hooks: ReadingHooks, data: bytes) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None]:
    """What Python and what C++ decode; None where one refuses."""
    python = cpp = None
    with contextlib.suppress(ImageError):
        python = np.asarray(decode_image(data, apply_exif_orientation=True))
    with contextlib.suppress(RefusedError):
        cpp = hooks.decode(data, apply_exif_orientation=True)
    return python, cpp


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_are_refused_or_decoded_alike(hooks: ReadingHooks, seed: int) -> None:
    choice = random.Random(seed)
    originals = [encoded(gradient(mode, 19, 14), "JPEG") for mode in ("L", "RGB", "CMYK")]
    originals += [encoded(gradient("RGB", 19, 14), "JPEG", progressive=True)]
    originals += [encoded(gradient(mode, 19, 14), "PNG") for mode in ("L", "LA", "RGB", "RGBA")]
    alike = 0
    for _ in range(400):
        data = bytearray(choice.choice(originals))
        for _ in range(choice.choice((1, 1, 2))):
            data[choice.randrange(len(data))] = choice.randrange(256)
        if choice.random() < 0.3:
            del data[choice.randrange(len(data)) :]
        python, cpp = verdicts(hooks, bytes(data))
        # A few files that lack rows, or are cut in surplus data, are taken by one of them only. Where coefficients of a
        # progressive JPEG are lost, releases of libjpeg-turbo smooth over them differently, by up to 3 levels.
        alike += (python is None) == (cpp is None)
        if python is not None and cpp is not None:
            lost = np.abs(python.astype(int) - cpp).max() if python.shape == cpp.shape else 256
            assert lost <= (4 if b"\xff\xc2" in data else 0)
    assert alike >= 396


def test_contract_out_of_range_is_refused(hooks: ReadingHooks) -> None:
    contract = preprocessing_for("official", 224)
    hooks.resizer(replace(contract, resize_shorter_side=8192))
    with pytest.raises(RefusedError, match="std"):
        hooks.resizer(_unchecked(contract, std=(0.0, 0.5, 0.5)))


def _unchecked(contract: Preprocessing, **changes: Any) -> Preprocessing:
    copy = replace(contract)
    for name, value in changes.items():
        object.__setattr__(copy, name, value)
    return copy
