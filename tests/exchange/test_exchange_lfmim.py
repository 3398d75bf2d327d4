"""LFMIM's CHERMA folders come in with labels by text, whatever order other copies number them in."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Split
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange import lfmim
from mse_pipeline.exchange.base import bring_in
from mse_pipeline.exchange.registry import read as read_format
from mse_pipeline.task import Classification

CLASSES = ("愤怒", "厌恶", "恐惧", "高兴", "平静", "悲伤", "惊奇")


def entry(bare, label="高兴", **further):
    labels = {"txt_label": "平静", "audio_label": "愤怒", "visual_label": label, "video_label": label}
    return {"audio_file": f"{bare}.wav", "video_file": f"{bare}.mp4", **labels, **further}


def write_json(path, rows):
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


@pytest.fixture
def release(tmp_path):
    folder = tmp_path / "CHERMA20230723_v2" / "CHERMA0723"
    rng = np.random.default_rng(0)
    for stage, names in (("train", ["0001", "天_2"]), ("dev", ["0001"]), ("test", ["z"])):
        for kind, rows, width, suffix in (("text", 7, 1024, ""), ("audio", 9, 1024, ""), ("visual", 16, 2048, ".mp4")):
            (folder / kind / stage).mkdir(parents=True, exist_ok=True)
            for name in names:
                np.save(
                    folder / kind / stage / f"{name}{suffix}.npy", rng.normal(size=(rows, width)).astype(np.float32)
                )
        write_json(folder / f"{stage}.json", [entry(name) for name in names])
    return folder


def test_the_release_becomes_a_dataset(release, tmp_path):
    imported = read_format("lfmim", release.parent)
    dataset = bring_in(imported, store.open(tmp_path / "cache"), "cherma")
    assert dataset.manifest.task == Classification(CLASSES)
    assert [(clip.id, clip.split) for clip in dataset.clips] == [
        ("train/0001", Split.TRAIN),
        ("train/天_2", Split.TRAIN),
        ("dev/0001", Split.VALID),
        ("test/z", Split.TEST),
    ]
    clip = dataset.clips[0]
    assert (clip.label, clip.language, clip.text) == ("高兴", "zh", "")
    assert clip.labels == {"text": "平静", "acoustic": "愤怒", "visual": "高兴"}
    widths = {"acoustic.lfmim": (9, 1024), "visual.lfmim": (16, 2048), "text.lfmim": (7, 1024)}
    assert {stream: dataset[stream]["dev/0001"].values.shape for stream in dataset} == widths
    stored = np.load(release / "visual/train/天_2.mp4.npy")
    assert np.array_equal(dataset["visual.lfmim"]["train/天_2"].values, stored)
    assert dataset.native("text.lfmim")["test/z"].notes == {"clock": "rows"}
    assert dataset.manifest.source["corpus"] == "cherma"
    notes = dataset.manifest.source["imports"][0]["notes"]
    assert "The release holds no transcripts: clips have no text." in notes
    assert "acoustic.lfmim: 9 to 9 rows a clip, without times." in notes


def test_missing_files_and_stages_are_told(release):
    (release / "audio/train/0001.npy").unlink()
    (release / "dev.json").unlink()
    np.save(release / "text/test/z.npy", np.full((2, 1024), np.nan, np.float32))
    write_json(release / "test.json", [entry("z", text="你好\x85")])
    imported = lfmim.read(release)
    rows = dict(imported.streams["text.lfmim"]())
    assert not rows["test/z"].values.any()
    assert "acoustic.lfmim: 1 of 3 clips have no file." in imported.notes
    assert "There is no dev.json; the dataset has no such split." in imported.notes
    assert not rows["test/z"].valid.any()
    told = "2,048 NaN values in 1 clips are not defined; 2 rows without any other are not valid."
    assert f"text.lfmim: 0 infinite and {told}" in imported.notes
    assert imported.clips[-1].text == "你好…"


def test_another_annotation_can_be_the_target(release):
    imported = lfmim.read(release, target="audio_label")
    assert imported.clips[0].label == "愤怒"
    assert imported.clips[0].labels == {"text": "平静", "visual": "高兴"}
    assert "corpus" not in imported.source


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([entry("0001", label="快乐")], "entry 1 has the video_label '快乐'; the classes are 愤怒"),
        ([entry("0001", label=3)], "the video_label '3'"),
        ([entry("../../etc/passwd")], "'../../etc/passwd.wav', which is not a plain file name"),
        ([entry("a\\b")], "not a plain file name"),
        ([entry("")], "not a plain file name"),
        ([{"video_label": "高兴"}], "audio_file 'None'"),
        ([entry("0001"), entry("0001")], "entry 2 has the audio_file '0001.wav' of an entry before it"),
        ({"a": 1}, "must be a list of entries"),
        ([1], "must be a list of entries"),
    ],
)
def test_entries_with_errors_are_told(release, rows, says):
    write_json(release / "train.json", rows)
    with pytest.raises(UsageError, match=says) as caught:
        lfmim.read(release)
    assert "train.json" in str(caught.value)


@pytest.mark.parametrize("text", ["[", "[" * 100_000])
def test_a_damaged_json_is_told(release, text):
    (release / "dev.json").write_text(text)
    with pytest.raises(UsageError, match=r"dev\.json is not JSON"):
        lfmim.read(release)


def test_other_folders_and_targets_are_refused(release, tmp_path):
    with pytest.raises(UsageError, match="did you mean video_label"):
        lfmim.read(release, target="video_labels")
    (release / "copy").mkdir()
    (release / "copy" / "train.json").write_bytes((release / "train.json").read_bytes())
    with pytest.raises(UsageError, match="in several folders"):
        lfmim.read(release)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="they are nowhere"):
        lfmim.read(tmp_path / "empty")
    write_json(tmp_path / "empty" / "train.json", [entry("a")])
    with pytest.raises(UsageError, match=r"no feature file as audio/train/ID\.npy"):
        lfmim.read(tmp_path / "empty")


@pytest.mark.parametrize("values", [np.ones((4, 64)), np.ones((2, 3, 1024)), np.array([{}], dtype=object)])
def test_arrays_of_other_kinds_are_refused(release, values):
    np.save(release / "audio/dev/0001.npy", values, allow_pickle=True)
    with pytest.raises(MseError, match=r"audio/dev/0001\.npy"):
        list(lfmim.read(release).streams["acoustic.lfmim"]())
