"""What an evaluation has found so far, kept line by line, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from levit_deploy.errors import ConfigError, InputError
from levit_engines.evaluation.outcome import Outcome
from levit_engines.evaluation.run import Result


class Journal:
    """A file of JSON lines: what is evaluated, then one line for each image. A context manager that closes it."""

    def __init__(self, path: Path, key: Mapping[str, Any]) -> None:
        """Take up what `path` holds, or begin it. `key` says what is evaluated.

        Raises:
            ConfigError: the file is of another evaluation.
            InputError: it is no journal.
        """
        self.path, self._key = path, json.loads(json.dumps(key))
        self.known: dict[str, Result] = {}
        if path.exists():
            self._read()
        self._file: IO[str] = path.open("a", encoding="utf-8")
        if not self.known and path.stat().st_size == 0:
            self._write(self._key)

    def add(self, name: str, result: Result) -> None:
        """Keep what came of an image."""
        if isinstance(result, str):
            self._write({"name": name, "broken": result})
        else:
            self._write({"name": name, "best": result.best, "rank": result.rank})

    def __enter__(self) -> Journal:  # noqa: PYI034 (Python 3.10 has no typing.Self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _write(self, entry: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def _read(self) -> None:
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        # The last line may have been cut off: what it said is found again.
        complete = "".join(f"{line}\n" for line in lines[:-1])
        try:
            entries = [json.loads(line) for line in lines[:-1]]
            known = {str(entry["name"]): _result_of(entry) for entry in entries[1:]}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.path}: not what levit-eval has left ({error}); remove it") from error
        if entries and entries[0] != self._key:
            raise ConfigError(
                f"{self.path}: is of another evaluation that was interrupted; remove it, or choose another --output"
            )
        self.known = known
        if lines[-1]:
            self.path.write_text(complete, encoding="utf-8")


def _result_of(entry: Mapping[str, Any]) -> Result:
    if "broken" in entry:
        return str(entry["broken"])
    best, rank = entry["best"], entry["rank"]
    if type(best) is not int or type(rank) is not int or best < 0 or rank < 0:
        raise ValueError(f"best class and rank of {entry['name']} are no indices")
    return Outcome(best=best, rank=rank)
