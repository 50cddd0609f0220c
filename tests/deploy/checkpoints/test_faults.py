"""Every fault of a file is one line that names the file, the fault and what was expected; exit code 3."""

from __future__ import annotations

import argparse
import io
import os
import pathlib
import re
import zipfile

import pytest
import safetensors.torch
import torch
from torch import nn

from levit_deploy.checkpoints import load_checkpoint, state_dict_for_timm
from levit_deploy.errors import CheckpointError, ConfigError


def fault(path, **options) -> str:
    """The message for loading `path`, checked for what all messages must be."""
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path, **options)
    message = str(error.value)
    assert error.value.exit_code == 3
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message


@pytest.fixture
def state(small, writers):
    return writers["official"](small)


class Exploit:
    def __reduce__(self):
        return os.system, ("touch /tmp/levit-exploit-ran",)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (Exploit(), "posix.system"),
        ({"model": {}, "args": pathlib.PurePosixPath("/")}, "pathlib"),
        ({"model": {}, "args": argparse.ArgumentParser}, "argparse.ArgumentParser"),
        ({"message_hub": argparse.Action}, "argparse.Action"),
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ],
    ids=["call", "path", "class", "action", "module"],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_objects_other_than_tensors_are_refused(content, named, zipped, saved):
    message = fault(saved(content, _use_new_zipfile_serialization=zipped))
    assert named in message
    assert "refused" in message
    assert "save the state dict alone" in message
    assert "weights_only" not in message
    assert not pathlib.Path("/tmp/levit-exploit-ran").exists()


def test_missing_file(tmp_path):
    assert "no such file" in fault(tmp_path / "absent.pth")


def test_folder(tmp_path):
    assert "is a folder" in fault(tmp_path)


def test_special_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    assert "not a regular file" in fault(tmp_path / "pipe.pth")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"<!doctype html><html><body>404 Not Found</body></html>" * 9, "is a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (bytes(range(256)) * 8, "unknown format"),
        (b"\x80\x02garbage", "truncated or damaged"),
        (b"PK\x03\x04garbage", "truncated or damaged"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "unknown format"),
    ],
    ids=["empty", "html", "lfs", "noise", "pickle", "zip", "png"],
)
def test_other_files(content, said, tmp_path):
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    assert said in fault(path)


