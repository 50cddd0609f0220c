"""Whether an opened engine reproduces what the bundle carries: golden logits, and rows that do not reach each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from levit_deploy.bundle import Bundle
from levit_deploy.errors import RunnerError
from levit_deploy.ladder import Truth, measure
from levit_deploy.metamorphic import batch_suite, require_checks
from levit_deploy.module_truth import ProbeValues, module_truth_of
from levit_engines.bundle_runner import BundleRunner


@dataclass(frozen=True, slots=True)
class _Subject:
    """A runner as the ladder takes it; its values inside are of no interest here."""

    stage: str
    runner: BundleRunner

    @property
    def takes_pixels(self) -> bool:
        return self.runner.input.dtype == "uint8"

    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
        return self.runner.infer(images)

    def probe(self, images: NDArray[Any]) -> ProbeValues:  # noqa: ARG002 (of the protocol)
        raise RunnerError(f"{self.stage} was not opened to be looked into")


def self_test(runner: BundleRunner, bundle: Bundle, engine: str) -> str:
    """Run the golden images and the batch suite at every verified batch size that the runner takes; what was shown.

    Raises ParityError, with the figures, when a logit is further from float64 than the bundle's tolerance, or when
    the batch around an image changes its logits.
    """
    manifest = bundle.manifest
    truth = Truth(
        golden=bundle.golden(),
        bounds=np.array(manifest.golden_tolerance),
        contract=manifest.preprocessing,
        modules=module_truth_of(bundle),
    )
    subject = _Subject(engine, runner)
    sizes = runner.batch_sizes.verified
    measured = measure(subject, truth, sizes)
    for rung in measured.rungs:
        rung.require()
    require_checks(batch_suite(subject.infer, truth.inputs(pixels=subject.takes_pixels), truth.bounds, sizes))
    share = measured.decisive.bound_share
    return (
        f"{len(truth.golden.names)} golden images at batch {', '.join(map(str, sizes))}: "
        f"largest error {share:.1%} of what rounding allows; batch suite holds"
    )
