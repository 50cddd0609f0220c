"""Write benchmarks/results/README.md, and what the README says of speed, from JSON: no figure is typed by hand.

Usage: make_results_page.py [--check]: with --check nothing is written, and what is not up to date is exit 1.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from levit_benchmarks.bench import markdown, plots
from levit_benchmarks.bench.document import from_json, is_record
from levit_benchmarks.bench.record import RunRecord

ROOT = Path(__file__).parents[1]
IN_README = ("bench-kernels-batch-1", "bench-128S-peers")
"""The runs that the README shows, where they are there; the page has them all."""
EXPLANATIONS = {
    "outside stages": "interpreter start, imports, exit",
    "load": "drawing untrained weights and measuring their statistics in float64; a checkpoint only has to be read",
    "fuse": "folding in float64",
    "trace": "`torch.export` to ONNX; after folding there is less to trace",
    "simplify": "onnxsim in a process of its own, its start included",
    "verify": "float64 truth, derived bound, eager, fused and exported graph and the batch suite on twelve images",
    "write": "serialising, hashing, flushing to disk, reading back",
}


def export_cost_section(result: dict[str, Any]) -> str:
    """The table of one run of `levit_benchmarks.export_cost`."""
    summary, settings = result["summary"], result["settings"]
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
            *_table(["stage", *names, "ours more", "what it is"], rows),
            "",
            '"ours more" is against the slower peer of each round, so it does not add up to a difference of medians.',
            "",
            _provenance(result),
            "",
            f"Measured by `python -m levit_benchmarks.export_cost --arch {settings['arch']} "
            f"--rounds {settings['rounds']} --json FILE`.",
            "",
        ]
    )


def bound_study_section(result: dict[str, Any]) -> str:
    """The table of one file of `levit_benchmarks.bound_study`: its rungs, and its largest shares by kind of input."""
    variants = result["variants"]
    first = _common(list(variants.values()))
    settings = first["settings"]
    return "\n".join(
        [
            f"## What the derived bounds are worth, at {settings['image_size']} pixels",
            "",
            "Largest |logit error| of an input as a share of its bound, over random and real inputs; the truth is the",
            "eager network in float64. A share above 1 refutes the bound; where the largest or the median share is",
            f"below 0.01, it says nothing. Untrained weights, new ones every {settings['inputs_per_network']} inputs.",
            "",
            *_bound_tables(variants),
            "",
            "Inputs of each variant: "
            + ", ".join(f"{count} {kind}" for kind, count in first["inputs"]["kinds"].items())
            + f"; random crops of {len(first['inputs']['photographs'])} photographs, named in the JSON.",
            "",
            _provenance(first),
            "",
            f"Measured by `python -m levit_benchmarks.bound_study --arch {' '.join(variants)} --inputs "
            f"{settings['inputs']} --image-size {settings['image_size']} --batch-size {settings['batch_size']} "
            f"--seed {settings['seed']} --json FILE`.",
            "",
        ]
    )


def _bound_tables(variants: dict[str, Any]) -> list[str]:
    rungs = [(arch, name, rung) for arch, variant in variants.items() for name, rung in variant["rungs"].items()]
    kinds = sorted({kind for _, _, rung in rungs for kind in rung["largest_by_kind"]})
    by_kind = [[arch, name, *(_share(rung["largest_by_kind"][kind]) for kind in kinds)] for arch, name, rung in rungs]
    return [
        *_table(
            ["variant", "rung", "inputs", "exceeded", "largest", "median", "1st percentile", "smallest", "verdict"],
            [[arch, name, *_bound_figures(rung), variants[arch]["verdict"]] for arch, name, rung in rungs],
        ),
        "",
        "The largest share by kind of input:",
        "",
        *_table(["variant", "rung", *kinds], by_kind),
    ]


def blame_study_section(result: dict[str, Any]) -> str:
    """The tables of one run of `levit_benchmarks.blame_study`: modules named by stage and variant, and the inexact."""
    summary, settings = result["summary"], result["settings"]
    groups = [*summary["by_stage"].items(), *(("LeViT-" + arch, one) for arch, one in summary["by_variant"].items())]
    inexact = [row for row in result["defects"] if not row["exact"]]
    shares = [float(control["probe_share"]) for control in result["controls"]]
    return "\n".join(
        [
            f"## Whether the wrong module is named, at {settings['image_size']} pixels",
            "",
            f"{summary['defects']} seeded defects of {summary['kinds']} kinds, one at a time, in every hop of "
            f"{len(settings['archs'])} variants; each made the",
            "logits miss their bound. Exact: the module that the ladder names is the broken one. Within one: it, or",
            "one directly before or after it in the order in which modules are probed; a miss with no name is neither.",
            f"Drawn again: {summary['passed_over']['harmless']} that no bound notices, "
            f"{summary['passed_over']['refused']} that do not run. Without a defect, "
            f"{'nothing' if all(control['named'] is None for control in result['controls']) else 'something'} is named",
            f"in {len(shares)} honest stages: their values reach {max(shares):.2f} of their bounds at most.",
            "",
            *_table(
                ["stage or variant", "defects", "exact", "within one"],
                [[name, *_blame_figures(figures)] for name, figures in (*groups, ("**all**", summary))],
            ),
            "",
            *(["Not exact:", "", *_inexact_table(inexact), ""] if inexact else []),
            _provenance(result),
            "",
            f"Measured by `python -m levit_benchmarks.blame_study --arch {' '.join(settings['archs'])} --defects "
            f"{settings['defects']} --image-size {settings['image_size']} --seed {settings['seed']} --json FILE`.",
            "",
        ]
    )


def verdict_study_section(result: dict[str, Any]) -> str:
    """What one run of `levit_benchmarks.verdict_study` found: rates of false verdicts and of slow-downs found."""
    summary, settings = result["summary"], result["settings"]
    planted = f"{settings['planted_share']:.0%}"
    rows = [
        [
            "two alike: told apart",
            *_rate(summary["false_verdicts"]),
            f"at most {summary['limits']['false_verdicts']:.0%}",
        ],
        [
            f"slower by {planted}: found slower",
            *_rate(summary["planted_found"]),
            f"at least {summary['limits']['planted_found']:.0%}",
        ],
    ]
    conditions = [
        f"{name} {min(values):.0%} to {max(values):.0%} of the runs' CPU time"
        for name, key in (("stolen by the hypervisor", "steal"),)
        if (values := [run[key] for run in result["runs"] if run[key] is not None])
    ]
    return "\n".join(
        [
            "## How often levit-bench's verdicts are right",
            "",
            f"{summary['runs']} runs of {settings['rounds']} rounds, each of three fresh processes of "
            f"{settings['network']} on {settings['engine']}, batch {settings['batch']},",
            f"{settings['threads']} threads: two alike, and one whose every call takes {planted} longer.",
            "",
            *_table(["verdict", "runs", "share", "exact 95 % interval", "wanted"], rows),
            "",
            *([f"Meanwhile: {'; '.join(conditions)}.", ""] if conditions else []),
            _provenance(result),
            "",
            f"Measured by `python -m levit_benchmarks.verdict_study BUNDLE --runs {summary['runs']} --rounds "
            f"{settings['rounds']} --processes {settings['processes']} --min-seconds {settings['min_seconds']:g} "
            "--json FILE`.",
            "",
        ]
    )


def _rate(rate: dict[str, Any]) -> list[str]:
    low, high = rate["interval"]
    return [str(rate["count"]), f"{rate['rate']:.1%}", f"{low:.1%} to {high:.1%}"]


def precision_study_section(result: dict[str, Any]) -> str:
    """What one run of `levit_benchmarks.precision_study` found: a row for every bundle."""
    costs = result["costs"]
    rows = [
        [
            f"LeViT-{cost['arch']}",
            _bundle_words(cost),
            f"{cost['sqnr_db']:.1f} dB",
            f"{cost['flips']} of {cost['images']} ({cost['flips_interval'][0]:.2%} to {cost['flips_interval'][1]:.2%})",
            f"{cost['top1']:.2%}",
            f"{cost['float32_top1']:.2%}",
        ]
        for cost in costs
    ]
    return "\n".join(
        [
            "## What each precision costs a network that was trained",
            "",
            "LeViTs trained on handwritten digits at 64 pixels, against their float32 bundles, on images that were",
            "neither trained nor calibrated on; in brackets the exact 95 % interval of the share. *with the budget*:",
            "`--min-sqnr-db 40 --max-flips 0.5%`, counted on the calibration images. What this cannot show: ImageNet.",
            "",
            *_table(["variant", "bundle", "signal to error", "best classes that flipped", "top-1", "float32"], rows),
            "",
            _provenance(result),
            "",
            "Measured by `python -m levit_benchmarks.trained_digits --arch VARIANT --epochs 15 -o digits` for each "
            "variant, then `python -m levit_benchmarks.precision_study digits -o FILE`.",
            "",
        ]
    )


def _bundle_words(cost: dict[str, Any]) -> str:
    if cost["precision"] != "int8":
        return str(cost["precision"])
    budget = f", with the budget: {cost['kept_layers']} of {cost['layers']} layers in float" if cost["budget"] else ""
    return f"int8, {cost['target']}, {cost['calibration_method']}{budget}"


def headline_section(result: dict[str, Any]) -> str:
    """The paper's Table 3 as ratios and speeds, published beside measured."""
    engines = list(result["runs"])
    environment = next(iter(result["runs"].values()))["environment"]
    pairs = [
        [f"{pair['network']} : {pair['other']}", f"{pair['published']:.2f}", *map(_ratio, pair["measured"].values())]
        for pair in result["pairs"]
    ]
    speeds = [
        [
            speed["network"],
            f"{speed['published']:.1f}",
            *(f"{speed['measured'][engine]:.1f}" if engine in speed["measured"] else "–" for engine in engines),
        ]
        for speed in result["speeds"]
    ]
    return "\n".join(
        [
            "## The paper's Table 3, measured again",
            "",
            f"Published: {result['source']}.",
            "Measured here with one thread and batch 16, all normalisations really folded. How many times as fast the",
            "first network is as the second, the median of the rounds and the 95 % interval:",
            "",
            *_table(["networks", "published", *engines], pairs),
            "",
            "Images a second:",
            "",
            *_table(["network", "published", *engines], speeds),
            "",
            _provenance({**environment}),
            "",
            "Measured by `python -m levit_benchmarks.headline BUNDLE... -o FILE`.",
            "",
        ]
    )