@pytest.mark.parametrize(
    "content",
    [
        b"x",
        b"\xff" * 64,
        (2**40).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{]",
        b"text, not data",
    ],
    ids=["short", "ones", "long-header", "bad-json", "text"],
)
def test_bad_safetensors(content, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert "not a valid safetensors file" in fault(path)


@pytest.mark.parametrize("part", [0.01, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncated_files(kind, part, state, tmp_path):
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")
    if kind == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    assert re.search("truncated", fault(path))


def test_compressed_archive(state, saved, tmp_path):
    path = tmp_path / "small.pth"
    with zipfile.ZipFile(saved(state)) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, bytes(len(source.read(entry))))
    assert "compressed archive" in fault(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_archive(tmp_path):
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), buffer)
    (tmp_path / "script.pt").write_bytes(buffer.getvalue())
    assert "TorchScript" in fault(tmp_path / "script.pt")


@pytest.mark.parametrize("content", [[1, 2], 3, torch.zeros(3), "text"], ids=["list", "int", "tensor", "str"])
def test_not_a_dict(content, saved):
    assert "instead of a dict" in fault(saved(content))


@pytest.mark.parametrize("content", [{}, {"model": {}}], ids=["bare", "model"])
def test_empty_dict(content, saved):
    assert "no tensors" in fault(saved(content))


def test_other_networks(saved):
    message = fault(saved({"conv1.weight": torch.zeros(1), "bn1.weight": torch.zeros(1)}))
    assert "is not a LeViT: expected keys like 'patch_embed.0.c.weight' (official)" in message
    assert "found 'conv1.weight', 'bn1.weight'" in message
    lucidrains = {
        "conv_embedding.0.weight": torch.zeros(1),
        "backbone.0.layers.0.0.fn.to_q.0.weight": torch.zeros(1),
    }
    assert "is not a LeViT" in fault(saved(lucidrains))


@pytest.mark.parametrize("origin", ["official", "transformers", "mmpretrain"])
def test_missing_head(origin, small, writers, saved):
    heads = {"official": "head", "transformers": "classifier", "mmpretrain": "head"}
    state = {k: v for k, v in writers[origin](small).items() if not k.startswith(heads[origin])}
    assert "without its classification head" in fault(saved(state))
    prefix = {"official": "", "transformers": "levit.", "mmpretrain": "backbone."}[origin]
    state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    assert "without its classification head" in fault(saved(state))


def test_only_the_distillation_head(state, saved):
    state = {key: tensor for key, tensor in state.items() if not key.startswith("head.")}
    assert "'head.l.weight' is missing" in fault(saved(state))


@pytest.mark.parametrize(
    "key",
    [
        "patch_embed.2.bn.running_var",
        "patch_embed.6.c.weight",
        "blocks.0.m.qkv.c.weight",
        "blocks.4.kv.c.weight",
        "blocks.9.m.2.bn.bias",
        "blocks.12.attention_biases",
        "head_dist.l.bias",
    ],
)
def test_missing_key_is_named_as_in_the_file(key, state, saved):
    del state[key]
    assert f"key {key!r} is missing" in fault(saved(state))


def test_missing_key_of_a_fused_layer(state, fuse_in_file, saved):
    state = fuse_in_file(state, "c", lambda path: path == "blocks.0.m.qkv")
    del state["blocks.0.m.qkv.bias"]
    assert "key 'blocks.0.m.qkv.bias' is missing" in fault(saved(state))


@pytest.mark.parametrize("number", [1, 2, 4, 5, 21])
def test_missing_block(number, state, saved):
    state = {key: tensor for key, tensor in state.items() if not key.startswith(f"blocks.{number}.")}
    message = fault(saved(state))
    assert f"the block before 'blocks.{number + 1}" in message or "is missing" in message


@pytest.mark.parametrize(
    ("origin", "stem"), [("transformers", "levit.encoder.stages.1."), ("mmpretrain", "backbone.stages.1.")]
)
def test_missing_stage(origin, stem, small, writers, saved):
    state = {key: tensor for key, tensor in writers[origin](small).items() if not key.startswith(stem)}
    assert re.search("is missing|is expected", fault(saved(state)))


def test_unexpected_key_names_the_nearest(state, saved):
    state["blocks.0.m.qkv.c.wieght"] = state["blocks.0.m.qkv.c.weight"]
    state["other"] = torch.zeros(1)
    message = fault(saved(state))
    assert "unexpected key 'blocks.0.m.qkv.c.wieght' and 1 more" in message
    assert "nearest expected key is 'blocks.0.m.qkv.c.weight'" in message


def test_bias_beside_a_normalisation(state, saved):
    state["blocks.0.m.qkv.c.bias"] = torch.zeros(256)
    assert "unexpected key 'blocks.0.m.qkv.c.bias'" in fault(saved(state))


def test_layer_both_fused_and_not(state, saved):
    state["blocks.0.m.qkv.weight"] = state["blocks.0.m.qkv.c.weight"]
    state["blocks.0.m.qkv.bias"] = torch.zeros(256)
    assert "also has the fused form" in fault(saved(state))


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("patch_embed.0.c.weight", (16, 3, 1, 1)),
        ("blocks.0.m.qkv.c.weight", (255, 128)),
        ("blocks.0.m.proj.1.bn.bias", (127,)),
        ("blocks.0.m.attention_biases", (4, 35)),
        ("blocks.4.attention_biases", (8, 35)),
        ("blocks.7.m.0.c.weight", (512, 256, 3, 3)),
        ("head_dist.l.weight", (8, 384)),
        ("head.l.weight", (7, 384, 1, 1)),
        ("head.l.weight", (0, 384)),
        ("head.l.weight", (7,)),
    ],
)
def test_wrong_shape(key, shape, state, saved):
    state[key] = torch.zeros(shape)
    message = fault(saved(state))
    # The first attention of a stage also says which variant it is, the first head how many classes there are.
    assert f"key {key!r} has" in message or "none of the five" in message or "'head.l.bias' has" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("key", ["blocks.0.m.qkv.c.weight", "blocks.4.attention_biases", "head.bn.running_mean"])
