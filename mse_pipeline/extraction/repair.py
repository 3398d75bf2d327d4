"""Repair: restore a damaged dataset; only features that are lost are extracted again."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mse_pipeline import corpora
from mse_pipeline.clip import Clip
from mse_pipeline.corpora.base import Corpus
from mse_pipeline.corpora.faces import with_faces
from mse_pipeline.errors import MseError
from mse_pipeline.extraction.plan import Todo
from mse_pipeline.extraction.run import (
    ExtractionOptions,
    ExtractionProgress,
    pack,
    refuse_unfit,
    stream_specs,
    task_of,
    work,
)
from mse_pipeline.extraction.transcripts import with_transcripts
from mse_pipeline.progress import Silent
from mse_pipeline.recipe import Recipe
from mse_pipeline.store.checksum import DamagedError
from mse_pipeline.store.commit import begin_run, run_lock
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.integrity import Damage, Verified, by_shard, mend_texts, save_clips, verify
from mse_pipeline.store.journal import JournalRow
from mse_pipeline.store.manifest import write_clips
from mse_pipeline.store.packing import state_path
from mse_pipeline.store.storage import remove


@dataclass(frozen=True)
class Repaired:
    """What a repair did.

    Attributes:
        before: What was damaged.
        after: What still is.
        extracted: Clips and streams that were extracted again.
        notes: Sentences about what could not be repaired, and what to do about it.
    """

    before: Verified
    after: Verified
    extracted: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def repair(
    dataset: Dataset, root: Path, options: ExtractionOptions | None = None, progress: ExtractionProgress | None = None
) -> Repaired:
    """Restore a damaged dataset.

    Flipped bits of JSON files are corrected, and packs are written again from the shards. Undamaged clips of a damaged
    shard move to a new shard; the others are extracted again from the raw files.

    Args:
        dataset: The dataset in the cache.
        root: Folder of the corpus's raw files, which is read only if features or the clip table are lost.
        options: Options of the extraction.
        progress: Shown the progress of the extraction.

    Raises:
        filelock.Timeout: An extraction into the dataset is running.
    """
    progress = progress or Silent()

    def on_file(path: Path) -> None:
        progress.stage(f"checking {path.name}")

    before = verify(dataset, on_file)
    if not before.damages:
        return Repaired(before, before)
    with run_lock(dataset.path):
        mend_texts(dataset, before.damages)
        extracted, notes = _Repair(Dataset(dataset.path), root, options or ExtractionOptions(), progress).run()
        after = verify(Dataset(dataset.path), on_file)
    return Repaired(before, after, tuple(sorted(extracted)), tuple(notes))


class _Repair:
    """The steps that follow when the JSON files are correct again."""

    def __init__(self, dataset: Dataset, root: Path, options: ExtractionOptions, progress: ExtractionProgress) -> None:
        self._dataset, self._root, self._options, self._progress = dataset, root, options, progress
        self._notes: list[str] = []
        self._made: set[tuple[str, str]] = set()
        self._corpus: Corpus | None = None

    def run(self) -> tuple[set[tuple[str, str]], list[str]]:
        damages = verify(self._dataset).damages
        if any(damage.kind == "manifest" for damage in damages):
            name = self._dataset.name
            self._notes.append(
                f"{self._dataset.path / 'dataset.json'} is damaged in more than one place. Move it away and run "
                f"`mse extract {name}`, or `mse import` for an imported dataset: no features are extracted again."
            )
            return self._made, self._notes
        run = uuid.uuid4().hex[:8]
        begin_run(self._dataset, run)
        try:
            if any(damage.kind == "clips" for damage in damages):
                self._write_clips()
            self._identities(damage for damage in damages if damage.kind == "identity")
            lost = save_clips(self._dataset, damages)
            if lost:
                self._extract(run, lost)
            named = by_shard(self._dataset.path, self._dataset.journal.read().values())
            for damage in damages:
                if damage.kind == "shard" and damage.path not in named:
                    remove(damage.path)
            if chosen := [damage.path for damage in damages if damage.kind == "choices"]:
                raise DamagedError(
                    f"{chosen[0]} is damaged in more than one place. Remove it and run `mse extract "
                    f"{self._dataset.name}`, which chooses the faces again without decoding."
                )
            self._pack([damage for damage in damages if damage.kind in {"pack", "copy", "state"}])
        except MseError as error:
            self._notes.append(str(error))
        return self._made, self._notes

    def _raw(self) -> tuple[Recipe, Corpus]:
        """The recipe and the clips of the raw files.

        Raises:
            MseError: The folder is not there, or the recipe is not one of this version.
        """
        try:
            recipe = Recipe.model_validate(dict(self._dataset.manifest.recipe))
        except ValueError as error:
            raise MseError(
                f"The recipe of {self._dataset.name} is not one of this version. Run `mse extract` with a recipe."
            ) from error
        if self._corpus is None:
            self._progress.stage("reading the corpus")
            read = corpora.read(recipe.corpus.name, self._root, recipe.corpus.options, recipe.task)
            corpus = with_faces(read, recipe.media.faces)
            self._corpus = replace(corpus, clips=self._said(recipe, corpus))
        return recipe, self._corpus

    def _said(self, recipe: Recipe, corpus: Corpus) -> tuple[Clip, ...]:
        """The clips with their texts: transcripts as the clip table has them, or else the stream that they are from."""
        clips = corpus.clips
        if recipe.transcripts is None:
            return clips
        try:
            known = {clip.id: clip for clip in self._dataset.clips}
        except DamagedError:
            # Features are found by the clip table, so there has to be one before there are transcripts.
            self._set_table(clips)
            (spec,) = stream_specs(recipe, [recipe.transcripts], corpus.root)
            return with_transcripts(clips, self._dataset, spec, every=recipe.corpus.text != "asr")
        told = {name: clip for name, clip in known.items() if clip.text_from is not None}
        return tuple(
            replace(clip, text=told[clip.id].text, language=told[clip.id].language, text_from=told[clip.id].text_from)
            if clip.id in told
            else clip
            for clip in clips
        )

    def _write_clips(self) -> None:
        if "labels" not in self._dataset.manifest.source:
            raise MseError(
                f"The clip table of {self._dataset.name} came with an import and cannot be read from raw files. "
                f"Run `mse import` with --name {self._dataset.name} --replace again."
            )
        self._set_table(self._raw()[1].clips)

    def _set_table(self, clips: Sequence[Clip]) -> None:
        write_clips(self._dataset.path / "clips.parquet", clips)
        self._dataset = Dataset(self._dataset.path)

    def _identities(self, damages: Iterable[Damage]) -> None:
        for damage in damages:
            entry = self._dataset.manifest.streams.get(damage.stream)
            if entry is not None and entry.version == damage.version:
                remove(damage.path)
        self._dataset.set_manifest(self._dataset.manifest)

    def _extract(self, run: str, lost: Sequence[JournalRow]) -> None:
        """Extract what is lost of the streams' current versions, and nothing else."""
        wanted: dict[str, list[str]] = defaultdict(list)
        left: dict[tuple[str, str], list[str]] = defaultdict(list)
        for row in lost:
            entry = self._dataset.manifest.streams.get(row.stream)
            if entry is None or entry.version != row.version or "imported" in entry.identity:
                left[row.stream, row.version].append(row.clip)
            else:
                wanted[row.clip].append(row.stream)
        self._notes += [self._lost_for_good(*stream_version, clips) for stream_version, clips in left.items()]
        if not wanted:
            return
        try:
            recipe, corpus = self._raw()
        except MseError as error:
            streams = ", ".join(sorted({stream for streams_of_clip in wanted.values() for stream in streams_of_clip}))
            self._notes.append(
                f"{streams} of {len(wanted)} clips, the first is {min(wanted)!r}, must be extracted again. Give the "
                f"folder of the raw files with --root. ({error})"
            )
            return
        specs = stream_specs(
            recipe, sorted({stream for streams_of_clip in wanted.values() for stream in streams_of_clip}), corpus.root
        )
        for spec in specs:
            if spec.version != self._dataset.manifest.streams[spec.stream].version:
                raise MseError(
                    f"{spec.stream} was extracted with other settings, other weights or another revision than are "
                    f"installed here. Run `mse extract {self._dataset.name}`, which extracts it again for all clips."
                )
        refuse_unfit(specs, self._progress)
        todo = [Todo(clip, tuple(wanted[clip.id])) for clip in corpus.clips if clip.id in wanted]
        self._progress.stage("extracting what is lost")
        options = self._options
        task = task_of(run, self._dataset, corpus, specs, max_seconds=recipe.media.max_seconds, options=options)
        self._made = work(todo, task, options.where, self._progress).made
        failed = {(clip, stream) for clip, streams in wanted.items() for stream in streams} - self._made
        if failed:
            clip, stream = min(failed)
            self._notes.append(
                f"{len(failed)} could not be extracted again, the first is {stream} of {clip!r}. The reasons: "
                f"mse cache show {self._dataset.name} --failures"
            )

    def _lost_for_good(self, stream: str, version: str, clips: Sequence[str]) -> str:
        """A sentence on how to get features back that cannot be extracted."""
        subject = f"{stream} of {len(clips)} clips, the first is {min(clips)!r},"
        entry = self._dataset.manifest.streams.get(stream)
        if entry is None or entry.version != version:
            return (
                f"{subject} is of an earlier version ({version}), which is not made again: mse cache prune removes it."
            )
        imports: Iterable[Mapping[str, object]] = self._dataset.manifest.source.get("imports", [])
        source = next(
            (record for record in imports if stream in str(record.get("streams"))), entry.identity["imported"]
        )
        origin = ", ".join(f"{key}: {source[key]}" for key in ("format", "files") if key in source)
        return (
            f"{subject} was imported and cannot be extracted. Import it again with mse import ({origin or 'its file'})."
        )

    def _pack(self, damages: Sequence[Damage]) -> None:
        current = {self._dataset.pack_path(stream): stream for stream in self._dataset}
        anew = {current[damage.path] for damage in damages if damage.kind == "pack" and damage.path in current}
        for damage in damages:
            if damage.kind == "copy" or (damage.kind == "pack" and damage.path not in current):
                remove(damage.path)
            if damage.kind == "state" or (damage.kind == "pack" and damage.path not in current):
                remove(damage.path if damage.kind == "state" else state_path(damage.path))
        try:
            pack(self._dataset, lambda stream: self._progress.stage(f"packing {stream}"), anew=anew)
        except DamagedError as error:
            self._notes.append(str(error))
