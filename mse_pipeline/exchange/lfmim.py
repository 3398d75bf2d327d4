"""LFMIM's feature folders of CHERMA (CHERMA0723): three JSON files, and a .npy file a clip and modality."""

from __future__ import annotations

import json
import math
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mse_pipeline.cells import said
from mse_pipeline.clip import Clip, Label, Split
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.cherma import EMOTIONS
from mse_pipeline.corpora.files import list_files, open_root, telling
from mse_pipeline.corpora.text import decode, repair
from mse_pipeline.errors import MseError, UsageError, did_you_mean
from mse_pipeline.exchange.base import ROWS_CLOCK, Imported, Undefined, file_digest, row_clock
from mse_pipeline.exchange.npy_file import as_rows, read_npy
from mse_pipeline.exchange.registry import Format
from mse_pipeline.names import ByName
from mse_pipeline.store.features import Features
from mse_pipeline.task import Classification

CLASSES = EMOTIONS
"""The release's order. Copies of the code number them otherwise, so that labels count as texts alone."""
STAGES = {"train": Split.TRAIN, "dev": Split.VALID, "test": Split.TEST}
LABELS = {"txt_label": "text", "audio_label": "acoustic", "visual_label": "visual"}
_TARGETS = ("video_label", *LABELS)
_FOLDERS = {
    "acoustic.lfmim": ("audio", ".npy"),
    "visual.lfmim": ("visual", ".mp4.npy"),
    "text.lfmim": ("text", ".npy"),
}
_WIDTHS = {"acoustic.lfmim": 1024, "visual.lfmim": 2048, "text.lfmim": 1024}
_TEXT_KEYS = ("text", "txt", "transcript")
_MAX_JSON = 256 << 20


def read(path: Path, *, target: str = "video_label", follow_links: bool = False) -> Imported:
    """Read a folder with ``{train,dev,test}.json`` and ``{text,audio,visual}/{train,dev,test}/``.

    Args:
        path: The folder, or one above it.
        target: Which annotation is to be predicted: video_label, the multimodal one, or txt_label, audio_label,
            visual_label. The others become further labels.
        follow_links: Whether symbolic links that lead out of the folder are followed.

    Raises:
        UsageError: The JSON files are missing or have errors, or a label is none of `CLASSES`.
        MseError: A .npy file is damaged or hostile; told while streams are read.
    """
    if target not in _TARGETS:
        near = did_you_mean(target, _TARGETS)
        raise UsageError(f"Option target must be one of {', '.join(_TARGETS)}; got {target!r}{near}.")
    root = open_root(path)
    listing = list_files(root, follow_links)
    with telling(listing):
        home, stages = _home(root, listing.files)
    by_name = ByName({name: name for name in listing.files})
    clips: list[Clip] = []
    files: dict[str, dict[str, str]] = {stream: {} for stream in _FOLDERS}
    for stage in stages:
        for clip, bare in _clips(root, f"{home}{stage}.json", stage, target):
            clips.append(clip)
            for stream, (folder, suffix) in _FOLDERS.items():
                name = f"{home}{folder}/{stage}/{bare}{suffix}"
                if name in by_name:
                    files[stream][clip.id] = by_name[name]
    notes = [*listing.refused]
    notes += [f"There is no {stage}.json; the dataset has no such split." for stage in STAGES if stage not in stages]
    if not any(clip.text for clip in clips):
        notes.append("The release holds no transcripts: clips have no text.")
    for stream, found in files.items():
        if len(found) < len(clips):
            notes.append(f"{stream}: {len(clips) - len(found):,} of {len(clips):,} clips have no file.")
    if not any(files.values()):
        raise UsageError(f"{path} has {home}train.json, but no feature file as {home}audio/train/ID.npy.")
    streams: dict[str, Callable[[], Iterator[tuple[str, Features]]]] = {
        stream: partial(_read_stream, root, stream, found, notes) for stream, found in files.items() if found
    }
    source: dict[str, Any] = {
        "format": "lfmim",
        "files": {f"{stage}.json": file_digest(root / f"{home}{stage}.json") for stage in stages},
        "target": target,
        "clock": "rows",
    }
    if target == "video_label":
        source["corpus"] = "cherma"
    return Imported(task=Classification(CLASSES), clips=tuple(clips), streams=streams, source=source, notes=notes)


