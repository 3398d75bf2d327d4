"""New media as clips: files that someone names, or the rows of a table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mse_pipeline.cells import is_missing, said
from mse_pipeline.clip import Clip, Split
from mse_pipeline.corpora.base import Corpus, enumerate_some
from mse_pipeline.corpora.files import open_root
from mse_pipeline.corpora.overview import foreign_texts
from mse_pipeline.corpora.table import OPTIONAL, Cells, lost_row, make_clips
from mse_pipeline.corpora.table_cells import Complaints, told_missing
from mse_pipeline.corpora.table_file import SUFFIXES, read_table, refuse_others, refuse_unread
from mse_pipeline.corpora.table_paths import find_media
from mse_pipeline.corpora.text import repair
from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.names import ByName
from mse_pipeline.places import is_local, place
from mse_pipeline.task import Task

TABLES = SUFFIXES
_NEEDED = ("id", "media")
_READ = ("id", "media", "text", *OPTIONAL)
_NAMES_OF_FILES = ("clip", "id", "file", "media")
_NAMES_OF_TEXTS = ("text", "transcript")
_LONGEST_TEXT = 1 << 20  # bytes


def of_files(files: Sequence[str | Path], task: Task, language: str, texts: Mapping[Path, str] | None = None) -> Corpus:
    """A clip for each media file, called by its name; by its path from the common folder where names repeat.

    Args:
        files: Media files on this machine; one that is named twice is one clip.
        task: What is predicted.
        language: Of what is said.
        texts: What is said in them, by file as it is given here.

    Raises:
        UsageError: There is no such file, or its name is no text.
    """
    by_absolute = {_absolute(Path(file)): Path(file) for file in files}
    for path, file in by_absolute.items():
        refuse_others(str(file))
        if not path.is_file():
            raise UsageError(
                f"There is no file {file}." if not path.exists() else f"{file} is not a file. Give media files."
            )
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise UsageError(f"The name of {str(file)!a} is not UTF-8: rename the file.") from None
    if not by_absolute:
        raise UsageError("Give at least one media file, or a table of clips.")
    root = Path(os.path.commonpath([path.parent for path in by_absolute]))
    names = [path.name for path in by_absolute]
    text_of = {_absolute(file): text for file, text in (texts or {}).items()}
    clips = []
    for path in by_absolute:
        media = path.relative_to(root).as_posix()
        name = path.name if names.count(path.name) == 1 else media
        text = repair(text_of.get(path, "")).strip()
        clips.append(Clip(id=name, split=Split.TEST, media=media, text=text, language=language))
    return Corpus(name="files", root=root, task=task, clips=tuple(clips))


def of_table(
    table: str | Path,
    task: Task,
    language: str,
    encoding: str | None = None,
    *,
    media_root: str | None = None,
    follow_links: bool = False,
) -> Corpus:
    """The clips of a table as the corpus ``table`` reads it, of whose columns only id and media are needed.

    Labels and splits are passed over: what is predicted does not depend on them.

    Args:
        table: A CSV, TSV or Parquet file; media paths start from its folder.
        task: What is predicted.
        language: Of the texts, where the table has no column for it.
        encoding: Of the table; None to find it out.
        media_root: The folder that media paths start from instead; absolute paths below it may be read as well.
        follow_links: Whether symbolic links may be followed that lead out of that folder.

    Raises:
        UsageError: It cannot be read, or rows of it; all that is wrong is told.
    """
    path = place(str(table))
    path = path.expanduser() if is_local(path) else path
    if not path.is_file():
        raise UsageError(f"There is no table {table}.")
    root = open_root(path.parent)
    read = read_table(root, path.name, encoding)
    refuse_unread(read, _READ)
    missing = [name for name in _NEEDED if name not in read.columns]
    if missing:
        near = did_you_mean(missing[0], read.columns)
        raise UsageError(
            f"The table {table} has no column {missing[0]}{near}. It needs id and media, and may have text, "
            f"{', '.join(OPTIONAL)}; it has {', '.join(read.columns)}."
        )
    complaints = Complaints(read.path)
    written = ["" if is_missing(name) else name for name in read.columns["media"]]
    media = find_media(root, root, read, written, complaints, media_root=media_root, follow_links=follow_links)
    blank = [""] * len(read.rows)
    columns = {name: read.columns[name] for name in _READ if name in read.columns}
    columns = {"text": blank, **columns, "split": [Split.TEST.value] * len(read.rows), "label": blank}
    cells = Cells(read.rows, columns, media.paths, {}, language, read.delimiter, read.path, media.reasons)
    clips, defects = make_clips(cells, task, complaints)
    complaints.settle()
    defects += [lost_row(row, "another number of cells is in it, which", read.path) for row in read.lost]
    aside = [name for name in ("label", "split") if name in read.columns]
    notes = [f"Table {read.path}: the column {name} is not read." for name in aside]
    return Corpus(
        name="table",
        root=root,
        task=task,
        clips=tuple(clips),
        defects=(*defects, *media.defects),
        sources=(read.path,),
        notes=(*read.notes, *notes, *media.notes, *told_missing(columns), *foreign_texts(clips)),
        media_root=media.folder,
    )


def texts_of_table(table: Path, files: Sequence[str | Path], encoding: str | None = None) -> dict[Path, str]:
    """What is said in files, from a table with a column that names them and one of texts.

    Args:
        table: Its first column among clip, id, file and media names a file by its path, its name, or its name without
            the ending; its column text, or transcript, tells what is said.
        files: The media files.
        encoding: Of the table; None to find it out.

    Raises:
        UsageError: It cannot be read, lacks a column, or has a text for none of the files.
    """
    if not table.is_file():
        raise UsageError(f"There is no table of texts {table}.")
    refuse_others(str(table))
    if table.suffix.lower() not in TABLES:
        raise UsageError(f"--texts {table} must be one of {', '.join(TABLES)}.")
    read = read_table(table.parent.resolve(), table.name, encoding)
    refuse_unread(read, (*_NAMES_OF_FILES, *_NAMES_OF_TEXTS))
    chosen = [
        next((name for name in names if name in read.columns), None) for names in (_NAMES_OF_FILES, _NAMES_OF_TEXTS)
    ]
    if chosen[0] is None or chosen[1] is None:
        raise UsageError(
            f"The table of texts {table} needs a column of {', '.join(_NAMES_OF_FILES)} and one of "
            f"{', '.join(_NAMES_OF_TEXTS)}; it has {', '.join(read.columns)}."
        )
    by_name: dict[str, str] = {}
    twice = []
    for name, text in zip(read.columns[chosen[0]], map(said, read.columns[chosen[1]]), strict=True):
        if by_name.setdefault(name.strip(), text) != text:
            twice.append(name)
    if twice:
        raise UsageError(f"The table of texts {table} has several texts for {enumerate_some(twice, 3)}.")
    texts = ByName(by_name)
    matched = {}
    for file in map(Path, files):
        key = next((name for name in (str(file), file.as_posix(), file.name, file.stem) if name in texts), None)
        if key is not None:
            matched[file] = texts[key]
    if not matched:
        raise UsageError(
            f"The table of texts {table} has no row for any of the files: its column {chosen[0]} has "
            f"{enumerate_some(by_name, 3)}."
        )
    return matched


def texts_beside(files: Sequence[str | Path]) -> dict[Path, str]:
    """What is said in files, from text files beside them: of ``talk.mp4`` the whole of ``talk.txt``.

    Raises:
        UsageError: None of the files has one, or one cannot be read.
    """
    matched = {}
    for file in map(Path, files):
        beside = file.with_suffix(".txt")
        if beside.is_file():
            try:
                if beside.stat().st_size > _LONGEST_TEXT:
                    raise UsageError(f"The transcript {beside} is larger than {_LONGEST_TEXT:,} bytes.")
                matched[file] = " ".join(beside.read_text(encoding="utf-8-sig").split())
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"The transcript {beside} cannot be read as UTF-8: {error}.") from error
    if not matched:
        raise UsageError("--transcripts: there is no text file beside any of the files, as talk.txt beside talk.mp4.")
    return matched


def with_text(corpus: Corpus, text: str) -> Corpus:
    """The same with one text for all clips."""
    return replace(corpus, clips=tuple(replace(clip, text=repair(text).strip()) for clip in corpus.clips))


def _absolute(path: Path) -> Path:
    """A file's place without links in its folders; the file itself may be a link."""
    whole = path.expanduser()
    return whole.parent.resolve() / whole.name
