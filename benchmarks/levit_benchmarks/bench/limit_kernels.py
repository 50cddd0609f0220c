"""What a child of `limits` runs: one kernel, over and over, until its best call is found.

`python -m levit_benchmarks.bench.limit_kernels KERNEL THREADS` prints the best rate as JSON. A GEMM is M x K times
K x N, 2MKN operations. A copy counts each byte read and each byte written once.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from levit_deploy.onnxruntime_session import SessionSettings, open_session

# Two of LeViT's own layers, and squares, where libraries are at their best.
SHAPES = ((196, 384, 768), (1568, 384, 768), (384, 384, 384), (512, 512, 512), (1024, 1024, 1024), (1536, 1536, 1536))
# All pieces together are beyond any cache, and each comes back only after all others: its bytes come from memory.
# A call copies one, as short calls are seldom interrupted.
PIECES, PIECE_BYTES = 16, 16 << 20
SECONDS = 1.5  # for all work of a kernel together
LEAST_CALLS = 3

Work = tuple[str, float, Callable[[], object]]
"""What a call does, for a reader; its operations or bytes; the call."""


def numpy_fp32(threads: int) -> Iterator[Work]:  # noqa: ARG001 (the environment tells the library)
    """The BLAS of NumPy."""
    for rows, inner, columns in SHAPES:
        left, right = np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32)
        product = np.empty((rows, columns), np.float32)

        def call(left: Any = left, right: Any = right, product: Any = product) -> object:
            return np.matmul(left, right, out=product)

        yield _name(rows, inner, columns), 2.0 * rows * inner * columns, call


def onnxruntime_fp32(threads: int) -> Iterator[Work]:
    """MatMul of ONNX Runtime, the right factor packed beforehand, as weights are."""
    return _onnxruntime("MatMul", ("float32", "float32", "float32"), threads)


def onnxruntime_int8(threads: int) -> Iterator[Work]:
    """MatMulInteger of ONNX Runtime, uint8 times int8 to int32."""
    return _onnxruntime("MatMulInteger", ("uint8", "int8", "int32"), threads)


def copy(threads: int) -> Iterator[Work]:
    """NumPy's copy from one array to another, in equal parts by all threads."""
    source = np.ones((PIECES, PIECE_BYTES // 8))
    target = np.zeros_like(source)
    pieces = itertools.cycle(
        list(zip(np.array_split(to, threads), np.array_split(of, threads), strict=True))
        for to, of in zip(target, source, strict=True)
    )
    pool = ThreadPoolExecutor(threads)

    def call() -> object:
        return list(pool.map(_copy_part, next(pieces)))

    yield f"{PIECE_BYTES >> 20} MiB at a time of {PIECES * PIECE_BYTES >> 20} MiB", 2.0 * PIECE_BYTES, call


def _copy_part(part: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
    target, source = part
    np.copyto(target, source)


KERNELS: Mapping[str, Callable[[int], Iterator[Work]]] = MappingProxyType(
    {
        "numpy-fp32": numpy_fp32,
        "onnxruntime-fp32": onnxruntime_fp32,
        "onnxruntime-int8": onnxruntime_int8,
        "copy": copy,
    }
)


def best_of(kernel: str, threads: int) -> dict[str, Any]:
    """The highest rate of any single call, of which work, of how many calls, and how many CPUs they kept busy."""
    works = list(KERNELS[kernel](threads))
    best, calls = (0.0, ""), 0
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    for name, amount, call in works:
        until_s, fewest = time.perf_counter() + SECONDS / len(works), calls + LEAST_CALLS
        while time.perf_counter() < until_s or calls < fewest:
            before_s = time.perf_counter()
            call()
            best = max(best, (amount / (time.perf_counter() - before_s), name))
            calls += 1
    busy_cpus = (time.process_time() - started_cpu_s) / (time.perf_counter() - started_s)
    return {"rate": best[0], "work": best[1], "calls": calls, "busy_cpus": busy_cpus}


def _onnxruntime(operator: str, kinds: tuple[str, str, str], threads: int) -> Iterator[Work]:
    """`kinds` are the types of the left and the right factor, and of the product."""
    for rows, inner, columns in SHAPES:
        graph = _graph(operator, (rows, inner, columns), kinds)
        session = open_session(graph, SessionSettings(threads=threads))
        left: NDArray[Any] = np.ones((rows, inner), kinds[0])

        def call(session: Any = session, left: NDArray[Any] = left) -> object:
            return session.run(None, {"left": left})

        yield _name(rows, inner, columns), 2.0 * rows * inner * columns, call


def _graph(operator: str, shape: tuple[int, int, int], kinds: tuple[str, str, str]) -> bytes:
    rows, inner, columns = shape
    left, right, product = (np.dtype(kind) for kind in kinds)
    graph = helper.make_graph(
        [helper.make_node(operator, ["left", "right"], ["product"])],
        "peak",
        [helper.make_tensor_value_info("left", helper.np_dtype_to_tensor_dtype(left), [rows, inner])],
        [helper.make_tensor_value_info("product", helper.np_dtype_to_tensor_dtype(product), [rows, columns])],
        [numpy_helper.from_array(np.ones((inner, columns), right), "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(model.SerializeToString())


def _name(rows: int, inner: int, columns: int) -> str:
    return f"{rows} x {inner} x {columns}"


if __name__ == "__main__":
    print(json.dumps(best_of(sys.argv[1], int(sys.argv[2]))))
