"""Two runs clip by clip: which clips one gets right and the other wrong, and whether that may be by chance.

Of classes, a run is right about a clip where most of its seeds are (where they are divided, the likeliest answer
counts); McNemar's exact test tells whether as many clips changed one way as the other. Of numbers, the mean over seeds
is compared by its distance from the label. The paired bootstrap compares the metric itself.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mse_pipeline import metrics
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.report import bootstrap
from mse_pipeline.report.bootstrap import Comparison, compare
from mse_pipeline.report.details import dataset_of
from mse_pipeline.report.formats.sheet import write_csv
from mse_pipeline.report.runs import shown
from mse_pipeline.report.table import Column, ResultRow, ResultTable
from mse_pipeline.store.storage import write_text

if TYPE_CHECKING:
    from rich.console import Console

    from mse_pipeline.store.cache import Cache

ALPHA = 0.05


@dataclass(frozen=True)
class PairedClip:
    """A clip that both runs predicted.

    Attributes:
        clip: Its id.
        text: What is said; None where the cache does not have the clip.
        label: Its label, in words.
        first: What the first run says, in words.
        second: What the second one says.
        change: ``fixed`` (the first is wrong, the second right), ``broken``, ``both right``, ``both wrong``; of numbers
            ``nearer``, ``farther`` or ``same``: whether the second is nearer to the label.
        difference: Of numbers, the second's distance from the label less the first's; of classes None.
    """

    clip: str
    text: str | None
    label: str
    first: str
    second: str
    change: str
    difference: float | None = None


@dataclass(frozen=True)
class Pair:
    """Two runs on the clips that both predicted.

    Attributes:
        first: Name of the first run.
        second: Name of the second one.
        kind: Of the metrics.
        split: Whose predictions.
        seeds: How many seeds each has: an answer of several is better than one of a single seed.
        clips: All clips, those that changed most first.
        mcnemar: p of McNemar's exact test; None for numbers.
        comparison: The second against the first by the metric that chooses epochs; None where it is not defined.
        left_out: Clips that only one of them predicted, or with another label.
    """

    first: str
    second: str
    kind: str
    split: str
    seeds: tuple[int, int]
    clips: tuple[PairedClip, ...]
    mcnemar: float | None
    comparison: Comparison | None
    left_out: int

    @property
    def counts(self) -> Mapping[str, int]:
        """How many clips changed in which way."""
        return dict(Counter(clip.change for clip in self.clips).most_common())

    @property
    def changed(self) -> tuple[PairedClip, ...]:
        """The clips about which the runs differ."""
        return tuple(clip for clip in self.clips if clip.change not in {"both right", "both wrong", "same"})

    def sentences(self) -> list[str]:
        """What came out, as sentences."""
        counts = ", ".join(f"{name} {count:,}" for name, count in self.counts.items())
        told = [f"{len(self.clips):,} clips of the {self.split} split: {counts}."]
        if self.mcnemar is not None:
            fixed, broken = self.counts.get("fixed", 0), self.counts.get("broken", 0)
            verdict = "no sign" if self.mcnemar > ALPHA else "a sign"
            told.append(
                f"McNemar's exact test on {fixed:,} fixed and {broken:,} broken clips: "
                f"{bootstrap.probability(self.mcnemar)}, {verdict} of more than chance."
            )
        if self.comparison is not None:
            found = self.comparison
            column = Column(found.metric, found.metric in metrics.errors(self.kind))
            low, high = (column.number(value) for value in (found.low, found.high))
            told.append(
                f"{column.name} of the second less that of the first: {column.number(found.difference)} (95 % from "
                f"{low} to {high}, {bootstrap.probability(found.p)}, paired bootstrap; means over seeds)."
            )
        if self.seeds[0] != self.seeds[1]:
            told.append(
                f"The first has {self.seeds[0]} seeds and the second {self.seeds[1]}: a majority of several is better "
                "than a single one, so compare runs of as many seeds."
            )
        if self.left_out:
            told.append(f"{self.left_out:,} clips are left out: only one run predicted them, or their labels differ.")
        return told


def rows_of(tables: Sequence[ResultTable], paths: Sequence[Path]) -> tuple[ResultRow, ResultRow, str] | None:
    """The rows of two run folders in the order of their paths, and the split; None where one has no finished seed.

    Raises:
        UsageError: They are the same run, or of different datasets or metrics.
    """
    rows = {row.run.path.resolve(): (table, row) for table in tables for row in table.rows}
    first, second = (rows.get(path.resolve()) for path in paths)
    if first is None or second is None:
        return None
    (table, one), (_, other) = first, second
    if one is other:
        raise UsageError(f"both paths are the run {one.run.name}.")
    if (one.run.dataset, one.run.kind) != (other.run.dataset, other.run.kind):
        raise UsageError(
            f"{one.run.name} is of {one.run.dataset} ({one.run.kind}), and {other.run.name} of {other.run.dataset} "
            f"({other.run.kind})."
        )
    return one, other, table.split


def compare_clips(
    first: ResultRow, second: ResultRow, split: str, cache: Cache | None = None, draws: int = bootstrap.DRAWS
) -> Pair:
    """Compare two runs of the same dataset and metrics clip by clip.

    Args:
        first: A run.
        second: Another one.
        split: That their rows are of.
        cache: Where the texts of clips are; None for nowhere.
        draws: Of the paired bootstrap.

    Raises:
        UsageError: They share no clip with the same label.
    """
    ours, theirs = _answers(first), _answers(second)
    shared = [clip for clip in ours if clip in theirs and ours[clip][0] == theirs[clip][0]]
    if not shared:
        raise UsageError(
            f"{first.run.name} and {second.run.name} share no clip with the same label on the split {split}, or have "
            "no predictions.parquet."
        )
    dataset = dataset_of(first.run.dataset, cache)
    texts = {} if dataset is None else {clip.id: clip.text for clip in dataset.clips}
    numbers = first.classes is None
    make = _number_clip if numbers else _class_clip
    clips = [make(clip, texts.get(clip), *ours[clip], theirs[clip][1]) for clip in shared]
    fixed, broken = (sum(clip.change == change for clip in clips) for change in ("fixed", "broken"))
    order = {"fixed": 0, "broken": 1, "both wrong": 2, "both right": 3}
    clips.sort(key=lambda clip: -abs(clip.difference or 0.0) if numbers else order[clip.change])
    try:
        comparison = compare(second.run, first.run, split, draws, only=frozenset(shared))
    except MseError:
        comparison = None
    return Pair(
        first=first.run.name,
        second=second.run.name,
        kind=first.run.kind,
        split=split,
        seeds=(len(first.run.seeds), len(second.run.seeds)),
        clips=tuple(clips),
        mcnemar=None if numbers else mcnemar(fixed, broken),
        comparison=comparison,
        left_out=len(set(ours) | set(theirs)) - len(shared),
    )


def mcnemar(fixed: int, broken: int) -> float:
    """Two-sided p of McNemar's exact test: how probable so uneven a change is, if each way is as likely.

    Examples:
        >>> mcnemar(0, 0), mcnemar(5, 5), round(mcnemar(9, 1), 4)
        (1.0, 1.0, 0.0215)
    """
    from scipy.special import bdtr

    # With each way as likely, the binomial distribution is symmetric: both tails are as large.
    return min(1.0, 2 * float(bdtr(min(fixed, broken), fixed + broken, 0.5)))


def _answers(row: ResultRow) -> dict[str, tuple[Any, Any]]:
    """By clip its label, and what most seeds say, or their mean; classes by name."""
    found: dict[str, list[Any]] = {}
    sure: dict[str, Counter[Any]] = {}
    labels: dict[str, Any] = {}
    names = row.predicted.labels
    for one in row.predicted.seeds.values():
        for place, clip in enumerate(one.clips):
            labels[clip] = one.targets[place]
            found.setdefault(clip, []).append(one.predictions[place])
            chances = one.probabilities[place] if one.probabilities is not None and names else []
            if len(chances) == len(names):
                sure.setdefault(clip, Counter()).update(dict(enumerate(chances)))
    if not names:
        return {clip: (labels[clip], statistics.fmean(said)) for clip, said in found.items()}
    return {clip: (names[labels[clip]], names[_majority(said, sure.get(clip))]) for clip, said in found.items()}


def _majority(said: Sequence[int], sure: Mapping[int, float] | None) -> int:
    counts = Counter(said)
    return min(counts, key=lambda label: (-counts[label], -(sure or {}).get(label, 0.0), label))


def _class_clip(clip: str, text: str | None, label: str, first: str, second: str) -> PairedClip:
    change = {
        (True, True): "both right",
        (True, False): "broken",
        (False, True): "fixed",
        (False, False): "both wrong",
    }[first == label, second == label]
    return PairedClip(clip, text, label, first, second, change)


def _number_clip(clip: str, text: str | None, label: float, first: float, second: float) -> PairedClip:
    difference = abs(second - label) - abs(first - label)
    change = "same" if difference == 0 else "nearer" if difference < 0 else "farther"
    return PairedClip(clip, text, f"{label:.4g}", f"{first:.4f}", f"{second:.4f}", change, difference)


COLUMNS = ("clip", "label", "first", "second", "change", "difference", "text")


def to_plain(pair: Pair) -> dict[str, Any]:
    """A value for JSON, with all clips."""
    return {
        "format": 1,
        "first": pair.first,
        "second": pair.second,
        "split": pair.split,
        "counts": dict(pair.counts),
        "mcnemar": pair.mcnemar,
        "comparison": None if pair.comparison is None else asdict(pair.comparison),
        "left_out": pair.left_out,
        "clips": [asdict(clip) for clip in pair.clips],
    }


def to_csv(pair: Pair) -> str:
    """All clips as CSV, those that changed first."""
    return write_csv(COLUMNS, ([getattr(clip, name) for name in COLUMNS] for clip in pair.clips))


WRITERS = {".csv": to_csv, ".json": lambda pair: json.dumps(to_plain(pair), indent=2, ensure_ascii=False) + "\n"}
"""How the clips are written, by the file's ending."""


