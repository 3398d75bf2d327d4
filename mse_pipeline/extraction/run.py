"""extract: a recipe and a root folder become features in the cache."""

from __future__ import annotations

import functools
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import filelock

from mse_pipeline import corpora
from mse_pipeline.alignment.apply import aligner
from mse_pipeline.clip import DEFECT_CODES, Clip, Defect
from mse_pipeline.corpora.base import Corpus
from mse_pipeline.corpora.faces import read_people, with_faces
from mse_pipeline.corpora.overview import overview
from mse_pipeline.errors import MseError, UsageError, did_you_mean
from mse_pipeline.extraction.engine import Where, dispatch, started_ahead
from mse_pipeline.extraction.people import choose_people
from mse_pipeline.extraction.plan import Share, StreamSpec, Task, Todo, missing, share_of, spread
from mse_pipeline.extraction.summary import Summary, count_splits, count_stream
from mse_pipeline.extraction.transcripts import passes, with_transcripts
from mse_pipeline.extractors.registry import create
from mse_pipeline.extractors.trial import require_fit
from mse_pipeline.extractors.visual.onnx import contents
from mse_pipeline.media.fetching import remove_abandoned
from mse_pipeline.places import is_local
from mse_pipeline.progress import Silent
from mse_pipeline.recipe import Recipe
from mse_pipeline.store.cache import Cache
from mse_pipeline.store.checksum import DamagedError, seal
from mse_pipeline.store.commit import begin_run, run_lock
from mse_pipeline.store.condition import read_condition
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.store.keys import stream_id
from mse_pipeline.store.manifest import StreamEntry
from mse_pipeline.store.packing import pack_stream
from mse_pipeline.store.storage import write_text
from mse_pipeline.store.where import kinds_of, select

_DEPENDS = ("reads_media", "reads_text", "reads_span", "follows_face")


@dataclass(frozen=True)
class ExtractionOptions:
    """How an extraction runs; no option changes a value.

    Attributes:
        workers: Processes that compute on one core each; None for one per core, or all that the engine's scheduler has.
        engine: What runs them: ``local``, ``dask`` or ``ray``.
        address: Of the engine's scheduler; None for one on this machine.
        share: Only this share of the clips, as in (1, 8); None for all. Shares may run at the same time anywhere.
        clip_timeout: Seconds after which a clip is stopped and marked as failed.
        device: Where models run.
        limit: At most so many clips, spread over the splits.
        streams: Only these of the recipe's streams; empty for all.
        condition: Only the clips that meet it, see `mse_pipeline.store.where`; None for all.
        retry_failed: Try clips again that failed before.
        strict: Stop before the extraction if the clips differ from the official counts.
        origin: Where the recipe came from, and the settings that the command changed; kept in the dataset's source.
    """

    workers: int | None = None
    engine: str = "local"
    address: str | None = None
    share: Share | None = None
    clip_timeout: float = 600.0
    device: str = "cpu"
    limit: int | None = None
    streams: tuple[str, ...] = ()
    condition: str | None = None
    retry_failed: bool = False
    strict: bool = False
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> Where:
        """Where tasks run."""
        return Where(self.engine, self.address, self.workers)


class ExtractionProgress(Protocol):
    """Receives the progress of a run."""

    def stage(self, text: str) -> None:
        """A new stage begins."""

    def begin(self, total: int) -> None:
        """`total` clips will be processed."""

    def pace(self, clips: int, seconds: float, left: float) -> None:
        """`clips` more were worked on, of about `seconds` of media; such of `left` seconds are still to be worked on.

        Clips without a file, and those whose file turned out to be the one that is in the cache, cost no time.
        """

    def advance(self, clips: int, failed: int) -> None:
        """`clips` more clips are done; `failed` of them lack a stream."""


def extract(
    recipe: Recipe,
    root: str | Path,
    cache: Cache,
    options: ExtractionOptions = ExtractionOptions(),
    progress: ExtractionProgress | None = None,
) -> Summary:
    """Extract the streams of a recipe that the cache lacks, and pack them for training.

    A run that is interrupted leaves a cache that the next run completes.

    Args:
        recipe: Which corpus, streams and alignment.
        root: The corpus's folder, local or any URL that fsspec knows.
        cache: Where features land, under the recipe's name.
        options: How it runs.
        progress: Told how far the run is.

    Raises:
        UsageError: The root or the request is unusable.
        MseError: Another extraction of this dataset is running, or `strict` found a difference.
    """
    progress = progress or Silent()
    progress.stage("reading the corpus")
    corpus = corpora.read(recipe.corpus.name, root, recipe.corpus.options, recipe.task)
    return extract_corpus(recipe, with_faces(corpus, recipe.media.faces), cache, options, progress)


