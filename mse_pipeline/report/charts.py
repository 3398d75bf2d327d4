"""Charts of a page: Plotly's own interactive figures, with its library beside them, so that no network is needed.

Names and texts of a dataset are shown as they stand: Plotly reads a few HTML tags in texts, so that they are escaped.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mse_pipeline import metrics
from mse_pipeline.errors import UsageError
from mse_pipeline.report.details import Details
from mse_pipeline.report.predicted import ClassTable
from mse_pipeline.report.runs import shown
from mse_pipeline.report.table import Column, ResultTable, labels

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

POINTS = 2000
"""Clips of a scatter plot; of more, so many are drawn at random."""
NAME = 44
"""Most characters of a run's name on an axis."""
COLOURS = ("#3b7dd8", "#e4572e", "#2e9e6b", "#a05cc5", "#d99a1c", "#4db6c4", "#c2527a", "#7a8a3a")
_CONFIG = {
    "displaylogo": False,
    "responsive": True,
    # Plotly has a button that sends the data of a chart to its company.
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["sendChartToCloud", "lasso2d", "select2d"],
}


def require_plotly() -> None:
    """Refuse a page where Plotly is not installed.

    Raises:
        UsageError: It is not.
    """
    try:
        import plotly  # noqa: F401
    except ImportError:
        raise UsageError(
            'An HTML report needs the package plotly: `pip install "mse-pipeline[report]"`. '
            "The other formats and --figures need nothing more."
        ) from None


def library() -> str:
    """Plotly's JavaScript, as its package has it."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def to_div(figure: Figure, name: str) -> str:
    """A figure as a div and its script, for a page that has the library.

    Args:
        figure: The figure.
        name: Id of the div: letters, digits and hyphens.
    """
    height = figure.layout.height or 320
    return str(
        figure.to_html(
            full_html=False, include_plotlyjs=False, div_id=name, config=_CONFIG, default_height=f"{height}px"
        )
    )


def plain(text: str) -> str:
    """A text that Plotly shows as it stands.

    Examples:
        >>> plain("<b>a</b> & b")
        '&lt;b&gt;a&lt;/b&gt; &amp; b'
    """
    return html.escape(" ".join(text.split()), quote=False)


def draw_seeds(table: ResultTable) -> Figure:
    """The main metric of each seed as a dot, the mean of a run as a line; the method's published means below."""
    import plotly.graph_objects as go

    key, _ = metrics.primary(table.kind)
    column = Column(key, key in metrics.errors(table.kind))
    figure = _figure(110 + 34 * (len(table.rows) + sum(row.own for row in table.comparable)))
    unit = 1 if column.error else 100
    names = distinct([shown(name, NAME) for name in labels(table.rows)])
    for name, row in zip(names, table.rows, strict=True):
        values = [unit * seed.scores(table.split).get(key, math.nan) for seed in row.run.seeds]
        texts = [
            f"seed {seed.seed}: {column.number(value / unit)}"
            for seed, value in zip(row.run.seeds, values, strict=True)
        ]
        mean = row.cells[key].mean * unit if key in row.cells else math.nan
        figure.add_trace(
            go.Scatter(
                x=values,
                y=[name] * len(values),
                mode="markers",
                text=texts,
                hoverinfo="text",
                marker={"size": 10, "color": COLOURS[0], "opacity": 0.75},
            )
        )
        figure.add_trace(
            go.Scatter(
                x=[mean],
                y=[name],
                mode="markers",
                hoverinfo="text",
                text=[f"mean {column.number(mean / unit)}"],
                marker={"symbol": "line-ns", "size": 22, "line": {"width": 3, "color": COLOURS[1]}},
            )
        )
    for other in (row for row in table.comparable if row.own and key in row.mean):
        mean, sd = unit * other.mean[key], unit * other.sd.get(key, 0.0)
        figure.add_trace(
            go.Scatter(
                x=[mean],
                y=[plain(f"{other.system} (published)")],
                mode="markers",
                hoverinfo="text",
                text=[f"published: {column.number(mean / unit)} ± {column.number(sd / unit)}"],
                error_x={"type": "data", "array": [sd]},
                marker={"symbol": "diamond", "size": 9, "color": "#8a90a0"},
            )
        )
    figure.update_yaxes(autorange="reversed", automargin=True, type="category")
    figure.update_xaxes(title=plain(f"{column.title}{'' if column.error else ', percent'}"))
    return figure


def distinct(names: Sequence[str]) -> list[str]:
    """Names as labels of an axis, on which two that are the same would be one place."""
    return [
        plain(name) if names.count(name) == 1 else plain(f"{name} ({place})") for place, name in enumerate(names, 1)
    ]


def draw_confusion(classes: ClassTable) -> Figure:
    """The confusion matrix over all seeds: colours are shares of a row, texts are counts."""
    import plotly.graph_objects as go

    counts = np.array(classes.confusion)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = distinct(classes.classes)
    hover = [
        [f"{target} as {said}: {counts[i][j]:,} ({100 * shares[i][j]:.1f} %)" for j, said in enumerate(names)]
        for i, target in enumerate(names)
    ]
    figure = _figure(max(320, 130 + 34 * len(names)))
    figure.add_trace(
        go.Heatmap(
            z=shares,
            x=names,
            y=names,
            text=[[f"{value:,}" for value in row] for row in counts.tolist()],
            texttemplate="%{text}" if len(names) <= 20 else None,
            hovertext=hover,
            hoverinfo="text",
            colorscale="Blues",
            zmin=0,
            zmax=1,
            colorbar={"thickness": 10, "tickformat": ".0%"},
        )
    )
    figure.update_yaxes(autorange="reversed", title="label", type="category", automargin=True)
    figure.update_xaxes(title="predicted", type="category", automargin=True)
    return figure