def check_file(path: Path) -> None:
    """Refuse a file of clips whose ending names no format.

    Raises:
        UsageError: It does not.
    """
    if path.suffix.lower() not in WRITERS:
        raise UsageError(f"--clips {path}: give a file that ends in {' or '.join(WRITERS)}.")


def require(pair: Pair | None, paths: Sequence[Path]) -> Pair:
    """The comparison whose clips are to be written.

    Raises:
        UsageError: There is none, as two runs were not given.
    """
    if pair is None:
        given = ", ".join(map(str, paths))
        raise UsageError(
            f"--clips is of two run folders that share clips, as in mse report runs/A runs/B; got {given}."
        )
    return pair


def write(pair: Pair, path: Path) -> None:
    """Write all clips to a file, in the format of its ending."""
    write_text(path, WRITERS[path.suffix.lower()](pair))


def show(pair: Pair, console: Console, limit: int) -> None:
    """Print what came out, and the clips that changed. Names and texts are shown as they stand, never as markup."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    console.print()
    console.print(Text(f"first:  {pair.first}\nsecond: {pair.second}"))
    for sentence in pair.sentences():
        console.print(Text(sentence))
    changed = pair.changed
    if limit and changed:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), expand=True)
        table.add_column("clip", max_width=24, overflow="fold")
        for head in ("label", "first", "second", "change"):
            table.add_column(head, max_width=14, overflow="fold")
        table.add_column("text", overflow="ellipsis", no_wrap=True, ratio=1)
        for clip in changed[:limit]:
            cells = (clip.clip, clip.label, clip.first, clip.second, clip.change, clip.text or "")
            table.add_row(*(Text(shown(cell, 200)) for cell in cells))
        console.print(table)
    if len(changed) > limit:
        console.print(
            Text(f"{limit} of {len(changed):,} clips that changed; --limit shows more, --clips FILE has all.")
        )