def extract_corpus(
    recipe: Recipe,
    corpus: Corpus,
    cache: Cache,
    options: ExtractionOptions = ExtractionOptions(),
    progress: ExtractionProgress | None = None,
) -> Summary:
    """The same for clips that are at hand, as files that someone names.

    Args:
        recipe: Which streams and alignment; its corpus is not read.
        corpus: The clips, and the folder that their media paths start from.
        cache: Where features land, under the recipe's name.
        options: How it runs.
        progress: Told how far the run is.

    Raises:
        UsageError: No clip has a media file, or the request is unusable.
        MseError: Another extraction of this dataset is running, or `strict` found a difference.
    """
    begun = time.monotonic()
    progress = progress or Silent()
    heard = recipe.transcripts
    only = options.streams if heard is None or not options.streams else (heard, *options.streams)
    specs = stream_specs(recipe, only, corpus.root)
    _refuse(corpus, specs, options)
    if options.condition is not None:
        read_condition(
            options.condition, kinds_of(corpus.clips), DEFECT_CODES
        )  # what is written wrongly is told before all else
    refuse_unfit(specs, progress)
    people_by_hand = read_people(corpus, recipe.media.people)
    faces: tuple[str, ...] = ()
    share = None if options.share is None else "{}/{}".format(*options.share)
    try:
        with run_lock(cache.path / recipe.name, share):
            dataset = _register(cache, recipe, corpus, specs, options.origin)
            selection = None if options.condition is None else select(dataset, options.condition)
            run = uuid.uuid4().hex[:8]
            begin_run(dataset, run, share)
            chosen = [clip for clip in corpus.clips if selection is None or clip.id in selection.kept]
            limited = spread(chosen, options.limit)
            clips = share_of(limited, options.share)
            progress.stage("planning")
            plan = functools.partial(missing, dataset, root=corpus.media_folder, max_seconds=recipe.media.max_seconds)
            said = functools.partial(_said, recipe, dataset, specs)
            made: set[tuple[str, str]] = set()
            processed: set[str] = set()
            worked: set[str] = set()
            # One task for all passes, so that processes with the models loaded stay.
            task = task_of(run, dataset, corpus, specs, max_seconds=recipe.media.max_seconds, options=options)
            for part in passes(specs, heard):
                # Where nothing was extracted yet, all clips lack something.
                ahead = 0 if dataset.journal.parts() else len(clips)
                if ahead:
                    export_networks(specs, options, progress)
                with started_ahead(ahead, task, options.where):
                    todo = plan(said(clips), part, retry_failed=options.retry_failed)
                if todo:
                    export_networks(specs, options, progress)
                done = work(todo, task, options.where, progress)
                made |= done.made
                worked |= done.worked_on
                processed |= {one.clip.id for one in todo}
            dataset.set_clips(said(corpus.clips))
            # The share that ends last finds nothing missing, and packs for all.
            if options.share is None or not plan(said(limited), specs, retry_failed=False):
                faces = choose_people(
                    dataset, people_by_hand, lambda stream: progress.stage(f"choosing faces of {stream}")
                )
                pack(dataset, lambda stream: progress.stage(f"packing {stream}"))
    except filelock.Timeout as error:
        raise MseError(
            f"Another extraction of {recipe.name} is running on {cache.path / recipe.name}. "
            "Wait for its end, or use another --cache."
        ) from error
    wanted = {clip.id for clip in clips}
    rows = {spec.stream: dataset.rows(spec.stream) for spec in specs}
    failures = tuple(row for stream_rows in rows.values() for row in stream_rows if row.status == "failed")
    return Summary(
        dataset=recipe.name,
        path=dataset.path,
        found=count_splits(corpus.clips),
        expected={str(split): count for split, count in corpus.expected.items()},
        asked=len(wanted),
        processed=len(processed),
        worked_on=len(worked),
        streams={stream: count_stream(stream_rows, made) for stream, stream_rows in rows.items()},
        failed_clips=len({row.clip for row in failures} & wanted),
        remarks=dict(
            Counter(
                row.code for stream_rows in rows.values() for row in stream_rows if row.status == "done" and row.code
            )
        ),
        instead=tuple(dict.fromkeys([*(sentence for spec in specs for sentence in spec.instead), *faces])),
        defects=dict(Counter(defect.code for defect in corpus.defects).most_common()),
        understood=overview(dataset.clips, corpus.task),
        notes=corpus.notes,
        failures=failures,
        seconds=time.monotonic() - begun,
        selection=selection,
    )


