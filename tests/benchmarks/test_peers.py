"""The peers of levit-bench: what they prepare, what they time, and that neither is ever another network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from fixtures_bundle import tiny_manifest, tiny_members
from torch import nn
from torch._inductor.exc import InvalidCxxCompiler

from levit_benchmarks.bench.subject import Order
from levit_benchmarks.peers.engines import ONNX_FILE, PROGRAMS_FOLDER, Setting, engine_for
from levit_benchmarks.peers.levit import build_timm, weights_of
from levit_benchmarks.peers.reference import reference_of
from levit_benchmarks.peers.registry import PEERS, load_peer
from levit_benchmarks.peers.timm_network import TimmNetwork, count_macs, fold_normalizations
from levit_deploy.architectures import config_for
from levit_deploy.bundle import GOLDEN, Bundle, open_bundle, write_bundle
from levit_deploy.checkpoints import state_dict_for_timm
from levit_deploy.errors import CheckpointError, ConfigError, EnvironmentIncompleteError, InputError, ParityError
from levit_deploy.golden import golden_images
from levit_deploy.preprocessing import preprocessing_for
from levit_deploy.reference import truth_of
from levit_export.loading import load_weights
from levit_export.request import ExportRequest

pytest.importorskip("timm")
pytest.importorskip("transformers")

SIDE, BATCH = 64, 5  # twelve golden images make three batches, the last of them filled up
LEVIT_PEERS = ("timm-eager", "timm-onnxruntime", "transformers-onnxruntime")
MACS = {"efficientnet-b0": 385_814_752, "deit-tiny": 1_261_003_776}
# DeiT-Tiny on paper: 197 patches and class tokens plus one, 192 wide, 12 layers, two heads.
T, C = 14 * 14 + 2, 192
DEIT_TINY = 14 * 14 * 3 * 16 * 16 * C + 12 * (12 * T * C * C + 2 * T * T * C) + 2 * C * 1000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    """LeViT-128S at 64 pixels, untrained: its weights, golden images and tolerances; peers never read the graph."""
    loaded = load_weights(ExportRequest(arch="128S", image_size=SIDE))
    contract = preprocessing_for("untrained", SIDE)
    names, pixels = golden_images(contract)
    truth = truth_of(loaded.model, names, pixels, contract)
    manifest = tiny_manifest(
        config=loaded.model.config,
        preprocessing=contract,
        weights=dict(loaded.record),
        golden_tolerance=tuple(map(float, truth.bounds)),
        classes=1000,
    )
    members = tiny_members(classes=1000) | {GOLDEN: truth.golden.to_bytes()}
    return write_bundle(tmp_path_factory.mktemp("bundles") / "levit", manifest, members)


def changed(bundle: Bundle, path: Path, members: dict[str, bytes] | None = None, **fields: object) -> Bundle:
    """A copy of `bundle` at `path` with other files or fields of its manifest."""
    files = {name: bundle.read(name) for name in bundle.manifest.members} | (members or {})
    return write_bundle(path, replace(bundle.manifest, **fields), files)


@pytest.fixture(scope="module")
def order(bundle, tmp_path_factory) -> Callable[..., Order]:
    """An order for a peer; prepared once for the module where `prepared` is asked for."""
    folders = tmp_path_factory.mktemp("peers")

    def make(peer: str, *, prepared: bool = True, batch: int = BATCH, **changes: object) -> Order:
        folder = folders / f"{peer}-{batch}"
        fields = {"threads": 1, "network": "LeViT-128S", "bundle": bundle.path, "peer": peer, "folder": folder}
        found = Order(name=f"my {peer}", batch=batch, **{**fields, **changes})
        if prepared and not folder.exists():
            load_peer(peer).prepare(found, folder)
        return found

    return make


@pytest.mark.parametrize("name", PEERS)
def test_every_name_is_of_a_peer_that_has_it(name):
    peer = load_peer(name)
    assert peer.name == name
    assert "torch" in peer.packages


def test_an_unknown_peer_is_refused_with_the_choices():
    with pytest.raises(ConfigError, match="timm-eager, timm-compile"):
        load_peer("timm")


@pytest.mark.slow
@pytest.mark.parametrize("name", LEVIT_PEERS)
def test_the_same_network_gives_the_golden_logits(name, order, bundle):
    subject = load_peer(name).open_subject(order(name))
    candidate, images = subject.check(), subject.images()
    assert (candidate.name, candidate.network, candidate.image_size) == (f"my {name}", "LeViT-128S", SIDE)
    assert candidate.macs == bundle.manifest.config.mac_count()
    assert candidate.checked.startswith("12 images at batch 5 against the bundle's float64 golden logits")
    assert images.shape == (BATCH, 3, SIDE, SIDE)
    assert np.array_equal(images[4], images[0])  # there are four photographs
    logits = subject.infer(images)
    expected = bundle.golden().logits[[0, 1, 2, 3, 0]]
    assert logits.dtype == np.float32
    assert np.abs(logits - expected).max() <= max(bundle.manifest.golden_tolerance)
    subject.close()


@pytest.mark.slow
def test_the_same_export_in_openvino(order, bundle):
    folder = order("transformers-onnxruntime").folder  # an export of its own would be this one again
    opened = engine_for(load_peer("transformers-openvino").engine).open(folder, setting(image_size=SIDE, batch=BATCH))
    assert reference_of(bundle).check(opened.infer, BATCH).startswith("12 images")
    opened.close()


@pytest.mark.slow
def test_an_exported_peer_is_opened_without_pytorch(order):
    found = order("timm-onnxruntime")
    code = (
        "import sys; sys.modules['torch'] = sys.modules['timm'] = None\n"
        "from pathlib import Path; from levit_benchmarks.bench.subject import Order\n"
        "from levit_benchmarks.peers.registry import load_peer\n"
        f"order = Order(name='peer', threads=1, batch={BATCH}, network='', peer='timm-onnxruntime',\n"
        f"    bundle=Path({str(found.bundle)!r}), folder=Path({str(found.folder)!r}))\n"
        "load_peer(order.peer).open_subject(order).check()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_other_logits_than_the_golden_ones_are_refused(order, bundle, tmp_path):
    golden = bundle.golden()
    other = replace(golden, logits=golden.logits + 3 * max(bundle.manifest.golden_tolerance))
    altered = changed(bundle, tmp_path / "other", {GOLDEN: other.to_bytes()})
    with pytest.raises(ParityError):
        load_peer("timm-eager").open_subject(order("timm-eager", bundle=altered.path)).check()


def test_a_missing_altered_or_foreign_preparation_is_refused(order, tmp_path):
    peer = load_peer("timm-eager")
    with pytest.raises(InputError, match="not prepared"):
        peer.open_subject(order("timm-eager", prepared=False, folder=tmp_path))
    with pytest.raises(ConfigError, match="no folder"):
        peer.open_subject(order("timm-eager", folder=None))
    with pytest.raises(ConfigError, match=r"'batch': '5'.*'batch': '6'"):
        peer.open_subject(replace(order("timm-eager"), batch=6))
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in order("timm-eager").folder.iterdir():
        content = bytearray(file.read_bytes())
        content[-1] ^= file.suffix == ".safetensors"
        (copy / file.name).write_bytes(content)
    with pytest.raises(InputError, match="altered"):
        peer.open_subject(order("timm-eager", folder=copy))


def test_weights_are_those_of_the_bundle_or_refused(order, bundle, tmp_path):
    model = weights_of(order("timm-eager", prepared=False))
    checkpoint = tmp_path / "weights.pth"
    torch.save(state_dict_for_timm(model), checkpoint)
    record = dict(bundle.manifest.weights)
    trained = changed(bundle, tmp_path / "trained", weights=record | {"origin": "timm", "seed": None})
    with pytest.raises(ConfigError, match="checkpoint=FILE"):
        weights_of(order("timm-eager", prepared=False, bundle=trained.path))
    options = {"checkpoint": str(checkpoint)}
    found = weights_of(order("timm-eager", prepared=False, bundle=trained.path, options=options))
    assert torch.equal(found.head.linear.weight, model.head.linear.weight)
    reseeded = changed(bundle, tmp_path / "reseeded", weights=record | {"seed": 1})
    with pytest.raises(CheckpointError, match="not the weights"):
        weights_of(order("timm-eager", prepared=False, bundle=reseeded.path))
    with pytest.raises(ConfigError, match="none is given"):
        weights_of(order("timm-eager", prepared=False, bundle=None))


@pytest.mark.slow
@pytest.mark.parametrize("name", MACS)
def test_other_networks_are_compared_with_themselves_before_folding(name, order):
    subject = load_peer(name).open_subject(order(name, batch=1))
    candidate = subject.check()
    assert candidate.macs == MACS[name]
    assert candidate.image_size == 224
    assert candidate.checked.startswith("4 images at batch 1 against eager PyTorch in float64")
    operators = [node.op_type for node in onnx.load(order(name, batch=1).folder / ONNX_FILE).graph.node]
    assert "BatchNormalization" not in operators
    spread = np.ptp([subject.infer(subject.images()), *(subject.infer(np.flip(subject.images(), 3).copy()),)], axis=0)
    assert spread.max() > 1e-2  # the network sees its images: a check of logits that never change would prove nothing
    subject.close()


def test_other_networks_on_another_engine(order, tmp_path):
    found = order("deit-tiny", prepared=False, batch=1, options={"engine": "torch-eager"}, folder=tmp_path)
    peer = load_peer("deit-tiny")
    peer.prepare(found, tmp_path)
    subject = peer.open_subject(found)
    assert subject.check().engine == "torch-eager"
    assert subject.infer(subject.images()).shape == (1, 1000)
    subject.close()
    with pytest.raises(ConfigError, match="no peer runs on 'tensorrt': choose from onnxruntime"):
        peer.prepare(replace(found, options={"engine": "tensorrt"}), tmp_path)


def test_folding_as_the_official_speed_test_does_is_found_out(order, monkeypatch, tmp_path):
    """It drops the normalisations, and with them, in today's timm, the activations."""

    def drop(network: nn.Module) -> nn.Module:
        for parent in list(network.modules()):
            for name, module in list(parent.named_children()):
                if isinstance(module, nn.BatchNorm2d):
                    setattr(parent, name, nn.Identity())
        return network

    peer = load_peer("efficientnet-b0")
    found = order(
        "efficientnet-b0", prepared=False, batch=1, options={"engine": "torch-eager"}, folder=tmp_path / "dropped"
    )
    peer.prepare(found, found.folder)
    with monkeypatch.context() as patched:
        patched.setattr(TimmNetwork, "fuse", lambda self, network: drop(network))
        # Nothing is left for the statistics of the file: that alone would be refused, so they are not looked for.
        patched.setattr(
            nn.Module,
            "load_state_dict",
            lambda self, state, load=nn.Module.load_state_dict: load(self, state, strict=False),
        )
        subject = peer.open_subject(found)
        with pytest.raises(ParityError):
            subject.check()


