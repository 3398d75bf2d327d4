"""MELD in every layout that is about, with every defect that it is known for."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from mse_pipeline import corpora
from mse_pipeline.clip import Split
from mse_pipeline.corpora import meld
from mse_pipeline.corpora import meld as meld_labels
from mse_pipeline.corpora.meld import split_of_table
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression
from tests.corpora.raw_folder import codes, tree

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"


def rows(*cells):
    """(dialogue, utterance[, emotion, sentiment, text, speaker]) -> a label file's text."""
    lines = [HEADER]
    for number, cell in enumerate(cells, start=1):
        dialogue, utterance, emotion, sentiment, text, speaker = (
            *cell,
            *("joy", "positive", "Hi!", "Joey")[len(cell) - 2 :],
        )
        lines.append(
            f'{number},"{text}",{speaker},{emotion},{sentiment},{dialogue},{utterance},4,7,"0:20:57,256","00:20:58,0"'
        )
    return "\r\n".join(lines) + "\r\n"


def small(root: Path, files: dict[str, str | bytes], **options):
    return corpora.read("meld", tree(root, files), {"official": False, **options})


LABELS = {name: rows((0, 0)) for name in ("train_sent_emo.csv", "dev_sent_emo.csv", "test_sent_emo.csv")}
CLIPS = {
    "train_splits": "train/dia0_utt0",
    "dev_splits_complete": "dev/dia0_utt0",
    "output_repeated_splits_test": "test/dia0_utt0",
}


@pytest.mark.parametrize(
    "folders",
    [
        ("train_splits", "dev_splits_complete", "output_repeated_splits_test"),
        ("train_splits", "dev_splits", "test_splits"),
        ("train/train_splits", "dev/dev_splits_complete", "test/output_repeated_splits_test"),
        ("MELD.Raw/train_splits", "MELD.Raw/dev_splits_complete", "MELD.Raw/output_repeated_splits_test"),
        ("MELD.Raw/MELD.Raw/train/train_splits", "MELD.Raw/dev/dev_splits", "test_run/MELD.Raw/test"),
        ("train", "val", "TEST"),
        ("meld_train_videos", "valid_clips", "test-set/mp4"),
    ],
)
@pytest.mark.parametrize("labels_beside_clips", [True, False])
def test_layout_variants_give_the_same_clips(tmp_path, folders, labels_beside_clips):
    files: dict[str, str | bytes] = {f"{folder}/dia0_utt0.mp4": b"" for folder in folders}
    for name, folder in zip(LABELS, folders, strict=True):
        where = str(Path(folder).parent / name) if labels_beside_clips else name
        files[where] = LABELS[name]
    corpus = small(tmp_path, files)
    assert [(clip.id, clip.split, clip.media) for clip in corpus.clips] == [
        ("train/dia0_utt0", Split.TRAIN, f"{folders[0]}/dia0_utt0.mp4"),
        ("dev/dia0_utt0", Split.VALID, f"{folders[1]}/dia0_utt0.mp4"),
        ("test/dia0_utt0", Split.TEST, f"{folders[2]}/dia0_utt0.mp4"),
    ]
    assert corpus.defects == ()
    assert corpus.with_media() == 3


@pytest.mark.parametrize("inner", ["train", "train/train_splits"])
def test_the_root_may_be_an_inner_folder(tmp_path, inner):
    files = {"train/train_splits/dia0_utt0.mp4": b"", f"{inner}/train_sent_emo.csv": rows((0, 0))}
    tree(tmp_path, files)
    corpus = corpora.read("meld", tmp_path / inner, {"official": False})
    assert corpus.with_media() == 1


def test_a_clip_carries_all_that_the_row_says(tmp_path):
    labels = rows((3, 7, "anger", "negative", "What, me?", "Mark"))
    clip = small(tmp_path, {"dev.csv": labels, "dev/dia3_utt7.mp4": b""}).clips[0]
    assert (clip.id, clip.dialogue, clip.turn) == ("dev/dia3_utt7", "dev/dia3", 7)
    assert (clip.text, clip.speaker, clip.language) == ("What, me?", "Mark", "en")
    assert (clip.label, dict(clip.labels)) == ("anger", {"sentiment": "negative"})
    assert (clip.start, clip.end) == (None, None)


