"""What a verification can be asked for, checked before any work is done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from levit_deploy.errors import ConfigError

DEFAULT_PHOTOGRAPHS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """One verification of a bundle.

    Without weights the truth is what the bundle carries. `checkpoint`, `pretrained` (the official file) or `untrained`
    (drawn again from the bundle's seed) start from the weights instead; then the photographs may come from the folder
    `images`, of which `photographs` are taken. `engines` None means those that can run here. Raises ConfigError on
    options that contradict each other.
    """

    checkpoint: Path | None = None
    pretrained: bool = False
    untrained: bool = False
    images: Path | None = None
    photographs: int = DEFAULT_PHOTOGRAPHS
    engines: tuple[str, ...] | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if (self.checkpoint is not None) + self.pretrained + self.untrained > 1:
            raise ConfigError("--checkpoint, --pretrained and --untrained all name the weights: give one of them")
        if self.images is not None and not self.from_weights:
            raise ConfigError(
                "--images: the bundle knows the truth for its own images only; give the weights as well "
                "(--checkpoint FILE, --pretrained or --untrained), so that it can be computed for yours"
            )
        if self.engines is not None and not self.engines:
            raise ConfigError("no engine to verify")

    @property
    def from_weights(self) -> bool:
        """Whether the truth is computed anew."""
        return self.checkpoint is not None or self.pretrained or self.untrained
