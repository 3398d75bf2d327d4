"""CMU's .csd files come in as clips and streams, and hurt nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Split
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange import csd
from mse_pipeline.exchange.base import bring_in
from mse_pipeline.task import Regression

SPLITS = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode\n"
VIDEOS = {"-3g5yACwYnA": "train", "a_b": "valid", "c": "test"}
THIRD = 1 / 3
LABELS = {
    "-3g5yACwYnA": ([[-0.417, 1.0], [1.0, 2.0]], [[THIRD, 1, 0, 0, 0, 0, 0], [-3, 0, 0, 0, 0, 0, 2 / 3]]),
    "a_b": ([[0.5, 1.5]], [[0, 0, 0, 0, 0, 0, 0]]),
    "c": ([[0.0, 1.0], [1.0, 1.0]], [[3, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]]),
}


def write_csd(path: Path, root: str, data: dict, metadata: dict | None = None, **create) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        home = file.create_group(root)
        for entry, (intervals, features) in data.items():
            group = home.create_group(f"data/{entry}")
            group.create_dataset("features", data=features, **create)
            group.create_dataset("intervals", data=np.array(intervals, float).reshape(-1, 2))
        home.require_group("data")
        for name, value in (metadata or {"root name": root}).items():
            home.create_dataset(f"metadata/{name}", (1,), h5py.string_dtype())[0] = json.dumps(value)


def steps(rows: int, step: float) -> np.ndarray:
    begins = np.arange(rows) * step
    return np.stack([begins, begins + step], axis=1)


@pytest.fixture
def mosei(tmp_path):
    """A small CMU-MOSEI: three videos of two seconds, files in folders as the SDK downloads them."""
    folder = tmp_path / "mosei"
    rng = np.random.default_rng(0)
    write_csd(
        folder / "labels/CMU_MOSEI_Labels.csd", "All Labels", {k: (i, np.float32(v)) for k, (i, v) in LABELS.items()}
    )
    covarep = {video: (steps(200, 0.01), rng.normal(size=(200, 74)).astype(np.float32)) for video in VIDEOS}
    covarep["c"][1][3, 5] = -np.inf
    covarep["c"][1][4, 6:8] = np.nan
    write_csd(folder / "acoustic/CMU_MOSEI_COVAREP.csd", "COVAREP", covarep, compression="gzip")
    facet = {video: (steps(60, 1 / 30), rng.normal(size=(60, 35))) for video in ("-3g5yACwYnA", "a_b")}
    write_csd(folder / "visual/CMU_MOSEI_VisualFacet42.csd", "FACET 4.2", facet)
    openface = {video: (steps(60, 1 / 30), rng.normal(size=(60, 713)).astype(np.float32)) for video in VIDEOS}
    write_csd(folder / "visual/CMU_MOSEI_VisualOpenFace2.csd", "OpenFace_2", openface)
    words = {
        "-3g5yACwYnA": ([[0, 0.5], [0.5, 1.2], [1.2, 2]], np.array([[b"so"], [b"sp"], [b"good"]], "S32")),
        "a_b": ([[0.6, 1.0]], np.array([["café".encode()]], "S32")),
    }
    write_csd(folder / "language/CMU_MOSEI_TimestampedWords.csd", "words", words)
    write_csd(folder / "language/CMU_MOSEI_TimestampedPhones.csd", "phones", words)
    rows = "".join(f"{video},0,,0.0,,,,Neutral,{mode}\n" for video, mode in VIDEOS.items())
    (folder / "label.csv").write_text(SPLITS + rows, encoding="utf-8")
    return folder


def test_clips_are_the_intervals_of_the_label_file(mosei):
    imported = csd.read(mosei)
    assert imported.task == Regression(-3, 3)
    assert [clip.id for clip in imported.clips] == ["-3g5yACwYnA[0]", "-3g5yACwYnA[1]", "a_b[0]", "c[0]"]
    assert [clip.split for clip in imported.clips] == [Split.TRAIN, Split.TRAIN, Split.VALID, Split.TEST]
    assert [clip.label for clip in imported.clips] == [0.333333, -3, 0, 3]
    assert [clip.text for clip in imported.clips] == ["so", "good", "café", ""]
    first = imported.clips[0]
    assert (first.start, first.end) == (0.0, 1.0)
    assert first.labels == {"happy": 1, "sad": 0, "anger": 0, "surprise": 0, "disgust": 0, "fear": 0}
    told = " ".join(imported.notes)
    assert "1 clips began before their video" in told
    assert "1 clips without length were left out: c[1]" in told
    assert "phones" in told
    assert "Splits are those of label.csv" in told
    assert imported.source["files"]["acoustic/CMU_MOSEI_COVAREP.csd"]["root"] == "COVAREP"


def test_streams_are_the_rows_within_the_interval_on_the_clips_clock(mosei, tmp_path):
    imported = csd.read(mosei)
    dataset = bring_in(imported, store.open(tmp_path / "cache"), "mosei")
    assert {stream: next(iter(dataset[stream].values())).dim for stream in dataset} == {
        "acoustic.covarep": 74,
        "visual.facet42": 35,
        "visual.openface2": 713,
    }
    features = dataset["acoustic.covarep"]["-3g5yACwYnA[1]"]
    with h5py.File(mosei / "acoustic/CMU_MOSEI_COVAREP.csd") as file:
        stored = file["COVAREP/data/-3g5yACwYnA/features"][100:200]
    assert np.array_equal(features.values, stored)
    assert features.intervals[0] == pytest.approx([0, 0.01])
    assert features.intervals[-1] == pytest.approx([0.99, 1.0])
    assert len(dataset["acoustic.covarep"]["-3g5yACwYnA[0]"]) == 100
    assert "c[0]" not in dataset["visual.facet42"]
    told = dataset.manifest.source["imports"][0]["notes"]
    assert "acoustic.covarep: 1 infinite and 2 NaN values in 1 clips are not defined." in told
    assert "visual.facet42: 1 clips are not in CMU_MOSEI_VisualFacet42.csd and have no features." in told
    undefined = np.isnan(dataset["acoustic.covarep"]["c[0]"].values)
    assert np.argwhere(undefined).tolist() == [[3, 5], [4, 6], [4, 7]]
    assert dataset["acoustic.covarep"]["c[0]"].valid.all()


def test_rows_at_the_edge_are_cut_to_the_clip(mosei, tmp_path):
    dataset = bring_in(csd.read(mosei), store.open(tmp_path / "cache"), "mosei")
    edge = dataset["visual.facet42"]["a_b[0]"]
    assert len(edge) == 30
    write_csd(mosei / "visual/x.csd", "Slow", {"a_b": ([[0, 0.7], [0.7, 1.4], [1.4, 2.1]], np.eye(3))})
    slow = dict(csd.read(mosei, roots="Slow=visual.slow").streams["visual.slow"]())["a_b[0]"]
    assert slow.intervals == pytest.approx(np.array([[0, 0.2], [0.2, 0.9], [0.9, 1.0]]))


def test_aligned_files_are_their_own_clips(mosei):
    aligned = {"c[0]": ([[0.0, 0.4], [0.4, 1.0]], np.float32([[3] + [0] * 6] * 2))}
    write_csd(mosei / "labels/CMU_MOSEI_Labels.csd", "All Labels", aligned)
    write_csd(
        mosei / "acoustic/CMU_MOSEI_COVAREP.csd", "COVAREP", {"c[0]": ([[0.2, 0.4], [0.4, 1.0]], np.ones((2, 74)))}
    )
    imported = csd.read(mosei)
    assert [(clip.id, clip.start, clip.end, clip.label) for clip in imported.clips] == [("c[0]", 0, 1, 3)]
    features = dict(imported.streams["acoustic.covarep"]())["c[0]"]
    assert features.intervals == pytest.approx(np.array([[0.2, 0.4], [0.4, 1.0]]))


def test_emotions_can_be_the_target(mosei):
    imported = csd.read(mosei, target="happy")
    assert imported.task == Regression(0, 3)
    assert imported.clips[0].label == 1
    assert imported.clips[0].labels["sentiment"] == 0.333333


def test_missing_words_and_missing_rows_are_told(mosei):
    (mosei / "language/CMU_MOSEI_TimestampedWords.csd").unlink()
    gap = {"-3g5yACwYnA": (steps(5, 0.01), np.ones((5, 74)))}
    write_csd(
        mosei / "acoustic/CMU_MOSEI_COVAREP.csd", "COVAREP", gap, {"dimension names": [f"c{i}" for i in range(74)]}
    )
    imported = csd.read(mosei)
    rows = dict(imported.streams["acoustic.covarep"]())
    assert list(rows) == ["-3g5yACwYnA[0]"]
    assert rows["-3g5yACwYnA[0]"].names[:2] == ("c0", "c1")
    told = " ".join(imported.notes)
    assert "clips have no text" in told
    assert "1 clips have no row within their interval" in told


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.json", '{"train": ["-3g5yACwYnA"], "dev": ["a_b[0]"], "test": ["c"]}'),
        ("s.csv", "id,split\n-3g5yACwYnA,train\na_b,val\nc,test\n"),
        ("s.tsv", "vid\tmode\n-3g5yACwYnA\ttrain\na_b\tvalid\nc\ttest\n"),
    ],
)
def test_splits_come_from_the_users_list(mosei, tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    splits = [clip.split for clip in csd.read(mosei, splits=str(tmp_path / name)).clips]
    assert splits == [Split.TRAIN, Split.TRAIN, Split.VALID, Split.TEST]


def test_clips_outside_of_the_list_are_left_out_and_counted(mosei, tmp_path):
    (tmp_path / "s.json").write_text('{"train": ["c"]}')
    imported = csd.read(mosei, splits=str(tmp_path / "s.json"))
    assert [clip.id for clip in imported.clips] == ["c[0]"]
    assert "3 annotated clips are in no split of the list and were left out." in imported.notes


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("s.json", "[1, 2]", "does not map splits"),
        ("s.json", "{", "is not JSON"),
        ("s.json", "{}", "names no id"),
        ("s.json", '{"fold0": ["a"]}', "other than train, valid and test: 'fold0' of a"),
        ("s.json", '{"train": ["a"], "test": ["a"]}', "two splits: a"),
        ("s.json", '{"train": ["nobody"]}', "No annotated clip is in the list"),
        ("s.csv", "id,label\na,1\n", "has the columns id, label"),
        ("s.txt", "a train", "is not a list of splits"),
        (None, "", "There is no list of splits"),
    ],
)
def test_lists_of_splits_that_do_not_fit_are_refused(mosei, tmp_path, name, content, says):
    if name:
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=says):
        csd.read(mosei, splits=str(tmp_path / (name or "nowhere.json")))


def relabel(folder, intervals, features):
    write_csd(folder / "labels/CMU_MOSEI_Labels.csd", "All Labels", {"c": (intervals, np.array(features, float))})


@pytest.mark.parametrize(
    ("spoil", "options", "says"),
    [
        (lambda f: (f / "label.csv").unlink(), {}, "do not tell splits.*there is no label.csv.*option splits"),
        (lambda f: (f / "b.csv").write_text((f / "label.csv").read_text()), {}, "several tables were found"),
        (lambda f: (f / "labels/CMU_MOSEI_Labels.csd").unlink(), {}, "root 'All Labels'.*COVAREP"),
        (lambda f: None, {"target": "hapy"}, "did you mean happy"),
        (lambda f: None, {"roots": "Nothing=visual.x"}, "no root 'Nothing'"),
        (lambda f: None, {"roots": "COVAREP=nonsense"}, "ROOT=acoustic.NAME"),
        (lambda f: None, {"roots": "COVAREP=visual.facet42"}, "are both the stream visual.facet42"),
        (lambda f: relabel(f, [[0, 1]], [[9, 0, 0, 0, 0, 0, 0]]), {}, r"c\[0\] \(9.0\)"),
        (lambda f: relabel(f, [[0, 1]], [[np.nan, 0, 0, 0, 0, 0, 0]]), {}, r"c\[0\] \(None\)"),
        (lambda f: relabel(f, [[0, 1]], [[1]]), {"target": "fear"}, "annotates sentiment; the option target"),
    ],
)
def test_what_is_missing_or_wrong_is_named(mosei, spoil, options, says):
    spoil(mosei)
    with pytest.raises(UsageError, match=says):
        csd.read(mosei, **options)


def test_a_file_or_an_empty_folder_is_refused(mosei, tmp_path):
    with pytest.raises(UsageError, match="one file; give the folder"):
        csd.read(mosei / "labels/CMU_MOSEI_Labels.csd")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no \.csd file"):
        csd.read(tmp_path / "empty")


def test_two_files_of_one_root_are_refused(mosei):
    (mosei / "copy.csd").write_bytes((mosei / "acoustic/CMU_MOSEI_COVAREP.csd").read_bytes())
    with pytest.raises(UsageError, match="both have the root COVAREP"):
        csd.read(mosei)


def consume(folder):
    imported = csd.read(folder)
    for reader in imported.streams.values():
        for _ in reader():
            pass


COVAREP = "acoustic/CMU_MOSEI_COVAREP.csd"


def hostile(change):
    """Spoil the group of video c in the COVAREP file."""

    def spoil(folder):
        with h5py.File(folder / COVAREP, "r+") as file:
            change(file["COVAREP/data/c"], folder)

    return spoil


def swap(name, make):
    def change(group, folder):
        del group[name]
        make(group, folder)

    return hostile(change)


def outside(folder):
    with h5py.File(folder.parent / "secret.h5", "w") as file:
        file["features"] = np.ones((200, 74))
    return folder.parent / "secret.h5"


def external_storage(group, folder):
    secret = folder.parent / "secret.bin"
    secret.write_bytes(bytes(200 * 74 * 4))
    group.create_dataset("features", (200, 74), "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def virtual(group, folder):
    layout = h5py.VirtualLayout((200, 74), "f4")
    layout[:] = h5py.VirtualSource(str(outside(folder)), "features", (200, 74))
    group.create_virtual_dataset("features", layout)


def number_for_video(group, folder):
    data = group.parent
    del data["c"]
    data["c"] = [1.0]


def link_root(folder):
    with h5py.File(folder / COVAREP, "w") as file:
        file["COVAREP"] = h5py.ExternalLink(str(outside(folder)), "/")


def truncate(folder):
    data = (folder / COVAREP).read_bytes()
    (folder / COVAREP).write_bytes(data[: len(data) // 2])


def flip(folder):
    data = bytearray((folder / COVAREP).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20000] = bytes(20000)
    (folder / COVAREP).write_bytes(data)


HOSTILE = {
    "external link to features": (
        swap("features", lambda g, f: g.__setitem__("features", h5py.ExternalLink(str(outside(f)), "features"))),
        "link to another file.*refused",
    ),
    "soft link to features": (
        swap("features", lambda g, f: g.__setitem__("features", h5py.SoftLink("/COVAREP/data/a_b/features"))),
        "link to another place",
    ),
    "dangling soft link": (
        swap("features", lambda g, f: g.__setitem__("features", h5py.SoftLink("/nowhere"))),
        "link to another place",
    ),
    "external link at the root": (link_root, "link to another file"),
    "values in other files": (swap("features", external_storage), "keeps its values in other files"),
    "virtual dataset": (swap("features", virtual), "keeps its values in other files"),
    "objects": (
        swap("features", lambda g, f: g.create_dataset("features", data=["a"] * 200, dtype=h5py.string_dtype())),
        "type object; only numbers",
    ),
    "vlen arrays": (
        swap("features", lambda g, f: g.create_dataset("features", (200, 74), h5py.vlen_dtype("f8"))),
        "only numbers",
    ),
    "references": (
        swap("features", lambda g, f: g.create_dataset("features", (200, 74), h5py.ref_dtype)),
        "only numbers",
    ),
    "records": (
        swap("features", lambda g, f: g.create_dataset("features", (200, 74), [("a", "f4")])),
        "only numbers",
    ),
    "a claim of 10^12 values": (
        swap("features", lambda g, f: g.create_dataset("features", (10**10, 100), "f4", chunks=(1000, 100))),
        "claims 4,000,000,000,000 bytes; at most",
    ),
    "a claim that the file does not hold": (
        swap("features", lambda g, f: g.create_dataset("features", (10**6, 74), "f4", chunks=(1000, 74))),
        "claims 296,000,000 bytes but the file holds 0",
    ),
    "intervals that claim more": (
        swap("intervals", lambda g, f: g.create_dataset("intervals", (10**8, 2), "f8", chunks=(1000, 2))),
        "intervals claims",
    ),
    "a chunk of 2 GB": (
        swap(
            "features",
            lambda g, f: g.create_dataset("features", (1, 74), "f4", chunks=(2**23, 74), maxshape=(None, 74)),
        ),
        "chunks of 2,483,027,968 bytes",
    ),
    "another filter": (
        swap("features", lambda g, f: g.create_dataset("features", data=np.ones((200, 74), "i4"), scaleoffset=4)),
        "HDF5 filter 6",
    ),
    "a group in place of values": (swap("features", lambda g, f: g.create_group("features")), "is not a dataset"),
    "no features": (swap("features", lambda g, f: None), "features is missing"),
    "three axes": (
        swap("features", lambda g, f: g.create_dataset("features", data=np.ones((200, 2, 3)))),
        r"has features \(200, 2, 3\)",
    ),
    "other lengths": (
        swap("intervals", lambda g, f: g.create_dataset("intervals", data=np.ones((3, 2)))),
        r"intervals \(3, 2\)",
    ),
    "other widths": (
        swap("features", lambda g, f: g.create_dataset("features", data=np.ones((200, 7)))),
        "has 7 columns, others have 74",
    ),
    "infinite times": (
        swap("intervals", lambda g, f: g.create_dataset("intervals", data=np.full((200, 2), [-np.inf, np.inf]))),
        "not finite numbers of seconds",
    ),
    "names with control signs": (
        hostile(lambda g, f: g.parent.create_group("a\nb")),
        r"'a\\nb', which is not a plain name",
    ),
    "a dataset in place of a video": (
        hostile(number_for_video),
        "is not a group",
    ),
    "no HDF5": (lambda f: (f / COVAREP).write_bytes(b"import os"), "cannot be read as HDF5"),
    "empty": (lambda f: (f / COVAREP).write_bytes(b""), "cannot be read as HDF5"),
    "truncated": (truncate, "cannot be read as HDF5"),
    "damaged within": (flip, "."),
}


@pytest.mark.parametrize(("spoil", "says"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused_and_named(mosei, spoil, says):
    spoil(mosei)
    with pytest.raises(MseError, match=says) as caught:
        consume(mosei)
    assert "CMU_MOSEI_COVAREP.csd" in str(caught.value)


def test_hostile_labels_words_and_metadata_are_refused(mosei):
    label_file = mosei / "labels/CMU_MOSEI_Labels.csd"
    whole = label_file.read_bytes()
    write_csd(label_file, "All Labels", {"c": ([[0, 1]], np.ones((1, 3)))})
    with pytest.raises(MseError, match="have 3 columns; expected 7"):
        csd.read(mosei)
    write_csd(label_file, "All Labels", {"c": ([[0, 1]], np.ones((2, 7)))})
    with pytest.raises(MseError, match=r"shapes \(2, 7\) and \(1, 2\)"):
        csd.read(mosei)
    label_file.write_bytes(whole)
    words = mosei / "language/CMU_MOSEI_TimestampedWords.csd"
    kept = words.read_bytes()
    write_csd(words, "words", {"c": ([[0, 1]], np.array([["x"] * 2], "S4"))})
    with pytest.raises(MseError, match="has 2 words but intervals"):
        csd.read(mosei)
    write_csd(words, "words", {"c": ([[0, 1]], np.ones((1, 1)))})
    with pytest.raises(MseError, match="only texts are read"):
        csd.read(mosei)
    words.write_bytes(kept)
    with h5py.File(mosei / COVAREP, "r+") as file:
        file.create_dataset("COVAREP/metadata/dimension names", (10**9,), h5py.string_dtype(), chunks=(1000,))
    with pytest.raises(MseError, match="must be one string"):
        consume(mosei)


def test_words_that_are_not_utf8_stay_visible(mosei):
    words = {"c": ([[0, 1]], np.array([[b"a\xff"]], "S4"))}
    write_csd(mosei / "language/CMU_MOSEI_TimestampedWords.csd", "words", words)
    imported = csd.read(mosei)
    assert imported.clips[-1].text == "a\ufffd"
    assert any("not UTF-8" in note for note in imported.notes)


def test_a_link_out_of_the_folder_is_not_followed(mosei, tmp_path):
    (mosei / COVAREP).rename(tmp_path / "elsewhere.csd")
    (mosei / COVAREP).symlink_to(tmp_path / "elsewhere.csd")
    imported = csd.read(mosei)
    assert "acoustic.covarep" not in imported.streams
    assert any(note.startswith(f"{COVAREP} is a symbolic link out of the root") for note in imported.notes)


MEMORY = """
import sys
from pathlib import Path
from mse_pipeline import store
from mse_pipeline.exchange import registry
from mse_pipeline.exchange.base import bring_in
imported = registry.read(sys.argv[1], Path(sys.argv[2]))
dataset = bring_in(imported, store.open(sys.argv[3]), "big")
# Not ru_maxrss, which begins with what the parent had.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024, sum(len(v) for v in dataset["acoustic.covarep"].values()))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    folder = tmp_path / "big"
    rows, videos = 60_000, 32  # ten minutes of 10 ms rows each: 570 MB in all; clips of 7.5 s, as CMU-MOSEI's
    block = np.random.default_rng(0).normal(size=(rows, 74)).astype(np.float32)
    labels = {f"v{n}": (steps(80, 7.5), np.ones((80, 7), np.float32)) for n in range(videos)}
    write_csd(folder / "labels.csd", "All Labels", labels)
    write_csd(folder / "covarep.csd", "COVAREP", {video: (steps(rows, 0.01), block) for video in labels})
    ids = "".join(f"v{n},0,,0,,,,Neutral,train\n" for n in range(videos))
    (folder / "label.csv").write_text(SPLITS + ids)
    assert (folder / "covarep.csd").stat().st_size > 550 << 20
    command = [sys.executable, "-c", MEMORY, "csd", str(folder), str(tmp_path / "cache")]
    peak, total = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert total == rows * videos
    assert peak < 500, f"{peak} MB"


def test_words_of_variable_length_and_without_times(mosei):
    with h5py.File(mosei / "language/CMU_MOSEI_TimestampedWords.csd", "w") as file:
        group = file.create_group("words/data/c")
        group["features"] = np.array(["so", "sp", "what", "lost"], dtype=h5py.string_dtype())
        group["intervals"] = np.array([[0, 0.2], [0.2, 0.3], [0.3, 0.9], [0.5, np.nan]])
    imported = csd.read(mosei)
    assert imported.clips[-1].text == "so what"
    assert any("1 words of CMU_MOSEI_TimestampedWords.csd have no finite times" in note for note in imported.notes)
