"""CH-SIMS v2 in every tree that is about: both parts, ids with zeros, Chinese text, counts."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from mse_pipeline import corpora, recipe
from mse_pipeline.clip import Split
from mse_pipeline.corpora import simsv2
from mse_pipeline.corpora.simsv2 import BINS, bin_of
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression
from tests.corpora.raw_folder import codes, tree

HEADER = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"


def table(*rows: str, header: str = HEADER) -> str:
    return "\r\n".join([header, *rows]) + "\r\n"


def small(root: Path, files: dict[str, str | bytes], **options):
    return corpora.read("simsv2", tree(root, files), {"official": False, **options})


ONE = table("video_0013,0035,我不想嫁给李茶,-0.6,-0.4,-0.2,0.0,Negative,train")
LABELLED = table(
    "video_0013,0035,我不想嫁给李茶,-0.6,,,,Negative,train",
    "aqgy3_0005,00042,有那么明显吗？,0.2,,,,Positive,valid",
    "test1,00008,嗯,0,,,,Neutral,test",
)
UNLABELLED = table("aqgy1_0001,00000,天气不错,,,,,,", "aqgy1_0001,00001,好,,,,,,")
CLIPS = ("video_0013/0035.mp4", "aqgy3_0005/00042.mp4", "test1/00008.mp4")


@pytest.mark.parametrize(
    ("labels", "raw"),
    [
        ("meta.csv", "Raw"),
        ("ch-simsv2s/meta.csv", "ch-simsv2s/Raw"),
        ("CH-SIMS v2/CH-SIMS v2(s)/meta.csv", "CH-SIMS v2/CH-SIMS v2(s)/Raw"),
        ("meta(s).csv", "ch-simsv2s/Raw"),
        ("labels/anything.csv", "somewhere/else"),
    ],
)
def test_tree_variants_give_the_same_clips(tmp_path, labels, raw):
    corpus = small(tmp_path, {labels: LABELLED} | {f"{raw}/{name}": b"" for name in CLIPS})
    assert [(clip.id, clip.split, clip.media) for clip in corpus.clips] == [
        ("video_0013$_$0035", Split.TRAIN, f"{raw}/video_0013/0035.mp4"),
        ("aqgy3_0005$_$00042", Split.VALID, f"{raw}/aqgy3_0005/00042.mp4"),
        ("test1$_$00008", Split.TEST, f"{raw}/test1/00008.mp4"),
    ]
    assert corpus.defects == ()
    assert corpus.sources == (labels,)
    assert corpus.task == Regression(-1, 1)


def test_a_clip_carries_all_that_the_row_says(tmp_path):
    clip = small(tmp_path, {"meta.csv": ONE, "Raw/video_0013/0035.mp4": b""}).clips[0]
    assert (clip.text, clip.language, clip.dialogue) == ("我不想嫁给李茶", "zh", "video_0013")
    assert clip.label == -0.6
    assert dict(clip.labels) == {"text": -0.4, "acoustic": -0.2, "visual": 0.0}


@pytest.mark.parametrize("mode", ["val", "valid", "Valid", "dev"])
def test_the_validation_split_has_several_names(tmp_path, mode):
    corpus = small(tmp_path, {"meta.csv": table(f"video_0001,0001,好,0.2,,,,Positive,{mode}")})
    assert corpus.clips[0].split == Split.VALID


def test_a_labelled_row_without_a_split_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"meta.csv names splits that are none of .*'fold3' \(1 rows\)"):
        small(tmp_path, {"meta.csv": table("v,0001,好,0.2,,,,Positive,fold3", "v,0002,好,0.2,,,,Positive,train")})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_chinese_text_arrives_unharmed_in_every_encoding(tmp_path, encoding):
    said = "营销号视频就跟庸医的医术一样，天天上首页上来霍霍人。"
    corpus = small(tmp_path, {"meta.csv": table(f"v,0001,{said},-0.2,,,,Negative,test").encode(encoding)})
    assert corpus.clips[0].text == said


def test_columns_may_come_in_any_order(tmp_path):
    rows = table("train,好,0.2,0001,video_0001", header="mode,text,label,clip_id,video_id")
    clip = small(tmp_path, {"meta.csv": rows}).clips[0]
    assert (clip.id, clip.label, clip.split) == ("video_0001$_$0001", 0.2, Split.TRAIN)


BOTH = {
    "CH-SIMS v2(s)/meta.csv": LABELLED,
    "CH-SIMS v2(u)/meta.csv": UNLABELLED,
    **{f"CH-SIMS v2(s)/Raw/{name}": b"" for name in CLIPS},
    "CH-SIMS v2(u)/Raw/aqgy1_0001/00000.mp4": b"",
    "CH-SIMS v2(u)/Raw/aqgy1_0001/00001.mp4": b"",
}


@pytest.mark.parametrize(
    ("part", "labelled", "unlabelled"), [("supervised", 3, 0), ("unsupervised", 0, 2), ("both", 3, 2)]
)
def test_the_parts_can_be_read_alone_or_together(tmp_path, part, labelled, unlabelled):
    corpus = small(tmp_path, BOTH, part=part)
    assert Counter(clip.label is None for clip in corpus.clips) == +Counter({False: labelled, True: unlabelled})
    assert corpus.with_media() == labelled + unlabelled
    assert corpus.defects == ()
    assert {clip.split for clip in corpus.clips if clip.label is None} <= {Split.TRAIN}


def test_unlabelled_clips_go_where_the_option_says_unless_their_row_tells(tmp_path):
    rows = table("aqgy1_0001,00000,好,,,,,,", "aqgy1_0001,00001,好,,,,,,valid", "aqgy1_0001,00002,好,,,,,,unlabeled")
    corpus = small(tmp_path, {"meta(u).csv": rows}, part="unsupervised", unlabelled_split="test")
    assert [clip.split for clip in corpus.clips] == [Split.TEST, Split.VALID, Split.TEST]


def test_clips_of_the_unsupervised_folder_are_a_note_and_no_defect(tmp_path):
    files = {name: content for name, content in BOTH.items() if name != "CH-SIMS v2(u)/meta.csv"}
    corpus = small(tmp_path, files)
    assert corpus.defects == ()
    assert any("2 clips in folders of the unsupervised part are ignored" in note for note in corpus.notes)


@pytest.mark.parametrize(
    ("files", "part", "says"),
    [
        ({"a.txt": ""}, "supervised", "no label table of CH-SIMS v2's supervised part"),
        ({"a.txt": ""}, "supervised", "https://github.com/thuiar/ch-sims-v2"),
        ({"meta.csv": UNLABELLED}, "supervised", "meta.csv is of the unsupervised part; the option part: unsupervised"),
        ({"meta.csv": LABELLED}, "both", "unsupervised part: a CSV file .* with no labels"),
        ({"ch-simsv2s.zip": b""}, "supervised", "still packed; unpack ch-simsv2s.zip"),
        ({"Raw/video_0001/0001.mp4": b""}, "supervised", r"Clips are there \(1\)"),
    ],
)
def test_without_a_table_the_next_step_is_told(tmp_path, files, part, says):
    with pytest.raises(UsageError, match=says):
        small(tmp_path, files, part=part)


def test_each_defect_has_its_code_and_no_other(tmp_path):
    rows = table(
        "video_0001,0001,好,0.2,,,,Positive,train",
        "video_0001,0001,坏,-0.2,,,,Negative,train",
        "video_0001,0002,好,7,,0.4,-3,Positive,train",
        "video_0001,0003,don\x92t,0.2,,,,Positive,train",
        "video_0001,0004,没有,0.2,,,,Positive,train",
    )
    media = [f"Raw/video_0001/000{number}.mp4" for number in (1, 2, 3, 9)]
    corpus = small(tmp_path, {"meta.csv": rows, "copy/Raw/video_0001/0001.mp4": b""} | dict.fromkeys(media, b""))
    assert [(defect.code, defect.clip, defect.path) for defect in corpus.defects] == [
        ("duplicate", "video_0001$_$0001", "copy/Raw/video_0001/0001.mp4"),
        ("duplicate", "video_0001$_$0001", "meta.csv"),
        ("label_out_of_range", "video_0001$_$0002", "meta.csv"),
        ("label_out_of_range", "video_0001$_$0002", "meta.csv"),
        ("text_repaired", "video_0001$_$0003", "meta.csv"),
        ("missing_media", "video_0001$_$0004", None),
        ("unlabelled_media", None, "Raw/video_0001/0009.mp4"),
    ]
    assert corpus.clips[0].text == "好"
    assert (corpus.clips[1].label, dict(corpus.clips[1].labels)) == (None, {"acoustic": 0.4})
    assert corpus.clips[2].text == "don’t"


def test_sound_files_beside_the_clips_are_no_copies(tmp_path):
    corpus = small(tmp_path, {"meta.csv": ONE, "Raw/video_0013/0035.mp4": b"", "Raw/video_0013/0035.wav": b""})
    assert corpus.clips[0].media == "Raw/video_0013/0035.mp4"
    assert corpus.defects == ()


def test_lost_zeros_come_back_from_the_names_of_the_media(tmp_path):
    rows = table("video_0013,35,好,0.2,,,,Positive,train", "aqgy4_0009_00026,0,好,0.2,,,,Positive,train")
    corpus = small(tmp_path, {"meta.csv": rows, "Raw/video_0013/0035.mp4": b"", "Raw/aqgy4_0009_00026/0.mp4": b""})
    assert [clip.id for clip in corpus.clips] == ["video_0013$_$0035", "aqgy4_0009_00026$_$0"]
    assert corpus.defects == ()
    assert any("1 clip ids had lost their leading zeros" in note for note in corpus.notes)


def test_the_first_version_beside_it_is_left_aside(tmp_path):
    files = {"v2/meta.csv": LABELLED, "v1/label.csv": ONE, "v1/Raw/video_0013/0035.mp4": b""}
    corpus = small(tmp_path, files | {f"v2/Raw/{name}": b"" for name in CLIPS})
    assert corpus.sources == ("v2/meta.csv",)
    assert corpus.defects == ()
    assert "v1/label.csv (1 rows) is ignored: v2/meta.csv (3 rows) is used." in corpus.notes


def test_a_clip_of_both_tables_counts_as_labelled(tmp_path):
    twin = table("test1,00008,嗯,,,,,,")
    corpus = small(tmp_path, {"meta(s).csv": LABELLED, "meta(u).csv": twin, "Raw/test1/00008.mp4": b""}, part="both")
    assert [clip.label for clip in corpus.clips if clip.id == "test1$_$00008"] == [0.0]
    assert codes(corpus, "duplicate") == [("test1$_$00008", "meta(u).csv")]


@pytest.mark.parametrize("written", ["../../etc/passwd", "/etc/passwd", "..", "a/b"])
def test_ids_that_are_paths_are_refused_and_named(tmp_path, written):
    with pytest.raises(UsageError, match=r"meta.csv(?s:.*)is not a plain name(?s:.*)row 2"):
        small(tmp_path, {"meta.csv": table(f"{written},0001,好,0.2,,,,Positive,train")})


def test_links_out_of_the_root_are_named(tmp_path):
    root = tree(tmp_path / "root", {"meta.csv": ONE})
    (tmp_path / "0035.mp4").touch()
    (root / "Raw" / "video_0013").mkdir(parents=True)
    (root / "Raw" / "video_0013" / "0035.mp4").symlink_to(tmp_path / "0035.mp4")
    corpus = corpora.read("simsv2", root, {"official": False})
    assert corpus.clips[0].media is None
    reason = f"is a symbolic link out of the root, to '{tmp_path}/0035.mp4'; --follow-links allows it."
    assert f"Ignored: Raw/video_0013/0035.mp4 {reason}" in corpus.notes
    assert [defect.path for defect in corpus.defects if reason in defect.message] == ["Raw/video_0013/0035.mp4"]
    (root / "meta.csv").unlink()
    with pytest.raises(UsageError, match=r"Ignored: Raw/video_0013/0035.mp4"):
        corpora.read("simsv2", root)


def test_classes_are_no_task_for_numbers(tmp_path):
    with pytest.raises(UsageError, match="CH-SIMS v2 has numbers from -1 to 1"):
        corpora.read("simsv2", tree(tmp_path, {"meta.csv": ONE}), task=Classification(("a", "b")))


@pytest.mark.parametrize(
    ("label", "name"),
    [
        (-1.0, "negative"),
        (-0.7, "negative"),
        (-0.6, "weakly negative"),
        (-0.1, "weakly negative"),
        (0.0, "neutral"),
        (0.1, "neutral"),
        (0.10000000149011612, "neutral"),
        (0.2, "weakly positive"),
        (0.7, "weakly positive"),
        (0.8, "positive"),
    ],
)
def test_bins_are_closed_on_the_right(label, name):
    assert bin_of(label) == name


def test_counts_that_are_not_official_are_told(tmp_path):
    corpus = corpora.read("simsv2", tree(tmp_path, {"meta.csv": LABELLED}))
    told = [defect.message for defect in corpus.defects if defect.code == "split_count_mismatch"]
    assert "Of clips of split train there are 1; officially there are 2722." in told
    assert "Of test clips whose label is neutral there are 1; officially there are 123." in told
    assert corpus.expected == {Split.TRAIN: 2722, Split.VALID: 647, Split.TEST: 1034}
    assert not corpus.notes


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"part": "unsupervised"}, {Split.TRAIN: 10_161}),
        ({"part": "unsupervised", "unlabelled_split": "test"}, {Split.TEST: 10_161}),
        ({"part": "both"}, {Split.TRAIN: 12_883, Split.VALID: 647, Split.TEST: 1034}),
    ],
)
def test_official_counts_follow_the_part(tmp_path, options, expected):
    corpus = corpora.read("simsv2", tree(tmp_path, BOTH), options)
    assert corpus.expected == expected


# --- the real label file ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    """The real label table, with an empty file for each clip."""
    root = tmp_path_factory.mktemp("simsv2")
    (root / "meta.csv").write_bytes((shared / "data" / "simsv2" / "meta.csv").read_bytes())
    with (root / "meta.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        folder = root / "Raw" / row["video_id"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row['clip_id']}.mp4").touch()
    return corpora.read("simsv2", root), rows


def test_the_real_table_gives_the_official_counts_and_no_defect(real):
    corpus, _ = real
    assert corpus.counts() == {Split.TRAIN: 2722, Split.VALID: 647, Split.TEST: 1034} == corpus.expected
    assert (len(corpus.clips), corpus.with_media()) == (4403, 4403)
    assert corpus.defects == ()
    found = Counter((clip.split, bin_of(clip.label)) for clip in corpus.clips)
    for split, numbers in simsv2.OFFICIAL_BINS.items():
        assert tuple(found[split, name] for name in BINS) == numbers
        assert sum(numbers) == simsv2.OFFICIAL[split]


def test_the_papers_other_count_is_told_as_a_note(real):
    corpus, _ = real
    assert len(corpus.notes) == 1
    assert "The paper says 4,402, and the author that train should have 2,721" in corpus.notes[0]


def test_real_ids_texts_and_labels_arrive_unharmed(real):
    corpus, rows = real
    assert [clip.id for clip in corpus.clips] == [f"{row['video_id']}$_${row['clip_id']}" for row in rows]
    assert [clip.text for clip in corpus.clips] == [row["text"] for row in rows]
    assert [clip.label for clip in corpus.clips] == [float(row["label"]) for row in rows]
    ids = {clip.id for clip in corpus.clips}
    assert {"video_0013$_$0035", "aqgy3_0005$_$00042", "test1$_$00008", "aqgy4_0009_00026$_$0"} <= ids


@pytest.mark.parametrize(
    ("backbone", "epochs", "batch", "rate"),
    [("qwen", 30, 16, 5e-4), ("chatglm3", 80, 8, 5e-5), ("llama2", 40, 8, 5e-5)],
)
@pytest.mark.parametrize("name", ["simsv2", "sims"])
def test_the_recipe_holds_the_papers_settings(name, backbone, epochs, batch, rate):
    loaded = recipe.load(name, checks=[corpora.check])
    training = loaded.training_for(backbone)
    assert (training.epochs, training.batch_size, training.learning_rate) == (epochs, batch, rate)
    assert (training.acoustic_hidden, training.visual_hidden, training.pseudo_tokens) == (64, 64, 4)
    assert (training.patience, training.adam_epsilon, training.warm_up) == (10, 1e-4, 0.1)
    assert loaded.prompt.language == "zh"
    assert loaded.prompt.task == "请对上述多模态内容的情感强度进行预测，范围在[-1.0, +1.0]之间。响应: 情感为"
