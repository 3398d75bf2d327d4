"""Expression: facial action units over time, from an emotion, the words and the blinks; and the canvas for drawing.

The shapes of the canvas are formulas in the coordinates of the head: smooth edges, no polygons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from mse_pipeline.sample.speaker import RGB


@dataclass(frozen=True, eq=False)
class Patch:
    """A rectangle of the canvas with its coordinates.

    Attributes:
        pixels: (h, w, 3) float32 view into the picture, 0..255.
        u: (h, w) float32, to the right, in the head's units.
        v: (h, w) float32, downwards, in the head's units.
        unit: Pixels per unit, by which edges are made one pixel wide.
    """

    pixels: np.ndarray
    u: np.ndarray
    v: np.ndarray
    unit: float

    def region(self, left: float, top: float, right: float, bottom: float) -> Patch:
        """The smallest rectangle that holds all points with left <= u <= right and top <= v <= bottom."""
        inside = (self.u >= left) & (self.u <= right) & (self.v >= top) & (self.v <= bottom)
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if not len(rows):
            part = (slice(0), slice(0))
        else:
            part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        return Patch(self.pixels[part], self.u[part], self.v[part], self.unit)

    def moved(self, right: float, down: float) -> Patch:
        """The same pixels, seen from coordinates whose origin lies elsewhere."""
        return Patch(self.pixels, self.u - right, self.v - down, self.unit)

    def edge(self, depth: np.ndarray, softness: float = 1.0) -> np.ndarray:
        """Coverage 0..1 from a signed depth in units, positive inside.

        Args:
            depth: (h, w), how far inside the shape a pixel lies.
            softness: Width of the edge in pixels.
        """
        return np.clip(depth * (self.unit / softness) + 0.5, 0, 1)

    def paint(self, cover: np.ndarray, colour: RGB | np.ndarray) -> None:
        """Lay a colour, (3,) or (h, w, 3), over the pixels where `cover` (h, w) is above 0."""
        pixels = self.pixels
        pixels += (np.asarray(colour, np.float32) - pixels) * cover[..., None].astype(np.float32)

    def shade(self, amount: np.ndarray) -> None:
        """Darken (negative) or lighten (positive) by a share (h, w) of what is there."""
        pixels = self.pixels
        pixels *= 1 + amount[..., None].astype(np.float32)


def blob(patch: Patch, u: float, v: float, width: float, height: float) -> np.ndarray:
    """(h, w) soft spot: 1 at its centre, a Gaussian with these standard deviations in units."""
    x, y = (patch.u - u) / width, (patch.v - v) / height
    return np.exp(-0.5 * (x * x + y * y))


def disc(patch: Patch, u: float, v: float, width: float, height: float) -> np.ndarray:
    """(h, w) coverage of an ellipse with these half axes in units."""
    x, y = (patch.u - u) / width, (patch.v - v) / height
    return patch.edge((1 - np.sqrt(x * x + y * y)) * min(width, height))


def stroke(patch: Patch, centre: np.ndarray, thickness: np.ndarray | float, softness: float = 1.0) -> np.ndarray:
    """(h, w) coverage of a line along v = `centre`, `thickness` units high; both may vary with u."""
    return patch.edge(np.asarray(thickness, np.float32) / 2 - np.abs(patch.v - centre), softness)


def arc(x: np.ndarray) -> np.ndarray:
    """1 - x², 0 outside -1..1: the curve of a lid or a lip from corner to corner."""
    return np.maximum(1 - x * x, 0)


@dataclass(frozen=True)
class Pose:
    """A face at one moment.

    The first fourteen are action units of the Facial Action Coding System (Ekman, Friesen & Hager 2002), from
    0, at rest, to about 1, as strong as it gets.

    Attributes:
        au1: Inner brows raised.
        au2: Outer brows raised.
        au4: Brows lowered and drawn together.
        au5: Upper lids raised.
        au6: Cheeks raised.
        au7: Lids tightened.
        au9: Nose wrinkled.
        au10: Upper lip raised.
        au12: Lip corners pulled up, a smile.
        au15: Lip corners pulled down.
        au17: Chin raised.
        au20: Lips stretched sideways.
        au24: Lips pressed together.
        au26: Jaw dropped.
        blink: How far the lids are closed, 0 to 1.
        opening: How far speech opens the mouth, 0 to 1.
        rounding: How far speech rounds the lips, 0 to 1.
        gaze: Where the eyes look, -1 left to 1 right.
        turn: Head turned to the left (negative) or right, about -1 to 1.
        nod: Head lowered (positive) or raised.
        roll: Head tilted, in radians.
        across: Head moved to the right, in units of half a face's width.
        down: Head moved down, in the same units.
    """

    au1: float = 0.0
    au2: float = 0.0
    au4: float = 0.0
    au5: float = 0.0
    au6: float = 0.0
    au7: float = 0.0
    au9: float = 0.0
    au10: float = 0.0
    au12: float = 0.0
    au15: float = 0.0
    au17: float = 0.0
    au20: float = 0.0
    au24: float = 0.0
    au26: float = 0.0
    blink: float = 0.0
    opening: float = 0.0
    rounding: float = 0.0
    gaze: float = 0.0
    turn: float = 0.0
    nod: float = 0.0
    roll: float = 0.0
    across: float = 0.0
    down: float = 0.0


# After the prototypes of Ekman & Friesen (1978), as EMFACS lists them, with AU 10 and 15 among those of disgust.
EXPRESSIONS: Mapping[str, Pose] = {
    "neutral": Pose(),
    "surprise": Pose(au1=1.0, au2=1.0, au5=0.9, au26=1.0, nod=-0.3),
    "fear": Pose(au1=1.0, au2=0.5, au4=0.7, au5=1.0, au7=0.3, au20=1.0, au26=0.3, nod=-0.2),
    "sadness": Pose(au1=1.0, au4=0.5, au15=1.0, au17=0.6, nod=0.5),
    "joy": Pose(au6=1.0, au12=1.0),
    "disgust": Pose(au4=0.3, au9=1.0, au10=0.9, au15=0.5, au17=0.4, nod=-0.1),
    "anger": Pose(au4=1.0, au5=0.4, au7=0.8, au24=0.9, nod=0.3),
}
_UNITS = tuple(f.name for f in fields(Pose) if f.name.startswith("au"))


def perform(
    emotion: str,
    strength: float,
    times: np.ndarray,
    *,
    opening: np.ndarray,
    rounding: np.ndarray,
    rng: np.random.Generator,
) -> list[Pose]:
    """The face's poses over one utterance.

    The expression rises within the first half second, stays with small fluctuations and fades a little; the
    lips follow the words; the eyes blink about every three seconds; the head is never quite still.

    Args:
        emotion: One of `EXPRESSIONS`.
        strength: From 0, none, to 1, as `EXPRESSIONS` has it; more is possible.
        times: (T,) seconds.
        opening: (T,) how far speech opens the mouth, 0..1.
        rounding: (T,) how far it rounds the lips, 0..1.
        rng: Source of the differences between one performance and the next.

    Returns:
        T poses.
    """
    full = EXPRESSIONS[emotion]
    course = strength * _time_course(times, rng)
    # No two people show an emotion with the same muscles, and no face at rest is empty.
    tracks = {}
    for name in _UNITS:
        share, rest = float(np.exp(rng.normal(0, 0.25))), float(rng.normal(0, 0.06))
        drift = 0.03 * np.sin(2 * np.pi * rng.uniform(0.3, 1.0) * times + rng.uniform(0, 6.28))
        tracks[name] = np.clip(getattr(full, name) * share * course + rest + drift, 0, 1.25)
    # Pressed lips part for the vowels, and a hanging jaw leaves the vowels less to open.
    tracks["au24"] = tracks["au24"] * (1 - 0.75 * np.clip(1.5 * opening, 0, 1))
    tracks["opening"] = np.clip(opening * float(rng.uniform(0.8, 1.1)) * (1 - 0.4 * tracks["au26"]), 0, 1)
    tracks["rounding"] = np.clip(rounding * (1 - 0.5 * tracks["au12"]), 0, 1)
    tracks["blink"] = _blinks(times, rng)
    tracks["nod"] = full.nod * course + _sway(times, 0.25, rng)
    tracks["turn"] = _sway(times, 0.4, rng)
    tracks["gaze"] = _sway(times, 0.4, rng)
    tracks["roll"] = _sway(times, 0.035, rng)
    tracks["across"] = _sway(times, 0.09, rng)
    tracks["down"] = _sway(times, 0.06, rng) + 0.04 * tracks["nod"]
    return [Pose(**{name: float(track[step]) for name, track in tracks.items()}) for step in range(len(times))]


def _time_course(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    onset, rise = rng.uniform(-0.15, 0.2), rng.uniform(0.2, 0.4)
    up = np.clip((times - onset) / rise, 0, 1)
    fade = 1 - rng.uniform(0.0, 0.3) * np.clip((times - times[-1] + 0.5) / 0.5, 0, 1)
    waver = 1 + 0.06 * np.sin(2 * np.pi * rng.uniform(0.8, 2.0) * times + rng.uniform(0, 6.28))
    return up * up * (3 - 2 * up) * fade * waver


def _blinks(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Closed lids over time: each blink takes about 250 ms, and a clip has none, one or two."""
    closed, at = np.zeros(len(times)), float(rng.uniform(-1.5, 2.0))
    while at < times[-1]:
        closed = np.maximum(closed, np.clip(1.5 * (1 - np.abs(times - at) / 0.13), 0, 1))
        at += float(rng.uniform(1.5, 4.0))
    return closed


def _sway(times: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """A slow wandering with this standard deviation."""
    slow, slower = rng.uniform(0.5, 1.2), rng.uniform(0.15, 0.4)
    wave = np.sin(2 * np.pi * slow * times + rng.uniform(0, 6.28))
    return size * (0.4 * rng.normal() + 0.6 * wave + 0.7 * np.sin(2 * np.pi * slower * times + rng.uniform(0, 6.28)))
