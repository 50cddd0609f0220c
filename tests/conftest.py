"""What holds for every test: torchvision can be imported, PyTorch takes one thread, shared fixtures are there."""

import os

import torch

from levit_benchmarks.peers.compatibility import make_torchvision_importable

pytest_plugins = ["fixtures_bundle"]

make_torchvision_importable()

# Two test processes share two cores: threads that wait for each other's cores are several times slower than one.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same for the commands that tests start
