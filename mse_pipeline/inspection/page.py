"""Page: the same as one HTML file that needs nothing beside itself, with the sound to listen to."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Iterator
from importlib import resources
from typing import Any

import numpy as np

from mse_pipeline.inspection.collect import Inspection, StreamView
from mse_pipeline.inspection.picture import draw_frames, draw_timeline
from mse_pipeline.media.audio import Audio

_HEARD = 120.0  # seconds of sound that a page carries at most
_LISTED = 2000  # dimensions that are listed by name at most


def write(inspection: Inspection) -> str:
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
    values = np.where(np.isfinite(features.values), features.values, np.nan)[features.valid]
    shown = min(features.dim, _LISTED)
    told["dims"] = [
        {"name": name, "low": column.min(), "mean": column.mean(), "high": column.max()}
        for name, column in zip(features.names[:shown], values.T[:shown], strict=True)
        if len(column)
    ]
    return told


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
