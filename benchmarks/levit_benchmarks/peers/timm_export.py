"""timm's LeViT to ONNX, as timm's own `onnx_export` with the dynamo exporter does it.

Left out, all to timm's advantage: its forward pass before the export, its `onnx.checker` run after it, and its
dynamic batch (ours is static by default as well). Prints the seconds of its stages as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from levit_benchmarks.peers.compatibility import make_torchvision_importable
from levit_deploy.architectures import config_for


def main() -> None:
    """Export the variant and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="384")
    parser.add_argument("output", type=Path, metavar="OUTPUT.onnx")
    options = parser.parse_args()
    config = config_for(options.arch)
    make_torchvision_importable()
    import timm

    started_s = time.perf_counter()
    model = timm.create_model(f"levit_{config.arch.lower()}", pretrained=False, exportable=True).eval()
    loaded_s = time.perf_counter()
    torch.onnx.export(
        model,
        (torch.randn(1, 3, config.image_size, config.image_size),),
        options.output,
        input_names=["input0"],
        output_names=["output0"],
        verbose=False,
        external_data=False,  # timm's choice for anything below 2 GB
        dynamo=True,
    )
    seconds = {"load": loaded_s - started_s, "trace": time.perf_counter() - loaded_s}
    print(json.dumps({"stages": [{"name": name, "seconds": value} for name, value in seconds.items()]}))


if __name__ == "__main__":
    main()
