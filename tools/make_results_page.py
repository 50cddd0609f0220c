"""Write benchmarks/results/README.md from the JSON files beside it, so that no figure is typed by hand.

Usage: make_results_page.py [--check]: with --check nothing is written, and a page that is not up to date is exit 1.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
PAGE = RESULTS / "README.md"
EXPLANATIONS = {
    "outside stages": "interpreter start, imports, exit",
    "load": "drawing untrained weights and measuring their statistics in float64; a checkpoint only has to be read",
    "fuse": "folding in float64",
    "trace": "`torch.export` to ONNX; after folding there is less to trace",
    "simplify": "onnxsim in a process of its own, its start included",
    "verify": "float64 truth, derived bound, eager, fused and exported graph on eight images",
    "write": "serialising, hashing, flushing to disk, reading back",
}


def export_cost_section(result: dict[str, Any]) -> str:
    """The table of one run of `levit_benchmarks.export_cost`."""
    summary, settings, machine = result["summary"], result["settings"], result["machine"]
    medians, extra, ratio = summary["candidates"], summary["extra_s"], summary["ratio"]
    names = list(medians)
    rows = [
        [stage, *(f"{medians[name]['stages_s'][stage]:.1f}" for name in names), f"{extra[stage]:+.1f}", explanation]
        for stage, explanation in EXPLANATIONS.items()
    ]
    rows.append(["**wall, s**", *(f"**{medians[name]['wall_s']:.1f}**" for name in names), "", ""])
    rows.append(["CPU, s", *(f"{medians[name]['cpu_s']:.1f}" for name in names), "", ""])
    rows.append(
        ["peak RSS, MiB", *(f"{medians[name]['peak_rss_bytes'] / 2**20:.0f}" for name in names), "", "largest process"]
    )
    packages = ", ".join(f"{name} {version}" for name, version in result["packages"].items() if version)
    return "\n".join(
        [
            f"## What an export of LeViT-{settings['arch']} costs",
            "",
            f"`levit-export --arch {settings['arch']}`, verification included, beside timm's and transformers' own",
            "exports, each in a fresh process with a warm page cache; medians of "
            f"{settings['rounds']} interleaved rounds, seconds.",
            f"Ours takes **{ratio['median']:.2f} times** the slower peer of the same round "
            f"({ratio['min']:.2f} to {ratio['max']:.2f}; the limit we set is {ratio['limit']:.0f}).",
            "",
            _row(["stage", *names, "ours more", "what it is"]),
            _row(["---"] * (len(names) + 3)),
            *map(_row, rows),
            "",
            '"ours more" is against the slower peer of each round, so it does not add up to a difference of medians.',
            "",
            f"Machine: {machine['cpu']}, {machine['usable_cpus']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB, "
            f"{machine['system']}, {machine['python']}; {result['date'][:10]}. {packages}.",
            "",
            f"Measured by `python -m levit_benchmarks.export_cost --arch {settings['arch']} "
            f"--rounds {settings['rounds']} --json FILE`.",
            "",
        ]
    )


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def page() -> str:
    """The whole page."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("export-cost-*.json"))]
    head = "# Results\n\nGenerated from the JSON files in this folder by `python tools/make_results_page.py`.\n"
    return "\n".join([head, *map(export_cost_section, results)])


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        return 0 if PAGE.read_text(encoding="utf-8") == page() else 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
