"""CMU-MOSEI in CMU's tree and in MMSA's layout, with labels from each of the three sources."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mse_pipeline import corpora, recipe
from mse_pipeline.clip import Split
from mse_pipeline.corpora import mosei
from mse_pipeline.corpora.mosei import MoseiMedia
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression
from tests.corpora.raw_folder import tree

HEADER = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"
SEGMENTED = "Raw/Videos/Segmented/Combined"
FULL = "Raw/Videos/Full/Combined"
SPOKEN = "Raw/Transcript/Segmented/Combined"
DUMP_HEADER = "AssignmentId,Input.VIDEO_ID,Input.CLIP,Answer.sentiment," + ",".join(
    f"Answer.{emotion}" for emotion in ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
)


def table(*rows):
    """(video, clip, label, mode[, text]) -> MMSA's label.csv."""
    lines = [f'{v},{c},"{text[0] if text else ""}",{label},,,,,{mode}' for v, c, label, mode, *text in rows]
    return "\n".join([HEADER, *lines]) + "\n"


LABELS = table(("-aB", 0, 0.5, "train", "Yes."), ("A_1", 3, -3.0, "valid", "No."), ("x", 12, 0.0, "test", "Hm."))
TRANSCRIPTS = {
    f"{SPOKEN}/-aB.txt": "-aB___0___-0.417___4.2___Yes.\n-aB___1___4.2___9.9___And.\n",
    f"{SPOKEN}/A_1.txt": "A_1___3___10.5___12.25___No.\n",
    f"{SPOKEN}/x.txt": "x___12___1.0___2.0___Hm.\n",
}


def small(root: Path, files: dict[str, str | bytes], **options):
    return corpora.read("mosei", tree(root, files), {"official": False, **options})


def codes(corpus, *wanted):
    return [(defect.code, defect.clip, defect.path) for defect in corpus.defects if defect.code in wanted]


def test_mmsa_layout_gives_clips_with_mmsa_ids(tmp_path):
    media = {"Raw/-aB/0.mp4": b"", "Raw/A_1/3.mp4": b"", "Raw/x/12.mp4": b""}
    corpus = small(tmp_path, {"label.csv": LABELS, **media})
    assert [(c.id, c.split, c.media, c.label, c.text, c.start, c.end) for c in corpus.clips] == [
        ("-aB$_$0", Split.TRAIN, "Raw/-aB/0.mp4", 0.5, "Yes.", None, None),
        ("A_1$_$3", Split.VALID, "Raw/A_1/3.mp4", -3.0, "No.", None, None),
        ("x$_$12", Split.TEST, "Raw/x/12.mp4", 0.0, "Hm.", None, None),
    ]
    assert [(c.dialogue, c.turn, c.language) for c in corpus.clips] == [
        ("-aB", 0, "en"),
        ("A_1", 3, "en"),
        ("x", 12, "en"),
    ]
    assert corpus.defects == ()
    assert corpus.task == Regression(-3.0, 3.0)
    assert corpus.sources == ("label.csv",)
    assert "Splits: MMSA's list, column mode of label.csv." in corpus.notes
    assert any(note.startswith("Labels: MMSA's label.csv") for note in corpus.notes)


@pytest.mark.parametrize("outer", ["", "CMU_MOSEI/", "data/MOSEI/"])
def test_cmus_tree_gives_segmented_files(tmp_path, outer):
    names = ("-aB_0", "A_1_3", "x_12")
    media = {f"{outer}{SEGMENTED}/{name}.mp4": b"" for name in names}
    full = {f"{outer}{FULL}/{name}.mp4": b"" for name in ("-aB", "A_1", "x")}
    corpus = small(tmp_path, {"label.csv": LABELS, **media, **full})
    assert [clip.media for clip in corpus.clips] == list(media)
    assert corpus.defects == ()
    assert "Media: segmented files; missing ones are not filled." in corpus.notes


