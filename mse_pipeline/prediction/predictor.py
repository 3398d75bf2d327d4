"""Predictor: a run, and the model that it was trained on, ready to predict new media."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mse_pipeline import adapter, store
from mse_pipeline.adapter import TrainedModel
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.clip import Clip, Split
from mse_pipeline.corpora.base import Corpus
from mse_pipeline.errors import UsageError
from mse_pipeline.extraction.run import ExtractionOptions, ExtractionProgress, extract_corpus, without_media
from mse_pipeline.prediction import clips as new
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

    def __init__(
        self, stored: StoredTraining, recipes: Sequence[Recipe], backbone: Backbone, trained: TrainedModel
    ) -> None:
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
        return self.predict_corpus(corpus, keep=keep, workers=workers, progress=progress)

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
        tables = [file for file in files if Path(str(file)).suffix.lower() in new.TABLES]
        if not tables and media_root is not None:
            raise UsageError(
                "--media-root is the folder that the paths of a table start from; leave it out for media files."
            )
        if not tables:
            spoken = {Path(file): text for file, text in (texts or {}).items()}
            return new.of_files(files, self.task, language, spoken)
        if len(files) > 1:
            raise UsageError(f"{tables[0]} is a table of clips: give one table, or media files, not both.")
        if texts:
            raise UsageError(
                f"{tables[0]} is a table of clips; texts are read from its column text. Leave out the other texts."
            )
        return new.of_table(tables[0], self.task, language, encoding, media_root=media_root, follow_links=follow_links)

    def predict_corpus(
        self,
        corpus: Corpus,
        *,
        keep: str | Path | None = None,
        workers: int | None = None,
        progress: ExtractionProgress | None = None,
    ) -> list[ClipPrediction]:
        """Predict clips that were read before, as `gather` does.

        Raises:
            UsageError: There is nothing that the run reads.
        """
        if self.reads_text_alone and not any(clip.text for clip in corpus.clips):
            raise UsageError(f"The run {self.stored.path} reads text alone, but no clip has one. Give the texts.")
        if self.stored.streams and all(clip.media is None for clip in corpus.clips):
            raise UsageError(without_media(corpus))
        with self._cache(keep) as cache:
            for recipe in self.recipes:
                extract_corpus(
                    recipe,
                    corpus,
                    cache,
                    ExtractionOptions(workers=workers, device=str(self.backbone.device)),
                    progress,
                )
            dataset = cache[DATASET] if self.recipes else None
            return self._read(corpus.clips, dataset)

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
        words = self.stored.about.words
        for stream in (*self.stored.streams.values(), *([words] if words else [])):
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
        if clip.text or not self.reads_text:
            return []
        return [Remark("no_text", "The clip has no text, but the model was trained to read it.")]


def _of_rows(rows: Sequence[JournalRow]) -> list[Remark]:
    return [Remark(row.code, row.message or "", row.stream) for row in rows if row.code is not None]
