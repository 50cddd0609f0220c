"""The system under test: what LoadGen calls, and what answers.

In SingleStream and Offline alike, LoadGen's callback itself computes and completes: handing a query to another thread
would cost more than all of LoadGen does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from levit_benchmarks.bench.engine_subject import require_golden
from levit_deploy.bundle import Bundle
from levit_deploy.runner import Runner
from levit_engines.batches import as_input


class SystemUnderTest:
    """Answers samples of the bundle's golden images, `batch` at a time, and keeps the logits that it answered with.

    Not thread-safe: LoadGen issues from one thread in these scenarios.
    """

    def __init__(self, loadgen: Any, runner: Runner, bundle: Bundle, batch: int) -> None:
        self._loadgen, self._runner, self._bundle, self._batch = loadgen, runner, bundle, batch
        self._images = as_input(bundle, bundle.golden().images)
        self._logits: dict[int, NDArray[np.float32]] = {}
        self._error: BaseException | None = None

    @property
    def sample_count(self) -> int:
        """How many images it has in memory."""
        return len(self._images)

    def issue(self, samples: Sequence[Any]) -> None:
        """LoadGen's callback: answer all of `samples`, then return. It never raises: that would end the process."""
        for start in range(0, len(samples), self._batch):
            some = samples[start : start + self._batch]
            if self._error is None:
                try:
                    self._infer([sample.index for sample in some])
                except BaseException as error:  # Ctrl-C and SIGTERM arrive here too; `finish` raises it
                    self._error = error
            # After an error every sample is completed at once, unanswered, so that the run ends.
            self._loadgen.QuerySamplesComplete([self._loadgen.QuerySampleResponse(one.id, 0, 0) for one in some])

    def flush(self) -> None:
        """LoadGen's callback at the end of the queries: nothing is waiting."""

    def finish(self, stage: str) -> float:
        """The largest error of what was answered, as a share of what the bundle allows.

        Raises:
            ParityError: it is above 1.
            BaseException: what stopped the run.
        """
        if self._error is not None:
            raise self._error
        rows = sorted(self._logits)
        logits = np.stack([self._logits[row] for row in rows])
        return require_golden(self._bundle, rows, logits, batch=self._batch, stage=stage).bound_share

    def _infer(self, indices: list[int]) -> None:
        # The last batch of an offline query may be short, and a graph of static batch takes whole ones only.
        missing = self._batch - len(indices)
        logits = self._runner.infer(self._images[[*indices, *indices[:1] * missing]])
        for index, row in zip(indices, logits, strict=False):
            self._logits[index] = row