def _home(root: Path, listed: Sequence[str]) -> tuple[str, list[str]]:
    """Folder of the JSON files below the root, with a slash, and which of them are there."""
    homes = {
        posixpath.dirname(name) for name in listed if posixpath.basename(name) in {f"{stage}.json" for stage in STAGES}
    }
    if len(homes) != 1:
        message = f"in several folders: {enumerate_some(sorted(homes), 5)}" if homes else "nowhere"
        raise UsageError(f"train.json, dev.json and test.json must lie in one folder below {root}; they are {message}.")
    home = homes.pop()
    prefix = f"{home}/" if home else ""
    return prefix, [stage for stage in STAGES if f"{prefix}{stage}.json" in listed]


def _clips(root: Path, name: str, stage: str, target: str) -> Iterator[tuple[Clip, str]]:
    """Each clip of a JSON file, and its id in file names."""
    rows = _rows(root / name, name)
    problems: list[str] = []
    seen: set[str] = set()
    for number, row in enumerate(rows, start=1):
        audio = row.get("audio_file")
        bare = audio.removesuffix(".wav") if isinstance(audio, str) else ""
        if not bare or "/" in bare or "\\" in bare or not bare.isprintable() or bare.startswith("."):
            problems.append(f"entry {number} has the audio_file {str(audio)[:80]!r}, which is not a plain file name")
        elif bare in seen:
            problems.append(f"entry {number} has the audio_file {audio!r} of an entry before it")
        elif row.get(target) not in CLASSES:
            classes = ", ".join(CLASSES)
            problems.append(f"entry {number} has the {target} {str(row.get(target))[:40]!r}; the classes are {classes}")
        else:
            seen.add(bare)
            further: dict[str, Label] = {
                ours: row[theirs] for theirs, ours in LABELS.items() if theirs != target and row.get(theirs) in CLASSES
            }
            text = next((row[key] for key in _TEXT_KEYS if isinstance(row.get(key), str)), "")
            clip = Clip(
                id=f"{stage}/{bare}",
                split=STAGES[stage],
                text=repair(said(text)),
                language="zh",
                label=row[target],
                labels=further,
            )
            yield clip, bare
    if problems:
        raise UsageError(f"{name} has {len(problems):,} entries with errors: {'; '.join(problems[:5])}.")


def _rows(path: Path, name: str) -> list[Mapping[str, Any]]:
    if path.stat().st_size > _MAX_JSON:
        raise UsageError(f"{name} has more than {_MAX_JSON:,} bytes; it should be a list of some thousand entries.")
    text, _ = decode(path.read_bytes(), name)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not JSON: {error}. Download it again.") from None
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise UsageError(f"{name} must be a list of entries with the keys audio_file, {', '.join(_TARGETS)}.")
    return value


def _read_stream(root: Path, stream: str, files: Mapping[str, str], notes: list[str]) -> Iterator[tuple[str, Features]]:
    undefined = Undefined(stream)
    width = _WIDTHS[stream]
    names = tuple(f"lfmim_{index}" for index in range(width))
    longest, shortest = 0, math.inf
    for clip, name in files.items():
        rows = as_rows(read_npy(root / name), root / name)
        if rows.shape[1] != width:
            raise MseError(f"{name} has {rows.shape[1]} columns; {stream} has {width} in LFMIM's release.")
        longest, shortest = max(longest, len(rows)), min(shortest, len(rows))
        values, valid = undefined.read(rows)
        yield clip, Features(values, row_clock(len(values)), valid, names, dict(ROWS_CLOCK))
    notes.append(f"{stream}: {shortest:.0f} to {longest} rows a clip, without times.")
    notes += undefined.notes()


FORMAT = Format("Feature folders with three JSON files (LFMIM; CHERMA0723)", read)
