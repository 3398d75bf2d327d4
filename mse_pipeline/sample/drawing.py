"""A float canvas whose shapes are formulas over the head's own coordinates: smooth edges, no polygons."""

from __future__ import annotations

from dataclasses import dataclass

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
