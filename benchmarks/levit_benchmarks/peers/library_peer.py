"""A peer: somebody else's network, on an engine, as most people run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from levit_benchmarks.bench.record import Candidate
from levit_benchmarks.bench.subject import Order
from levit_benchmarks.peers.engines import Engine, OpenedEngine, Setting, engine_for
from levit_benchmarks.peers.prepared import Prepared, read_prepared, sha256_of_file
from levit_benchmarks.peers.reference import Reference
from levit_deploy.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

ENGINE = "engine"
"""The option that puts a peer's network on another engine than the one of its name."""


class Source(Protocol):
    """Where the network comes from. `build`, `load` and `fuse` need PyTorch; what opening needs without it, does not.

    `load` gives the unfused network with the weights that count, `build` one with any weights; `fuse` takes either.
    """

    @property
    def packages(self) -> tuple[str, ...]: ...

    @property
    def folds_before_export(self) -> bool: ...

    @property
    def weights(self) -> str: ...

    def network_of(self, order: Order) -> str: ...

    def image_size_of(self, order: Order) -> int: ...

    def build(self, order: Order) -> nn.Module: ...

    def load(self, order: Order, folder: Path) -> nn.Module: ...

    def fuse(self, network: nn.Module) -> nn.Module: ...

    def macs(self, order: Order, network: nn.Module) -> int: ...

    def reference(self, order: Order, folder: Path) -> Reference: ...


@dataclass(frozen=True, slots=True)
class PeerSubject:
    """A prepared peer, opened. `infer` owns nothing that the engine reuses."""

    _described: Candidate
    _engine: OpenedEngine
    _reference: Reference
    _batch: int

    def check(self) -> Candidate:
        """What is timed, found to compute what it should. Raises ParityError."""
        return replace(self._described, checked=self._reference.check(self._engine.infer, self._batch))

    def images(self) -> NDArray[np.float32]:
        """The batch that is timed."""
        return self._reference.photographs(self._batch)

    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits (B, K)."""
        return self._engine.infer(images)

    @property
    def side_by_side(self) -> bool:
        """Whether callers are served at the same time."""
        return self._engine.side_by_side

    def close(self) -> None:
        """Free what the engine took."""
        self._engine.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryPeer:
    """`source` on `engine`; the option "engine" of an order puts it on another one."""

    name: str
    source: Source
    engine: str = "onnxruntime"

    @property
    def packages(self) -> tuple[str, ...]:
        """Modules that must be importable."""
        return ("torch", *self.source.packages, *engine_for(self.engine).packages)

    def prepare(self, order: Order, folder: Path) -> None:
        """Export, or keep the weights, with all that opening needs."""
        engine = self._engine(order)
        folder.mkdir(parents=True, exist_ok=True)
        network = self.source.load(order, folder)
        macs = self.source.macs(order, network)
        if self.source.folds_before_export or not engine.exports:
            network = self.source.fuse(network)
        file = engine.write(network, self._setting(order), folder)
        details = {package: version(package) for package in ("torch", *self.source.packages)} | {
            "weights": self.source.weights,
            "batch normalisations": "as the library has them" if _has_normalisations(network) else "folded",
            "how": engine.description,
        }
        Prepared(
            settings=self._settings(order),
            macs=macs,
            file=file,
            sha256=sha256_of_file(folder / file),
            details=details,
        ).write(folder)

    def import_engine(self, order: Order) -> None:
        """Load what it runs on."""
        self._engine(order).import_library()

    def open_subject(self, order: Order) -> PeerSubject:
        """Open what `prepare` left in the order's folder."""
        if order.folder is None:
            raise ConfigError(f"{self.name}: the order names no folder; prepare the peer first")
        prepared, engine = read_prepared(order.folder, self._settings(order)), self._engine(order)
        reference = self.source.reference(order, order.folder)
        opened = engine.open(order.folder, self._setting(order))
        described = Candidate(
            name=order.name,
            network=self.source.network_of(order),
            engine=engine.name,
            engine_version=opened.version,
            precision="fp32",
            image_size=self.source.image_size_of(order),
            macs=prepared.macs,
            timed_sha256=prepared.sha256,
            checked="nothing yet",
            details={"peer": self.name, **prepared.details},
        )
        return PeerSubject(described, opened, reference, order.batch)

    def _engine(self, order: Order) -> Engine:
        return engine_for(order.options.get(ENGINE, self.engine))

    def _settings(self, order: Order) -> Mapping[str, str]:
        """What the prepared files depend on."""
        return {
            "peer": self.name,
            "engine": self._engine(order).name,
            "network": self.source.network_of(order),
            "batch": str(order.batch),
        }

    def _setting(self, order: Order) -> Setting:
        return Setting(
            batch=order.batch,
            image_size=self.source.image_size_of(order),
            threads=order.threads,
            build=lambda: self.source.fuse(self.source.build(order)),
        )


def _has_normalisations(network: nn.Module) -> bool:
    return any("BatchNorm" in type(module).__name__ for module in network.modules())