def session_creation_section(result: dict[str, Any]) -> str:
    """What a session costs that is made of the graph that levit-build optimised."""
    rows = [
        [
            f"LeViT-{network['arch']}",
            *(f"{seconds * 1e3:.0f} ms" for seconds in network["summary"]["median_s"].values()),
            *(f"{network['summary']['ratio'][way]:.2f}" for way in ("optimized", "opened")),
        ]
        for network in result["networks"]
    ]
    head = ["", "graph as exported", "optimised graph", "opened, hashes checked", "optimised", "opened"]
    return "\n".join(
        [
            "## A session of ONNX Runtime, in a fresh process",
            "",
            "Medians, and of the ratios within a round to the graph as exported; the import comes before. We want",
            f"{result['networks'][0]['summary']['limit']:g} at most for the session of the optimised graph.",
            "",
            *_table(head, rows),
            "",
            _provenance(result),
            "",
            "Measured by `python -m levit_benchmarks.session_creation BUNDLE... --rounds "
            f"{result['settings']['rounds']} -o FILE`, each bundle after `levit-build BUNDLE --engine onnxruntime`.",
            "",
        ]
    )


def fuzzing_section(result: dict[str, Any]) -> str:
    """What the fuzz targets of the C++ runtime were given, and that nothing was found."""
    rows = [
        [
            f"`{target['target']}`",
            f"{target['cpu_s'] / 60:.0f} min",
            str(target["inputs"]),
            str(target["edges"]),
            str(target["kept_inputs"]),
            f"`{target['program_sha256'][:12]}`",
        ]
        for target in result["targets"]
    ]
    return "\n".join(
        [
            "## Fuzzing the C++ runtime",
            "",
            "libFuzzer with AddressSanitizer and UndefinedBehaviorSanitizer; no input broke a target. CPU time is that",
            "of the target itself, in turns of two minutes over one growing corpus; edges are what was reached of its",
            "code.",
            f"We want {result['settings']['cpu_seconds'] / 60:.0f} min for each.",
            "",
            *_table(["target", "CPU time", "inputs", "edges", "inputs kept", "program"], rows),
            "",
            _provenance(result),
            "",
            "Measured by `cmake --preset fuzz && cmake --build --preset fuzz`, then `python -m "
            "levit_benchmarks.fuzzing build/fuzz -o FILE`, which goes on where it was stopped.",
            "",
        ]
    )


