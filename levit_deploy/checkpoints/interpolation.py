"""Carry attention biases over to another image size."""

from __future__ import annotations

from torch import Tensor, nn


def resize_bias_table(table: Tensor, resolution: int) -> Tensor:
    """Interpolate a bias table (heads, r²) to (heads, resolution²).

    Entry |dy|·r + |dx| belongs to the distance (|dy|, |dx|), so a row is an image of distances. No origin
    defines this; fine-tuning at the new size is advised.
    """
    heads, entries = table.shape
    before = round(entries**0.5)
    image = table.double().reshape(1, heads, before, before)  # (1, N, |dy|, |dx|)
    # Aligned corners: entry 0 is the distance of a token to itself and must stay that, and the largest
    # distance of the old grid becomes the largest of the new one. Pixel centres would shift both by a
    # fraction of a cell.
    resized = nn.functional.interpolate(image, size=(resolution, resolution), mode="bicubic", align_corners=True)
    return resized.reshape(heads, resolution**2).to(table.dtype)
