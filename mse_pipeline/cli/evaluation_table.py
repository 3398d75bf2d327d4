"""What an evaluation says on the terminal."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from mse_pipeline.metrics import ERRORS
from mse_pipeline.metrics.coverage import told

if TYPE_CHECKING:
    from rich.console import Console

    from mse_pipeline.prediction.evaluation import Evaluation

_SHOWN_CLASSES = 12


def show(found: Evaluation, console: Console) -> None:
    """Print the metrics, a row a seed; what was predicted how often, where nothing is known to compare with."""
    clips = len(found.seeds[0].predictions)
    about = found.stored.about
    console.print(
        f"[bold]{escape(found.dataset)}[/], {found.split.value}: {clips} clips, {found.labelled} of them labelled. "
        f"Trained on {escape(about.dataset)} with {escape(about.backbone.name)}, {escape(about.variant)}; "
        f"decoding {found.decoding}."
    )
    for stream in found.coverage.streams:
        console.print(f"{escape(stream)}: {told(found.coverage.parts(stream))} clips")
    console.print(_metrics(found) if found.labelled else _counts(found))


def _metrics(found: Evaluation) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("seed")
    names = list(found.seeds[0].metrics)
    for name in names:
        table.add_column(f"{escape(name)} {'↓' if name in ERRORS else '↑'}", justify="right")
    for seed in found.seeds:
        table.add_row(str(seed.seed), *(_number(seed.metrics[name]) for name in names))
    if len(found.seeds) > 1:
        table.add_section()
        mean = found.mean()
        table.add_row(
            "mean ± sd",
            *(
                _number(mean[name][0]) + ("" if mean[name][1] is None else f" ± {_number(mean[name][1])}")
                for name in names
            ),
            style="bold",
        )
    return table


def _counts(found: Evaluation) -> Table:
    table = Table(box=SIMPLE_HEAD, title="No clip has a label. Predicted:", title_justify="left")
    table.add_column("prediction")
    table.add_column("clips", justify="right")
    counts = Counter(str(one.prediction) for one in found.seeds[0].predictions)
    for name, count in counts.most_common(_SHOWN_CLASSES):
        table.add_row(escape(name), str(count))
    if len(counts) > _SHOWN_CLASSES:
        table.add_row(f"{len(counts) - _SHOWN_CLASSES} others", str(sum(sorted(counts.values())[:-_SHOWN_CLASSES])))
    return table


def _number(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.4f}"
