"""Run with `make bench`, or `python -m benchmarks --clips DIR` on clips of your own."""

import argparse
import json
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import faces, reading
from benchmarks.timing import Ratio


def sample_clips(folder: Path) -> list[Path]:
    from mse_pipeline import sample

    sample.build(folder, clips_per_emotion=(2, 1, 1))
    return sorted(folder.rglob("*.mp4"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--clips", type=Path, help="folder of videos; by default a few sample clips are built")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.clips:
            clips = sorted(
                path for path in arguments.clips.rglob("*") if path.suffix.lower() in {".mp4", ".mpg", ".mkv"}
            )
        else:
            clips = sample_clips(Path(scratch) / "clips")
        ratios: list[Ratio] = [*faces.run(clips), *reading.run(Path(scratch))]
    table = Table(
        "what", "straightforward", "ours", "times faster", "same result", title=f"{len(clips)} clips, one thread"
    )
    for ratio in ratios:
        table.add_row(*ratio.cells())
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps([ratio.to_dict() for ratio in ratios], indent=2) + "\n")


main()
