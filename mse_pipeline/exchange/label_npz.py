"""MERBench's label.npz: an archive of dictionaries by split, of what annotators said of each clip.

``train_corpus``, ``val_corpus``, ``test_corpus`` (MER2023 has ``test1_corpus`` to ``test3_corpus``, IEMOCAP
``whole_corpus``) each hold ``{name: {"emo": a class, "val": a number}}``, wrapped into an array and pickled; the pickle
is read without running anything of it. Where a dataset has no emotions ``emo`` is 0 throughout, and where it has no
numbers ``val`` is -10.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mse_pipeline.clip import Split
from mse_pipeline.errors import MseError
from mse_pipeline.exchange.npy_file import read_header
from mse_pipeline.exchange.restricted import unpickle
from mse_pipeline.file_kinds import kind_of

_CORPUS = re.compile(r"(?P<name>[A-Za-z]+)\d*_corpus(?:\.npy)?")
_SPLITS = {"train": Split.TRAIN, "val": Split.VALID, "valid": Split.VALID, "dev": Split.VALID, "test": Split.TEST}
_NO_NUMBER = -10.0
_MOST_BYTES = 256 << 20
_MOST_MEMBERS = 100

# The order of MERBench's own indices (toolkit/preprocess/meld.py), which is not MELD's.
_MELD = ("anger", "joy", "sadness", "neutral", "disgust", "fear", "surprise")
_MELD_NAME = re.compile(r"(?:train|val|test)_dia\d+_utt\d+")


@dataclass(frozen=True)
class LabelOf:
    """What the file says of one clip.

    Attributes:
        name: Of the clip.
        split: None in ``whole_corpus``, which tells none.
        emo: The class; empty where there is none.
        val: The number as text; empty where there is none.
    """

    name: str
    split: Split | None
    emo: str
    val: str


def read_label_npz(path: Path) -> tuple[list[LabelOf], list[str]]:
    """The labels of all clips, and what was taken for what, as sentences.

    Raises:
        MseError: It is no such file, is damaged or hostile, or a clip is in it twice.
    """
    labels: list[LabelOf] = []
    notes: list[str] = []
    others = []
    for member, data in _members(path).items():
        found = _CORPUS.fullmatch(member)
        if found is None or found["name"] not in (*_SPLITS, "whole"):
            others.append(member)
            continue
        clips = _clips(data, path, member)
        made = [_label(path, member, name, told, _SPLITS.get(found["name"])) for name, told in clips.items()]
        if found["name"] == "test" and made and all(one.emo == "neutral" and not one.val for one in made):
            notes.append(
                f"All {len(made):,} clips of {member.removesuffix('.npy')} are neutral and have no number, as MERBench "
                "fills in where labels are not published: they count as not labelled."
            )
            made = [LabelOf(one.name, one.split, "", "") for one in made]
        labels += made
    if not labels:
        there = ", ".join(repr(name[:40]) for name in others[:5]) or "nothing"
        raise MseError(
            f"{path} has no labels: expected train_corpus, val_corpus and test_corpus as MERBench writes them, found "
            f"{there}."
        )
    names = [one.name for one in labels]
    if len(set(names)) < len(names):
        twice = next(name for name in dict.fromkeys(names) if names.count(name) > 1)
        raise MseError(f"{path} has the clip {twice[:60]!r} in several of its parts.")
    return _named(labels, notes), notes


def _members(path: Path) -> dict[str, bytes]:
    """The members of an archive, each with a bound."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            if len(infos) > _MOST_MEMBERS or sum(info.file_size for info in infos) > _MOST_BYTES:
                raise MseError(f"{path} claims more than labels take: at most {_MOST_BYTES:,} bytes are read.")
            members = {}
            for info in infos:
                with archive.open(info) as file:
                    members[info.filename] = file.read(info.file_size)
            return members
    except (OSError, zipfile.BadZipFile, zlib.error, ValueError, RuntimeError, EOFError, MemoryError) as error:
        kind = kind_of(path)
        zipped = kind is None or "zip" in kind.name or "npz" in kind.name
        what = f"{str(error).rstrip('.')}. Get it anew." if zipped else f"it is {kind}"
        raise MseError(f"{path} cannot be read as .npz: {what}") from error


def _clips(data: bytes, path: Path, member: str) -> Mapping[Any, Any]:
    """The dictionary of one part."""
    try:
        file = io.BytesIO(data)
        _, dtype = read_header(file)
    except (ValueError, TypeError, EOFError, SyntaxError, RecursionError, MemoryError) as error:
        raise MseError(f"{path}: {member} is no array of numpy ({str(error)[:200]}). Get it anew.") from error
    value = unpickle(memoryview(data)[file.tell() :], path) if dtype.hasobject else None
    value = value.item() if value is not None and getattr(value, "shape", None) == () else value
    if not isinstance(value, Mapping):
        raise MseError(f"{path}: {member} holds no dictionary of clips, as MERBench's labels have it.")
    return value


def _label(path: Path, member: str, name: Any, told: Any, split: Split | None) -> LabelOf:
    if not isinstance(name, str) or not isinstance(told, Mapping):
        raise MseError(f"{path}: {member} tells of {str(name)[:60]!r} no dictionary with emo and val.")
    emo, val = told.get("emo", ""), told.get("val", "")
    number = "" if val in ("", None) or _is(val, _NO_NUMBER) else str(val)
    # IEMOCAP's indices may be floats: 3.0 is class 3.
    return LabelOf(name, split, str(int(emo)) if isinstance(emo, float) and emo.is_integer() else str(emo), number)


def _is(value: Any, number: float) -> bool:
    return isinstance(value, int | float) and float(value) == number


def _named(labels: list[LabelOf], notes: list[str]) -> list[LabelOf]:
    """Labels with the names of MELD's emotions in the place of MERBench's indices of them."""
    indices = {one.emo for one in labels if one.emo}
    if not all(_MELD_NAME.fullmatch(one.name) for one in labels) or not indices <= {str(i) for i in range(len(_MELD))}:
        return labels
    notes.append(f"The clips are MELD's: the numbers of emo are {', '.join(f'{i} {e}' for i, e in enumerate(_MELD))}.")
    return [LabelOf(one.name, one.split, _MELD[int(one.emo)] if one.emo else "", one.val) for one in labels]
