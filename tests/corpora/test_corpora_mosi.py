"""CMU-MOSI in MMSA's layout and with CMU's segments and transcripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from mse_pipeline import corpora, recipe
from mse_pipeline.clip import Split
from mse_pipeline.corpora import mosi
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression
from tests.corpora.raw_folder import tree

HEADER = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"
LABELS = (
    f"{HEADER}\n03bSn,1,Yes.,2.4,,,,Positive,train\n_dI--e,12,,-1.75,,,,Negative,valid\nZ_9,3,Hm.,0,,,,Neutral,test\n"
)


def small(root: Path, files: dict[str, str | bytes], **options):
    return corpora.read("mosi", tree(root, files), {"official": False, **options})


MEDIA = {
    "mmsa": ("Raw/03bSn/1.mp4", "Raw/_dI--e/12.mp4", "Raw/Z_9/3.mp4"),
    "cmu": tuple(f"Raw/Video/Segmented/{name}.mp4" for name in ("03bSn_1", "_dI--e_12", "Z_9_3")),
}


@pytest.mark.parametrize("layout", MEDIA)
@pytest.mark.parametrize("outer", ["", "MOSI/"])
def test_both_layouts_give_the_same_clips(tmp_path, layout, outer):
    files = {
        f"{outer}label.csv": LABELS,
        f"{outer}Raw/Transcript/Segmented/_dI--e.annotprocessed": "1_DELIM_A\r\n12_DELIM_SO _DELIM_ BAD\r\n",
        **{f"{outer}{path}": b"" for path in MEDIA[layout]},
    }
    corpus = small(tmp_path, files)
    assert [(c.id, c.split, c.label, c.text, c.turn) for c in corpus.clips] == [
        ("03bSn$_$1", Split.TRAIN, 2.4, "Yes.", 1),
        ("_dI--e$_$12", Split.VALID, -1.75, "SO _DELIM_ BAD", 12),
        ("Z_9$_$3", Split.TEST, 0.0, "Hm.", 3),
    ]
    assert [clip.media for clip in corpus.clips] == [f"{outer}{path}" for path in MEDIA[layout]]
    assert corpus.defects == ()
    assert corpus.task == Regression(-3.0, 3.0)
    assert corpus.sources == (f"{outer}label.csv",)


def test_missing_clips_and_files_without_label_are_told(tmp_path):
    files = {
        "label.csv": LABELS,
        "Raw/03bSn/1.mp4": b"",
        "Raw/03bSn/2.mp4": b"",
        "Raw/Video/Full/Combined/Z_9.mp4": b"",
    }
    corpus = small(tmp_path, files)
    assert [(defect.code, defect.clip or defect.path) for defect in corpus.defects] == [
        ("missing_media", "_dI--e$_$12"),
        ("missing_media", "Z_9$_$3"),
        ("unlabelled_media", "Raw/03bSn/2.mp4"),
    ]


def test_polarity_is_the_sign_of_the_sentiment(tmp_path):
    corpus = small(tmp_path, {"label.csv": LABELS}, target="polarity")
    assert corpus.task == Classification(("negative", "neutral", "positive"))
    assert [(clip.label, clip.labels["sentiment"]) for clip in corpus.clips] == [
        ("positive", 2.4),
        ("negative", -1.75),
        ("neutral", 0.0),
    ]


def test_official_counts_and_the_corrupted_full_video_are_told(tmp_path):
    full = "Raw/Video/Full/Combined/c5xsKMxpXnc.mp4"
    labels = LABELS + "c5xsKMxpXnc,1,x,1,,,,Positive,train\n"
    corpus = corpora.read("mosi", tree(tmp_path, {"label.csv": labels, full: b""}))
    assert corpus.expected == mosi.OFFICIAL == {Split.TRAIN: 1284, Split.VALID: 229, Split.TEST: 686}
    assert [d.message for d in corpus.defects if d.code == "split_count_mismatch"] == [
        "Of clips of split train there are 2; officially there are 1284.",
        "Of clips of split valid there are 1; officially there are 229.",
        "Of clips of split test there are 1; officially there are 686.",
    ]
    (bad,) = [defect for defect in corpus.defects if defect.code == "known_bad"]
    assert bad.path == full
    assert "(CMU-MultimodalSDK issue 217)" in bad.message


def test_without_labels_the_error_tells_what_was_looked_for(tmp_path):
    with pytest.raises(UsageError, match=r"no labels of MOSI: MMSA's label\.csv .* Media are there \(1 files\)"):
        small(tmp_path, {"Raw/a/1.mp4": b""})


@pytest.mark.parametrize(
    ("options", "task", "message"),
    [
        ({}, Classification(("a", "b")), "MOSI's sentiment is a number"),
        ({"target": "polarity"}, Classification(("a", "b")), "MOSI's polarity has the classes"),
        ({"target": "polarity"}, Regression(-1, 1), "MOSI's polarity has the classes"),
    ],
)
def test_tasks_that_do_not_fit_are_told(tmp_path, options, task, message):
    tree(tmp_path, {"label.csv": LABELS})
    with pytest.raises(UsageError, match=message):
        corpora.read("mosi", tmp_path, options, task)


def test_the_recipe_may_tell_the_task(tmp_path):
    tree(tmp_path, {"label.csv": LABELS})
    corpus = corpora.read("mosi", tmp_path, {"official": False}, Regression(-2, 2))
    assert [clip.label for clip in corpus.clips] == [None, -1.75, 0.0]
    task = Classification(("positive", "neutral", "negative"))
    assert corpora.read("mosi", tmp_path, {"target": "polarity"}, task).task == task


def test_the_shipped_recipe_reads_mosi():
    assert recipe.load("mosi", checks=[corpora.check]).corpus.name == "mosi"