def test_sentiment_can_be_the_label(tmp_path):
    corpus = small(tmp_path, {"train_sent_emo.csv": rows((0, 0))}, target="sentiment")
    assert corpus.task == Classification(("neutral", "positive", "negative"))
    assert (corpus.clips[0].label, dict(corpus.clips[0].labels)) == ("positive", {"emotion": "joy"})


def test_the_corrected_twin_of_a_test_clip_is_used(tmp_path):
    folder = "output_repeated_splits_test"
    files = {
        "test_sent_emo.csv": rows((0, 0), (0, 1)),
        f"{folder}/dia0_utt0.mp4": b"",
        f"{folder}/final_videos_testdia0_utt0.mp4": b"",
        f"{folder}/final_videos_testdia0_utt1.mp4": b"",
    }
    corpus = small(tmp_path, files)
    assert [clip.media for clip in corpus.clips] == [
        f"{folder}/final_videos_testdia0_utt0.mp4",
        f"{folder}/final_videos_testdia0_utt1.mp4",
    ]
    assert codes(corpus, "duplicate") == [("test/dia0_utt0", f"{folder}/dia0_utt0.mp4")]


def test_of_two_copies_the_one_nearest_to_the_root_is_used(tmp_path):
    files = {
        "train_sent_emo.csv": rows((0, 0)),
        "copy/train_splits/dia0_utt0.mp4": b"",
        "train_splits/dia0_utt0.mp4": b"",
    }
    corpus = small(tmp_path, files)
    assert corpus.clips[0].media == "train_splits/dia0_utt0.mp4"
    assert codes(corpus, "duplicate") == [("train/dia0_utt0", "copy/train_splits/dia0_utt0.mp4")]


@pytest.mark.parametrize(
    "name",
    ["._dia0_utt1.mp4", ".DS_Store", "dia0_utt1.part.mp4", "dia0_utt1.mp4.txt", "xdia0_utt1.mp4", "dia0_utt1.wav"],
)
def test_what_is_no_clip_is_ignored(tmp_path, name):
    corpus = small(tmp_path, {"train_sent_emo.csv": rows((0, 0)), "train/dia0_utt0.mp4": b"", f"train/{name}": b""})
    assert corpus.defects == ()


def test_a_clip_whose_folders_tell_no_split_is_told(tmp_path):
    corpus = small(tmp_path, {"train_sent_emo.csv": rows((0, 0)), "clips/dia0_utt0.mp4": b""})
    assert codes(corpus, "unlabelled_media") == [(None, "clips/dia0_utt0.mp4")]
    assert codes(corpus, "missing_media") == [("train/dia0_utt0", None)]


def test_unknown_labels_are_told_and_left_out(tmp_path):
    labels = rows((0, 0, "bliss", "positive"), (0, 1, "joy", "mixed"), (0, 2, "Joy ", "POSITIVE"))
    corpus = small(tmp_path, {"train_sent_emo.csv": labels})
    assert [(clip.label, dict(clip.labels)) for clip in corpus.clips] == [
        (None, {"sentiment": "positive"}),
        ("joy", {}),
        ("joy", {"sentiment": "positive"}),
    ]
    assert [clip for clip, _ in codes(corpus, "label_out_of_range")] == ["train/dia0_utt0", "train/dia0_utt1"]


def test_the_first_of_two_rows_counts(tmp_path):
    corpus = small(tmp_path, {"train_sent_emo.csv": rows((0, 0, "joy"), (0, 0, "fear"))})
    assert [clip.label for clip in corpus.clips] == ["joy"]
    assert codes(corpus, "duplicate") == [("train/dia0_utt0", "train_sent_emo.csv")]


def test_the_undamaged_label_file_is_preferred_and_the_other_told(tmp_path):
    damaged = rows((0, 0, "joy", "positive", "he\x92s", "Richard\x92s Date"))
    clean = rows((0, 0, "fear", "negative", "he’s", "Richard’s Date"))
    corpus = small(tmp_path, {"train_sent_emo.csv": damaged, "deep/er/train_sent_emo.csv": clean})
    assert corpus.sources == ("deep/er/train_sent_emo.csv",)
    assert corpus.clips[0].label == "fear"
    assert corpus.notes == (
        "train_sent_emo.csv is ignored, deep/er/train_sent_emo.csv is used (train): it has 1 other labels and 2 "
        "damaged characters.",
    )


