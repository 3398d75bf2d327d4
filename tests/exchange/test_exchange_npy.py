"""Folders of .npy files come in beside a label table, go out, and hurt nobody."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange import clip_table, npy_folder
from mse_pipeline.exchange.base import bring_in
from mse_pipeline.exchange.npy_file import read_npy
from mse_pipeline.exchange.registry import read as read_format
from mse_pipeline.task import Classification, Regression

TABLE = "name,label,split,text\ntrain_dia0_utt0,joy,train,hello\n0001,neutral,val,好\nc,joy,test,\n"


def save(path: Path, values) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(values), allow_pickle=True)
    return path


@pytest.fixture
def merbench(tmp_path):
    folder = tmp_path / "features"
    rng = np.random.default_rng(0)
    for clip in ("train_dia0_utt0", "0001", "c"):
        save(folder / "chinese-hubert-large-UTT" / f"{clip}.npy", rng.normal(size=8).astype(np.float32))
        save(folder / "visual" / f"{clip}.npy", rng.normal(size=(1, 5, 4)))
    (folder / "label.csv").write_text(TABLE, encoding="utf-8")
    return folder


def test_utterance_and_frame_level_files_become_streams(merbench, tmp_path):
    imported = read_format("npy", merbench, {"acoustic": "chinese-hubert-large-UTT"})
    dataset = bring_in(imported, store.open(tmp_path / "cache"), "mer")
    assert dataset.manifest.task == Classification(("joy", "neutral"))
    assert [(clip.id, clip.split, clip.label, clip.text) for clip in dataset.clips] == [
        ("train_dia0_utt0", Split.TRAIN, "joy", "hello"),
        ("0001", Split.VALID, "neutral", "好"),
        ("c", Split.TEST, "joy", ""),
    ]
    one = dataset["acoustic.chinese-hubert-large-UTT"]["0001"]
    assert one.values.tolist() == [np.load(merbench / "chinese-hubert-large-UTT/0001.npy").tolist()]
    frames = dataset["visual.npy"]["0001"]
    assert frames.values.shape == (5, 4)
    assert frames.intervals.tolist() == [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]
    assert dataset.native("visual.npy")["0001"].notes == {"clock": "rows"}
    assert dataset.manifest.source["imports"][0]["clock"] == "rows"


def test_a_folder_of_frames_is_one_clip(merbench):
    (merbench / "visual/c.npy").unlink()
    for frame, value in ((2, 3.0), (0, 1.0), (1, 2.0)):
        save(merbench / f"visual/c/{frame:05d}.npy", np.full(4, value))
    imported = npy_folder.read(merbench)
    assert dict(imported.streams["visual.npy"]())["c"].values[:, 0].tolist() == [1, 2, 3]


def test_missing_and_surplus_files_and_damaged_values_are_told(merbench):
    (merbench / "visual/c.npy").unlink()
    save(merbench / "visual/stranger.npy", np.ones(4))
    save(merbench / "visual/0001.npy", [[1.0, -np.inf, np.nan, 1e300]])
    imported = npy_folder.read(merbench)
    rows = dict(imported.streams["visual.npy"]())
    np.testing.assert_array_equal(rows["0001"].values, [[1, np.nan, np.nan, np.nan]])
    assert rows["0001"].valid.all()
    assert "visual.npy: 1 of 3 clips have no file in visual." in imported.notes
    assert "visual.npy: 1 files in visual belong to no clip of label.csv." in imported.notes
    assert "visual.npy: 2 infinite and 1 NaN values in 1 clips are not defined." in imported.notes


def test_mmsa_label_tables_name_files_by_video_and_clip(tmp_path):
    save(tmp_path / "audio/video_0001/0002.npy", np.ones(3))
    save(tmp_path / "audio/video_0001_0003.npy", np.ones(3))
    rows = "video_0001,0002,好,-0.8,,,,Negative,train\nvideo_0001,0003,好,1.0,,,,Positive,test\n"
    head = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode\n"
    (tmp_path / "meta.csv").write_text(head + rows, encoding="utf-8")
    imported = npy_folder.read(tmp_path)
    assert imported.task == Regression(-1, 1)
    assert list(dict(imported.streams["acoustic.npy"]())) == ["video_0001$_$0002", "video_0001$_$0003"]
    (tmp_path / "meta.csv").write_text(head + rows.replace(",test", ","), encoding="utf-8")
    with pytest.raises(UsageError, match="tells no split of"):
        npy_folder.read(tmp_path)
    with pytest.raises(UsageError, match="must be train, valid or test"):
        npy_folder.read(tmp_path, split="all")
    assert npy_folder.read(tmp_path, split="valid").clips[1].split == Split.VALID


def test_tables_elsewhere_and_other_columns(merbench, tmp_path):
    (merbench / "label.csv").unlink()
    (tmp_path / "mine.csv").write_text("name,valence\n0001,-2.5\nc,1\n")
    imported = npy_folder.read(merbench, labels=str(tmp_path / "mine.csv"), split="train", label_column="valence")
    assert [(clip.id, clip.label, clip.split) for clip in imported.clips] == [
        ("0001", -2.5, "train"),
        ("c", 1, "train"),
    ]


def table(text):
    return lambda folder: (folder / "label.csv").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "options", "says"),
    [
        (lambda f: (f / "label.csv").unlink(), {}, "A label table.*or label.npz there is none.*option labels"),
        (lambda f: (f / "meta.csv").write_text(TABLE), {}, "several: label.csv, meta.csv"),
        (lambda f: None, {"labels": "nowhere.csv"}, "no label table nowhere.csv"),
        (lambda f: None, {"acoustic": "../out"}, "leads out of the root"),
        (lambda f: None, {"acoustic": "wav2vec"}, "no .npy file in wav2vec"),
        (lambda f: (f / "visual").rename(f / "x"), {}, "tells its modality; there are chinese-hubert-large-UTT, x"),
        (lambda f: save(f / "video/c.npy", [1.0]), {}, "Several folders are visual: video, visual"),
        (table("name,split\nc,train\n"), {}, "no column label or emotion"),
        (table("name,label\nc,joy\nd,sad\n"), {}, "does not tell the splits.*option split"),
        (table("name,label,split\nx,joy,train\ny,sad,test\n"), {}, "named like a clip of label.csv, as x.npy"),
        (table("name,label,split\nc,joy,train\nc,sad,test\n"), {}, "is used already in row 2"),
    ],
)
def test_what_is_missing_or_wrong_is_named(merbench, spoil, options, says):
    spoil(merbench)
    with pytest.raises(UsageError, match=says):
        npy_folder.read(merbench, **options)


def test_widths_must_be_alike(merbench):
    save(merbench / "visual/c.npy", np.ones((2, 7)))
    with pytest.raises(MseError, match=r"visual/c\.npy has 7 columns, the files before it 4"):
        list(npy_folder.read(merbench).streams["visual.npy"]())
    (merbench / "visual/c.npy").unlink()
    save(merbench / "visual/c/0.npy", np.ones(4))
    save(merbench / "visual/c/1.npy", np.ones(3))
    with pytest.raises(MseError, match="clip c in visual/c have different widths"):
        list(npy_folder.read(merbench).streams["visual.npy"]())


class Payload:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return open, (str(self.canary), "w")


def header(shape: str, descr: str = "'<f4'", body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version[0] == 1 else 4, "little") + text.encode() + body


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.npy", b"x")
    return out.getvalue()


HOSTILE = {
    "a claim of 10^12 values": (header("(1000000000000,)"), "claims the shape.*but holds 0"),
    "a claim beyond 64 bits": (header("(99999999999, 99999999999)"), "claims the shape"),
    "a negative shape": (header("(-1, 4)", body=bytes(64)), "claims the shape"),
    "objects": (header("(1,)", "'|O'", b"cos\nsystem\n(S'touch x'\ntR."), "pickled Python objects"),
    "records with objects": (header("(1,)", "[('a', '|O')]", bytes(8)), "pickled Python objects"),
    "strings": (header("(1,)", "'<U4'", bytes(16)), "only numbers"),
    "complex numbers": (header("(1,)", "'<c8'", bytes(8)), "only numbers"),
    "code in the header": (header("__import__('os').getpid()"), "cannot be read as .npy"),
    "a deep header": (b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"(" * 8999 + b"\n", "cannot be read"),
    "version 3": (header("(1,)", version=b"\x03\x00", body=bytes(4)), "version 3.0"),
    "a pickle": (b"\x80\x04cos\nsystem\n.", "cannot be read as .npy: it is a pickle"),
    "an archive": (zipped(), "cannot be read as .npy: it is an .npz archive"),
    "a page": (b"<!DOCTYPE html><html>", "it is a web page"),
    "a copy in text mode": (header("(2,)", body=bytes(8)).replace(b"\n", b"\r\n"), "a copy in text mode has changed"),
    "truncated": (header("(4,)", body=bytes(7)), "16 bytes, but holds 7"),
    "a byte too many": (header("(2,)", body=bytes(9)), "8 bytes, but holds 9"),
    "two arrays in one file": (header("(2,)", body=bytes(8)) * 2, "Save each array to a file of its own"),
    "no values but bytes": (header("(0, 4)", body=bytes(1)), "0 bytes, but holds 1"),
    "a cut header": (header("(4,)")[:40], "cannot be read as .npy"),
    "empty": (b"", "cannot be read as .npy: it is empty"),
}


@pytest.mark.parametrize(("data", "says"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused_and_named(tmp_path, data, says):
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(MseError, match=says) as caught:
        read_npy(tmp_path / "a.npy")
    assert "a.npy" in str(caught.value)


def test_pickled_payloads_do_not_run(merbench, tmp_path):
    save(merbench / "visual/c.npy", np.array([Payload(tmp_path / "canary")], dtype=object))
    with pytest.raises(MseError, match="pickled Python objects"):
        list(npy_folder.read(merbench).streams["visual.npy"]())
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("shape", [(2, 2, 2), ()])
def test_arrays_of_other_axes_are_refused(merbench, shape):
    save(merbench / "visual/c.npy", np.ones(shape))
    with pytest.raises(MseError, match="expected"):
        list(npy_folder.read(merbench).streams["visual.npy"]())


def test_very_large_clips_and_version_2_files(tmp_path):
    (tmp_path / "a.npy").write_bytes(header("(2,)", version=b"\x02\x00", body=np.float32([1, 2]).tobytes()))
    assert read_npy(tmp_path / "a.npy").tolist() == [1, 2]
    (tmp_path / "b.npy").write_bytes(header("(40000000,)"))
    with (tmp_path / "b.npy").open("r+b") as handle:
        handle.truncate(200 << 20)
    with pytest.raises(MseError, match="at most 134,217,728 are read for one clip"):
        read_npy(tmp_path / "b.npy")


def test_links_out_of_the_folder_are_not_followed(merbench, tmp_path):
    (merbench / "visual/c.npy").rename(tmp_path / "c.npy")
    (merbench / "visual/c.npy").symlink_to(tmp_path / "c.npy")
    imported = npy_folder.read(merbench)
    assert "c" not in dict(imported.streams["visual.npy"]())
    assert any(note.startswith("visual/c.npy is a symbolic link out of the root") for note in imported.notes)


CLIPS = (
    Clip(id="train/dia0_utt0", split=Split.TRAIN, text='a "b", c\nd', label="joy", labels={"sentiment": "positive"}),
    Clip(id="-x$_$0001", split=Split.VALID, text="好，吗", language="zh", label="neutral", speaker="Joey", turn=3),
    Clip(id="t", split=Split.TEST, media="v.mp4", start=0.1, end=2.5, dialogue="0", label=None),
)


def test_what_is_written_reads_back_the_same(tmp_path):
    cache = store.open(tmp_path / "cache")
    task = Classification(("neutral", "joy"))
    dataset = cache.create("mine", CLIPS, task=task, source={"corpus": "meld"})
    rng = np.random.default_rng(0)
    intervals = np.stack([np.arange(4.0), np.arange(4.0) + 1], 1)
    rows = {
        clip.id: store.Features(rng.normal(size=(4, 3)), intervals, [1, 1, 0, 1], ("f0", "f1", "b")) for clip in CLIPS
    }
    dataset.put("acoustic.egemaps", rows)
    dataset.put("visual.facenet", {"t": rows["t"]})
    streams = {"acoustic": "acoustic.egemaps", "visual": "visual.facenet"}
    npy_folder.write(dataset, tmp_path / "out", streams=streams)
    assert np.load(tmp_path / "out/acoustic.egemaps/train/dia0_utt0.npy").shape == (4, 3)
    again = bring_in(npy_folder.read(tmp_path / "out"), cache, "again")
    assert again.clips == CLIPS
    assert again.manifest.task == task
    assert again.manifest.source["corpus"] == "meld"
    for stream in streams.values():
        assert set(again[stream]) == set(dataset[stream])
        for clip, features in dataset[stream].items():
            assert again[stream][clip].values.tobytes() == features.values.tobytes()
            assert again[stream][clip].names == features.names


@pytest.mark.parametrize("clip", ["../../etc/passwd", "/etc/passwd", "a/../b", ".hidden", "a//b"])
def test_ids_that_are_no_plain_paths_are_not_written(tmp_path, clip):
    dataset = store.open(tmp_path / "cache").create("mine", [Clip(id=clip, split=Split.TRAIN)], task=Regression(0, 1))
    dataset.put("acoustic.x", {clip: store.Features(np.ones((1, 1)), [[0, 1]], [True], ("a",))})
    with pytest.raises(UsageError, match="cannot name a file"):
        npy_folder.write(dataset, tmp_path / "out", streams={"acoustic": "acoustic.x"})
    assert not list(tmp_path.rglob("*.npy"))


def test_writing_needs_a_folder_and_a_stream(tmp_path):
    dataset = store.open(tmp_path / "cache").create("mine", CLIPS, task=Regression(0, 1))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        npy_folder.write(dataset, tmp_path / "file", streams={"acoustic": "acoustic.x"})
    with pytest.raises(UsageError, match="No stream of mine"):
        npy_folder.write(dataset, tmp_path / "out", streams={})


MEMORY = """
import sys
from pathlib import Path
from mse_pipeline import store
from mse_pipeline.exchange import registry
from mse_pipeline.exchange.base import bring_in
dataset = bring_in(registry.read("npy", Path(sys.argv[1])), store.open(sys.argv[2]), "big")
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024, sum(len(dataset["acoustic.npy"][clip]) for clip in dataset["acoustic.npy"]))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_folder(tmp_path):
    folder, clips, rows = tmp_path / "big", 2600, 80  # of 768 values: 0.25 MB a clip, 640 MB in all
    block = save(folder / "audio/c0.npy", np.random.default_rng(0).normal(size=(rows, 768)).astype(np.float32))
    for number in range(1, clips):
        (folder / f"audio/c{number}.npy").hardlink_to(block)
    names = "".join(f"c{number},{number % 2},train\n" for number in range(clips))
    (folder / "label.csv").write_text("name,label,split\n" + names)
    command = [sys.executable, "-c", MEMORY, str(folder), str(tmp_path / "cache")]
    peak, total = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert total == rows * clips
    assert peak < 500, f"{peak} MB of a folder of {clips * block.stat().st_size >> 20} MB"


