"""dataset.json: what a dataset in the cache is, and which version of each stream is the current one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mse_pipeline.store.checksum import damaged, read_sealed, write_sealed
from mse_pipeline.task import Task, from_plain, to_plain

FORMAT, UNCHECKED = 2, 1


@dataclass(frozen=True)
class StreamEntry:
    """The current version of a stream.

    Attributes:
        version: Its id, 12 hex digits.
        identity: What the id is the hash of: extractor, revision, configuration, model digest; or where
            imported values came from.
        alignment: The clock of its pack, as in ``{"kind": "none"}`` or ``{"kind": "grid", "step": 0.1}``; that of
            ``words`` names another stream, on whose rows the pack depends too.
    """

    version: str
    identity: Mapping[str, Any]
    alignment: Mapping[str, Any] = field(default_factory=lambda: {"kind": "none"})


@dataclass(frozen=True)
class Manifest:
    """What stands in dataset.json.

    Attributes:
        name: The dataset's name in the cache.
        task: What is to be predicted.
        streams: The current version of each stream, by name.
        recipe: The recipe as plain values; empty where none was used.
        source: Where clips and labels came from: corpus, label files, official counts.
    """

    name: str
    task: Task
    streams: Mapping[str, StreamEntry] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)

    def with_stream(self, name: str, entry: StreamEntry) -> Manifest:
        """The same with one stream's current version set."""
        return replace(self, streams={**self.streams, name: entry})


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write dataset.json, whole or not at all."""
    value = asdict(manifest)
    value["task"] = to_plain(manifest.task)
    write_sealed(path, {"format": FORMAT, **value})


def read_manifest(path: Path) -> Manifest:
    """Read dataset.json; that of earlier versions, of format 1, has no checksum.

    Raises:
        DamagedError: The file is damaged or was written by a newer version.
    """
    try:
        value, sealed = read_sealed(path)
        if value.pop("format") != (FORMAT if sealed else UNCHECKED):
            raise ValueError(f"it has another format than {FORMAT}; a newer mse may have written it")
        value["task"] = from_plain(value["task"])
        value["streams"] = {name: StreamEntry(**entry) for name, entry in value["streams"].items()}
        return Manifest(**value)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, "The dataset's manifest", error) from error
