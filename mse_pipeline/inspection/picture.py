"""Picture: frames, waveform, words and features of one clip, one below the other, on one time axis.

The page is the same as one HTML file that needs no other file, with the sound to listen to.
"""

from __future__ import annotations

import base64
import io
import itertools
import re
import textwrap
import unicodedata
import wave
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from mse_pipeline.fonts import drawing, lacking, writable
from mse_pipeline.inspection.collect import Inspection, Shown, StreamView
from mse_pipeline.media.audio import Audio
from mse_pipeline.store.features import Features

if TYPE_CHECKING:
    from matplotlib.figure import Figure


INK, PAPER, MUTED, ACCENT, CHOSEN = "#1f2430", "#ffffff", "#8a90a0", "#3b6ea5", "#e4572e"
_WIDTH = 13.0  # inches
_DPI = 110
_ACROSS = 4  # frames in a row
_NAMED = 32  # streams of up to so many dimensions have each of them named at the side
_NOTHING = "#e4e6eb"
_GROUPS = 24  # others in at most so many groups
_LINE = 0.12  # inches that a name at the side needs
_DEVIATIONS = 2.5  # at which the colours of the heat maps end
_LEGEND = 0.6  # inches


def draw_picture(inspection: Inspection) -> bytes:
    """The whole picture as PNG."""
    timed = [view for view in inspection.streams if _has_time(view)]
    strip = [_strip_height(inspection.frames)] if inspection.frames else []
    heights = [0.8, *strip, *_panel_heights(timed)]
    with drawing():
        figure = _figure(sum(heights) + 0.6)
        grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        _head(figure.add_subplot(grid[0]), inspection)
        if inspection.frames:
            _strip(figure, grid[1], inspection.frames)
        _panels(figure, [grid[place] for place in range(1 + len(strip), len(heights))], inspection, timed)
        return _png(figure)


def draw_frames(inspection: Inspection) -> bytes:
    """The frames alone as PNG."""
    with drawing():
        figure = _figure(_strip_height(inspection.frames))
        _strip(figure, figure.add_gridspec(1, 1)[0], inspection.frames)
        return _png(figure)


def draw_timeline(inspection: Inspection) -> bytes:
    """Waveform, words and features as PNG."""
    timed = [view for view in inspection.streams if _has_time(view)]
    heights = _panel_heights(timed)
    with drawing():
        figure = _figure(sum(heights) + 0.4)
        grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        _panels(figure, [grid[place] for place in range(len(heights))], inspection, timed)
        return _png(figure)


def undrawable(inspection: Inspection) -> str:
    """The letters of a clip's id, text, speaker, label and words that no font here has: squares take their place."""
    clip = inspection.clip
    texts = (clip.id, clip.text, clip.speaker or "", str(clip.label or ""))
    return lacking([*texts, *(word.text for word in inspection.words)])


def _panel_heights(timed: list[StreamView]) -> list[float]:
    """Inches of the waveform, of each heat map, and of their legend."""
    return [1.3, *(_height(view) for view in timed), *([_LEGEND] if timed else [])]


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor=PAPER, layout="constrained")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _height(view: StreamView) -> float:
    return _height_of(view.features.dim if view.features is not None else 1)


def _height_of(dims: int) -> float:
    return float(np.clip(_LINE * dims, 0.8, _LINE * _NAMED))


def _has_time(view: StreamView) -> bool:
    features = view.features
    return (
        features is not None
        and len(features) > 0
        and bool(np.isfinite(features.intervals).all())
        and "words" not in features.notes
    )


