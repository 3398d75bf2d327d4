"""Pickles of conversation models (DialogueGCN, MMGCN and related): a tuple of dictionaries by dialogue.

The number of members says what each member is. Ten (MELD) and nine (IEMOCAP): ids, speakers, labels, text, acoustic,
visual, sentences, train and test dialogues. Nine with sentences as the sixth (MELD): the visual ones are missing.
Eleven: ids, speakers, labels, four RoBERTa layers, sentences, train, test and valid dialogues. Features are one vector
an utterance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.cells import said
from mse_pipeline.clip import Clip, Split
from mse_pipeline.corpora.text import repair
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange.base import Imported, Undefined, file_digest
from mse_pipeline.exchange.matching import CLASSES, PickleEntry, rebuild
from mse_pipeline.exchange.registry import Format
from mse_pipeline.exchange.restricted import read_pickle
from mse_pipeline.store.features import Features
from mse_pipeline.task import Classification

_MELD_TRAIN, _MELD_VALID = 1038, 114
_MAX_KEY = 1 << 53  # larger numbers may all have one hash, and would take long to be told apart


@dataclass(frozen=True)
class Members:
    """A dialogue pickle.

    Attributes:
        name: The file, for errors.
        corpus: ``meld`` or ``iemocap``, as the form tells.
        parts: Dictionaries by dialogue: ``speakers``, ``labels``, ``sentences`` and the feature fields.
        streams: Stream name -> field.
        train: Dialogues of the train split, in the file's order, the valid ones among them if the file does not tell.
        test: Dialogues of the test split.
        valid: Dialogues of the valid split; None if the file does not tell.
    """

    name: str
    corpus: str
    parts: Mapping[str, Mapping[Any, Any]]
    streams: Mapping[str, str]
    train: Sequence[Any]
    test: Sequence[Any]
    valid: Sequence[Any] | None

    def labels(self, key: Any) -> list[int]:
        """Index of the class of each utterance of a dialogue."""
        given = self._member("labels", key)
        array = np.asarray(given) if _is_flat(given, int) else given
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind not in "iu" or not len(array):
            raise MseError(f"{self.name}: labels of dialogue {key!r} must be whole numbers, one an utterance.")
        return [int(label) for label in array]

    def sentences(self, key: Any) -> list[str]:
        """The text of each utterance."""
        given = self._member("sentences", key)
        texts = given.tolist() if isinstance(given, np.ndarray) else given
        if not _is_flat(texts, str) or len(texts) != len(self.labels(key)):
            raise MseError(f"{self.name}: sentences of dialogue {key!r} must be texts, one an utterance.")
        return list(texts)

    def speakers(self, key: Any) -> list[str | None]:
        """Who speaks each utterance: ``M`` and ``F``, or the place of the one in a row of zeros."""
        given = self._member("speakers", key)
        count = len(self.labels(key))
        if _is_flat(given, str) and len(given) == count:
            return list(given)
        rows = self.vectors("speakers", key)
        return [f"speaker {int(row.argmax())}" if row.any() else None for row in rows]

    def vectors(self, field: str, key: Any) -> np.ndarray:
        """(utterances, D): the vector of each utterance."""
        given = self._member(field, key)
        rows: Any = given
        if isinstance(given, list | tuple):
            each = [np.asarray(row) if _is_flat(row, int | float) else row for row in given]
            fits = each and all(isinstance(row, np.ndarray) and row.shape == each[0].shape for row in each)
            rows = np.stack(each) if fits else None
        if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.dtype.kind not in "fiu" or not rows.shape[1]:
            raise MseError(f"{self.name}: {field} of dialogue {key!r} must be numbers, as many for each utterance.")
        if len(rows) != len(self.labels(key)):
            raise MseError(
                f"{self.name}: dialogue {key!r} has {len(self.labels(key))} labels and {len(rows)} rows of {field}."
            )
        return rows

    def _member(self, field: str, key: Any) -> Any:
        if key not in self.parts[field]:
            raise MseError(f"{self.name} has no {field} of dialogue {key!r}, which a split names.")
        return self.parts[field][key]


def members_of(path: Path, value: Any) -> Members:
    """Tell the members of a tuple apart.

    Raises:
        MseError: It is of no known form.
    """
    if not isinstance(value, tuple | list) or len(value) not in (9, 10, 11):
        raise _strange(path, value)
    dictionaries = [isinstance(member, Mapping) for member in value]
    if len(value) == 11 and all(dictionaries[:8]):
        names: tuple[str, ...] = ("ids", "speakers", "labels", "r1", "r2", "r3", "r4", "sentences")
        streams = {f"text.roberta_{layer}": f"r{layer}" for layer in range(1, 5)}
        train, test, valid = map(_keys, value[8:])
        corpus = "iemocap" if _strings_speak(value[1]) else "meld"
    elif len(value) in (9, 10) and all(dictionaries[:7]):
        names = ("ids", "speakers", "labels", "text", "audio", "visual", "sentences")
        streams = {"text.mmgcn": "text", "acoustic.mmgcn": "audio", "visual.mmgcn": "visual"}
        train, test, valid = _keys(value[7]), _keys(value[8]), None
        corpus = "iemocap" if _strings_speak(value[1]) else "meld"
    elif len(value) == 9 and all(dictionaries[:6]):
        names = ("ids", "speakers", "labels", "text", "audio", "sentences")
        streams = {"text.mmgcn": "text", "acoustic.mmgcn": "audio"}
        train, test, valid, corpus = _keys(value[6]), _keys(value[7]), None, "meld"
    else:
        raise _strange(path, value)
    if train is None or test is None or (len(value) == 11 and valid is None):
        raise _strange(path, value)
    parts = dict(zip(names, value, strict=False))
    return Members(str(path), corpus, parts, streams, train, test, valid)


def split_dialogues(members: Members, corpus: str, share: float, notes: list[str]) -> dict[Split, list[Any]]:
    """The dialogues of each split.

    Args:
        members: Of the file.
        corpus: ``meld``, whose train dialogues come first and valid ones after them, or another.
        share: Of the train dialogues that become valid ones, where nothing else tells.
        notes: Told what was chosen.

    Raises:
        MseError: A dialogue is in two splits.
    """
    train, valid = list(members.train), members.valid
    if valid is None:
        if corpus == "meld" and len(train) == _MELD_TRAIN + _MELD_VALID:
            first = _MELD_TRAIN
            notes.append(f"The file has MELD's train and dev dialogues together; the first {first:,} are train.")
        else:
            first = len(train) - round(len(train) * share)
            notes.append(
                f"The file has no valid split: of {len(train):,} train dialogues it is the last {len(train) - first:,}."
            )
        train, valid = train[:first], train[first:]
    splits = {Split.TRAIN: train, Split.VALID: list(valid), Split.TEST: list(members.test)}
    every = [key for keys in splits.values() for key in keys]
    if len(set(every)) < len(every):
        raise MseError(f"{members.name} names a dialogue in two splits, or twice in one.")
    return splits


def _is_flat(value: Any, kind: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, kind) for item in value)


def _strings_speak(speakers: Mapping[Any, Any]) -> bool:
    """Whether speakers are letters, as IEMOCAP's are; MELD's are rows of zeros and a one."""
    return any(_is_flat(speaker, str) for speaker in speakers.values())


def _keys(value: Any) -> list[Any] | None:
    """Names of dialogues in their order; sets have none, and are sorted."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if isinstance(value, set | frozenset):
        value = sorted(value, key=lambda one: (str(type(one)), one))
    if not isinstance(value, Iterable) or not _is_flat(value, int | str):
        return None
    if any(isinstance(key, int) and abs(key) > _MAX_KEY for key in value):
        return None
    return list(value)


