"""Run with `make bench`, or `python -m benchmarks --clips DIR` on clips of your own."""

import argparse
import datetime
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import acoustic, clips, end_to_end, evaluating, jobs, reading, training, visual
from benchmarks.timing import Ratio, machine

RESULTS = Path(__file__).parent / "results"
WITHOUT_CLIPS = {"reading", "training", "evaluating"}


def main() -> None:
    benchmarks: dict[str, Callable[[clips.Clips, Path], list[Ratio]]] = {
        "acoustic": acoustic.run,
        "visual": visual.run,
        "end_to_end": end_to_end.run,
        "jobs": lambda kinds, scratch: jobs.run(
            kinds, scratch, arguments.counts, wavs, facenet=not arguments.without_facenet
        ),
        "reading": lambda kinds, scratch: reading.run(scratch),
        "training": lambda kinds, scratch: training.run(),
        "evaluating": lambda kinds, scratch: evaluating.run(),
    }
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument(
        "--clips", type=Path, nargs="+", default=[], help="folders of videos; by default a few sample clips are drawn"
    )
    parser.add_argument("--draw-720p", action="store_true", help="draw clips of 1280 x 720 beside those folders'")
    parser.add_argument("--only", choices=sorted(benchmarks), action="append", help="run this one; may be repeated")
    parser.add_argument("--shared", type=Path, help="folder whose data are measured: GRID, MELD, a street, RAVDESS")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 10], help="clips of the whole jobs")
    parser.add_argument("--without-facenet", action="store_true", help="whole jobs of sound and faces alone")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the dated table")
    arguments = parser.parse_args()
    chosen = [name for name in benchmarks if not arguments.only or name in arguments.only]
    ratios: list[Ratio] = []
    with tempfile.TemporaryDirectory() as scratch:
        kinds = (
            {}
            if set(chosen) <= WITHOUT_CLIPS
            else clips.all_clips(Path(scratch), arguments.clips, arguments.draw_720p, arguments.shared)
        )
        wavs = [] if arguments.shared is None else sorted((arguments.shared / "data" / "ravdess").rglob("*.flac"))[:10]
        for name in chosen:
            ratios += benchmarks[name](kinds, Path(scratch))
    told = ", ".join(f"{len(paths)} of {kind}" for kind, paths in kinds.items())
    title = f"{told or 'no clips'}; one thread, but for training and evaluating"
    table = Table("what", "straightforward", "ours", "times faster", "agreement", title=title)
    for ratio in ratios:
        table.add_row(*ratio.cells())
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps([ratio.to_dict() for ratio in ratios], indent=2) + "\n")
    write(ratios, chosen, arguments.results)


def write(ratios: list[Ratio], chosen: list[str], folder: Path) -> None:
    """Write the table as Markdown, and the figures as JSON beside it, dated, with the machine."""
    day = datetime.date.today().isoformat()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"bench-{'-'.join(chosen) if len(chosen) < 4 else 'all'}-{day}.md"
    about = machine()
    head = [f"# `make bench`, {day}", "", ", ".join(f"{name} {value}" for name, value in about.items()), ""]
    table = ["| what | straightforward | ours | times faster | agreement |", "|---|---|---|---|---|"]
    rows = [f"| {' | '.join(ratio.cells())} |" for ratio in ratios]
    path.write_text("\n".join([*head, *table, *rows]) + "\n")
    plain = {"date": day, "machine": about, "rows": [ratio.to_dict() for ratio in ratios]}
    path.with_suffix(".json").write_text(json.dumps(plain, indent=2) + "\n")


main()
