"""Whether the policy `speaker` finds who is who, in a series drawn of real talking heads with partly wrong names.

    python -m benchmarks.speakers HEADS --clips 300

HEADS is a folder of videos with one talking head each; the first six by name play. A clip shows one to three of them
side by side, with other frames, sizes, light and sharpness each time, and in a third of the clips a cut to another
shot; in 15 % the speaker is not seen, and beside 10 % stands another's name.
"""

from __future__ import annotations

import argparse
import csv
import functools
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from rich.console import Console
from rich.table import Table

from mse_pipeline import store
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import FrameBatch
from mse_pipeline.recipe import Recipe
from mse_pipeline.sample.scene import FRAME_RATE, write_movie

STREAM = "visual.yunet"
NAMES = ("Ann", "Bob", "Cid", "Dan", "Eve", "Fay")
RATE, FRAMES = FRAME_RATE, 35  # of a clip
SIZE = 640, 272
TURNS = 10  # clips of a dialogue


@dataclass(frozen=True)
class Shot:
    """Who is seen from a frame on, from left to right.

    Attributes:
        begin: Number of the frame.
        people: Numbers of the people.
    """

    begin: int
    people: tuple[int, ...]


@dataclass(frozen=True)
class Scene:
    """A clip that was drawn.

    Attributes:
        name: The name beside it.
        speaker: Who speaks really.
        shots: What it shows.
    """

    name: str
    speaker: int
    shots: tuple[Shot, ...]


