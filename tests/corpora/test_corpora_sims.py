"""CH-SIMS: label.csv with and without a header, and the older release's folder metadata."""

from __future__ import annotations

from pathlib import Path

import pytest

from mse_pipeline import corpora
from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Regression

HEADER = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"
ROWS = (
    "video_0001,0001,我不想嫁给李茶,-1.0,-0.8,-0.6,-0.4,Negative,train",
    "video_0001,0002,好,0.0,0,0,0,Neutral,valid",
    "video_0060,0010,你这是嫁入豪门啊！,0.8,0.2,0.4,0.6,Positive,test",
)
MEDIA = dict.fromkeys(["Raw/video_0001/0001.mp4", "Raw/video_0001/0002.mp4", "Raw/video_0060/0010.mp4"], "")
IDS = "video_id,clip_id"
OLD = {
    "metadata/sentiment/label_M.csv": f"{IDS},label\nvideo_0001,1,-1.0\nvideo_0001,2,0.0\nvideo_0060,10,0.8\n",
    "metadata/sentiment/label_T.csv": (
        f"{IDS},text,label\nvideo_0001,1,我不想嫁给李茶,-0.8\nvideo_0001,2,好,0\nvideo_0060,10,你这是嫁入豪门啊！,0.2\n"
    ),
    "metadata/sentiment/label_A.csv": f"{IDS},label\nvideo_0001,1,-0.6\nvideo_0001,2,0\nvideo_0060,10,0.4\n",
    "metadata/sentiment/label_V.csv": f"{IDS},label\nvideo_0001,1,-0.4\nvideo_0001,2,0\nvideo_0060,10,0.6\n",
    "metadata/train_index.csv": "index\n0\n",
    "metadata/val_index.csv": "index\n1\n",
    "metadata/test_index.csv": "index\n2\n",
}


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


def small(root: Path, files: dict[str, str], **options):
    return corpora.read("sims", tree(root, files), {"official": False, **options})


def test_a_clip_carries_all_that_the_row_says(tmp_path):
    corpus = small(tmp_path, {"label.csv": "\n".join([HEADER, *ROWS])} | MEDIA)
    clip = corpus.clips[0]
    assert (clip.id, clip.split, clip.media) == ("video_0001$_$0001", Split.TRAIN, "Raw/video_0001/0001.mp4")
    assert (clip.text, clip.language, clip.label) == ("我不想嫁给李茶", "zh", -1.0)
    assert dict(clip.labels) == {"text": -0.8, "acoustic": -0.6, "visual": -0.4}
    assert corpus.task == Regression(-1, 1)
    assert corpus.defects == ()


@pytest.mark.parametrize(
    "files",
    [{"label.csv": "\n".join(ROWS)}, {f"CH-SIMS/{name}": text for name, text in OLD.items()}, OLD],
    ids=["without header", "older release in a folder", "older release"],
)
def test_all_releases_give_the_same_clips(tmp_path, files):
    folder = "CH-SIMS/" if any(name.startswith("CH-SIMS/") for name in files) else ""
    media = {folder + name: "" for name in MEDIA}
    newest = small(tmp_path / "a", {f"{folder}label.csv": "\n".join([HEADER, *ROWS])} | media)
    other = small(tmp_path / "b", files | media)
    assert other.clips == newest.clips
    assert other.defects == ()
    assert other.with_media() == 3


def test_the_newer_table_is_preferred_over_the_older_release(tmp_path):
    corpus = small(tmp_path, {"label.csv": "\n".join([HEADER, *ROWS])} | OLD | MEDIA)
    assert corpus.sources == ("label.csv",)
    assert corpus.notes == ("metadata/sentiment/label_M.csv is ignored: label.csv is used.",)


def test_the_table_of_the_second_version_beside_it_is_left_aside(tmp_path):
    rows = "\n".join([HEADER, *ROWS])
    corpus = small(tmp_path, {"v2/meta.csv": rows, "v1/label.csv": rows})
    assert corpus.sources == ("v1/label.csv",)


def test_texts_that_no_file_has_are_a_note(tmp_path):
    files = {name: text for name, text in OLD.items() if not name.endswith("label_T.csv")}
    corpus = small(tmp_path, files | MEDIA)
    assert {clip.text for clip in corpus.clips} == {""}
    assert any("has a column text" in note for note in corpus.notes)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("train_index.csv", "index\n7\n", "train_index.csv, row 2: '7' is not a row number from 0 to 2"),
        ("train_index.csv", "index\nx\n", "'x' is not a row number"),
        ("train_index.csv", "index\n0\n1\n", "clip 1 is of split train already"),
        ("train_index.csv", "index\n1.5\n", "'1.5' is not a row number"),
        ("sentiment/label_A.csv", f"{IDS},label\nvideo_0001,1,0\n", "label_A.csv does not have the clips of"),
        ("sentiment/label_M.csv", "video_id,label\nvideo_0001,0\n", "label_M.csv has no column clip_id"),
        (
            "sentiment/label_V.csv",
            OLD["metadata/sentiment/label_V.csv"].replace("0.6", "much"),
            "not numbers, in rows 4",
        ),
        ("sentiment/label_M.csv", f"{IDS},label\n../etc,1,0\n", "ids that are not plain names, in rows 2"),
    ],
)
def test_broken_files_of_the_older_release_are_refused_by_name_and_row(tmp_path, name, content, says):
    with pytest.raises(UsageError, match=says):
        small(tmp_path, OLD | {f"metadata/{name}": content})


def test_an_index_with_row_numbers_of_its_own_is_read_by_its_column(tmp_path):
    corpus = small(tmp_path, OLD | {"metadata/test_index.csv": ",index\n0,2\n"})
    assert [clip.split for clip in corpus.clips] == [Split.TRAIN, Split.VALID, Split.TEST]


def test_without_a_list_of_a_split_the_older_release_is_refused(tmp_path):
    files = {name: text for name, text in OLD.items() if "val_index" not in name}
    with pytest.raises(UsageError, match=r"there is no val_index.csv"):
        small(tmp_path, files)


def test_a_clip_that_no_list_names_is_refused(tmp_path):
    fourth = {name: text + "video_0060,11,0.2\n" for name, text in OLD.items() if name.endswith("label_M.csv")}
    files = {name: text for name, text in OLD.items() if "sentiment" not in name}
    with pytest.raises(UsageError, match=r"label_M.csv has clips that no list of a split names, in rows 5"):
        small(tmp_path, files | fourth)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a.txt": ""}, "no label table of CH-SIMS"),
        ({"Raw.zip": ""}, "unpack Raw.zip"),
        (MEDIA, r"Clips are there \(3\)"),
    ],
)
def test_without_a_table_the_next_step_is_told(tmp_path, files, says):
    with pytest.raises(UsageError, match=says):
        small(tmp_path, files)


def test_official_counts_are_compared(tmp_path):
    corpus = corpora.read("sims", tree(tmp_path, {"label.csv": "\n".join([HEADER, *ROWS])} | MEDIA))
    assert corpus.expected == {Split.TRAIN: 1368, Split.VALID: 456, Split.TEST: 457}
    assert [defect.message for defect in corpus.defects] == [
        "Of clips of split train there are 1; officially there are 1368.",
        "Of clips of split valid there are 1; officially there are 456.",
        "Of clips of split test there are 1; officially there are 457.",
    ]
