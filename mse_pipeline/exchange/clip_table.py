"""The clips of a folder of features: clips.csv and about.json, as this package writes them, or a user's label table.

MERBench's label.npz is a label table, too; the texts of its clips are in a transcription.csv beside it. In the archive,
``train_corpus``, ``val_corpus``, ``test_corpus`` (MER2023 has ``test1_corpus`` to ``test3_corpus``, IEMOCAP
``whole_corpus``) each hold ``{name: {"emo": a class, "val": a number}}``, wrapped into an array and pickled. The pickle
is read without running anything of it. ``emo`` is 0 throughout if a dataset has no emotions, and ``val`` is -10 if it
has no numbers.

Formats that do not contain the splits get them from a user's list of splits.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mse_pipeline.cells import is_missing, number_of
from mse_pipeline.clip import Clip, Label, Split
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.mmsa_table import LabelRow, is_label_table, read_label_table
from mse_pipeline.corpora.table import FURTHER, OPTIONAL, REQUIRED, Cells, lost_row, make_clips
from mse_pipeline.corpora.table_cells import Complaints, infer_task, split_of, told_missing
from mse_pipeline.corpora.table_file import SUFFIXES, TextTable, read_table, refuse_others, refuse_unread
from mse_pipeline.corpora.table_votes import is_of_votes, notes_on_votes, vote_columns
from mse_pipeline.corpora.text import decode, repair
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange.npy_file import read_header
from mse_pipeline.exchange.restricted import unpickle
from mse_pipeline.file_kinds import kind_of
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.storage import write_json, write_text
from mse_pipeline.task import Classification, Regression, Task, to_plain

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
        match = _CORPUS.fullmatch(member)
        if match is None or match["name"] not in (*_SPLITS, "whole"):
            others.append(member)
            continue
        clips = _clips(data, path, member)
        labels_of_part = [_label(path, member, name, told, _SPLITS.get(match["name"])) for name, told in clips.items()]
        if (
            match["name"] == "test"
            and labels_of_part
            and all(label.emo == "neutral" and not label.val for label in labels_of_part)
        ):
            notes.append(
                f"All {len(labels_of_part):,} clips of {member.removesuffix('.npy')} are neutral and have no number, "
                "as MERBench fills in where labels are not published: they count as not labelled."
            )
            labels_of_part = [LabelOf(label.name, label.split, "", "") for label in labels_of_part]
        labels += labels_of_part
    if not labels:
        there = ", ".join(repr(name[:40]) for name in others[:5]) or "nothing"
        raise MseError(
            f"{path} has no labels: expected train_corpus, val_corpus and test_corpus as MERBench writes them, found "
            f"{there}."
        )
    names = [label.name for label in labels]
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
        what = f"{str(error).rstrip('.')}. Download it again." if zipped else f"it is {kind}"
        raise MseError(f"{path} cannot be read as .npz: {what}") from error


def _clips(data: bytes, path: Path, member: str) -> Mapping[Any, Any]:
    """The dictionary of one part."""
    try:
        file = io.BytesIO(data)
        _, dtype = read_header(file)
    except (ValueError, TypeError, EOFError, SyntaxError, RecursionError, MemoryError) as error:
        raise MseError(f"{path}: {member} is not an array of numpy ({str(error)[:200]}). Download it again.") from error
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
    indices = {label.emo for label in labels if label.emo}
    if not all(_MELD_NAME.fullmatch(label.name) for label in labels) or not indices <= {
        str(i) for i in range(len(_MELD))
    }:
        return labels
    notes.append(f"The clips are MELD's: the numbers of emo are {', '.join(f'{i} {e}' for i, e in enumerate(_MELD))}.")
    return [LabelOf(label.name, label.split, _MELD[int(label.emo)] if label.emo else "", label.val) for label in labels]


HELP = (
    "MMSA's label.csv, a table with the columns id and split, or a JSON file "
    '{"train": [ids], "valid": [ids], "test": [ids]}; ids of videos or of clips'
)
_ID_COLUMNS = ("id", "video_id", "vid", "name")
_SPLIT_COLUMNS = ("split", "mode")
_MAX_BYTES = 256 << 20


def read_splits(path: Path) -> dict[str, Split]:
    """Split by id of a video or a clip.

    Args:
        path: A file as `HELP` tells.

    Raises:
        UsageError: There is no such file, it has another form, or one id has two splits.
    """
    if not path.is_file():
        raise UsageError(f"There is no list of splits {path}; it is {HELP}.")
    refuse_others(str(path))
    if path.suffix.lower() == ".json":
        pairs = _json_pairs(path)
    elif is_label_table(path):
        pairs = [(row.video_id, row.mode) for row in read_label_table(path)]
    elif path.suffix.lower() in SUFFIXES:
        table = read_table(path.parent, path.name)
        refuse_unread(table, (*_ID_COLUMNS, *_SPLIT_COLUMNS))
        ids = next((table.columns[name] for name in _ID_COLUMNS if name in table.columns), None)
        splits = next((table.columns[name] for name in _SPLIT_COLUMNS if name in table.columns), None)
        if ids is None or splits is None:
            raise UsageError(f"{path} has the columns {', '.join(table.columns)}; a list of splits is {HELP}.")
        pairs = list(zip(ids, splits, strict=True))
    else:
        raise UsageError(f"{path} is not a list of splits; it is {HELP}.")
    return _mapping(path, pairs)


def split_for(clip: str, video: str, splits: Mapping[str, Split]) -> Split | None:
    """The split of a clip: by its own id, else by its video's.

    Examples:
        >>> split_for("a[0]", "a", {"a": Split.TEST})
        <Split.TEST: 'test'>
    """
    return splits.get(clip) or splits.get(video)


def _json_pairs(path: Path) -> list[tuple[str, str]]:
    if path.stat().st_size > _MAX_BYTES:
        raise UsageError(f"{path} has more than {_MAX_BYTES:,} bytes; a list of splits is {HELP}.")
    text, _ = decode(path.read_bytes(), str(path))
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON ({error}); a list of splits is {HELP}.") from None
    if not isinstance(value, dict) or not all(isinstance(ids, list) for ids in value.values()):
        raise UsageError(f"{path} does not map splits to lists of ids; a list of splits is {HELP}.")
    return [(str(split), name) for name, ids in value.items() for split in ids]


def _mapping(path: Path, pairs: list[tuple[str, str]]) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    unknown: list[str] = []
    twice: list[str] = []
    for written, name in pairs:
        one, split = written.strip(), split_of(name, {})
        if split is None:
            unknown.append(f"{name!r} of {one}")
        elif splits.setdefault(one, split) != split:
            twice.append(one)
    if unknown:
        raise UsageError(f"{path} names splits other than train, valid and test: {enumerate_some(unknown, 5)}.")
    if twice:
        raise UsageError(f"{path} puts ids into two splits: {enumerate_some(dict.fromkeys(twice), 5)}.")
    if not splits:
        raise UsageError(f"{path} names no id; a list of splits is {HELP}.")
    return splits


TABLE, ABOUT = "clips.csv", "about.json"
_FORMAT = 1
_TRANSCRIPTS = ("transcription-engchi-polish.csv", "transcription-engchi.csv", "transcription.csv")
"""MERBench's files of texts, the best first."""
_ALIASES = {
    "id": ("id", "name", "filename"),
    "split": ("split", "mode"),
    "label": ("label", "emotion", "emo", "discrete"),
    "text": ("text", "utterance", "english", "chinese", "sentence"),
}


