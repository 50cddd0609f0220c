"""torch.compile, finished before the first image comes: one program for every batch size that is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from levit_deploy.errors import EnvironmentIncompleteError, RunnerError
from levit_deploy.manifest import BatchSizes, TensorSpecification
from levit_deploy.messages import short_message

if TYPE_CHECKING:
    from torch import Tensor, nn

# What PyTorch raises when it finds no compiler, or when that cannot build its programs.
_COMPILER_ERRORS = ("InvalidCxxCompiler", "CppCompileError")


def compile_network(
    network: nn.Module, specification: TensorSpecification, sizes: BatchSizes, call: Callable[[Any, Tensor], Tensor]
) -> Any:
    """`network` compiled for images like `specification`; `call` runs it as it will be run later.

    A batch of one is always a program of its own; all other sizes share one.

    Raises:
        EnvironmentIncompleteError: the C++ compiler is missing, or cannot build for Python here.
        RunnerError: PyTorch cannot compile the network.
    """
    import torch

    # Isolated, networks do not count against each other's limit of programs; mypy's view of PyTorch lacks the option.
    compiled = cast(Any, torch.compile)(network, fullgraph=True, isolate_recompiles=True)
    kind = torch.uint8 if specification.dtype == "uint8" else torch.float32
    sides = [side for side in specification.shape[1:] if isinstance(side, int)]
    several = max(2, sizes.minimum)
    try:
        if sizes.minimum == 1:
            call(compiled, torch.zeros(1, *sides, dtype=kind))
        if sizes.maximum >= several:
            images = torch.zeros(sizes.maximum, *sides, dtype=kind)
            if sizes.maximum > several:
                torch._dynamo.mark_dynamic(images, 0, min=several, max=sizes.maximum)
            call(compiled, images)
    except Exception as error:  # compilers raise whatever they meet
        raise refusal(error) from error
    return compiled


def refusal(error: BaseException) -> EnvironmentIncompleteError | RunnerError:
    """Our error for one that torch.compile raised: a missing compiler is told from a network it cannot compile."""
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ in _COMPILER_ERRORS:
            return EnvironmentIncompleteError(
                f"torch.compile needs a C++ compiler and Python's headers ({short_message(cause)}): install them "
                "(packages g++ and python3-dev of the system), or name a compiler in the variable CXX"
            )
        cause = cause.__cause__ or cause.__context__  # PyTorch raises its own error in place of the compiler's
    return RunnerError(f"torch.compile failed: {short_message(error)}")