@pytest.mark.parametrize("word", ["nan", "None", "NULL", "<NA>"])
def test_what_programs_write_for_no_text_is_none(tmp_path, word):
    labels = rows((0, 0, word, "positive", word, word), (0, 1, "joy", "positive", "None.", "Na"))
    corpus = small(tmp_path, {"train_sent_emo.csv": labels})
    assert [(clip.text, clip.speaker, clip.label) for clip in corpus.clips] == [
        ("", None, None),
        ("None.", "Na", "joy"),
    ]


def test_damaged_bytes_cost_their_row_alone_and_are_told(tmp_path):
    labels = rows((0, 0, "joy", "positive", "C’est ça"), (0, 1, "joy", "positive", "déjà"))
    corpus = small(tmp_path, {"train_sent_emo.csv": labels.encode().replace("j\xe0".encode(), b"j\xc3")})
    assert [clip.text for clip in corpus.clips] == ["C’est ça", "déj\ufffd"]
    assert codes(corpus, "text_repaired") == [("train/dia0_utt1", "train_sent_emo.csv")]


def test_damaged_text_and_speaker_are_repaired_and_told(tmp_path):
    labels = rows((0, 0, "joy", "positive", "he\x92s", "Richard\x92s Date"), (0, 1))
    corpus = small(tmp_path, {"train_sent_emo.csv": labels})
    assert (corpus.clips[0].text, corpus.clips[0].speaker) == ("he’s", "Richard’s Date")
    assert codes(corpus, "text_repaired") == [("train/dia0_utt0", "train_sent_emo.csv")]


@pytest.mark.parametrize(
    ("files", "note"),
    [
        ({"x/train_sent_emo_dya.csv": HEADER + ",Old_Dialogue_ID\n"}, "dyadic"),
        ({"labels.csv": rows((0, 0))}, "neither its name nor its folders"),
        ({"dev_sent_emo.csv": "Utterance,Dialogue_ID,Utterance_ID\n"}, "no column Speaker, Emotion, Sentiment"),
    ],
)
def test_label_files_that_are_left_aside_are_told(tmp_path, files, note):
    corpus = small(tmp_path, {"train_sent_emo.csv": rows((0, 0)), **files})
    assert len(corpus.clips) == 1
    assert len(corpus.notes) == 1
    assert note in corpus.notes[0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (HEADER + "\r\n1,Hi,Joey\r\n", "rows 2"),
        (rows(("a", 0), (0, 0), (0, -1)), "rows 2, 4"),
        (rows((0, "9" * 5000)), "rows 2"),
        (HEADER + '\r\n1,"Hi,Joey\r\n', "not valid CSV"),
        (HEADER.encode() + b"\r\n\x00\x00", "zero bytes"),
    ],
)
def test_broken_label_files_are_refused_by_name_and_row(tmp_path, content, says):
    with pytest.raises(UsageError, match=says) as error:
        small(tmp_path, {"train_sent_emo.csv": content})
    assert "train_sent_emo.csv" in str(error.value)


def test_a_folder_without_labels_says_what_was_looked_for_and_where_it_is(tmp_path):
    with pytest.raises(UsageError) as error:
        small(tmp_path, {"a.txt": "", "b.csv": "x,y\n1,2\n"})
    for part in ("Dialogue_ID", "train_sent_emo.csv", meld.URL, meld.SHA256):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("files", "inner", "says"),
    [
        ({"train/dia0_utt0.mp4": b""}, "", r"Clips are there \(1 files\)"),
        ({"train_sent_emo.csv": rows((0, 0)), "train/dia0_utt0.mp4": b""}, "train", "There are some in"),
        ({"MELD.Raw.tar.gz": b""}, "", "tar xf"),
        ({"labels.csv": rows((0, 0))}, "", "Seen: labels.csv"),
    ],
)
def test_without_labels_the_next_step_is_told(tmp_path, files, inner, says):
    tree(tmp_path, files)
    with pytest.raises(UsageError, match=says):
        corpora.read("meld", tmp_path / inner, {"official": False})


def test_links_out_of_the_root_are_named(tmp_path):
    root = tmp_path / "root"
    tree(root, {"train_sent_emo.csv": rows((0, 0))})
    (root / "train_splits").symlink_to(tmp_path)
    corpus = corpora.read("meld", root, {"official": False})
    reason = f"train_splits is a symbolic link out of the root, to '{tmp_path}'; --follow-links allows it"
    assert corpus.notes == (f"Ignored: {reason}.",)
    assert f"it may lie in train_splits, which {reason.removeprefix('train_splits ')}." in corpus.defects[0].message
    (root / "train_sent_emo.csv").unlink()
    with pytest.raises(UsageError, match="Ignored: train_splits is a symbolic link"):
        corpora.read("meld", root, {"official": False})