def stream_specs(recipe: Recipe, only: Sequence[str] = (), root: Path | None = None) -> tuple[StreamSpec, ...]:
    """The recipe's configured extractors as plain values.

    Args:
        recipe: The recipe.
        only: Some of its streams; empty for all.
        root: The folder of the corpus's raw files, whose files some streams depend on besides the media.

    Raises:
        UsageError: `only` names a stream that the recipe does not have, or an extractor refuses its options.
    """
    strangers = [stream for stream in only if stream not in recipe.streams]
    if strangers:
        raise UsageError(
            f"The recipe {recipe.name} has no stream {strangers[0]!r}{did_you_mean(strangers[0], recipe.streams)}; it "
            f"has {', '.join(recipe.streams)}."
        )
    specs = []
    for stream, settings in recipe.streams.items():
        if not only or stream in only:
            extractor = create(stream, settings)
            identity = extractor.identity()
            if identity["stream"] != stream:
                # Two streams of one dataset may be alike in all but their names, and each has its own shards.
                identity = {**identity, "named": stream}
            files = None if root is None else extractor.files_digest(root)
            if files is not None:
                identity = {**identity, "files": files}
            reads = {name: getattr(extractor, name) for name in _DEPENDS}
            options = {**settings, **extractor.settled()}
            specs.append(StreamSpec(stream, options, stream_id(identity), identity, extractor.instead(), **reads))
    return tuple(specs)


def refuse_unfit(specs: Sequence[StreamSpec], progress: ExtractionProgress) -> None:
    """Try the models that the user chose on made inputs, before any clip.

    Raises:
        MseError: A model is missing, broken, or does not fit its extractor.
    """
    chosen = [extractor for spec in specs if (extractor := create(spec.stream, spec.options)).tried]
    if chosen:
        progress.stage("trying models")
    for extractor in chosen:
        require_fit(extractor)


def export_networks(specs: Sequence[StreamSpec], options: ExtractionOptions, progress: ExtractionProgress) -> None:
    """Export the networks that hosts of this machine run without torch, before any host waits for them.

    Raises:
        MseError: A network cannot be made, as of weights that are not its own.
    """
    if options.device != "cpu" or options.engine != "local":
        return
    lacking = {export for spec in specs for export in create(spec.stream, spec.options).exports() if not export.is_here}
    if lacking:
        progress.stage("exporting networks to ONNX, once on this machine")
        contents(sorted(lacking, key=lambda export: export.name))


@dataclass(frozen=True)
class DryRun:
    """What an extraction would do.

    Attributes:
        dataset: Name of the dataset.
        root: The folder of the raw files.
        clips: Clips that are asked for.
        lacking: How many of them lack each stream, by stream name.
        defects: Defects of the corpus, by code.
        instead: What is done instead of the best, where something is missing here, as sentences.
    """

    dataset: str
    root: str
    clips: int
    lacking: Mapping[str, int]
    defects: Mapping[str, int]
    instead: tuple[str, ...]


def dry_run(
    recipe: Recipe,
    root: str | Path,
    cache: Cache,
    options: ExtractionOptions = ExtractionOptions(),
    progress: ExtractionProgress | None = None,
) -> DryRun:
    """Plan an extraction and try its models, without extracting or writing anything.

    Args:
        recipe: Which corpus, streams and alignment.
        root: The corpus's folder, local or any URL that fsspec knows.
        cache: Where features would land.
        options: How it would run.
        progress: Told how far the plan is.

    Raises:
        UsageError: The root, the request or a model is unusable.
    """
    progress = progress or Silent()
    progress.stage("reading the corpus")
    corpus = with_faces(corpora.read(recipe.corpus.name, root, recipe.corpus.options, recipe.task), recipe.media.faces)
    specs = stream_specs(recipe, options.streams, corpus.root)
    _refuse(corpus, specs, options)
    refuse_unfit(specs, progress)
    progress.stage("planning")
    clips = share_of(spread(corpus.clips, options.limit), options.share)
    lacking = dict.fromkeys((spec.stream for spec in specs), len(clips))
    if recipe.name in cache:
        todo = missing(
            cache[recipe.name],
            clips,
            specs,
            root=corpus.media_folder,
            max_seconds=recipe.media.max_seconds,
            retry_failed=options.retry_failed,
        )
        lacking = {spec.stream: sum(spec.stream in one.streams for one in todo) for spec in specs}
    return DryRun(
        dataset=recipe.name,
        root=str(corpus.root),
        clips=len(clips),
        lacking=lacking,
        defects=dict(Counter(defect.code for defect in corpus.defects).most_common()),
        instead=tuple(dict.fromkeys(sentence for spec in specs for sentence in spec.instead)),
    )


