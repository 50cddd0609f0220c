"""What we type TensorRT's API as is there in the bindings of every release we name, read from the bindings themselves.

The libraries behind the bindings of full TensorRT cannot be had from an index, and are not needed to look: a stub with
the symbols that the bindings ask for lets them be imported. Nothing of them is called.
"""

import ast
import importlib.util
import inspect
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import pytest

from levit_engines.tensorrt import api, optional_api

# (distribution, version, module that has the classes); the oldest, a late and the newest of full TensorRT.
BINDINGS = (
    ("tensorrt-cu12-bindings", "10.0.1", "tensorrt_bindings"),
    ("tensorrt-cu12-bindings", "10.16.1.11", "tensorrt_bindings"),
    ("tensorrt-cu13-bindings", "11.4.0.106", "tensorrt_bindings"),
)
CLASSES: dict[type, str] = {
    api.Library: "",
    api.NetworkFlags: "NetworkDefinitionCreationFlag",
    api.MemoryPools: "MemoryPoolType",
    api.BuilderFlags: "BuilderFlag",
    api.Verbosities: "ProfilingVerbosity",
    api.InformationFormats: "LayerInformationFormat",
    api.Member: "DataType",
    api.Enumeration: "DataType",
    api.TrtLogger: "ILogger",
    api.TrtProgressMonitor: "IProgressMonitor",
    api.TrtTensor: "ITensor",
    api.TrtLayer: "ILayer",
    api.TrtNetwork: "INetworkDefinition",
    api.TrtParserError: "ParserError",
    api.TrtParser: "OnnxParser",
    api.TrtProfile: "IOptimizationProfile",
    api.TrtHostMemory: "IHostMemory",
    api.TrtTimingCache: "ITimingCache",
    api.TrtBuilderConfig: "IBuilderConfig",
    api.TrtBuilder: "Builder",
    api.TrtContext: "IExecutionContext",
    api.TrtInspector: "EngineInspector",
    api.TrtEngine: "ICudaEngine",
    api.TrtRuntime: "Runtime",
}
ONLY_SOME: dict[type, str] = {
    optional_api.TargetingLibrary: "",
    optional_api.TargetingConfig: "IBuilderConfig",
    optional_api.SpecializingLibrary: "",
    optional_api.HeaderCheckingRuntime: "Runtime",
    optional_api.DiagnosingLibrary: "",
    optional_api.CapturableContext: "IExecutionContext",
    optional_api.RuntimeCache: "IRuntimeCache",
    optional_api.CachingConfig: "IRuntimeConfig",
    optional_api.ConfigurableEngine: "ICudaEngine",
}
# Given the bindings' folder, the module and names of classes: what each of them has, and the module.
READER = """
import importlib, json, sys
sys.path[:0] = sys.argv[1:2]
module = importlib.import_module(sys.argv[2])
names = json.loads(sys.argv[3])
print(json.dumps({name: dir(getattr(module, name, None)) if name else dir(module) for name in names}))
"""


def members(protocol: type) -> set[str]:
    """What a protocol of ours asks for; dunders that are part of the language are left out."""
    found = {name for part in protocol.__mro__ if part not in (Protocol, object) for name in _own(part)}
    return {name for name in found if not name.startswith("__") or name == "__version__"}


def _own(part: type) -> set[str]:
    names = {*vars(part), *inspect.get_annotations(part)}
    return {name for name in names if not name.startswith(("_abc", "_is_", "__parameters"))}


def missing(found: dict[str, list[str]], table: dict[type, str]) -> dict[str, set[str]]:
    """Of each protocol, what the bindings do not have."""
    lacking = {protocol.__name__: members(protocol) - set(found[name]) for protocol, name in table.items()}
    return {name: names for name, names in lacking.items() if names}


def read(folder: Path, module: str, **environment: str) -> dict[str, list[str]]:
    names = sorted({*CLASSES.values(), *ONLY_SOME.values()})
    command = [sys.executable, "-c", READER, str(folder), module, json.dumps(names)]
    result = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout.splitlines()[-1]))


def test_every_protocol_is_looked_up() -> None:
    found = [(value, module) for module in (api, optional_api) for value in vars(module).values()]
    defined = {value for value, module in found if isinstance(value, type) and value.__module__ == module.__name__}
    assert defined == {*CLASSES, *ONLY_SOME}
    # These two are used by the language alone: as a mapping and as a buffer.
    assert {protocol for protocol in defined if not members(protocol)} == {api.Enumeration, api.TrtHostMemory}


