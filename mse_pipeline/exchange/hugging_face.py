"""A folder as the Hugging Face hub holds datasets: Parquet files a split, and a README that the hub reads, too.

``datasets.load_dataset(FOLDER)`` opens it, without a connection; so does whatever reads Parquet. A row is a clip, with
its text, label and, by modality, ``acoustic`` (T, D), ``acoustic_intervals`` (T, 2) in seconds and ``acoustic_valid``
(T). Undefined values are NaN, as in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mse_pipeline import corpora
from mse_pipeline.clip import Clip, Split
from mse_pipeline.corpora.base import Facts
from mse_pipeline.errors import UsageError
from mse_pipeline.exchange.base import record_of
from mse_pipeline.exchange.clip_table import ABOUT, about_of
from mse_pipeline.exchange.pickle_write import by_split
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.store.storage import aside, write_json, write_text
from mse_pipeline.task import Classification

SPLITS = {Split.TRAIN: "train", Split.VALID: "validation", Split.TEST: "test"}
"""The hub's names of the splits."""

_FILE_BYTES = 256 << 20
_GROUP = 64  # clips


def write(dataset: Dataset, path: Path, *, streams: Mapping[str, str]) -> None:
    """Write a dataset's clips and streams as a dataset of the hub, a group of clips in memory at a time.

    Args:
        dataset: In the cache.
        path: The folder, made if need be; it may not hold Parquet files of an earlier export.
        streams: Name of the stream by modality.

    Raises:
        UsageError: The folder holds other Parquet files.
    """
    if earlier := sorted(path.glob("data/*.parquet")):
        raise UsageError(f"{path} holds {earlier[0].name} already. Remove the folder, or give another.")
    schema = _schema(dataset, streams)
    counts = {}
    for split, clips in by_split(dataset.clips).items():
        counts[SPLITS[split]] = len(clips)
        for number, part in enumerate(_parts(dataset, clips, streams)):
            name = f"{SPLITS[split]}-{number:05}.parquet"
            with (
                aside(path / "data" / name) as temporary,
                pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
            ):
                for group in _groups(part):
                    writer.write_table(pa.Table.from_pylist(_rows(dataset, group, streams), schema))
    write_json(path / ABOUT, about_of(dataset, list(streams.values())))
    write_text(path / "README.md", _card(dataset, streams, {name: count for name, count in counts.items() if count}))


def _schema(dataset: Dataset, streams: Mapping[str, str]) -> pa.Schema:
    label = pa.string() if isinstance(dataset.manifest.task, Classification) else pa.float64()
    fields = [(name, pa.string()) for name in ("id", "text", "language", "speaker", "dialogue", "media")]
    fields[2:2] = [("label", label)]
    fields += [("turn", pa.int64()), ("start", pa.float64()), ("end", pa.float64())]
    for modality in streams:
        fields += [
            (modality, pa.list_(pa.list_(pa.float32()))),
            (f"{modality}_intervals", pa.list_(pa.list_(pa.float64()))),
            (f"{modality}_valid", pa.list_(pa.bool_())),
        ]
    return pa.schema(fields)


def _parts(dataset: Dataset, clips: Sequence[Clip], streams: Mapping[str, str]) -> Iterator[list[Clip]]:
    """The clips of one file after the other."""
    part: list[Clip] = []
    size = 0
    for clip in clips:
        part.append(clip)
        size += sum(_bytes(dataset[stream].get(clip.id)) for stream in streams.values())
        if size >= _FILE_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _bytes(features: Features | None) -> int:
    return 0 if features is None else features.values.nbytes + features.intervals.nbytes


def _groups(clips: Sequence[Clip]) -> Iterator[Sequence[Clip]]:
    for begin in range(0, len(clips), _GROUP):
        yield clips[begin : begin + _GROUP]


def _rows(dataset: Dataset, clips: Sequence[Clip], streams: Mapping[str, str]) -> list[dict[str, Any]]:
    rows = []
    for clip in clips:
        row = record_of(clip)
        for modality, stream in streams.items():
            features = dataset[stream].get(clip.id)
            arrays: Sequence[np.ndarray | None] = (None, None, None)
            if features is not None:
                arrays = (features.values, features.intervals, features.valid)
            names = (modality, f"{modality}_intervals", f"{modality}_valid")
            row |= {name: None if array is None else list(array) for name, array in zip(names, arrays, strict=True)}
        rows.append(row)
    return rows


def _card(dataset: Dataset, streams: Mapping[str, str], counts: Mapping[str, int]) -> str:
    """The README: what the hub reads, as YAML, and what a reader wants to know."""
    import jinja2
    import yaml

    task = dataset.manifest.task
    files = [{"split": name, "path": f"data/{name}-*.parquet"} for name in counts]
    head = {
        "pretty_name": dataset.name,
        "language": sorted({clip.language.split("-")[0] for clip in dataset.clips}),
        "tags": ["emotion", "sentiment", "multimodal", "features"],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    names = {
        modality: next((features.names for features in dataset[stream].values()), ())
        for modality, stream in streams.items()
    }
    source = resources.files("mse_pipeline.exchange").joinpath("hugging_face.md.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=False, trim_blocks=True, undefined=jinja2.StrictUndefined)  # noqa: S701 - a Markdown file
    return environment.from_string(source).render(
        head=yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip(),
        name=dataset.name,
        facts=_facts(dataset),
        counts=counts,
        classes=task.classes if isinstance(task, Classification) else None,
        task=task,
        streams={modality: (stream, names[modality]) for modality, stream in streams.items()},
    )


def _facts(dataset: Dataset) -> Facts | None:
    """What is known of the corpus, its licence first of all; None of one's own."""
    corpus = dataset.manifest.source.get("corpus")
    with suppress(UsageError):
        return None if corpus in (None, "table") else corpora.facts(str(corpus))
    return None
