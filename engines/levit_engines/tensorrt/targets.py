"""Compute capabilities: as users write them, as TensorRT-RTX's enumeration spells them, and what fits what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from levit_deploy.errors import BundleError, ConfigError

_WRITTEN = re.compile(r"([1-9][0-9]?)\.([0-9])")
_MEMBER = re.compile(r"SM([1-9][0-9]?)([0-9])")
# TensorRT-RTX's manual: engines are not made for Turing (7.5) unless that is asked for, as it costs the others speed.
_OLDEST_DEFAULT = (8, 0)


def parse_capability(text: str) -> tuple[int, int]:
    """(8, 6) of "8.6"; raises ConfigError on anything else."""
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise ConfigError(f'--compute-capability {text!r}: expected is a number like "8.6"')
    return int(match[1]), int(match[2])


def known_capabilities(members: Iterable[str]) -> Mapping[str, str]:
    """What a release can build for, as users write it, with the enumeration's name; in ascending order."""
    found = {(int(match[1]), int(match[2])): name for name in members if (match := _MEMBER.fullmatch(name))}
    return {f"{major}.{minor}": found[major, minor] for major, minor in sorted(found)}


def default_capabilities(members: Iterable[str]) -> tuple[str, ...]:
    """What is built for where nothing was asked for: every GPU that the release knows, from Ampere on."""
    return tuple(text for text in known_capabilities(members) if parse_capability(text) >= _OLDEST_DEFAULT)


def members_for(capabilities: Iterable[str], members: Iterable[str]) -> Mapping[str, str]:
    """The enumeration's names of `capabilities`, once each and in ascending order, so that plans do not depend on it.

    Raises ConfigError for one that is no compute capability, or that this release cannot build for.
    """
    known = known_capabilities(members)
    wanted = sorted({parse_capability(text) for text in capabilities})
    for major, minor in wanted:
        if f"{major}.{minor}" not in known:
            raise ConfigError(
                f"--compute-capability {major}.{minor}: this release of TensorRT-RTX builds for {', '.join(known)}"
            )
    return {f"{major}.{minor}": known[f"{major}.{minor}"] for major, minor in wanted}


def describe_targets(capabilities: Iterable[str]) -> str:
    """The words a manifest records: "8.6, 8.9"."""
    return ", ".join(f"{major}.{minor}" for major, minor in sorted({parse_capability(text) for text in capabilities}))


def fits(recorded: str, capability: tuple[int, int]) -> bool:
    """Whether an engine built for `recorded`, as `describe_targets` words it, is for a GPU of `capability`.

    Raises BundleError when `recorded` is worded otherwise.
    """
    try:
        return capability in [parse_capability(text) for text in recorded.split(", ")]
    except ConfigError as error:
        raise BundleError(f"manifest.json: compute_capabilities {recorded!r} is not what levit-build writes") from error