def draw_scatter(details: Details) -> Figure | None:
    """Predictions beside targets, means over seeds; None for classes."""
    import plotly.graph_objects as go

    numbers = details.numbers
    if numbers is None:
        return None
    targets, predictions, clips = sample(*numbers)
    low, high = float(min(targets.min(), predictions.min())), float(max(targets.max(), predictions.max()))
    figure = _figure(400)
    figure.add_trace(
        go.Scatter(
            x=[low, high], y=[low, high], mode="lines", hoverinfo="skip", line={"color": "#8a90a0", "dash": "dot"}
        )
    )
    figure.add_trace(
        go.Scatter(
            x=targets.tolist(),
            y=predictions.tolist(),
            mode="markers",
            hoverinfo="text",
            text=[
                f"{plain(c)}: label {t:.3g}, predicted {p:.3g}"
                for c, t, p in zip(clips, targets, predictions, strict=True)
            ],
            marker={"size": 5, "color": COLOURS[0], "opacity": 0.45},
        )
    )
    figure.update_xaxes(title="label")
    figure.update_yaxes(title="predicted (mean over seeds)")
    return figure


def sample(
    targets: np.ndarray, predictions: np.ndarray, clips: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """At most `POINTS` clips, drawn at random, the same ones each time."""
    if len(clips) <= POINTS:
        return targets, predictions, list(clips)
    chosen = np.sort(np.random.default_rng(0).choice(len(clips), POINTS, replace=False))
    return targets[chosen], predictions[chosen], [clips[place] for place in chosen]


def draw_errors(details: Details) -> Figure | None:
    """How often which error is made, as a histogram; None for classes."""
    import plotly.graph_objects as go

    numbers = details.numbers
    if numbers is None:
        return None
    counts, edges = np.histogram(numbers[1] - numbers[0], bins=40)
    figure = _figure(320)
    figure.add_trace(
        go.Bar(
            x=((edges[1:] + edges[:-1]) / 2).tolist(),
            y=counts.tolist(),
            marker={"color": COLOURS[0]},
            width=np.diff(edges).tolist(),
        )
    )
    figure.update_xaxes(title="predicted less label")
    figure.update_yaxes(title="clips")
    return figure


def draw_curves(details: Details, column: Column, *, loss: bool) -> Figure | None:
    """The training loss, or the metric that chooses epochs, a line a seed; None where no epoch was kept."""
    import plotly.graph_objects as go

    figure = _figure(320)
    for number, curve in enumerate(details.curves):
        colour = COLOURS[number % len(COLOURS)]
        unit = 1 if loss or column.error else 100
        values = [unit * value for value in (curve.loss if loss else curve.valid)]
        figure.add_trace(
            go.Scatter(
                x=list(curve.epochs),
                y=[None if math.isnan(value) else value for value in values],
                name=f"seed {curve.seed}",
                mode="lines+markers",
                line={"color": colour, "width": 2},
                marker={"size": 5},
            )
        )
        if not loss and curve.best in curve.epochs:
            figure.add_trace(
                go.Scatter(
                    x=[curve.best],
                    y=[values[curve.epochs.index(curve.best)]],
                    mode="markers",
                    showlegend=False,
                    hoverinfo="text",
                    text=[f"seed {curve.seed}: the epoch that was kept"],
                    marker={"symbol": "star", "size": 13, "color": colour},
                )
            )
    figure.update_xaxes(title="epoch")
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.28})
    return figure if details.curves else None


def draw_reliability(details: Details) -> Figure | None:
    """Share that is right by the probability of the predicted class; None where probabilities are not stored."""
    import plotly.graph_objects as go

    if not details.reliability:
        return None
    sure, right, clips = zip(*details.reliability, strict=True)
    figure = _figure(320)
    figure.add_trace(
        go.Scatter(x=[0, 1], y=[0, 1], mode="lines", hoverinfo="skip", line={"color": "#8a90a0", "dash": "dot"})
    )
    figure.add_trace(
        go.Scatter(
            x=sure,
            y=right,
            mode="lines+markers",
            hoverinfo="text",
            line={"color": COLOURS[0]},
            text=[f"{s:.0%} sure, {r:.0%} right, {c:,} predictions" for s, r, c in details.reliability],
            marker={"size": [6 + 14 * c / max(clips) for c in clips]},
        )
    )
    figure.update_xaxes(title="probability of the predicted class", range=[0, 1], tickformat=".0%")
    figure.update_yaxes(title="share that is right", range=[0, 1.02], tickformat=".0%")
    return figure


def _figure(height: int) -> Figure:
    import plotly.graph_objects as go

    return _styled(go.Figure(), height)


def _styled(figure: Any, height: int) -> Figure:
    """Without colours of paper and ink: the page's style gives these, in light and dark."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 60, "r": 20, "t": 44, "b": 50},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": "#8a90a0", "activecolor": COLOURS[0]},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=False,
        font={"size": 12},
        hoverlabel={"align": "left"},
    )
    figure.update_xaxes(gridcolor="rgba(128,128,128,0.25)", zerolinecolor="rgba(128,128,128,0.4)")
    figure.update_yaxes(gridcolor="rgba(128,128,128,0.25)", zerolinecolor="rgba(128,128,128,0.4)")
    return figure
