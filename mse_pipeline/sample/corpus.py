"""The sample corpus: MELD's layout and label files, filled with clips of synthetic people."""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.sample.scene import EMOTIONS, play, save_scene
from mse_pipeline.sample.speaker import Speaker, speaker
from mse_pipeline.sample.voice import SENTENCES
from mse_pipeline.store.storage import write_json, write_text

MARKER = "sample.json"
"""This file at the root says that the corpus is whole, and how it was made."""

REVISION = 1
"""Counted up whenever the same parameters give other clips."""

FOLDERS = {
    Split.TRAIN: "train_splits",
    Split.VALID: "dev_splits_complete",
    Split.TEST: "output_repeated_splits_test",
}
LABEL_FILES = {
    Split.TRAIN: "train_sent_emo.csv",
    Split.VALID: "dev_sent_emo.csv",
    Split.TEST: "test_sent_emo.csv",
}
COLUMNS = (
    "Sr No.",
    "Utterance",
    "Speaker",
    "Emotion",
    "Sentiment",
    "Dialogue_ID",
    "Utterance_ID",
    "Season",
    "Episode",
    "StartTime",
    "EndTime",
)
# MELD calls a surprise positive or negative as the words have it; our words are neutral, so that one had to be chosen.
_SENTIMENTS = {"neutral": "neutral", "joy": "positive", "surprise": "positive"}


@dataclass(frozen=True, kw_only=True)
class SampleSummary:
    """What `build` made or found.

    Attributes:
        root: Folder of the corpus.
        clips: Number of clips per split.
        seconds: Length of all clips together.
        built: Whether they were made now; False if the finished corpus was there already.
    """

    root: Path
    clips: Mapping[Split, int]
    seconds: float
    built: bool


@dataclass(frozen=True)
class _Utterance:
    split: Split
    dialogue: int
    turn: int
    person: Speaker
    sentence: int
    emotion: str

    @property
    def path(self) -> str:
        return f"{FOLDERS[self.split]}/dia{self.dialogue}_utt{self.turn}.mp4"


def build(
    root: Path,
    *,
    seed: int = 0,
    clips_per_emotion: Mapping[Split | str, int] | Sequence[int] = (14, 4, 6),
    workers: int = 2,
) -> SampleSummary:
    """Make the sample corpus, or find it finished.

    Each dialogue is one person who says one sentence in all seven emotions, in an order drawn by chance. So
    neither the text nor the speaker tells anything of the emotion, in any split, and nobody appears in two.

    The corpus is written beside `root` and renamed when it is whole: a build that is killed leaves `root` as
    it was. A lock file beside `root` keeps two builds apart.

    Args:
        root: The folder to make; it may exist if it is empty.
        seed: Another number gives other people and other performances; at least 0.
        clips_per_emotion: How many clips each emotion has in train, valid and test, in this order or by
            `mse_pipeline.clip.Split`. The default gives 98 + 28 + 42 clips.
        workers: Processes that draw and encode; the files do not depend on their number.

    Raises:
        UsageError: `root` holds something else or another sample, or a number is out of range.
        MseError: PyAV's FFmpeg cannot encode H.264 or AAC.
    """
    from filelock import FileLock

    counts = _counts(clips_per_emotion)
    if seed < 0 or workers < 1:
        raise UsageError(f"A seed must be at least 0 and workers at least 1, got {seed} and {workers}.")
    parameters = {"revision": REVISION, "seed": seed, "clips_per_emotion": {str(s): n for s, n in counts.items()}}
    root = root.resolve()
    if (finished := _finished(root, parameters)) is not None:
        return finished
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.parent / f".{root.name}.lock"):
        if (finished := _finished(root, parameters)) is not None:  # by another process, while this one waited
            return finished
        _remove_unfinished(root)
        # Of its own name: a worker of a build that was killed lives on for a moment, and writes where that one did.
        partial = root.parent / f".aside-{root.name}-{secrets.token_hex(4)}"
        seconds = _write(partial, _script(counts, seed), seed, workers)
        write_json(partial / MARKER, {**parameters, "seconds": round(seconds, 3)})
        if root.exists():
            root.rmdir()  # it is empty, and some systems do not rename over a folder
        os.replace(partial, root)
        _remove_unfinished(root)  # again, as such a worker may have written while it was removed
    return SampleSummary(root=root, clips=_clips(counts), seconds=round(seconds, 3), built=True)


def _remove_unfinished(root: Path) -> None:
    """Remove what builds of `root` that were killed have left."""
    unfinished = re.compile(rf"\.aside-{re.escape(root.name)}(-[0-9a-f]{{8}})?")
    for left in root.parent.iterdir():
        if unfinished.fullmatch(left.name):
            shutil.rmtree(left, ignore_errors=True)


