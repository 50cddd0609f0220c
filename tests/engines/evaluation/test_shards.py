"""levit-eval on tar and parquet files: the same images give the same counts as from folders, bad files are named."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from fixtures_bundle import BundleFactory
from PIL import Image

from levit_deploy.errors import EnvironmentIncompleteError, ImageError, InputError
from levit_engines.cli.evaluate import main
from levit_engines.evaluation import shards
from levit_engines.evaluation.dataset import read_dataset
from levit_engines.evaluation.samples import StoredImage

LABELS = tuple(f"name {index}" for index in range(5))
Labelled = Sequence[tuple[bytes, int]]


def encoded(colour: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (50, 40), colour).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def images() -> Labelled:
    generator = np.random.default_rng(0)
    return [
        (encoded(tuple(int(value) for value in generator.integers(0, 256, 3))), int(generator.integers(5)))
        for _ in range(60)
    ]


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def write_tar(path: Path, images: Labelled, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for number, (content, label) in enumerate(images):
            add(archive, f"train/{number:04}.cls", f"{label}\n".encode())
            add(archive, f"train/{number:04}.json", b"{}")
            add(archive, f"train/{number:04}.png", content)
    return path


def write_parquet(path: Path, images: Labelled, rows: int = 7) -> Path:
    table = pyarrow.table(
        {
            "image": [{"bytes": content, "path": f"{number}.png"} for number, (content, _) in enumerate(images)],
            "label": [label for _, label in images],
        }
    )
    pyarrow.parquet.write_table(table, path, row_group_size=rows)
    return path


def write_folders(folder: Path, images: Labelled) -> Path:
    for number, (content, label) in enumerate(images):
        path = folder / LABELS[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def write_named(path: Path, images: Labelled) -> Path:
    """Raw bytes beside names of classes, and other columns."""
    columns = {
        "jpg": [content for content, _ in images],
        "cls": [LABELS[label] for _, label in images],
        "note": ["x"] * len(images),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def write_several(folder: Path, images: Labelled) -> Path:
    folder.mkdir()
    (folder / "README.md").touch()
    write_tar(folder / "a.tar", images[:20])
    write_parquet(folder / "b.parquet", images[20:])
    return folder


WRITERS: dict[str, Callable[[Path, Labelled], Path]] = {
    "shard.tar": write_tar,
    "shard.parquet": write_parquet,
    "named.parquet": write_named,
    "several": write_several,
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_images_are_counted_alike_wherever_they_lie(
    name: str, images: Labelled, make_bundle: BundleFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = str(make_bundle(batch="batch", maximum=8).path)
    counts: list[Any] = []
    for data in (write_folders(tmp_path / "folders", images), WRITERS[name](tmp_path / name, images)):
        assert main([bundle, "--data", str(data), "--json", "--threads", "1", "--workers", "4"]) == 0
        counts.append(json.loads(capsys.readouterr().out)["accuracy"])
    assert counts[0] == counts[1]
    assert counts[0]["images"] == 60
    assert 0 < counts[0]["top1"]["count"] < 60


@pytest.mark.parametrize("name", ["shard.tar", "shard.parquet"])
def test_the_order_and_the_bytes_are_those_that_were_written(name: str, images: Labelled, tmp_path: Path) -> None:
    dataset = read_dataset(WRITERS[name](tmp_path / name, images), LABELS)
    assert [sample.label for sample in dataset.samples] == [label for _, label in images]
    assert len({sample.name for sample in dataset.samples}) == len(images)
    backwards = []
    for sample in reversed(dataset.samples):  # no group of rows is read in the order of the file
        assert not isinstance(sample.source, Path)
        backwards.append(sample.source.read())
    assert backwards[::-1] == [content for content, _ in images]
    again = read_dataset(tmp_path / name, LABELS).fingerprint()
    assert again == dataset.fingerprint()
    WRITERS[name](tmp_path / name, images[1:])
    assert read_dataset(tmp_path / name, LABELS).fingerprint() != again


def test_what_is_no_image_in_a_shard_is_named_and_can_be_left_out(
    images: Labelled, make_bundle: BundleFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = [*images[:9], (b"no image", 3)]
    bundle = str(make_bundle().path)
    for data, named in (
        (write_tar(tmp_path / "a.tar", broken), "a.tar/train/0009"),
        (write_parquet(tmp_path / "b.parquet", broken), "b.parquet/9"),
    ):
        assert main([bundle, "--data", str(data), "--threads", "1"]) == 3
        assert named in capsys.readouterr().err
        assert main([bundle, "--data", str(data), "--threads", "1", "--skip-broken", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["accuracy"]["images"] == 9


def one_member(name: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with tarfile.open(path, "w") as archive:
            add(archive, name, encoded((1, 2, 3)))

    return write


def twice(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("a.png", "a.cls", "a.jpg"):
            add(archive, name, b"1")


def columns(**values: list[Any]) -> Callable[[Path], None]:
    return lambda path: pyarrow.parquet.write_table(pyarrow.table(values), path)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("x.tar", lambda path: path.write_bytes(b"no tar" * 200), "x.tar: cannot be read as a tar file"),
        ("x.tar", lambda path: write_tar(path, [(b"1", 1)], "w:gz"), "that is not compressed"),
        ("x.tar", one_member("0001.png"), r"0001 has an image and no \.cls"),
        ("x.tar", one_member("0001.txt"), "holds no image"),
        ("x.tar", twice, "has two images a"),
        ("x.tar", lambda path: write_tar(path, [(b"1", 7)]), "7 is no class of the network"),
        ("x.parquet", lambda path: path.write_bytes(b"PAR1" * 9), "x.parquet: cannot be read as a parquet file"),
        ("x.parquet", columns(label=[1], picture=[b"1"]), "no column holds the image; it has label, picture"),
        ("x.parquet", columns(image=[b"1"]), "no column holds the class"),
        ("x.parquet", columns(image=[b"1"], label=[-1]), "-1 is no class"),
        ("x.parquet", columns(image=[], label=[]), "holds no image"),
        ("x.zip", lambda path: path.write_bytes(b"PK"), "neither a folder of labelled images nor"),
        ("x", lambda path: None, "does not exist"),
    ],
)
def test_files_that_are_no_data_set_are_refused(
    name: str, write: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(InputError, match=message):
        read_dataset(tmp_path / name, LABELS)


def stored(path: Path) -> StoredImage:
    (sample,) = read_dataset(path, LABELS).samples
    assert not isinstance(sample.source, Path)
    return sample.source


def test_a_file_that_is_cut_off_later_or_holds_no_bytes_fails_the_image(
    images: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = stored(write_tar(tmp_path / "a.tar", images[:1]))
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:2600])
    with pytest.raises(ImageError, match="ends within it"):
        source.read()
    columns(image=[{"path": "elsewhere.png"}], label=[1])(tmp_path / "b.parquet")
    with pytest.raises(ImageError, match="holds no encoded image"):
        stored(tmp_path / "b.parquet").read()
    monkeypatch.setattr(shards, "MAX_IMAGE_BYTES", 10)
    with pytest.raises(ImageError, match="more than"):
        source.read()


def test_only_a_few_groups_of_rows_are_kept(images: Labelled, tmp_path: Path) -> None:
    shard = shards.ParquetShard(write_parquet(tmp_path / "a.parquet", images, rows=2))
    for group in range(30):
        shard.image(group, 1)
    assert len(shard._groups) == shards.GROUPS_KEPT


def test_what_parquet_needs_is_said(images: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "a.parquet", images[:1])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(EnvironmentIncompleteError, match=r"levit-deploy\[parquet\]"):
        read_dataset(path, LABELS)