@pytest.mark.parametrize("option", ["full", "auto"])
def test_full_videos_give_spans_from_the_transcripts(tmp_path, option):
    media = {f"{FULL}/{name}.mp4": b"" for name in ("-aB", "A_1", "x")}
    corpus = small(tmp_path, {"label.csv": LABELS, **media, **TRANSCRIPTS}, media=option)
    assert [(clip.media, clip.start, clip.end) for clip in corpus.clips] == [
        (f"{FULL}/-aB.mp4", 0.0, 4.2),
        (f"{FULL}/A_1.mp4", 10.5, 12.25),
        (f"{FULL}/x.mp4", 1.0, 2.0),
    ]
    assert [(d.code, d.clip, "-0.417" in d.message) for d in corpus.defects] == [("negative_start", "-aB$_$0", True)]
    assert "Media: spans of full videos." in corpus.notes


def test_full_can_be_asked_for_where_segments_are_too(tmp_path):
    files = {"label.csv": LABELS, f"{FULL}/x.mp4": b"", f"{SEGMENTED}/x_12.mp4": b"", **TRANSCRIPTS}
    corpus = small(tmp_path, files, media="full")
    assert corpus.clips[2].media == f"{FULL}/x.mp4"
    assert codes(corpus, "unlabelled_media", "duplicate") == []


def test_a_span_that_ends_before_it_begins_is_no_clip(tmp_path):
    files = {"label.csv": LABELS, f"{FULL}/x.mp4": b"", f"{SPOKEN}/x.txt": "x___12___3.0___2.0___Hm.\n"}
    corpus = small(tmp_path, files, media="full")
    assert codes(corpus, "too_short") == [("too_short", "x$_$12", f"{FULL}/x.mp4")]
    assert corpus.clips[2].media is None


def test_full_videos_without_times_are_told(tmp_path):
    corpus = small(tmp_path, {"label.csv": LABELS, f"{FULL}/x.mp4": b""})
    messages = {defect.clip: defect.message for defect in corpus.defects}
    assert "nobody tells its times; transcripts or a .csd have them" in messages["x$_$12"]
    assert "its full video is not there" in messages["-aB$_$0"]


@pytest.mark.parametrize("fill", [False, True])
def test_missing_segments_are_filled_from_full_videos_only_on_request(tmp_path, fill):
    files = {"label.csv": LABELS, f"{SEGMENTED}/x_12.mp4": b"", f"{FULL}/A_1.mp4": b"", **TRANSCRIPTS}
    corpus = corpora.read("mosei", tree(tmp_path, files), {"fill_from_full": fill})
    clip = corpus.clips[1]
    assert (clip.media, clip.start) == ((f"{FULL}/A_1.mp4", 10.5) if fill else (None, None))
    told = codes(corpus, "missing_media", "known_bad")
    if fill:
        assert told == [("missing_media", "-aB$_$0", None), ("known_bad", "A_1$_$3", f"{FULL}/A_1.mp4")]
    else:
        assert told == [("missing_media", "-aB$_$0", None), ("missing_media", "A_1$_$3", None)]
        assert any("fill_from_full would cut it" in defect.message for defect in corpus.defects)


def test_names_of_videos_and_segments_are_never_confused():
    media = MoseiMedia([f"{FULL}/A_1.mp4", f"{SEGMENTED}/A_1.mp4", f"{SEGMENTED}/A_1_3.mp4", "Raw/A/1.mp4", "A_2.mp4"])
    assert media.segments("A", "1") == [f"{SEGMENTED}/A_1.mp4", "Raw/A/1.mp4"]
    assert media.full("A_1") == [f"{FULL}/A_1.mp4"]
    assert media.segments("A_1", "3") == [f"{SEGMENTED}/A_1_3.mp4"]
    assert (media.segments("A", "2"), media.full("A_2")) == (["A_2.mp4"], ["A_2.mp4"])


