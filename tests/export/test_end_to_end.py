"""From a checkpoint file of another library to the class of a real photograph."""

import json
from pathlib import Path

import numpy as np
import pytest
import skimage
import sklearn.datasets
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from levit_deploy.checkpoints import state_dict_for_timm
from levit_deploy.initialization import randomize
from levit_deploy.model import create_model
from levit_engines.cli import classify
from levit_export import ExportRequest
from levit_export.pipeline import run_export

SKLEARN_IMAGES = Path(sklearn.datasets.__file__).parent / "images"
SKIMAGE_IMAGES = Path(skimage.__file__).parent / "data"
PHOTOGRAPHS = [SKLEARN_IMAGES / "china.jpg", SKLEARN_IMAGES / "flower.jpg"] + [
    SKIMAGE_IMAGES / name for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "camera.png")
]
TIMM_NAMES = {"128S": "levit_128s", "128": "levit_128", "192": "levit_192", "256": "levit_256", "384": "levit_384"}


@pytest.mark.slow
@pytest.mark.parametrize("arch", TIMM_NAMES)
def test_classes_of_photographs_are_those_that_timm_finds(arch, tmp_path, capsys):
    """timm's model on timm's own transform, against our command on the bundle made from timm's file."""
    side = 224 if arch == "128S" else 96
    donor = create_model(arch, image_size=side)
    randomize(donor, 11)
    theirs = timm.create_model(TIMM_NAMES[arch], img_size=side)
    theirs.load_state_dict(state_dict_for_timm(donor))
    theirs.eval()
    save_file(
        {name: tensor.contiguous() for name, tensor in theirs.state_dict().items()}, tmp_path / "timm.safetensors"
    )
    request = ExportRequest(checkpoint=tmp_path / "timm.safetensors", output=tmp_path / "bundle", simplify=False)
    run_export(request)

    assert classify.main([str(tmp_path / "bundle"), *map(str, PHOTOGRAPHS), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["images"]
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config({"input_size": (3, side, side)}, model=theirs), is_training=False
    )
    for photograph, result in zip(PHOTOGRAPHS, shown, strict=True):
        with Image.open(photograph) as image, torch.no_grad():
            logits = theirs(transform(image.convert("RGB"))[None])[0]
        best = logits.softmax(0).topk(5)
        assert [entry["class"] for entry in result["top"]] == best.indices.tolist()
        np.testing.assert_allclose([entry["probability"] for entry in result["top"]], best.values, rtol=1e-4)


@pytest.mark.slow
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    classes=st.integers(1, 40),
    side=st.integers(1, 8).map(lambda patches: 16 * patches),
    distillation=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_class_count_resolution_and_head_exports_and_agrees(classes, side, distillation, seed, tmp_path_factory):
    """The gate inside raises if they do not agree; that it can is shown in test_gate."""
    folder = tmp_path_factory.mktemp("any")
    model = create_model("128S", num_classes=classes, image_size=side, distillation=distillation)
    randomize(model, seed)
    state = state_dict_for_timm(model)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "weights.safetensors")
    report = run_export(
        ExportRequest(checkpoint=folder / "weights.safetensors", output=folder / "bundle", simplify=False)
    )
    config = report.bundle.manifest.config
    assert (config.num_classes, config.image_size, config.distillation) == (classes, side, distillation)
    with torch.no_grad():
        golden = report.bundle.golden()
        from levit_deploy.preprocessing import normalize

        images = torch.from_numpy(normalize(golden.images, report.bundle.manifest.preprocessing)).double()
        np.testing.assert_allclose(model.double().eval()(images).numpy(), golden.logits, atol=1e-9)