def heads(folder: Path) -> list[list[Image.Image]]:
    """Frames of six people."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".mpg", ".mp4", ".avi", ".mov"})
    found = []
    for path in paths[: len(NAMES)]:
        pictures: list[Image.Image] = []
        decode(path, audio=False, frames=[FrameRequest(RATE, functools.partial(_keep, pictures))])
        found.append(pictures)
    return found


def _keep(pictures: list[Image.Image], batch: FrameBatch) -> None:
    pictures.extend(map(Image.fromarray, batch.pixels))


def series(count: int, rng: np.random.Generator) -> list[Scene]:
    """The scenes of a series, dialogue by dialogue."""
    scenes: list[Scene] = []
    party: list[int] = []
    for number in range(count):
        if number % TURNS == 0:
            party = [int(one) for one in rng.choice(len(NAMES), rng.integers(2, 4), replace=False)]
        speaker = int(rng.choice(party))
        others = [one for one in party if one != speaker]
        seen = rng.random() >= 0.15
        begins = (0, int(rng.integers(10, 26))) if rng.random() < 1 / 3 else (0,)
        shots = []
        for begin in begins:
            beside = rng.choice(others, min(len(others), int(rng.integers(0 if seen else 1, 3))), replace=False)
            people = [*([speaker] if seen else []), *(int(one) for one in beside)]
            shots.append(Shot(begin, tuple(int(one) for one in rng.permutation(people))))
        named = speaker
        if rng.random() < 0.1:
            named = int(rng.choice([one for one in range(len(NAMES)) if one != speaker]))
        scenes.append(Scene(NAMES[named], speaker, tuple(shots)))
    return scenes


def draw(scene: Scene, people: list[list[Image.Image]], rng: np.random.Generator) -> list[np.ndarray]:
    """The pictures of a clip."""
    pictures = []
    for k, shot in enumerate(scene.shots):
        end = scene.shots[k + 1].begin if k + 1 < len(scene.shots) else FRAMES
        width = SIZE[0] // len(shot.people)
        grey = tuple(int(value) for value in rng.integers(40, 120, 3))
        looks = [
            (
                int(rng.integers(0, 20)),
                rng.uniform(0.75, 1.1),
                rng.uniform(0.6, 1.3),
                rng.uniform(0, 1.2),
                rng.uniform(-8, 8),
            )
            for _ in shot.people
        ]
        for frame in range(shot.begin, end):
            picture = Image.new("RGB", SIZE, grey)
            for place, (one, look) in enumerate(zip(shot.people, looks, strict=True)):
                first, size, light, blur, turn = look
                head = people[one][(first + frame) % len(people[one])].rotate(turn, Image.Resampling.BILINEAR)
                side = int(min(width, SIZE[1]) * size * (1.0 if one == scene.speaker else 0.9))
                cut = head.crop(
                    (head.width // 2 - head.height // 2, 0, head.width // 2 + head.height // 2, head.height)
                )
                cut = (
                    ImageEnhance.Brightness(cut.resize((side, side)))
                    .enhance(light)
                    .filter(ImageFilter.GaussianBlur(blur))
                )
                picture.paste(cut, (place * width + (width - side) // 2, (SIZE[1] - side) // 2))
            pictures.append(np.asarray(picture))
    return pictures


def person_at(scene: Scene, frame: float, centre: float) -> int:
    """Who is at a place of a frame, as a share of its width."""
    shot = [one for one in scene.shots if one.begin <= frame][-1]
    return shot.people[min(int(centre * len(shot.people)), len(shot.people) - 1)]


def measure(folder: Path, count: int, seed: int) -> None:
    """Draw, extract, and print what came out."""
    rng = np.random.default_rng(seed)
    people, scenes = heads(folder), series(count, rng)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        with (root / "clips.csv").open("w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["id", "media", "split", "text", "label", "speaker", "dialogue"])
            for number, scene in enumerate(scenes):
                write_movie(root / f"{number}.mp4", draw(scene, people, rng), np.zeros(16_000, np.float32), 16_000)
                label = ("joy", "anger")[number % 2]
                writer.writerow([number, f"{number}.mp4", "train", "", label, scene.name, f"d{number // TURNS}"])
        streams = {STREAM: {"policy": "speaker", "identity": "sface", "width": SIZE[0]}}
        plain = {"version": 1, "name": "series", "corpus": {"name": "table"}, "streams": streams}
        begun = time.monotonic()
        extract(Recipe.model_validate(plain), root, store.open(root / "cache"), ExtractionOptions(workers=2))
        console = Console(width=140)
        console.print(f"{count} clips extracted in {time.monotonic() - begun:.0f} s")
        dataset = store.open(root / "cache")["series"]
        tied = ties(dataset, scenes)
        console.print(f"names tied right: {sum(tied.get(name) == k for k, name in enumerate(NAMES))} of {len(NAMES)}")
        judge(dataset, scenes, console)


def ties(dataset: store.Dataset, scenes: list[Scene]) -> dict[str, int]:
    """The person whom most faces of each name show."""
    notes = dict(dataset.native(STREAM).notes())
    found = {}
    for person in dataset.choices(STREAM).about["persons"]:
        owners: Counter[int] = Counter()
        for clip, track in person["faces"]:
            frame, x1, _, x2, _ = notes[clip]["tracks"][track]["boxes"][0]
            owners[person_at(scenes[int(clip)], (frame + 0.5) * RATE / 5, (x1 + x2) / 2)] += 1
        if person["name"]:
            found[person["name"]] = owners.most_common(1)[0][0]
    return found


def judge(dataset: store.Dataset, scenes: list[Scene], console: Console) -> None:
    """Print how many rows are right, by what stands beside the clip and what it shows."""
    counts: dict[str, Counter[str]] = {}
    for clip, one in dataset[STREAM].items():
        scene = scenes[int(clip)]
        wanted = NAMES.index(scene.name)
        kind = "named right" if wanted == scene.speaker else "named wrong"
        for row, (begin, end) in enumerate(one.intervals):
            frame = (begin + end) / 2 * RATE
            shown = [shot for shot in scene.shots if shot.begin <= frame][-1].people
            count = counts.setdefault(kind, Counter())
            at = person_at(scene, frame, float(one.values[row, [0, 2]].mean())) if one.valid[row] else None
            count["visible"] += wanted in shown
            count["right"] += at == wanted
            count["valid"] += at is not None
            count["wrong"] += at not in {None, wanted}
    table = Table(title="Rows, of the one who is named", title_justify="left")
    for name in ("clips", "right where visible", "", "wrong of the valid rows", ""):
        table.add_column(name, justify="right")
    for kind in (*sorted(counts), "all"):
        count = sum(counts.values(), Counter()) if kind == "all" else counts[kind]
        right, wrong = count["right"] / max(count["visible"], 1), count["wrong"] / max(count["valid"], 1)
        of = (
            f"{count['right']} / {count['visible']}",
            f"{right:.1%}",
            f"{count['wrong']} / {count['valid']}",
            f"{wrong:.1%}",
        )
        table.add_row(kind, *of)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speakers", description=__doc__.splitlines()[0])
    parser.add_argument("heads", type=Path, help="folder of videos with one talking head each")
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    measure(arguments.heads, arguments.clips, arguments.seed)


if __name__ == "__main__":
    main()
