"""Graph to plan with TensorRT itself; runs in the child process, as a crash of the library ends its process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from levit_deploy.errors import BundleError, EnvironmentIncompleteError, ExportError
from levit_engines.progress import OnProgress
from levit_engines.tensorrt.api import Library, TrtBuilder, TrtBuilderConfig, TrtLogger, TrtNetwork
from levit_engines.tensorrt.devices import Gpu
from levit_engines.tensorrt.flavours import Flavour
from levit_engines.tensorrt.inspection import summarize
from levit_engines.tensorrt.messages import MessageLog, parser_errors
from levit_engines.tensorrt.network import describe_network
from levit_engines.tensorrt.optional_api import TargetingConfig, TargetingLibrary
from levit_engines.tensorrt.order import NOT_INSPECTED, BuildOrder, Outcome, ProfileOrder
from levit_engines.tensorrt.progress import BuildProgress, monitor_of
from levit_engines.tensorrt.targets import default_capabilities, members_for
from levit_engines.tensorrt.timings import load_timings, save_timings

MIB = 1 << 20


class Planner:
    """One build with one library; `on_network` is told what the parser made of the graph before the build begins."""

    def __init__(self, library: Library, flavour: Flavour, gpu: Gpu | None, missing: str) -> None:
        """`missing` says why there is no `gpu`."""
        self._library = library
        self._flavour = flavour
        self._gpu = gpu
        self._missing = missing
        self._log = MessageLog()

    def build(
        self,
        model: bytes,
        order: BuildOrder,
        *,
        on_network: Callable[[dict[str, Any]], None],
        on_progress: OnProgress,
    ) -> tuple[bytes, Outcome]:
        """The plan of `model`, and what is to be said of it.

        Raises:
            BundleError: the library cannot read the graph.
            EnvironmentIncompleteError: it cannot build here.
            ConfigError: this release does not know a compute capability, or the timing cache cannot be written.
            ExportError: the build failed.
        """
        logger = self._log.logger(self._library)
        builder = self._builder(logger)
        if self._gpu is None and not self._flavour.portable:
            raise EnvironmentIncompleteError(f"{self._flavour.title} builds for the GPU at hand: {self._missing}")
        network = self._parse(builder, logger, model)
        on_network(describe_network(network))
        config = builder.create_builder_config()
        notes = self._configure(builder, config, order)
        targets = self._set_targets(config, order.compute_capabilities)
        # Bound to a name: the library keeps no reference to a monitor that it was given.
        monitor = monitor_of(self._library, BuildProgress(on_progress))
        config.progress_monitor = monitor
        memory = builder.build_serialized_network(network, config)
        if memory is None:
            raise ExportError(f"{self._flavour.title} could not build the engine: {self._summary()}")
        if order.timing_cache is not None:
            save_timings(config, Path(order.timing_cache))
        plan = bytes(memory)
        return plan, Outcome(
            version=self._library.__version__,
            targets=targets,
            gpu={} if self._gpu is None else self._gpu.to_json(),
            engine={} if self._gpu is None else self._inspect(plan, logger),
            notes=notes,
        )

    def _builder(self, logger: TrtLogger) -> TrtBuilder:
        try:
            return self._library.Builder(logger)
        except TypeError as error:  # the bindings' way to say that the library returned no object
            raise EnvironmentIncompleteError(
                f"{self._flavour.title} cannot build here ({self._log.errors[0] if self._log.errors else error}): "
                "it needs an NVIDIA GPU and its driver; tensorrt-rtx builds without"
            ) from error

    def _parse(self, builder: TrtBuilder, logger: TrtLogger, model: bytes) -> TrtNetwork:
        network = builder.create_network(1 << int(self._library.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = self._library.OnnxParser(network, logger)
        if not parser.parse(model):
            reasons = parser_errors(parser, has_driver=self._gpu is not None)
            raise BundleError(f"{self._flavour.title} cannot read the graph: {reasons}")
        # An empty file is a graph without nodes to the parser.
        if not network.num_layers or not network.num_outputs:
            raise BundleError(f"{self._flavour.title} found nothing in the graph: export the bundle again")
        return network

    def _configure(self, builder: TrtBuilder, config: TrtBuilderConfig, order: BuildOrder) -> tuple[str, ...]:
        # On by default, it rounds the factors of fp32 products to 10 bits: the golden logits would not be reproduced.
        config.clear_flag(self._library.BuilderFlag.TF32)
        if order.workspace_mib is not None:
            config.set_memory_pool_limit(self._library.MemoryPoolType.WORKSPACE, order.workspace_mib * MIB)
        if order.profile is not None:
            self._add_profile(builder, config, order.profile)
        if self._gpu is not None:
            config.profiling_verbosity = self._library.ProfilingVerbosity.DETAILED  # for the inspector
        note = "" if order.timing_cache is None else load_timings(config, Path(order.timing_cache))
        return (note,) if note else ()

    def _add_profile(self, builder: TrtBuilder, config: TrtBuilderConfig, order: ProfileOrder) -> None:
        profile = builder.create_optimization_profile()
        profile.set_shape(order.input, order.minimum, order.optimum, order.maximum)
        if config.add_optimization_profile(profile) < 0:
            shapes = f"{list(order.minimum)}, {list(order.optimum)}, {list(order.maximum)}"
            raise ExportError(f"{self._flavour.title} refused the shapes {shapes} of {order.input}: {self._summary()}")

    def _set_targets(self, config: TrtBuilderConfig, capabilities: tuple[str, ...]) -> tuple[str, ...]:
        """The compute capabilities that the engine is for: those asked for, or the default ones, or that of the GPU."""
        if self._gpu is not None and not self._flavour.portable:
            return (self._gpu.capability_text,)
        if not isinstance(self._library, TargetingLibrary) or not isinstance(config, TargetingConfig):
            raise ExportError(f"this release of {self._flavour.title} cannot build for GPUs that are not here")
        known = self._library.ComputeCapability.__members__
        names = members_for(capabilities or default_capabilities(known), known)
        config.num_compute_capabilities = len(names)
        for index, name in enumerate(names.values()):
            if not config.set_compute_capability(known[name], index):
                raise ExportError(f"{self._flavour.title} refused the compute capability {name}: {self._summary()}")
        return tuple(names)

    def _inspect(self, plan: bytes, logger: TrtLogger) -> dict[str, Any]:
        """The inspector's summary; one with a reason where the plan is for other GPUs than the one here."""
        runtime = self._library.Runtime(logger)
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            return {NOT_INSPECTED: self._summary()}
        inspector = engine.create_engine_inspector()
        return summarize(inspector.get_engine_information(self._library.LayerInformationFormat.JSON))

    def _summary(self) -> str:
        return self._log.summary(has_driver=self._gpu is not None)
