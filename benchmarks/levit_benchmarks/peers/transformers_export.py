"""The LeViT of transformers to ONNX with `torch.onnx.export`; transformers 5 has no exporter of its own.

Prints the seconds of its stages as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from levit_benchmarks.peers.compatibility import make_torchvision_importable
from levit_benchmarks.peers.levit import build_transformers
from levit_deploy.architectures import config_for


def main() -> None:
    """Export the variant and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="384")
    parser.add_argument("output", type=Path, metavar="OUTPUT.onnx")
    options = parser.parse_args()
    config = config_for(options.arch)
    make_torchvision_importable()
    from transformers import LevitForImageClassificationWithTeacher  # noqa: F401 (loading begins after all imports)

    started_s = time.perf_counter()
    model = build_transformers(config)
    loaded_s = time.perf_counter()
    torch.onnx.export(
        model,
        (torch.randn(1, 3, config.image_size, config.image_size),),
        options.output,
        input_names=["pixel_values"],
        output_names=["logits", "cls_logits", "distillation_logits"],
        verbose=False,
        dynamo=True,
    )
    seconds = {"load": loaded_s - started_s, "trace": time.perf_counter() - loaded_s}
    print(json.dumps({"stages": [{"name": name, "seconds": value} for name, value in seconds.items()]}))


if __name__ == "__main__":
    main()
