"""The recipe that an exported graph carries in its metadata, so that the file alone still tells what it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from levit_deploy.architectures import LevitConfig
from levit_deploy.manifest import BatchSizes
from levit_deploy.preprocessing import Preprocessing

PREFIX = "levit."


def recipe_of(
    config: LevitConfig,
    contract: Preprocessing,
    batch_sizes: BatchSizes,
    *,
    weights: Mapping[str, Any],
    names: Mapping[str, str],
) -> dict[str, str]:
    """The metadata of a graph. `names` are precision, target, toolkit_version and labels_sha256."""
    recipe = {
        "arch": config.arch,
        "network": _compact(config.to_json()),
        "preprocessing": _compact(contract.to_json()),
        "batch_sizes": _compact(batch_sizes.to_json()),
        "weights_origin": str(weights.get("origin")),
        "weights_sha256": str(weights.get("state_sha256")),
        **names,
    }
    return {PREFIX + name: text for name, text in sorted(recipe.items())}


def _compact(document: object) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"))
