"""The contract, and that our pixels are those of torchvision, timm and transformers, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
import sklearn
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from levit_deploy.errors import ImageError
from levit_deploy.preprocessing import (
    CropRounding,
    Preprocessing,
    decode_image,
    normalize,
    preprocess_file,
    preprocessing_for,
    resize_and_crop,
)

OFFICIAL = preprocessing_for("official", 224)
OURS = Path(__file__).parents[2] / "levit_deploy/data/photographs"
SKIMAGE = Path(skimage.__file__).parent / "data"
SKLEARN = Path(sklearn.__file__).parent / "datasets/images"
SKIMAGE_NAMES = (
    *("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg", "retina.jpg"),
    *("ihc.png", "camera.png", "coins.png"),
    "cell.png",  # grey and taller than wide
    "logo.png",  # has alpha
    "horse.png",  # one bit
)
REAL_IMAGES = [
    *sorted(OURS.glob("*.jpg")),
    *(SKLEARN / name for name in ("china.jpg", "flower.jpg")),
    *(SKIMAGE / name for name in SKIMAGE_NAMES),
]


def noise_image(width: int, height: int, seed: int = 0) -> Image.Image:
    generator = np.random.Generator(np.random.PCG64(seed))
    return Image.fromarray(generator.integers(0, 256, size=(height, width, 3), dtype=np.uint8))


def torchvision_input(image: Image.Image, contract: Preprocessing) -> NDArray[np.float32]:
    from torchvision import transforms

    pipeline = transforms.Compose(
        [
            transforms.Resize(
                contract.resize_shorter_side,
                interpolation=transforms.InterpolationMode.BICUBIC,
                antialias=True,
            ),
            transforms.CenterCrop(contract.image_size),
            transforms.ToTensor(),
            transforms.Normalize(contract.mean, contract.std),
        ]
    )
    return pipeline(image).numpy()


def network_input(image: Image.Image, contract: Preprocessing) -> NDArray[np.float32]:
    return normalize(resize_and_crop(image, contract), contract)


def one_call_pixels(image: Image.Image, contract: Preprocessing) -> NDArray[np.uint8]:
    """What Pillow's own two-pass resize gives, with the crop offset written out independently."""
    width, height = contract.resized_size(*image.size)
    resized = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    left, top = (int(round((size - contract.image_size) / 2.0)) for size in (width, height))  # noqa: RUF046
    return resized[top : top + contract.image_size, left : left + contract.image_size]


def pillow_goes_vertical_first(image: Image.Image, contract: Preprocessing) -> bool:
    """The rule found in Pillow 13 (CPP.md, 0.2)."""
    width, height = contract.resized_size(*image.size)
    saved_rows, saved_columns = image.height - height, image.width - width
    return saved_rows > 0 and saved_rows > 2 * saved_columns


@pytest.mark.parametrize("path", REAL_IMAGES, ids=lambda path: path.name)
def test_real_images_equal_torchvision_and_timm_bit_for_bit(path: Path) -> None:
    from timm.data import create_transform

    with Image.open(path) as opened:
        theirs = opened.convert("RGB")
    ours = decode_image(path, apply_exif_orientation=False)
    np.testing.assert_array_equal(network_input(ours, OFFICIAL), torchvision_input(theirs, OFFICIAL))

    transform = create_transform(
        input_size=(3, 224, 224), interpolation="bicubic", crop_pct=0.9, mean=OFFICIAL.mean, std=OFFICIAL.std
    )
    timm_contract = preprocessing_for("timm", 224)
    np.testing.assert_array_equal(network_input(ours, timm_contract), transform(theirs).numpy())
    np.testing.assert_array_equal(preprocess_file(path, timm_contract), resize_and_crop(ours, timm_contract))


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 160),
    height=st.integers(1, 160),
    side=st.integers(1, 48),
    margin=st.integers(0, 16),
)
def test_resize_and_crop_equals_torchvision_for_any_size(width: int, height: int, side: int, margin: int) -> None:
    contract = replace(OFFICIAL, image_size=side, resize_shorter_side=side + margin)
    image = noise_image(width, height)
    assume(not pillow_goes_vertical_first(image, contract))
    np.testing.assert_array_equal(network_input(image, contract), torchvision_input(image, contract))


