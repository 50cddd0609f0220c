"""Record what flows inside the eager network, probe by probe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from levit_deploy.model import Attention, DownsampleAttention, Levit
from levit_deploy.probes import INPUT_PATH, ROOT_PATH, Probe, Role, probes_of, sample
from levit_deploy.rounding import Noise

# What the first call of an operation in an attention takes and gives; what a module takes and returns is seen by
# hooks. A value is taken where it is read, so that code that forgets to compute it is found out.
ROLE_OF_OPERAND = MappingProxyType({"softmax": Role.BIASED_SCORES})
ROLE_OF_RESULT = MappingProxyType({"matmul": Role.SCORES, "softmax": Role.WEIGHTS})
ROLE_OF_INPUT = MappingProxyType(
    {
        "stages": Role.TOKENS,
        "query": Role.PICKED_TOKENS,
        "activation": Role.MIXED_VALUES,
        "mlp": Role.ATTENTION_SUM,
        "head": Role.POOLED,
    }
)


@torch.no_grad()
def record(model: Levit, images: Tensor, *, noise: Noise | None = None) -> dict[str, NDArray[np.float64]]:
    """Sampled values (B, samples) of every probe while `model`, fused or not, sees `images` (B, 3, S, S).

    A value that the code of `model` does not compute is left out. With `noise`, the values of a run that it disturbs.
    """
    recorder = _Recorder(model)
    with recorder.hooked(), noise.over(model) if noise else nullcontext(), recorder:
        logits = model(images)
    flowed = {Probe(INPUT_PATH): images, **recorder.values, Probe("head"): logits}
    return {probe.name: _sampled(flowed[probe], probe, model) for probe in probes_of(model.config) if probe in flowed}


def _sampled(value: Tensor, probe: Probe, model: Levit) -> NDArray[np.float64]:
    scale = _query_scale(model, probe)
    sampled = sample(value if scale is None else value * scale.to(value), probe)
    array: NDArray[np.float64] = sampled.double().numpy()
    return array


def _query_scale(model: Levit, probe: Probe) -> Tensor | None:
    """What an unfused layer of queries lacks of a fused one: a factor for each output, (C,).

    It is the right one: where an attention has another, the scores are wrong, not the layer.
    """
    parent, _, name = probe.path.rpartition(".")
    attention = model.get_submodule(parent) if name in ("qkv", "query") else None
    if isinstance(attention, Attention):
        scale = torch.ones(attention.heads, 2 * attention.key_dim + attention.value_dim, dtype=torch.float64)
        scale[:, : attention.key_dim] = attention.key_dim**-0.5
        return scale.flatten()
    if isinstance(attention, DownsampleAttention) and name == "query":
        return torch.full((attention.heads * attention.key_dim,), attention.key_dim**-0.5, dtype=torch.float64)
    return None


class _Recorder(TorchFunctionMode):
    """Follows which module runs, by hooks, and sees every operation that runs in it.

    Keeps whole tensors until the run is over: whatever it computed meanwhile would be recorded and disturbed too.
    """

    def __init__(self, model: Levit) -> None:
        super().__init__()
        self.values: dict[Probe, Tensor] = {}
        self._model = model
        self._running: list[str] = []

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        path, name = self._running[-1], func.__name__
        if path.endswith(".attention"):
            if name in ROLE_OF_OPERAND:
                self.values.setdefault(Probe(path, ROLE_OF_OPERAND[name]), args[0])
            if name in ROLE_OF_RESULT:
                self.values.setdefault(Probe(path, ROLE_OF_RESULT[name]), result)
        return result

    @contextmanager
    def hooked(self) -> Iterator[None]:
        with ExitStack() as stack:
            for path, module in self._model.named_modules():
                for handle in (
                    module.register_forward_pre_hook(self._entering(path)),
                    module.register_forward_hook(self._leaving(path)),
                ):
                    stack.callback(handle.remove)
            yield

    def _entering(self, path: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        parent, _, name = path.rpartition(".")
        role = ROLE_OF_INPUT.get(name)

        def hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            self._running.append(path)
            if role is not None:
                self.values[Probe(parent or ROOT_PATH, role)] = arguments[0]

        return hook

    def _leaving(self, path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_module: nn.Module, _arguments: tuple[Tensor, ...], result: Tensor) -> None:
            self._running.pop()
            self.values[Probe(path)] = result

        return hook