def emotion(emo, val=-10):
    return {"emo": emo, "val": val}


def corpora(path, **parts):
    """As MERBench writes its labels."""
    np.savez_compressed(path, **{f"{name}_corpus": labels for name, labels in parts.items()})


def labels_of(imported):
    return {clip.id: (clip.split, clip.label, dict(clip.labels)) for clip in imported.clips}


@pytest.fixture
def features(tmp_path):
    """A folder of features for some clips, beside which labels are put."""
    folder = tmp_path / "mer"

    def make(*clips):
        for clip in clips:
            save(folder / "visual" / f"{clip}.npy", np.ones(3))
        return folder

    return make


def test_label_npz_of_merbench_is_read_as_labels(features):
    folder = features("s1", "s2", "s3", "s4")
    corpora(
        folder / "label-6way.npz",
        train={"s1": emotion("happy", 2.5), "s2": emotion("sad", "")},
        test1={"s3": emotion("angry", np.float64(-1))},
        test2={"s4": emotion("neutral"), "s5": emotion("neutral")},
    )
    imported = npy_folder.read(folder)
    assert imported.task == Classification(("angry", "happy", "sad"))
    assert labels_of(imported) == {
        "s1": (Split.TRAIN, "happy", {"val": 2.5}),
        "s2": (Split.TRAIN, "sad", {}),
        "s3": (Split.TEST, "angry", {"val": -1.0}),
        "s4": (Split.TEST, None, {}),
        "s5": (Split.TEST, None, {}),
    }
    assert any("All 2 clips of test2_corpus are neutral" in note for note in imported.notes)
    assert any("have no texts" in note for note in imported.notes)
    assert list(dict(imported.streams["visual.npy"]())) == ["s1", "s2", "s3", "s4"]


