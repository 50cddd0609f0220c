"""The arithmetic of a precision: how finely its values are kept, and how finely its sums are added up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """`deviation` is that of one rounding of a weight or a result, as a share of it; `accumulation` that within a sum.

    Rounding to nearest is off by at most the unit roundoff, evenly spread, which is a deviation of 1 / sqrt(3) of it
    at most. In float32 a whole unit roundoff is allowed. Half precisions are multiplied exactly and added up in
    float32, as tensor cores and the engines for CPUs do.
    """

    deviation: float
    accumulation: float


FLOAT32_UNIT_ROUNDOFF, FLOAT16_UNIT_ROUNDOFF, BFLOAT16_UNIT_ROUNDOFF = 2.0**-24, 2.0**-11, 2.0**-8
FP32 = Arithmetic(deviation=FLOAT32_UNIT_ROUNDOFF, accumulation=FLOAT32_UNIT_ROUNDOFF)
FP16 = Arithmetic(deviation=FLOAT16_UNIT_ROUNDOFF / math.sqrt(3), accumulation=FLOAT32_UNIT_ROUNDOFF)
BF16 = Arithmetic(deviation=BFLOAT16_UNIT_ROUNDOFF / math.sqrt(3), accumulation=FLOAT32_UNIT_ROUNDOFF)
ARITHMETICS: Mapping[str, Arithmetic] = MappingProxyType({"fp32": FP32, "fp16": FP16, "bf16": BF16})
"""By the name of the precision."""