def test_a_normalisation_that_cannot_be_folded_is_not_dropped():
    with pytest.raises(Exception, match="follow no convolution"):
        fold_normalizations(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)))


def test_multiply_accumulates_are_counted_exactly():
    assert count_macs(build_timm(config_for("128S")), 224) == config_for("128S").mac_count() == 304_660_832
    assert MACS["deit-tiny"] == DEIT_TINY


def setting(*, batch: int = 2, image_size: int = 8) -> Setting:
    return Setting(batch=batch, image_size=image_size, threads=1, build=lambda: nn.Flatten())


def test_programs_are_compiled_before_the_timing_and_kept_in_the_folder(tmp_path, monkeypatch):
    """Without a compiler: what torch.compile really does is tried with our own engine."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")
    calls = []

    def compiled(network: nn.Module, *, mode: str) -> Callable[[torch.Tensor], torch.Tensor]:
        def call(images: torch.Tensor) -> torch.Tensor:
            calls.append((mode, os.environ["TORCHINDUCTOR_CACHE_DIR"], tuple(images.shape)))
            return network(images)

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    engine = engine_for("torch-compile-max-autotune")
    engine.write(nn.Flatten(), setting(), tmp_path)
    programs = str(tmp_path / PROGRAMS_FOLDER)
    assert set(calls) == {("max-autotune", programs, (2, 3, 8, 8))}
    assert len(calls) > 1  # timm's LeViT is compiled again at its second call
    opened = engine.open(tmp_path, setting())
    assert opened.infer(np.ones((2, 3, 8, 8), np.float32)).shape == (2, 192)
    assert calls[-1][1] == os.environ["TORCHINDUCTOR_CACHE_DIR"] == "elsewhere"
    opened.close()


def test_a_missing_compiler_is_named(tmp_path, monkeypatch):
    def compiled(network: nn.Module, *, mode: str) -> Callable[[torch.Tensor], torch.Tensor]:
        def call(images: torch.Tensor) -> torch.Tensor:
            raise InvalidCxxCompiler

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    threads = torch.get_num_threads()
    with pytest.raises(EnvironmentIncompleteError, match=r"needs a C\+\+ compiler"):
        engine_for("torch-compile").write(nn.Flatten(), replace(setting(), threads=threads + 1), tmp_path)
    assert torch.get_num_threads() == threads


def test_the_description_of_a_preparation_holds_no_path(order):
    document = json.loads((order("timm-eager").folder / "prepared.json").read_text())
    assert document["settings"] == {
        "peer": "timm-eager",
        "engine": "torch-eager",
        "network": "LeViT-128S",
        "batch": str(BATCH),
    }
    assert str(order("timm-eager").folder) not in json.dumps(document)
    assert open_bundle(order("timm-eager").bundle).manifest.config.image_size == SIDE
