"""A run as a JSON file: settings, conditions and raw samples, with the summary that follows from them beside.

Only the samples are read back: what follows from them is worked out anew, so a file cannot claim what it does not show.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from levit_benchmarks.bench.record import OPTIONAL, SCENARIOS, SCHEMA_VERSION, Candidate, Group, Round, RunRecord
from levit_benchmarks.bench.summary import pair_verdicts, summarize
from levit_deploy.decoding import printable
from levit_deploy.errors import InputError
from levit_deploy.result_files import write_result

KIND = "levit-bench run"
MAX_FILE_BYTES = 512 << 20
MAX_INTEGER = 2**63 - 1
MAX_DEPTH = 40
# A list of nothing but numbers, as json.dumps indents it. Strings hold no line break, so they never match.
_NUMBERS = re.compile(r"\[\n\s*(-?\d[-+.\deE,\s]*?)\n\s*\]")


class RecordError(InputError):
    """The file of a run is unreadable, altered, or of an unknown schema."""


def to_json(record: RunRecord) -> dict[str, Any]:
    """The run as plain JSON values; each group carries its `summary`, and the verdicts on all `pairs`."""
    plain = _plain(record)
    for group, document in zip(record.groups, plain["groups"], strict=True):
        document["summary"] = _plain(summarize(group, record.limits))
        document["pairs"] = [
            {"candidate": name, "against": other, **_plain(verdict)}
            for (name, other), verdict in pair_verdicts(group).items()
        ]
    return {"kind": KIND, "schema_version": SCHEMA_VERSION, **plain}


def from_json(document: object, name: str) -> RunRecord:
    """The run that `document` holds, checked in every field; `name` is what errors call the file.

    Raises:
        RecordError: naming the file and the field at fault.
    """
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise RecordError(f'{printable(name)}: not a run of levit-bench ("kind" is not "{KIND}")')
    version = document.get("schema_version")
    if version != SCHEMA_VERSION or type(version) is not int:
        raise RecordError(
            f"{printable(name)}: schema_version is {printable(str(version)[:40])}, this levit-bench reads "
            f"{SCHEMA_VERSION}: use the release that wrote it, or measure again"
        )
    try:
        record: RunRecord = _decode(RunRecord, document, "")
        for problem in _problems(record):
            raise ValueError(problem)
    except ValueError as error:
        raise RecordError(f"{printable(name)}: {error}") from error
    return record


def read_record(path: Path) -> RunRecord:
    """The run in the file at `path`; raises RecordError when it is not one."""
    return from_json(read_json(path), str(path))


def read_json(path: Path) -> object:
    """What the file at `path` holds, NaN and infinity refused; raises RecordError when that is not JSON."""
    name = printable(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise RecordError(f"{name}: cannot be read ({error.strerror})") from error
    if len(content) > MAX_FILE_BYTES:
        raise RecordError(f"{name}: larger than {MAX_FILE_BYTES >> 20} MiB")
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{name}: not JSON ({printable(str(error))})") from error


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not a number")


def is_record(document: object) -> bool:
    """Whether `document` says that it is a run of ours, of whatever schema version."""
    return isinstance(document, dict) and document.get("kind") == KIND


def write_record(record: RunRecord, path: Path, *, overwrite: bool = False) -> None:
    """Write the run to `path`, whole or not at all; raises ConfigError as `write_result` does."""
    write_result(path, record_bytes(record), overwrite=overwrite)


def record_bytes(record: RunRecord) -> bytes:
    """The file of a run: indented for people, except that samples stand on one line."""
    text = json.dumps(to_json(record), indent=1, allow_nan=False)
    return (_NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n").encode("ascii")


def _plain(value: Any) -> Any:
    """Dataclasses and what they hold as JSON has it; keys become text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else f"{key:g}": _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _decode(kind: Any, value: object, where: str) -> Any:
    """`value` as the annotation `kind` wants it; ValueError, beginning with `where`, when it is something else."""
    if is_dataclass(kind) and isinstance(kind, type):
        return _decode_fields(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (wanted,) = (argument for argument in arguments if argument is not NoneType)
        return None if value is None else _decode(wanted, value, where)
    if origin is tuple:
        items = _expect(list, value, where, "a list")
        return tuple(_decode(arguments[0], item, f"{where}[{place}]") for place, item in enumerate(items))
    if origin is Mapping:
        table = _expect(dict, value, where, "an object")
        return {key: _decode(arguments[1], item, f"{where}.{printable(key)}") for key, item in table.items()}
    if kind is Any:
        _require_plain(value, where)
        return value
    return _decode_scalar(kind, value, where)


def _decode_fields(kind: type, value: object, where: str) -> Any:
    table = _expect(dict, value, where or "the document", "an object")
    hints = get_type_hints(kind)
    prefix = f"{where}." if where else ""
    optional = {field.name for field in fields(kind) if OPTIONAL in field.metadata}
    for name in hints:
        if name not in table and name not in optional:
            raise ValueError(f"{prefix}{name} is missing")
    return kind(**{name: _decode(hint, table[name], prefix + name) for name, hint in hints.items() if name in table})


def _decode_scalar(kind: Any, value: object, where: str) -> Any:
    """A text, a whole number or a finite number; True is neither."""
    if kind is int:
        number: int = _expect(int, value, where, "a whole number")
        if abs(number) > MAX_INTEGER:
            raise ValueError(f"{where} is beyond 64 bits")
        return number
    if kind is float:
        if type(value) is not float and not (type(value) is int and abs(value) <= MAX_INTEGER):
            raise ValueError(f"{where} is not a number")
        if not math.isfinite(value):
            raise ValueError(f"{where} is not finite")
        return float(value)
    return _expect(str, value, where, "a text")


def _expect(kind: type, value: object, where: str, description: str) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{where} is not {description}")
    return value


def _require_plain(value: object, where: str, depth: int = 0) -> None:
    """What may stand where anything may: what JSON has, finite, and not nested without end."""
    if depth > MAX_DEPTH:
        raise ValueError(f"{where} is nested too deeply")
    if isinstance(value, dict):
        for key, item in value.items():
            _require_plain(item, f"{where}.{printable(str(key))}", depth + 1)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            _require_plain(item, f"{where}[{place}]", depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is not finite")
    elif value is not None and not isinstance(value, str | int | float):
        raise ValueError(f"{where} is not what JSON holds")


def _problems(record: RunRecord) -> Iterator[str]:
    """What is wrong with a record whose types are right, field by field."""
    yield from _environment_problems(record.environment)
    for place, limit in enumerate(record.limits):
        if limit.threads < 1 or limit.bytes_s <= 0 or any(flops <= 0 for flops in limit.flops.values()):
            yield f"limits[{place}] has threads, flops or bytes_s that are not above 0"
    for place, group in enumerate(record.groups):
        yield from _group_problems(group, f"groups[{place}]")
    for place, cold in enumerate(record.cold_starts):
        yield from _stage_problems(cold.candidate, cold.threads, cold.stages_s, f"cold_starts[{place}]")
    for place, end in enumerate(record.end_to_end):
        yield from _stage_problems(end.candidate, end.threads, end.stages_ns, f"end_to_end[{place}]")


def _environment_problems(environment: Mapping[str, Any]) -> Iterator[str]:
    for name, kind, description in (
        ("date", str, "a text"),
        ("machine", dict, "an object"),
        ("packages", dict, "an object"),
    ):
        if not isinstance(environment.get(name), kind):
            yield f"environment.{name} is not {description}"


def _group_problems(group: Group, where: str) -> Iterator[str]:
    names = [candidate.name for candidate in group.candidates]
    yield from _name_problems(group, names, where)
    if group.scenario not in SCENARIOS:
        yield f"{where}.scenario is not one of {', '.join(SCENARIOS)}"
    if group.batch < 1 or group.threads < 1:
        yield f"{where} has a batch or threads below 1"
    if any(min(used.sessions, used.threads, used.callers) < 1 for used in group.sessions.values()):
        yield f"{where}.sessions has a number below 1"
    if any(size < 0 for size in group.peak_rss_bytes.values()):
        yield f"{where}.peak_rss_bytes has a number below 0"
    for place, candidate in enumerate(group.candidates):
        yield from _candidate_problems(candidate, f"{where}.candidates[{place}]")
    for place, one in enumerate(group.rounds):
        yield from _round_problems(one, names, f"{where}.rounds[{place}]")


def _name_problems(group: Group, names: list[str], where: str) -> Iterator[str]:
    """What is not there, is there twice, or goes by another name than a candidate's."""
    if not names or len(set(names)) != len(names):
        yield f"{where}.candidates is empty, or two have one name"
    if group.baseline not in names:
        yield f"{where}.baseline is not the name of a candidate"
    if set(group.sessions) != set(names) or set(group.peak_rss_bytes) != set(names):
        yield f"{where}.sessions and .peak_rss_bytes do not have the names of the candidates"
    if not group.rounds:
        yield f"{where}.rounds is empty"


def _candidate_problems(candidate: Candidate, where: str) -> Iterator[str]:
    if not candidate.name:
        yield f"{where}.name is empty"
    if candidate.image_size < 1 or (candidate.macs is not None and candidate.macs < 1):
        yield f"{where} has an image_size or macs below 1"


def _round_problems(one: Round, names: list[str], where: str) -> Iterator[str]:
    if set(one.bursts) != set(names):
        yield f"{where}.bursts does not have the names of the candidates"
    for name, burst in one.bursts.items():
        place = f"{where}.bursts.{printable(name)}"
        if not burst.latencies_ns:
            yield f"{place}.latencies_ns is empty"
        elif min(burst.latencies_ns) < 1:
            yield f"{place}.latencies_ns has a time below 1"
        if burst.gpu_ns and (len(burst.gpu_ns) != len(burst.latencies_ns) or min(burst.gpu_ns) < 1):
            yield f"{place}.gpu_ns has not a time above 0 for each call"
        if burst.wall_ns < 1 or burst.cpu_ns < 0:
            yield f"{place} has a wall_ns below 1 or a cpu_ns below 0"
    read = one.conditions
    readings = (read.load_average, read.steal, read.other_load, read.frequency_mhz)
    if any(reading is not None and reading < 0 for reading in readings):
        yield f"{where}.conditions has a number below 0"


def _stage_problems(
    candidate: Candidate, threads: int, samples: tuple[Mapping[str, float], ...], where: str
) -> Iterator[str]:
    yield from _candidate_problems(candidate, f"{where}.candidate")
    if threads < 1:
        yield f"{where}.threads is below 1"
    if not samples or not samples[0]:
        yield f"{where} has no stages"
    elif any(set(sample) != set(samples[0]) for sample in samples):
        yield f"{where} has samples with different stages"
    elif any(value < 0 for sample in samples for value in sample.values()):
        yield f"{where} has a time below 0"
    elif any(sum(sample.values()) <= 0 for sample in samples):
        yield f"{where} has a sample that took no time"
