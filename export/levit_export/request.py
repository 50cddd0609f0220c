"""What an export can be asked for, checked before any work is done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from levit_deploy.architectures import config_for
from levit_deploy.errors import ConfigError

MAX_SEED = 2**63 - 1
OPSETS = range(18, 24)
DEFAULT_OPSET, ATTENTION_OPSET, BFLOAT16_OPSET = 18, 23, 22
"""The opset where nothing asks for another; the first with an operator Attention; the first with all of LeViT's
operators in bfloat16."""


class Target(str, Enum):
    """The kind of hardware whose fastest graph form is exported."""

    CPU = "cpu"
    GPU = "gpu"


class Form(str, Enum):
    """The graph form: the same fused network, written as one kind of engine runs it fastest."""

    CONVOLUTIONS = "convolutions"
    TOKENS = "tokens"
    PACKED = "packed"


class Precision(str, Enum):
    """The precision of weights and arithmetic in the graph."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"


class Calibration(str, Enum):
    """How the range of a quantised value follows from the values that flowed."""

    MIN_MAX = "minmax"
    PERCENTILE = "percentile"
    ENTROPY = "entropy"
    SQUARED_ERROR = "mse"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """One export. Weights come from `checkpoint`, the official file (`pretrained`), or `seed` (untrained).

    `batch` is the range of batch sizes that the graph takes; both ends are equal for a static batch. `image_size`
    is the side of the input in pixels. `calibration` is a folder of real images, which int8 needs; it keeps the fewest
    layers in float32 with which those images lose no more than `min_sqnr_db` and `max_flips` allow. `opset` defaults to
    the lowest that has all that the precision and target use, `output` to `./levit-<arch>-<precision>`.
    Raises ConfigError on options that contradict each other.
    """

    arch: str | None = None
    checkpoint: Path | None = None
    pretrained: bool = False
    target: Target = Target.CPU
    precision: Precision = Precision.FP32
    calibration: Path | None = None
    calibration_method: Calibration = Calibration.MIN_MAX
    min_sqnr_db: float | None = None
    max_flips: float | None = None
    batch: tuple[int, int] = (1, 1)
    image_size: int | None = None
    opset: int | None = None
    uint8_input: bool = False
    top_k: int | None = None
    simplify: bool = True
    seed: int = 0
    labels: Path | None = None
    apply_exif_orientation: bool = False
    output: Path | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.checkpoint is not None and self.pretrained:
            raise ConfigError("--checkpoint and --pretrained both name the weights: give one of them")
        if self.checkpoint is None and self.arch is None:
            raise ConfigError("nothing to export: give --arch, or --checkpoint FILE")
        if self.arch is not None:
            config_for(self.arch, **self.changes)
        if not 1 <= self.batch[0] <= self.batch[1]:
            raise ConfigError(f"batch sizes {self.batch[0]}:{self.batch[1]}: expected 1 <= MIN <= MAX")
        if self.opset_version not in OPSETS:
            raise ConfigError(f"--opset {self.opset}: supported are {OPSETS[0]} to {OPSETS[-1]}")
        if self.precision is Precision.BF16 and self.opset_version < BFLOAT16_OPSET:
            raise ConfigError(f"--opset {self.opset}: bf16 needs {BFLOAT16_OPSET} or more")
        self._check_calibration()
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"--top-k {self.top_k}: must be at least 1")
        if not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(f"--seed {self.seed}: must be from 0 to {MAX_SEED}")

    def _check_calibration(self) -> None:
        if self.precision is not Precision.INT8:
            if self.calibration is not None:
                raise ConfigError(f"--calibration: only int8 has ranges to calibrate, not {self.precision.value}")
            if self.min_sqnr_db is not None or self.max_flips is not None:
                raise ConfigError(f"--min-sqnr-db and --max-flips: a budget is for int8, not {self.precision.value}")
            return
        if self.calibration is None:
            raise ConfigError(
                "int8 needs --calibration DIR with images of the kind that the network will see, some hundreds of "
                "them: the ranges of random input say nothing about theirs, and the accuracy would be lost unnoticed"
            )

    @property
    def float_precision(self) -> Precision:
        """The precision of what is not integers."""
        if self.precision is not Precision.INT8:
            return self.precision
        return Precision.FP16 if self.target is Target.GPU else Precision.FP32

    @property
    def opset_version(self) -> int:
        """The opset asked for, or the lowest that the precision and target make use of."""
        if self.opset is not None:
            return self.opset
        if self.float_precision is Precision.FP32:
            return DEFAULT_OPSET
        if self.target is Target.GPU:
            return ATTENTION_OPSET
        return BFLOAT16_OPSET if self.precision is Precision.BF16 else DEFAULT_OPSET

    @property
    def changes(self) -> dict[str, int]:
        """The fields of the published variant that are asked to be different."""
        return {} if self.image_size is None else {"image_size": self.image_size}


def form_of(request: ExportRequest) -> Form:
    """The form that is fastest for what is asked for; figures: docs/design/graph-forms.md."""
    if request.target is Target.CPU:
        return Form.TOKENS if request.precision is Precision.INT8 else Form.CONVOLUTIONS
    # No engine fuses attention in float32, so that rows of zeros would only cost there.
    return Form.TOKENS if request.precision is Precision.FP32 else Form.PACKED