@pytest.mark.parametrize(("width", "height"), [(300, 900), (257, 1031), (640, 1900)])
def test_tall_images_go_horizontally_first_whatever_pillow_does(width: int, height: int) -> None:
    image = noise_image(width, height)
    assert pillow_goes_vertical_first(image, OFFICIAL)
    resized_width, resized_height = OFFICIAL.resized_size(width, height)
    # The reference turns the image between the passes, so that each is horizontal and Pillow has no choice.
    columns = image.resize((resized_width, height), Image.Resampling.BICUBIC)
    turned = columns.transpose(Image.Transpose.TRANSPOSE).resize(
        (resized_height, resized_width), Image.Resampling.BICUBIC
    )
    reference = np.asarray(turned).swapaxes(0, 1)
    left, top = (int(round((size - 224) / 2.0)) for size in (resized_width, resized_height))  # noqa: RUF046
    pixels = resize_and_crop(image, OFFICIAL)
    np.testing.assert_array_equal(pixels, reference[top : top + 224, left : left + 224])

    if int(Image.__version__.split(".")[0]) >= 13:
        difference = np.abs(pixels.astype(int) - one_call_pixels(image, OFFICIAL).astype(int))
        assert difference.max() >= 1, "Pillow agrees here, so this test shows nothing"
    else:
        np.testing.assert_array_equal(pixels, one_call_pixels(image, OFFICIAL))


@pytest.mark.parametrize("size", [(257, 301), (301, 257), (500, 375), (375, 500), (224, 224), (256, 259)])
def test_transformers_contract_equals_its_pil_processor(size: tuple[int, int]) -> None:
    from transformers.models.levit.image_processing_pil_levit import LevitImageProcessorPil

    image, contract = noise_image(*size), preprocessing_for("transformers", 224)
    processor = LevitImageProcessorPil(do_rescale=False, do_normalize=False)
    theirs = np.asarray(processor(image, return_tensors="np")["pixel_values"][0])
    np.testing.assert_array_equal(resize_and_crop(image, contract).transpose(2, 0, 1), theirs)


def test_crop_rounding_moves_the_crop_by_one_pixel_where_the_rules_part() -> None:
    # 259 x 256 is not resized; 35 columns go: 17.5 rounds to the even 18, and down to 17.
    image = noise_image(259, 256)
    pixels = np.asarray(image)[16:240]
    half_even = resize_and_crop(image, OFFICIAL)
    floor = resize_and_crop(image, replace(OFFICIAL, crop_rounding=CropRounding.FLOOR))
    np.testing.assert_array_equal(half_even, pixels[:, 18:242])
    np.testing.assert_array_equal(floor, pixels[:, 17:241])
    assert (half_even != floor).any()


def test_small_images_are_enlarged_and_never_padded() -> None:
    pixels = resize_and_crop(Image.new("RGB", (3, 5), (10, 20, 30)), OFFICIAL)
    assert pixels.shape == (224, 224, 3)
    assert (pixels == [10, 20, 30]).all()


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (2, 1_000_000)])
def test_elongated_images_are_refused_before_memory_is_taken(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="too elongated"):
        resize_and_crop(Image.new("RGB", size), replace(OFFICIAL, resize_shorter_side=1024))


def test_elongated_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "line.png"
    Image.new("RGB", (1, 60_000)).save(path)
    with pytest.raises(ImageError, match=r"line\.png: 1 x 60000 pixels"):
        preprocess_file(path, replace(OFFICIAL, resize_shorter_side=1200))


def test_resize_and_crop_refuses_other_modes() -> None:
    with pytest.raises(ImageError, match="mode L"):
        resize_and_crop(Image.new("L", (300, 300)), OFFICIAL)


def test_normalize_is_contiguous_and_takes_leading_axes() -> None:
    contract = replace(OFFICIAL, image_size=8, resize_shorter_side=8)
    pixels = np.arange(2 * 5 * 8 * 8 * 3, dtype=np.int64).astype(np.uint8).reshape(2, 5, 8, 8, 3)
    output = normalize(pixels, contract)
    assert output.shape == (2, 5, 3, 8, 8)
    assert output.dtype == np.float32
    assert output.flags.c_contiguous
    expected = (pixels / 255.0 - np.array(contract.mean)) / np.array(contract.std)
    np.testing.assert_allclose(output, np.moveaxis(expected, -1, -3), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((224, 224, 3), np.float32), np.zeros((3, 224, 224), np.uint8), np.zeros((224, 3), np.uint8)],
    ids=["float", "channels-first", "two-axes"],
)
def test_normalize_refuses_other_arrays(pixels: NDArray[Any]) -> None:
    with pytest.raises(ImageError, match="not uint8"):
        normalize(pixels, OFFICIAL)


def test_swapped_mean_and_std_are_caught() -> None:
    image = noise_image(300, 260)
    swapped = replace(OFFICIAL, mean=OFFICIAL.std, std=OFFICIAL.mean)
    backwards = replace(OFFICIAL, mean=OFFICIAL.mean[::-1], std=OFFICIAL.std[::-1])
    for wrong in (swapped, backwards):
        assert (network_input(image, wrong) != torchvision_input(image, OFFICIAL)).any()