def _ratio(measured: dict[str, Any]) -> str:
    interval = measured["interval"]
    return f"{measured['ratio']:.2f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")


def _blame_figures(figures: dict[str, Any]) -> list[str]:
    return [str(figures["defects"]), f"{figures['exact']:.1%}", f"{figures['within_one']:.1%}"]


def _inexact_table(rows: list[dict[str, Any]]) -> list[str]:
    places = [f"{row['arch']}, {row['hop']} {row['form']}".strip() for row in rows]
    names = [[f"`{row['expected']}`", f"`{row['named']}`"] for row in rows]
    cells = [[place, row["kind"], *name] for place, row, name in zip(places, rows, names, strict=True)]
    return _table(["where", "kind", "broken", "named"], cells)


def _common(variants: list[dict[str, Any]]) -> dict[str, Any]:
    """The first of `variants`, which speaks for all: but for the architecture they were measured alike."""
    conditions = [
        {
            "settings": one["settings"] | {"arch": None},
            "machine": one["machine"] | {"thread_variables": None},  # the settings say how many threads there were
            "packages": one["packages"],
            "inputs": one["inputs"],
        }
        for one in variants
    ]
    if any(condition != conditions[0] for condition in conditions):
        raise SystemExit("the variants of a bound study were not all measured alike: keep them in several files")
    return variants[0]


