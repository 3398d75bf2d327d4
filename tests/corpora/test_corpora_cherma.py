"""CHERMA from a user's media folder and the three label files, in any arrangement."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from mse_pipeline import corpora, recipe
from mse_pipeline.clip import Split
from mse_pipeline.corpora import cherma
from mse_pipeline.corpora import cherma as cherma_labels
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression
from tests.corpora.raw_folder import codes


def entry(name="qyz_0001", label="高兴", **more):
    return {
        "audio_file": f"{name}.wav",
        "video_file": f"{name}.mp4",
        "txt_label": "平静",
        "audio_label": "高兴",
        "visual_label": "惊奇",
        "video_label": label,
    } | more


def labels(*entries) -> bytes:
    return json.dumps(list(entries) or [entry()], ensure_ascii=False).encode()


def tree(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def small(root: Path, files: dict[str, bytes], **options):
    return corpora.read("cherma", tree(root, files), {"official": False, **options})


THREE = {
    "train.json": labels(entry("a_1")),
    "dev.json": labels(entry("b_1", "悲伤")),
    "test.json": labels(entry("c_1", "愤怒")),
}


@pytest.mark.parametrize(
    ("json_folder", "layout"),
    [
        ("", "mp4/{name}.mp4"),
        ("CHERMA0723/", "mp4/{name}.mp4"),
        ("", "CHERMA/{split}/{name}.mp4"),
        ("json/", "{name}.mp4"),
        ("", "video/{split}/mp4/{name}.MP4"),
        ("", "converted/{name}.mkv"),
    ],
)
def test_layouts_give_the_same_clips(tmp_path, json_folder, layout):
    paths = [
        layout.format(name=name, split=split) for name, split in (("a_1", "train"), ("b_1", "dev"), ("c_1", "test"))
    ]
    files = {json_folder + name: content for name, content in THREE.items()} | dict.fromkeys(paths, b"")
    corpus = small(tmp_path, files)
    assert [(clip.id, clip.split, clip.media) for clip in corpus.clips] == [
        ("train/a_1", Split.TRAIN, paths[0]),
        ("dev/b_1", Split.VALID, paths[1]),
        ("test/c_1", Split.TEST, paths[2]),
    ]
    assert corpus.defects == ()


@pytest.mark.parametrize("name", ["valid.json", "val.json", "cherma_dev.json", "dev/labels_dev.json"])
def test_the_validation_file_has_several_names(tmp_path, name):
    assert [clip.split for clip in small(tmp_path, {name: labels()}).clips] == [Split.VALID]


def test_a_clip_carries_all_that_the_entry_says(tmp_path):
    clip = small(tmp_path, {"train.json": labels(entry(text="我真的很开心！")), "qyz_0001.mp4": b""}).clips[0]
    assert (clip.label, clip.language, clip.text) == ("高兴", "zh", "我真的很开心！")
    assert dict(clip.labels) == {"text": "平静", "acoustic": "高兴", "visual": "惊奇"}


@pytest.mark.parametrize("key", ["text", "transcript", "txt"])
def test_texts_are_taken_where_a_key_has_them(tmp_path, key):
    corpus = small(tmp_path, {"train.json": labels(entry(**{key: "你好"}))})
    assert corpus.clips[0].text == "你好"
    assert not any("hold no texts" in note for note in corpus.notes)


def test_absent_texts_are_told_in_a_note(tmp_path):
    corpus = small(tmp_path, {"train.json": labels()})
    assert corpus.clips[0].text == ""
    assert any(note.startswith("train.json hold no texts, as the released files do not") for note in corpus.notes)


@pytest.mark.parametrize(
    ("media", "files", "found"),
    [
        ("video", ["wav/qyz_0001.wav", "mp4/qyz_0001.mp4"], "mp4/qyz_0001.mp4"),
        ("audio", ["wav/qyz_0001.wav", "mp4/qyz_0001.mp4"], "wav/qyz_0001.wav"),
        ("video", ["wav/qyz_0001.wav"], "wav/qyz_0001.wav"),
        ("audio", ["mp4/qyz_0001.mp4"], "mp4/qyz_0001.mp4"),
        ("audio", ["wav/qyz_0001.flac"], "wav/qyz_0001.flac"),
    ],
)
def test_of_a_clips_two_files_the_option_chooses(tmp_path, media, files, found):
    corpus = small(tmp_path, {"train.json": labels()} | dict.fromkeys(files, b""), media=media)
    assert corpus.clips[0].media == found
    assert corpus.defects == ()
    chosen = next(note for note in corpus.notes if note.startswith("Of a clip's two files"))
    assert f"(option media: {media})" in chosen
    other_kind = found.endswith(".mp4") != (media == "video")
    assert ("1 clips have only the other one" in chosen) == other_kind


@pytest.mark.parametrize("word", ["nan", "None", "null", "N/A"])
def test_words_for_absent_values_are_no_labels_and_no_text(tmp_path, word):
    files = {"train.json": labels(entry(text=word, txt_label=word, video_label=word))}
    (clip,) = small(tmp_path, files).clips
    assert (clip.text, clip.label, sorted(clip.labels)) == ("", None, ["acoustic", "visual"])


def test_classes_are_in_the_canonical_order():
    assert Classification(cherma.EMOTIONS).index("惊奇") == 6
    assert cherma.EMOTIONS == ("愤怒", "厌恶", "恐惧", "高兴", "平静", "悲伤", "惊奇")


@pytest.mark.parametrize("english", list(cherma.ENGLISH))
def test_english_names_are_the_same_classes(tmp_path, english):
    corpus = small(tmp_path, {"train.json": labels(entry(label=english.capitalize()))})
    assert corpus.clips[0].label == cherma.ENGLISH[english]


def test_a_recipe_may_name_the_classes_in_english(tmp_path):
    task = Classification(("happy", "neutral", "surprise", "anger"))
    corpus = corpora.read("cherma", tree(tmp_path, {"train.json": labels()}), {"official": False}, task)
    assert corpus.clips[0].label == "happy"
    assert dict(corpus.clips[0].labels) == {"text": "neutral", "acoustic": "happy", "visual": "surprise"}


def test_each_defect_has_its_code_and_no_other(tmp_path):
    files = {
        "train.json": labels(
            entry("a_1"),
            entry("a_1", "悲伤"),
            entry("a_2", "3"),
            entry("a_3", visual_label="??"),
            entry("a_4", text="a\x92b"),
            entry("a_5"),
            {"audio_file": "a_6.wav"},
        ),
        **{f"mp4/a_{number}.mp4": b"" for number in (1, 2, 3, 4, 6, 9)},
        "copy/of/a_1.mp4": b"",
    }
    corpus = small(tmp_path, files)
    assert [(defect.code, defect.clip, defect.path) for defect in corpus.defects] == [
        ("duplicate", "train/a_1", "copy/of/a_1.mp4"),
        ("duplicate", "train/a_1", "train.json"),
        ("label_out_of_range", "train/a_2", "train.json"),
        ("label_out_of_range", "train/a_3", "train.json"),
        ("text_repaired", "train/a_4", "train.json"),
        ("missing_media", "train/a_5", None),
        ("label_out_of_range", "train/a_6", "train.json"),
        ("unlabelled_media", None, "mp4/a_9.mp4"),
    ]
    clips = {clip.id: clip for clip in corpus.clips}
    assert (clips["train/a_1"].label, clips["train/a_2"].label, clips["train/a_6"].label) == ("高兴", None, None)
    assert dict(clips["train/a_3"].labels) == {"text": "平静", "acoustic": "高兴"}
    assert clips["train/a_4"].text == "a’b"


def test_names_that_two_splits_share_are_kept_apart_by_the_split(tmp_path):
    files = {
        "train.json": labels(entry("0001")),
        "dev.json": labels(entry("0001", "悲伤")),
        "mp4/train/0001.mp4": b"",
        "mp4/dev/0001.mp4": b"",
    }
    corpus = small(tmp_path, files)
    assert [(clip.id, clip.media, clip.label) for clip in corpus.clips] == [
        ("train/0001", "mp4/train/0001.mp4", "高兴"),
        ("dev/0001", "mp4/dev/0001.mp4", "悲伤"),
    ]
    assert corpus.defects == ()


def test_a_file_of_another_split_is_not_taken(tmp_path):
    corpus = small(tmp_path, {"train.json": labels(), "test/qyz_0001.mp4": b""})
    assert corpus.clips[0].media is None
    assert codes(corpus, "unlabelled_media") == [(None, "test/qyz_0001.mp4")]


def test_without_media_the_released_features_are_named(tmp_path):
    corpus = small(tmp_path, {"train.json": labels()})
    assert any("not public" in note and "mse import lfmim" in note for note in corpus.notes)
    assert any(note == "There is no label file dev.json, test.json." for note in corpus.notes)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_chinese_arrives_unharmed_in_every_encoding(tmp_path, encoding):
    corpus = small(tmp_path, {"train.json": labels(entry(text="天天上首页上来霍霍人。")).decode().encode(encoding)})
    assert (corpus.clips[0].text, corpus.clips[0].label) == ("天天上首页上来霍霍人。", "高兴")
    assert ("train.json was read as gb18030." in corpus.notes) == (encoding == "gb18030")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[", "train.json is not valid JSON"),
        (b"[" * 100_000, "train.json is not valid JSON: it is nested too deep"),
        (b"\0\0", "zero bytes"),
        (labels(entry(), entry(audio_file="../../etc/passwd.wav")), r"leads out of the root \(entry 2\)"),
        (labels(entry(video_file="/etc/passwd")), r"video_file: .*absolute path outside of the root \(entry 1\)"),
        (labels(entry(audio_file="C:\\x.wav")), "absolute path"),
        (labels(entry(), entry(audio_file="")), r"is not a name of a .wav file \(entry 2\)"),
        (labels(entry(video_label=3)), r"video_label is not text \(entry 1\)"),
        (labels(entry(), 7, 8), r"the entry is no mapping \(entries 2, 3\)"),
    ],
)
def test_broken_label_files_are_refused_by_name_and_entry(tmp_path, content, says):
    with pytest.raises(UsageError, match=says) as error:
        small(tmp_path, {"train.json": content})
    assert "train.json" in str(error.value)


def test_files_too_large_for_labels_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cherma_labels, "_MAX_BYTES", 10)
    with pytest.raises(UsageError, match="at most 10 are read"):
        small(tmp_path, {"train.json": labels()})


def test_json_files_of_other_things_are_left_aside(tmp_path):
    files = {"train.json": labels(), "deep/train.json": labels(entry("z")), "test.json": b'{"a": 1}', "x.json": b"["}
    corpus = small(tmp_path, files)
    assert [clip.id for clip in corpus.clips] == ["train/qyz_0001"]
    assert corpus.notes[0].startswith("test.json is ignored: it is not a list of entries")
    assert corpus.notes[1] == "deep/train.json is ignored: train.json is nearer to the root."


def test_a_folder_without_label_files_says_what_was_looked_for(tmp_path):
    with pytest.raises(UsageError, match=r"train.json, dev.json and test.json were looked for(?s:.*)LFMIM"):
        small(tmp_path, {"a.mp4": b""})


def test_a_label_file_that_is_a_folder_or_link_out_is_none(tmp_path):
    root = tree(tmp_path / "root", {"dev.json": labels()})
    tree(tmp_path, {"outside.json": labels()})
    (root / "train.json").symlink_to(tmp_path / "outside.json")
    corpus = corpora.read("cherma", root, {"official": False})
    assert corpus.sources == ("dev.json",)
    assert any(note.startswith("Ignored: train.json is a symbolic link out of the root") for note in corpus.notes)


def test_numbers_are_no_task_for_cherma(tmp_path):
    with pytest.raises(UsageError, match="CHERMA's labels are classes"):
        corpora.read("cherma", tree(tmp_path, THREE), task=Regression(-1, 1))


def test_only_the_total_is_official(tmp_path):
    corpus = corpora.read("cherma", tree(tmp_path, THREE))
    told = [defect.message for defect in corpus.defects if defect.code == "split_count_mismatch"]
    assert told == ["Of clips of all splits there are 3; officially there are 28717."]
    assert corpus.expected == {}


@pytest.mark.slow
def test_as_many_clips_as_there_are_officially_are_listed_in_seconds(tmp_path):
    classes = cherma.EMOTIONS
    numbers = {"train": 17_230, "dev": 5_743, "test": 5_744}
    files = {
        f"{split}.json": labels(*(entry(f"{split[0]}_{number:05d}", classes[number % 7]) for number in range(count)))
        for split, count in numbers.items()
    }
    corpus = corpora.read("cherma", tree(tmp_path, files))
    assert corpus.counts() == {Split.TRAIN: 17_230, Split.VALID: 5_743, Split.TEST: 5_744}
    assert Counter(defect.code for defect in corpus.defects) == {"missing_media": 28_717}
    assert Counter(clip.label for clip in corpus.clips)["愤怒"] == 2462 + 821 + 821


@pytest.mark.parametrize(
    ("backbone", "batch", "rate"), [("qwen", 16, 5e-3), ("chatglm3", 8, 5e-5), ("llama2", 6, 5e-5)]
)
def test_the_recipe_holds_the_papers_settings(backbone, batch, rate):
    loaded = recipe.load("cherma", checks=[corpora.check])
    training = loaded.training_for(backbone)
    assert (training.epochs, training.batch_size, training.learning_rate) == (30, batch, rate)
    assert (training.acoustic_hidden, training.visual_hidden, training.pseudo_tokens) == (32, 16, 4)
    assert training.patience == 8
    classes = ", ".join(f"{name}:{index}" for index, name in enumerate(cherma.EMOTIONS))
    assert loaded.prompt.task == f"请选择适用于上述多模态内容的情绪标签：<{classes}>。助手: 情绪为"
