"""Raw folders in the shape of the real datasets, filled with hard links to a few tiny media files.

A tree of 20,000 clips takes a second and a few megabytes. Defects are planted by giving a clip the link of a
broken file, or none.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

MELD_FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}


def write_clip(
    path: Path,
    *,
    frames: int = 4,
    sound: float = 0.2,
    light: bool = False,
    options: Mapping[str, str] | None = None,
    container: str | None = "mp4",
) -> Path:
    """A tiny file of 10 pictures a second and a sine; no pictures, or 0 s of sound, leave the stream out.

    H.264 and AAC as the datasets have; `light` takes codecs that FFmpeg opens three times as fast, for large trees.
    """
    video_codec, audio_codec, sample = ("mpeg4", "pcm_s16le", "s16") if light else ("libx264", "aac", "fltp")
    with av.open(str(path), "w", format="mov" if light else container, options=dict(options or {})) as out:
        preset = {} if light else {"preset": "ultrafast"}
        video = out.add_stream(video_codec, rate=10, options=preset) if frames else None
        audio = out.add_stream(audio_codec, rate=16000, layout="mono") if sound else None
        if video is not None:
            video.width = video.height = 32
            video.pix_fmt = "yuv420p"
            for number in range(frames):
                picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), number % 200, np.uint8), format="rgb24")
                picture.pts, picture.time_base = number, Fraction(1, 10)
                out.mux(video.encode(picture))
            out.mux(video.encode(None))
        if audio is not None:
            wave = 0.3 * np.sin(np.arange(round(sound * 16000)) / 8)
            wave = (32767 * wave).astype(np.int16) if light else wave.astype(np.float32)
            for begin in range(0, len(wave), 1024):
                part = av.AudioFrame.from_ndarray(wave[None, begin : begin + 1024], format=sample, layout="mono")
                part.sample_rate, part.pts, part.time_base = 16000, begin, Fraction(1, 16000)
                out.mux(audio.encode(part))
            out.mux(audio.encode(None))
    return path


def write_seeds(folder: Path) -> dict[str, Path]:
    """One file a kind: `good` ones, and one for each way in which a file is broken or odd."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = {
        "good": write_clip(folder / "good.mp4", light=True),
        "two frames": write_clip(folder / "two.mp4", frames=2),
        "no sound": write_clip(folder / "silent.mp4", sound=0),
        "no video": write_clip(folder / "blind.mp4", frames=0),
        "one frame": write_clip(folder / "still.mp4", frames=1),
        "short sound": write_clip(folder / "short.mp4", sound=0.03),
        "long": write_clip(folder / "long.mp4", frames=320),
    }
    whole = write_clip(folder / "fast.mp4", frames=100, sound=10, options={"movflags": "+faststart"}).read_bytes()
    plain = seeds["good"].read_bytes()
    broken = {
        "no index": plain[: plain.index(b"moov") - 4],
        "cut off": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"<html>404 not found</html>\n",
    }
    for kind, content in broken.items():
        seeds[kind] = folder / f"{kind.replace(' ', '_')}.mp4"
        seeds[kind].write_bytes(content)
    return seeds


def link(root: Path, seeds: Mapping[str, Path], files: Mapping[str, str]) -> Path:
    """Put media below a root: path -> kind of file."""
    for folder in {os.path.dirname(path) for path in files}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for path, kind in files.items():
        # Copied first on file systems that allow few links or none.
        try:
            os.link(seeds[kind], root / path)
        except OSError:
            shutil.copyfile(seeds[kind], root / path)
    return root


def meld_media(clip: str) -> str:
    """Where MELD's archive has the file of a clip, as train/dia0_utt0."""
    folder, name = clip.split("/")
    return f"{MELD_FOLDERS[folder]}/{name}.mp4"


def meld_tree(
    root: Path,
    labels: Path,
    seeds: Mapping[str, Path],
    kinds: Mapping[str, str | None],
    extra: Mapping[str, str],
) -> Path:
    """MELD as its archive unpacks.

    Args:
        root: To be made.
        labels: Folder of the three label files.
        seeds: As `write_seeds` makes them.
        kinds: Clip id -> kind of its file, None for no file; all others are good.
        extra: Further files, path -> kind.
    """
    files = dict(extra)
    root.mkdir(parents=True)
    for split in MELD_FOLDERS:
        table = labels / f"{split}_sent_emo.csv"
        shutil.copyfile(table, root / table.name)
        with table.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                clip = f"{split}/dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
                kind = kinds.get(clip, "good")
                if kind is not None:
                    files[meld_media(clip)] = kind
    return link(root, seeds, files)


def mmsa_tree(root: Path, table: Path, seeds: Mapping[str, Path], kinds: Mapping[str, str | None]) -> Path:
    """MOSEI, CH-SIMS and others in MMSA's form: a label table beside Raw/VIDEO/CLIP.mp4.

    Args:
        root: To be made.
        table: The label table, copied under its own name.
        seeds: As `write_seeds` makes them.
        kinds: Path below the root -> kind of the file, None for no file; all other clips have good ones.
    """
    root.mkdir(parents=True)
    shutil.copyfile(table, root / table.name)
    with table.open(encoding="utf-8-sig", newline="") as file:
        named = {f"Raw/{row['video_id']}/{row['clip_id']}.mp4": "good" for row in csv.DictReader(file)}
    return link(root, seeds, {path: kind for path, kind in {**named, **kinds}.items() if kind is not None})


def cherma_tree(
    root: Path,
    counts: Mapping[str, int],
    classes: Sequence[str],
    seeds: Mapping[str, Path],
    kinds: Mapping[str, str | None],
) -> Path:
    """CHERMA's three label files beside a folder of videos; the classes take turns.

    Args:
        root: To be made.
        counts: Number of clips of train, dev and test.
        classes: Labels.
        seeds: As `write_seeds` makes them.
        kinds: Path below the root -> kind of the file, None for no file; all other clips have good ones.
    """
    root.mkdir(parents=True)
    files: dict[str, str | None] = {}
    for split, count in counts.items():
        entries = []
        for number in range(count):
            name = f"{split}_{number:05d}"
            label = classes[number % len(classes)]
            kinds_of_label = ("txt_label", "audio_label", "visual_label", "video_label")
            entry = {"audio_file": f"{name}.wav", "video_file": f"{name}.mp4", "text": f"第{number}句，“好”。"}
            entries.append({**entry, **dict.fromkeys(kinds_of_label, label)})
            files[f"mp4/{name}.mp4"] = "good"
        (root / f"{split}.json").write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")
    return link(root, seeds, {path: kind for path, kind in {**files, **kinds}.items() if kind is not None})