def test_our_code_uses_every_member_that_is_typed() -> None:
    sources = [path.read_text(encoding="utf-8") for path in Path(str(api.__file__)).parent.glob("*.py")]
    used = {node.attr for text in sources for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)}
    # Those that the library calls, not we; and one that only has to be there.
    ours = {"log", "phase_start", "phase_finish", "step_complete", "DynamicShapesKernelSpecializationStrategy"}
    typed = set().union(*(members(protocol) for protocol in (*CLASSES, *ONLY_SOME)))
    assert typed - used - ours == set()


def test_our_code_names_no_number_of_a_flag_and_asks_no_version() -> None:
    folder = Path(str(api.__file__)).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.LShift):
                right = ast.unparse(node.right)
                assert right == "20" or right.startswith("int("), f"{path.name}: {ast.unparse(node)}"
            if isinstance(node, ast.Compare) and "__version__" in ast.unparse(node):
                assert isinstance(node.ops[0], (ast.NotEq, ast.Eq)), f"{path.name}: {ast.unparse(node)}"


def test_tensorrt_rtx_has_all_of_it() -> None:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip('tensorrt_rtx is not installed: pip install "levit-deploy[rtx]"')
    found = read(Path(), "tensorrt_rtx")
    assert missing(found, CLASSES) == {}
    assert missing(found, ONLY_SOME) == {}


@pytest.mark.slow
@pytest.mark.parametrize(("distribution", "version", "module"), BINDINGS)
def test_full_tensorrt_has_all_that_is_not_marked(tmp_path: Path, distribution: str, version: str, module: str) -> None:
    folder = bindings(tmp_path, distribution, version)
    (library,) = (folder / module).glob("tensorrt*.so")
    stub(library, folder)
    found = read(folder, module, LD_LIBRARY_PATH=str(folder))
    assert missing(found, CLASSES) == {}
    # The control: what only TensorRT-RTX has is found to be missing here.
    only_rtx = {"TargetingLibrary", "TargetingConfig", "HeaderCheckingRuntime", "CachingConfig"}
    assert only_rtx <= set(missing(found, ONLY_SOME))


def bindings(folder: Path, distribution: str, version: str) -> Path:
    """The unpacked wheel, downloaded for this interpreter; skips the test where no package index can be reached."""
    options = ("--quiet", "--retries=2", "--no-deps", "--only-binary=:all:", f"--dest={folder}")
    command = [sys.executable, "-m", "pip", "download", *options, f"{distribution}=={version}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    broken = [line for line in result.stderr.splitlines() if "connection broken by" in line]
    if result.returncode and broken:
        pytest.skip(f"{distribution} {version}: no package index can be reached: {broken[-1]}")
    assert result.returncode == 0, result.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        wheel.extractall(folder)
    return folder


def stub(library: Path, folder: Path) -> None:
    """Compile, under the names that `library` asks for, a library with every symbol that no other one has."""
    tools = {name: shutil.which(name) for name in ("cc", "nm", "readelf")}
    for name, path in tools.items():
        if path is None:
            pytest.skip(f"{name} is not installed: it is needed to stand in for TensorRT's libraries")
    undefined = output("nm", "--dynamic", "--undefined-only", str(library))
    symbols = [line.split()[1] for line in undefined.splitlines() if line.split()[0] == "U" and "@" not in line]
    own = [symbol for symbol in symbols if not symbol.startswith(("Py", "_Py"))]
    assert 5 <= len(own) <= 50, own
    needed = [
        line.rpartition("[")[2].rstrip("]")
        for line in output("readelf", "-d", str(library)).splitlines()
        if "NEEDED" in line
    ]
    source = folder / "stub.c"
    source.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in own))
    for name in (name for name in needed if name.startswith("libnv")):
        output("cc", "-shared", "-fPIC", "-o", str(folder / name), f"-Wl,-soname,{name}", str(source))


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_cuda_bindings_have_all_that_we_call() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason='install "levit-deploy[gpu]"', exc_type=ImportError)
    from levit_engines.tensorrt import devices, memory

    assert members(memory.CudaRuntime) - set(dir(runtime)) == set()
    for protocol, name in (
        (devices.Attributes, "cudaDeviceAttr"),
        (devices.DeviceProperties, "cudaDeviceProp"),
        (memory.CopyKinds, "cudaMemcpyKind"),
        (memory.CaptureModes, "cudaStreamCaptureMode"),
        (devices.Status, "cudaError_t"),
    ):
        lacking = members(protocol) - set(dir(getattr(runtime, name))) - {"name"}
        assert lacking == set(), name
    assert runtime.cudaError_t.cudaSuccess.name == "cudaSuccess"
    assert _has(runtime, "cudaErrorInsufficientDriver")


def _has(runtime: ModuleType | Any, name: str) -> bool:
    return name in runtime.cudaError_t.__members__
