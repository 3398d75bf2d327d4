"""Imported: what a reader makes of a foreign file, and how it enters the cache.

`Undefined` makes float32 rows of a stranger's values and counts those that are not defined. `bring_in` writes the clips
and streams as a dataset. Its recipe has the settings of the corpus, if the corpus is known, else defaults in the
language of the clips.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import Timeout

from mse_pipeline import recipe
from mse_pipeline.clip import Clip
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.store.cache import Cache
from mse_pipeline.store.commit import Commit, run_lock
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features, with_defined
from mse_pipeline.store.journal import JournalRow
from mse_pipeline.store.keys import stream_id
from mse_pipeline.store.manifest import StreamEntry
from mse_pipeline.store.packing import pack_stream
from mse_pipeline.task import Task


def recipe_for(name: str, corpus: str | None, clips: Sequence[Clip]) -> dict[str, Any]:
    """A recipe as plain values, as `mse train` reads it from the dataset.

    Args:
        name: Of the dataset.
        corpus: Name of the corpus whose prompt and training settings hold; None if there is none.
        clips: Their language is the prompt's, where no corpus tells it.

    Examples:
        >>> recipe_for("mine", None, [])["prompt"]["language"]
        'en'
    """
    if corpus in recipe.names():
        known = recipe.load(corpus)
        plain = known.to_dict()
        plain |= {"name": name, "streams": {}, "alignment": {"kind": "none"}}
        return plain
    (language, _), *_ = Counter("zh" if clip.language.startswith("zh") else "en" for clip in clips).most_common(1) or [
        ("en", 0)
    ]
    plain_recipe = recipe.Recipe.model_validate(
        {"version": 1, "name": name, "corpus": {"name": "table"}, "prompt": {"language": language}}
    )
    return plain_recipe.to_dict()


ROWS_CLOCK = {"clock": "rows"}
"""Note of features whose file tells no times: row i has the interval (i, i + 1), which is no time in seconds."""


def row_clock(rows: int) -> np.ndarray:
    """Intervals (T, 2) that number the rows, for formats that keep no times.

    Examples:
        >>> row_clock(2).tolist()
        [[0.0, 1.0], [1.0, 2.0]]
    """
    begins = np.arange(rows, dtype=np.float64)
    return np.stack([begins, begins + 1.0], axis=1)


def record_of(clip: Clip) -> dict[str, Any]:
    """What is known of a clip beside its features, as plain values.

    Examples:
        >>> from mse_pipeline.clip import Split
        >>> record = record_of(Clip(id="a", split=Split.TEST, text="so", label=1.0))
        >>> record["text"], record["label"], record["speaker"]
        ('so', 1.0, None)
    """
    fields = ("id", "text", "label", "language", "speaker", "dialogue", "turn", "media", "start", "end")
    return {name: getattr(clip, name) for name in fields}


@dataclass
class Undefined:
    """Takes the values of one stream that are not finite numbers as not defined, and counts them.

    Attributes:
        stream: As in ``acoustic.covarep``.
        nans: NaN values so far.
        infinities: Values so far that are infinite, or too large for float32.
        clips: Clips so far that had such values.
        rows: Rows so far of which no value is defined.

    Examples:
        >>> undefined = Undefined("acoustic.covarep")
        >>> values, valid = undefined.read(np.array([[1.0, -np.inf], [np.nan, 2.0], [np.nan, np.nan]]))
        >>> values.tolist(), valid.tolist()
        ([[1.0, nan], [nan, 2.0], [0.0, 0.0]], [True, True, False])
        >>> undefined.notes()
        ['acoustic.covarep: 1 infinite and 3 NaN values in 1 clips are not defined; 1 rows without any other are not
        valid.']
    """

    stream: str
    nans: int = 0
    infinities: int = 0
    clips: int = 0
    rows: int = 0

    def read(self, values: np.ndarray, valid: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Values as a stranger's file has them, as the cache keeps them.

        Args:
            values: (T, D) numbers of any type.
            valid: (T,) bool; None for all.

        Returns:
            (T, D) float32 without infinity, and (T,) which rows are valid.
        """
        with np.errstate(over="ignore"):
            clean = np.array(values, dtype=np.float32)
        valid = np.ones(len(clean), bool) if valid is None else valid
        bad = ~np.isfinite(clean)
        count = int(bad.sum())
        if not count:
            return clean, valid
        nans = int(np.isnan(clean).sum())
        self.nans += nans
        self.infinities += count - nans
        self.clips += 1
        clean[bad] = np.nan
        known, defined = with_defined(clean, valid)
        self.rows += int((valid & ~defined).sum())
        return known, defined

    def notes(self) -> list[str]:
        """What is not defined, as a sentence; nothing if all is."""
        if not self.clips:
            return []
        rows = f"; {self.rows:,} rows without any other are not valid" if self.rows else ""
        return [
            f"{self.stream}: {self.infinities:,} infinite and {self.nans:,} NaN values in {self.clips:,} clips are not "
            f"defined{rows}."
        ]


def zero_where_undefined(values: np.ndarray) -> np.ndarray:
    """Values for formats that have 0 where a value is not defined, (T, D).

    Examples:
        >>> zero_where_undefined(np.array([[220.0, 1.0], [np.nan, 2.0]])).tolist()
        [[220.0, 1.0], [0.0, 2.0]]
    """
    undefined = np.isnan(values)
    return np.where(undefined, values.dtype.type(0), values) if undefined.any() else values


_CLIPS_PER_SHARD = 256
_BYTES_PER_SHARD = 24 << 20  # wide features would fill the memory before the clips are counted


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A foreign file as clips and streams.

    Attributes:
        task: What is to be predicted.
        clips: The clip table.
        streams: By stream name (``acoustic.covarep``), a function that gives clip id and features one after the
            other, so that never more than a few clips are in memory; it may be called once.
        source: ``format``, ``files``, digests, and under which name a published file is known. Plain JSON. With
            ``corpus``, the name of one of `mse_pipeline.corpora`, if clips and task are that corpus's own: its metrics
            and its recipe's settings then hold for the import.
        notes: What was repaired or left out, with counts, as sentences. Readers of streams may add to it while they
            are read.
    """

    task: Task
    clips: tuple[Clip, ...]
    streams: Mapping[str, Callable[[], Iterator[tuple[str, Features]]]]
    source: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)


def bring_in(imported: Imported, cache: Cache, name: str, *, replace_clips: bool = False) -> Dataset:
    """Write an import into the cache as a dataset, in shards of a few hundred clips, and pack it.

    If the cache has a dataset of that name whose clips are all that the import has or more, that one keeps its clip
    table and its other streams, and gets the import's streams.

    Args:
        imported: What a reader gave.
        cache: Where to.
        name: The dataset's name in the cache.
        replace_clips: Let the import's clips take the place of a dataset's other clips.

    Raises:
        UsageError: The name is unfit, ids are not unique, or there is a dataset of that name with other clips or other
            labels.
        MseError: The foreign file turns out to be damaged, or an extraction into the dataset is running.
    """
    before = cache.get(name)
    if before is None or (replace_clips and not _is_part(imported, before)):
        recipe = recipe_for(name, imported.source.get("corpus"), imported.clips)
        dataset = cache.create(name, imported.clips, task=imported.task, recipe=recipe)
    else:
        _compare(imported, before)
        dataset = before
    try:
        with run_lock(dataset.path):
            for stream, read in imported.streams.items():
                _bring_stream(dataset, stream, read(), imported.source)
            source = dict(dataset.manifest.source)
            source.setdefault("corpus", imported.source.get("corpus", name))
            this = {**imported.source, "streams": list(imported.streams), "notes": list(imported.notes)}
            earlier = [entry for entry in source.get("imports", []) if entry.get("streams") != this["streams"]]
            dataset.set_manifest(replace(dataset.manifest, source={**source, "imports": [*earlier, this]}))
            for stream in imported.streams:
                pack_stream(dataset, stream)
    except Timeout as error:
        raise MseError(f"An extraction into {name} is running; import when it has ended.") from error
    return dataset


def _is_part(imported: Imported, dataset: Dataset) -> bool:
    return {clip.id for clip in imported.clips} <= {clip.id for clip in dataset.clips}


def _compare(imported: Imported, dataset: Dataset) -> None:
    """Check that a dataset has the same clips with the same labels.

    Raises:
        UsageError: It is not.
    """
    name = dataset.name
    clips_by_id = {clip.id: clip for clip in dataset.clips}
    strangers = [clip.id for clip in imported.clips if clip.id not in clips_by_id]
    if strangers:
        raise UsageError(
            f"The cache has a dataset {name} with other clips: {len(strangers):,} of the {len(imported.clips):,} "
            f"clips are not in it, the first is {strangers[0]!r}. Give another --name, or --replace to have the file's "
            "clips in its place."
        )
    for clip in imported.clips:
        other = clips_by_id[clip.id]
        if clip.split != other.split:
            raise UsageError(
                f"{clip.id} is in split {clip.split} of the file and in {other.split} of the dataset {name}. "
                "Give another --name."
            )
        if clip.label is not None and other.label is not None and not _same_label(clip.label, other.label):
            raise UsageError(
                f"{clip.id} has the label {clip.label!r} in the file and {other.label!r} in the dataset {name}. "
                "Give another --name."
            )


def _same_label(one: str | float, other: str | float) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return abs(one - other) < 1e-3  # files round thirds to three or four digits


def _bring_stream(
    dataset: Dataset, stream: str, items: Iterator[tuple[str, Features]], source: Mapping[str, Any]
) -> None:
    identity = {"stream": stream, "imported": dict(source)}
    entry = StreamEntry(stream_id(identity), identity)
    commit, count, size = Commit(dataset, run="import"), 0, 0
    for clip, features in items:
        digest = hashlib.blake2b(features.values.tobytes() + features.intervals.tobytes(), digest_size=16)
        digest.update(features.valid.tobytes())
        row = JournalRow(clip=clip, stream=stream, version=entry.version, status="done", key=digest.hexdigest())
        commit.add(row, features)
        count += 1
        size += features.values.nbytes + features.intervals.nbytes
        if count == _CLIPS_PER_SHARD or size >= _BYTES_PER_SHARD:
            commit.write()
            commit, count, size = Commit(dataset, run="import"), 0, 0
    commit.write()
    dataset.set_manifest(dataset.manifest.with_stream(stream, entry))


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
