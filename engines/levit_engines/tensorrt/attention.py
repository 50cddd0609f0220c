"""Whether attention runs as one kernel: said where it is known, and where it is not, that."""

from __future__ import annotations

from typing import Any

import onnx

from levit_deploy.architectures import DOWNSAMPLE_VALUE_RATIO, VALUE_RATIO, LevitConfig

HALF_PRECISIONS = ("fp16", "bf16")


def describe_attention(model: onnx.ModelProto, config: LevitConfig, precision: str) -> dict[str, Any]:
    """Whether TensorRT fuses the attention of `model`, once it was built: `fused` is True, False or None (unknown).

    An operator `Attention` cannot be taken apart by TensorRT, so that the build fails unless a fused kernel takes it;
    that is said by NVIDIA and needs no GPU. Spelled out, attention is fused only where queries, keys and values have
    heads of one size, in fp16 or bf16; whether it really was, only an inspector on a GPU can say.
    """
    count = sum(node.op_type == "Attention" and node.domain in ("", "ai.onnx") for node in model.graph.node)
    if count:
        return {"fused": True, "count": count, "reason": "the build fails unless every operator Attention is fused"}
    key_dim = config.key_dim
    sizes = (
        f"queries and keys have {key_dim} values a head, values {VALUE_RATIO * key_dim} "
        f"and {DOWNSAMPLE_VALUE_RATIO * key_dim}"
    )
    if precision not in HALF_PRECISIONS:
        reason = f"{sizes}; TensorRT fuses only equal sizes, and not in {precision}"
        return {"fused": False, "count": 0, "reason": reason}
    return {
        "fused": None,
        "count": 0,
        "reason": f"attention is spelled out, and TensorRT fuses only equal sizes: in the network {sizes}",
    }
