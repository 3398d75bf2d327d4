"""Every command that reads a table says what it understood, and what it cannot read in words that help."""

from __future__ import annotations

import pytest

from mse_pipeline import store
from tests.extraction.conftest import write_wav

KOREAN = (
    "id;media;split;text;label\n1;a.wav;train;안녕하세요 정말 기뻐요;1,5\n2;b.wav;valid;None;nan\n3;a.wav;test;x;-2\n"
)
UNDERSTOOD = (
    "Understood: numbers from -2 to 2; splits train 1, valid 1, test 1; language of the texts en; 1 of 3 clips "
    "(33.3 %) without a label; 1 of 3 clips (33.3 %) without a text."
)
TOLD = (
    "Table clips.csv was read as cp949 (Korean).",
    "The labels are numbers: a regression from -2 to 2",
    "1 of 3 rows have no label.",
    "Read as absent values: 'None' in column text (1 cell), 'nan' in column label (1 cell).",
    "1 of 2 texts of language en is written in Hangul letters",
)


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        write_wav(tmp_path / f"{name}.wav")
    (tmp_path / "clips.csv").write_bytes(KOREAN.encode("euc-kr"))
    return tmp_path


def test_a_check_says_what_it_understood(mse, folder):
    shown = mse("datasets", "check", folder / "clips.csv", "--workers", 1)
    said = " ".join(shown.out.split())
    assert UNDERSTOOD in said
    assert all(sentence in said for sentence in TOLD)
    value = mse("datasets", "check", folder / "clips.csv", "--workers", 1, "--json").json
    assert value["understood"] == {
        "task": {"kind": "regression", "low": -2.0, "high": 2.0},
        "splits": {"train": 1, "valid": 1, "test": 1},
        "languages": {"en": 3},
        "clips": 3,
        "unlabelled": 1,
        "unlabelled_share": pytest.approx(1 / 3),
        "textless": 1,
    }
    assert [any(note.startswith(sentence) for note in value["notes"]) for sentence in TOLD] == [True] * len(TOLD)


@pytest.mark.slow
def test_an_extraction_says_what_it_understood(mse, folder):
    rest = ("--cache", folder / "cache", "--workers", 1, "--streams", "acoustic.egemaps")
    shown = mse("extract", folder / "clips.csv", *rest)
    assert shown.code == 0, shown.err
    said = " ".join(shown.out.split())
    assert UNDERSTOOD in said
    assert all(sentence in said for sentence in TOLD)
    value = mse("extract", folder / "clips.csv", *rest, "--json").json
    assert value["understood"]["task"] == {"kind": "regression", "low": -2.0, "high": 2.0}
    assert value["understood"]["unlabelled"] == 1
    assert value["notes"][0] == TOLD[0]


def test_what_is_used_in_place_of_the_best_is_told_by_the_first_run_alone_and_wrapped(mse, folder, monkeypatch):
    sentence = "MTCNN finds the faces, because yunet.onnx is not in the folder of the models: it misses profiles."
    monkeypatch.setattr("mse_pipeline.extractors.base.Extractor.instead", lambda self: (sentence,))
    monkeypatch.setenv("COLUMNS", "80")
    rest = ("--cache", folder / "cache", "--workers", 1, "--streams", "acoustic.egemaps")
    first, second = (mse("extract", folder / "clips.csv", *rest) for _ in range(2))
    assert sentence in " ".join(first.out.split())
    assert max(map(len, first.out.split(f"{folder}")[0].splitlines())) <= 80
    assert sentence not in " ".join(second.out.split())
    assert sentence in mse("extract", folder / "clips.csv", *rest, "--json").json["instead"]
    quiet = mse("extract", folder / "clips.csv", *rest, "--quiet")
    assert (quiet.err, "Note" in quiet.out, "Understood" in quiet.out) == ("", False, False)
    assert "acoustic.egemaps" in quiet.out
    assert str(folder / "cache" / "clips") in quiet.out


@pytest.mark.parametrize(
    ("words", "result", "hint"),
    [
        (("backbones", "list"), "tiny", "What is missing for a backbone"),
        (("datasets", "list"), "meld", "Labels, licence, source"),
        (("extractors", "list"), "acoustic.egemaps", "Options and dimensions of an extractor"),
        (("extractors", "sets"), "egemaps-mtcnn", "What a set reproduces"),
        (("datasets", "check", "clips.csv", "--workers", "1"), "Seconds a clip", "Understood: numbers"),
        (("datasets", "export", "clips.csv", "--out", "out.csv"), "3 clips written to out.csv", "Understood: numbers"),
    ],
)
def test_quiet_leaves_results_alone(mse, folder, monkeypatch, words, result, hint):
    monkeypatch.chdir(folder)
    told, quiet = mse(*words), mse(*words, "--quiet")
    assert (result in told.out, hint in " ".join(told.out.split())) == (True, True)
    assert (result in quiet.out, hint in " ".join(quiet.out.split()), quiet.err) == (True, False, "")


