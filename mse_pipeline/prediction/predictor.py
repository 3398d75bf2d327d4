"""Predictor: a run and its model, ready to predict new media, and the clips of new media.

New media are files that the user gives, or the rows of a table. They become clips first, like those of a corpus.
"""

from __future__ import annotations

import os
import posixpath
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from mse_pipeline import adapter, store
from mse_pipeline.adapter import Model
from mse_pipeline.backbones.backbone import Backbone
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
from mse_pipeline.extraction.people import guessed
from mse_pipeline.extraction.run import ExtractionOptions, ExtractionProgress, extract_corpus, without_media
from mse_pipeline.names import ByName
from mse_pipeline.places import is_local, place
from mse_pipeline.prediction.remaking import DATASET, load_backbone, recipes
from mse_pipeline.prediction.result import ABSENT, ClipPrediction, Remark, check_outside, meaning, spread
from mse_pipeline.recipe import Recipe
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.journal import JournalRow
from mse_pipeline.task import Task
from mse_pipeline.training.job import restore
from mse_pipeline.training.loop import predict_split
from mse_pipeline.training.scoring import Decoding, check_decoding
from mse_pipeline.training.stored import StoredTraining, open_stored


class Predictor:
    """Predicts new media with a trained adapter; their features are made as those of the run were.

    `open` makes one. Nothing is written but the features, to a temporary folder or where `predict` is told.

    Attributes:
        stored: What the run's folder says.
        recipes: By which features are made.
        backbone: The frozen model.

    Examples:
        One opening serves many files::

            from mse_pipeline.prediction import Predictor

            predictor = Predictor.open("runs/meld-qwen-adapter-1a2b3c4d", device="cuda")
            for clip in predictor.predict(["talk.mp4", "call.wav"], texts={"talk.mp4": "I told you so."}):
                print(clip.clip, clip.prediction, clip.confidence, [remark.code for remark in clip.remarks])
    """

    def __init__(self, stored: StoredTraining, recipes: Sequence[Recipe], backbone: Backbone, trained: Model) -> None:
        self.stored = stored
        self.recipes = tuple(recipes)
        self.backbone = backbone
        self.decoding: Decoding = stored.about.training.decoding
        self._adapter = trained

    @classmethod
    def open(
        cls,
        run: str | Path,
        *,
        seed: int | None = None,
        backbone: str | None = None,
        models: Mapping[str, str] | None = None,
        decoding: Decoding | None = None,
        device: str = "cpu",
    ) -> Predictor:
        """Open a run for predicting.

        Args:
            run: A run folder, a seed's folder in it, or an adapter's folder.
            seed: Which training of the run; None for the best by its validation split.
            backbone: Where the backbone is, if not where the run says.
            models: By stream, where its extractor's model is, if not where the run says.
            decoding: How a prediction is made of the probabilities; None for the run's own way.
            device: Where backbone and adapter compute, and the extractors.

        Raises:
            UsageError: It is no run, features as it was trained on cannot be made here, or its backbone is missing.
            MseError: Something of it is damaged.
        """
        stored = open_stored(run, seed)
        if decoding is not None:
            check_decoding(stored.task, decoding)
        settled = recipes(stored, models)
        loaded = load_backbone(stored, backbone, device)
        trained, _ = adapter.load(stored.folder)
        opened = cls(stored, settled, loaded, trained.to(loaded.device))
        opened.decoding = decoding or opened.decoding
        return opened

    @property
    def task(self) -> Task:
        """What is predicted."""
        return self.stored.task

    @property
    def reads_text_alone(self) -> bool:
        """Whether the run was trained without any features."""
        return not self.stored.streams

    @property
    def reads_text(self) -> bool:
        """Whether the run was trained with what is said."""
        return bool(getattr(self.stored.config, "text", True))

    @property
    def hears_texts(self) -> bool:
        """Whether the run was trained on transcripts, which are then made of clips without a text."""
        return self.stored.about.text is not None

    def predict(
        self,
        files: Sequence[str | Path],
        *,
        texts: Mapping[str | Path, str] | None = None,
        keep: str | Path | None = None,
        workers: int | None = None,
        progress: ExtractionProgress | None = None,
    ) -> list[ClipPrediction]:
        """Predict media files, or the clips of one table.

        Args:
            files: Media files; or one table of clips (CSV, TSV, Parquet) with the columns id and media, and perhaps
                start, end, text, language, speaker, dialogue and turn.
            texts: What is said in them, by file.
            keep: Folder in which the features are kept as a dataset of a cache; None to drop them.
            workers: Processes that extract; None for one per core.
            progress: Told how far the extraction is.

        Returns:
            One a clip, in their order. What a clip lacks is told in its remarks; one that cannot be read has no
            prediction.

        Raises:
            UsageError: A file is not there, a table cannot be read, or there is nothing that the run reads.
        """
        corpus = self.gather(files, texts)
        return self.predict_corpus(corpus, files=files, keep=keep, workers=workers, progress=progress)

    def gather(
        self,
        files: Sequence[str | Path],
        texts: Mapping[str | Path, str] | None = None,
        *,
        encoding: str | None = None,
        media_root: str | None = None,
        follow_links: bool = False,
    ) -> Corpus:
        """The clips that files or a table hold; see `predict`.

        Args:
            files: Media files; or one table of clips.
            texts: What is said in them, by file.
            encoding: Of a table; None to find it out.
            media_root: The folder that a table's media paths start from, if not the table's.
            follow_links: Whether symbolic links may be followed that lead out of that folder.

        Raises:
            UsageError: A file is not there, or a table cannot be read.
        """
        language = self.stored.about.prompt.language
        tables = [file for file in files if Path(str(file)).suffix.lower() in TABLES]
        if not tables and media_root is not None:
            raise UsageError(
                "--media-root is the folder that the paths of a table start from; leave it out for media files."
            )
        if not tables:
            spoken = {Path(file): text for file, text in (texts or {}).items()}
            return of_files(files, self.task, language, spoken)
        if len(files) > 1:
            raise UsageError(f"{tables[0]} is a table of clips: give one table, or media files, not both.")
        if texts:
            raise UsageError(
                f"{tables[0]} is a table of clips; texts are read from its column text. Leave out the other texts."
            )
        return of_table(tables[0], self.task, language, encoding, media_root=media_root, follow_links=follow_links)

    def predict_corpus(
        self,
        corpus: Corpus,
        *,
        files: Sequence[str | Path] = (),
        keep: str | Path | None = None,
        workers: int | None = None,
        progress: ExtractionProgress | None = None,
    ) -> list[ClipPrediction]:
        """Predict clips that were read before, as `gather` does.

        Args:
            corpus: From `gather`.
            files: What that was given: predictions name media files as they are named here.
            keep: As of `predict`.
            workers: As of `predict`.
            progress: As of `predict`.

        Raises:
            UsageError: There is nothing that the run reads.
        """
        if self.reads_text_alone and not self.hears_texts and not any(clip.text for clip in corpus.clips):
            raise UsageError(f"The run {self.stored.path} reads text alone, but no clip has one. Give the texts.")
        # Of given texts alone nothing is to be heard.
        recipes = () if self.reads_text_alone and all(clip.text for clip in corpus.clips) else self.recipes
        if recipes and all(clip.media is None for clip in corpus.clips):
            raise UsageError(without_media(corpus))
        with self._cache(keep) as cache:
            for recipe in recipes:
                extract_corpus(
                    recipe,
                    corpus,
                    cache,
                    ExtractionOptions(workers=workers, device=str(self.backbone.device)),
                    progress,
                )
            dataset = cache[DATASET] if recipes else None
            clips = corpus.clips if dataset is None or not self.hears_texts else dataset.clips
            return _as_given(self._read(clips, dataset), corpus, files)

    @contextmanager
    def _cache(self, keep: str | Path | None) -> Iterator[store.Cache]:
        if keep is not None:
            check_outside(Path(keep), self.stored, "--keep")
            yield store.open(keep)
            return
        with tempfile.TemporaryDirectory(prefix="mse-predict-") as folder:
            yield store.open(folder)

    def _read(self, clips: Sequence[Clip], dataset: Dataset | None) -> list[ClipPrediction]:
        streams = {} if dataset is None else {m: dataset[stream.name] for m, stream in self.stored.streams.items()}
        job = restore(self.stored, self.backbone, clips, streams, self.decoding)
        rows = self._rows(dataset)
        remarks = {clip.id: [*self._of_text(clip), *_of_rows(rows.get(clip.id, []))] for clip in clips}
        for stream in self.stored.streams.values():
            for clip_id in () if dataset is None else guessed(dataset, stream.name):
                remarks[clip_id].append(Remark("largest_face", _LARGEST_FACE, stream.name))
        lost = {clip.id for clip in clips if self._is_lost(clip, rows.get(clip.id, []))}
        chosen = [example for example in job.examples[Split.TEST] if example.clip not in lost]
        job = replace(job, examples={**job.examples, Split.TEST: chosen})
        predicted = predict_split(job, self._adapter, Split.TEST)
        values = dict(zip((example.clip for example in predicted.examples), predicted.values, strict=True))
        shares = dict(zip(values, predicted.probabilities, strict=True))
        return [
            ClipPrediction(
                clip=clip.id,
                media=clip.media,
                prediction=meaning(self.task, values[clip.id]) if clip.id in values else None,
                probabilities=spread(self.task, shares[clip.id]) if clip.id in values else {},
                remarks=tuple(remarks[clip.id]),
            )
            for clip in clips
        ]

    def _rows(self, dataset: Dataset | None) -> dict[str, list[JournalRow]]:
        """The journal's rows of each clip's streams, also of the words that they are aligned to."""
        rows: dict[str, list[JournalRow]] = {}
        about = self.stored.about
        beside = {one.name: one for one in (about.words, about.text and about.text.stream) if one}
        for stream in (*self.stored.streams.values(), *beside.values()):
            for row in [] if dataset is None else dataset.rows(stream.name):
                rows.setdefault(row.clip, []).append(row)
        return rows

    def _is_lost(self, clip: Clip, rows: Sequence[JournalRow]) -> bool:
        """Whether a clip cannot be predicted: it was not read, or it has nothing that the model reads."""
        if any(row.status == "failed" and row.code not in ABSENT for row in rows):
            return True
        names = {stream.name for stream in self.stored.streams.values()}
        return not (clip.text and self.reads_text) and not any(
            row.status == "done" for row in rows if row.stream in names
        )

    def _of_text(self, clip: Clip) -> list[Remark]:
        if clip.text_from is not None and clip.text and self.reads_text:
            return [Remark("transcribed", clip.text, clip.text_from)]
        if clip.text or not self.reads_text:
            return []
        return [Remark("no_text", "The clip has no text, but the model was trained to read it.")]


