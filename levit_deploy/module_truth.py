"""What float64 computes inside the network for some images: the yardstick by which a wrong module is found.

A bundle carries it for two of its golden images, so that the module is named without the weights, and without PyTorch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from levit_deploy.bundle import MODULES, Bundle, safetensors_metadata
from levit_deploy.errors import BundleError
from levit_deploy.probes import Probe, probes_of

ProbeValues = Mapping[str, NDArray[np.float64]]
VALUE, BOUND = "value/", "bound/"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleTruth:
    """The values of all probes for some images, sampled, and how far rounding may move them.

    `images` are their indices, `probes` in order of execution; `values` (images, samples) and `bounds` (images,) by
    the name of the probe.
    """

    images: tuple[int, ...]
    probes: tuple[Probe, ...]
    values: ProbeValues
    bounds: ProbeValues

    def to_bytes(self) -> bytes:
        """A safetensors file: `value/PROBE` and `bound/PROBE` for each probe, the images in its metadata."""
        tensors = {f"{VALUE}{name}": np.ascontiguousarray(values) for name, values in self.values.items()}
        tensors |= {f"{BOUND}{name}": np.ascontiguousarray(bounds) for name, bounds in self.bounds.items()}
        return safetensors.numpy.save(tensors, metadata={"images": json.dumps(self.images)})

    def rows_of(self, batch: Sequence[int]) -> tuple[tuple[int, ...], ModuleTruth]:
        """The positions of a `batch` of images that are known here, and the truth for them in that order."""
        positions = tuple(position for position, image in enumerate(batch) if image in self.images)
        rows = [self.images.index(batch[position]) for position in positions]
        return positions, ModuleTruth(
            images=tuple(self.images[row] for row in rows),
            probes=self.probes,
            values={name: values[rows] for name, values in self.values.items()},
            bounds={name: bounds[rows] for name, bounds in self.bounds.items()},
        )

    def about(self, images: Sequence[int]) -> ModuleTruth:  # noqa: ARG002 (a file cannot know others)
        """All that is known, whatever `images` are asked for: see `levit_deploy.ladder.ModuleReference`."""
        return self


def module_truth_of(bundle: Bundle) -> ModuleTruth:
    """The module values that `bundle` carries. Raises BundleError when they are not what they should be.

    Probes that the file does not know are left out: another release of the toolkit may have others.
    """
    path, content = bundle.path / MODULES, bundle.read(MODULES)
    try:
        tensors = safetensors.numpy.load(content)
        images = tuple(json.loads(safetensors_metadata(content)["images"]))
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise BundleError(f"{path}: not a set of module values ({error})") from error
    count = len(bundle.manifest.golden_tolerance)
    if not images or not all(type(image) is int and 0 <= image < count for image in images):
        raise BundleError(f"{path}: its images must be indices of golden images, got {list(images)}")
    probes = tuple(probe for probe in probes_of(bundle.manifest.config) if VALUE + probe.name in tensors)
    if not probes:
        raise BundleError(f"{path}: holds the values of no module; export the bundle again")
    for probe in probes:
        _require_shapes(tensors, probe, len(images), str(path))
    return ModuleTruth(
        images=images,
        probes=probes,
        values={probe.name: tensors[VALUE + probe.name] for probe in probes},
        bounds={probe.name: tensors[BOUND + probe.name] for probe in probes},
    )


def _require_shapes(tensors: Mapping[str, NDArray[np.float64]], probe: Probe, images: int, path: str) -> None:
    values, bounds = tensors[VALUE + probe.name], tensors.get(BOUND + probe.name)
    if bounds is None:
        raise BundleError(f"{path}: holds no bound of {probe.name}; export the bundle again")
    shapes_fit = values.ndim == 2 and values.shape[0] == images and values.size > 0 and bounds.shape == (images,)
    if not shapes_fit or values.dtype != np.float64 or bounds.dtype != np.float64:
        raise BundleError(f"{path}: {probe.name} is {values.shape} {values.dtype} with bounds {bounds.shape}")
    # A bound that is negative or not finite would excuse the module.
    if not (np.isfinite(values).all() and np.isfinite(bounds).all() and (bounds >= 0.0).all()):
        raise BundleError(f"{path}: {probe.name} has values or bounds that are not finite, or bounds below zero")
