"""Make the photographs that travel with the toolkit, from scikit-image's freely licensed ones.

Run `python tools/make_golden_photographs.py levit_deploy/data/photographs` with scikit-image 0.26.0 and
Pillow 13.0.0 installed; the same versions write the same bytes. Changing the files changes every golden set.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import sys
from pathlib import Path

from PIL import Image

SOURCES = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
}
SHORTER_SIDE_PX = 288  # the largest of the usual evaluation sizes plus its margin, at about 30 kB a file
JPEG_QUALITY = 90


def make_photograph(source: Path, target: Path) -> None:
    """Write `source` as a 4:2:0 JPEG whose shorter side is SHORTER_SIDE_PX, without metadata."""
    with Image.open(source) as image:
        rgb = image.convert("RGB")
    scale = SHORTER_SIDE_PX / min(rgb.size)
    size = (round(rgb.width * scale), round(rgb.height * scale))
    smaller = rgb.resize(size, Image.Resampling.LANCZOS)
    smaller.save(target, quality=JPEG_QUALITY, subsampling="4:2:0", optimize=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="existing folder to write the JPEG files to")
    folder = parser.parse_args().folder
    package = importlib.util.find_spec("skimage")  # its files are read in place: nothing of it is run
    if package is None or package.origin is None:
        sys.stderr.write("scikit-image is missing: pip install scikit-image==0.26.0\n")
        return 4
    for name, file_name in SOURCES.items():
        target = folder / f"{name}.jpg"
        make_photograph(Path(package.origin).parent / "data" / file_name, target)
        digest = hashlib.sha256(target.read_bytes()).hexdigest()
        sys.stdout.write(f"{digest}  {target.name}  {target.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
