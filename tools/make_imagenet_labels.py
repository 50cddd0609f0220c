"""Write levit_deploy/data/imagenet1k_labels.txt and imagenet1k_synsets.txt from the tables that timm carries.

Run `python tools/make_imagenet_labels.py` where timm is installed. Class i is the i-th synset in sorted
order; its name is the synset's first lemma in WordNet, except where two synsets share that.
"""

from __future__ import annotations

import sys
from collections import Counter
from importlib import metadata
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "levit_deploy" / "data"

DISTINGUISHED = {
    "n02012849": "crane (bird)",
    "n03126707": "crane (machine)",
    "n03710637": "maillot",
    "n03710721": "maillot, tank suit",
}
"""Names for the synsets whose first lemma is not theirs alone."""


def _tables() -> Path:
    # Found, not imported: `import timm` would need torch and torchvision.
    return Path(str(metadata.distribution("timm").locate_file("timm/data/_info")))


def imagenet_synsets() -> list[str]:
    """1000 synsets by class index."""
    return _tables().joinpath("imagenet_synsets.txt").read_text(encoding="utf-8").split()


def imagenet_labels() -> list[str]:
    """1000 distinct names by class index; ValueError when timm's tables are not what they were."""
    tables, synsets = _tables(), imagenet_synsets()
    lemmas = tables.joinpath("imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    lemmas_of = dict(line.split("\t", 1) for line in lemmas)
    first = {synset: lemmas_of[synset].split(", ")[0].strip() for synset in synsets}
    shared = {synset for synset in synsets if list(first.values()).count(first[synset]) > 1}
    names = [DISTINGUISHED[synset] if synset in shared else first[synset] for synset in synsets]
    if synsets != sorted(synsets) or len(Counter(names)) != 1000 or shared != set(DISTINGUISHED):
        raise ValueError("timm's synset tables have changed: check DISTINGUISHED")
    return names


def main() -> int:
    """Write the files."""
    DATA.mkdir(parents=True, exist_ok=True)
    for name, lines in (("labels", imagenet_labels()), ("synsets", imagenet_synsets())):
        path = DATA / f"imagenet1k_{name}.txt"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
