"""Where the bundles come from that are tried: handed in, or exported here with untrained weights.

Weights do not matter for speed, so nothing is downloaded. Every export is the command that a user would type, in a
process of its own: PyTorch is never loaded into the one that measures.
"""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from levit_benchmarks.machine import run_measured
from levit_benchmarks.tune.option import Source
from levit_deploy.architectures import PUBLISHED
from levit_deploy.bundle import Bundle, open_bundle
from levit_deploy.commandline import require_packages
from levit_deploy.errors import ConfigError
from levit_deploy.machine import package_versions
from levit_engines.catalogue import CATALOGUE
from levit_export.cli import EXTRA_OF_PACKAGE

CPU, GPU = "cpu", "gpu"
PRECISION = "fp32"
_MAIN = "import sys; from {module} import main; sys.exit(main())"


def given(paths: Sequence[Path], batches: Sequence[int] | None) -> tuple[Source, ...]:
    """The bundles at `paths`, each of which takes one of `batches` at least, where those are given.

    Raises:
        BundleError: a bundle is incomplete or altered.
        ConfigError: a bundle takes none of the batches, or is given twice.
    """
    bundles = [open_bundle(path) for path in paths]
    for bundle in bundles:
        sizes = bundle.manifest.batch_sizes
        if batches and not any(sizes.minimum <= batch <= sizes.maximum for batch in batches):
            raise ConfigError(
                f"{bundle.path}: takes batches of {sizes.minimum} to {sizes.maximum}, none of --batch "
                f"{','.join(map(str, batches))}: export it with levit-export --dynamic-batch 1:{max(batches)}"
            )
    names = [bundle.path.resolve().name for bundle in bundles]
    if len(set(names)) < len(names):
        names = [str(bundle.path) for bundle in bundles]
    if len(set(names)) < len(names):
        raise ConfigError("a bundle is given twice")
    return tuple(Source(name=name, bundle=bundle) for name, bundle in zip(names, bundles, strict=True))


def variants_for(min_top1: float | None) -> tuple[str, ...]:
    """The variants whose published top-1 is high enough."""
    return tuple(arch for arch, figures in PUBLISHED.items() if min_top1 is None or figures.top1 >= min_top1)


def export_count(archs: Sequence[str], engines: Sequence[str], batches: Sequence[int]) -> int:
    """How many bundles `exported` gives."""
    return len(archs) * len(batches) * len(_targets(engines))


def exported(
    archs: Sequence[str],
    engines: Sequence[str],
    batches: Sequence[int],
    folder: Path,
    on_bundle: Callable[[str], None] = lambda _: None,
) -> tuple[Source, ...]:
    """One bundle for each variant and batch size, in the form for the engines' hardware, in `folder`.

    What `folder` has already is taken if it was exported by the same versions of everything. Engines that need
    building are built. `on_bundle` is told the name of each that is there.

    Raises:
        EnvironmentIncompleteError: the extra `export` is not installed.
        ConfigError: `folder` has something else under a name.
        BenchmarkError: an export or a build failed.
    """
    require_packages(EXTRA_OF_PACKAGE, purpose="exporting the candidates (or name BUNDLEs to be tried)")
    return tuple(_exported(archs, engines, batches, folder, on_bundle))


def _exported(
    archs: Sequence[str],
    engines: Sequence[str],
    batches: Sequence[int],
    folder: Path,
    on_bundle: Callable[[str], None],
) -> Iterator[Source]:
    for target, its_engines in _targets(engines).items():
        for batch in batches:
            for arch in archs:
                name = f"levit-{arch}-{PRECISION}" + (f"-{target}" if target != CPU else "")
                name += f"-batch-{batch}" if batch > 1 else ""
                arguments = ["--target", target] if target != CPU else []
                arguments += ["--batch", str(batch)] if batch > 1 else []
                bundle = _bundle(folder / name, arch, target, batch, arguments)
                for engine in its_engines:
                    if CATALOGUE[engine].needs_building and engine not in bundle.manifest.engines:
                        _run("levit_engines.cli.build", [str(bundle.path), "--engine", engine, "--json"], folder)
                        bundle = open_bundle(bundle.path)
                on_bundle(name)
                command = shlex.join(["levit-export", "--arch", arch, "--pretrained", *arguments, "-o", name])
                yield Source(name=name, bundle=bundle, commands=(command,), engines=its_engines)


def _targets(engines: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The engines by the hardware that a graph is exported for."""
    by_target = {
        CPU: tuple(name for name in engines if CATALOGUE[name].device == "cpu"),
        GPU: tuple(name for name in engines if CATALOGUE[name].device != "cpu"),
    }
    return {target: names for target, names in by_target.items() if names}


def _bundle(path: Path, arch: str, target: str, batch: int, arguments: Sequence[str]) -> Bundle:
    if not path.exists():
        _run("levit_export.cli", ["--arch", arch, *arguments, "-o", str(path), "--json"], path.parent)
    bundle = open_bundle(path)
    manifest = bundle.manifest
    names = tuple(name for name in manifest.versions if name != "python")
    here = package_versions(names) | {"python": platform.python_version()}
    wanted = (arch, target, PRECISION, batch, batch)
    sizes = manifest.batch_sizes
    found = (manifest.config.arch, manifest.target, manifest.precision, sizes.minimum, sizes.maximum)
    if found != wanted or any(here[name] != version for name, version in manifest.versions.items()):
        raise ConfigError(
            f"{path} is not what is needed, LeViT-{arch} for {target} at batch {batch}, exported "
            "by the versions that are installed: remove it, or choose another folder with --keep"
        )
    return bundle


def _run(module: str, arguments: Sequence[str], folder: Path) -> None:
    run_measured([sys.executable, "-c", _MAIN.format(module=module), *arguments], folder)