def test_numbers_of_label_npz_are_the_label_where_there_are_no_emotions(features):
    folder = features("v_1", "v_2")
    corpora(
        folder / "label.npz", train={"v_1": emotion(0, -0.8)}, val={"v_2": emotion(0, 1)}, test={"x": emotion(0, 0)}
    )
    imported = npy_folder.read(folder)
    assert imported.task == Regression(-1, 1)
    assert labels_of(imported) == {
        "v_1": (Split.TRAIN, -0.8, {}),
        "v_2": (Split.VALID, 1.0, {}),
        "x": (Split.TEST, 0.0, {}),
    }
    with pytest.raises(UsageError, match="no two classes in emo"):
        npy_folder.read(folder, label_column="emo")
    with pytest.raises(UsageError, match=r"labels emo and val.*asks for 'label'"):
        npy_folder.read(folder, label_column="label")


def test_indices_of_emotions_are_classes_and_melds_have_names(features):
    folder = features("train_dia0_utt0")
    corpora(folder / "label.npz", train={"train_dia0_utt0": emotion(3)}, test={"test_dia0_utt1": emotion(1)})
    imported = npy_folder.read(folder)
    assert imported.task == Classification(("joy", "neutral"))
    assert labels_of(imported)["train_dia0_utt0"] == (Split.TRAIN, "neutral", {})
    assert any("3 neutral" in note for note in imported.notes)
    corpora(folder / "label.npz", whole={"train_dia0_utt0": emotion(0.0), "Ses01F": emotion(10), "Ses02F": emotion(2)})
    with pytest.raises(UsageError, match=r"tells no split.*option split"):
        npy_folder.read(folder)
    imported = npy_folder.read(folder, split="test")
    assert imported.task == Classification(("0", "2", "10"))
    assert {clip.split for clip in imported.clips} == {Split.TEST}


