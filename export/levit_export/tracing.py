"""From a form of the fused network to a clean ONNX graph, with torch.export underneath."""

from __future__ import annotations

import warnings

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass
from torch import Tensor, nn

from levit_deploy.errors import ExportError
from levit_deploy.manifest import BatchSizes
from levit_deploy.preprocessing import Preprocessing
from levit_export.naming import BATCH_AXIS, INPUT_NAME, LOGITS_NAME, TOP_K_NAMES
from levit_export.passes.names import NameByModulePath
from levit_export.passes.promises import require_promises
from levit_export.passes.records import RemoveExporterRecords

WRAPPED = "network"


class DeployedNetwork(nn.Module):
    """What the ONNX graph computes: a network, with pixels normalised before it and the best classes after it.

    Takes normalised images (B, 3, S, S) float32 or, when `pixels` is given, RGB pixels (B, S, S, 3) uint8.
    Returns logits (B, K) and, when `top_k` is given, the probabilities and indices of the best `top_k` classes. All of
    these are float32 (indices int64); `dtype` is what `network` itself takes and gives.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        pixels: Preprocessing | None,
        top_k: int | None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype
        self.top_k = top_k
        self.preprocessing = PixelNormalization(pixels) if pixels else nn.Identity()

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        normalized = self.preprocessing(images)
        logits: Tensor = (
            self.network(normalized) if self.dtype == torch.float32 else self.network(normalized.to(self.dtype)).float()
        )
        if self.top_k is None:
            return logits
        probabilities, classes = logits.softmax(dim=1).topk(self.top_k, dim=1)
        return logits, probabilities, classes


class PixelNormalization(nn.Module):
    """RGB pixels (B, S, S, 3) uint8 -> (B, 3, S, S) float32, (v / 255 - mean) / std as one product and one sum."""

    scale: Tensor
    shift: Tensor

    def __init__(self, contract: Preprocessing) -> None:
        super().__init__()
        mean = torch.tensor(contract.mean, dtype=torch.float64)
        std = torch.tensor(contract.std, dtype=torch.float64)
        self.register_buffer("scale", (1 / (255 * std)).float().reshape(3, 1, 1))
        self.register_buffer("shift", (-mean / std).float().reshape(3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        # Cast first: TensorRT does not transpose uint8.
        channels_first = pixels.float().permute(0, 3, 1, 2)  # (B, S, S, 3) -> (B, 3, S, S)
        return channels_first * self.scale + self.shift


def trace(network: DeployedNetwork, images: Tensor, *, batch_sizes: BatchSizes, opset: int) -> onnx.ModelProto:
    """The ONNX graph of `network` for inputs like `images`, named by module path, its promises checked.

    With several batch sizes the batch axis of every input and output is called "batch". Raises ExportError.
    """
    network.eval()
    names = [LOGITS_NAME, *(TOP_K_NAMES if network.top_k is not None else ())]
    with warnings.catch_warnings():
        # torch.export of this version trips over a deprecation inside PyTorch itself.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        try:
            program = torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                opset_version=opset,
                input_names=[INPUT_NAME],
                output_names=names,
                dynamic_shapes=_dynamic_shapes(batch_sizes),
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ExportError(f"PyTorch cannot trace the network: {error}") from error
    assert program is not None
    model = finish(program.model)
    require_promises(model, static=not batch_sizes.dynamic)
    return model


def _dynamic_shapes(batch_sizes: BatchSizes) -> tuple[dict[int, torch.export.Dim]] | None:
    if not batch_sizes.dynamic:
        return None
    return ({0: torch.export.Dim(BATCH_AXIS, min=batch_sizes.minimum, max=batch_sizes.maximum)},)


def finish_serialized(model: onnx.ModelProto) -> onnx.ModelProto:
    """`finish` for a graph that comes from a file."""
    return finish(ir.serde.deserialize_model(model))


def finish(model: ir.Model) -> onnx.ModelProto:
    """Apply our passes to what an exporter or simplifier left, and serialise it."""
    ir.passes.Sequential(RemoveUnusedNodesPass(), NameByModulePath(root=WRAPPED), RemoveExporterRecords())(model)
    model.producer_name = "levit-deploy"
    model.producer_version = None
    model.graph.name = "levit"
    return ir.serde.serialize_model(model)
