"""Which batch sizes of a range are vouched for."""

from __future__ import annotations

from levit_deploy.manifest import BatchSizes

ALL_SIZES_UP_TO = 16


def sizes_to_verify(minimum: int, maximum: int) -> BatchSizes:
    """The batch sizes of a range that are vouched for: each of them will be run.

    All of them up to a range of 16; of a longer one both ends, the powers of two and their neighbours.
    """
    sizes = set(range(minimum, maximum + 1))
    if len(sizes) > ALL_SIZES_UP_TO:
        powers = [2**exponent for exponent in range(maximum.bit_length() + 1)]
        chosen = {minimum, maximum, *(power + step for power in powers for step in (-1, 0, 1))}
        sizes &= chosen
    return BatchSizes(minimum=minimum, maximum=maximum, verified=tuple(sorted(sizes)))
