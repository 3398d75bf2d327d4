"""Dataset: the clips of one corpus and their features in the cache."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import Timeout

from mse_pipeline.clip import Clip
from mse_pipeline.errors import MseError, UsageError, did_you_mean
from mse_pipeline.store.candidates import Choices, read_choices, write_choices
from mse_pipeline.store.checksum import read_sealed, write_sealed
from mse_pipeline.store.commit import Commit, run_lock
from mse_pipeline.store.features import Features
from mse_pipeline.store.journal import Journal, JournalRow
from mse_pipeline.store.keys import ID, Version, canonical, stream_id
from mse_pipeline.store.manifest import (
    Manifest,
    StreamEntry,
    count_clips,
    read_clips,
    read_manifest,
    write_clips,
    write_manifest,
)
from mse_pipeline.store.pack import Pack
from mse_pipeline.store.packing import is_current, open_current, pack_stream
from mse_pipeline.store.shards import ShardView
from mse_pipeline.store.storage import names

_PLAIN = re.compile(r"[^A-Za-z0-9_.]+")


class Dataset(Mapping[str, Mapping[str, Features]]):
    """Streams by name, each a mapping from clip id to Features.

    ``dataset["acoustic.egemaps"]`` reads what training reads: the pack, on the clock that the recipe's alignment
    asks for. ``dataset.native("acoustic.egemaps")`` reads the extractor's rows on their own clock.

    Args:
        path: The dataset's folder in the cache.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = Journal(path / "journal")
        self._grouped: tuple[object, dict[str, list[JournalRow]]] = (None, {})
        self._packs: dict[str, Pack] = {}
        self._choices: dict[tuple[str, str], Choices] = {}

    @property
    def name(self) -> str:
        """The dataset's name."""
        return self.path.name

    @cached_property
    def manifest(self) -> Manifest:
        """What the dataset is, and the current version of each stream."""
        return read_manifest(self.path / "dataset.json")

    @cached_property
    def clips(self) -> tuple[Clip, ...]:
        """All clips, with and without features, in the corpus's order."""
        return read_clips(self.path / "clips.parquet")

    def __getitem__(self, stream: str) -> Mapping[str, Features]:
        entry = self._entry(stream)
        held = self._packs.get(stream)
        if held is not None and not held.closed and is_current(self, stream, held):
            return held
        pack = open_current(self, stream)
        if pack is not None:
            self._packs[stream] = pack
            return pack
        native = self.native(stream)
        if entry.alignment == {"kind": "none"} or not native:
            return native
        raise MseError(
            f"{stream} of {self.name} has no pack for its alignment ({entry.alignment['kind']}) yet. "
            f"Run `mse extract {self.name}` to finish."
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.manifest.streams)

    def __len__(self) -> int:
        return len(self.manifest.streams)

    def __repr__(self) -> str:
        try:
            splits = Counter(str(clip.split) for clip in self.clips)
            counts = ", ".join(f"{count:,} {split}" for split, count in splits.items())
            lines = [f"The dataset {self.name} in {self.path.parent}: {len(self.clips):,} clips ({counts or 'none'})"]
            for stream in self:
                clock = self.manifest.streams[stream].alignment.get("kind", "none")
                lines.append(f"  {stream}: {self.count(stream):,} clips, clock {clock}")
        except (MseError, OSError) as error:  # what is damaged can be looked at, too
            return f"The dataset {self.name} in {self.path.parent}: {error}"
        return "\n".join(lines)

    def native(self, stream: str, version: str | None = None) -> ShardView:
        """Features on the extractor's own clock, read from the shards, with notes.

        Args:
            stream: Name of the stream.
            version: Id of one of its `versions`; None for the current one.

        Raises:
            UsageError: There is no such stream, or no such version of it.
        """
        version = self._version(stream, version)
        rows = {row.clip: row for row in self.rows(stream, version) if row.status == "done"}
        order = [clip.id for clip in self.clips]
        return ShardView(self.stream_folder(stream, version), rows, order, self.choices(stream, version))

    def rows(self, stream: str, version: str | None = None) -> list[JournalRow]:
        """The journal's rows of a version of a stream, done and failed, in no particular order.

        Args:
            stream: Name of the stream.
            version: Id of one of its `versions`; None for the current one.

        Raises:
            UsageError: There is no such stream, or no such version of it.
        """
        version = self._version(stream, version)
        ids, choices = self._ids, self.choices(stream, version)
        return [choices.told(row) for row in self._rows_by_version().get(version, []) if row.clip in ids]

    def choices(self, stream: str, version: str | None = None) -> Choices:
        """Which of several faces count in a stream; empty if each clip's face was chosen without the others.

        Args:
            stream: Name of the stream.
            version: Id of one of its `versions`; None for the current one.

        Raises:
            UsageError: There is no such stream, or no such version of it.
            MseError: The file of the choices is damaged.
        """
        key = stream, self._version(stream, version)
        if key not in self._choices:
            self._choices[key] = read_choices(self.stream_folder(*key))
        return self._choices[key]

    def set_choices(self, stream: str, choices: Choices) -> None:
        """Set which of several faces count in a stream's current version."""
        key = stream, self._entry(stream).version
        write_choices(self.stream_folder(*key), choices)
        self._choices[key] = choices

    def versions(self, stream: str) -> tuple[Version, ...]:
        """The versions of a stream that the cache holds: the current one, then the others in the order of their ids.

        Raises:
            UsageError: There is no such stream.
        """
        entry = self._entry(stream)
        journal = self._rows_by_version()
        ids = {id for id, rows in journal.items() if any(row.stream == stream for row in rows)}
        folder = self.path / "streams" / stream
        ids |= {name for name in names(folder) if (folder / name / "stream.json").is_file()}
        others = sorted(id for id in ids - {entry.version} if ID.fullmatch(id))
        return tuple(
            Version(
                id=id,
                identity=entry.identity if id == entry.version else _read_identity(folder / id / "stream.json"),
                done=sum(row.status == "done" and row.clip in self._ids for row in journal.get(id, [])),
                current=id == entry.version,
            )
            for id in (entry.version, *others)
        )

    def clip_count(self) -> int:
        """Number of clips, without reading their table."""
        return count_clips(self.path / "clips.parquet")

    def count(self, stream: str) -> int:
        """How many clips have features of a stream, by the journal."""
        return sum(row.status == "done" for row in self.rows(stream))

    def rows_with_shards(self) -> dict[tuple[str, str], JournalRow]:
        """The journal's rows by clip and stream version, without features that are lost because their shard is missing.

        A shard may have been removed by hand because it was damaged, or, on object storage, by someone who thought that
        nothing names it. Its features then count as missing.
        """
        held: dict[tuple[str, str], JournalRow] = {}
        for version, rows in self._rows_by_version().items():
            shards = {
                stream: set(names(self.stream_folder(stream, version))) for stream in {row.stream for row in rows}
            }
            for row in rows:
                if row.status != "done" or row.shard in shards[row.stream]:
                    held[row.clip, version] = row
        return held

    def _rows_by_version(self) -> dict[str, list[JournalRow]]:
        rows = self.journal.read()
        if self._grouped[0] is not rows:
            grouped: dict[str, list[JournalRow]] = {}
            for (_, version), row in rows.items():
                grouped.setdefault(version, []).append(row)
            self._grouped = rows, grouped
        return self._grouped[1]

    @cached_property
    def _ids(self) -> frozenset[str]:
        return frozenset(clip.id for clip in self.clips)

    def put(self, stream: str, features: Mapping[str, Features], *, source: Mapping[str, Any] | None = None) -> None:
        """Store features from other tools as a stream's current version.

        Args:
            stream: Modality and name, as in ``visual.action_units``.
            features: Features by clip id.
            source: Their origin, as plain values; kept with the stream.

        Raises:
            UsageError: The stream's name has no modality, or a clip does not belong to this dataset.
            MseError: A run is working on the dataset.
        """
        modality, _, kind = stream.partition(".")
        if modality not in {"acoustic", "visual", "text"} or not kind:
            raise UsageError(
                f"The name of a stream is modality.kind, as in visual.action_units; got {stream!r}. "
                "Use acoustic, visual or text as modality."
            )
        strangers = sorted(set(features) - {clip.id for clip in self.clips})
        if strangers:
            raise UsageError(
                f"{len(strangers)} clips do not belong to the dataset {self.name}; the first is {strangers[0]!r}."
            )
        content, keys = hashlib.blake2b(digest_size=16), {}
        for clip in sorted(features):
            own, key = features[clip], hashlib.blake2b(digest_size=16)
            head = canonical([clip, list(own.names), list(own.values.shape)])
            for part in (head, *(array.tobytes() for array in (own.values, own.intervals, own.valid))):
                content.update(part)
                key.update(part)
            keys[clip] = key.hexdigest()
        identity = {"stream": stream, "imported": dict(source or {}), "content": content.hexdigest()}
        entry = StreamEntry(stream_id(identity), identity)
        try:
            with run_lock(self.path):  # pruning would remove a version that the manifest does not name yet
                commit = Commit(self, run=uuid.uuid4().hex[:8])
                for clip, own in features.items():
                    row = JournalRow(clip=clip, stream=stream, version=entry.version, status="done", key=keys[clip])
                    commit.add(row, own)
                commit.write()
                self.set_manifest(self.manifest.with_stream(stream, entry))
                pack_stream(self, stream)
        except Timeout as error:
            raise MseError(
                f"An extraction into {self.name} is running. Put the features after it has ended."
            ) from error

    def set_manifest(self, manifest: Manifest) -> None:
        """Write the manifest, and each stream's identity beside its shards."""
        write_manifest(self.path / "dataset.json", manifest)
        for name, entry in manifest.streams.items():
            home = self.stream_folder(name, entry.version) / "stream.json"
            if not home.is_file():
                write_sealed(home, dict(entry.identity))
        self.__dict__["manifest"] = manifest

    def set_clips(self, clips: Sequence[Clip]) -> None:
        """Write the clip table anew, if it is another; the clips are the same, what is known of them may differ."""
        if tuple(clips) != self.clips:
            write_clips(self.path / "clips.parquet", clips)
            self.__dict__["clips"] = tuple(clips)

    def stream_folder(self, stream: str, version: str) -> Path:
        """Where the shards of one version of a stream lie."""
        return self.path / "streams" / stream / version

    def pack_path(self, stream: str) -> Path:
        """Where the pack of a stream's current version on its current clock lies."""
        entry = self._entry(stream)
        clock = _PLAIN.sub("", str(entry.alignment["kind"]))[:40]
        if len(entry.alignment) > 1:  # options may be too long for a file's name, or not allowed in it
            clock += "-" + hashlib.blake2b(canonical(dict(entry.alignment)), digest_size=6).hexdigest()
        return self.stream_folder(stream, entry.version) / f"pack-{clock}.h5"

    def _version(self, stream: str, version: str | None) -> str:
        """The id of the current version, or of the version that is asked for if it exists."""
        current = self._entry(stream).version
        if version is None or version == current:
            return current
        versions = self.versions(stream)
        if version not in {other.id for other in versions}:
            ids = ", ".join(f"{other.id} (current)" if other.current else other.id for other in versions)
            raise UsageError(f"{stream} of {self.name} has no version {version!r}. It has: {ids}.")
        return version

    def _entry(self, stream: str) -> StreamEntry:
        try:
            return self.manifest.streams[stream]
        except KeyError:
            hint = did_you_mean(str(stream), self, sentence=True) or f" It has: {', '.join(self) or 'none yet'}."
            raise StreamMissing(f"The dataset {self.name} has no stream {stream!r}.{hint}") from None


def _read_identity(path: Path) -> Mapping[str, Any]:
    """The identity in the file beside the shards; empty if the file is missing or cannot be read."""
    try:
        return read_sealed(path)[0]
    except (OSError, ValueError):
        return {}


class StreamMissing(UsageError, KeyError):
    """The dataset has no stream of that name."""

    __str__ = Exception.__str__
