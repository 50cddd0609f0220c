import copy
import json
import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from bench_records import full_record, hostile_record, record, small_record

from levit_benchmarks.bench import document
from levit_benchmarks.bench.document import (
    RecordError,
    from_json,
    is_record,
    read_record,
    record_bytes,
    to_json,
    write_record,
)
from levit_deploy.errors import ConfigError


@pytest.fixture(scope="module")
def plain():
    return json.loads(record_bytes(small_record()))


@pytest.mark.parametrize("made", [small_record, full_record, hostile_record, record], ids=lambda made: made.__name__)
def test_what_is_written_is_read_back(made, tmp_path):
    write_record(made(), tmp_path / "run.json")
    assert read_record(tmp_path / "run.json") == made()
    assert list(tmp_path.iterdir()) == [tmp_path / "run.json"]


def test_summary_stands_beside_the_samples_it_follows_from(plain):
    (group,) = plain["groups"]
    fast = next(row for row in group["summary"] if row["name"] == "fast")
    calls = [latency for one in group["rounds"] for latency in one["bursts"]["fast"]["latencies_ns"]]
    wall_ns = sum(one["bursts"]["fast"]["wall_ns"] for one in group["rounds"])
    assert fast["count"] == len(calls) == 240
    assert fast["percentiles_ms"]["50"] == pytest.approx(np.percentile(calls, 50) / 1e6, rel=2e-3)
    assert set(fast["percentiles_ms"]) == {"50", "90"}
    assert fast["images_per_s"] == pytest.approx(1e9 * len(calls) / wall_ns)
    ratios = [
        statistics.median(one["bursts"]["fast"]["latencies_ns"])
        / statistics.median(one["bursts"]["slow"]["latencies_ns"])
        for one in group["rounds"]
    ]
    assert fast["verdict"]["ratio"] == pytest.approx(statistics.median(ratios))
    assert fast["verdict"]["outcome"] == "faster"
    assert next(row for row in group["summary"] if row["name"] == "slow")["verdict"] is None


def test_a_file_cannot_claim_another_summary(plain):
    lying = copy.deepcopy(plain)
    lying["groups"][0]["summary"] = [{"name": "fast", "images_per_s": 1e9}]
    assert from_json(lying, "lying.json") == small_record()


def test_samples_stand_on_one_line_and_other_things_do_not():
    text = record_bytes(small_record()).decode("ascii")
    samples = [line for line in text.splitlines() if "latencies_ns" in line]
    assert len(samples) == 24
    assert all(line.rstrip(",").endswith("]") for line in samples)
    assert "[1, 8]" in text
    assert json.loads(text) == json.loads(json.dumps(to_json(small_record())))


def test_a_text_that_looks_like_numbers_stays_as_it_is():
    tricky = "[\n 1,\n 2\n]"
    made = replace(small_record(), settings={"note": tricky})
    assert from_json(json.loads(record_bytes(made)), "x").settings == {"note": tricky}


def test_files_from_before_gpus_told_their_times_are_read():
    made = small_record()
    assert from_json(altered(to_json(made), (*BURST, "gpu_ns"), KeyError), "x") == made
    assert from_json(altered(to_json(made), ("groups", 0, "sessions", "fast", "callers"), KeyError), "x") == made


def altered(plain, path, value):
    changed = copy.deepcopy(plain)
    place = changed
    for step in path[:-1]:
        place = place[step]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed


GROUP = ("groups", 0)
BURST = (*GROUP, "rounds", 2, "bursts", "fast")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("kind",), "something else", "not a run of levit-bench"),
        (("schema_version",), 2, "schema_version is 2, this levit-bench reads 1"),
        (("schema_version",), True, "schema_version is True"),
        (("schema_version",), KeyError, "schema_version is None"),
        (("settings",), KeyError, "settings is missing"),
        (("settings",), [], "settings is not an object"),
        (("settings", "x"), math.inf, "settings.x is not finite"),
        (("environment", "date"), 7, "environment.date is not a text"),
        (("environment", "machine"), None, "environment.machine is not an object"),
        (("environment", "packages"), KeyError, "environment.packages is not an object"),
        (("limits", 0, "flops", "fp32"), 0, "limits[0] has threads, flops or bytes_s that are not above 0"),
        (("limits", 0, "bytes_s"), math.nan, "limits[0].bytes_s is not finite"),
        (("limits", 0, "bytes_s"), 10**400, "limits[0].bytes_s is not a number"),
        (("groups",), {}, "groups is not a list"),
        ((*GROUP, "scenario"), "server", "groups[0].scenario is not one of single-stream, offline"),
        ((*GROUP, "batch"), 0, "groups[0] has a batch or threads below 1"),
        ((*GROUP, "threads"), 2.0, "groups[0].threads is not a whole number"),
        ((*GROUP, "threads"), True, "groups[0].threads is not a whole number"),
        ((*GROUP, "baseline"), "nobody", "groups[0].baseline is not the name of a candidate"),
        ((*GROUP, "candidates"), [], "groups[0].candidates is empty"),
        ((*GROUP, "candidates", 1, "name"), "slow", "two have one name"),
        ((*GROUP, "candidates", 0, "macs"), -1, "groups[0].candidates[0] has an image_size or macs below 1"),
        ((*GROUP, "candidates", 0, "details", "provider"), 3, "groups[0].candidates[0].details.provider is not a text"),
        ((*GROUP, "sessions"), {}, "groups[0].sessions and .peak_rss_bytes do not have the names"),
        ((*GROUP, "sessions", "fast", "sessions"), 0, "groups[0].sessions has a number below 1"),
        ((*GROUP, "peak_rss_bytes", "fast"), -1, "groups[0].peak_rss_bytes has a number below 0"),
        ((*GROUP, "peak_rss_bytes", "fast"), 2**63, "groups[0].peak_rss_bytes.fast is beyond 64 bits"),
        ((*GROUP, "rounds"), [], "groups[0].rounds is empty"),
        ((*GROUP, "rounds", 1, "conditions", "steal"), "0.1", "groups[0].rounds[1].conditions.steal is not a number"),
        ((*GROUP, "rounds", 1, "conditions", "load_average"), -1, "rounds[1].conditions has a number below 0"),
        (BURST, KeyError, "groups[0].rounds[2].bursts does not have the names of the candidates"),
        ((*BURST, "latencies_ns"), [], "groups[0].rounds[2].bursts.fast.latencies_ns is empty"),
        ((*BURST, "latencies_ns", 7), "9", "groups[0].rounds[2].bursts.fast.latencies_ns[7] is not a whole number"),
        ((*BURST, "latencies_ns", 7), 0, "groups[0].rounds[2].bursts.fast.latencies_ns has a time below 1"),
        ((*BURST, "wall_ns"), 0, "groups[0].rounds[2].bursts.fast has a wall_ns below 1"),
        ((*BURST, "cpu_ns"), None, "groups[0].rounds[2].bursts.fast.cpu_ns is not a whole number"),
        ((*BURST, "gpu_ns"), [5], "groups[0].rounds[2].bursts.fast.gpu_ns has not a time above 0 for each call"),
        ((*BURST, "gpu_ns"), [0] * 20, "groups[0].rounds[2].bursts.fast.gpu_ns has not a time above 0 for each call"),
        (("cold_starts",), KeyError, "cold_starts is missing"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_names_the_file_and_the_field_at_fault(plain, path, value, message):
    with pytest.raises(RecordError) as error:
        from_json(altered(plain, path, value), "run.json")
    assert str(error.value).startswith("run.json: ")
    assert message in str(error.value)
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    ("field", "samples", "message"),
    [
        ("cold_starts", [], "cold_starts[0] has no stages"),
        ("cold_starts", [{"load": 1.0}, {"import": 1.0}], "cold_starts[0] has samples with different stages"),
        ("cold_starts", [{"load": -1.0}], "cold_starts[0] has a time below 0"),
        ("end_to_end", [{"decode": 0}], "end_to_end[0] has a sample that took no time"),
        ("end_to_end", [{"decode": 1.5}], "end_to_end[0].stages_ns[0].decode is not a whole number"),
    ],
)
def test_names_what_is_wrong_with_stages(field, samples, message):
    changed = json.loads(record_bytes(full_record()))
    changed[field][0]["stages_s" if field == "cold_starts" else "stages_ns"] = samples
    with pytest.raises(RecordError) as error:
        from_json(changed, "run.json")
    assert message in str(error.value)


@pytest.mark.parametrize("document", [None, [], 3, "levit-bench run", {}, {"kind": ["levit-bench run"]}])
def test_anything_may_be_handed_in(document):
    assert not is_record(document)
    with pytest.raises(RecordError, match=r"\Arun.json: not a run of levit-bench"):
        from_json(document, "run.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b'{"kind": NaN}', "not JSON (NaN is not a number)"),
        (b"[" * 100_000, "not JSON"),
        (b'{"x": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[1, 2]", "not a run of levit-bench"),
    ],
    ids=["empty", "no text", "NaN", "nested", "long number", "a list"],
)
def test_an_unreadable_file_is_one_error_of_one_line(content, message, tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(RecordError) as error:
        read_record(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_values_nested_without_end_are_refused(plain):
    deep = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(RecordError, match="is nested too deeply"):
        from_json(altered(plain, ("settings", "x"), deep), "run.json")


def test_a_file_that_is_not_there_or_too_large_is_said_to_be(tmp_path, monkeypatch):
    with pytest.raises(RecordError, match=r"absent.json: cannot be read \(No such file"):
        read_record(tmp_path / "absent.json")
    (tmp_path / "run.json").write_bytes(record_bytes(small_record()))
    monkeypatch.setattr(document, "MAX_FILE_BYTES", 1 << 10)
    with pytest.raises(RecordError, match="larger than"):
        read_record(tmp_path / "run.json")


def test_replaces_a_file_only_when_told_to(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="--overwrite"):
        write_record(small_record(), path)
    assert path.read_text() == "mine"
    write_record(small_record(), path, overwrite=True)
    assert read_record(path) == small_record()
    for wrong in (tmp_path, tmp_path / "absent" / "run.json"):
        with pytest.raises(ConfigError, match="not a file in an existing folder"):
            write_record(small_record(), wrong, overwrite=True)


def test_leaves_everything_as_it_was_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    path.write_text("mine")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("levit_deploy.bundle.os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_record(small_record(), path, overwrite=True)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
