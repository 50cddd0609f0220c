"""Parameter and multiply-accumulate counts against the published code's, and against two independent counters."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from levit_deploy.architectures import VARIANTS, LevitConfig, config_for
from levit_deploy.errors import ConfigError
from levit_deploy.fusion import fuse
from levit_deploy.model import BiasTable, Levit

ARCHS = ("128S", "128", "192", "256", "384")

# Counted on the models of the authors' repository at 224 pixels and 1000 classes:
# trainable parameters with two heads, with one head, with one head and folded normalisations; with two heads
# the MACs, and what the authors call FLOPs, which is one more for each entry of a softmax.
COUNTS = {
    "128S": (7_777_058, 7_391_290, 7_371_466, 304_660_832, 305_108_946),
    "128": (9_213_936, 8_828_168, 8_803_864, 405_321_728, 406_114_880),
    "192": (10_947_069, 10_561_301, 10_533_613, 657_022_080, 657_601_916),
    "256": (18_893_876, 18_379_852, 18_343_276, 1_127_257_344, 1_128_024_056),
    "384": (39_128_836, 38_358_300, 38_305_100, 2_351_786_880, 2_352_935_380),
}
SIDES = (160, 192, 256, 288, 320, 384)
MILLION_MACS = {  # rounded twice where they were noted down, so up to 0.51 away
    "128S": (154, 206, 384, 523, 636, 979),
    "128": (201, 276, 519, 706, 872, 1362),
    "192": (325, 457, 855, 1142, 1425, 2208),
    "256": (564, 787, 1457, 1934, 2393, 3653),
    "384": (1189, 1648, 3016, 3984, 4887, 7347),
}


@cache
def shapes_only(config: LevitConfig) -> Levit:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return Levit(config).eval()


def built_parameters(config: LevitConfig) -> int:
    return sum(parameter.numel() for parameter in shapes_only(config).parameters() if parameter.requires_grad)


def executed_macs(config: LevitConfig) -> float:
    """What PyTorch's own counter sees of one forward pass; it counts two operations for each MAC."""
    side = config.image_size
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        shapes_only(config)(torch.zeros(1, 3, side, side))
    return counter.get_total_flops() / 2


