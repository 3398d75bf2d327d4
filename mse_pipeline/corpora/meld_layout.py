"""Where MELD's media and label files lie, in any of the layouts that are about."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mse_pipeline.clip import Split
from mse_pipeline.corpora.files import Listing
from mse_pipeline.places import is_local

FOLDER = {Split.TRAIN: "train", Split.VALID: "dev", Split.TEST: "test"}
"""Split -> the word that MELD uses for it; clip ids begin with it."""

_WORDS = {
    "train": Split.TRAIN,
    "dev": Split.VALID,
    "val": Split.VALID,
    "valid": Split.VALID,
    "validation": Split.VALID,
    "test": Split.TEST,
}
# Whole names only: a folder `test_run_3` around the data says nothing about a clip.
_TELLING = re.compile(
    r"(?:meld[._-])?(train|dev|val|valid|validation|test)(?:[._-](?:splits?|videos?|clips?|complete|raw|set|data))*",
    re.I,
)
_REPEATED = re.compile(r"output_repeated_splits_(train|dev|val|test)", re.I)
_MEDIA = re.compile(r"(?P<fixed>final_videos_test)?dia(?P<d>\d{1,6})_utt(?P<u>\d{1,6})\.mp4", re.I)
_LABELS = re.compile(r"(?:.*[._-])?(train|dev|val|valid|validation|test)(?:[._-].*)?\.csv", re.I)
_ARCHIVE = re.compile(r"(?:meld.*|train|dev|test)\.(?:tar\.gz|tgz|tar)", re.I)

Key = tuple[Split, int, int]
"""Split, dialogue, utterance."""


@dataclass(frozen=True, order=True)
class MediaFile:
    """One file of a clip. They sort by which is to be preferred.

    Attributes:
        superseded: False for the corrected cuts that MELD's authors put beside wrong ones, ``final_videos_test...``.
        depth: Folders above it.
        path: Below the root.
    """

    superseded: bool
    depth: int
    path: str


@dataclass(frozen=True)
class Layout:
    """What was found below a root, by names alone.

    Attributes:
        media: Clip -> its files, the one to use first.
        stray: Files named like clips whose folders do not tell a split.
        tables: CSV files.
        archives: Archives that are still packed.
        refused: Entries that were left aside, with reasons.
    """

    media: dict[Key, list[MediaFile]] = field(default_factory=dict)
    stray: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    refused: tuple[str, ...] = ()


def survey(root: Path, listing: Listing) -> Layout:
    """Sort a listing into media, tables and archives.

    Args:
        root: Its own name tells the split of what lies directly in it.
        listing: Of the root.
    """
    layout = Layout(refused=listing.refused)
    for path in listing.files:
        folder, name = posixpath.split(path)
        if match := _MEDIA.fullmatch(name):
            split = Split.TEST if match["fixed"] else split_of_folders([root.name, *folder.split("/")])
            if split is None:
                layout.stray.append(path)
                continue
            key = split, int(match["d"]), int(match["u"])
            file = MediaFile(superseded=not match["fixed"], depth=path.count("/"), path=path)
            layout.media.setdefault(key, []).append(file)
        elif name.lower().endswith(".csv"):
            layout.tables.append(path)
        elif _ARCHIVE.fullmatch(name):
            layout.archives.append(path)
    for files in layout.media.values():
        files.sort()
    return layout


def split_of_folders(folders: Iterable[str]) -> Split | None:
    """The split that the nearest telling folder names.

    Args:
        folders: From the root inwards.

    Examples:
        >>> split_of_folders(["MELD.Raw", "test", "output_repeated_splits_test"])
        <Split.TEST: 'test'>
        >>> split_of_folders(["train", "dev_splits_complete"])
        <Split.VALID: 'valid'>
        >>> split_of_folders(["test_run_3", "clips"]) is None
        True
    """
    for name in reversed(list(folders)):
        if match := _REPEATED.fullmatch(name) or _TELLING.fullmatch(name):
            return _WORDS[match[1].lower()]
    return None


def split_of_table(root: Path, path: str) -> Split | None:
    """The split that a label file is about, by its name or its folders.

    Examples:
        >>> split_of_table(Path("/data"), "MELD.Raw/dev_sent_emo.csv")
        <Split.VALID: 'valid'>
    """
    folder, name = posixpath.split(path)
    if match := _LABELS.fullmatch(name):
        return _WORDS[match[1].lower()]
    return split_of_folders([root.name, *folder.split("/")])


def unpacking(root: Path, archives: Iterable[str]) -> str:
    """The command that unpacks archives where they lie; on a remote storage, what is to be done instead."""
    if not is_local(root):
        return f"fetch {', '.join(archives)} from {root}, unpack, and upload what was in them"
    folders: dict[str, list[str]] = {}
    for path in archives:
        folder, name = posixpath.split(path)
        folders.setdefault(folder, []).append(name)
    return "; ".join(
        f"(cd {shlex.quote(str(root / folder))} && for a in {shlex.join(names)}; do tar xf $a; done)"
        for folder, names in folders.items()
    )
