"""Transcripts: the text of clips that have none, from a stream of speech recognition that was extracted of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mse_pipeline.clip import Clip
from mse_pipeline.extraction.plan import StreamSpec
from mse_pipeline.store.dataset import Dataset


def passes(specs: Sequence[StreamSpec], heard: str | None) -> tuple[tuple[StreamSpec, ...], ...]:
    """The streams that are made together, in the order in which they are made: first those that need no text.

    Args:
        specs: All streams.
        heard: The stream that texts come from; None where the corpus has them, and all streams are made together.
    """
    if heard is None:
        return (tuple(specs),)
    first = tuple(spec for spec in specs if not spec.reads_text)
    return first, tuple(spec for spec in specs if spec.reads_text)


def with_transcripts(clips: Iterable[Clip], dataset: Dataset, spec: StreamSpec, *, every: bool) -> tuple[Clip, ...]:
    """Clips with the transcripts that a dataset has of them, each marked with the stream that it is from.

    A clip of which there is no transcript, because its sound is not read yet or cannot be read, stays without a text.

    Args:
        clips: As the corpus has them.
        dataset: The dataset in the cache.
        spec: The stream of the transcripts; another version of it does not count.
        every: Whether transcripts also take the place of texts that the corpus has.
    """
    entry = dataset.manifest.streams.get(spec.stream)
    texts: dict[str, tuple[str, str | None]] = {}
    if entry is not None and entry.version == spec.version:
        for clip, features in dataset.native(spec.stream).in_order():
            texts[clip] = str(features.notes["text"]), features.notes.get("language")

    def said(clip: Clip) -> Clip:
        if clip.text.strip() and not every:
            return clip
        text, language = texts.get(clip.id, ("", None))
        return replace(clip, text=text, language=language or clip.language, text_from=spec.stream)

    return tuple(map(said, clips))