def test_media_without_label_and_second_copies_are_told(tmp_path):
    files = {
        "label.csv": LABELS,
        "Raw/x/12.mp4": b"",
        f"{SEGMENTED}/x_12.mp4": b"",
        f"{SEGMENTED}/x_13.mp4": b"",
        "Raw/gone/0.mp4": b"",
        "._x_14.mp4": b"",
    }
    corpus = small(tmp_path, files)
    assert codes(corpus, "duplicate", "unlabelled_media") == [
        ("duplicate", "x$_$12", "Raw/x/12.mp4"),
        ("unlabelled_media", None, "Raw/gone/0.mp4"),
        ("unlabelled_media", None, f"{SEGMENTED}/x_13.mp4"),
    ]


def test_second_copies_of_full_videos_are_told(tmp_path):
    files = {"label.csv": LABELS, f"{FULL}/x.mp4": b"", f"copy/{FULL}/x.mp4": b"", **TRANSCRIPTS}
    corpus = small(tmp_path, files, media="full")
    assert codes(corpus, "duplicate") == [("duplicate", None, f"copy/{FULL}/x.mp4")]


def test_known_bad_media_are_told_with_their_source(tmp_path):
    rows = [("-mJ2ud6oKI8", 1), ("0BVed2nBq1g", 2), ("ZzL2sHtTWRc", 3), ("Y7qkyMyanjU", 4), ("hh04W3xXa5s", 5)]
    files = {
        "label.csv": table(*((video, clip, 0.0, "train") for video, clip in rows)),
        "Raw/-mJ2ud6oKI8/1.mp4": b"",
        f"{SEGMENTED}/0BVed2nBq1g_2.mp4": b"",
        f"{SEGMENTED}/ZzL2sHtTWRc_3.mp4": b"",
    }
    corpus = corpora.read("mosei", tree(tmp_path, files))
    messages = {defect.clip: defect.message for defect in corpus.defects if defect.clip}
    assert "(MMSA issue 66)" in messages["-mJ2ud6oKI8$_$1"]
    assert "0BVed2nBq1g$_$2" not in messages
    assert "frames are black" in messages["ZzL2sHtTWRc$_$3"]
    assert "(MMSA issue 61)" in messages["Y7qkyMyanjU$_$4"]
    assert "CMU's archive lacks its segments" in messages["hh04W3xXa5s$_$5"]
    assert codes(small(tmp_path, {}), "known_bad") == []


def test_counts_are_compared_with_the_official_ones(tmp_path):
    corpus = corpora.read("mosei", tree(tmp_path, {"label.csv": LABELS}))
    assert dict(corpus.expected) == {Split.TRAIN: 16326, Split.VALID: 1871, Split.TEST: 4659}
    assert [d.message for d in corpus.defects if d.code == "split_count_mismatch"] == [
        "Of clips of split train there are 1; officially there are 16326.",
        "Of clips of split valid there are 1; officially there are 1871.",
        "Of clips of split test there are 1; officially there are 4659.",
    ]


def test_labels_out_of_range_and_repeated_rows_are_told(tmp_path):
    labels = table(("v", 1, 3.5, "train"), ("v", 2, 1, "train"), ("v", 2, 2, "train"), ("v", 3, "", "train"))
    corpus = small(tmp_path, {"label.csv": labels})
    assert [clip.label for clip in corpus.clips] == [None, 1.0, None]
    assert codes(corpus, "label_out_of_range", "duplicate") == [
        ("label_out_of_range", "v$_$1", None),
        ("duplicate", "v$_$2", None),
    ]
    assert any("Row 2 of label.csv has the sentiment 3.5" in defect.message for defect in corpus.defects)


def test_texts_come_from_the_transcripts_where_the_table_has_none(tmp_path):
    spoken = {f"{SPOKEN}/v.txt": "v___1___0.0___1.0___he\x92s here___really______\nv___2___1.0___2.0___other\n"}
    corpus = small(tmp_path, {"label.csv": table(("v", 1, 0, "train"), ("v", 2, 0, "train", "own")), **spoken})
    assert [clip.text for clip in corpus.clips] == ["he’s here___really______", "own"]
    assert codes(corpus, "text_repaired") == [("text_repaired", "v$_$1", None)]


