"""text.word_times: when each word is said, as files tell it that an aligner or an annotator wrote."""

from __future__ import annotations

import functools
import hashlib
import os
import string
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator
from pydantic.dataclasses import dataclass

from mse_pipeline.clip import Clip
from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.extractors.base import TextExtractor
from mse_pipeline.extractors.text.textgrid import read_textgrid
from mse_pipeline.extractors.text.word_checks import (
    NAMES,
    SILENCE,
    Recordings,
    TimedWord,
    Words,
    cut,
    placed,
    unreadable,
    word_features,
)
from mse_pipeline.extractors.text.word_csd import read_csd
from mse_pipeline.extractors.text.word_json import read_json
from mse_pipeline.extractors.text.word_tables import GRID_RATE, read_align, read_ctm, read_table
from mse_pipeline.media.fetching import media_digest
from mse_pipeline.names import ByName, existing
from mse_pipeline.places import Reach
from mse_pipeline.store.features import Features

FORMATS = ("textgrid", "align", "ctm", "csv", "tsv", "json", "csd")
"""Formats by the suffix of their files."""

_FIELDS = ("id", "name", "split", "media", "stem")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class WordTimesConfig:
    """Options of `WordTimes`.

    Attributes:
        path: The file of a clip, below the corpus's root: ``{id}`` stands for the clip's id, ``{name}`` for the id
            without the folders before it, ``{split}`` for its split, ``{media}`` for its media file without the suffix
            and ``{stem}`` for that without folders. Without any of them it is one file for all clips.
        format: One of `FORMATS`; None for what the suffix says.
        tier: Of a TextGrid, or of what the Montreal Forced Aligner writes as JSON or CSV; None for the words. Of two
            tiers called so, ``words#2`` is the second. Of a CTM the channel.
        units_per_second: What a second is in the file's times, as 1000 for milliseconds; None for 25,000 in ``.align``
            and 1 elsewhere.
        clock: Whether times count from the beginning of the ``clip`` or of the media ``file``; needed where a clip is
            a part of a file.
        silence: Words that stand for silence, whatever their case.
        follow_links: Whether symbolic links are followed that lead out of the folder of the files, and out of the
            repository that it is part of.
    """

    path: str = "alignments/{id}.TextGrid"
    format: Literal["textgrid", "align", "ctm", "csv", "tsv", "json", "csd"] | None = None
    tier: str | None = None
    units_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    clock: Literal["clip", "file"] | None = None
    silence: tuple[str, ...] = SILENCE
    follow_links: bool = False

    @field_validator("path")
    @classmethod
    def _known_fields(cls, path: str) -> str:
        try:
            parts = [(field, spec, turned) for _, field, spec, turned in string.Formatter().parse(path)]
        except ValueError as error:
            raise ValueError(f"is no template: {error}") from None
        for field, spec, turned in parts:
            if field is not None and (field not in _FIELDS or spec or turned):
                raise ValueError(f"{{{field}}} is unknown; there are {', '.join('{' + name + '}' for name in _FIELDS)}")
        return path

    @property
    def kind(self) -> str:
        """The format."""
        return self.format or PurePosixPath(self.path).suffix.lower().removeprefix(".")

    @property
    def for_all(self) -> bool:
        """Whether one file has the words of all clips."""
        return all(field is None for _, field, _, _ in string.Formatter().parse(self.path))


