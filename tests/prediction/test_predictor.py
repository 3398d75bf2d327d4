"""mse predict: new media become the run's features, and a prediction each; what they lack is told."""

import csv
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.made_models import SMALL, SPEAKING, options_of
from mse_pipeline import store
from mse_pipeline.adapter.models import find
from mse_pipeline.backbones.none import none
from mse_pipeline.errors import UsageError
from mse_pipeline.prediction import Predictor, evaluate
from mse_pipeline.prediction.predictor import texts_of_table
from mse_pipeline.prediction.result import write_predictions
from mse_pipeline.recipe import PromptSection
from mse_pipeline.task import Classification
from tests.extraction.conftest import write_wav
from tests.media.media_files import numbered, write_media
from tests.prediction.conftest import SETTINGS, TEXTS, files_of, train_on, write_table


class OneWorker(Predictor):
    """Extracts with one process, which all tests share."""

    def predict(self, files, **options):
        return super().predict(files, **{"workers": 1, **options})


@pytest.fixture(scope="module")
def predictor(heard):
    return OneWorker.open(heard.run, seed=1)


def codes(prediction):
    return [(remark.code, remark.stream) for remark in prediction.remarks]


def test_a_file_of_the_dataset_gives_what_the_dataset_gives_bit_by_bit(heard, predictor, tmp_path):
    known = {one.clip: one for one in evaluate(heard.run, heard.dataset, seed=1).predictions}
    files = [heard.root / f"{clip}.wav" for clip in known]
    texts = {file: TEXTS[int(file.stem[-1]) % 2] for file in files}
    before = files_of(heard.run)
    found = predictor.predict(files, texts=texts, keep=tmp_path / "kept")
    assert [one.clip for one in found] == [file.name for file in files]
    for one in found:
        own = known[one.clip.removesuffix(".wav")]
        assert (one.prediction, one.probabilities, one.remarks) == (own.prediction, own.probabilities, ())
    made, there = store.open(tmp_path / "kept")["predicted"]["acoustic.egemaps"], heard.dataset["acoustic.egemaps"]
    for file in files:
        assert np.array_equal(made[file.name].values, there[file.stem].values)
    assert files_of(heard.run) == before


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Folders of small encoders, and of features that all models share."""
    return tmp_path_factory.mktemp("encoders"), tmp_path_factory.mktemp("features") / "kept"


@pytest.mark.parametrize("name", [*SMALL, *SPEAKING])
def test_any_model_predicts_a_file_as_it_did_in_the_dataset(heard, places, tmp_path, name):
    encoders, kept = places
    settings = SETTINGS.model_copy(update={"model": name, "model_options": options_of(name, encoders), "epochs": 1})
    backbone = "tiny" if find(name).reads_backbone else none()
    run = train_on(heard.dataset, tmp_path / "runs", backbone=backbone, settings=settings)
    known = {one.clip: one for one in evaluate(run, heard.dataset, seed=1).predictions}
    clip = next(iter(known))
    file = heard.root / f"{clip}.wav"
    (found,) = OneWorker.open(run).predict([file], texts={file: TEXTS[int(clip[-1]) % 2]}, keep=kept)
    assert found.prediction == known[clip].prediction
    assert found.probabilities == pytest.approx(known[clip].probabilities, abs=1e-5)  # other clips are beside it


def test_an_adapter_alone_predicts_wherever_it_lies(heard, predictor, tmp_path):
    file = heard.root / "tone6.wav"
    pulled = shutil.copytree(heard.run / "seed-1/adapter", tmp_path / "pulled")
    (alone,) = OneWorker.open(pulled).predict([file])
    assert alone.probabilities == predictor.predict([file])[0].probabilities


def test_a_clip_without_sound_is_predicted_without_it_and_told(predictor, tmp_path):
    silent = write_media(tmp_path / "silent.mp4", frames=numbered(10, 64, 48))
    (found,) = predictor.predict([silent], texts={silent: TEXTS[0]})
    assert codes(found) == [("no_audio", "acoustic.egemaps")]
    assert found.prediction in {"high", "low"}
    assert sum(found.probabilities.values()) == pytest.approx(1)


def test_a_clip_of_which_nothing_can_be_read_has_no_prediction(predictor, tmp_path):
    silent = write_media(tmp_path / "silent.mp4", frames=numbered(10, 64, 48))
    (found,) = predictor.predict([silent])
    assert (found.prediction, dict(found.probabilities)) == (None, {})
    assert codes(found) == [("no_text", None), ("no_audio", "acoustic.egemaps")]


def test_a_broken_file_costs_no_other_its_prediction(mse, heard, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no film at all" * 100)
    whole = heard.root / "tone7.wav"
    found = mse("predict", heard.run, whole, tmp_path / "broken.mp4", "--seed", "1", "--json", "--workers", "1")
    assert found.code == 3
    first, second = found.json["predictions"]
    assert first["prediction"] in {"high", "low"}
    assert [remark["code"] for remark in first["remarks"]] == ["no_text"]
    assert second["prediction"] is None
    assert "undecodable" in [remark["code"] for remark in second["remarks"]]
    assert found.json["failed"] == 1
    shown = mse("predict", heard.run, tmp_path / "broken.mp4", "--seed", "1", "--text", "so")
    assert shown.code == 3
    assert "undecodable" in shown.out


def test_the_command_shows_a_table_and_writes_files(mse, heard, tmp_path):
    tone = heard.root / "tone1.wav"
    for suffix in ("parquet", "csv", "jsonl"):
        out = tmp_path / f"p.{suffix}"
        found = mse("predict", heard.run, tone, "--text", TEXTS[1], "--keep", tmp_path / "kept", "--out", out)
        assert found.code == 0
    assert "tone1.wav" in found.out
    assert "%" in found.out
    assert "the best by validation" in found.err
    (line,) = map(json.loads, (tmp_path / "p.jsonl").read_text().splitlines())
    (row,) = csv.DictReader((tmp_path / "p.csv").open())
    assert row["prediction"] == line["prediction"]
    assert line["confidence"] == max(line["probabilities"].values())
    # The features were kept, and made once.
    assert len(list((tmp_path / "kept/predicted/streams").rglob("*.parquet"))) == 1


def test_clips_of_a_table_are_cut_out_of_their_files(predictor, heard, tmp_path):
    write_wav(tmp_path / "long.wav", 1.5, seed=3)
    rows = [
        ("a", "long.wav", "0", "0.5", "high it is"),
        ("b", "long.wav", "0.5", "1.4", ""),
        ("c", "no.wav", "", "", "x"),
    ]
    table = write_table(tmp_path / "clips.csv", rows, ("id", "media", "start", "end", "text"))
    a, b, c = predictor.predict([table], keep=tmp_path / "kept")
    assert [one.clip for one in (a, b, c)] == ["a", "b", "c"]
    assert codes(a) == []
    assert codes(b) == [("no_text", None)]
    assert (c.prediction, codes(c)) == (None, [("missing_media", "acoustic.egemaps")])
    features = store.open(tmp_path / "kept")["predicted"]["acoustic.egemaps"]
    assert (features["a"].intervals[-1, 1], features["b"].intervals[-1, 1]) == pytest.approx((0.5, 0.9), abs=0.11)


def test_files_of_one_name_are_told_apart_and_no_file_changes_another_ones_prediction(predictor, tmp_path):
    files = [tmp_path / f"day{n}" / "talk.wav" for n in range(3)]
    for n, file in enumerate(files):
        write_wav(file, 0.5, seed=n)
    together = predictor.predict([*files, files[0]])
    assert [one.clip for one in together] == ["day0/talk.wav", "day1/talk.wav", "day2/talk.wav"]
    for one, file in zip(together, files, strict=True):
        # Not to the last bit: a matrix product's depends on how many rows it has.
        assert one.probabilities == pytest.approx(predictor.predict([file])[0].probabilities, abs=1e-5)


def test_texts_come_from_a_table_or_from_beside_the_files(mse, heard, tmp_path):
    tones = [shutil.copy(heard.root / f"tone{n}.wav", tmp_path) for n in (1, 2)]
    by_stem = write_table(tmp_path / "said.csv", [("tone1", TEXTS[1]), ("tone2", TEXTS[0])], ("clip", "transcript"))
    for n, text in ((1, TEXTS[1]), (2, f"{TEXTS[0]}\n")):
        (tmp_path / f"tone{n}.txt").write_text(text)
    common = ("predict", heard.run, *tones, "--seed", "1", "--json", "--workers", "1")
    found = [mse(*common, *way).json["predictions"] for way in (("--texts", by_stem), ("--transcripts",), ())]
    assert found[0] == found[1]
    assert [remark["code"] for one in found[2] for remark in one["remarks"]] == ["no_text", "no_text"]
    assert found[0] != found[2]


def test_a_run_on_text_alone_reads_text_alone(heard, mse, tmp_path):
    run = train_on(heard.dataset, tmp_path / "runs", without=("acoustic", "visual"))
    tone = heard.root / "tone1.wav"
    (told,) = Predictor.open(run).predict([tone], texts={tone: TEXTS[1]})
    assert (told.prediction in {"high", "low"}, told.remarks) == (True, ())
    refused = mse("predict", run, tone)
    assert refused.code == 2
    assert "reads text alone" in refused.err


def test_turns_before_a_clip_are_read_where_a_table_tells_them(heard, mse, tmp_path):
    spoken = [replace(clip, dialogue="d", turn=n, speaker="Ann") for n, clip in enumerate(heard.dataset.clips)]
    dataset = store.open(tmp_path / "cache").create("talk", spoken, task=heard.dataset.manifest.task)
    run = train_on(dataset, tmp_path / "runs", wording=PromptSection(context=2))
    rows = [(f"t{n}", f"tone{n}.wav", TEXTS[n], "d", n, "Ann") for n in range(2)]
    table = write_table(tmp_path / "talk.csv", rows, ("id", "media", "text", "dialogue", "turn", "speaker"))
    for n in range(2):
        shutil.copy(heard.root / f"tone{n}.wav", tmp_path)
    in_dialogue = mse("predict", run, table, "--json")
    alone = mse("predict", run, tmp_path / "tone1.wav", "--text", TEXTS[1], "--json")
    assert "with the 2 turns before a clip, but these clips have none" in alone.err
    assert "turns before" not in in_dialogue.err
    assert in_dialogue.json["predictions"][1]["probabilities"] != alone.json["predictions"][0]["probabilities"]


def test_features_from_elsewhere_cannot_be_made_of_new_media(made_dataset, heard, mse, tmp_path):
    run = train_on(made_dataset(), tmp_path / "runs")
    found = mse("predict", run, heard.root / "tone1.wav")
    assert found.code == 2
    assert (
        "was trained on acoustic.made, features that were imported and not extracted by mse (ours for made)"
        in found.err
    )
    assert "run `mse evaluate`" in found.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere.mp4",), "There is no file nowhere.mp4."),
        ((".",), ". is not a file"),
        (("{tone}", "{table}"), "is a table of clips: give one table, or media files"),
        (("{table}", "--text", "so"), "--text is for one file"),
        (("{tone}", "--text", "so", "--transcripts"), "Give only one of --text, --texts and --transcripts"),
        (("{tone}", "--transcripts"), "no text file beside any"),
        (("{tone}", "--texts", "{table}"), "needs a column of clip, id, file, media and one of text"),
        (("{tone}", "--model", "acoustic.egemaps"), "is written STREAM=PLACE"),
        (("{tone}", "--model", "acoustic.wavlm=x"), "has no such stream; it has acoustic.egemaps"),
        (("{tone}", "--model", "acoustic.egemaps=x"), "has no model of its own"),
        (("{tone}", "--out", "p.txt"), "are written as .parquet, .csv, .jsonl"),
        (("{tone}", "--seed", "3"), "has no training with seed 3"),
        (("{tone}", "--keep", "{run}/seed-1"), "lies in the run's own folder"),
        (("{broken}",), "has no column id"),
    ],
)
def test_what_cannot_be_asked_for_is_told(heard, mse, tmp_path, arguments, sentence):
    places = {
        "tone": heard.root / "tone1.wav",
        "table": write_table(tmp_path / "t.csv", [("a", "tone1.wav")], ("id", "media")),
        "broken": write_table(tmp_path / "b.csv", [("a", "b")], ("name", "media")),
        "run": heard.run,
    }
    found = mse("predict", heard.run, *(str(one).format(**places) for one in arguments))
    assert (found.code, sentence in " ".join(found.err.split())) == (2, True), found.err


def test_a_name_that_is_no_text_is_refused(predictor, tmp_path):
    odd = tmp_path / "a\udcff.wav"
    write_wav(odd)
    with pytest.raises(UsageError, match="is not UTF-8"):
        predictor.predict([odd])


def test_a_table_is_told_as_it_was_understood(mse, heard, predictor):
    strange = heard.root / "strange.csv"
    strange.write_bytes("id;media;text;start\n1;tone1.wav;안녕하세요 정말;0,0\n2;none.wav;nan;\n".encode("euc-kr"))
    assert predictor.gather([strange], encoding="euc-kr").notes[0].endswith("as requested.")
    done = mse("predict", heard.run, strange, "--seed", 1, "--workers", 1, "--json")
    assert done.json["understood"]["clips"] == 2
    assert done.json["understood"]["textless"] == 1
    assert done.json["notes"][0] == "Table strange.csv was read as cp949 (Korean)."
    said = " ".join(done.err.split())
    assert "2 clips; language of the texts en; 1 of 2 clips (50.0 %) without a text" in said
    assert "'nan' in column text (1 cell)" in said


@pytest.mark.parametrize("words", [("{sheet}",), ("{tone}", "--texts", "{sheet}")])
def test_a_spreadsheet_is_refused_with_the_words_that_help(mse, heard, tmp_path, words):
    sheet = tmp_path / "labels.xlsx"
    sheet.write_bytes(b"PK\x03\x04")
    given = [word.format(sheet=sheet, tone=heard.root / "tone1.wav") for word in words]
    refused = mse("predict", heard.run, *given)
    assert refused.code == 2
    assert "save its sheet as a .csv file" in refused.err


def test_media_are_named_as_they_were_given_in_every_format(heard, mse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["a/x.wav", "../" + tmp_path.name + "/b/x.wav", str(tmp_path / "c" / "y.wav")]
    for name in given:
        os.makedirs(os.path.dirname(name), exist_ok=True)
        shutil.copy(heard.root / "tone6.wav", name)
    words = ("predict", heard.run, *given, "--workers", "1", "--json")
    told = mse(*words, "--out", "out.csv").json["predictions"]
    assert [one["media"] for one in told] == given
    assert [row["media"] for row in csv.DictReader(Path("out.csv").read_text("utf-8").splitlines())] == given
    (alone,) = OneWorker.open(heard.run).predict(["a/x.wav"])
    assert (alone.clip, alone.media) == ("x.wav", "a/x.wav")
    for ending in ("parquet", "jsonl"):
        write_predictions(Path(f"out.{ending}"), [alone], Classification(("high", "low")))
    assert pq.read_table("out.parquet")["media"].to_pylist() == ["a/x.wav"]
    assert json.loads(Path("out.jsonl").read_text())["media"] == "a/x.wav"


@pytest.mark.parametrize(
    "written", ["sub dir/a.mp4", "./sub dir/a.mp4", "sub dir\\a.mp4", "{folder}/sub dir/a.mp4", "a"]
)
def test_a_table_of_texts_may_write_a_path_in_any_way(written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "texts.csv"
    table.write_text(f"media,text\n{written.format(folder=tmp_path)},hello\nother.mp4,no\n")
    for file in (Path("sub dir/a.mp4"), Path("./sub dir/../sub dir/a.mp4"), tmp_path / "sub dir/a.mp4"):
        assert texts_of_table(table, [file]) == {file: "hello"}


def test_a_name_that_fits_several_files_has_no_text_for_any(tmp_path):
    table = tmp_path / "texts.csv"
    table.write_text("media,text\nc.mp4,hello\n")
    with pytest.raises(UsageError, match=r"The row c.mp4 .* fits x/c.mp4 and y/c.mp4: write their paths"):
        texts_of_table(table, ["x/c.mp4", "y/c.mp4"])
    assert texts_of_table(table, ["x/c.mp4", "x/c.mp4"]) == {Path("x/c.mp4"): "hello"}
    table.write_text("media,text\nx/c.mp4,hello\ny/c.mp4,bye\n")
    assert texts_of_table(table, ["x/c.mp4", "y/c.mp4"]) == {Path("x/c.mp4"): "hello", Path("y/c.mp4"): "bye"}
