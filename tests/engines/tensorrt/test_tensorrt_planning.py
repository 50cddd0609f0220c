# ruff: noqa: N802 (names are those of the bindings)
"""Planning against a fake of full TensorRT, whose libraries are in no index: the calls, and what is made of answers."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorrt_fakes import FakeCuda, FakeLibrary, Member

from levit_deploy.errors import BundleError, ConfigError, EnvironmentIncompleteError, ExportError, InputError
from levit_engines.tensorrt.devices import Gpu
from levit_engines.tensorrt.flavours import FLAVOURS
from levit_engines.tensorrt.order import BuildOrder, Outcome, ProfileOrder
from levit_engines.tensorrt.planning import Planner

GPU = Gpu(name="H200", capability=(9, 0), driver="CUDA 13.5")
PROFILE = ProfileOrder(input="images", minimum=(1, 3), optimum=(2, 3), maximum=(4, 3))


class Config:
    def __init__(self, library: "BuildingFake") -> None:
        self.library = library
        self.progress_monitor: Any = None
        self.profiling_verbosity: Any = None
        self.cache: Any = None
        self.pools: dict[str, int] = {}
        self.flags = {"TF32"}

    def clear_flag(self, flag: Member) -> None:
        self.flags.discard(flag.name)

    def set_memory_pool_limit(self, pool: Member, size: int) -> None:
        self.pools[pool.name] = size

    def add_optimization_profile(self, profile: Any) -> int:
        return 0 if self.library.takes_profiles else -1

    def create_timing_cache(self, content: bytes) -> Any:
        return SimpleNamespace(content=content, serialize=lambda: content + b"+")

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache.content == b"of another GPU":
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self.cache


class BuildingFake(FakeLibrary):
    """As `tensorrt`, with a builder whose plan is `plan`."""

    def __init__(self) -> None:
        super().__init__(FakeCuda((9, 0)))
        self.plan: bytes | None = b"vtrt"
        self.takes_profiles = self.has_builder = self.parses = True
        self.layers = 1
        self.config = Config(self)
        self.flags: list[int] = []

    def Builder(self, logger: Any) -> Any:
        self.logger = logger
        if not self.has_builder:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        profile = SimpleNamespace(set_shape=lambda *_: None)
        return SimpleNamespace(
            create_network=self._network,
            create_builder_config=lambda: self.config,
            create_optimization_profile=lambda: profile,
            build_serialized_network=self._build,
        )

    def _network(self, flags: int) -> Any:
        self.flags.append(flags)
        tensor = SimpleNamespace(name="t", dtype=Member("FLOAT"), shape=(1,))
        layer = SimpleNamespace(type=Member("SHUFFLE"), num_outputs=1, get_output=lambda _: tensor)
        return SimpleNamespace(
            num_layers=self.layers,
            get_layer=lambda _: layer,
            num_inputs=1,
            get_input=lambda _: tensor,
            num_outputs=1,
            get_output=lambda _: tensor,
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        return SimpleNamespace(parse=lambda _: self.parses, num_errors=0)

    def _build(self, network: Any, config: Config) -> bytes | None:
        monitor = config.progress_monitor
        monitor.phase_start("Building", None, 2)
        assert monitor.step_complete("Building", 0) is True
        monitor.phase_finish("Building")
        if self.plan is None:
            self.say("ERROR", "no kernel was found")
            self.say("INFO", "not an error")
        return self.plan

    def Runtime(self, logger: Any) -> Any:
        engine = SimpleNamespace(
            create_engine_inspector=lambda: SimpleNamespace(get_engine_information=lambda form: self._tell(form))
        )
        return SimpleNamespace(deserialize_cuda_engine=lambda plan: engine if plan == b"vtrt" else None)

    def _tell(self, form: Member) -> str:
        assert form.name == "JSON"
        return self.information


def plan(
    library: BuildingFake, gpu: Gpu | None = GPU, engine: str = "tensorrt", **changes: Any
) -> tuple[bytes, Outcome]:
    fields: dict[str, Any] = {
        "engine": engine,
        "profile": PROFILE,
        "compute_capabilities": (),
        "workspace_mib": None,
        "timing_cache": None,
    }
    order = BuildOrder(**{**fields, **changes})
    planner = Planner(library, FLAVOURS[engine], gpu, "no NVIDIA driver")
    return planner.build(b"model", order, on_network=lambda _: None, on_progress=lambda *_: None)


def test_a_build_on_a_gpu_says_where_and_what() -> None:
    library = BuildingFake()
    library.information = json.dumps({"Layers": [{"LayerType": "gemm", "Outputs": [{"Datatype": "FP32"}]}]})
    content, outcome = plan(library, workspace_mib=3)
    assert content == b"vtrt"
    assert outcome.gpu == {"name": "H200", "compute_capability": "9.0", "driver": "CUDA 13.5"}
    assert outcome.targets == ("9.0",)
    assert outcome.engine == {"layer_count": 1, "layers": {"gemm": 1}, "dtypes": {"FLOAT": 1}}
    assert library.flags == [1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED)]
    assert library.config.pools == {"WORKSPACE": 3 << 20}
    assert library.config.flags == set()
    assert library.config.profiling_verbosity.name == "DETAILED"


def test_an_engine_that_cannot_be_loaded_is_built_but_not_inspected() -> None:
    library = BuildingFake()
    library.plan = b"for another GPU"
    assert plan(library)[1].engine == {"not_inspected": "no message was given"}


def test_no_builder_and_no_gpu_are_the_environment() -> None:
    library = BuildingFake()
    library.has_builder = False
    with pytest.raises(EnvironmentIncompleteError, match=r"TensorRT cannot build here .*tensorrt-rtx builds without"):
        plan(library)
    with pytest.raises(EnvironmentIncompleteError, match="builds for the GPU at hand: no NVIDIA driver"):
        plan(BuildingFake(), None)


def test_what_the_library_refuses_is_an_error() -> None:
    library = BuildingFake()
    library.takes_profiles = False
    with pytest.raises(ExportError, match=r"refused the shapes \[1, 3\], \[2, 3\], \[4, 3\] of images"):
        plan(library)
    library = BuildingFake()
    library.plan = None
    with pytest.raises(ExportError, match=r"could not build the engine: no kernel was found$"):
        plan(library)
    library = BuildingFake()
    library.layers = 0
    with pytest.raises(BundleError, match="found nothing"):
        plan(library)
    library = BuildingFake()
    library.parses = False
    with pytest.raises(BundleError, match="cannot read the graph"):
        plan(library)
    with pytest.raises(ExportError, match="cannot build for GPUs that are not here"):
        plan(BuildingFake(), engine="tensorrt-rtx")


def test_timings_are_kept_and_grow(tmp_path: Path) -> None:
    file = tmp_path / "timings"
    for expected in (b"+", b"++"):
        assert plan(BuildingFake(), timing_cache=str(file))[1].notes == ()
        assert file.read_bytes() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["timings"]


def test_timings_of_another_gpu_are_not_used_and_that_is_said(tmp_path: Path) -> None:
    file = tmp_path / "timings"
    file.write_bytes(b"of another GPU")
    (note,) = plan(BuildingFake(), timing_cache=str(file))[1].notes
    assert "were not used" in note
    assert file.read_bytes() == b"+"


def test_timings_that_cannot_be_kept_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        plan(BuildingFake(), timing_cache=str(tmp_path / "nowhere" / "timings"))
    with pytest.raises(InputError, match="cannot be read"):
        plan(BuildingFake(), timing_cache=str(tmp_path))