def test_texts_lie_beside_label_npz(features):
    folder = features("s1")
    corpora(folder / "label.npz", train={"s1": emotion("happy"), "s2": emotion("sad")})
    (folder / "transcription.csv").write_text("name,english\ns1,So what?\n", encoding="utf-8")
    imported = npy_folder.read(folder)
    assert [clip.text for clip in imported.clips] == ["So what?", ""]
    (folder / "transcription.csv").write_text("clip,english\ns1,So what?\n")
    with pytest.raises(UsageError, match="no columns name"):
        npy_folder.read(folder)


def npz(path, **arrays):
    np.savez(path, **arrays)


def flipped(path):
    corpora(path, train={f"s{number}": emotion("happy") for number in range(200)})
    data = bytearray(path.read_bytes())
    data[100:140] = bytes(40)
    path.write_bytes(data)


UNFIT = {
    "payload": (lambda p, t: npz(p, train_corpus=np.array([Payload(t / "canary")], object)), "builtins.open|io.open"),
    "payload in labels": (lambda p, t: corpora(p, train={"a": Payload(t / "canary")}), "io.open"),
    "numbers": (lambda p, t: npz(p, train_corpus=np.ones(3)), "holds no dictionary of clips"),
    "other arrays": (lambda p, t: npz(p, a=np.ones(3)), "has no labels: expected train_corpus.*found 'a.npy'"),
    "no dictionaries": (lambda p, t: corpora(p, train={"a": 3}), "no dictionary with emo and val"),
    "names that are numbers": (lambda p, t: corpora(p, train={3: emotion("happy")}), "no dictionary with emo and val"),
    "a clip twice": (lambda p, t: corpora(p, train={"a": emotion("x")}, test={"a": emotion("y")}), "'a' in several"),
    "a val that is not a number": (
        lambda p, t: corpora(p, train={"a": emotion("x", "high"), "b": emotion("y")}),
        "val 'high' for a, which is not a number",
    ),
    "a page": (lambda p, t: p.write_bytes(b"<html>"), "cannot be read as .npz: it is a web page"),
    "cut off": (lambda p, t: p.write_bytes(zipped()[:40]), "cannot be read as .npz"),
    "damaged": (lambda p, t: flipped(p), "label.npz"),
    "no array": (lambda p, t: p.write_bytes(zipped().replace(b"a.npy", b"train")), "label.npz"),
}


@pytest.mark.parametrize(("write", "says"), UNFIT.values(), ids=UNFIT)
def test_unfit_label_npz_are_refused_and_named(features, tmp_path, write, says):
    folder = features("a")
    write(folder / "label.npz", tmp_path)
    with pytest.raises(MseError, match=says) as caught:
        npy_folder.read(folder)
    assert "label.npz" in str(caught.value)
    assert not (tmp_path / "canary").exists()


def test_annotators_votes_come_back(tmp_path):
    shares = [{"joy": 1 / 3, "anger": 2 / 3}, {}, {"joy": 0.5, "anger": 0.5}]
    labels = ["anger", "joy", None]
    clips = [
        Clip(id=f"c{n}", split=Split.TEST, text="Hi", label=label, distribution=share)
        for n, (label, share) in enumerate(zip(labels, shares, strict=True))
    ]
    dataset = store.open(tmp_path / "cache").create("voted", clips, task=Classification(("joy", "anger")))
    clip_table.write_clip_table(dataset, tmp_path, [])
    assert clip_table.read_clip_table(tmp_path / clip_table.TABLE).clips == tuple(clips)
