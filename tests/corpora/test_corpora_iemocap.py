"""IEMOCAP: label files, transcriptions, media of sentences and dialogues, sessions as splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from mse_pipeline import corpora, recipe
from mse_pipeline.clip import Split
from mse_pipeline.corpora import iemocap
from mse_pipeline.corpora import iemocap as iemocap_dialogues
from mse_pipeline.corpora.iemocap import split_of_dialogues
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression
from tests.corpora.raw_folder import codes, tree

HEADING = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
RATERS = "C-E2:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n\n"


def line(name, emotion="neu", start="6.2901", end="8.2357", numbers="2.5000, 3.5000, 4.0000"):
    return f"[{start} - {end}]\t{name}\t{emotion}\t[{numbers}]\n{RATERS}"


def dialogue(name, *lines, said="Excuse me."):
    """Label file, transcription, video and one sentence's sound of a dialogue."""
    session = f"Session{name[4]}"
    first = f"{name}_F000"
    return {
        f"{session}/dialog/EmoEvaluation/{name}.txt": HEADING + "".join(lines or [line(first)]),
        f"{session}/dialog/EmoEvaluation/Categorical/{name}_e2_cat.txt": "x",
        f"{session}/dialog/transcriptions/{name}.txt": f"{first} [006.2901-008.2357]: {said}\nM: [LAUGHTER]\n",
        f"{session}/dialog/avi/DivX/{name}.avi": "",
        f"{session}/dialog/wav/{name}.wav": "",
        f"{session}/dialog/MOCAP_head/{name}.txt": "numbers",
        f"{session}/sentences/wav/{name}/{first}.wav": "",
    }


def small(root: Path, files: dict[str, str | bytes], **options):
    return corpora.read("iemocap", tree(root, files), {"official": False, **options})


ONE = dialogue("Ses01F_impro01")
EVALUATION = "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
SAID = "Session1/dialog/transcriptions/Ses01F_impro01.txt"


def test_a_clip_carries_all_that_the_files_say(tmp_path):
    corpus = small(tmp_path, ONE)
    (clip,) = corpus.clips
    assert (clip.id, clip.split, clip.speaker) == ("Ses01F_impro01_F000", Split.TRAIN, "Ses01F")
    assert (clip.dialogue, clip.turn, clip.text, clip.language) == ("Ses01F_impro01", 0, "Excuse me.", "en")
    assert (clip.media, clip.start, clip.end) == ("Session1/dialog/avi/DivX/Ses01F_impro01.avi", 6.2901, 8.2357)
    assert (clip.label, dict(clip.labels)) == ("neu", {"valence": 2.5, "activation": 3.5, "dominance": 4.0})
    assert corpus.task == Classification(("hap", "sad", "neu", "ang", "exc", "fru"))
    assert corpus.defects == ()


@pytest.mark.parametrize("folder", ["", "IEMOCAP_full_release/", "data/IEMOCAP/"])
def test_the_root_may_be_around_the_sessions(tmp_path, folder):
    corpus = small(tmp_path, {folder + name: content for name, content in ONE.items()})
    assert corpus.with_media() == len(corpus.clips) == 1
    assert corpus.defects == ()


SENTENCE = "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav"
VIDEO = "Session1/dialog/avi/DivX/Ses01F_impro01.avi"


@pytest.mark.parametrize(
    ("media", "without", "found", "start"),
    [
        ("dialogue", None, VIDEO, 6.2901),
        ("sentence", None, SENTENCE, None),
        ("dialogue", VIDEO, SENTENCE, None),
        ("sentence", SENTENCE, VIDEO, 6.2901),
    ],
)
def test_media_are_spans_of_the_dialogue_or_sentences(tmp_path, media, without, found, start):
    corpus = small(tmp_path, {name: text for name, text in ONE.items() if name != without}, media=media)
    assert (corpus.clips[0].media, corpus.clips[0].start) == (found, start)
    assert corpus.defects == ()
    assert any("both speakers are seen" in note for note in corpus.notes) == (start is not None)
    assert any("no video" in note for note in corpus.notes) == (media == "dialogue" and start is None)


def test_turns_are_in_the_order_of_time_and_speakers_are_told_apart(tmp_path):
    lines = [
        line("Ses01F_impro01_M000", start="9.5", end="11"),
        line("Ses01F_impro01_F000", start="1.5", end="3"),
        line("Ses01F_impro01_MXX0", start="10.25", end="12"),
    ]
    corpus = small(tmp_path, dialogue("Ses01F_impro01", *lines))
    assert [(clip.id[-4:], clip.turn, clip.speaker) for clip in corpus.clips] == [
        ("F000", 0, "Ses01F"),
        ("M000", 1, "Ses01M"),
        ("MXX0", 2, "Ses01M"),
    ]


