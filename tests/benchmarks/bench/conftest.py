"""A bundle that proves itself, and a peer that misbehaves as it is told, for worker processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures_bundle import BundleFactory
from proven_bundles import proven

from levit_benchmarks.bench.subject import Order
from levit_deploy.bundle import Bundle

FAKE_PEER = """
import os, signal, subprocess, sys, threading, time
import numpy as np
from levit_benchmarks.bench.record import Candidate
from levit_deploy.errors import EnvironmentIncompleteError

def spin():
    while True:
        pass

class Subject:
    def __init__(self, order):
        self.order, self.what = order, order.options.get("what", os.environ.get("FAKE_WHAT", ""))
    def check(self):
        timed = open(self.order.options["file"]).read() if self.what == "file" else ""
        return Candidate(
            name=self.order.name, network=os.environ.get("FAKE_NETWORK", self.order.network), engine="fake",
            engine_version="1", precision="fp32", image_size=32, macs=1000,
            timed_sha256=timed.rjust(64, "0"), checked="nothing", details={})
    def images(self):
        return np.zeros((self.order.batch, 3, 32, 32), np.float32)
    def infer(self, images):
        if self.what == "crash in a call":
            os.write(2, b"the kernel gave up\\n")
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.what == "noise":
            os.write(1, b"native library says hello\\n")
            print("so does Python")
        if self.what in ("sleep", "side by side"):
            time.sleep(float(self.order.options[f"{self.order.threads} threads"]))
        else:
            time.sleep(0.0005)
        return np.zeros((self.order.batch, 5), np.float32)
    def close(self):
        pass
    @property
    def side_by_side(self):
        return self.what == "side by side"

class GpuSubject(Subject):
    calls = 0
    def infer(self, images):
        self.calls += 1
        return super().infer(images)
    def gpu_ns(self):
        return 1000 + self.calls

class Peer:
    name, packages = "fake", ("json",)
    def prepare(self, order, folder):
        (folder / "prepared").write_text("yes")
    def import_engine(self, order):
        import json.tool
    def open_subject(self, order):
        what = order.options.get("what", os.environ.get("FAKE_WHAT", ""))
        if what == "crash at opening":
            os._exit(3)
        if what == "hang":
            time.sleep(600)
        if what == "lack":
            raise EnvironmentIncompleteError("install it")
        if what == "bug":
            raise ZeroDivisionError("nought")
        if what == "spin":
            threading.Thread(target=spin, daemon=True).start()
        if what == "log":
            print(os.getpid(), file=open(order.options["file"], "a"))
        if what == "grandchild":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            open(order.options["file"], "w").write(str(child.pid))
        return GpuSubject(order) if what == "gpu" else Subject(order)

PEER = Peer()
"""

OrderFactory = Callable[..., Order]


@pytest.fixture
def fake_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OrderFactory:
    """Orders of a peer in another process; its options say how it fails."""
    package = tmp_path / "path" / "fakes"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "peer.py").write_text(FAKE_PEER, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))

    def make(name: str = "fake", **options: str) -> Order:
        return Order(name=name, threads=1, batch=1, network="LeViT-128S", peer="fakes.peer", options=options)

    return make


@pytest.fixture
def proven_bundle(make_bundle: BundleFactory) -> Callable[..., Bundle]:
    """A bundle with true golden logits; `error` is added to the last of them."""

    def make(name: str = "bundle", *, error: float = 0.0, **options: object) -> Bundle:
        return proven(make_bundle, name, error=error, **options)

    return make
