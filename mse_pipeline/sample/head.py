"""Everything of the picture but the face's features: room, clothes, neck, hair, ears and shaded skin."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from mse_pipeline.sample.drawing import Patch, blob, disc
from mse_pipeline.sample.expression import Pose
from mse_pipeline.sample.speaker import RGB, Speaker

WIDTH, HEIGHT = 320, 240
"""Size of a frame in pixels, where no other is asked for."""

UNITS_HIGH = 4.8
"""A frame's height in units of the head's coordinates; a face is about 1.85 units wide and 2.4 high."""

CENTRE = (0.5, 0.45)
"""Where the point between the eyes is at rest, relative to the frame."""

CHIN = 1.42
"""Height of the chin's lower edge below the eyes, in units, of an average face at rest."""


def backdrop(person: Speaker, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """The room behind one speaker: a lit wall with a window or a picture out of focus.

    Args:
        person: Whose room.
        size: Width and height in pixels.

    Returns:
        (H, W, 3) float32.
    """
    pixels = np.empty((size[1], size[0], 3), np.float32)
    pixels[:] = person.wall
    room = _room(pixels)
    room.shade(0.16 * blob(room, 2.2 * person.light, -1.2, 1.6, 1.4) - 0.2 * blob(room, -3 * person.light, 2, 2, 2))
    side = -1.0 if person.light > 0 else 1.0
    frame = room.edge(0.55 - np.abs(room.u - side * 2.3), 9) * room.edge(0.7 - np.abs(room.v + 0.9), 9)
    room.paint(0.35 * frame, mix(person.shirt, (160, 160, 160), 0.5))
    return pixels


def draw_head(pixels: np.ndarray, person: Speaker, pose: Pose) -> Patch:
    """Draw body, hair, ears and skin into a frame, in place.

    Args:
        pixels: (H, W, 3) float32, the backdrop.
        person: Whose head.
        pose: Its position and how far the jaw is dropped.

    Returns:
        The part of the frame where the head is, in coordinates that move with it.
    """
    room = _room(pixels)
    near = room.region(-1.9, -2.2, 1.9, 2.4)
    x, y = near.u - pose.across, near.v - pose.down
    cos, sin = math.cos(pose.roll), math.sin(pose.roll)
    # The head tilts about the neck, which is 1.6 units below the eyes.
    head = Patch(near.pixels, cos * x + sin * (y - 1.6), cos * (y - 1.6) - sin * x + 1.6, room.unit)
    _draw_back_hair(head, person)
    _draw_body(room.moved(0.5 * pose.across, 0.3 * pose.down), person)
    _draw_skin(head, person, pose)
    _draw_hair(head, person, pose)
    return head


def jaw_drop(pose: Pose) -> float:
    """How far the chin is below its place at rest, in units."""
    return 0.2 * max(pose.au26, 0.0) + 0.09 * pose.opening - 0.02 * pose.au17


def _room(pixels: np.ndarray) -> Patch:
    """The whole picture with the coordinates of a head at rest."""
    height, width = pixels.shape[:2]
    return Patch(pixels, *_grid(width, height), height / UNITS_HIGH)


@cache
def _grid(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    unit = height / UNITS_HIGH
    u, v = (columns - width * CENTRE[0]) / unit, (rows - height * CENTRE[1]) / unit
    u.flags.writeable = v.flags.writeable = False  # all frames share them
    return u, v


def _draw_body(room: Patch, person: Speaker) -> None:
    shoulders = room.region(-4, 1.1, 4, 4)
    wide = 1.75 * person.face_width + 0.2 * person.jaw_width
    slope = 1.72 + 0.42 * (np.abs(shoulders.u) / wide) ** 2.4
    body = shoulders.edge(shoulders.v - slope) * shoulders.edge(wide + 0.3 - np.abs(shoulders.u))
    light = 0.12 * person.light * np.clip(shoulders.u / wide, -1, 1) - 0.1 * (shoulders.v - 2)
    shoulders.paint(body, np.asarray(person.shirt, np.float32) * (1 + light[..., None]))
    neck = room.region(-0.8, 0.8, 0.8, 2.6)
    half = 0.5 * person.face_width * person.jaw_width + 0.16 * np.maximum(neck.v - 1.5, 0) ** 2
    collar = 2.0 - 0.55 * (neck.u / 0.62) ** 2
    cover = neck.edge(half - np.abs(neck.u)) * neck.edge(collar - neck.v, 2)
    tone = 0.86 + 0.14 * person.light * neck.u - 0.22 * blob(neck, 0, 1.35, 0.7, 0.22)
    neck.paint(cover, np.asarray(person.skin, np.float32) * tone[..., None])


def _draw_skin(head: Patch, person: Speaker, pose: Pose) -> None:
    wide, chin = 0.93 * person.face_width, CHIN * person.chin_length
    for side in (-1, 1):
        ear = head.region(side * wide - 0.3, -0.3, side * wide + 0.3, 0.8)
        cover = disc(ear, side * wide * 0.99 - 0.1 * pose.turn, 0.22, 0.13, 0.27)
        tone = (
            0.88 + 0.1 * person.light * side - 0.22 * blob(ear, side * wide * 1.0 - 0.1 * pose.turn, 0.22, 0.05, 0.12)
        )
        ear.paint(cover, np.asarray(person.skin, np.float32) * tone[..., None])
    face = head.region(-1.15, -1.35, 1.15, chin + 0.35)
    x = face.u / wide
    # A dropped jaw stretches all that is below the nose.
    drop = jaw_drop(pose) * np.clip((face.v - 0.5) / (chin - 0.5), 0, 1)
    below, above = np.maximum(face.v - drop, 0) / chin, np.minimum(face.v, 0) / 1.2
    # Rounder above, squarer towards the jaw: the width shrinks slowly down to the mouth, then fast.
    taper = 1 - (0.16 / person.jaw_width) * np.minimum(below, 1) ** 1.5
    radius = np.sqrt((x / taper) ** 2 + below**2.3 + above * above + 1e-6)
    depth = 1 - radius
    cover = face.edge(depth * 0.9)
    # The head as an ellipsoid under one large lamp and the room's light (Lambert's law).
    normal = np.sqrt(np.clip(1 - radius * radius, 0, 1))
    lit = 0.74 + 0.3 * normal + person.light * 0.16 * (x + 0.25 * pose.turn) - 0.08 * (below + 0.3 * above)
    colour = np.asarray(person.skin, np.float32) * lit[..., None]
    # Blood shows in cheeks, nose and chin: less green and blue there.
    flush = 0.9 * (blob(face, -0.52, 0.55, 0.22, 0.18) + blob(face, 0.52, 0.55, 0.22, 0.18)) + 0.5 * blob(
        face, 0, 0.5, 0.14, 0.2
    )
    colour *= 1 - flush[..., None] * np.array([0.0, 0.085, 0.075], np.float32)
    face.paint(cover, colour)


def _draw_back_hair(head: Patch, person: Speaker) -> None:
    wide = person.face_width
    if person.hairstyle == "long":
        part = head.region(-1.5, -1.7, 1.5, 2.2)
        spread = 1.1 * wide + 0.12 * np.clip(part.v, 0, 2)
        fall = part.edge(spread - np.abs(part.u), 2) * part.edge(1.9 + 0.1 * np.cos(5 * part.u) - part.v, 4)
        cover = fall * (part.v > -0.2) + disc(part, 0, -0.25, 1.1 * wide, 1.2) * (part.v <= -0.2)
    elif person.hairstyle == "bun":
        part = head.region(-1.3, -2.1, 1.3, 0.5)
        cover = np.maximum(disc(part, 0.1, -1.5, 0.42, 0.36), disc(part, 0, -0.25, 1.02 * wide, 1.16))
    else:
        part = head.region(-1.3, -1.7, 1.3, 0.5)
        cover = disc(part, 0, -0.28, 1.03 * wide, 1.17)
    part.paint(cover, _hair_colour(part, person) * 0.8)


def _draw_hair(head: Patch, person: Speaker, pose: Pose) -> None:
    wide = person.face_width
    part = head.region(-1.3, -1.8, 1.3, 0.6)
    cap = disc(part, 0, -0.3, 1.05 * wide, 1.2 if person.hairstyle != "bun" else 1.12)
    shift = part.u - 0.12 * pose.turn
    if person.hairstyle == "short":
        line = (
            -0.86
            + 0.32 * np.maximum(np.abs(shift) / wide - 0.35, 0) ** 2 * 3
            + 0.05 * np.sin(4 * shift + 9 * person.light)
        )
        temple = part.edge(np.abs(shift) - 0.86 * wide, 2) * part.edge(0.12 - part.v, 3)
    elif person.hairstyle == "long":
        line = -0.9 + 0.75 * (np.abs(shift - 0.2) / wide) ** 2
        temple = part.edge(np.abs(shift) - (0.88 - 0.05 * part.v) * wide, 2)
    else:
        line = -0.9 + 0.5 * (np.abs(shift) / wide) ** 2
        temple = part.edge(np.abs(shift) - 0.92 * wide, 2) * part.edge(0.0 - part.v, 3)
    cover = cap * np.maximum(part.edge(line - part.v, 3), temple)
    # Hair throws a shadow on the forehead.
    part.shade(-0.16 * np.clip((line + 0.22 - part.v) / 0.22, 0, 1) * (cap > 0))
    part.paint(cover, _hair_colour(part, person))


def _hair_colour(part: Patch, person: Speaker) -> np.ndarray:
    strands = 0.07 * np.sin(46 * part.u + 7 * np.sin(2.2 * part.v)) + 0.05 * np.sin(23 * part.u - 5 * part.v)
    shine = 0.3 * blob(part, 0.45 * person.light, -0.95, 0.5, 0.16)
    return np.asarray(person.hair, np.float32) * (1 + strands + shine)[..., None]


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """A colour between two: `share` of the second."""
    a, b, c = ((1 - share) * one + share * two for one, two in zip(first, second, strict=True))
    return a, b, c