def softmax_entries(config: LevitConfig) -> int:
    """Weights that all attentions of one image compute, from the grids as LeViT's authors define them."""
    grids = [config.image_size // 16]
    grids += [math.ceil(grids[0] / 2), math.ceil(math.ceil(grids[0] / 2) / 2)]
    inside = sum(x * n * r**4 for x, n, r in zip(config.depths, config.heads, grids, strict=True))
    return inside + sum(config.embed_dims[s] // config.key_dim * (grids[s] * grids[s + 1]) ** 2 for s in (0, 1))


def test_variants_are_the_five_published_ones() -> None:
    assert tuple(VARIANTS) == ARCHS
    assert all(VARIANTS[arch].arch == arch for arch in ARCHS)


@pytest.mark.parametrize("arch", ARCHS)
def test_parameters_with_two_heads_are_the_published_ones(arch: str) -> None:
    config = config_for(arch)
    assert config.parameter_count() == COUNTS[arch][0]
    assert built_parameters(config) == COUNTS[arch][0]


@pytest.mark.parametrize("arch", ARCHS)
def test_parameters_with_one_head_are_the_published_ones(arch: str) -> None:
    config = config_for(arch, distillation=False)
    assert config.parameter_count() == COUNTS[arch][1]
    assert built_parameters(config) == COUNTS[arch][1]


@pytest.mark.parametrize("arch", ARCHS)
def test_fused_parameters_are_the_published_ones(arch: str) -> None:
    model = Levit(config_for(arch))
    tables = sum(module.table.numel() for module in model.modules() if isinstance(module, BiasTable))
    fused = fuse(model)  # gathers the bias tables into constants; the published count has the tables
    assert sum(parameter.numel() for parameter in fused.parameters()) + tables == COUNTS[arch][2]


@pytest.mark.parametrize("arch", ARCHS)
def test_macs_at_224_are_the_published_ones(arch: str) -> None:
    config = config_for(arch)
    assert config.mac_count() == COUNTS[arch][3]
    assert executed_macs(config) == COUNTS[arch][3]
    assert config.mac_count() + softmax_entries(config) == COUNTS[arch][4]


@pytest.mark.parametrize("arch", ARCHS)
def test_macs_of_other_sides_are_the_published_ones(arch: str) -> None:
    millions = [config_for(arch, image_size=side).mac_count() / 1e6 for side in SIDES]
    assert millions == pytest.approx(MILLION_MACS[arch], rel=0, abs=0.51)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(
    "changes",
    [
        {"image_size": 16, "num_classes": 1},
        {"image_size": 208, "num_classes": 10, "distillation": False},
    ],
    ids=["16px-1-class", "208px-10-classes-one-head"],
)
def test_closed_forms_equal_the_built_model(arch: str, changes: dict[str, int]) -> None:
    config = config_for(arch, **changes)
    assert config.parameter_count() == built_parameters(config)
    assert config.mac_count() == executed_macs(config)


def test_counts_notice_one_head_and_one_class() -> None:
    """The negative control of the equalities above."""
    config = config_for("128S")
    fewer = (config_for("128S", distillation=False), config_for("128S", num_classes=999))
    for other in fewer:
        assert built_parameters(other) < built_parameters(config)
        assert executed_macs(other) < executed_macs(config)


@pytest.mark.parametrize(
    ("side", "resolutions"),
    [(16, (1, 1, 1)), (160, (10, 5, 3)), (208, (13, 7, 4)), (224, (14, 7, 4)), (240, (15, 8, 4)), (384, (24, 12, 6))],
)
def test_resolutions_halve_and_round_up(side: int, resolutions: tuple[int, int, int]) -> None:
    assert config_for("192", image_size=side).resolutions == resolutions


@pytest.mark.parametrize(
    ("arch", "heads"), [("128S", (8, 16)), ("128", (8, 16)), ("192", (6, 9)), ("256", (8, 12)), ("384", (12, 16))]
)
def test_downsamplers_have_the_heads_of_the_code_not_of_table_2(arch: str, heads: tuple[int, int]) -> None:
    assert tuple(config_for(arch).downsample_heads(stage) for stage in (1, 2)) == heads


@pytest.mark.parametrize("side", [0, -16, 1, 15, 17, 223, 225])
def test_side_that_is_no_multiple_of_16_is_refused(side: int) -> None:
    with pytest.raises(ConfigError, match=f"image size {side} is not a positive multiple of 16") as caught:
        config_for("256", image_size=side)
    assert config_for("256", image_size=int(str(caught.value).rsplit(" ", 1)[1]))  # the advice works


@pytest.mark.parametrize("classes", [0, -1])
def test_class_count_below_one_is_refused(classes: int) -> None:
    with pytest.raises(ConfigError, match=f"class count {classes} must be at least 1"):
        config_for("128", num_classes=classes)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, math.nan, math.inf])
def test_drop_path_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="drop path rate"):
        config_for("384", drop_path_rate=rate)


@pytest.mark.parametrize(
    ("name", "arch"),
    [
        ("384", "384"),
        ("levit-128s", "128S"),
        ("LeViT_256", "256"),
        ("LEVIT-192", "192"),
        ("levit 128", "128"),
        (" 128S ", "128S"),
        ("levit128", "128"),
    ],
)
def test_config_for_understands_the_usual_spellings(name: str, arch: str) -> None:
    assert config_for(name) == VARIANTS[arch]


@pytest.mark.parametrize("name", ["", "512", "levit", "128 S", "deit-384", "3 84", "levit-128s-224"])
def test_unknown_architecture_lists_the_choices(name: str) -> None:
    with pytest.raises(ConfigError, match="choose from 128S, 128, 192, 256, 384") as caught:
        config_for(name)
    assert repr(name) in str(caught.value)


def test_only_384_drops_paths_by_default() -> None:
    assert {arch: config_for(arch).drop_path_rate for arch in ARCHS if config_for(arch).drop_path_rate} == {"384": 0.1}
