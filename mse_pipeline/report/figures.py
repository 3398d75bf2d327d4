"""Figures for papers: what a page shows of each run, drawn by matplotlib as PNG and PDF.

A name in letters that no font here has is replaced by its number, as in ``class 3``: a paper needs no boxes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mse_pipeline import fonts, metrics
from mse_pipeline.names import file_name
from mse_pipeline.report.charts import COLOURS, sample
from mse_pipeline.report.details import Details, read_details
from mse_pipeline.report.predicted import ClassTable
from mse_pipeline.report.runs import shown
from mse_pipeline.report.table import Column, Report, ResultTable, labels
from mse_pipeline.store.storage import aside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 300
_GREY = "#8a90a0"
_NAME = 44  # most characters of a line of a run's name on an axis


def draw_all(report: Report, folder: Path) -> list[Path]:
    """Write all figures of a report; a folder that is missing is made, its parents are not.

    Args:
        report: From `build`.
        folder: Where they go; files of the same names are replaced.

    Returns:
        The PNG files; beside each lies a PDF.
    """
    folder.mkdir(exist_ok=True)
    written = []
    with fonts.drawing():
        for table in report.tables:
            for name, figure in _figures(table):
                path = folder / f"{name}.png"
                for file in (path, path.with_name(f"{name}.pdf")):
                    _save(figure, file)
                written.append(path)
    return written


def _figures(table: ResultTable) -> Iterator[tuple[str, Figure]]:
    if table.rows:
        yield file_name(f"{table.dataset}-seeds"), _draw_seeds(table)
    key = metrics.primary(table.kind)[0]
    column = Column(key, key in metrics.errors(table.kind))
    for row in table.rows:
        details = read_details(row, table.split, None)
        if row.classes is not None:
            yield file_name(f"{row.run.name}-confusion"), _draw_confusion(row.classes)
            yield file_name(f"{row.run.name}-classes"), _draw_classes(row.classes)
        if details.reliability:
            yield file_name(f"{row.run.name}-calibration"), _draw_reliability(details)
        if details.numbers is not None:
            yield file_name(f"{row.run.name}-scatter"), _draw_scatter(details)
            yield file_name(f"{row.run.name}-errors"), _draw_errors(details)
        if details.curves:
            yield file_name(f"{row.run.name}-curves"), _draw_curves(details, column)


def _save(figure: Figure, path: Path) -> None:
    # Without a date the same runs give the same file.
    dateless: dict[str, Any] = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
    with aside(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=DPI, metadata=dateless)


def _writable(names: Sequence[str], what: str) -> list[str]:
    """Names that can be written here, others by their number."""
    return [name if not fonts.lacking([name]) else f"{what} {place}" for place, name in enumerate(names, start=1)]


def _axes(width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _plain(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x, parse_math=False)
    axes.set_ylabel(y, parse_math=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def _ticks(axis: Any, places: Any, names: Sequence[str], **more: Any) -> None:
    """Ticks with names that are shown as they stand: a dollar sign begins no formula."""
    axis.set_ticks(places, names, parse_math=False, **more)


def _draw_seeds(table: ResultTable) -> Figure:
    key = metrics.primary(table.kind)[0]
    column = Column(key, key in metrics.errors(table.kind))
    unit = 1 if column.error else 100
    own = [row for row in table.comparable if row.own and key in row.mean]
    figure, axes = _axes(6.0, 0.9 + 0.36 * (len(table.rows) + len(own)))
    for place, row in enumerate(table.rows):
        values = [unit * seed.scores(table.split).get(key, np.nan) for seed in row.run.seeds]
        axes.plot(values, [place] * len(values), "o", color=COLOURS[0], alpha=0.75, clip_on=False)
        if key in row.cells:
            axes.plot([unit * row.cells[key].mean], [place], "|", color=COLOURS[1], markersize=18, markeredgewidth=2)
    for place, other in enumerate(own, start=len(table.rows)):
        sd = unit * other.sd.get(key, 0.0)
        axes.errorbar([unit * other.mean[key]], [place], xerr=[sd], fmt="D", color=_GREY, markersize=5, capsize=2)
    names = _writable([shown(name, 2 * _NAME) for name in labels(table.rows)], "run")
    names = [textwrap.fill(name, _NAME) for name in names]
    names += [f"{row.system} (published)" for row in own]
    _plain(axes, f"{column.title}{'' if column.error else ', percent'}", "")
    _ticks(axes.yaxis, range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    return figure


def _draw_confusion(classes: ClassTable) -> Figure:
    counts = np.array(classes.confusion)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = 1.8 + 0.5 * len(counts)
    figure, axes = _axes(size + 0.8, size)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(*counts.shape) if len(counts) <= 20 else ():
        colour = "white" if shares[i, j] > 0.55 else "black"
        axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=7, color=colour)
    names = _writable(classes.classes, "class")
    _plain(axes, "predicted", "label")
    axes.grid(visible=False)
    _ticks(axes.xaxis, range(len(names)), names, fontsize=8, rotation=45, ha="right")
    _ticks(axes.yaxis, range(len(names)), names, fontsize=8)
    figure.colorbar(image, ax=axes, label="share of the label", shrink=0.8)
    return figure


def _draw_classes(classes: ClassTable) -> Figure:
    figure, axes = _axes(1.6 + 0.7 * len(classes.classes), 3.2)
    places = np.arange(len(classes.classes))
    shown = (
        ("precision", classes.precision, None),
        ("recall", classes.recall, None),
        ("F1", classes.f1, classes.f1_sd),
    )
    for number, (name, values, sd) in enumerate(shown):
        bars = 100 * np.array(values)
        spread = None if sd is None else 100 * np.array(sd)
        axes.bar(
            places + 0.27 * (number - 1),
            bars,
            0.25,
            yerr=spread,
            label=name,
            color=COLOURS[number],
            capsize=2,
            error_kw={"linewidth": 0.8},
        )
    _plain(axes, "", "percent")
    _ticks(axes.xaxis, places, _writable(classes.classes, "class"), fontsize=8, rotation=30, ha="right")
    axes.legend(fontsize=8, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def _draw_reliability(details: Details) -> Figure:
    figure, axes = _axes(3.6, 3.4)
    sure, right, clips = zip(*details.reliability, strict=True)
    axes.plot([0, 1], [0, 1], ":", color=_GREY)
    axes.plot(sure, right, "-", color=COLOURS[0])
    axes.scatter(sure, right, [10 + 70 * count / max(clips) for count in clips], color=COLOURS[0])
    _plain(axes, "probability of the predicted class", "share that is right")
    return figure


def _draw_scatter(details: Details) -> Figure:
    figure, axes = _axes(3.8, 3.8)
    if details.numbers is not None:
        targets, predictions, _ = sample(*details.numbers)
        low, high = (float(of([of(targets), of(predictions)])) for of in (np.min, np.max))
        axes.plot([low, high], [low, high], ":", color=_GREY)
        axes.plot(targets, predictions, "o", color=COLOURS[0], alpha=0.35, markersize=3, markeredgewidth=0)
    _plain(axes, "label", "predicted (mean over seeds)")
    return figure


def _draw_errors(details: Details) -> Figure:
    figure, axes = _axes(4.2, 3.0)
    if details.numbers is not None:
        axes.hist(details.numbers[1] - details.numbers[0], bins=40, color=COLOURS[0])
    _plain(axes, "predicted less label", "clips")
    return figure


def _draw_curves(details: Details, column: Column) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 2.8), layout="constrained")
    loss, valid = figure.subplots(1, 2)
    unit = 1 if column.error else 100
    for number, curve in enumerate(details.curves):
        colour = COLOURS[number % len(COLOURS)]
        scores = unit * np.array(curve.valid)
        loss.plot(curve.epochs, curve.loss, ".-", color=colour, label=f"seed {curve.seed}")
        valid.plot(curve.epochs, scores, ".-", color=colour)
        if curve.best in curve.epochs:
            valid.plot([curve.best], [scores[curve.epochs.index(curve.best)]], "*", color=colour, markersize=10)
    _plain(loss, "epoch", "training loss")
    _plain(valid, "epoch", f"validation {column.title}")
    loss.legend(fontsize=8, frameon=False)
    return figure