def test_packed_inner_archives_are_told_with_the_command(tmp_path):
    root = tmp_path / "it's here"
    files = {"MELD.Raw/train.tar.gz": b"", "MELD.Raw/dev.tar.gz": b"", "MELD.Raw/dev_sent_emo.csv": rows((0, 0))}
    with pytest.raises(UsageError, match=r"for a in dev.tar.gz train.tar.gz; do tar xf \$a; done") as error:
        small(root, files)
    assert "'\"'\"'s here/MELD.Raw'" in str(error.value)


def test_one_packed_split_is_told_as_a_note(tmp_path):
    files = {
        "train_sent_emo.csv": rows((0, 0)),
        "dev_sent_emo.csv": rows((0, 0)),
        "train_splits/dia0_utt0.mp4": b"",
        "dev.tar.gz": b"",
    }
    assert "tar xf" in small(tmp_path, files).notes[0]


def test_numbers_are_no_task_for_meld(tmp_path):
    tree(tmp_path, {"train_sent_emo.csv": rows((0, 0))})
    with pytest.raises(UsageError, match="MELD's labels are classes"):
        corpora.read("meld", tmp_path, task=Regression(-1, 1))


def test_classes_of_the_recipe_come_first(tmp_path):
    tree(tmp_path, {"train_sent_emo.csv": rows((0, 0, "joy"), (0, 1, "fear"))})
    corpus = corpora.read("meld", tmp_path, {"official": False}, task=Classification(("joy", "anger")))
    assert [clip.label for clip in corpus.clips] == ["joy", None]


# --- the real label files ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(shared):
    return {version: corpora.read("meld", shared / "data" / "meld" / version) for version in ("current", "2018")}


def test_real_labels_give_the_official_counts(real):
    for corpus in real.values():
        assert corpus.counts() == {Split.TRAIN: 9989, Split.VALID: 1109, Split.TEST: 2610} == corpus.expected
        assert codes(corpus, "split_count_mismatch") == []
        assert codes(corpus, "label_out_of_range") == []
        found = Counter((clip.split, clip.label) for clip in corpus.clips)
        for split, numbers in meld.OFFICIAL_EMOTIONS.items():
            assert tuple(found[split, emotion] for emotion in meld.EMOTIONS) == numbers
        sentiments = Counter(clip.labels["sentiment"] for clip in corpus.clips if clip.split == Split.TRAIN)
        assert sentiments == {"neutral": 4710, "negative": 2945, "positive": 2334}


def test_labels_of_2018_and_of_today_give_the_same_clips(real):
    assert real["2018"].clips == real["current"].clips


def test_only_the_labels_of_2018_need_repair(real):
    repaired = Counter(clip.split("/")[0] for clip, _ in codes(real["2018"], "text_repaired"))
    assert repaired == {"train": 2695, "dev": 309, "test": 743}
    assert codes(real["current"], "text_repaired") == []


def test_rows_with_a_no_break_space_in_2018_read_as_a_space_today(real, shared):
    clips = {clip.id: clip.text for clip in real["current"].clips}
    found = []
    for word in ("train", "dev", "test"):
        path = shared / "data" / "meld" / "2018" / f"{word}_sent_emo.csv"
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if "\xa0" in row["Utterance"]:
                    name = f"{word}/dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
                    found.append(name)
                    assert "\xa0" not in clips[name]
    assert found == NO_BREAK_SPACE


NO_BREAK_SPACE = ["train/dia473_utt3", "train/dia761_utt2", "train/dia761_utt3", "dev/dia26_utt8", "test/dia190_utt0"]