def _refuse(corpus: Corpus, specs: Sequence[StreamSpec], options: ExtractionOptions) -> None:
    if not corpus.clips:
        raise UsageError(f"No clip was found below {corpus.root}.")
    # Without streams, or with those of the text alone, label files are enough: a backbone may be trained on texts.
    if any(spec.reads_media for spec in specs) and all(clip.media is None for clip in corpus.clips):
        raise UsageError(without_media(corpus))
    different = [defect.message for defect in corpus.defects if defect.code == "split_count_mismatch"]
    if options.strict and different:
        raise MseError("--strict: the clips differ from the official counts. " + " ".join(different))


def without_media(corpus: Corpus) -> str:
    """The error about a corpus without any media file: number of clips, the first reason, and what to do."""
    first = next((defect.message for defect in corpus.defects if defect.code == "missing_media"), "")
    mend = "Unpack the archive of the clips below this folder, or use another --root."
    if corpus.name == "table":
        mend = "Use --media-root for the folder that the table's paths start from."
    return (
        f"{len(corpus.clips):,} clips are described below {corpus.root}, but no media file of them was found"
        f"{f', as the first: {first}' if first else '.'}{'' if '--follow-links' in first else f' {mend}'}"
    )


def _register(
    cache: Cache, recipe: Recipe, corpus: Corpus, specs: Sequence[StreamSpec], origin: Mapping[str, Any]
) -> Dataset:
    source = {
        "corpus": recipe.corpus.name,
        "labels": [str(path) for path in corpus.sources],
        "expected": {str(split): count for split, count in corpus.expected.items()},
        "notes": list(corpus.notes),
        "media_root": str(corpus.media_folder.absolute() if is_local(corpus.media_folder) else corpus.media_folder),
        **_of_texts(recipe),
        **origin,
    }
    clips = corpus.clips
    _refuse_another_table(cache, recipe, corpus, str(source["media_root"]))
    if recipe.transcripts is not None and recipe.name in cache:  # texts that are known are not lost in the meantime
        clips = _said(recipe, cache[recipe.name], specs, clips)
    dataset = cache.create(recipe.name, clips, task=corpus.task, recipe=recipe.to_dict(), source=source)
    manifest = dataset.manifest
    for spec in specs:
        entry = StreamEntry(spec.version, spec.identity, _alignment(spec.stream, recipe))
        manifest = manifest.with_stream(spec.stream, entry)
    dataset.set_manifest(manifest)
    write_text(dataset.path / "defects.jsonl", "".join(map(_defect_line, corpus.defects)))
    return dataset


def _refuse_another_table(cache: Cache, recipe: Recipe, corpus: Corpus, media_root: str) -> None:
    """Refuse a table whose clips are not those of the dataset of its name: tables in two folders may share one.

    Args:
        cache: Where the dataset may be.
        recipe: Which has the name.
        corpus: The table's clips.
        media_root: The folder of their media.

    Raises:
        UsageError: The dataset is of other clips.
    """
    if recipe.corpus.name != "table" or recipe.name not in cache or not corpus.clips:
        return
    dataset = cache[recipe.name]
    known = {clip.id: clip for clip in dataset.clips}
    shared = [(known[clip.id], clip) for clip in corpus.clips if clip.id in known]
    if known and not shared:
        raise UsageError(
            f"The dataset {recipe.name} in {cache.path} has {len(known):,} other clips, as {min(known)}, of which this "
            f"table has none. {_OTHER_NAME}"
        )
    # A folder may have moved, and a table may be corrected; ids that count from 0 are in every table.
    before = dataset.manifest.source.get("media_root")
    same = any(one.media == other.media or (one.text and one.text == other.text) for one, other in shared)
    if shared and not same and before not in (None, media_root):
        raise UsageError(
            f"The dataset {recipe.name} in {cache.path} is of another table, with media in {before}: of "
            f"{len(shared):,} clips with the same id, as {shared[0][0].id}, none has the same file or text. "
            f"{_OTHER_NAME}"
        )


_OTHER_NAME = "Give it another name: --set name=NAME. Or remove the folder of that dataset first."


def _of_texts(recipe: Recipe) -> dict[str, Any]:
    """Where texts that the corpus lacks are from; nothing where it has them."""
    stream = recipe.transcripts
    if stream is None:
        return {}
    model = str(create(stream, recipe.streams[stream]).config.model).rstrip("/").rsplit("/", 1)[-1]
    return {"text": {"source": recipe.corpus.text, "stream": stream, "model": model}}


