"""A dataset of the cache -> .csd files that CMU's SDK opens, one a stream and one of labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mse_pipeline.clip import Clip
from mse_pipeline.errors import UsageError
from mse_pipeline.exchange.clip_table import write_clip_table
from mse_pipeline.store.atomic import aside
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.task import Classification

EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
_SEGMENT = re.compile(r".+\[\d+\]")
_Rows = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def entry_of(clip: str) -> str:
    """A clip's entry in a .csd file: HDF5 splits names at ``/``, and the SDK cuts them at ``[``.

    Examples:
        >>> entry_of("train/dia0_utt0"), entry_of("3aIQUQgawaI[12]")
        ('train%2Fdia0_utt0', '3aIQUQgawaI[12]')
    """
    brackets = {} if _SEGMENT.fullmatch(clip) and clip.count("[") == 1 else {"[": "%5B"}
    entry = clip
    for sign, code in ({"%": "%25", "/": "%2F"} | brackets).items():
        entry = entry.replace(sign, code)
    return entry.replace(".", "%2E") if entry in {".", ".."} else entry


def offset_of(clip: Clip) -> float:
    """Where the times of a clip's entry begin, in seconds: those of ``<video>[k]`` are times in the video."""
    return clip.start or 0.0 if _SEGMENT.fullmatch(clip.id) else 0.0


def write(dataset: Dataset, path: Path, *, streams: Mapping[str, str]) -> None:
    """Write a dataset as a folder of .csd files, with its clip table and task beside them.

    The SDK's ``mmdataset(folder)`` reads the .csd files. Rows that are not valid are told in a further member `valid`
    of their entry, which the SDK does not read.

    Args:
        dataset: In the cache.
        path: The folder that is made; a file of ours that is there is replaced.
        streams: Name of the stream by modality.

    Raises:
        UsageError: The path is a file, or no stream is given.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file; .csd files are written into a folder.")
    if not streams:
        raise UsageError(f"No stream of {dataset.name} is to be written; it has {', '.join(dataset) or 'none'}.")
    clips = {clip.id: clip for clip in dataset.clips}
    ends: dict[str, float] = {}
    for stream in streams.values():
        features = dataset[stream]
        names = next((features[clip].names for clip in features), ())
        about: dict[str, Any] = {"computational sequence description": stream, "dimension names": list(names)}
        _write_file(path, dataset.name, stream, _rows(features, clips, ends), about)
    task = dataset.manifest.task
    classes = list(task.classes) if isinstance(task, Classification) else None
    emotions = [name for name in EMOTIONS if classes is None and all(name in clip.labels for clip in clips.values())]
    told = ["class index"] if classes else ["sentiment", *(emotions if len(emotions) == len(EMOTIONS) else [])]
    about = {"computational sequence description": "labels", "dimension names": told, "classes": classes}
    root = "Class Labels" if classes else "All Labels"
    _write_file(path, dataset.name, root, _labels(dataset, told[1:], ends), about)
    write_clip_table(dataset, path, list(streams.values()))


def _rows(
    features: Mapping[str, Features], clips: Mapping[str, Clip], ends: dict[str, float]
) -> Iterator[tuple[str, _Rows]]:
    for clip in features:
        one = features[clip]
        ends[clip] = max(ends.get(clip, 0.0), float(one.intervals[:, 1].max(initial=0.0)))
        yield clip, (one.values, one.intervals + offset_of(clips[clip]), None if one.valid.all() else one.valid)


def _labels(dataset: Dataset, further: list[str], ends: Mapping[str, float]) -> Iterator[tuple[str, _Rows]]:
    task = dataset.manifest.task
    for clip in dataset.clips:
        if clip.label is None:
            continue
        label = task.index(clip.label) if isinstance(task, Classification) else float(clip.label)
        begin = offset_of(clip)
        end = clip.end if begin and clip.end is not None else begin + ends.get(clip.id, 0.0)
        row = np.array([[label, *(float(clip.labels[name]) for name in further)]], np.float32)
        yield clip.id, (row, np.array([[begin, end]]), None)


def _write_file(
    folder: Path, dataset: str, root: str, items: Iterator[tuple[str, _Rows]], about: Mapping[str, Any]
) -> None:
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", f"{dataset}_{root}")
    with aside(folder / f"{stem}.csd") as temporary, h5py.File(temporary, "w", track_order=False) as file:
        home = file.create_group(root)
        data = home.create_group("data")
        for clip, (values, intervals, valid) in items:
            group = data.create_group(entry_of(clip))
            group.create_dataset("features", data=values, track_times=False)
            group.create_dataset("intervals", data=intervals, track_times=False)
            if valid is not None:
                group.create_dataset("valid", data=valid.astype(np.uint8), track_times=False)
        metadata = home.create_group("metadata")
        for name, value in _metadata(root, dataset, about).items():
            # The SDK reads each entry as JSON in an array of one string.
            text = metadata.create_dataset(name, (1,), h5py.string_dtype(), track_times=False)
            text[0] = json.dumps(value, ensure_ascii=False)


def _metadata(root: str, dataset: str, about: Mapping[str, Any]) -> dict[str, Any]:
    from mse_pipeline import __version__

    value: dict[str, Any] = {
        "root name": root,
        "computational sequence version": "1.0",
        "alignment compatible": True,
        "dataset name": dataset,
        "dataset version": "1.0",
        "creator": f"mse-pipeline {__version__}",
        "contact": "",
        "featureset bib citation": "",
        "dataset bib citation": "",
        "uuid": "",
        "md5": None,
        **about,
    }
    # The SDK's list of required entries lacks a comma between these two, so that it asks for both names in one.
    value["dimension namescomputational sequence version"] = value["computational sequence version"]
    return value
