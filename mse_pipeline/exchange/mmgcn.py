"""Pickles of the conversation models (DialogueGCN, MMGCN and their kin): a tuple of dictionaries by dialogue.

Which member is what, the number of members tells: ten (MELD) and nine (IEMOCAP) are ids, speakers, labels, text,
acoustic, visual, sentences, train and test dialogues; nine whose sixth are sentences (MELD) lack the visual ones;
eleven are ids, speakers, labels, four RoBERTa layers, sentences, train, test and valid dialogues. Features are one
vector an utterance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.cells import said
from mse_pipeline.clip import Clip, Split
from mse_pipeline.corpora.text import repair
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange.base import Imported, file_digest
from mse_pipeline.exchange.emotions import CLASSES
from mse_pipeline.exchange.matching import Entry, rebuild
from mse_pipeline.exchange.mmgcn_members import Members, members_of, split_dialogues
from mse_pipeline.exchange.restricted import read_pickle
from mse_pipeline.exchange.values import Repairs
from mse_pipeline.store.features import Features
from mse_pipeline.task import Classification

_NOTES = {"clock": "utterance"}
_INTERVAL = np.array([[0.0, 1.0]])
_VALID = np.array([True])


def read(path: Path, *, corpus: str = "", labels: str = "", valid: float = 0.1, encoding: str = "latin1") -> Imported:
    """Read a pickle of dialogues.

    Args:
        path: The file.
        corpus: ``meld`` or ``iemocap``; empty: the number of members and the speakers tell.
        labels: Folder with MELD's label files, by which ids are rebuilt and texts and labels compared; empty: ids are
            made of dialogue and place.
        valid: Share of the train dialogues, the last ones, that become the valid split, where the file has none; MELD's
            own 114 are known.
        encoding: Of texts that Python 2 wrote, as these files' usual makers did.

    Returns:
        Streams ``text.mmgcn``, ``acoustic.mmgcn`` and ``visual.mmgcn`` (of those there are), or ``text.roberta_1`` to
        ``_4``; one row a clip, whose interval (0, 1) stands for the whole utterance and is no time.

    Raises:
        UsageError: The corpus is unknown, or a share is none.
        MseError: The file is hostile, damaged or of another form; or a label is unknown.
    """
    if corpus not in ("", "meld", "iemocap"):
        raise UsageError(f"These files are of meld or iemocap; got {corpus!r}.")
    if not 0 <= valid < 1:
        raise UsageError(f"valid is a share from 0 up to 1; got {valid:g}.")
    file = read_pickle(path, encoding=encoding)
    members = members_of(path, file.value)
    corpus = corpus or members.corpus
    notes: list[str] = []
    dialogues = split_dialogues(members, corpus, valid, notes)
    made = {split: _clips(members, split, keys, CLASSES[corpus]) for split, keys in dialogues.items()}
    if labels:
        told = {split: [Entry(clip.text, str(clip.label)) for clip in clips] for split, clips in made.items() if clips}
        made |= rebuild(str(path), told, corpus, labels, notes)
    else:
        notes.append("Ids are made of dialogue and place in it; --option labels= rebuilds them from label files.")
    source = {
        "format": "mmgcn",
        "files": [path.name],
        "sha256": file_digest(path),
        **({"corpus": corpus} if corpus == "meld" else {}),
        **_NOTES,
    }
    streams = {name: _Stream(name, members, field, dialogues, made, notes) for name, field in members.streams.items()}
    clips = tuple(clip for split in Split for clip in made[split])
    return Imported(task=Classification(CLASSES[corpus]), clips=clips, streams=streams, source=source, notes=notes)


def _clips(members: Members, split: Split, dialogues: Sequence[Any], classes: Sequence[str]) -> list[Clip]:
    clips = []
    for key in dialogues:
        indices = members.labels(key)
        sentences, speakers = members.sentences(key), members.speakers(key)
        for turn, index in enumerate(indices):
            name = f"{split}/dia{key}" if isinstance(key, int) else f"{split}/{key}"
            if not 0 <= index < len(classes):
                raise MseError(
                    f"{members.name}: utterance {turn} of dialogue {key!r} has the label {index}; known are 0 to "
                    f"{len(classes) - 1} ({', '.join(classes)})."
                )
            clips.append(
                Clip(
                    id=f"{name}_utt{turn}",
                    split=split,
                    text=repair(said(sentences[turn])),
                    speaker=speakers[turn],
                    dialogue=name,
                    turn=turn,
                    label=classes[index],
                )
            )
    return clips


@dataclass(frozen=True)
class _Stream:
    """Gives the vector of each utterance as features of one row."""

    name: str
    members: Members
    field: str
    dialogues: Mapping[Split, Sequence[Any]]
    clips: Mapping[Split, Sequence[Clip]]
    notes: list[str]

    def __call__(self) -> Iterator[tuple[str, Features]]:
        repairs = Repairs(self.name)
        modality = self.name.partition(".")[0]
        names: tuple[str, ...] = ()
        for split, keys in self.dialogues.items():
            clips = iter(self.clips[split])
            for key in keys:
                rows = self.members.vectors(self.field, key)
                names = names or tuple(f"{modality}_{place}" for place in range(rows.shape[1]))
                if rows.shape[1] != len(names):
                    raise MseError(
                        f"{self.members.name}: dialogue {key!r} has {rows.shape[1]} {modality} values; others "
                        f"{len(names)}."
                    )
                for row in rows:
                    yield next(clips).id, Features(repairs.finite(row[None]), _INTERVAL, _VALID, names, _NOTES)
        self.notes.extend(repairs.notes())