_LARGEST_FACE = (
    "It shows several people, and who speaks is not known: the largest is followed, while the model was trained on the "
    "speakers' faces. Give the speakers of enough clips in a table with the column speaker."
)


def _of_rows(rows: Sequence[JournalRow]) -> list[Remark]:
    return [Remark(row.code, row.message or "", row.stream) for row in rows if row.code is not None]


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
        if by_name.setdefault(_plain_path(name.strip()), text) != text:
            twice.append(name)
    if twice:
        raise UsageError(f"The table of texts {table} has several texts for {enumerate_some(twice, 3)}.")
    texts = ByName(by_name)
    matched, taken = {}, dict[str, Path]()
    for file in map(Path, files):
        key = next((name for name in _names(file, table.parent) if name in texts), None)
        if key is None:
            continue
        other = taken.setdefault(key, file)
        if _absolute(other) != _absolute(file):
            raise UsageError(
                f"The row {key} of the table of texts {table} fits {other} and {file}: write their paths into it."
            )
        matched[file] = texts[key]
    if not matched:
        raise UsageError(
            f"The table of texts {table} has no row for any of the files: its column {chosen[0]} has "
            f"{enumerate_some(by_name, 3)}."
        )
    return matched


def _plain_path(written: str) -> str:
    """A path as it may be written on any system, in one form."""
    return posixpath.normpath(written.replace("\\", "/")) if written else ""


def _names(file: Path, folder: Path) -> Iterator[str]:
    """What a table in a folder may call a file: by its path as given, in full or from the folder, or by its name."""
    full = _absolute(file)
    yield _plain_path(str(file))
    yield _plain_path(str(full))
    with suppress(ValueError):
        yield full.relative_to(_absolute(folder)).as_posix()
    yield from (file.name, file.stem)


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


def _as_given(
    predictions: Sequence[ClipPrediction], corpus: Corpus, files: Sequence[str | Path]
) -> list[ClipPrediction]:
    """Predictions whose media are named as the user named them, folder and all; those of a table as it names them."""
    given = {str(_absolute(Path(file))): str(file) for file in files}

    def name(media: str | None) -> str | None:
        return None if media is None else given.get(os.path.abspath(os.path.join(str(corpus.root), media)), media)

    return [replace(one, media=name(one.media)) for one in predictions]


def _absolute(path: Path) -> Path:
    """A file's place without links in its folders; the file itself may be a link."""
    whole = path.expanduser()
    return whole.parent.resolve() / whole.name
