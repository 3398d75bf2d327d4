"""Data: what a training reads of its dataset, clip by clip, so that a change of it is noticed and named."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mse_pipeline.clip import Clip, Split
from mse_pipeline.metrics.coverage import Coverage, SplitCoverage
from mse_pipeline.store.atomic import aside
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.store.pack import Pack
from mse_pipeline.store.shards import ShardView
from mse_pipeline.training.examples import Example

Examples = Mapping[Split, Sequence[Example]]
Streams = Mapping[str, Mapping[str, Features]]

CLIPS = "clips"
"""Name of the digest over which clips are read, in which splits, in which order."""
_WORDS = {"split": "the split", "label": "labels", "text": "texts", "previous": "previous turns"}


@dataclass(frozen=True, eq=False)
class Data:
    """A row a labelled clip, in the order in which training has them.

    Attributes:
        clips: Their ids.
        columns: ``split``; digests of ``label`` (with the further labels beside it), ``text`` and ``previous``, the
            lines before it that the prompt has; and by the name of each stream the key of the clip's features, empty
            where it has none. A key is a hash of all that the values depend on, or of the values themselves.

    Examples:
        >>> columns = {"split": ("train", "test"), "label": ("0a", "0b"), "acoustic.made": ("1c", "1d")}
        >>> before = Data(("a", "b"), columns)
        >>> changes(before, Data(("a", "b"), {**columns, "label": ("0a", "0c"), "acoustic.made": ("2c", "")}))
        ('labels of 1 clip', 'features acoustic.made of 2 clips')
    """

    clips: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]

    def digests(self) -> dict[str, str]:
        """16 hex digits a column, and for `CLIPS`: equal where training would read the same."""
        rows = {CLIPS: [*self.clips, *self.columns["split"]], **self.columns}
        return {name: _digest(*values) for name, values in rows.items() if name != "split"}

    def write(self, path: Path) -> None:
        """Write it as a Parquet file, whole or not at all."""
        table = pa.table({"clip": list(self.clips), **{name: list(column) for name, column in self.columns.items()}})
        with aside(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")


NO_DATA = Data((), {"split": ()})
"""Where nothing is trained."""


def read_data(clips: Sequence[Clip], examples: Examples, streams: Streams) -> Data:
    """Gather what is read of each example.

    Args:
        clips: Of the dataset.
        examples: The labelled clips by split.
        streams: The features, by the stream's name.
    """
    further = {clip.id: clip.labels for clip in clips if clip.labels}
    rows = [(split, one) for split in Split for one in examples.get(split, ())]
    labels = ([one.label, dict(further.get(one.clip, {}))] for _, one in rows)
    columns = {
        "split": [split.value for split, _ in rows],
        "label": [_digest(json.dumps(label, sort_keys=True)) for label in labels],
        "text": [_digest(one.text) for _, one in rows],
        "previous": [_digest(*one.before) if one.before else "" for _, one in rows],
        **{name: list(_keys(stream, (one.clip for _, one in rows))) for name, stream in streams.items()},
    }
    return Data(tuple(one.clip for _, one in rows), {name: tuple(column) for name, column in columns.items()})


def open_data(path: Path, digests: Mapping[str, str]) -> Data | None:
    """What `Data.write` wrote.

    Args:
        path: The file.
        digests: Those that the run names.

    Returns:
        None where there is no such file, or it is not of these digests: someone else wrote it.
    """
    try:
        with pq.ParquetFile(path) as file:
            columns = {name: tuple(map(str, values)) for name, values in file.read().to_pydict().items()}
        found = Data(columns.pop("clip"), columns)
        return found if found.digests() == dict(digests) else None
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return None


def changes(before: Data, after: Data) -> tuple[str, ...]:
    """What differs, in words, each kind with the number of its clips."""
    old, new = ({clip: place for place, clip in enumerate(one.clips)} for one in (before, after))
    both = [clip for clip in after.clips if clip in old]
    counts = {
        name: sum(before.columns[name][old[clip]] != column[new[clip]] for clip in both)
        for name, column in after.columns.items()
        if name in before.columns
    }
    found = [f"{_named(name)} of {_clips(count)}" for name, count in counts.items() if count]
    for more, one, other in (("more", after, old), ("fewer", before, new)):
        count = sum(clip not in other for clip in one.clips)
        found += [f"{_clips(count)} {more} with a label"] if count else []
    # A clip in another split stands elsewhere for that alone.
    kept = {clip for clip in both if before.columns["split"][old[clip]] == after.columns["split"][new[clip]]}
    if [clip for clip in before.clips if clip in kept] != [clip for clip in both if clip in kept]:
        found.append("the order of the clips")
    return tuple(found)


def changed_kinds(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """What differs by the digests alone, which do not tell of how many clips."""
    if before.get(CLIPS) != after.get(CLIPS):
        return ("which clips are read, their splits or their order",)
    return tuple(_named(name) for name in after if name in before and before[name] != after[name])


def distance(before: Mapping[str, str], after: Mapping[str, str]) -> int:
    """How many digests differ."""
    return sum(before.get(name) != digest for name, digest in after.items())


def measure(dataset: Dataset, examples: Examples, streams: Streams) -> Coverage:
    """Of how many clips each split is.

    Args:
        dataset: Whose clips are read.
        examples: Those that are read, by split; splits that are not there are not counted.
        streams: The features that are read, by the stream's name.
    """
    official = dataset.manifest.source.get("expected") or {}
    expected = {name: count for name, count in official.items() if isinstance(count, int)}
    there = {split: sum(clip.split == split for clip in dataset.clips) for split in examples}
    return Coverage(
        {
            split.value: SplitCoverage(
                clips=there[split],
                read=len(chosen),
                official=expected.get(split.value),
                streams={name: sum(has_rows(stream, one.clip) for one in chosen) for name, stream in streams.items()},
            )
            for split, chosen in examples.items()
            if there[split] or expected.get(split.value)
        }
    )


def _keys(stream: Mapping[str, Features], clips: Iterable[str]) -> Iterator[str]:
    for clip in clips:
        if isinstance(stream, Pack):
            place = stream.place(clip)
            yield "" if place is None else stream.clip_keys[place]
        elif isinstance(stream, ShardView):
            yield stream.rows[clip].key if clip in stream.rows else ""
        else:
            raise TypeError(f"Features of a cache have keys, those of a {type(stream).__name__} have not.")


def has_rows(stream: Mapping[str, Features], clip: str) -> bool:
    """Whether a clip has a row to read; its values are not read for that."""
    if clip not in stream:
        return False
    if isinstance(stream, Pack):
        return stream.has_valid(clip)
    if isinstance(stream, ShardView):
        return stream.rows[clip].valid > 0
    return bool(stream[clip].valid.any())


def _digest(*texts: str) -> str:
    return blake2b(json.dumps(texts).encode(), digest_size=8).hexdigest()


def _named(column: str) -> str:
    return _WORDS.get(column, f"features {column}")


def _clips(count: int) -> str:
    return f"{count:,} clip{'' if count == 1 else 's'}"
