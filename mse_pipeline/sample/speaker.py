"""Speaker: what sets one synthetic person apart from the next, face and voice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

RGB = tuple[float, float, float]
"""Red, green, blue, each in 0..255."""

Hairstyle = Literal["short", "long", "bun"]
_HAIRSTYLES: tuple[Hairstyle, ...] = ("long", "bun", "short")

# Women's and men's names in turn, as the voices are.
_NAMES = (
    "Ada",
    "Ben",
    "Cleo",
    "Dan",
    "Eva",
    "Finn",
    "Gia",
    "Hugo",
    "Ida",
    "Jon",
    "Kira",
    "Leo",
    "Mia",
    "Ned",
    "Ola",
    "Paul",
    "Quinn",
    "Rosa",
    "Sam",
    "Tess",
    "Una",
    "Vito",
    "Wanda",
    "Xavi",
    "Yara",
    "Zeno",
)
_SKINS: tuple[RGB, ...] = (
    (236, 196, 170),
    (226, 182, 152),
    (214, 168, 136),
    (198, 150, 116),
    (176, 128, 96),
    (150, 106, 80),
)
_HAIRS: tuple[RGB, ...] = (
    (44, 34, 30),
    (70, 48, 36),
    (104, 70, 46),
    (146, 104, 62),
    (120, 58, 36),
    (92, 86, 84),
)
_IRISES: tuple[RGB, ...] = ((84, 58, 40), (74, 100, 128), (84, 108, 76), (58, 44, 36))
_SHIRTS: tuple[RGB, ...] = (
    (66, 92, 128),
    (128, 62, 66),
    (70, 106, 84),
    (92, 80, 118),
    (180, 168, 146),
    (64, 68, 78),
)
_WALLS: tuple[RGB, ...] = (
    (168, 178, 182),
    (186, 178, 160),
    (150, 162, 150),
    (176, 160, 160),
    (140, 150, 172),
    (198, 194, 184),
)


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """One synthetic person.

    Lengths of the face are factors of an average one; 1 is average.

    Attributes:
        name: Given name, as in MELD's ``Speaker`` column.
        face_width: Width of the head.
        chin_length: Length of the face below the eyes.
        jaw_width: How square the jaw is.
        eye_gap: Distance between the eyes.
        eye_size: Size of the eyes.
        brow_weight: Thickness of the brows.
        nose_length: Length of the nose.
        mouth_width: Width of the mouth at rest.
        lip_fullness: Height of the lips.
        skin: Colour of the skin.
        hair: Colour of hair and brows.
        iris: Colour of the eyes.
        shirt: Colour of the clothes.
        wall: Colour of the background.
        hairstyle: How the hair is worn.
        light: Where the light comes from: -1 left, 1 right.
        pitch: Mean fundamental frequency in calm speech, in Hz.
        tract: Formants relative to an adult male's vocal tract; a shorter tract has a larger number.
        tempo: Speaking rate relative to the average.
        breath: Noise of breath in the voice, as a share of its amplitude.
    """

    name: str
    face_width: float
    chin_length: float
    jaw_width: float
    eye_gap: float
    eye_size: float
    brow_weight: float
    nose_length: float
    mouth_width: float
    lip_fullness: float
    skin: RGB
    hair: RGB
    iris: RGB
    shirt: RGB
    wall: RGB
    hairstyle: Hairstyle
    light: float
    pitch: float
    tract: float
    tempo: float
    breath: float


def speaker(seed: int, number: int = 0) -> Speaker:
    """The person number `number` of a cast; the same numbers give the same person.

    Women's and men's voices alternate, with the mean pitches of adult speakers, about 205 Hz and 120 Hz
    (Titze 1989), and formants 17 % apart.

    Args:
        seed: Which cast, at least 0.
        number: Which person of it, at least 0.

    Examples:
        >>> speaker(0, 3) == speaker(0, 3), speaker(0, 3).name
        (True, 'Dan')
    """
    rng = np.random.default_rng([seed, number, 0x5EED])
    high = number % 2 == 0
    round_, name = divmod(number, len(_NAMES))
    skin = _SKINS[int(rng.integers(len(_SKINS)))]
    # The hair must stand out from the skin, as the face detector was trained on people of whom it does.
    hairs = [hair for hair in _HAIRS if sum(skin) - sum(hair) > 150]
    shade = rng.uniform(-6, 6)
    return Speaker(
        name=_NAMES[name] + (f" {round_ + 1}" if round_ else ""),
        face_width=rng.uniform(0.93, 1.05) * (0.97 if high else 1.03),
        chin_length=rng.uniform(0.95, 1.06),
        jaw_width=rng.uniform(0.9, 1.1) * (0.95 if high else 1.05),
        eye_gap=rng.uniform(0.95, 1.06),
        eye_size=rng.uniform(0.92, 1.1) * (1.05 if high else 0.98),
        brow_weight=rng.uniform(0.8, 1.15) * (0.85 if high else 1.1),
        nose_length=rng.uniform(0.92, 1.08),
        mouth_width=rng.uniform(0.93, 1.08),
        lip_fullness=rng.uniform(0.85, 1.15) * (1.1 if high else 0.95),
        skin=(skin[0] + shade, skin[1] + shade, skin[2] + shade),
        hair=hairs[int(rng.integers(len(hairs)))],
        iris=_IRISES[int(rng.integers(len(_IRISES)))],
        shirt=_SHIRTS[int(rng.integers(len(_SHIRTS)))],
        wall=_WALLS[int(rng.integers(len(_WALLS)))],
        hairstyle=_HAIRSTYLES[int(rng.integers(3))] if high else "short",
        light=rng.uniform(-0.8, 0.8),
        pitch=float(np.clip((205.0 if high else 120.0) * rng.normal(1, 0.07), 90, 250)),
        tract=(1.17 if high else 1.0) * rng.uniform(0.97, 1.04),
        tempo=rng.uniform(0.94, 1.07),
        breath=rng.uniform(0.01, 0.03),
    )
