"""Earlier runs: what is there already of a training that is asked for, and what has changed since.

Data: what a training reads of its dataset, clip by clip, so that a change of it is noticed and named.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import MseError
from mse_pipeline.metrics.coverage import Coverage, SplitCoverage
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.store.keys import canonical, differences
from mse_pipeline.store.pack import Pack
from mse_pipeline.store.shards import ShardView
from mse_pipeline.store.storage import aside
from mse_pipeline.task import describe, from_plain
from mse_pipeline.training.examples import Example
from mse_pipeline.training.run_files import DATA, OF_THE_DATASET, RESULT, RUN, SEED_FOLDER, read_json

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
        columns: ``split``; digests of ``label`` (with the further labels and the annotators' votes beside it),
            ``text`` and ``previous``, the lines before it that the prompt has; and by the name of each stream the key
            of the clip's features, empty where it has none. A key is a hash of all that the values depend on, or of
            the values themselves.

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
    votes = {clip.id: dict(clip.distribution) for clip in clips if clip.distribution}
    labels = (
        [one.label, dict(further.get(one.clip, {})), *([votes[one.clip]] if one.clip in votes else [])]
        for _, one in rows
    )
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


UNTOLD = "an earlier version of mse trained it, which did not keep what its data were"
_OF_THE_DATA = {"data", "clips", "media", "words", "metrics", "task"}
"""Parts of a configuration that follow from the dataset, not from what is asked for."""


@dataclass(frozen=True)
class Standing:
    """What is there of a training.

    Attributes:
        run: Folder of the run on the same data; None where there is none yet.
        done: Seeds of it that are trained, with the time when they were.
        before: Folder of the run of the same configuration on other data, the one that differs in the fewest things,
            of several the newest; None where there is none.
        before_created: When that one was begun.
        changed: What has changed since then.
    """

    run: str | None = None
    done: Mapping[int, str] = field(default_factory=dict)
    before: str | None = None
    before_created: str = ""
    changed: tuple[str, ...] = ()

    def reused(self, seeds: Sequence[int]) -> tuple[str, ...]:
        """Which of the seeds would not be trained again, since when.

        Examples:
            >>> Standing("runs/b", {1: "2026-01-02T03:04:05+00:00"}).reused([1, 2])
            ('Seed 1 is done on the same data since 2026-01-02 03:04 UTC (runs/b): it is reused, --overwrite trains it again.',)
        """  # noqa: E501
        return tuple(
            f"Seed {seed} is done on the same data since {clock(self.done[seed])} ({self.run}): it is reused, "
            "--overwrite trains it again."
            for seed in seeds
            if seed in self.done
        )

    def anew(self, seeds: Sequence[int]) -> tuple[str, ...]:
        """Which of the seeds are trained although there is a run of their configuration, and what has changed since.

        Examples:
            >>> Standing(before="runs/a", changed=("labels of 16 clips", "texts of 1 clip")).anew([1])
            ('Seed 1 is trained anew: the data have changed since the run runs/a, which stays as it is: labels of 16 clips, texts of 1 clip.',)
        """  # noqa: E501
        new = [str(seed) for seed in seeds if seed not in self.done]
        if not new or not self.changed:
            return ()
        are = f"Seeds {', '.join(new)} are" if len(new) > 1 else f"Seed {new[0]} is"
        when = f" of {clock(self.before_created)}" if self.before_created else ""
        return (
            f"{are} trained anew: the data have changed since the run {self.before}{when}, which stays as it is: "
            f"{', '.join(self.changed)}.",
        )


def clock(stored: str) -> str:
    """A time that a run's file has, to be read.

    Examples:
        >>> clock("2026-01-02T04:04:05+01:00"), clock("long ago")
        ('2026-01-02 03:04 UTC', 'an unknown time')
    """
    try:
        return f"{datetime.fromisoformat(stored).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError):
        return "an unknown time"


def config_digest(about: Mapping[str, Any]) -> str:
    """8 hex digits; equal for runs that differ by seed alone, and read the same data wherever these came from.

    Args:
        about: As `mse_pipeline.training.job.Job.about`.
    """
    streams = {modality: _content(stream) for modality, stream in about["streams"].items()}
    covered = {**about, "streams": streams, "words": _content(about["words"])}
    return blake2b(canonical(covered), digest_size=4).hexdigest()


def standing(about: Mapping[str, Any], data: Data, runs: Path) -> Standing:
    """Look for runs of the same configuration.

    Args:
        about: As `mse_pipeline.training.job.Job.about`; of an outline, whose backbone has no digest, any weights do.
        data: What would be read now.
        runs: Folder of the run folders.
    """
    same: Path | None = None
    others: list[tuple[int, str, Path, Mapping[str, Any]]] = []
    for path in sorted(runs.glob(f"*/{RUN}")):
        try:
            described = read_json(path)
            config = described["config"]
            if described["dataset"] != about["dataset"] or not _is_alike(config, about):
                continue
            if _is_same(config, about):
                same = path.parent
            else:
                near = -distance(config.get("data") or {}, about["data"])
                others.append((near, str(described.get("created", "")), path.parent, config))
        except (MseError, KeyError, TypeError, ValueError, AttributeError):
            continue  # no run of ours, or a damaged one: it is not reused, and `mse report` tells
    done = {} if same is None else done_since(same)
    run = None if same is None else str(same)
    if not others:
        return Standing(run, done)
    _, created, before, config = max(others, key=lambda one: one[:2])
    return Standing(run, done, str(before), created, what_changed(config, before / DATA, about, data))


def done_since(run: Path) -> dict[int, str]:
    """When each seed of a run that is done was trained."""
    found = {}
    for home in run.glob("seed-*"):
        name = SEED_FOLDER.fullmatch(home.name)
        try:
            result = read_json(home / RESULT) if name else {}
        except MseError:
            continue
        if name and result.get("status") == "done":
            found[int(name[1])] = str(result.get("finished", ""))
    return dict(sorted(found.items()))


def data_changed(digests: Mapping[str, str], table: Path, data: Data) -> tuple[str, ...]:
    """What of the data has changed, of how many clips where the run's table tells.

    Args:
        digests: Those of the run's data.
        table: Its `Data`, which need not be there.
        data: What would be read now.
    """
    before = open_data(table, digests)
    return changed_kinds(digests, data.digests()) if before is None else changes(before, data)


def what_changed(config: Mapping[str, Any], table: Path, about: Mapping[str, Any], data: Data) -> tuple[str, ...]:
    """What differs between the data that a run was trained on and those of now.

    Args:
        config: What the run says of itself.
        table: Its `Data`, which need not be there.
        about: The same of now.
        data: What would be read now.
    """
    if not config.get("data"):
        return (UNTOLD,)
    found = list(data_changed(config["data"], table, data))
    if config["task"] != about["task"]:
        found.append("what is predicted: " + " -> ".join(describe(from_plain(one["task"])) for one in (config, about)))
    for one, other in zip(_streams(config), _streams(about), strict=False):
        told = differences(_content(one)["identity"], _content(other)["identity"])
        found += [f"{other['name']}, {difference}" for difference in told]
    if config["media"] != about["media"]:
        limits = " -> ".join(str(one["media"]["max_seconds"]) for one in (config, about))
        found.append(f"the length that clips are cut to, in seconds: {limits}")
    if None not in (weights := _weights(config, about)) and len(weights) > 1:
        found.append("the backbone's weights")
    return tuple(found)


def _is_alike(config: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    """Whether the same was asked for: all is equal but what follows from the dataset, and the backbone's weights."""
    return _asked(config, about) == _asked(about, config)