def test_codes_outside_of_the_six_are_kept_without_a_label(tmp_path):
    lines = [
        line(f"Ses01F_impro01_F00{number}", emotion, start=f"{number}", end=f"{number + 1}")
        for number, emotion in enumerate(["hap", "xxx", "sur", "xxx", "bliss"])
    ]
    corpus = small(tmp_path, dialogue("Ses01F_impro01", *lines))
    assert [(clip.label, clip.labels.get("emotion")) for clip in corpus.clips] == [
        ("hap", None),
        (None, "xxx"),
        (None, "sur"),
        (None, "xxx"),
        (None, "bliss"),
    ]
    assert codes(corpus, "label_out_of_range") == [("Ses01F_impro01_F004", EVALUATION)]
    assert any("3 of 5 utterances are of no class of the six-way task: xxx 2, sur 1." in note for note in corpus.notes)


@pytest.mark.parametrize(("target", "label"), [("valence", 2.5), ("activation", 3.5), ("dominance", 4.0)])
def test_the_label_can_be_a_number(tmp_path, target, label):
    corpus = small(tmp_path, ONE, target=target)
    assert corpus.task == Regression(1, 5)
    assert corpus.clips[0].label == label
    assert corpus.clips[0].labels["emotion"] == "neu"
    assert target not in corpus.clips[0].labels


@pytest.mark.parametrize("word", ["nan", "NA", "None", ""])
def test_ratings_that_a_copy_has_lost_are_absent(tmp_path, word):
    lost = line("Ses01F_impro01_F000", numbers=f"{word}, 3.5, {word}")
    (clip,) = small(tmp_path, dialogue("Ses01F_impro01", lost, said=word), target="valence").clips
    assert (clip.label, dict(clip.labels), clip.text) == (None, {"emotion": "neu", "activation": 3.5}, "")


def test_numbers_out_of_range_are_told(tmp_path):
    corpus = small(
        tmp_path, dialogue("Ses01F_impro01", line("Ses01F_impro01_F000", numbers="7, 3, 3")), target="valence"
    )
    assert corpus.clips[0].label is None
    assert codes(corpus, "label_out_of_range") == [("Ses01F_impro01_F000", None)]


@pytest.mark.parametrize(
    ("target", "task", "says"),
    [
        ("emotion", Regression(1, 5), "IEMOCAP's emotions are classes"),
        ("valence", Classification(("a", "b")), "IEMOCAP's valence is a number from 1 to 5"),
    ],
)
def test_a_task_that_does_not_fit_the_target_is_refused(tmp_path, target, task, says):
    with pytest.raises(UsageError, match=says):
        corpora.read("iemocap", tree(tmp_path, ONE), {"target": target}, task)


def test_fewer_classes_of_the_recipe_leave_the_others_unlabelled(tmp_path):
    task = Classification(("ang", "hap", "sad"))
    corpus = corpora.read("iemocap", tree(tmp_path, ONE), {"official": False}, task)
    assert corpus.clips[0].label is None
    assert codes(corpus, "label_out_of_range") == []


# --- splits -----------------------------------------------------------------------------------------------------------

DIALOGUES = [(session, f"Ses0{session}F_impro{number:02d}") for session in range(1, 6) for number in range(1, 31)]


@pytest.mark.parametrize(
    ("test_session", "valid", "sizes", "valid_sessions"),
    [
        (5, "dialogues", (108, 12, 30), {1, 2, 3, 4}),
        (5, "session", (90, 30, 30), {4}),
        (1, "session", (90, 30, 30), {5}),
        (3, "none", (120, 0, 30), set()),
    ],
)
def test_the_test_is_a_whole_session(test_session, valid, sizes, valid_sessions):
    splits, told = split_of_dialogues(DIALOGUES, test_session, valid)
    assert tuple(list(splits.values()).count(split) for split in Split) == sizes
    assert {name[4] for name, split in splits.items() if split == Split.TEST} == {str(test_session)}
    assert {int(name[4]) for name, split in splits.items() if split == Split.VALID} == valid_sessions
    assert told.startswith(f"Session {test_session} is the test, ")


def test_validation_dialogues_are_the_last_of_each_session():
    splits, _ = split_of_dialogues(DIALOGUES, 5, "dialogues")
    valid = [name for name, split in splits.items() if split == Split.VALID]
    assert valid[:3] == ["Ses01F_impro28", "Ses01F_impro29", "Ses01F_impro30"]


def test_clips_follow_their_dialogue(tmp_path):
    names = ["Ses01F_impro01", "Ses01M_script01_1b", "Ses05F_impro01"]
    files = {key: value for name in names for key, value in dialogue(name).items()}
    corpus = small(tmp_path, files)
    assert {clip.dialogue: str(clip.split) for clip in corpus.clips} == {
        "Ses01F_impro01": "train",
        "Ses01M_script01_1b": "valid",
        "Ses05F_impro01": "test",
    }
    assert corpus.notes[0].startswith(
        "Session 5 is the test, the last tenth of each other session's dialogues is valid"
    )


# --- defects and refusals ---------------------------------------------------------------------------------------------