@pytest.mark.parametrize("video", ["ends_", "ends__", "-a___b", "B1B71X_SmwY", "100178"])
def test_video_ids_in_transcripts_may_hold_underscores(tmp_path, video):
    spoken = f"{video}___7___0.5___1e1___5___6___7___8\r\n"
    files = {"label.csv": table((video, 7, 0, "train")), f"a/{video}.txt": spoken, f"{FULL}/{video}.mp4": b""}
    (clip,) = small(tmp_path, files).clips
    assert (clip.start, clip.end, clip.text) == (0.5, 10.0, "5___6___7___8")


def test_lines_and_files_that_are_no_transcripts_are_told(tmp_path, monkeypatch):
    files = {
        "label.csv": table(("v", 1, 0, "train")),
        "t/v.txt": "v___1___0___1___a\nno segment\n\nv___2___0.0.1___1___b\n",
        "t2/v.txt": "v___1___0___1.5___a\n",
        "readme.txt": "Nothing of that sort.",
        "b/bad.txt": b"v___1___\0___1___a\n",
        "b/big.txt": "v___1___0___1___" + "a" * 2000,
    }
    monkeypatch.setattr("mse_pipeline.corpora.mosei_files._MAX_TRANSCRIPT_BYTES", 1000)
    notes = "\n".join(small(tmp_path, files).notes)
    assert "Transcripts: 1 segments in 2 files." in notes
    assert "are ignored: t/v.txt line 2, t/v.txt line 4." in notes
    assert "1 segments are in several transcripts that differ" in notes
    assert "b/bad.txt is not a text file" in notes
    assert "readme" not in notes
    assert "big" not in notes


def test_polarity_is_the_sign_of_the_sentiment(tmp_path):
    corpus = small(tmp_path, {"label.csv": LABELS}, target="polarity")
    assert corpus.task == Classification(("negative", "neutral", "positive"))
    assert [(clip.label, dict(clip.labels)) for clip in corpus.clips] == [
        ("positive", {"sentiment": 0.5}),
        ("negative", {"sentiment": -3.0}),
        ("neutral", {"sentiment": 0.0}),
    ]


def dump(*rows):
    return "\n".join([DUMP_HEADER, *rows]) + "\n"


def test_mturk_labels_are_means_over_the_raters_who_answered(tmp_path):
    files = {
        "label.csv": LABELS,
        "Raw/Labels/5000_batch_raw.csv": dump(
            "a,-aB,0,1,0,0,0,1,0,0", "b,-aB,0,2,0,0,,2,0,0", "c,-aB,0,,3,0,,3,0,1", "d,x,12.0,0,0,0,0,0,0,0"
        ),
        "Raw/Labels/mturk_extra_v2.csv": dump("e,x,12,-3,0,0,0,0,0,0", "a,-aB,0,1,0,0,0,1,0,0", "f,zz,1,0,0,0,0,0,0,0"),
    }
    corpus = small(tmp_path, files, labels="mturk")
    assert [(clip.id, clip.split, clip.label) for clip in corpus.clips] == [
        ("-aB$_$0", Split.TRAIN, 1.5),
        ("x$_$12", Split.TEST, -1.5),
    ]
    assert corpus.clips[0].labels == pytest.approx(
        {"anger": 1.0, "disgust": 0.0, "fear": 0.0, "happiness": 2.0, "sadness": 0.0, "surprise": 1 / 3}
    )
    assert any("1 assignments are in several rows" in note for note in corpus.notes)
    assert any("zz$_$1" in note for note in corpus.notes)


