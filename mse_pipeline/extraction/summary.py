"""Summary: what an extraction found, what it extracted, and what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mse_pipeline.clip import Clip, Split
from mse_pipeline.corpora.overview import Overview
from mse_pipeline.store.journal import JournalRow
from mse_pipeline.store.where import Selection


@dataclass(frozen=True)
class StreamCount:
    """How far one stream is.

    Attributes:
        done: Clips that have it.
        made: Clips for which this run extracted it.
        failed: Clips that failed, by defect code.
        rows: Number of rows.
        valid: Number of valid rows.
    """

    done: int
    made: int
    failed: Mapping[str, int]
    rows: int
    valid: int


@dataclass(frozen=True)
class Summary:
    """Result of an extraction.

    Attributes:
        dataset: The dataset's name in the cache.
        path: Its folder.
        found: Clips in the corpus, by split.
        expected: Official counts by split; empty where there are none.
        asked: Clips that this run should complete: all, or those of `--where`, `--limit` and `--share`.
        processed: Clips that this run processed.
        worked_on: Those of them whose media was read: the others have no file, or one that is in the cache already.
        streams: Counts by stream.
        failed_clips: Those of `asked` that lack a stream.
        remarks: Number of remarks on extracted clips, by defect code.
        instead: Sentences about substitutes, because a model or package is missing on this machine.
        defects: Number of defects of the corpus, by defect code.
        understood: How the reader interpreted the label files, in short.
        notes: Sentences about what the reader chose or ignored.
        failures: The rows of failed streams.
        seconds: Duration of the run.
        selection: The clips of `--where`; None where it was not given.
    """

    dataset: str
    path: Path
    found: Mapping[str, int]
    expected: Mapping[str, int]
    asked: int
    processed: int
    worked_on: int
    streams: Mapping[str, StreamCount]
    failed_clips: int
    remarks: Mapping[str, int]
    instead: tuple[str, ...]
    defects: Mapping[str, int]
    understood: Overview
    notes: tuple[str, ...]
    failures: tuple[JournalRow, ...]
    seconds: float
    selection: Selection | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        value = {name: one for name, one in asdict(replace(self, selection=None)).items() if name != "selection"}
        if self.selection is not None:
            value["where"] = self.selection.to_plain()
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
