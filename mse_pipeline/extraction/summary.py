"""Summary: what an extraction found, made and could not make, and where to look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mse_pipeline.clip import Clip, Split
from mse_pipeline.corpora.overview import Overview
from mse_pipeline.store.journal import JournalRow


@dataclass(frozen=True)
class StreamCount:
    """How far one stream is.

    Attributes:
        done: Clips that have it.
        made: Clips that got it in this run.
        failed: Clips that lack it, by defect code.
        rows: Rows in all.
        valid: Valid rows among them.
    """

    done: int
    made: int
    failed: Mapping[str, int]
    rows: int
    valid: int


@dataclass(frozen=True)
class Summary:
    """The end of an extraction.

    Attributes:
        dataset: The dataset's name in the cache.
        path: Its folder.
        found: Clips in the corpus, by split.
        expected: Official counts by split; empty where there are none.
        asked: Clips that this run was to have complete (all, or `--limit`).
        processed: Clips that this run worked on.
        streams: Counts by stream.
        failed_clips: Clips among those asked for that lack a stream.
        remarks: Remarks on clips that are done, by defect code.
        instead: What was done in place of the best, as something is missing on this machine, as sentences.
        defects: What the corpus itself shows, by defect code.
        understood: What its reader made of the label files, in few words.
        notes: What its reader chose or left aside, as sentences.
        failures: The rows of failed streams.
        seconds: Duration of the run.
    """

    dataset: str
    path: Path
    found: Mapping[str, int]
    expected: Mapping[str, int]
    asked: int
    processed: int
    streams: Mapping[str, StreamCount]
    failed_clips: int
    remarks: Mapping[str, int]
    instead: tuple[str, ...]
    defects: Mapping[str, int]
    understood: Overview
    notes: tuple[str, ...]
    failures: tuple[JournalRow, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        value = asdict(self)
        value["path"] = str(self.path)
        value["understood"] = self.understood.to_dict()
        value["failures"] = [
            {k: v for k, v in row.items() if v is not None and k in {"clip", "stream", "code", "stage", "message"}}
            for row in value["failures"]
        ]
        return value


def count_splits(clips: Iterable[Clip]) -> dict[str, int]:
    """Clips by split, in the order train, valid, test."""
    counts = Counter(clip.split for clip in clips)
    return {split.value: counts[split] for split in Split if counts[split]}


def count_stream(rows: Iterable[JournalRow], made: set[tuple[str, str]]) -> StreamCount:
    """Counts of one stream from its journal rows; `made` holds (clip, stream) of this run."""
    rows = list(rows)
    done = [row for row in rows if row.status == "done"]
    return StreamCount(
        done=len(done),
        made=sum((row.clip, row.stream) in made for row in done),
        failed=dict(Counter(str(row.code) for row in rows if row.status == "failed").most_common()),
        rows=sum(row.rows for row in done),
        valid=sum(row.valid for row in done),
    )