@pytest.mark.parametrize("word", ["nan", "NA", "None", "NULL"])
def test_words_for_absent_values_are_no_answers_of_raters(tmp_path, word):
    rows = (f"a,x,12,{word},1,0,0,0,0,0", "b,x,12,2,0,0,0,0,0,0")
    corpus = small(tmp_path, {"label.csv": LABELS, "d.csv": dump(*rows)}, labels="mturk")
    assert [(clip.label, clip.labels["anger"]) for clip in corpus.clips] == [(2.0, 0.5)]
    assert not any("ignored" in note for note in corpus.notes)


def test_mturk_emotions_complete_mmsa_labels(tmp_path):
    files = {"label.csv": LABELS, "l/d.csv": dump("a,x,12,-3,1,0,0,0,0,0"), "l/d_mod.csv": dump("a,x,12,3,2,0,0,0,0,0")}
    corpus = small(tmp_path, files)
    assert (corpus.clips[2].label, corpus.clips[2].labels["anger"]) == (0.0, 2.0)
    assert "Dumps l/d.csv are ignored: their corrected copies (_mod) are used." in corpus.notes
    assert corpus.sources == ("label.csv", "l/d_mod.csv")


def test_rows_of_dumps_that_cannot_be_used_are_told(tmp_path):
    rows = [
        "a,#NAME?,1,0,,,,,,",
        "b,x,one,0,,,,,,",
        "c,../x,1,0,,,,,,",
        "d,x,12,much,1,,,,,",
        "e,,1,0,,,,,,",
        "f,\0,1,0,,,,,,",
    ]
    corpus = small(tmp_path, {"label.csv": LABELS, "d.csv": dump(*rows)}, labels="mturk")
    assert [(clip.id, clip.label, clip.labels) for clip in corpus.clips] == [("x$_$12", None, {"anger": 1.0})]
    assert any("rows 2, 3, 4, 5, 6, 7" in note for note in corpus.notes)


FOLDS = {
    "cmu_mosei_std_folds.py": "standard_train_fold=['x']\nstandard_valid_fold=['-aB']\nstandard_test_fold=['A_1']\n",
    "std_folds.json": json.dumps({"train": ["x"], "val": ["-aB"], "test": ["A_1"], "note": 1}),
    "std_folds.csv": "split,video_id\ntrain,x\ndev,-aB\ntest,A_1\n",
}


@pytest.mark.parametrize("name", FOLDS)
@pytest.mark.parametrize("named", [True, False])
def test_splits_can_come_from_a_file_of_video_ids(tmp_path, name, named):
    options = {"std_folds": name} if named else {}
    corpus = small(tmp_path, {"label.csv": LABELS, name: FOLDS[name]}, splits="std_folds", **options)
    assert [clip.split for clip in corpus.clips] == [Split.VALID, Split.TEST, Split.TRAIN]
    assert f"Splits: file of folds {name}." in corpus.notes
    assert name in corpus.sources


def test_folds_written_as_code_are_not_run(tmp_path):
    canary = tmp_path / "canary"
    code = f"open({str(canary)!r}, 'w')\nstandard_train_fold = [open({str(canary)!r}, 'w')]\n"
    with pytest.raises(UsageError, match="cannot be read"):
        small(tmp_path, {"label.csv": LABELS, "cmu_mosei_std_folds.py": code}, splits="std_folds")
    assert not canary.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("f.py", "train = [", "cannot be read"),
        ("f.py", "train = ['a']\nvalid = ['b']\n", "has no list for test"),
        ("f.py", "train = ['a']\nvalid = ['b']\ntest = ['a']\n", "videos in several splits: a"),
        ("f.py", "train = [1]\n", "train is not a list of video ids"),
        ("f.py", "train = ['a']\ntrain_fold = ['b']\n", "has two lists for train"),
        ("f.json", "[1, 2]", "holds no lists by split"),
        ("f.json", '{"train": "a"}', "train is not a list"),
        ("f.json", "[" * 100_000, "cannot be read"),
        ("f.csv", "a,b\n", "has no columns video_id and split"),
        ("f.csv", "video_id,split\nx,fold1\n", "Row 2 of file of folds f.csv has no video id, or the split 'fold1'"),
    ],
)
def test_files_of_folds_that_cannot_be_read_are_told(tmp_path, name, content, message):
    with pytest.raises(UsageError, match=message):
        small(tmp_path, {"label.csv": LABELS, name: content}, splits="std_folds", std_folds=name)