def test_an_export_says_what_it_understood(mse, folder):
    done = mse("datasets", "export", folder / "clips.csv", "--out", folder / "other.parquet")
    assert UNDERSTOOD in " ".join(done.out.split())
    assert all(sentence in " ".join(done.err.split()) for sentence in TOLD)


def test_the_encoding_of_a_table_can_be_told(mse, folder):
    (folder / "clips.csv").write_bytes(
        "id,media,split,text,label\n1,a.wav,train,네,joy\n2,b.wav,test,x,sad\n".encode("cp949")
    )
    export = ("datasets", "export", folder / "clips.csv", "--out", folder / "out.csv", "--json")
    guessed = mse(*export).json["notes"]
    assert "doubtful guess" in guessed[0]
    told = mse(*export, "--encoding", "euc-kr").json["notes"]
    assert told[0] == "Table clips.csv was read as euc_kr, as requested."


@pytest.mark.parametrize("command", [("extract",), ("datasets", "check"), ("datasets", "export", "--out", "o.csv")])
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("clips.csv", "--encoding", "eucc"), "there is no encoding 'eucc'; did you mean euc-kr?"),
        (("meld", "--encoding", "euc-kr"), "--encoding is for a clip table, as clips.csv, but meld is not one"),
        (("labels.xlsx",), 'save its sheet as a .csv file. In Excel choose File, Save As, "CSV UTF-8'),
        (("labels.ods",), "is a spreadsheet"),
        (("clips.feather",), "save it as one of .csv, .tsv, .parquet"),
    ],
)
def test_what_is_no_table_or_encoding_is_refused_with_the_mend(mse, folder, monkeypatch, command, words, says):
    monkeypatch.chdir(folder)
    for name in ("labels.xlsx", "labels.ods", "clips.feather"):
        (folder / name).write_bytes(b"PK\x03\x04")
    refused = mse(*command, *words)
    assert refused.code == 2
    assert says in refused.err


def test_labels_are_no_commands_to_the_terminal(mse, folder):
    (folder / "clips.csv").write_text(
        "id,media,split,text,label\n1,a.wav,train,x,joy\x1b[2J\n2,b.wav,test,y,[bold]sad[/]\n"
    )
    shown = mse("datasets", "export", folder / "clips.csv", "--out", folder / "out.csv")
    assert "\x1b[2J" not in shown.out + shown.err
    assert "[bold]sad[/]" in " ".join(shown.out.split())


def test_another_table_does_not_take_the_place_of_a_dataset(mse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sounds = {folder: tmp_path / folder for folder in ("one", "two")}
    for folder, place in sounds.items():
        place.mkdir()
        for n in range(2):
            write_wav(place / f"{folder}{n}.wav")
        rows = [f"{folder}{n},{folder}{n}.wav,train,x,{label}" for n, label in enumerate(("joy", "anger"))]
        (place / "clips.csv").write_text("\n".join(["id,media,split,text,label", *rows]))
    command = ("--streams", "acoustic.egemaps", "--workers", 1)
    made = mse("extract", "one/clips.csv", *command, "--quiet")
    assert (made.code, made.err) == (0, "")
    refused = mse("extract", "two/clips.csv", *command)
    assert refused.code == 2
    assert "has 2 other clips, as one0" in refused.err
    assert "--set name=NAME" in refused.err
    assert len(store.open("cache")["clips"].clips) == 2
    numbered = (tmp_path / "two/clips.csv").read_text().replace("\ntwo0,", "\none0,").replace(",x,", ",y,")
    (tmp_path / "two/numbered.csv").write_text(numbered)  # ids that count from 0 are in every table
    refused = mse("extract", "two/numbered.csv", *command, "--set", "name=clips")
    assert refused.code == 2
    assert "of 1 clips with the same id, as one0, none has the same file or text" in " ".join(refused.err.split())
    assert len(store.open("cache")["clips"].clips) == 2
    (tmp_path / "one").rename(tmp_path / "moved")
    assert mse("extract", "moved/clips.csv", *command).code == 0
    assert mse("extract", "two/clips.csv", *command, "--set", "name=two").code == 0
    assert store.open("cache")["two"].manifest.recipe["training"]["members"] == 4