@dataclass(frozen=True)
class LabelTable:
    """The clips of a table, and what is to be predicted.

    Attributes:
        task: From `ABOUT`, else from the labels.
        clips: In the table's order.
        names: Names of a stream's dimensions, where `ABOUT` tells them.
        notes: What was chosen, as sentences.
        corpus: Whose clips and task these are, where `ABOUT` tells it.
        dataset: What the dataset was called that was exported, where `ABOUT` tells it.
    """

    task: Task
    clips: tuple[Clip, ...]
    names: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    corpus: str | None = None
    dataset: str | None = None


@dataclass(frozen=True)
class About:
    """What our exports tell of a dataset and the formats themselves have no place for.

    Attributes:
        task: What is to be predicted.
        streams: Names of the dimensions by stream.
        corpus: Whose clips and task these are.
        dataset: The dataset's name.
    """

    task: Task
    streams: Mapping[str, tuple[str, ...]]
    corpus: str | None
    dataset: str | None

    @classmethod
    def beside(cls, path: Path) -> About | None:
        """What the file `ABOUT` beside a file tells; None where there is none.

        Raises:
            MseError: It cannot be read.
        """
        home = path.with_name(ABOUT)
        if not home.is_file():
            return None
        try:
            text = home.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise MseError(f"{home} cannot be read ({error}). Export the dataset again, or remove the file.") from error
        return cls.of(text, str(home))

    @classmethod
    def of(cls, text: str, where: str) -> About:
        """What a text tells, as `about_of` made it.

        Args:
            text: JSON.
            where: The file, for the error.

        Raises:
            MseError: It is something else.
        """
        try:
            value = json.loads(text)
            if value["format"] != _FORMAT:
                raise ValueError(f"its format is {value['format']}, expected {_FORMAT}")
            told = value["task"]
            metrics = str(told.get("metrics", ""))
            task: Task = (
                Classification(tuple(str(one) for one in told["classes"]), metrics=metrics)
                if "classes" in told
                else Regression(float(told["low"]), float(told["high"]), metrics=metrics)
            )
            if isinstance(task, Regression) and not -math.inf < task.low < task.high < math.inf:
                raise ValueError(f"labels are from {task.low} to {task.high}, which is no range")
            names = {stream: tuple(str(one) for one in given) for stream, given in value["streams"].items()}
            corpus, dataset = (one if isinstance(one := value.get(key), str) else None for key in ("corpus", "dataset"))
            return cls(task, names, corpus, dataset)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise MseError(
                f"{where} cannot be read ({error}). Export the dataset again, or remove the file."
            ) from error

    def names(self, modality: str, width: int) -> tuple[str, ...] | None:
        """Names of a modality's dimensions; None where they are not told, or of another number than there are."""
        own = (names for stream, names in self.streams.items() if stream.partition(".")[0] == modality)
        return next((names for names in own if len(names) == width), None)