def _asked(about: Mapping[str, Any], other: Mapping[str, Any]) -> bytes:
    kept = {name: value for name, value in about.items() if name not in _OF_THE_DATA}
    kept["backbone"] = {name: value for name, value in kept["backbone"].items() if name != "digest"}
    kept["streams"] = {
        modality: stream and [stream["name"], stream["alignment"]] for modality, stream in kept["streams"].items()
    }
    if about["task"] != other["task"]:  # the question names the classes
        kept["prompt"] = {name: value for name, value in kept["prompt"].items() if name != "task"}
    return canonical(kept)


def _is_same(config: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    if "data" not in config:
        return False
    if None in _weights(config, about):
        about = {**about, "backbone": {**about["backbone"], "digest": config["backbone"]["digest"]}}
    return config_digest(config) == config_digest(about)


def _weights(config: Mapping[str, Any], about: Mapping[str, Any]) -> set[str | None]:
    return {one["backbone"]["digest"] for one in (config, about)}


def _streams(about: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in (*about["streams"].values(), about["words"]) if one]


def _content(stream: Mapping[str, Any] | None) -> dict[str, Any]:
    """A stream without that by which its identity tells whose the values are: keys tell that a clip at a time."""
    if stream is None:
        return {}
    identity = {name: value for name, value in stream["identity"].items() if name not in OF_THE_DATASET}
    return {**{name: value for name, value in stream.items() if name != "version"}, "identity": identity}