def test_values_that_are_not_finite(key, value, state, saved):
    state[key].view(-1)[3] = value
    assert f"key {key!r} holds NaN or infinite values" in fault(saved(state))


def test_float64_beyond_float32(state, saved):
    state["blocks.0.m.qkv.c.weight"] = state["blocks.0.m.qkv.c.weight"].double() * 1e300
    assert "holds NaN or infinite" in fault(saved(state))


def test_negative_variance(state, saved):
    state["blocks.3.m.0.bn.running_var"][0] = -1e-6
    assert "key 'blocks.3.m.0.bn.running_var' holds a negative variance" in fault(saved(state))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool, torch.complex64])
def test_wrong_dtype(dtype, state, saved):
    state["blocks.0.m.qkv.c.weight"] = state["blocks.0.m.qkv.c.weight"].to(dtype)
    assert f"is of {dtype}" in fault(saved(state))


@pytest.mark.parametrize("value", [None, 3, "text", [1.0]])
def test_value_that_is_no_tensor(value, state, saved):
    state["blocks.0.m.qkv.c.weight"] = value
    assert f"holds a {type(value).__name__}" in fault(saved(state))


def test_key_that_is_no_string(state, saved):
    assert "is not a string" in fault(saved(state | {3: torch.zeros(1)}))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**12),
        torch.zeros(1, 384).expand(10**9, 384),
        torch.zeros(3, 3).to_sparse(),
        torch.empty(10**9, 384, device="meta"),
    ],
    ids=["vector", "head", "sparse", "meta"],
)
def test_hostile_tensors_are_not_materialised(tensor, state, saved):
    state["head.l.weight"] = tensor
    message = fault(saved(state))
    assert "'head.l.weight'" in message
    assert "expected" in message


@pytest.mark.parametrize("key", ["blocks.0.m.attention_bias_idxs", "blocks.4.attention_bias_idxs"])
def test_another_bias_index(key, state, saved):
    state[key] = state[key].flip(0)
    assert f"key {key!r} differs from the bias index |dy|·6 + |dx|" in fault(saved(state))


def test_batch_counter_of_another_shape(state, saved):
    state["blocks.0.m.qkv.bn.num_batches_tracked"] = torch.zeros(4)
    assert "'blocks.0.m.qkv.bn.num_batches_tracked'" in fault(saved(state))


def test_another_architecture_than_asked_for(state, saved):
    message = fault(saved(state), arch="levit-256")
    assert "LeViT-128S" in message
    assert "LeViT-256" in message


def test_unknown_architecture_is_a_usage_error(state, saved):
    with pytest.raises(ConfigError, match="choose from"):
        load_checkpoint(saved(state), arch="512")


def test_another_network_with_levit_names(state, saved):
    for key in list(state):
        if (match := re.match(r"blocks\.(\d+)", key)) and int(match.group(1)) >= 12:
            del state[key]
    message = fault(saved(state))
    assert "dims 128/256, heads 4/6, depths 2/3" in message
    assert "384: dims 384/512/768" in message


def hostile_number(state, number):
    """timm's names with a stage of this number."""
    return {
        re.sub(r"^stages\.2\.", f"stages.{number}.", name): tensor
        for name, tensor in state_dict_for_timm(state).items()
    }


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", ["99999999999", "9" * 5000], ids=["range", "digits"])
def test_absurd_numbers_in_names_are_refused_at_once(small, tmp_path, number):
    path = tmp_path / "hostile.pth"
    torch.save(hostile_number(small, number), path)
    assert "stages" in fault(path)


@pytest.mark.timeout(60)
def test_absurd_bias_table_is_refused_before_anything_of_its_size_is_made(small, tmp_path):
    state = state_dict_for_timm(small)
    state = {
        name: torch.zeros(tensor.shape[0], 1000 * 1000) if name.endswith("attention_biases") else tensor
        for name, tensor in state.items()
    }
    path = tmp_path / "hostile.pth"
    torch.save(state, path)
    assert "16000" in fault(path)
