"""Face: the picture of a head, with room, clothes, neck, hair, ears and shaded skin, and the parts of its face.

Eyes, brows, nose, folds and mouth are shaped by the action units.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from mse_pipeline.sample.expression import Patch, Pose, arc, blob, disc, stroke
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


EYE, MOUTH, NOSE = 0.43, 0.93, 0.6
"""Places in an average face, in units: eyes beside the middle, mouth and nose below the eyes."""


def draw(backdrop: np.ndarray, person: Speaker, pose: Pose) -> np.ndarray:
    """One frame of a speaker.

    Args:
        backdrop: (H, W, 3) float32, from `mse_pipeline.sample.face.backdrop`; it is not changed.
        person: Who.
        pose: What the face does.

    Returns:
        (H, W, 3) float32, 0..255.
    """
    pixels = backdrop.copy()
    head = draw_head(pixels, person, pose)
    # Features lie in front of the axis on which the head turns, so that they move against its outline.
    face = head.moved(0.2 * pose.turn, 0.16 * pose.nod)
    for side in (-1.0, 1.0):
        _draw_eye(face, person, pose, side)
        _draw_brow(face, person, pose, side)
        _draw_cheek(face, person, pose, side)
    _draw_frown(face, person, pose)
    _draw_nose(face.moved(0.1 * pose.turn, 0.08 * pose.nod), person, pose)
    _draw_mouth(face, person, pose)
    return np.clip(pixels, 0, 255)


def _draw_eye(face: Patch, person: Speaker, pose: Pose, side: float) -> None:
    centre, half = side * EYE * person.eye_gap, 0.215 * person.eye_size
    part = face.region(centre - 0.42, -0.42, centre + 0.42, 0.4)
    # The socket lies in shadow, more so near the nose.
    part.shade(-0.2 * blob(part, centre - side * 0.06, -0.1, 0.25, 0.14))
    x = (part.u - centre) / half
    outward = side * x
    lids = 1 - min(max(pose.blink, 0.0), 1.0)
    upper = 0.105 + 0.07 * pose.au5 - 0.03 * pose.au7 - 0.025 * pose.au6 - 0.02 * pose.au4 - 0.02 * pose.au15
    lower = 0.068 - 0.038 * pose.au7 - 0.04 * pose.au6 - 0.03 * pose.au9 + 0.01 * pose.au5
    upper, lower = max(upper, 0.02) * person.eye_size * lids, max(lower, 0.012) * person.eye_size * (0.35 + 0.65 * lids)
    curve = arc(x) ** 0.8
    tilt = -0.02 * outward
    top, bottom = tilt - upper * curve, tilt + lower * curve
    if lids < 0.35:
        top = bottom - 0.004
    open_ = part.edge(np.minimum(part.v - top, bottom - part.v)) * (np.abs(x) < 1)
    ball = 0.93 - 0.13 * x * x - 0.9 * np.maximum(0.03 - (part.v - top), 0) * 5
    part.paint(open_, np.array([236, 232, 228], np.float32) * ball[..., None])
    look = centre + 0.05 * pose.gaze
    iris = 0.1 * person.eye_size
    part.paint(open_ * disc(part, look, -0.012, iris, iris), mix(person.iris, (20, 16, 14), 0.25))
    part.paint(
        open_ * blob(part, look, 0.03, iris * 0.6, iris * 0.4) * 0.5,
        mix(person.iris, (255, 255, 255), 0.35),
    )
    part.paint(open_ * disc(part, look, -0.012, iris * 0.5, iris * 0.5), (14, 12, 12))
    part.paint(open_ * disc(part, look + math.copysign(0.03, person.light), -0.05, 0.026, 0.026), (250, 250, 250))
    inside = np.abs(x) < 1.08
    lash = stroke(part, top - 0.008, 0.04 * (0.5 + 0.5 * np.clip(outward, -1, 1) * 0.6), 1.2) * inside
    part.paint(0.85 * lash, mix(person.hair, (24, 18, 18), 0.6))
    part.paint(
        0.35 * stroke(part, bottom + 0.008, 0.018, 1.4) * inside,
        mix(person.skin, (60, 30, 28), 0.7),
    )
    crease = top - (0.05 + 0.02 * pose.au5) * curve - 0.012
    part.paint(0.3 * stroke(part, crease, 0.022, 1.8) * inside, mix(person.skin, (70, 40, 34), 0.8))
    # Tear bag, deeper where the cheek pushes up.
    bag = bottom + 0.085
    part.shade(-(0.06 + 0.14 * pose.au6 + 0.1 * pose.au7) * stroke(part, bag, 0.03, 3) * (np.abs(x) < 0.95))
    if pose.au6 > 0.05:  # crow's feet
        for k in (-1, 0, 1):
            line = 0.02 + (0.3 * k) * (side * (part.u - centre) - half) + (0.02 * k)
            reach = part.edge(0.13 - np.abs(side * (part.u - centre) - half - 0.14), 3)
            part.shade(-(0.16 * pose.au6) * stroke(part, line, 0.016, 1.6) * reach)


def _draw_brow(face: Patch, person: Speaker, pose: Pose, side: float) -> None:
    raise_ = 0.13 * pose.au1 + 0.13 * pose.au2 - 0.15 * pose.au4 - 0.05 * pose.au9
    centre = side * (EYE + 0.02 - 0.055 * pose.au4) * person.eye_gap
    height = -0.325 - 0.6 * raise_
    part = face.region(centre - 0.4, height - 0.35, centre + 0.4, height + 0.3)
    x = side * (part.u - centre) / 0.31
    inner, outer = np.clip(-x, -0.2, 1.2), np.clip(x, -0.2, 1.2)
    lift = (0.16 * pose.au1 - 0.13 * pose.au4 - 0.05 * pose.au9) * inner + (
        0.1 * pose.au2 - 0.05 * pose.au1 * (1 - pose.au2)
    ) * outer
    line = height - lift - 0.055 * arc(0.85 * (x - 0.2)) + 0.05 * outer**2
    thick = (
        (0.085 * person.brow_weight)
        * (0.42 + 0.58 * np.clip(1.0 - outer, 0, 1))
        * np.clip((1.05 - np.abs(x)) * 4, 0, 1)
    )
    hairs = 0.85 + 0.1 * np.sin(60 * part.u + 40 * part.v)
    part.paint(hairs * stroke(part, line, thick, 1.7) * (thick > 0.005), mix(person.hair, (20, 14, 12), 0.35))


def _draw_frown(face: Patch, person: Speaker, pose: Pose) -> None:
    part = face.region(-0.6, -0.95, 0.6, 0.45)
    if pose.au4 > 0.02 or pose.au9 > 0.02:
        for side in (-1, 1):  # furrows between the brows
            part.shade((-0.3 * max(pose.au4, 0.7 * pose.au9)) * blob(part, side * 0.085, -0.3, 0.022, 0.1))
    if pose.au1 + pose.au2 > 0.05:  # wrinkles across the forehead
        for k in range(3):
            bend = (0.06 * (pose.au1 - pose.au2)) * np.cos(4 * part.u)
            across = np.exp(-((part.u / (0.16 + 0.34 * pose.au2)) ** 2))
            part.shade((-0.085 * (pose.au1 + pose.au2)) * stroke(part, -0.56 - 0.085 * k - bend, 0.022, 2) * across)
    if pose.au9 > 0.02:  # wrinkles on the nose's root
        for k in range(3):
            line = (0.02 + 0.075 * k) - 0.4 * np.abs(part.u)
            part.shade((-0.3 * pose.au9) * stroke(part, line, 0.024, 1.8) * part.edge(0.19 - np.abs(part.u), 4))


def _draw_nose(face: Patch, person: Speaker, pose: Pose) -> None:
    length = NOSE * person.nose_length - 0.06 * pose.au9 - 0.015 * pose.au10
    wing = 0.17 + 0.03 * pose.au9 + 0.012 * pose.au12
    part = face.region(-0.5, -0.3, 0.5, length + 0.3)
    dark = 1.0 if person.light < 0 else -1.0
    ridge = np.clip((part.v + 0.2) / (length + 0.2), 0, 1.05)
    half = 0.07 + 0.09 * ridge**2
    along = part.edge(np.minimum(part.v + 0.22, length - 0.02 - part.v), 9)
    part.shade(-0.15 * along * np.exp(-(((dark * part.u - half) / 0.06) ** 2)))
    part.shade(-0.06 * along * np.exp(-(((-dark * part.u - half) / 0.05) ** 2)))
    part.shade(0.1 * along * np.exp(-((part.u / 0.045) ** 2)))
    part.shade(0.13 * blob(part, -0.03 * dark, length - 0.11, 0.06, 0.05))
    for side in (-1, 1):
        rim = blob(part, side * wing, length - 0.07, 0.05, 0.07) - blob(
            part, side * (wing - 0.05), length - 0.07, 0.05, 0.07
        )
        part.shade(-0.3 * rim)
        part.paint(
            0.75 * blob(part, side * wing * 0.5, length, 0.048, 0.024 + 0.008 * pose.au9),
            mix(person.skin, (52, 22, 20), 0.85),
        )
    part.shade(-0.16 * blob(part, 0, length + 0.035, 0.15, 0.03))


def _draw_cheek(face: Patch, person: Speaker, pose: Pose, side: float) -> None:
    part = face.region(min(0, side * 1.0), 0.1, max(0, side * 1.0), 1.5)
    # The fold from the nose's wing round the corner of the mouth.
    depth = 0.06 + 0.18 * pose.au12 + 0.18 * pose.au10 + 0.16 * pose.au9 + 0.06 * pose.au20
    t = np.clip((part.v - 0.5) / 0.5, 0, 1)
    fold = 0.2 + (0.26 + 0.12 * pose.au12 + 0.04 * pose.au10) * t**0.8
    reach = part.edge(np.minimum(part.v - 0.47, 0.98 - part.v), 9)
    part.shade(-depth * reach * np.exp(-(((side * part.u - fold) / 0.04) ** 2)))
    lift = pose.au6 + 0.5 * pose.au12
    part.shade((0.12 * lift) * blob(part, side * 0.5, 0.42, 0.15, 0.1))
    part.shade((-0.12 * pose.au15) * blob(part, side * 0.4, 1.1, 0.05, 0.08))


def _draw_mouth(face: Patch, person: Speaker, pose: Pose) -> None:
    drop = jaw_drop(pose)
    half = (
        0.335
        * person.mouth_width
        * (
            1
            + 0.24 * pose.au12
            + 0.2 * pose.au20
            - 0.3 * pose.rounding
            - 0.08 * pose.au26
            - 0.08 * pose.au24
            - 0.06 * pose.au17
        )
    )
    corner = -0.02 - 0.15 * pose.au12 + 0.13 * pose.au15 + 0.02 * pose.au20 + 0.25 * drop
    centre = MOUTH * (0.6 + 0.4 * person.chin_length) - 0.035 * pose.au17 - 0.03 * pose.au10
    gap_up = 0.008 + 0.05 * pose.au10 + 0.022 * pose.au12 + 0.015 * pose.opening + 0.04 * pose.au26 + 0.03 * pose.au20
    gap_down = 0.85 * drop + 0.03 * pose.au12 + 0.03 * pose.au20 + 0.045 * pose.opening
    closed = 1 - min(max(pose.au24, 0.0), 1.0)
    gap_up, gap_down = gap_up * closed, gap_down * closed
    fullness = person.lip_fullness * (1 - 0.6 * min(pose.au24, 1)) * (1 - 0.2 * pose.au12) * (1 + 0.2 * pose.rounding)
    part = face.region(-0.75, centre - 0.45, 0.75, centre + 0.75)
    x = part.u / half
    bow, inside = arc(x), np.abs(x) < 1
    # Corners move more than the middle: a smile is a curve, not a shift.
    line = centre + corner * np.minimum(x * x, 1.3)
    upper, lower = line - gap_up * bow**0.7, line + gap_down * bow**0.75
    dip = 0.022 * np.exp(-((part.u / 0.05) ** 2))
    top = upper - 0.075 * fullness * bow**0.7 + dip * fullness
    bottom = lower + (0.115 * fullness + 0.02 * pose.au17) * bow**0.75
    lips = mix(person.skin, (168, 62, 66), 0.5)
    part.paint(
        part.edge(np.minimum(part.v - top, bottom - part.v), 1.4) * inside, _lip_light(part, lips, line, fullness)
    )
    hole = part.edge(np.minimum(part.v - upper, lower - part.v)) * (np.abs(x) < 0.97)
    part.paint(hole, (58, 22, 24))
    teeth = np.minimum(part.v - upper, upper + 0.085 * (1 - 0.4 * x * x) - part.v)
    # Teeth stand behind the lip, in its shadow unless it is drawn up.
    part.paint(
        hole * part.edge(teeth, 1.2) * (np.abs(x) < 0.85), mix((150, 128, 122), (230, 224, 216), min(14 * gap_up, 1.0))
    )
    tongue = blob(part, 0, centre + gap_down * 0.95, half * 0.5, 0.05)
    part.paint(hole * tongue * 0.8 * (part.v > upper + 0.085), (160, 74, 76))
    part.paint(
        0.65 * stroke(part, (upper + lower) / 2, 0.022, 1.5) * inside * (gap_up + gap_down < 0.05),
        (84, 34, 34),
    )
    for side in (-1, 1):
        part.shade(-0.28 * blob(part, side * half * 1.02, centre + corner, 0.045, 0.04))
    part.shade(-0.17 * blob(part, 0, centre + gap_down + 0.17 * fullness + 0.05, 0.2, 0.04))
    part.shade((0.08 - 0.1 * pose.au17) * blob(part, 0, centre + drop + 0.36, 0.16, 0.08))
    for k in (-1, 0, 1) if pose.au17 > 0.1 else ():  # the chin puckers
        part.shade((-0.1 * pose.au17) * blob(part, 0.1 * k, centre + 0.33 + 0.03 * abs(k), 0.03, 0.03))
    part.shade(-0.06 * blob(part, 0, centre - 0.17, 0.03, 0.06))


def _lip_light(part: Patch, lips: tuple[float, float, float], line: np.ndarray, fullness: float) -> np.ndarray:
    below = part.v - line
    light = np.where(below < 0, 0.9, 1.04) + 0.1 * np.exp(-(((below - 0.07 * fullness) / 0.03) ** 2))
    return np.asarray(lips, np.float32) * light[..., None]
