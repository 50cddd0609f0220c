"""What levit-tune says on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from levit_benchmarks.bench import findings
from levit_benchmarks.bench.figures import UNKNOWN, counted, significant
from levit_benchmarks.bench.record import RunRecord
from levit_benchmarks.tune.document import PUBLISHED_NOTE
from levit_benchmarks.tune.finding import Finding, best_known, choose, frontier, latency_ms, nearest_miss
from levit_benchmarks.tune.goal import CANNOT_TELL, MEETS, MISSES, Goal, shortfall_text
from levit_benchmarks.tune.search import Search
from levit_deploy.decoding import printable

STYLES = {MEETS: "green", MISSES: "red"}
SCREENED = "screened only"


def print_result(found: Search, goal: Goal, record: RunRecord, console: Console) -> None:
    """The tables, the answer, and the commands that make it."""
    known = best_known(found.screened, found.confirmed)
    _say(console, f"Wanted:   {goal.text}")
    _say(console, f"Machine:  {findings.machine_sentence(record.environment)}")
    _say(console, f"Versions: {findings.packages_sentence(record.environment)}")
    on_it = frontier(known, goal)
    if on_it:
        title = "The frontier: of all that was measured, nothing is both more accurate and faster"
        _print_table(console, title, on_it, goal)
    _print_table(console, f"Measured in turn, {counted(len(found.confirming.rounds), 'round')}", found.confirmed, goal)
    dropped = len(found.screened) - len(found.confirmed)
    minutes = f"{found.seconds / 60:.1f} min"
    _say(console, f"{counted(len(found.screened), 'option')} screened, {dropped} dropped after that; {minutes}")
    _say(console, f"The {PUBLISHED_NOTE}")
    _say(console, f"Conditions: {findings.conditions_sentence([one.conditions for one in found.confirming.rounds])}")
    for one in found.left_out:
        _say(console, f"! left out: {one.name}: {one.reason}", style="yellow")
    _say(console, "")
    for sentence in answer_sentences(found, goal):
        _say(console, sentence, style="bold")
    answer = choose(found.confirmed, goal) or nearest_miss(known, goal)
    _say(console, "")
    _say(console, "It is built and run by" if answer.option.commands else "It is run by")
    for command in answer.option.run_commands(goal.scenario):
        _say(console, f"  {command}")
    if answer.option.commands:
        _say(console, "")
        _say(
            console, "--pretrained downloads the weights that the published top-1 is of; --checkpoint FILE takes yours"
        )


def answer_sentences(found: Search, goal: Goal) -> list[str]:
    """What meets the goal, or how nearly something does; and what is more accurate and could not be decided."""
    answer = choose(found.confirmed, goal)
    if answer is None:
        nearest = nearest_miss(best_known(found.screened, found.confirmed), goal)
        figures = shortfall_text(goal, latency_ms(nearest, goal), nearest.images_per_s)
        if nearest.outcome == CANNOT_TELL:
            return [f"Nothing is shown to meet it. Too close to tell: {_described(nearest)}: {figures}"]
        return [f"Nothing meets it. The nearest: {_described(nearest)}: {figures}"]
    sentences = [f"Take {_described(answer)}: {_figures(answer, goal)}"]
    sentences += [
        f"Too close to tell, a larger --budget may: {_described(one)}: {_figures(one, goal)}"
        for one in found.confirmed
        if one.outcome == CANNOT_TELL and (one.option.top1 or 0.0) > (answer.option.top1 or 0.0)
    ]
    return sentences


def _described(one: Finding) -> str:
    option = one.option
    accuracy = "" if option.top1 is None else f" (published top-1 {option.top1:g} %)"
    return (
        f"{option.network}{accuracy}, {option.precision}, on {option.engine} with {option.threads_text} "
        f"at batch {option.batch}"
    )


def _figures(one: Finding, goal: Goal) -> str:
    which = f"p{goal.percentile:g}" if goal.percentile in one.percentiles_ms else "median"
    return f"{which} {significant(latency_ms(one, goal))} ms, {significant(one.images_per_s)} images/s"


def _print_table(console: Console, title: str, found: Sequence[Finding], goal: Goal) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False, collapse_padding=True)
    table.add_column("network", overflow="fold")
    for column in ("top-1, %", "precision", "engine", "threads", "batch", "p50, ms"):
        table.add_column(column, justify="left" if column in ("precision", "engine", "threads") else "right")
    if goal.percentile != 50:
        table.add_column(f"p{goal.percentile:g}, ms", justify="right")
    for column in ("images/s", "calls"):
        table.add_column(column, justify="right")
    table.add_column("verdict")
    for one in found:
        option = one.option
        cells = [
            option.network,
            UNKNOWN if option.top1 is None else f"{option.top1:g}",
            option.precision,
            option.engine,
            option.threads_text,
            str(option.batch),
            significant(one.percentiles_ms.get(50.0)),
            *((significant(one.percentiles_ms.get(goal.percentile)),) if goal.percentile != 50 else ()),
            significant(one.images_per_s),
            str(one.count),
        ]
        verdict = one.outcome or SCREENED
        table.add_row(*(Text(printable(cell)) for cell in cells), Text(verdict, style=STYLES.get(verdict, "")))
    console.print()
    console.print(Text(printable(title), style="bold"))
    console.print(table)


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(printable(text), style=style))
