"""What is known to be wrong with MELD's clips, from the issues of its repository (declare-lab/MELD).

Facts about the official archive; they do not hold for other data in MELD's layout.
"""

from __future__ import annotations

import re

_WRONG_CUT = "the cut is minutes long instead of seconds (declare-lab/MELD issue 20)"
_NOISE = "the sound is noise over an oversized file (declare-lab/MELD issue 9)"
_OFF_BY_ONE = "picture and text are off by one utterance (declare-lab/MELD issue 9)"

CLIPS: dict[str, str] = {
    "train/dia125_utt3": "the file lacks its index (moov atom) and cannot be decoded (declare-lab/MELD issue 39)",
    "test/dia220_utt0": _WRONG_CUT,
    "test/dia38_utt4": _WRONG_CUT,
    "train/dia309_utt0": "the text is a stage direction and the cut is wrong, 41 s (declare-lab/MELD issue 20)",
    "train/dia793_utt0": _NOISE,
    "train/dia164_utt5": _NOISE,
    "train/dia682_utt1": _NOISE,
    "train/dia529_utt2": _NOISE,
    "train/dia1029_utt1": _NOISE,
    "train/dia1008_utt1": _NOISE,
    "train/dia757_utt7": _OFF_BY_ONE,
    "train/dia485_utt0": _OFF_BY_ONE,
}
"""Clip id -> what is wrong with its file."""

# The issue names the dialogue without its split; all the others that it names are of the training split.
DIALOGUES: dict[str, str] = {"train/dia241": _OFF_BY_ONE}
"""Dialogue id -> what is wrong with all of its files."""

MISSING: dict[str, str] = {
    "dev/dia110_utt7": "the official archive lacks it (declare-lab/MELD issue 22)",
}
"""Annotated clips that the official archive does not hold."""

UNLABELLED: frozenset[str] = frozenset(
    {"dev/dia49_utt4", "dev/dia49_utt5", "dev/dia66_utt9", "dev/dia66_utt10"}
    | {"test/dia93_utt5", "test/dia93_utt6", "test/dia93_utt7", "test/dia108_utt1", "test/dia108_utt2"}
)
"""Clips of the official archive that nobody annotated (declare-lab/MELD issue 22)."""


def reason(clip: str) -> str | None:
    """What is known to be wrong with a clip's file.

    Examples:
        >>> reason("train/dia241_utt2")
        'picture and text are off by one utterance (declare-lab/MELD issue 9)'
        >>> reason("train/dia0_utt0") is None
        True
    """
    return CLIPS.get(clip) or DIALOGUES.get(re.sub(r"_utt\d+$", "", clip))
