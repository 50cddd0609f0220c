"""What tests of integers start from: a layer on its own, and images to calibrate with."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

PHOTOGRAPHS = Path(str(resources.files("levit_deploy"))) / "data" / "photographs"


def linear_graph(weight: NDArray[np.float32]) -> onnx.ModelProto:
    """images (1, 1, 1, K) times `weight` (K, N), as a layer of a stage."""
    rows, columns = weight.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["images", "w"], ["logits"], name="stages.0.layer/MatMul")],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 1, 1, rows])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 1, 1, columns])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