def _counts(given: Mapping[Split | str, int] | Sequence[int]) -> dict[Split, int]:
    pairs: Any = given.items() if isinstance(given, Mapping) else zip(Split, given, strict=False)
    try:
        counts = {Split(name): int(number) for name, number in pairs}
    except ValueError as error:
        raise UsageError(f"clips_per_emotion has a split or number that cannot be read: {error}.") from error
    if set(counts) != set(Split) or len(given) != len(Split) or min(counts.values()) < 1:
        raise UsageError(f"clips_per_emotion needs a number of at least 1 for train, valid and test, got {given!r}.")
    return {split: counts[split] for split in Split}


def _clips(counts: Mapping[Split, int]) -> dict[Split, int]:
    return {split: number * len(EMOTIONS) for split, number in counts.items()}


def _finished(root: Path, parameters: Mapping[str, Any]) -> SampleSummary | None:
    """The corpus at `root` if it is whole and made so; None if there is nothing."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    remedy = "Give another folder, or remove this one."
    try:
        marker = json.loads((root / MARKER).read_text(encoding="utf-8"))
        seconds = float(marker.pop("seconds"))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UsageError(f"{root} holds files but no finished sample corpus ({MARKER} says so). {remedy}") from error
    if marker != parameters:
        raise UsageError(
            f"{root} holds a sample corpus that was made otherwise: {json.dumps(marker)} where "
            f"{json.dumps(parameters)} is asked for. {remedy}"
        )
    counts = {Split(name): number for name, number in parameters["clips_per_emotion"].items()}
    return SampleSummary(root=root, clips=_clips(counts), seconds=seconds, built=False)


def _script(counts: Mapping[Split, int], seed: int) -> list[_Utterance]:
    """Who says what how: one dialogue per person, seven turns each."""
    rng = np.random.default_rng([seed, 0xD1A])
    script, cast = [], 0
    for split, number in counts.items():
        for dialogue in range(number):
            person = speaker(seed, cast)
            order = rng.permutation(EMOTIONS)
            for turn, emotion in enumerate(order):
                script.append(_Utterance(split, dialogue, turn, person, dialogue % len(SENTENCES), str(emotion)))
            cast += 1
    return script


def _write(root: Path, script: Sequence[_Utterance], seed: int, workers: int) -> float:
    from joblib.externals.loky import get_reusable_executor

    for folder in FOLDERS.values():
        (root / folder).mkdir(parents=True)
    # In fresh processes, a single one too: what the calling one has loaded and set must not show in the files.
    executor = get_reusable_executor(max_workers=workers, reuse=False)
    lengths = list(executor.map(functools.partial(_shoot, root, seed=seed), script))
    executor.shutdown(wait=True)
    for split, name in LABEL_FILES.items():
        rows = [(u, length) for u, length in zip(script, lengths, strict=True) if u.split is split]
        write_text(root / name, _label_file(rows))
    return float(sum(lengths))


def _shoot(root: Path, utterance: _Utterance, *, seed: int) -> float:
    seeds = (seed, list(Split).index(utterance.split), utterance.dialogue)
    scene = play(utterance.person, utterance.emotion, sentence=utterance.sentence, seed=seeds)
    save_scene(root / utterance.path, scene)
    return scene.duration


def _label_file(rows: Sequence[tuple[_Utterance, float]]) -> str:
    """A label file as MELD's: UTF-8, lines ending in CRLF, times within an episode."""
    out = io.StringIO(newline="")
    table = csv.writer(out)
    table.writerow(COLUMNS)
    clock = 0.0
    for number, (u, length) in enumerate(rows, 1):
        clock += 5.0 if u.turn == 0 else 0.2
        # MELD writes the hour with two digits or with one; so do we, that its readers are put to the test.
        hour_digits = 1 if u.dialogue % 2 else 2
        start, end = (_time(moment, hour_digits) for moment in (clock, clock + length))
        sentiment = _SENTIMENTS.get(u.emotion, "negative")
        text = SENTENCES[u.sentence][0]
        table.writerow((number, text, u.person.name, u.emotion, sentiment, u.dialogue, u.turn, 1, 1, start, end))
        clock += length
    return out.getvalue()


def _time(seconds: float, hour_digits: int) -> str:
    total, milli = divmod(round(seconds * 1000), 1000)
    return f"{total // 3600:0{hour_digits}}:{total // 60 % 60:02}:{total % 60:02},{milli:03}"
