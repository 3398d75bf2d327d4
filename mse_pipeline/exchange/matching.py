"""Entries of a file without ids -> the clips of a corpus, by their order, their texts and their labels.

It also has the emotions of MELD, CHERMA and IEMOCAP in the order of their indices, and the spellings in files.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mse_pipeline import corpora
from mse_pipeline.clip import Clip, Split
from mse_pipeline.corpora import cherma, iemocap, meld
from mse_pipeline.corpora.text import repair
from mse_pipeline.errors import MseError, did_you_mean

CLASSES = {"meld": meld.EMOTIONS, "cherma": cherma.EMOTIONS, "iemocap": iemocap.EMOTIONS}
LANGUAGES = {name: corpora.facts(name).language for name in CLASSES}


def spelling(corpus: str, label: str, classes: Sequence[str], where: str) -> str:
    """The class that a label means.

    Args:
        corpus: Name of the corpus; CHERMA's labels may be in Chinese or English.
        label: As the file has it.
        classes: Those that there are.
        where: How an error calls the place.

    Raises:
        MseError: It is none of the classes.

    Examples:
        >>> spelling("cherma", "happy", CLASSES["cherma"], "entry 0")
        '高兴'
    """
    plain = label.strip()
    for spelled in (plain, plain.lower(), *(cherma.names_of(plain) if corpus == "cherma" else ())):
        if spelled in classes:
            return spelled
    raise MseError(
        f"{where} has the label {label[:40]!r}{did_you_mean(plain, classes)}; known are {', '.join(classes)}."
    )


_AHEAD = 60
"""Clips in a row that a file may lack: those of a dialogue whose media are damaged, for instance."""


@dataclass(frozen=True)
class PickleEntry:
    """What a file tells of one clip: its text and its label."""

    text: str
    label: str


def rebuild(
    what: str, entries: dict[Split, list[PickleEntry]], corpus: str, root: str, notes: list[str]
) -> dict[Split, list[Clip]]:
    """The clip of each entry, from a corpus's label files.

    Args:
        what: How errors call the file.
        entries: In the file's order, by split.
        corpus: Name of the corpus.
        root: Its folder, or the one with its label files.
        notes: Told what was left out.

    Raises:
        MseError: Texts or labels differ from the label files', so that ids would be guessed.
        UsageError: There is no such folder, or no label files in it.
    """
    found = corpora.read(corpus, Path(root))
    made = {}
    for split, given in entries.items():
        clips = [clip for clip in found.clips if clip.split == split]
        made[split] = match(f"{what}, {split}", given, clips)
        left = len(clips) - len(given)
        if left:
            notes.append(
                f"Of the {len(clips):,} clips of split {split} in {corpus}'s label files {left:,} are not there."
            )
    notes.append(f"Ids are rebuilt by order; every text and label was compared with {corpus}'s label files.")
    return made


def match(what: str, entries: Sequence[PickleEntry], clips: Sequence[Clip]) -> list[Clip]:
    """The clip of each entry; clips may be missing among the entries, but not the other way round.

    Raises:
        MseError: An entry has no clip in the order of the label files.
    """
    made = []
    place = 0
    for number, entry in enumerate(entries):
        window = clips[place : place + _AHEAD]
        step = next((i for i, clip in enumerate(window) if _same(entry, clip)), None)
        if step is None:
            expected = f"expected {window[0].text[:60]!r}, {window[0].label}" if window else "no clip is left"
            raise MseError(
                f"Entry {number} of {what} is {entry.text[:60]!r}, {entry.label}; by the label files' order "
                f"{expected}. The file is of another version or order; import it without the label files to have made "
                "ids."
            )
        made.append(replace(window[step]))
        place += step + 1
    return made


def _same(entry: PickleEntry, clip: Clip) -> bool:
    return plain(entry.text) == plain(clip.text) and entry.label == clip.label


def plain(text: str) -> str:
    r"""What is left of a text when encodings, case, blanks and signs do not count.

    Examples:
        >>> plain("It\x92s  me!") == plain("it’s me") == plain("It's me.")
        True
    """
    folded = unicodedata.normalize("NFKC", repair(text)).casefold()
    return re.sub(r"\W+", "", folded)
