"""Candidates: features of all faces of a clip, until a choice over the whole corpus leaves one row a frame.

The speaker's face is known only after all clips are extracted. Until then features hold rows of every face: first one
empty row for each sampled frame, then the rows of each of the notes' ``tracks``, in the order of its ``boxes``; the
first number of a box is the frame. The note ``candidates`` is the number of frames. A file beside the shards holds the
choice: which tracks count. It is applied wherever features are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.errors import MseError
from mse_pipeline.store.checksum import DamagedError, read_sealed, seal
from mse_pipeline.store.features import Features
from mse_pipeline.store.journal import JournalRow
from mse_pipeline.store.keys import canonical
from mse_pipeline.store.storage import write_text

FILE = "chosen.json"
"""Name of the file beside a stream's shards."""

NOTE = "candidates"
"""Note of features that hold candidates: the number of sampled frames T."""

_FORMAT = 1


@dataclass(frozen=True)
class Choice:
    """The tracks of one clip that count.

    Attributes:
        key: Key of the features that the choice was made from; it holds for no others.
        tracks: Numbers of the tracks; empty if nobody is followed.
        valid: How many frames they fill.
        doubt: From 0, certain, to 1.
        code: A remark on the clip, as ``no_speaker``.
        message: Why, as a sentence.
    """

    key: str
    tracks: tuple[int, ...]
    valid: int = 0
    doubt: float = 0.0
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Choices:
    """The choices for all clips of a stream.

    Attributes:
        clips: By clip id.
        made_of: Hash of all that they depend on.
        about: How they were made, as plain JSON.
    """

    clips: Mapping[str, Choice] = field(default_factory=dict)
    made_of: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """Hash of the chosen tracks; empty where nothing is chosen."""
        if not self.clips:
            return ""
        plain = {clip: [choice.key, list(choice.tracks)] for clip, choice in self.clips.items()}
        return hashlib.blake2b(canonical(plain), digest_size=16).hexdigest()

    def of(self, row: JournalRow) -> Choice | None:
        """The choice of a clip, if it was made from the features that the journal's row names."""
        choice = self.clips.get(row.clip)
        return choice if choice is not None and choice.key == row.key else None

    def told(self, row: JournalRow) -> JournalRow:
        """The journal's row with the choice's number of valid rows and its remark."""
        choice = self.of(row)
        if choice is None or row.status != "done":
            return row
        remark = {} if choice.code is None else {"code": choice.code, "message": choice.message}
        return JournalRow(**{**row.__dict__, "valid": choice.valid, **remark})

    def key(self, row: JournalRow) -> str:
        """What the chosen rows of a clip depend on: its features' key, and the tracks."""
        choice = self.of(row)
        if choice is None:
            return row.key
        return hashlib.blake2b(canonical([row.key, list(choice.tracks)]), digest_size=16).hexdigest()


NONE = Choices()
"""Where nothing is chosen."""


def read_choices(folder: Path) -> Choices:
    """Read the choices for a folder of shards; empty if there are none.

    Raises:
        DamagedError: The file is damaged.
    """
    path = folder / FILE
    try:
        plain, _ = read_sealed(path)
        if plain["format"] != _FORMAT:
            raise ValueError(f"it has the format {plain['format']!r}, expected {_FORMAT}")
        clips = {
            str(clip): Choice(**{**choice, "tracks": tuple(map(int, choice["tracks"]))})
            for clip, choice in plain["clips"].items()
        }
        return Choices(clips, str(plain["made_of"]), dict(plain["about"]))
    except FileNotFoundError:
        return NONE
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, error) from error


def write_choices(folder: Path, choices: Choices) -> None:
    """Write the choices with a checksum, completely or not at all."""
    clips = {clip: _plain(choice) for clip, choice in choices.clips.items()}
    about = {"made_of": choices.made_of, "about": dict(choices.about)}
    write_text(folder / FILE, seal({"format": _FORMAT, **about, "clips": clips}) + "\n")


def _plain(choice: Choice) -> dict[str, Any]:
    return {name: value for name, value in asdict(choice).items() if value is not None}


def _damaged(path: Path, error: Exception) -> DamagedError:
    return DamagedError(f"{path} cannot be read ({error}). Remove it; `mse extract` then chooses the faces again.")


def pick(features: Features, choice: Choice | None = None) -> Features:
    """Reduce a clip's candidates to one row a frame; other features stay as they are.

    Args:
        features: As the extractor made them.
        choice: The tracks that count; None for those that the notes mark as chosen.

    Raises:
        MseError: The notes do not fit the rows.

    Examples:
        >>> tracks = [{"track": 0, "chosen": True, "boxes": [[0]]}, {"track": 1, "chosen": False, "boxes": [[0], [1]]}]
        >>> times = [[0, 1], [1, 2], [0, 1], [0, 1], [1, 2]]
        >>> values, valid = [[0.0], [0.0], [7.0], [8.0], [9.0]], [False, False, True, True, True]
        >>> all_of_them = Features(values, times, valid, ("x",), {"candidates": 2, "tracks": tracks})
        >>> pick(all_of_them).values.ravel().tolist(), pick(all_of_them, Choice("", (1,))).values.ravel().tolist()
        ([7.0, 0.0], [8.0, 9.0])
    """
    if NOTE not in features.notes:
        return features
    try:
        frames, tracks = int(features.notes[NOTE]), list(features.notes["tracks"])
        frames_of = _frames(tracks)
        if not 0 <= frames <= len(features) or sum(map(len, frames_of)) != len(features) - frames:
            raise ValueError(f"{len(features)} rows do not match {frames} frames and {len(tracks)} tracks")
        if any(len(rows) and not 0 <= rows.min() <= rows.max() < frames for rows in frames_of):
            raise ValueError("a face is in a frame that does not exist")
        chosen = (
            {int(track["track"]) for track in tracks if track.get("chosen")} if choice is None else set(choice.tracks)
        )
        kept = {key: value for key, value in features.notes.items() if key != NOTE}
        kept["tracks"] = [{**track, "chosen": int(track["track"]) in chosen} for track in tracks]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise MseError(
            f"Notes of a clip with several faces do not fit its rows ({error}). Run `mse extract` again."
        ) from error
    values = features.values[:frames].copy()
    valid = np.zeros(frames, bool)
    begin = frames
    for track, own in zip(tracks, frames_of, strict=True):
        rows = slice(begin, begin + len(own))
        if int(track["track"]) in chosen:
            values[own] = features.values[rows]
            valid[own] = features.valid[rows]
        begin += len(own)
    if choice is not None:
        kept.pop("fallback", None)
        kept["doubt"] = choice.doubt
        kept |= {"remark": choice.message} if choice.message else {}
    return Features(values, features.intervals[:frames], valid, features.names, kept)


def _frames(tracks: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
    """The frames of each track's rows."""
    return [np.array([int(box[0]) for box in track["boxes"]], np.int64) for track in tracks]