def test_each_defect_has_its_code_and_no_other(tmp_path):
    lines = [
        line("Ses01F_impro01_F000"),
        line("Ses01F_impro01_F000", "ang", start="20", end="21"),
        line("Ses01F_impro01_F001", start="30", end="31"),
    ]
    files = dialogue("Ses01F_impro01", *lines, said="It\x92s fine.")
    del files[VIDEO]
    files |= {
        "copy/of/Ses01F_impro01_F000.wav": "",
        "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M009.wav": "",
        "Session2/dialog/avi/DivX/Ses02F_impro07.avi": "",
    }
    corpus = small(tmp_path, files)
    assert [(defect.code, defect.clip, defect.path) for defect in corpus.defects] == [
        ("text_repaired", "Ses01F_impro01_F000", None),
        ("duplicate", "Ses01F_impro01_F000", SENTENCE),
        ("duplicate", "Ses01F_impro01_F000", EVALUATION),
        ("missing_media", "Ses01F_impro01_F001", None),
        ("unlabelled_media", None, "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M009.wav"),
        ("unlabelled_media", None, "Session2/dialog/avi/DivX/Ses02F_impro07.avi"),
    ]
    assert (corpus.clips[0].label, corpus.clips[0].text) == ("neu", "It’s fine.")
    assert "1 utterances have no transcription: Ses01F_impro01_F001." in corpus.notes


@pytest.mark.parametrize(
    "bad",
    [
        "[6.29 - 8.23] Ses01F_impro01_F000 neu [2.5, 2.5, 2.5]\n",
        "[6.29 - 8.23]\tSes01F_impro01_F000\tneu\t[2.5, 2.5]\n",
        "[9.29 - 8.23]\tSes01F_impro01_F000\tneu\t[2.5, 2.5, 2.5]\n",
        "[nan - 8.23]\tSes01F_impro01_F000\tneu\t[2.5, 2.5, 2.5]\n",
        "[6.29 - 8.23]\t../../etc/passwd\tneu\t[2.5, 2.5, 2.5]\n",
        "[6.29 - 8.23]\tSes09F_impro01_F000\tneu\t[2.5, 2.5, 2.5]\n",
        f"[{'9' * 5000} - 8.23]\tSes01F_impro01_F000\tneu\t[2.5, 2.5, 2.5]\n",
    ],
)
def test_lines_of_another_form_are_refused_by_file_and_line(tmp_path, bad):
    with pytest.raises(UsageError, match=r"Ses01F_impro01.txt has lines that are not in IEMOCAP's form.*: lines 3"):
        small(tmp_path, ONE | {EVALUATION: HEADING + bad})


def test_files_with_carriage_returns_or_old_encodings_are_read(tmp_path):
    text = (HEADING + line("Ses01F_impro01_F000")).replace("\n", "\r\n")
    corpus = small(tmp_path, ONE | {EVALUATION: text, SAID: b"Ses01F_impro01_F000 [0-1]: caf\xe9\r\n"})
    assert (corpus.clips[0].label, corpus.clips[0].text) == ("neu", "café")


def test_a_folder_without_label_files_says_what_was_looked_for(tmp_path):
    with pytest.raises(UsageError, match=r"EmoEvaluation/Ses01F_impro01.txt(?s:.*)https://sail.usc.edu/iemocap"):
        small(tmp_path, {"Session1/dialog/avi/DivX/Ses01F_impro01.avi": ""})


def test_files_too_large_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(iemocap_dialogues, "_MAX_BYTES", 10)
    with pytest.raises(UsageError, match="at most 10"):
        small(tmp_path, ONE)


def test_of_two_copies_the_one_nearest_to_the_root_is_read(tmp_path):
    other = {f"backup/{name}": text for name, text in ONE.items() if "EmoEvaluation" in name}
    corpus = small(tmp_path, ONE | other)
    assert corpus.sources == (EVALUATION,)
    assert f"Ignored, as others are nearer to the root: backup/{EVALUATION}." in corpus.notes


def test_official_counts_are_compared(tmp_path):
    corpus = corpora.read("iemocap", tree(tmp_path, ONE))
    assert [defect.message for defect in corpus.defects] == [
        "Of utterances of sessions 1 to 4 there are 1; officially there are 7869.",
        "Of utterances of session 5 there are 0; officially there are 2170.",
        "Of utterances with one of the six emotions of sessions 1 to 4 there are 1; officially there are 5810.",
        "Of utterances with one of the six emotions of session 5 there are 0; officially there are 1623.",
    ]
    assert corpus.expected == {}
    whole = corpora.read("iemocap", tmp_path, {"valid": "none"})
    assert whole.expected == {Split.TRAIN: 7869, Split.VALID: 0, Split.TEST: 2170}
    assert sum(iemocap.OFFICIAL.values()) == 10_039


@pytest.mark.parametrize("options", [{"test_session": 6}, {"test_session": "5"}, {"valid": "random"}])
def test_options_that_cannot_be_are_refused(tmp_path, options):
    with pytest.raises(UsageError, match="Options of corpus iemocap have errors"):
        small(tmp_path, ONE, **options)


def test_the_recipe_names_the_classes_in_the_corpus_order():
    loaded = recipe.load("iemocap", checks=[corpora.check])
    assert loaded.prompt.task is not None
    for index, word in enumerate(("happy", "sad", "neutral", "angry", "excited", "frustrated")):
        assert f"{word}:{index}" in loaded.prompt.task
        assert word.startswith(iemocap.EMOTIONS[index])