@pytest.fixture(scope="module")
def archive(shared, tmp_path_factory):
    """A tree with the real labels and a file for each clip of the official archive, defects included."""
    root = tmp_path_factory.mktemp("meld_archive")
    folders = {
        "train": "train/train_splits",
        "dev": "dev/dev_splits_complete",
        "test": "test/output_repeated_splits_test",
    }
    for word, folder in folders.items():
        (root / folder).mkdir(parents=True)
        labels = (shared / "data" / "meld" / "current" / f"{word}_sent_emo.csv").read_bytes()
        (root / word / f"{word}_sent_emo.csv").write_bytes(labels)
        with (root / word / f"{word}_sent_emo.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                (root / folder / f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}.mp4").touch()
    (root / folders["dev"] / "dia110_utt7.mp4").unlink()
    for name in ("dia49_utt4", "dia49_utt5", "dia66_utt9", "dia66_utt10"):
        (root / folders["dev"] / f"{name}.mp4").touch()
    for name in (
        "dia93_utt5",
        "dia93_utt6",
        "dia93_utt7",
        "dia108_utt1",
        "dia108_utt2",
        "final_videos_testdia101_utt99",
    ):
        (root / folders["test"] / f"{name}.mp4").touch()
    (root / folders["test"] / "final_videos_testdia1_utt0.mp4").touch()
    (root / folders["test"] / "._dia1_utt0.mp4").touch()
    return root


def test_each_known_defect_of_the_archive_has_its_code(archive):
    corpus = corpora.read("meld", archive)
    assert corpus.with_media() == 13_707
    assert codes(corpus, "missing_media") == [("dev/dia110_utt7", None)]
    assert codes(corpus, "duplicate") == [("test/dia1_utt0", "test/output_repeated_splits_test/dia1_utt0.mp4")]
    assert [path.rsplit("/", 1)[1] for _, path in codes(corpus, "unlabelled_media")] == [
        "dia49_utt4.mp4",
        "dia49_utt5.mp4",
        "dia66_utt9.mp4",
        "dia66_utt10.mp4",
        "dia93_utt5.mp4",
        "dia93_utt6.mp4",
        "dia93_utt7.mp4",
        "final_videos_testdia101_utt99.mp4",
        "dia108_utt1.mp4",
        "dia108_utt2.mp4",
    ]
    known_bad = {clip for clip, _ in codes(corpus, "known_bad")}
    assert {"train/dia125_utt3", "test/dia220_utt0", "test/dia38_utt4", "train/dia309_utt0"} <= known_bad
    assert {"train/dia793_utt0", "train/dia1029_utt1", "train/dia757_utt7", "train/dia241_utt0"} <= known_bad
    assert set(Counter(defect.code for defect in corpus.defects)) == {
        "missing_media",
        "duplicate",
        "unlabelled_media",
        "known_bad",
    }
    missing = next(defect for defect in corpus.defects if defect.code == "missing_media")
    assert "the official archive lacks it" in missing.message


def test_known_bad_clips_and_counts_are_of_the_official_data_only(archive):
    corpus = corpora.read("meld", archive, {"official": False})
    assert codes(corpus, "known_bad") == []
    assert corpus.expected == {}


def test_every_known_bad_clip_is_annotated(real):
    ids = {clip.id for clip in real["current"].clips}
    dialogues = {clip.dialogue for clip in real["current"].clips}
    assert set(meld.CLIPS) | set(meld.MISSING) <= ids
    assert set(meld.DIALOGUES) <= dialogues
    assert not meld.UNLABELLED & ids


def test_counts_that_are_not_official_are_told(tmp_path):
    corpus = corpora.read("meld", tree(tmp_path, {"train_sent_emo.csv": rows((0, 0))}))
    told = [defect.message for defect in corpus.defects if defect.code == "split_count_mismatch"]
    assert "Of clips of split train there are 1; officially there are 9989." in told
    assert "Of clips of split valid there are 0; officially there are 1109." in told
    assert "Of train clips with emotion joy there are 1; officially there are 1743." in told
    assert len(told) == 3 + 7


def test_a_label_file_that_is_a_dangling_link_is_no_label_file(tmp_path):
    (tmp_path / "train_sent_emo.csv").symlink_to(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="no label file"):
        corpora.read("meld", tmp_path)


def test_files_too_large_for_labels_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(meld_labels, "_MAX_BYTES", 10)
    with pytest.raises(UsageError, match=r"Label file train_sent_emo\.csv has .* bytes; at most 10 are read"):
        small(tmp_path, {"train_sent_emo.csv": rows((0, 0))})


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train_sent_emo.csv", Split.TRAIN),
        ("MELD_val_labels.csv", Split.VALID),
        ("test/labels.csv", Split.TEST),
        ("contest.csv", None),
    ],
)
def test_label_files_tell_their_split_by_name_or_folder(path, split):
    assert split_of_table(Path("/data"), path) == split
