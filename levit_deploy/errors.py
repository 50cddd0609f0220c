"""The one tree of errors a user can meet; each class knows the exit code its command line returns."""

from __future__ import annotations

from typing import ClassVar


class LevitError(Exception):
    """Base of every error that a user can cause and mend; its text is one line that says how.

    `exit_code` is what a command line returns: 1 a check failed, 2 usage, 3 bad input, 4 environment.
    """

    exit_code: ClassVar[int] = 1


class ParityError(LevitError):
    """A measured difference is larger than its bound; nothing was published.

    `module` is the PyTorch path of the first module that diverges, where it is known.
    """

    def __init__(self, message: str, *, module: str | None = None) -> None:
        super().__init__(message)
        self.module = module


class ExportError(LevitError):
    """The graph that PyTorch or a pass produced breaks a promise of ours."""


class RunnerError(LevitError):
    """A running engine failed, was used after it was closed, or returned what no classifier may return."""


class ConfigError(LevitError):
    """Options that contradict each other, or a value outside its range."""

    exit_code = 2


class InputError(LevitError):
    """A file or folder that was handed in is not what it should be."""

    exit_code = 3


class CheckpointError(InputError):
    """A checkpoint is unreadable, unsafe, or of another network."""


class BundleError(InputError):
    """A bundle is incomplete, altered, or of an unknown schema."""


class ImageError(InputError):
    """An image cannot be decoded, or is not one that the contract covers."""


class EnvironmentIncompleteError(LevitError):
    """A package, file or connection that the request needs is missing here."""

    exit_code = 4
