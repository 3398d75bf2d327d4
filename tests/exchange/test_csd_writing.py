"""A dataset goes out as the .csd files that CMU's SDK reads, and comes in again the same."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange import csd
from mse_pipeline.exchange.base import bring_in
from mse_pipeline.exchange.csd import entry_of
from mse_pipeline.exchange.registry import read as read_format
from mse_pipeline.task import Classification, Regression
from tests.exchange.test_exchange_csd import steps


def dataset_of(cache, name, task, clips, labels):
    rng = np.random.default_rng(1)
    made = [
        Clip(id=clip, split=split, text="说：“好”,\n", language="zh", label=label, start=1.0, end=3.0, labels=labels)
        for clip, split, label in clips
    ]
    dataset = store.open(cache).create(name, made, task=task)
    for stream, rows in (("acoustic.egemaps", 5), ("visual.facenet", 3)):
        features = {
            clip.id: store.Features(
                rng.normal(size=(rows + n, 2)), steps(rows + n, 0.1), np.arange(rows + n) != 1, ("a", "b")
            )
            for n, clip in enumerate(made[:-1])
        }
        features[made[-1].id] = store.Features(np.zeros((0, 2)), np.zeros((0, 2)), [], ("a", "b"))
        dataset.put(stream, features)
    return dataset


EMOTIONS = dict.fromkeys(csd.EMOTIONS, 0.5)


ROUND_TRIPS = {
    "regression with emotions": (
        Regression(-3, 3),
        [("v$_$0001", Split.TRAIN, 0.333333), ("-x$_$2", Split.VALID, None), ("w[3]", Split.TEST, -3.0)],
        EMOTIONS,
    ),
    "classes": (
        Classification(("neutral", "joy")),
        [("train/dia0_utt0", Split.TRAIN, "joy"), ("train%2F[x]", Split.VALID, "neutral"), ("t", Split.TEST, "joy")],
        {"sentiment": "positive"},
    ),
}


@pytest.mark.parametrize(("task", "clips", "labels"), ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_what_is_written_reads_back_the_same(tmp_path, task, clips, labels):
    dataset = dataset_of(tmp_path / "cache", "mine", task, clips, labels)
    streams = {"acoustic": "acoustic.egemaps", "visual": "visual.facenet"}
    csd.write(dataset, tmp_path / "out", streams=streams)
    imported = read_format("csd", tmp_path / "out")
    again = bring_in(imported, store.open(tmp_path / "cache"), "again")
    assert again.manifest.task == task
    assert again.clips == dataset.clips
    for stream in streams.values():
        assert set(again[stream]) == set(dataset[stream])
        for clip, features in dataset[stream].items():
            other = again[stream][clip]
            assert other.values.tobytes() == features.values.tobytes()
            assert other.valid.tolist() == features.valid.tolist()
            assert other.intervals == pytest.approx(features.intervals)
            assert other.names == features.names


def test_files_are_as_the_sdk_reads_them(tmp_path):
    task, clips, labels = ROUND_TRIPS["regression with emotions"]
    dataset = dataset_of(tmp_path / "cache", "mine", task, clips, labels)
    csd.write(dataset, tmp_path / "out", streams={"acoustic": "acoustic.egemaps"})
    names = sorted(path.name for path in (tmp_path / "out").glob("*.csd"))
    assert names == ["mine_All_Labels.csd", "mine_acoustic.egemaps.csd"]
    # As the SDK opens a file: the first root, its data by entry, its metadata as JSON in arrays of one string.
    with h5py.File(tmp_path / "out" / names[1], "r") as file:
        root = file[next(iter(file))]
        entries = dict(root["data"])
        metadata = {key: json.loads(root["metadata"][key][0]) for key in root["metadata"]}
        assert all(entry["features"].shape[0] == entry["intervals"].shape[0] for entry in entries.values())
        assert sorted(entries) == ["-x$_$2", "v$_$0001", "w[3]"]
        assert metadata["root name"] == "acoustic.egemaps"
        assert metadata["dimension names"] == ["a", "b"]
        required = {"computational sequence description", "alignment compatible", "dataset name", "dataset version"}
        required |= {"creator", "contact", "featureset bib citation", "dataset bib citation"}
        assert required < set(metadata)
    with h5py.File(tmp_path / "out" / names[0], "r") as file:
        label = file["All Labels/data/w[3]"]
        assert label["features"][:].tolist() == [[-3, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]]
        assert label["intervals"][:].tolist() == [[1.0, 3.0]]
        assert "-x$_$2" not in file["All Labels/data"], "it has no label"


def test_writing_needs_a_folder_and_a_stream(tmp_path):
    dataset = store.open(tmp_path / "cache").create("mine", [Clip(id="a", split=Split.TRAIN)], task=Regression(0, 1))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        csd.write(dataset, tmp_path / "file", streams={"acoustic": "acoustic.x"})
    with pytest.raises(UsageError, match="No stream of mine"):
        csd.write(dataset, tmp_path / "out", streams={})


@pytest.mark.parametrize(
    ("about", "says"),
    [("{", "cannot be read"), ('{"format": 9}', "format is 9"), ('{"format": 1, "task": {}, "streams": {}}', "low")],
)
def test_a_damaged_description_is_named(tmp_path, about, says):
    task, clips, labels = ROUND_TRIPS["classes"]
    dataset = dataset_of(tmp_path / "cache", "mine", task, clips, labels)
    csd.write(dataset, tmp_path / "out", streams={"acoustic": "acoustic.egemaps"})
    (tmp_path / "out" / "about.json").write_text(about)
    with pytest.raises(MseError, match=f"about.json.*{says}"):
        csd.read(tmp_path / "out")


def test_a_clip_table_that_links_out_is_refused(tmp_path):
    task, clips, labels = ROUND_TRIPS["classes"]
    dataset = dataset_of(tmp_path / "cache", "mine", task, clips, labels)
    csd.write(dataset, tmp_path / "out", streams={"acoustic": "acoustic.egemaps"})
    (tmp_path / "out" / "clips.csv").rename(tmp_path / "clips.csv")
    (tmp_path / "out" / "clips.csv").symlink_to(tmp_path / "clips.csv")
    with pytest.raises(UsageError, match="link out of the folder"):
        csd.read(tmp_path / "out")


@pytest.mark.parametrize("clip", ["a/b", "a%2Fb", "a[b", "[1]", ".", "..", "x[1][2]", "a%b/c[7]"])
def test_entries_are_plain_names(clip):
    entry = entry_of(clip)
    assert "/" not in entry
    assert entry not in {".", ".."}
    assert entry.split("[")[0] != ""