def _bound_figures(rung: dict[str, Any]) -> list[str]:
    shares = (rung[field] for field in ("largest", "median", "percentile_1", "smallest"))
    return [str(rung["inputs"]), str(rung["exceeded"]), *map(_share, shares)]


def _share(value: float | str) -> str:
    return f"{float(value):.3f}"


def _provenance(result: dict[str, Any]) -> str:
    """Where, when and with which packages it was measured."""
    machine = result["machine"]
    packages = [f"{name} {version}" for name, version in result["packages"].items() if version]
    place = (
        f"Machine: {machine['cpu']}, {machine['usable_cpus']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB, "
        f"{machine['system']}, {machine['python']}; {result['date'][:10]}."
    )
    return f"{place} {', '.join(packages)}." if packages else place


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [_row(head), _row(["---"] * len(head)), *map(_row, rows)]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def bench_runs(results: Path) -> list[tuple[str, RunRecord]]:
    """The runs of levit-bench in a folder, by name."""
    documents = [(path, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(results.glob("*.json"))]
    return [(path.stem, from_json(document, str(path))) for path, document in documents if is_record(document)]


def page(results: Path, runs: list[tuple[str, RunRecord]]) -> str:
    """The whole page of results."""
    head = "# Results\n\nGenerated from the JSON files in this folder by `python tools/make_results_page.py`.\n"
    costs, studies = _results(results, "export-cost-*.json"), _results(results, "bound-study-*.json")
    blames, verdicts = _results(results, "blame-study*.json"), _results(results, "verdict-study*.json")
    sections = [
        map(headline_section, _results(results, "headline*.json")),
        map(session_creation_section, _results(results, "session-creation*.json")),
        map(fuzzing_section, _results(results, "fuzzing*.json")),
        map(verdict_study_section, verdicts),
        map(precision_study_section, _results(results, "precision-study*.json")),
        map(export_cost_section, costs),
        map(bound_study_section, studies),
        map(blame_study_section, blames),
    ]
    benches = (markdown.section(record, name) for name, record in runs)
    return "\n".join([head, *benches, *(text for section in sections for text in section)])


def _results(results: Path, pattern: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob(pattern))]


def pictures(runs: list[tuple[str, RunRecord]]) -> dict[str, str]:
    """Accuracy over latency of each run that has it for several variants: SVG by name of file."""
    drawn = ((name, plots.frontier(record)) for name, record in runs if len(_variants(record)) > 1)
    return {f"{name}-frontier.svg": drawing.svg for name, drawing in drawn if drawing is not None}


def _variants(record: RunRecord) -> set[str]:
    networks = {candidate.network for group in record.groups for candidate in group.candidates}
    return {network for network in networks if network.startswith("LeViT-")}


def documents(root: Path, runs: list[tuple[str, RunRecord]], names: list[str]) -> dict[Path, str]:
    """The text of both documents as it should be; `names` are of the pictures that the README shows."""
    results, readme = root / "benchmarks" / "results", root / "README.md"
    shown = [run for name in IN_README for run in runs if run[0] == name] or runs
    names = [name for name in names if any(name.startswith(run[0]) for run in shown)]
    block = markdown.readme_block(shown, names, "benchmarks/results")
    return {
        results / "README.md": page(results, runs),
        readme: markdown.fill(readme.read_text(encoding="utf-8"), block),
    }


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Write both documents and the pictures; with --check compare the documents, and see that the pictures are there.

    How a picture is drawn differs from release to release of Matplotlib, so their bytes are not compared.
    """
    results = root / "benchmarks" / "results"
    runs = bench_runs(results)
    drawn = pictures(runs) if runs else {}
    expected = documents(root, runs, list(drawn))
    if arguments == ["--check"]:
        are_there = all((results / name).is_file() for name in drawn)
        return (
            0 if are_there and all(path.read_text(encoding="utf-8") == text for path, text in expected.items()) else 1
        )
    expected |= {results / name: svg for name, svg in drawn.items()}
    for path, text in expected.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