def write_clip_table(dataset: Dataset, folder: Path, streams: Sequence[str]) -> None:
    """Write the clips of a dataset as `TABLE`, which the ``table`` corpus reads too, and its task as `ABOUT`.

    Args:
        dataset: In the cache.
        folder: Where to.
        streams: Names of the streams that lie beside.
    """
    further = sorted({name for clip in dataset.clips for name in clip.labels})
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    votes = vote_columns(dataset.clips)
    writer.writerow([*REQUIRED, *OPTIONAL, *(FURTHER + name for name in further), *votes])
    for place, clip in enumerate(dataset.clips):
        cells = [getattr(clip, name) for name in (*REQUIRED, *OPTIONAL)] + [clip.labels.get(name) for name in further]
        cells += [column[place] for column in votes.values()]
        writer.writerow(["" if cell is None else cell for cell in cells])
    write_text(folder / TABLE, out.getvalue())
    write_json(folder / ABOUT, about_of(dataset, streams))


def about_of(dataset: Dataset, streams: Sequence[str]) -> dict[str, Any]:
    """What `About` reads: the dataset's name, corpus and task, and the names of the streams' dimensions."""
    names = {stream: list(_names_of(dataset, stream)) for stream in streams}
    corpus = dataset.manifest.source.get("corpus")
    task = to_plain(dataset.manifest.task)
    return {"format": _FORMAT, "dataset": dataset.name, "corpus": corpus, "task": task, "streams": names}


def read_clip_table(path: Path, *, split: str | None = None, label_column: str | None = None) -> LabelTable:
    """Read the clips of a table: our `TABLE`, MMSA's label.csv, or columns like id, split, text and label.

    Args:
        path: CSV, TSV or Parquet, or MERBench's label.npz; `ABOUT` beside it, if there, tells the task.
        split: The split of all clips, for a table without such a column.
        label_column: The column of the labels; None for the usual names.

    Raises:
        UsageError: It cannot be read, columns are missing, or a label is none of the task's.
    """
    if path.suffix.lower() == ".npz":
        return _from_npz(path, split, label_column)
    about = About.beside(path) if path.name == TABLE else None
    task: Task | None = about.task if about else None
    if is_label_table(path) and label_column is None:
        return _from_mmsa(path, read_label_table(path), split)
    table = read_table(path.parent, path.name)
    columns = _columns(path, table, split, label_column)
    notes = list(table.notes)
    inferred = task is None
    if task is None:
        task, note = infer_task(columns["label"], label_column or "label", table.delimiter)
        notes.append(note)
    complaints = Complaints(str(path))
    media: list[str | None] = [None if is_missing(value) else value for value in columns["media"]]
    cells = Cells(table.rows, columns, media, {}, "en", table.delimiter, table.path)
    clips, defects = make_clips(cells, task, complaints)
    complaints.settle()
    defects += [lost_row(row, "another number of cells is in it, which", table.path) for row in table.lost]
    notes += told_missing(columns, task.classes if isinstance(task, Classification) else ())
    notes += notes_on_votes(columns, task, clips)
    notes += [defect.message for defect in defects if defect.code in ("undecodable", "text_repaired")]
    foreign = [defect.message for defect in defects if defect.code == "label_out_of_range"]
    if inferred:
        notes += foreign
    elif foreign:
        raise UsageError(f"{path} has {len(foreign):,} labels that are none of the task's. {foreign[0]}")
    if about is None:
        return LabelTable(task, tuple(clips), {}, tuple(notes))
    return LabelTable(task, tuple(clips), about.streams, tuple(notes), about.corpus, about.dataset)


