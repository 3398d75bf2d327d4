"""What `mse cache show --failures` prints: a dataset's failures in groups, and all of them as a table."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mse_pipeline.cli.output import emit_json, printable, settings, stdout
from mse_pipeline.places import require_parent
from mse_pipeline.store.storage import aside

if TYPE_CHECKING:
    from mse_pipeline.store.dataset import Dataset
    from mse_pipeline.store.journal import JournalRow

_KEYS = ("clip", "stream", "code", "stage", "message")


@dataclass(frozen=True)
class Group:
    """Failures of one code at one stage.

    Attributes:
        code: As in ``missing_media``.
        stage: As in ``find``.
        clips: How many clips have one.
        streams: In how many of them each stream failed.
        messages: A clip of each message, in the order of the messages' first clips.
    """

    code: str
    stage: str
    clips: int
    streams: dict[str, int]
    messages: dict[str, str]


def grouped(rows: Sequence[JournalRow]) -> list[Group]:
    """Failures by code and stage, the most frequent first.

    Args:
        rows: Rows of the journal that failed.

    Examples:
        >>> from mse_pipeline.store.journal import JournalRow
        >>> failed = {"status": "failed", "code": "no_audio", "stage": "decode"}
        >>> grouped([JournalRow(clip="a", stream="acoustic.x", version="", **failed)])
        [Group(code='no_audio', stage='decode', clips=1, streams={'acoustic.x': 1}, messages={'': 'a'})]
    """
    members: dict[tuple[str, str], list[JournalRow]] = defaultdict(list)
    for row in rows:
        members[row.code or "", row.stage or ""].append(row)
    groups = []
    for (code, stage), own in members.items():
        streams: dict[str, int] = defaultdict(int)
        messages: dict[str, str] = {}
        for row in own:
            streams[row.stream] += 1
            messages.setdefault(row.message or "", row.clip)
        groups.append(Group(code, stage, len({row.clip for row in own}), dict(streams), messages))
    return sorted(groups, key=lambda group: -group.clips)


def show_failures(dataset: Dataset, limit: int, table: Path | None) -> None:
    """Print the failures of a dataset in groups, or write all of them into a file.

    Args:
        dataset: In the cache.
        limit: The most examples of a group; 0 for all.
        table: A CSV file, a row a failed clip and stream; None to print.
    """
    failed = [row for stream in dataset for row in dataset.rows(stream) if row.status == "failed"]
    groups = grouped(failed)
    if table is not None:
        require_parent(table)
        with aside(table) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(_KEYS)
            writer.writerows([getattr(row, key) or "" for key in _KEYS] for row in failed)
    if settings.json:
        source = {"dataset": dataset.name, "path": str(dataset.path), "source": dict(dataset.manifest.source)}
        plain = [{key: getattr(row, key) for key in _KEYS} for row in failed]
        counts = [{key: value for key, value in vars(group).items() if key != "messages"} for group in groups]
        emit_json({**source, "groups": counts, "failures": plain})
        return
    lines = [line for group in groups for line in _told(group, limit)]
    if table is not None:
        lines.append(f"{table}: {len(failed):,} failures")
    elif any(limit and len(group.messages) > limit for group in groups):
        lines.append("All of them: --csv FILE, or --limit 0.")
    stdout().print("\n".join(map(printable, lines or ["Nothing failed."])), markup=False, soft_wrap=True)


def _told(group: Group, limit: int) -> list[str]:
    """A group in lines: how many clips, in which streams, and what was said of some of them."""
    by_count: dict[int, list[str]] = defaultdict(list)
    for stream, count in group.streams.items():
        by_count[count].append(stream)
    lines = [f"{group.code} ({group.stage}): {group.clips:,} {'clip' if group.clips == 1 else 'clips'}"]
    lines += [f"  {count:,} in {', '.join(by_count[count])}" for count in sorted(by_count, reverse=True)]
    examples = list(group.messages.items())
    for message, clip in examples[: limit or None]:
        lines.append(f"  {clip}: {message}" if clip not in message else f"  {message}")
    more = len(examples) - limit
    return [*lines, f"  and {more:,} more"] if limit and more > 0 else lines