def test_files_of_folds_must_be_there_and_below_the_root(tmp_path, monkeypatch):
    tree(tmp_path, {"root/label.csv": LABELS, "outside.json": "{}"})
    for option, message in [
        (None, "none is there"),
        ("none.json", "there is no file none.json"),
        ("../outside.json", "leads out of the root"),
        ("link.json", "link.json is a symbolic link out of the root"),
    ]:
        if option == "link.json":
            os.symlink(tmp_path / "outside.json", tmp_path / "root/link.json")
        with pytest.raises(UsageError, match=message):
            corpora.read("mosei", tmp_path / "root", {"splits": "std_folds", "std_folds": option})
    tree(tmp_path, {"root/a_std_folds.py": "", "root/std_folds.json": ""})
    with pytest.raises(UsageError, match=r"several are there: a_std_folds\.py, std_folds\.json"):
        corpora.read("mosei", tmp_path / "root", {"splits": "std_folds"})
    monkeypatch.setattr("mse_pipeline.corpora.mosei_splits._MAX_BYTES", -1)
    with pytest.raises(UsageError, match="at most -1 are read"):
        corpora.read("mosei", tmp_path / "root", {"std_folds": "std_folds.json"})


def test_a_video_in_two_splits_is_told_and_an_unknown_split_is_an_error(tmp_path):
    corpus = small(tmp_path, {"label.csv": table(("v", 1, 0, "train"), ("v", 2, 0, "test"))})
    assert [clip.split for clip in corpus.clips] == [Split.TRAIN, Split.TEST]
    assert any("in several splits, which lets speakers leak: v." in note for note in corpus.notes)
    with pytest.raises(UsageError, match="must be train, valid or test; found 'fold1' in row 2"):
        small(tmp_path, {"label.csv": table(("v", 1, 0, "fold1"))})


@pytest.mark.parametrize("option", ["auto", "mmsa", "csd", "mturk"])
def test_without_labels_the_error_tells_what_was_looked_for(tmp_path, option):
    files = {"CMU_MOSEI.zip": b"", "Raw/x/1.mp4": b""}
    with pytest.raises(UsageError) as error:
        small(tmp_path, files, labels=option)
    for name, told in mosei.LABELS.items():
        assert (told in str(error.value)) == (option in (name, "auto"))
    assert "Media are there (1 files)" in str(error.value)
    assert "still packed: CMU_MOSEI.zip" in str(error.value)


@pytest.mark.parametrize(
    ("options", "task", "message"),
    [
        ({"target": "anger"}, None, "Target anger: there are no emotions"),
        ({}, Classification(("a", "b")), "MOSEI's sentiment is a number, no class"),
        ({"target": "polarity"}, Regression(-1, 1), "polarity has the classes negative, neutral, positive"),
        ({"target": "polarity"}, Classification(("a", "b")), "polarity has the classes"),
    ],
)
def test_targets_and_tasks_that_do_not_fit_are_told(tmp_path, options, task, message):
    tree(tmp_path, {"label.csv": LABELS})
    with pytest.raises(UsageError, match=message):
        corpora.read("mosei", tmp_path, options, task)


def test_the_recipe_may_narrow_the_range_or_order_the_classes(tmp_path):
    tree(tmp_path, {"label.csv": LABELS})
    corpus = corpora.read("mosei", tmp_path, {"official": False}, Regression(-2, 2))
    assert codes(corpus, "label_out_of_range") == [("label_out_of_range", "A_1$_$3", None)]
    task = Classification(("positive", "neutral", "negative"))
    assert corpora.read("mosei", tmp_path, {"target": "polarity"}, task).task == task


