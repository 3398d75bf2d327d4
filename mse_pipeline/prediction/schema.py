"""Whether a dataset of the cache has just the features that a run was trained on, and the same task."""

from __future__ import annotations

from collections.abc import Sequence

from mse_pipeline.errors import UsageError
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.versions import differences
from mse_pipeline.task import describe
from mse_pipeline.training.about import OF_THE_DATASET, StreamAbout
from mse_pipeline.training.stored import Stored


def require_same(stored: Stored, dataset: Dataset) -> list[str]:
    """Refuse a dataset that the run cannot read.

    Args:
        stored: The run.
        dataset: A dataset of the cache.

    Returns:
        What is not refused and should be known, as sentences.

    Raises:
        UsageError: Task, streams, their identities, clocks or dimensions differ; all differences are named.
    """
    wrong, remarks = [], []
    task = dataset.manifest.task
    if task != stored.task:
        wrong.append(f"what is predicted: {describe(stored.task)} -> {describe(task)}")
    for stream in stored.streams.values():
        found, told = _compare(stream, dataset)
        wrong += found
        remarks += told
    words = stored.about.words
    if words is not None and not wrong:
        wrong += _identity(words, dataset)
    if wrong:
        listed = "".join(f"\n  {one}" for one in wrong)
        raise UsageError(
            f"The dataset {dataset.name} differs from what the run {stored.path} was trained on (the run's -> the "
            f"dataset's):{listed}\nExtract it with the streams, options and alignment of the run's dataset, as "
            "`mse evaluate` needs them alike."
        )
    limit = dict(dataset.manifest.recipe.get("media", {})).get("max_seconds")
    if stored.streams and dataset.manifest.recipe and limit != stored.about.media.max_seconds:
        remarks.append(
            f"Clips of {dataset.name} were cut at {_seconds(limit)}, those of the run's dataset at "
            f"{_seconds(stored.about.media.max_seconds)}."
        )
    return remarks


def _compare(stream: StreamAbout, dataset: Dataset) -> tuple[list[str], list[str]]:
    """What differs in one stream, and what should be known of it."""
    if stream.name not in dataset.manifest.streams:
        return [f"{stream.name}: the dataset has no such stream; it has {', '.join(dataset) or 'none'}"], []
    wrong = _identity(stream, dataset)
    entry = dataset.manifest.streams[stream.name]
    clock = differences(stream.alignment.model_dump(mode="json"), dict(entry.alignment))
    wrong += [f"{stream.name}, its clock: {one}" for one in clock]
    if wrong:
        return wrong, []
    features = dataset[stream.name]
    one = next(iter(features.values()), None)
    names = stream.names if one is None else tuple(one.names)  # where no clip has the stream, it is read as absent
    if names != stream.names:
        return [f"{stream.name}: {_names_differ(stream.names, names)}"], []
    if not stream.extracted and entry.version != stream.version:
        return [], [f"{stream.name} was imported: of such features only the names of the values can be compared."]
    return [], []


def _identity(stream: StreamAbout, dataset: Dataset) -> list[str]:
    entry = dataset.manifest.streams.get(stream.name)
    if entry is None:
        return [f"{stream.name}: the dataset has no such stream"]
    before = {name: value for name, value in stream.identity.items() if name not in OF_THE_DATASET}
    after = {name: value for name, value in entry.identity.items() if name not in OF_THE_DATASET}
    return [f"{stream.name}: {one}" for one in differences(before, after)]


def _names_differ(run: Sequence[str], dataset: Sequence[str]) -> str:
    if len(run) != len(dataset):
        return f"{len(run)} values a row -> {len(dataset)}"
    place, (before, after) = next(
        (n, pair) for n, pair in enumerate(zip(run, dataset, strict=True)) if len(set(pair)) > 1
    )
    return f"value {place} of a row: {before} -> {after}"


def _seconds(limit: object) -> str:
    return "no length" if limit is None else f"{limit} s"
