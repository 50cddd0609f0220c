"""The exit code of a verification: a miss is 1, what this machine lacks is 4, and a miss goes before that."""

from __future__ import annotations

from typing import Any

import pytest
from verification_reports import make_report, missing_report, passing_report, passing_stage

from levit_engines.verification.report import Origin, Stage

HOLDS = passing_stage("traced")
LACKS = Stage(name="tensorrt", origin=Origin.NOT_RUN, reason="no NVIDIA driver", lacking=True)
FAILED = Stage(name="openvino", origin=Origin.NOT_RUN, reason="it broke")


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (passing_report(), 0),
        (missing_report(), 1),
        (make_report([]), 1),
        (make_report([HOLDS]), 0),
        (make_report([HOLDS, LACKS]), 4),
        (make_report([HOLDS, FAILED]), 1),
        (make_report([HOLDS, LACKS, FAILED]), 1),
        (make_report([HOLDS, LACKS], misses=("the labels are others",)), 1),
    ],
    ids=["passing", "missing", "empty", "holds", "lacks", "failed", "both", "a miss beside"],
)
def test_the_exit_code_says_what_kind_of_failure_it_is(report: Any, code: int) -> None:
    assert report.exit_code == code
    assert bool(report) is (code == 0)