def test_the_table_of_this_corpus_is_taken_of_several(tmp_path):
    files = {"MOSI/label.csv": table(("m", 1, 0, "train")), "data/MOSEI/label.csv": LABELS}
    corpus = small(tmp_path, files)
    assert corpus.sources == ("data/MOSEI/label.csv",)
    assert "Label tables MOSI/label.csv are ignored: data/MOSEI/label.csv is used." in corpus.notes


def test_links_out_of_the_root_are_left_aside_and_told(tmp_path):
    tree(tmp_path, {"root/label.csv": LABELS, "outside/12.mp4": b""})
    (tmp_path / "root/Raw/x").mkdir(parents=True)
    os.symlink(tmp_path / "outside/12.mp4", tmp_path / "root/Raw/x/12.mp4")
    corpus = corpora.read("mosei", tmp_path / "root", {"official": False})
    assert corpus.with_media() == 0
    reason = f"is a symbolic link out of the root, to '{tmp_path}/outside/12.mp4'; --follow-links allows it."
    assert f"Ignored: Raw/x/12.mp4 {reason}" in corpus.notes
    assert f"The file of x$_$12, Raw/x/12.mp4, {reason}" in [defect.message for defect in corpus.defects]


def test_paths_in_the_label_file_are_refused_and_named(tmp_path):
    with pytest.raises(UsageError, match=r"video_id '\.\./\.\./etc' is not a plain name"):
        small(tmp_path, {"label.csv": table(("../../etc", "passwd", 0, "train"))})


@pytest.mark.parametrize("change", [lambda text: text + '"open', lambda text: text.replace("x", "\0" * 40)])
def test_dumps_that_are_no_sound_csv_are_told(tmp_path, change):
    files = {"label.csv": LABELS, "d.csv": change(dump("a,x,12,1,,,,,,"))}
    with pytest.raises(UsageError, match=r"Dump d\.csv is no"):
        small(tmp_path, files)


def test_the_shipped_recipe_asks_for_sentiment_as_the_paper_does():
    loaded = recipe.load("mosei", checks=[corpora.check])
    assert "in the range [-3.0, +3.0]. Assistant: The sentiment is" in str(loaded.prompt.task)
    assert (loaded.training.acoustic_hidden, loaded.training.visual_hidden, loaded.training.pseudo_tokens) == (
        64,
        32,
        4,
    )


def test_the_real_label_file_has_the_official_counts(shared, tmp_path):
    tree(tmp_path, {"label.csv": (shared / "data/mosei/label.csv").read_bytes(), "Raw/-NFrJFQijFE/1.mp4": b""})
    corpus = corpora.read("mosei", tmp_path)
    assert tuple(corpus.counts().values()) == (16326, 1871, 4659)
    assert codes(corpus, "split_count_mismatch", "duplicate", "label_out_of_range", "unlabelled_media") == []
    assert len({clip.id for clip in corpus.clips}) == 22856
    assert [clip.id for clip in corpus.clips if clip.media] == ["-NFrJFQijFE$_$1"]
    polarity = Counter(np.sign([clip.label for clip in corpus.clips]).tolist())
    assert polarity == {1.0: 11264, -1.0: 6594, 0.0: 4998}
    values = Counter(round(float(clip.label), 3) for clip in corpus.clips)
    found = {value: values[value] for value in (-3.0, -0.333, 0.0, 0.333, 0.667, 1.0, 3.0)}
    assert found == {-3.0: 126, -0.333: 1531, 0.0: 4998, 0.333: 3002, 0.667: 2515, 1.0: 1883, 3.0: 61}
    videos = {split: {clip.dialogue for clip in corpus.clips if clip.split == split} for split in Split}
    assert [len(part) for part in videos.values()] == [2249, 300, 676]
    assert not any("several splits" in note for note in corpus.notes)