def _strange(path: Path, value: Any) -> MseError:
    got = f"a {type(value).__name__}"
    if isinstance(value, tuple | list):
        got += f" of {len(value)}: {', '.join(type(one).__name__ for one in value[:12])}"
    return MseError(
        f"{path} is not a pickle of dialogues: expected a tuple of 9, 10 or 11 members, dictionaries by dialogue and "
        f"then lists of dialogues, found {got}."
    )


_NOTES = {"clock": "utterance"}
_INTERVAL = np.array([[0.0, 1.0]])


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
    clips_of = {split: _clips(members, split, keys, CLASSES[corpus]) for split, keys in dialogues.items()}
    if labels:
        entries = {
            split: [PickleEntry(clip.text, str(clip.label)) for clip in clips]
            for split, clips in clips_of.items()
            if clips
        }
        clips_of |= rebuild(str(path), entries, corpus, labels, notes)
    else:
        notes.append("Ids are made of dialogue and place in it; --option labels= rebuilds them from label files.")
    source = {
        "format": "mmgcn",
        "files": [path.name],
        "sha256": file_digest(path),
        **({"corpus": corpus} if corpus == "meld" else {}),
        **_NOTES,
    }
    streams = {
        name: _Stream(name, members, field, dialogues, clips_of, notes) for name, field in members.streams.items()
    }
    clips = tuple(clip for split in Split for clip in clips_of[split])
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
        undefined = Undefined(self.name)
        modality = self.name.partition(".")[0]
        names: tuple[str, ...] = ()
        for split, keys in self.dialogues.items():
            clips = iter(self.clips[split])
            for key in keys:
                rows = self.members.vectors(self.field, key)
                names = names or tuple(f"{modality}_{index}" for index in range(rows.shape[1]))
                if rows.shape[1] != len(names):
                    raise MseError(
                        f"{self.members.name}: dialogue {key!r} has {rows.shape[1]} {modality} values; others "
                        f"{len(names)}."
                    )
                for row in rows:
                    values, valid = undefined.read(row[None])
                    yield next(clips).id, Features(values, _INTERVAL, valid, names, _NOTES)
        self.notes.extend(undefined.notes())


FORMAT = Format("Pickle of a tuple of dictionaries by dialogue (MMGCN, DialogueGCN; MELD, IEMOCAP)", read)