def _said(recipe: Recipe, dataset: Dataset, specs: Sequence[StreamSpec], clips: Sequence[Clip]) -> tuple[Clip, ...]:
    """Clips with the texts that the recipe asks for, as far as they are known."""
    spec = next((spec for spec in specs if spec.stream == recipe.transcripts), None)
    return tuple(clips) if spec is None else with_transcripts(clips, dataset, spec, every=recipe.corpus.text != "asr")


def _alignment(stream: str, recipe: Recipe) -> dict[str, Any]:
    """The clock of a stream's pack: the recipe's, but for texts, whose tokens have no times to be pooled by."""
    alignment = recipe.alignment.model_dump()
    timeless = stream.startswith("text.") and alignment["kind"] != "words"
    return {"kind": "none"} if timeless else alignment


def _defect_line(defect: Defect) -> str:
    return seal({k: v for k, v in asdict(defect).items() if v is not None}) + "\n"


def task_of(
    run: str,
    dataset: Dataset,
    corpus: Corpus,
    specs: Sequence[StreamSpec],
    *,
    max_seconds: float | None,
    options: ExtractionOptions,
) -> Task:
    """What all clips of a run have in common."""
    return Task(
        run=run,
        dataset=dataset.path.resolve(),
        root=corpus.root,
        specs=tuple(specs),
        max_seconds=max_seconds,
        device=options.device,
        clip_timeout=options.clip_timeout,
        media_root=corpus.media_root,
    )


@dataclass(frozen=True)
class Done:
    """What became of a run's clips.

    Attributes:
        made: Clip and stream of what was made.
        worked_on: The clips whose media was read.
    """

    made: set[tuple[str, str]] = field(default_factory=set)
    worked_on: set[str] = field(default_factory=set)


def work(todo: Sequence[Todo], task: Task, where: Where, progress: ExtractionProgress) -> Done:
    """Have clips processed by a run that has begun."""
    costs = {one.clip.id: one.cost for one in todo}
    left = sum(costs.values())
    progress.begin(len(todo))
    progress.pace(0, 0.0, left)
    done = Done()
    try:
        for outcomes in dispatch(todo, task, where):
            left = max(0.0, left - sum(costs[outcome.clip] for outcome in outcomes))
            worked = {outcome.clip: costs[outcome.clip] for outcome in outcomes if outcome.worked_on}
            progress.pace(len(worked), sum(worked.values()), left)
            done.worked_on.update(worked)
            rows = [row for outcome in outcomes for row in outcome.rows]
            done.made.update((row.clip, row.stream) for row in rows if row.status == "done")
            progress.advance(len(outcomes), len({row.clip for row in rows if row.status == "failed"}))
    finally:
        remove_abandoned()
    return done


def pack(
    dataset: Dataset, on_stream: Callable[[str], None] = lambda stream: None, *, anew: Collection[str] = ()
) -> list[str]:
    """Write the packs that are missing or out of date; returns the streams that were packed.

    A stream whose words are not extracted yet is packed by a later run.

    Args:
        dataset: The dataset in the cache.
        on_stream: Called with each stream before it is packed.
        anew: Streams with damaged packs, which are written in any case.

    Raises:
        DamagedError: What is to be packed of a stream is damaged; the other streams are packed.
    """
    packed: list[str] = []
    problem: DamagedError | None = None
    for stream, entry in dataset.manifest.streams.items():
        words = entry.alignment.get("stream")
        if words is not None and words not in dataset.manifest.streams:
            continue
        on_stream(stream)
        words_of = None if words is None else WordRows(dataset, words)
        align = aligner(entry.alignment, words_of, of_words=words == stream)
        try:
            packed += [stream] if pack_stream(dataset, stream, align, anew=stream in anew) else []
        except DamagedError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return packed


class WordRows:
    """The rows of a word stream by clip id, read once from end to end when asked in the corpus's order.

    Args:
        dataset: The dataset in the cache.
        stream: Name of the word stream.
    """

    def __init__(self, dataset: Dataset, stream: str) -> None:
        self._native = dataset.native(stream)
        self._order = {clip: number for number, clip in enumerate(self._native)}
        self._coming = self._native.in_order()
        self._next = 0

    def __call__(self, clip: str) -> Features | None:
        """A clip's rows; None where it has none."""
        number = self._order.get(clip)
        if number is None:
            return None
        if number < self._next:
            return self._native[clip]
        for name, features in self._coming:
            self._next += 1
            if name == clip:
                return features
        return None
