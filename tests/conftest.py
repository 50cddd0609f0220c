"""Make torchvision importable beside a CPU build of torch; all tests that compare with timm need it.

The torchvision of PyPI is built for the CUDA torch. Beside a CPU torch its compiled operators are missing, so
`import torchvision` (which `import timm` does) stops at `torchvision::nms`. No test uses these operators, so
declaring them without an implementation is enough. Where the two builds match, nothing is done.
"""

import importlib.util

import torch

pytest_plugins = ["fixtures_bundle"]

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_DECLARATIONS: list[torch.library.Library] = []  # a library lives as long as its object


def _declare_missing_operators() -> None:
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(operator + _SIGNATURE)
        _DECLARATIONS.append(library)


_declare_missing_operators()

# Two test processes share two cores: threads that wait for each other's cores are several times slower than one.
torch.set_num_threads(1)