class WordTimes(TextExtractor[WordTimesConfig]):
    """Stream ``text.word_times``, (T, 1): one row a word, and one for each silence between words.

    The value is the confidence that the file gives, 1 where it gives none.
    """

    name = "word_times"
    revision = 2
    Config = WordTimesConfig
    reads_span = True
    not_values = frozenset({"path", "follow_links"})  # what the files hold counts, not where they lie

    def __init__(self, config: WordTimesConfig | None = None) -> None:
        super().__init__(config)
        if self.config.kind not in FORMATS:
            raise UsageError(
                f"text.word_times: {self.config.path} has no suffix that tells its format; say which with the option "
                f"format: {', '.join(FORMATS)}."
            )
        if self.config.for_all and self.config.kind in {"textgrid", "align"}:
            raise UsageError(
                f"text.word_times: {self.config.path} is one file for all clips, but a file of this format has one "
                "recording. Say where each clip's is, as in alignments/{id}.TextGrid."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the one value: confidence."""
        return NAMES

    def files_digest(self, root: Path) -> str:
        """Digest of all files that may be read: of their content, and of how they are called.

        Raises:
            UsageError: There is none.
        """
        base, pattern = self._base(root), PurePosixPath(self.config.path).name
        if self.config.for_all:
            file = base / pattern
            if not file.is_file():
                raise UsageError(f"text.word_times: there is no file {self.config.path} below {root}.")
            return _content(file, file.stat().st_size, file.stat().st_mtime)
        suffix = PurePosixPath(self.config.path).suffix
        # The whole template below the base counts: it says which file is whose.
        told = self.config.path[len(_fixed(self.config.path)) :]
        digest = hashlib.blake2b(told.encode(), digest_size=16)
        files = sorted(path for path in base.rglob(f"*{suffix}") if path.is_file()) if base.is_dir() else []
        if not files:
            raise UsageError(f"text.word_times: there is no file like {self.config.path} below {root}.")
        for file in files:
            name = str(file.relative_to(base)).encode("utf-8", "surrogateescape")
            status = file.stat()
            digest.update(name + b"\0" + _content(file, status.st_size, status.st_mtime).encode() + b"\n")
        return digest.hexdigest()

    def __call__(self, clip: Clip, root: Path) -> Features:
        """Read a clip's words.

        Args:
            clip: The clip.
            root: The folder of the corpus's raw files.

        Returns:
            (T, 1) features, see `mse_pipeline.extractors.text.word_checks.word_features`.

        Raises:
            ClipError: `alignment_failed`: its file is missing or damaged, or has no word of the clip.
        """
        offset = clip.start or 0.0
        if offset and self.config.clock is None:
            raise ClipError(
                "alignment_failed",
                f"{clip.id} is a part of its media file: say with the option clock whether word times count from the "
                "beginning of the clip or of the file.",
            )
        silence = {word.casefold() for word in self.config.silence}
        given = self._words(clip, root)
        words = [replace(word, text="") if word.text.casefold() in silence else word for word in given]
        begin = offset if self.config.clock == "file" else 0.0
        length = None if clip.end is None else clip.end - offset
        remarks = [*given.remarks, *self._beyond(words, length)]
        if begin or length is not None:
            words = cut(words, begin, None if length is None else begin + length)
        spoken = placed(sorted((word for word in words if word.text), key=lambda word: word.start), clip.text)
        silent = [word for word in words if not word.text]
        return word_features([*spoken, *silent], clip, length, " ".join(remarks))

    def _beyond(self, words: list[TimedWord], length: float | None) -> list[str]:
        """What is said of words behind the clip's end; on the file's clock they are of other clips."""
        if length is None or self.config.clock != "clip":
            return []
        lost = [word for word in words if word.text and (word.start + word.end) / 2 >= length]
        are = "is left out: it lies" if len(lost) == 1 else "are left out: they lie"
        first = f", as {lost[0].text[:50]!r} at {lost[0].start:g} s" if lost else ""
        return (
            [f"{len(lost):,} of {len(words):,} words {are} behind the clip's end at {length:g} s{first}."]
            if lost
            else []
        )

    def _words(self, clip: Clip, root: Path) -> Words:
        path, names = self._file(clip, root), _names(clip)
        if self.config.kind == "csd":
            if not path.is_file():
                raise unreadable(str(path), "there is no such file.")
            recording = read_csd(path, names, self.config.units_per_second or 1.0)
        else:
            recordings = self._recordings(path)
            recording = next((recordings[name] for name in names if name in recordings), None)
            if recording is None and not self.config.for_all and len(recordings) == 1:
                (recording,) = recordings.values()
        if recording is None:
            called = ", ".join(repr(name) for name in names)
            raise unreadable(path.name, f"has no words of {clip.id}: it has no recording named {called}.")
        return recording

    def _recordings(self, path: Path) -> Recordings:
        if not self.config.for_all or not path.is_file():
            return _read(path, self.config)
        status = path.stat()
        return _read_once(path, status.st_size, status.st_mtime, self.config)

    def _file(self, clip: Clip, root: Path) -> Path:
        """The clip's file, which never lies outside of the part of the path that the recipe wrote."""
        base = self._base(root)
        if self.config.for_all:
            return existing(base, PurePosixPath(self.config.path).name)
        media = "" if clip.media is None else str(PurePosixPath(clip.media).with_suffix(""))
        fields = {
            "id": clip.id,
            "name": PurePosixPath(clip.id).name,
            "split": str(clip.split),
            "media": media,
            "stem": PurePosixPath(media).name,
        }
        below = self.config.path[len(_fixed(self.config.path)) :].format(**fields)
        if ".." in PurePosixPath(below).parts or PurePosixPath(below).is_absolute():
            raise unreadable(below[:100], f"leads out of {base}; that is refused.")
        path = existing(base, below)
        if isinstance(base, Path):
            home = Path(os.path.realpath(base))  # the recipe names this folder, be it a link or not
            refusal = Reach(home, self.config.follow_links).refusal(path.relative_to(base).as_posix())
            if refusal is not None and refusal.there:
                raise unreadable(below[:100], f"leads out of {base}: it {refusal}.")
            if refusal is not None:
                raise unreadable(below[:100], f"{refusal}.")
        return path

    def _base(self, root: Path) -> Path:
        """The folder that the path names before its first field."""
        fixed = PurePosixPath(self.config.path).parent if self.config.for_all else _fixed(self.config.path)
        return root / str(fixed)


def _fixed(path: str) -> str:
    """The folders of a template before its first field, with the slash at their end."""
    return path[: path.find("{")].rpartition("/")[0] + "/" if "/" in path[: path.find("{")] else ""


def _names(clip: Clip) -> list[str]:
    """What a clip may be called in a file of many, the likeliest first."""
    media = PurePosixPath(clip.media or "")
    names = (clip.id, PurePosixPath(clip.id).name, clip.media or "", media.name, media.stem)
    return [name for name in dict.fromkeys(names) if name]


def _read(path: Path, config: WordTimesConfig) -> Recordings:
    """Words by what the file calls the recordings, in whichever Unicode normal form they are asked for."""
    return ByName(_recordings_of(path, config))


def _recordings_of(path: Path, config: WordTimesConfig) -> Recordings:
    scale = config.units_per_second
    match config.kind:
        case "textgrid":
            return {"": read_textgrid(path, config.tier, scale or 1.0)}
        case "align":
            return read_align(path, scale or GRID_RATE)
        case "ctm":
            return read_ctm(path, scale or 1.0, config.tier)
        case "json":
            return read_json(path, scale or 1.0, config.tier)
        case _:
            return read_table(path, scale or 1.0, config.tier)


@functools.lru_cache(maxsize=2)
def _read_once(path: Path, size: int, changed: float, config: WordTimesConfig) -> Recordings:
    """The words of all clips, read once as long as the file stays as it is."""
    return _read(path, config)


@functools.lru_cache(maxsize=100_000)
def _content(path: Path, size: int, changed: float) -> str:
    """Digest of a file's content, made once as long as the file stays as it is."""
    return media_digest(path)