def _columns(path: Path, table: TextTable, split: str | None, label_column: str | None) -> dict[str, list[str]]:
    used = [alias for aliases in _ALIASES.values() for alias in aliases]
    refuse_unread(table, [*used, *OPTIONAL, *filter(None, [label_column])])
    there = {name.lower(): name for name in table.columns}
    columns = {
        name: cells
        for name, cells in table.columns.items()
        if name in OPTIONAL or name.startswith(FURTHER) or is_of_votes(name)
    }
    blank = [""] * len(table.rows)
    columns["media"] = table.columns.get("media", blank)
    for ours, theirs in _ALIASES.items():
        names = (label_column,) if ours == "label" and label_column else theirs
        column = next((there[name.lower()] for name in names if name.lower() in there), None)
        if column is not None:
            columns[ours] = table.columns[column]
        elif ours == "text":
            columns[ours] = blank
        elif ours == "split" and split:
            columns[ours] = [split] * len(table.rows)
        elif ours == "split":
            raise UsageError(
                f"{path} does not tell the splits: it has the columns {', '.join(table.columns)}. Add a column split "
                "with train, valid and test, or set the option split for all clips."
            )
        else:
            raise UsageError(f"{path} has no column {' or '.join(names)}; it has {', '.join(table.columns)}.")
    return columns


def _from_mmsa(path: Path, rows: Sequence[LabelRow], split: str | None) -> LabelTable:
    task, note = infer_task(["" if row.label is None else repr(row.label) for row in rows], "label")
    if split is not None and split not in set(Split):
        raise UsageError(f"Option split must be train, valid or test; got {split!r}.")
    without = [row.id for row in rows if row.split is None]
    if without and split is None:
        raise UsageError(f"{path} tells no split of {enumerate_some(without, 5)}. A list of splits is {HELP}.")
    clips = tuple(
        Clip(
            id=row.id,
            split=row.split or Split(str(split)),
            media=f"Raw/{row.video_id}/{row.clip_id}.mp4",
            text=row.text,
            label=row.label,
            labels=dict(row.modality_labels),
        )
        for row in rows
    )
    return LabelTable(task, clips, {}, (note,))


def _from_npz(path: Path, split: str | None, column: str | None) -> LabelTable:
    labels, notes = read_label_npz(path)
    if column not in (None, "emo", "val"):
        raise UsageError(f"{path} has the labels emo and val; the option label_column asks for {column!r}.")
    if split is not None and split not in set(Split):
        raise UsageError(f"Option split must be train, valid or test; got {split!r}.")
    without = [item.name for item in labels if item.split is None]
    if without and split is None:
        raise UsageError(
            f"{path} tells no split of {enumerate_some(without, 5)}. Set the option split for all clips, or give the "
            "option labels a table with the columns id, split and label."
        )
    classes = sorted(
        {item.emo for item in labels if item.emo}, key=lambda emo: emo.zfill(9) if emo.isdecimal() else emo
    )
    chosen = column or ("emo" if len(classes) > 1 else "val")
    if chosen == "emo":
        if len(classes) < 2:
            raise UsageError(f"{path} has no two classes in emo; set the option label_column to val.")
        task: Task = Classification(tuple(classes))
        told = f"The labels are emo: {len(classes)} classes, {', '.join(classes)}."
    else:
        task, told = infer_task([item.val for item in labels], "val")
    texts, told_of_texts = _transcripts(path.parent)
    clips = []
    for item in labels:
        val = number_of(item.val) if item.val else None
        if item.val and val is None:
            raise UsageError(f"{path} has the val {item.val[:40]!r} for {item.name}, which is not a number.")
        both: dict[str, Label | None] = {"emo": item.emo or None, "val": val}
        label = both.pop(chosen)
        clips.append(
            Clip(
                id=item.name,
                split=item.split or Split(str(split)),
                text=texts.get(item.name, ""),
                label=label,
                labels={kind: value for kind, value in both.items() if value is not None and len(classes) > 1},
            )
        )
    return LabelTable(task, tuple(clips), {}, (told, *notes, told_of_texts))


def _transcripts(folder: Path) -> tuple[dict[str, str], str]:
    """Texts by clip, of MERBench's tables beside its labels, and a sentence about them."""
    file = next((name for name in _TRANSCRIPTS if (folder / name).is_file()), None)
    if file is None:
        return {}, f"The clips have no texts: none of {', '.join(_TRANSCRIPTS)} lies beside the labels."
    columns = read_table(folder, file).columns
    spoken = next((columns[name] for name in _ALIASES["text"] if name in columns), None)
    if spoken is None or "name" not in columns:
        raise UsageError(f"{folder / file} has no columns name and english or chinese; it has {', '.join(columns)}.")
    texts = {name: repair(text) for name, text in zip(columns["name"], spoken, strict=True)}
    return texts, f"Texts are those of {file}."


def _names_of(dataset: Dataset, stream: str) -> Sequence[str]:
    features = dataset[stream]
    first = next(iter(features), None)
    return () if first is None else features[first].names
