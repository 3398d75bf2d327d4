"""Picture: frames, waveform, words and features of one clip, one below the other, on one time axis.

The page is the same as one HTML file that needs no other file, with the sound to listen to.
"""

from __future__ import annotations

import base64
import io
import textwrap
import wave
from collections.abc import Iterator
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

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
_FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Microsoft YaHei",
    "SimHei",
)


def draw_picture(inspection: Inspection) -> bytes:
    """The whole picture as PNG."""
    timed = [view for view in inspection.streams if _has_time(view)]
    strip = [_strip_height(inspection.frames)] if inspection.frames else []
    heights = [0.8, *strip, 1.3, *(_height(view) for view in timed)]
    figure = _figure(sum(heights) + 0.6)
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    _head(figure.add_subplot(grid[0]), inspection)
    if inspection.frames:
        _strip(figure, grid[1], inspection.frames)
    first = len(heights) - len(timed) - 1
    _panels(figure, [grid[place] for place in range(first, len(heights))], inspection, timed)
    return _png(figure)


def draw_frames(inspection: Inspection) -> bytes:
    """The frames alone as PNG."""
    figure = _figure(_strip_height(inspection.frames))
    _strip(figure, figure.add_gridspec(1, 1)[0], inspection.frames)
    return _png(figure)


def draw_timeline(inspection: Inspection) -> bytes:
    """Waveform, words and features as PNG."""
    timed = [view for view in inspection.streams if _has_time(view)]
    heights = [1.3, *(_height(view) for view in timed)]
    figure = _figure(sum(heights) + 0.4)
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    _panels(figure, [grid[place] for place in range(len(heights))], inspection, timed)
    return _png(figure)


def _figure(height: float) -> Figure:
    import logging

    import matplotlib
    from matplotlib import font_manager
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    installed = {font.name for font in font_manager.fontManager.ttflist}
    with matplotlib.rc_context():
        matplotlib.rcParams["font.family"] = [name for name in _FONTS if name in installed] or ["sans-serif"]
        return Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor=PAPER, layout="constrained")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _height(view: StreamView) -> float:
    dims = view.features.dim if view.features is not None else 1
    return float(np.clip(0.11 * dims, 0.8, 3.0))


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
    if not _can_write(text):
        text = "(the text needs a font that is not installed; the page beside this picture shows it)"
    plain: dict[str, Any] = {"parse_math": False, "transform": axes.transAxes, "va": "top"}
    axes.text(0, 0.95, clip.id, fontsize=15, fontweight="bold", color=INK, **plain)
    axes.text(1, 0.95, "   ·   ".join(facts), fontsize=9, color=MUTED, ha="right", **plain)
    axes.text(0, 0.45, "\n".join(textwrap.wrap(text, 150)[:2]), fontsize=10, color=INK, **plain)


def _can_write(text: str) -> bool:
    """Whether one of the fonts here has each of the text's letters."""
    import matplotlib.ft2font
    from matplotlib import font_manager

    letters = {ord(letter) for letter in text if not letter.isspace()}
    for font in font_manager.fontManager.ttflist:
        if letters and font.name in _FONTS:
            letters -= set(matplotlib.ft2font.FT2Font(font.fname).get_charmap())
    return not letters


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
    """Waveform with words, then a heat map a stream, all on one time axis."""
    wave = figure.add_subplot(places[0])
    _waveform(wave, inspection)
    axes = wave
    for place, view in zip(places[1:], timed, strict=True):
        axes = figure.add_subplot(place, sharex=wave)
        if view.features is not None:
            _heat(axes, view.stream, view.features)
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
            axes.text(middle, 0.98, word.text, fontsize=8, color=INK, ha="center", va="top", parse_math=False)


def _heat(axes: Any, stream: str, features: Features) -> None:
    """Each dimension over time in its own deviations; rows and values without a measurement are grey."""
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
    axes.set_facecolor("#e4e6eb")
    edges = np.concatenate([features.intervals[:, 0], features.intervals[-1:, 1]])
    axes.pcolormesh(
        edges,
        np.arange(features.dim + 1),
        np.ma.masked_invalid(scaled),
        cmap="RdBu_r",
        vmin=-2.5,
        vmax=2.5,
        rasterized=True,
    )
    axes.set_ylim(features.dim, 0)
    axes.set_ylabel(f"{stream}\n{features.dim} dims", fontsize=8, color=INK, rotation=0, ha="right", va="center")
    if features.dim <= _NAMED:
        axes.yaxis.tick_right()
        axes.set_yticks(np.arange(features.dim) + 0.5, features.names, fontsize=5.5)
        axes.tick_params(axis="y", length=0, colors=MUTED)
    else:
        axes.set_yticks([])


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
