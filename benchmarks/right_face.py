"""Whether the face that is followed is the speaker's, on clips whose faces were labelled by eye.

    python -m benchmarks.right_face CLIPS --policy largest speaking --detector mtcnn yunet

CLIPS is a folder of videos with ``faces.json``: by clip the ``speaker`` and ``faces``, each with its time ``t`` in
seconds, the ``person`` and the ``box`` x1, y1, x2, y2 relative to the frame. The clips go through an extraction as any
corpus does, so that every policy can be tried.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mse_pipeline import store
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.extractors.visual.tracking import affinity
from mse_pipeline.recipe import Recipe

STREAM = "visual.mtcnn"
MIN_OVERLAP = 0.4
"""Intersection over union with a labelled box from which a face is that person's."""


@dataclass
class Count:
    """Rows of some clips.

    Attributes:
        visible: Rows in which the speaker's face is to be seen.
        right: Those of them whose face is the speaker's.
        valid: Rows that have a face.
        wrong: Those of them that show another person, or no face at all.
    """

    visible: int = 0
    right: int = 0
    valid: int = 0
    wrong: int = 0

    def add(self, other: Count) -> None:
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def cells(self) -> list[str]:
        right, wrong = self.right / max(self.visible, 1), self.wrong / max(self.valid, 1)
        return [f"{self.right} / {self.visible}", f"{right:.0%}", f"{self.wrong} / {self.valid}", f"{wrong:.0%}"]


def judge(boxes: np.ndarray, times: np.ndarray, valid: np.ndarray, clip: Mapping[str, Any]) -> Count:
    """Count the rows of a clip.

    Args:
        boxes: (T, 4) relative to the frame.
        times: (T,) middles of the rows in seconds.
        valid: (T,) bool.
        clip: ``speaker`` and ``faces``.
    """
    count = Count()
    for box, time, found in zip(boxes, times, valid, strict=True):
        if abs((time - 0.1) * 5 - round((time - 0.1) * 5)) > 0.2:
            continue  # the rest of a row at the clip's end, which nobody labelled
        faces = [face for face in clip["faces"] if abs(face["t"] - time) < 0.05]
        overlaps = affinity(box[None], np.array([face["box"] for face in faces]).reshape(-1, 4))[0]
        best = int(overlaps.argmax()) if faces and overlaps.max() >= MIN_OVERLAP else None
        right = bool(found) and best is not None and faces[best]["person"] == clip["speaker"]
        count.add(
            Count(any(f["person"] == clip["speaker"] for f in faces), right, bool(found), bool(found) and not right)
        )
    return count


def followed(folder: Path, clips: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Count]:
    """Extract the faces of all clips, and count by clip."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        with (root / "clips.csv").open("w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["id", "media", "split", "text", "label", "speaker", "dialogue"])
            for name, clip in clips.items():
                media = next(path for path in sorted(folder.glob(f"{name}.*")) if path.suffix != ".json")
                shutil.copy(media, root)
                row = [name, media.name, "train", clip.get("text", ""), clip.get("emotion", "neutral")]
                writer.writerow([*row, clip["speaker"], name.partition("_")[0]])
        plain = {"version": 1, "name": "faces", "corpus": {"name": "table"}, "streams": {STREAM: dict(options)}}
        extract(Recipe.model_validate(plain), root, store.open(root / "cache"), ExtractionOptions(workers=1))
        dataset = store.open(root / "cache")["faces"]
        counts = {}
        for name, clip in clips.items():
            try:
                features = dataset.native(STREAM)[name]
            except KeyError:  # no face in the whole clip
                times = np.unique([face["t"] for face in clip["faces"]])
                counts[name] = judge(np.zeros((len(times), 4)), times, np.zeros(len(times), bool), clip)
                continue
            place = [features.names.index(f"box_{corner}") for corner in ("x1", "y1", "x2", "y2")]
            counts[name] = judge(features.values[:, place], features.intervals.mean(1), features.valid, clip)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.right_face", description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, help="folder of clips with faces.json")
    parser.add_argument("--policy", nargs="+", default=["largest", "speaking"])
    parser.add_argument("--detector", nargs="+", default=["mtcnn", "yunet"])
    parser.add_argument("--identity", nargs="+", default=["auto"])
    parser.add_argument("--each", action="store_true", help="tell of each clip too")
    arguments = parser.parse_args()
    clips = json.loads((arguments.clips / "faces.json").read_text(encoding="utf-8"))
    table = Table(title=f"{len(clips)} clips of {arguments.clips}", title_justify="left")
    for name in ("policy", "detector", "identity", "clip"):
        table.add_column(name)
    table.add_column("right where the speaker is visible", justify="right")
    table.add_column("", justify="right")
    table.add_column("wrong of the valid rows", justify="right")
    table.add_column("", justify="right")
    for policy in arguments.policy:
        for detector in arguments.detector:
            for identity in arguments.identity:
                options = {"policy": policy, "detector": detector, "identity": identity}
                counts, total = followed(arguments.clips, clips, options), Count()
                for name, count in counts.items():
                    total.add(count)
                    if arguments.each:
                        table.add_row(*options.values(), name, *count.cells())
                table.add_row(*options.values(), "all", *total.cells(), end_section=True)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
