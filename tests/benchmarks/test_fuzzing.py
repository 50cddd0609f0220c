"""The record of fuzzing: CPU time and inputs add up, turns go on where the last ended, a broken target ends the run."""

import json
from pathlib import Path

import pytest

from levit_benchmarks import fuzzing

FUZZER = """#!/bin/sh
for word in "$@"; do case "$word" in -artifact_prefix=*) prefix=${word#*=};; -seed=*) seed=${word#*=};; esac; done
end=$(($(date +%s%N) + 600000000))
while [ $(date +%s%N) -lt $end ]; do :; done
echo "#512 NEW cov: 10 ft: 20 corp: 3/40b" >&2
echo "#1024 DONE cov: 1$seed ft: 30 corp: 4/50b" >&2
echo "stat::number_of_executed_units: 100" >&2
"""
BROKEN = "#!/bin/sh\necho 'ERROR: AddressSanitizer: heap-buffer-overflow' >&2\nexit 77\n"


def build(folder: Path, **programs: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def fuzz(tmp_path: Path, *more: str) -> int:
    words = [tmp_path / "build", "-o", tmp_path / "fuzzing.json", "--corpus", tmp_path / "corpus", *more]
    return fuzzing.main(list(map(str, words)))


def targets(tmp_path: Path) -> dict[str, dict[str, object]]:
    return {one["target"]: one for one in json.loads((tmp_path / "fuzzing.json").read_text())["targets"]}


def test_turns_add_up_to_the_cpu_time_of_each_target(tmp_path):
    build(tmp_path / "build", fuzz_one=FUZZER, fuzz_two=FUZZER)
    assert fuzz(tmp_path, "--cpu-seconds", "1", "--processes", "2") == 0
    records = targets(tmp_path)
    assert list(records) == ["fuzz_one", "fuzz_two"]
    for record in records.values():
        turns = record["turns"]
        assert record["cpu_s"] >= 1
        assert turns > 1
        assert record["inputs"] == 100 * turns
        assert (record["edges"], record["features"], record["kept_inputs"]) == (10 + turns, 30, 4)


def test_a_later_run_goes_on_and_another_program_begins_anew(tmp_path):
    build(tmp_path / "build", fuzz_one=FUZZER, fuzz_two=FUZZER)
    assert fuzz(tmp_path, "--cpu-seconds", "1") == 0
    first = targets(tmp_path)
    build(tmp_path / "build", fuzz_two=FUZZER + "# changed\n")
    assert fuzz(tmp_path, "--cpu-seconds", "2") == 0
    later = targets(tmp_path)
    assert later["fuzz_one"]["turns"] > first["fuzz_one"]["turns"]
    assert later["fuzz_one"]["cpu_s"] >= 2
    assert later["fuzz_two"]["program_sha256"] != first["fuzz_two"]["program_sha256"]
    assert later["fuzz_two"]["inputs"] == 100 * later["fuzz_two"]["turns"]


def test_a_broken_target_fails_the_run_and_says_how(tmp_path, capsys):
    build(tmp_path / "build", fuzz_one=BROKEN, fuzz_two=FUZZER)
    assert fuzz(tmp_path, "--processes", "2") != 0
    assert "AddressSanitizer: heap-buffer-overflow" in capsys.readouterr().err
    # Of the other an hour was wanted.
    assert targets(tmp_path)["fuzz_two"]["turns"] <= 1


@pytest.mark.parametrize(("record", "said"), [(None, "no fuzz targets"), ("[]", "is no record")])
def test_what_cannot_be_fuzzed_is_refused(tmp_path, capsys, record, said):
    build(tmp_path / "build", **({"fuzz_one": FUZZER} if record else {}))
    if record:
        (tmp_path / "fuzzing.json").write_text(record)
    assert fuzz(tmp_path) == 2
    assert said in capsys.readouterr().err


def test_a_program_without_statistics_is_not_counted(tmp_path, capsys):
    build(tmp_path / "build", fuzz_one="#!/bin/sh\n")
    assert fuzz(tmp_path) != 0
    assert "printed no statistics" in capsys.readouterr().err
