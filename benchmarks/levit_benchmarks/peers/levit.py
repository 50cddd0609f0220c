"""LeViT as timm and transformers have it, with the weights of the bundle it is measured against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from levit_benchmarks.bench.subject import Order
from levit_benchmarks.peers.compatibility import make_torchvision_importable
from levit_benchmarks.peers.reference import Reference, reference_of
from levit_deploy.architectures import LevitConfig
from levit_deploy.bundle import Bundle, open_bundle
from levit_deploy.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from torch import nn

    from levit_deploy.model import Levit

CHECKPOINT = "checkpoint"
"""The option that names the file with the bundle's weights; needed where they are not untrained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _LevitOfLibrary:
    """What both libraries have in common; their names are the packages that they need."""

    folds_before_export: ClassVar[bool] = False  # nobody exports them otherwise
    weights: ClassVar[str] = "those of the bundle"

    def network_of(self, order: Order) -> str:
        """Its name."""
        return f"LeViT-{_config(order).arch}"

    def image_size_of(self, order: Order) -> int:
        """Side of its images in pixels."""
        return _config(order).image_size

    def macs(self, order: Order, network: nn.Module) -> int:  # noqa: ARG002 (other networks have to be counted)
        """Multiply-accumulates of one image."""
        return _config(order).mac_count()

    def reference(self, order: Order, folder: Path) -> Reference:  # noqa: ARG002 (that of other networks is there)
        """What its logits must be."""
        return reference_of(bundle_of(order))


class TimmLevit(_LevitOfLibrary):
    """timm's LeViT in linear mode; what `fuse` does is timm's."""

    packages: ClassVar[tuple[str, ...]] = ("timm",)

    def build(self, order: Order) -> nn.Module:
        """The unfused network with timm's initial weights."""
        return build_timm(_config(order))

    def load(self, order: Order, folder: Path) -> nn.Module:  # noqa: ARG002
        """The unfused network with the weights of the bundle."""
        from levit_deploy.checkpoints import state_dict_for_timm

        network = self.build(order)
        network.load_state_dict(state_dict_for_timm(weights_of(order)))
        return network

    def fuse(self, network: nn.Module) -> nn.Module:
        """A copy in which each layer has its normalisation folded into it."""
        from timm.utils.model import reparameterize_model

        fused: nn.Module = reparameterize_model(network)
        return fused


class TransformersLevit(_LevitOfLibrary):
    """LevitForImageClassificationWithTeacher of transformers, which has no fused form."""

    packages: ClassVar[tuple[str, ...]] = ("transformers",)

    def build(self, order: Order) -> nn.Module:
        """The network with transformers' initial weights."""
        return build_transformers(_config(order))

    def load(self, order: Order, folder: Path) -> nn.Module:  # noqa: ARG002
        """The network with the weights of the bundle."""
        from levit_deploy.checkpoints.transformers_layout import TRANSFORMERS

        network, weights = self.build(order), weights_of(order).state_dict()
        keys = network.state_dict()
        names = TRANSFORMERS.names(keys)
        network.load_state_dict({key: weights[names[key]] for key in keys})
        return network

    def fuse(self, network: nn.Module) -> nn.Module:
        """`network` as it is."""
        return network


def build_timm(config: LevitConfig) -> nn.Module:
    """The network of `config` as timm has it, with its initial weights, in evaluation mode."""
    make_torchvision_importable()
    import timm

    network: nn.Module = timm.create_model(
        f"levit_{config.arch.lower()}", pretrained=False, num_classes=config.num_classes, img_size=config.image_size
    )
    return network.eval()


def build_transformers(config: LevitConfig) -> nn.Module:
    """The network of `config` as transformers has it, with its initial weights, in evaluation mode.

    Its configuration is built here: that of facebook/levit-384 cannot be loaded by transformers 5, whose
    `drop_path_rate` must be an int (and is of no use in inference).
    """
    make_torchvision_importable()
    from transformers import LevitConfig as LibraryConfig
    from transformers import LevitForImageClassificationWithTeacher

    library_config: Any = LibraryConfig(
        image_size=config.image_size,
        hidden_sizes=list(config.embed_dims),
        num_attention_heads=list(config.heads),
        depths=list(config.depths),
        key_dim=[config.key_dim] * len(config.depths),
        drop_path_rate=0,
    )
    library_config.num_labels = config.num_classes
    network: nn.Module = LevitForImageClassificationWithTeacher(library_config)
    return network.eval()


def bundle_of(order: Order) -> Bundle:
    """The bundle of `order`. Raises ConfigError where it names none."""
    if order.bundle is None:
        raise ConfigError(f"{order.peer} takes the weights of a bundle, but none is given")
    return open_bundle(order.bundle)


def weights_of(order: Order) -> Levit:
    """The unfused network that the bundle was made from: drawn again, or read from the checkpoint in the options.

    Raises:
        ConfigError: the bundle has real weights, and no checkpoint is given; or it has one head, and the libraries two.
        CheckpointError: the weights are not those of the bundle.
    """
    from levit_export.loading import UNTRAINED, load_weights
    from levit_export.request import ExportRequest

    bundle, checkpoint = bundle_of(order), order.options.get(CHECKPOINT)
    config, record = bundle.manifest.config, bundle.manifest.weights
    seed = record.get("seed")
    if checkpoint is None and (record.get("origin") != UNTRAINED or not isinstance(seed, int)):
        raise ConfigError(f"{bundle.path} has real weights: name their file with the option {CHECKPOINT}=FILE")
    loaded = load_weights(
        ExportRequest(
            arch=config.arch,
            checkpoint=None if checkpoint is None else Path(checkpoint),
            image_size=config.image_size,
            seed=seed if checkpoint is None and isinstance(seed, int) else 0,
        )
    )
    if loaded.record["state_sha256"] != record.get("state_sha256"):
        raise CheckpointError(f"{checkpoint or 'the untrained weights'}: not the weights that {bundle.path} has")
    if not config.distillation:
        raise ConfigError(f"{bundle.path} has one head, {order.peer} always has two")
    return loaded.model


def _config(order: Order) -> LevitConfig:
    return bundle_of(order).manifest.config