def _head(axes: Any, inspection: Inspection) -> None:
    clip = inspection.clip
    axes.axis("off")
    facts = [inspection.dataset, clip.split.value, f"{inspection.duration:.2f} s"]
    facts += [f"label {clip.label}"] if clip.label is not None else []
    facts += [f"speaker {clip.speaker}"] if clip.speaker else []
    facts += [f"found: {', '.join(sorted({code for code, _ in inspection.problems}))}"] if inspection.problems else []
    text = textwrap.shorten(clip.text, 220, placeholder=" …") if clip.text else "no text"
    across = 85 if any(unicodedata.east_asian_width(letter) == "W" for letter in text) else 150
    plain: dict[str, Any] = {"parse_math": False, "transform": axes.transAxes, "va": "top"}
    axes.text(0, 0.95, writable(clip.id), fontsize=15, fontweight="bold", color=INK, **plain)
    axes.text(1, 0.95, writable("   ·   ".join(facts)), fontsize=9, color=MUTED, ha="right", **plain)
    axes.text(0, 0.45, writable("\n".join(textwrap.wrap(text, across)[:2])), fontsize=10, color=INK, **plain)


def _strip_height(frames: tuple[Shown, ...]) -> float:
    """Inches that the frames need, each row as high as its pictures are at their width."""
    height, width = frames[0].pixels.shape[:2]
    across = min(len(frames), _ACROSS)
    return -(-len(frames) // across) * (min(_WIDTH / across * height / width, 3.2) + 0.25)


def _strip(figure: Figure, place: Any, frames: tuple[Shown, ...]) -> None:
    across = min(len(frames), _ACROSS)
    inner = place.subgridspec(-(-len(frames) // across), across, wspace=0.01, hspace=0.01)
    for number, frame in enumerate(frames):
        _frame(figure.add_subplot(inner[number // across, number % across]), frame)


def _frame(axes: Any, frame: Shown) -> None:
    from matplotlib.patches import Rectangle

    axes.imshow(frame.pixels)
    axes.set_title(f"{frame.time:.2f} s", fontsize=8, color=MUTED, pad=3)
    axes.axis("off")
    height, width = frame.pixels.shape[:2]
    for box in frame.boxes:
        x1, y1, x2, y2 = np.array(box.corners) * [width, height, width, height]
        color, thick = (CHOSEN, 1.8) if box.chosen else (PAPER, 0.9)
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color, linewidth=thick))
        if box.track is not None and not box.chosen:
            axes.text(x1, y1 - 2, str(box.track), fontsize=7, color=PAPER)


def _panels(figure: Figure, places: list[Any], inspection: Inspection, timed: list[StreamView]) -> None:
    """Waveform with words, then a heat map a stream, all on one time axis, and what the maps' colours mean."""
    wave = figure.add_subplot(places[0])
    _waveform(wave, inspection)
    axes = wave
    colours = None
    for place, view in zip(places[1:], timed, strict=False):
        axes = figure.add_subplot(place, sharex=wave)
        if view.features is not None:
            colours = _heat(axes, view.stream, view.features)
    if colours is not None:
        _legend(figure, places[-1], colours)
    wave.set_xlim(0.0, max(inspection.duration, 1e-3))
    for other in figure.axes:
        if other.get_shared_x_axes().joined(other, wave) and other is not axes:
            other.tick_params(labelbottom=False)
    axes.set_xlabel("seconds from the clip's start", fontsize=8, color=MUTED)


def _waveform(axes: Any, inspection: Inspection) -> None:
    _bare(axes)
    axes.set_ylim(-1.05, 1.05)
    axes.set_yticks([])
    axes.set_ylabel("sound", fontsize=8, color=INK, rotation=0, ha="right", va="center")
    audio = inspection.audio
    if audio is None or not len(audio.samples):
        reason = "no sound" if inspection.frames else "no media file"
        axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", color=MUTED, fontsize=9)
    else:
        columns = min(len(audio.samples), 2400)
        edges = np.linspace(0, len(audio.samples), columns + 1).astype(int)[:-1]
        low, high = np.minimum.reduceat(audio.samples, edges), np.maximum.reduceat(audio.samples, edges)
        peak = max(float(np.abs(audio.samples).max()), 1e-6)
        axes.fill_between(edges / audio.rate, low / peak, high / peak, color=ACCENT, linewidth=0, step="post")
    for word in inspection.words:
        if word.text:
            axes.axvspan(word.begin, word.end, facecolor=CHOSEN, alpha=0.09, edgecolor=CHOSEN, linewidth=0.6)
            middle = (word.begin + word.end) / 2
            axes.text(middle, 0.98, writable(word.text), fontsize=8, color=INK, ha="center", va="top", parse_math=False)


def _heat(axes: Any, stream: str, features: Features) -> Any:
    """Each dimension over time in its own deviations; rows and values without a measurement are grey.

    Returns:
        What a colour bar is made of.
    """
    _bare(axes)
    values = features.values.astype(np.float64).T
    values[:, ~features.valid] = np.nan
    values[~np.isfinite(values)] = np.nan
    with np.errstate(all="ignore"):
        known = np.isfinite(values)
        count = np.maximum(known.sum(1, keepdims=True), 1)
        mean = np.where(known, values, 0).sum(1, keepdims=True) / count
        spread = np.sqrt(np.where(known, (values - mean) ** 2, 0).sum(1, keepdims=True) / count)
        scaled = (values - mean) / np.where(spread > 1e-9, spread, 1.0)
    axes.set_facecolor(_NOTHING)
    times = np.concatenate([features.intervals[:, 0], features.intervals[-1:, 1]])
    groups = _groups(features.names)
    edges, middles = _rows(groups, _height_of(features.dim))
    colours = axes.pcolormesh(
        times,
        edges,
        np.ma.masked_invalid(scaled),
        cmap="RdBu_r",
        vmin=-_DEVIATIONS,
        vmax=_DEVIATIONS,
        rasterized=True,
    )
    axes.set_ylim(edges[-1], 0)
    name = f"{writable(stream)}\n{features.dim} dims"
    axes.set_ylabel(name, fontsize=8, color=INK, rotation=0, ha="right", va="center")
    axes.yaxis.tick_right()
    axes.set_yticks(middles, [writable(_group_name(features.names, *group)) for group in groups], fontsize=5.5)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.tick_params(axis="y", length=0, colors=MUTED)
    if len(groups) < features.dim:
        for first, _ in groups[1:]:
            axes.axhline(edges[first], color=INK, linewidth=0.4)
    return colours


def _groups(names: Sequence[str]) -> list[tuple[int, int]]:
    """Neighbouring dimensions that a name at the side stands for, as (first, end): few are each named alone.

    Many are grouped by the letters that their names begin with; of more than `_GROUPS` groups, small ones are joined.

    Examples:
        >>> names = ["box_x", "box_y", *(f"onet_{k:03}" for k in range(256))]
        >>> _groups(names), _groups(names[:3])
        ([(0, 2), (2, 258)], [(0, 1), (1, 2), (2, 3)])
    """
    if len(names) <= _NAMED:
        return [(place, place + 1) for place in range(len(names))]
    groups: list[tuple[int, int]] = []
    for _, own in itertools.groupby(names, key=lambda name: re.match(r"[^\W\d_]*", name)[0]):  # type: ignore[index]
        first = groups[-1][1] if groups else 0
        groups.append((first, first + len(list(own))))
    while len(groups) > _GROUPS:
        place = min(range(len(groups) - 1), key=lambda place: groups[place + 1][1] - groups[place][0])
        groups[place : place + 2] = [(groups[place][0], groups[place + 1][1])]
    return groups


def _group_name(names: Sequence[str], first: int, end: int) -> str:
    return names[first] if end - first == 1 else f"{names[first]} … {names[end - 1]} ({end - first:,})"


def _rows(groups: Sequence[tuple[int, int]], height: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the dimensions' rows and the middles of the groups, where each group is high enough for its name.

    Args:
        groups: As `_groups` makes them.
        height: Inches of the heat map.

    Returns:
        (D + 1,) edges, from 0; (G,) middles.
    """
    dims = groups[-1][1]
    least = _LINE * dims / height  # rows of usual height that a name needs
    heights = np.concatenate([np.full(end - first, max(1.0, least / (end - first))) for first, end in groups])
    edges = np.concatenate([[0.0], np.cumsum(heights)])
    return edges, np.array([(edges[first] + edges[end]) / 2 for first, end in groups])


def _legend(figure: Figure, place: Any, colours: Any) -> None:
    """What the colours of the heat maps mean."""
    from matplotlib.patches import Patch

    left, middle, _ = place.subgridspec(1, 3, width_ratios=(3, 4, 5))
    axes = figure.add_subplot(left)
    axes.axis("off")
    grey = [Patch(facecolor=_NOTHING)], ["nothing was there to measure"]
    axes.legend(*grey, fontsize=7, frameon=False, loc="upper right", borderpad=0)
    bar = figure.colorbar(colours, cax=figure.add_subplot(middle), orientation="horizontal", extend="both")
    bar.set_label("standard deviations from each value's mean over this clip", fontsize=7, color=MUTED)
    bar.ax.tick_params(labelsize=7, colors=MUTED, length=2)
    bar.outline.set_visible(False)


def _bare(axes: Any) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(axis="x", labelsize=7, colors=MUTED)


_HEARD = 120.0  # seconds of sound that a page carries at most
_LISTED = 2000  # dimensions that are listed by name at most


def write_page(inspection: Inspection) -> str:
    """The page. All that comes from the dataset is escaped, and the page may load and run nothing."""
    import jinja2

    source = resources.files("mse_pipeline.inspection").joinpath("page.html").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)
    return template.render(
        one=inspection,
        facts=list(_facts(inspection)),
        frames=_data("image/png", draw_frames(inspection)) if inspection.frames else None,
        timeline=_data("image/png", draw_timeline(inspection)),
        sound=_data("audio/wav", _wav(inspection.audio)) if inspection.audio and inspection.audio.duration else None,
        streams=[_stream(view) for view in inspection.streams],
    )


def _facts(inspection: Inspection) -> Iterator[tuple[str, str]]:
    clip = inspection.clip
    yield "dataset", inspection.dataset
    yield "split", clip.split.value
    if clip.label is not None:
        yield "label", str(clip.label)
    for name, label in clip.labels.items():
        yield f"label, {name}", str(label)
    if clip.speaker:
        yield "speaker", clip.speaker
    if clip.dialogue:
        yield "dialogue", clip.dialogue if clip.turn is None else f"{clip.dialogue}, turn {clip.turn}"
    yield "language", clip.language
    yield "media", clip.media or "none"
    if clip.start is not None or clip.end is not None:
        yield "span", f"{clip.start or 0:g} s to {'the end' if clip.end is None else f'{clip.end:g} s'}"
    yield "duration", f"{inspection.duration:.2f} s"


def _stream(view: StreamView) -> dict[str, Any]:
    """A stream as the page's table shows it."""
    features, row = view.features, view.row
    told: dict[str, Any] = {"name": view.stream, "version": row.version if row else "", "key": row.key if row else ""}
    if features is None:
        state = "not tried yet" if row is None else f"{row.code or row.status}: {row.message or ''}"
        return {**told, "state": state, "notes": {}, "dims": [], "tracks": []}
    told["state"] = (
        f"{len(features)} rows of {features.dim} values, {features.valid.mean() if len(features) else 0:.0%} valid"
    )
    told["notes"] = {key: value for key, value in features.notes.items() if isinstance(value, str | int | float)}
    columns = ("track", "from", "to", "frames", "score", "chosen")
    told["tracks"] = [{name: track.get(name, "") for name in columns} for track in features.notes.get("tracks", [])]
    shown = min(features.dim, _LISTED)
    columns_of_valid = features.values[features.valid].T[:shown]
    told["dims"] = [
        {"name": name, **_dimension(column)}
        for name, column in zip(features.names[:shown], columns_of_valid, strict=True)
        if len(column)
    ]
    return told


def _dimension(values: np.ndarray) -> dict[str, float | None]:
    """Share of defined values of a dimension, and the least, mean and greatest of them; None without any."""
    known = values[np.isfinite(values)]
    if not len(known):
        return {"defined": 0.0, "low": None, "mean": None, "high": None}
    return {"defined": len(known) / len(values), "low": known.min(), "mean": known.mean(), "high": known.max()}


def _wav(audio: Audio) -> bytes:
    """The sound as a WAV file of 16 bits."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(audio.rate)
        samples = np.clip(audio.samples[: int(_HEARD * audio.rate)], -1, 1)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
