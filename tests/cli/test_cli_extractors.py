"""mse extractors: what there is, what each dimension is, and named feature sets, as a user calls them."""

from __future__ import annotations

import pytest

from mse_pipeline import recipe, store
from mse_pipeline.extractors import available
from tests.extraction.conftest import write_wav
from tests.extractors.packages import LOUDNESS, install


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, alone for one test."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.mark.parametrize("words", [["extractors"], ["extractors", "list"]])
def test_the_list_has_every_extractor_with_dims_and_step(mse, words):
    lines = [" ".join(line.split()) for line in mse(*words).out.splitlines()]
    assert "acoustic.egemaps 25 10 ms yes openSMILE: free for research and personal use only" in lines
    assert any(line.startswith("visual.geometry 28 200 ms ") for line in lines)
    assert all(any(line.startswith(name) for line in lines) for name in available())


def test_the_list_as_json_says_what_is_missing_and_the_line_that_mends_it(mse, monkeypatch, tmp_path):
    monkeypatch.setenv("MSE_MODELS", str(tmp_path))
    rows = {row["name"]: row for row in mse("extractors", "--json").json["extractors"]}
    assert rows["acoustic.egemaps"]["ready"] is True
    facenet = rows["visual.facenet"]
    assert (facenet["ready"], facenet["dim"], facenet["size"]) == (False, 512, 111_898_327)
    assert "downloaded at the first use" in facenet["missing"]
    assert all(row["licence"] and row["summary"] for row in rows.values())


def test_packages_bring_extractors_and_a_broken_one_is_told(mse, site):
    install(site, "loud-tools", {"acoustic.loudness": "loud_tools:Loudness"}, LOUDNESS)
    install(site, "broken", {"acoustic.broken": "broken:Thing"}, "raise ImportError('no libfoo')")
    install(site, "impostor", {"acoustic.egemaps": "impostor:Egemaps"})
    text = mse("extractors").out
    assert "acoustic.loudness" in text
    assert "acoustic.broken: The extractor broken:Thing of the package broken cannot be loaded" in text
    assert "Not usable: The package impostor offers an extractor acoustic.egemaps" in text
    told = mse("extractors", "show", "acoustic.loudness", "--json").json
    assert (told["dim"], told["step"], told["brought_by"]) == (1, 0.1, "loud-tools")
    assert told["dimensions"] == [{"name": "level", "unit": "dB", "definition": ""}]
    assert told["options"][0]["meaning"] == "Seconds from one row to the next."


def test_show_tells_every_dimension_with_its_unit(mse):
    told = mse("extractors", "show", "acoustic.egemaps", "--json").json
    units = {one["name"]: one["unit"] for one in told["dimensions"]}
    assert len(units) == told["dim"] == 25
    assert units["F0semitoneFrom27.5Hz_sma3nz"] == "semitones above 27.5 Hz"
    lines = [" ".join(line.split()) for line in mse("extractors", "show", "acoustic.egemaps").out.splitlines()]
    assert "10 F0semitoneFrom27.5Hz_sma3nz semitones above 27.5 Hz" in lines
    assert "every 10 ms" in lines
    assert any(line.startswith("version v02 v02. Version of the feature set") for line in lines)


def test_show_gives_definitions_where_there_are_some(mse):
    lines = [" ".join(line.split()) for line in mse("extractors", "show", "visual.geometry").out.splitlines()]
    assert "10 mouth_width eye distances from one corner of the mouth to the other" in lines


@pytest.mark.parametrize(
    ("words", "dim", "step"),
    [
        (["level=functionals"], 88, None),
        (["set=ComParE_2016", "level=functionals", "window=2", "hop=0.5"], 6373, 0.5),
    ],
)
def test_options_decide_about_the_dimensions(mse, words, dim, step):
    given = [part for word in words for part in ("--set", word)]
    told = mse("extractors", "show", "acoustic.opensmile", *given, "--json").json
    assert (told["dim"], told["step"]) == (dim, step)


def test_an_option_is_written_as_in_a_recipe(mse):
    told = mse("extractors", "show", "acoustic.librosa", "--set", "features={f0: {fmax: 400}, rms: }", "--json").json
    assert [one["name"] for one in told["dimensions"]] == ["f0", "f0_voiced", "f0_voiced_probability", "rms"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["acoustic.egemap"], "did you mean acoustic.egemaps?"),
        (["acoustic.librosa", "--set", "hop_len=1"], "There is no such option; did you mean hop_length?"),
        (["acoustic.librosa", "--set", "hop_length"], "--set takes KEY=VALUE"),
        (["acoustic.librosa", "--set", "features=[mfcc"], "--set features: its value cannot be read"),
        (["acoustic.librosa", "--set", "features=1\nother: 2"], "cannot be read"),
    ],
)
def test_what_is_wrong_is_told_with_exit_code_2(mse, words, message):
    result = mse("extractors", "show", *words)
    assert result.code == 2
    assert message in result.err


def test_feature_sets_are_listed_and_told_in_full(mse):
    sets = {row["name"]: row for row in mse("extractors", "sets", "--json").json["sets"]}
    assert set(sets) == set(recipe.feature_sets())
    assert sets["mosei-like"]["dims"] == {"acoustic.covarep_like": 74, "visual.geometry": 28}
    assert all(row["summary"] and row["streams"] for row in sets.values())
    listed = mse("extractors", "sets").out
    assert "ssl-large" in listed
    assert "acoustic.covarep_like (74)" in listed  # on one line, also of 80 columns
    text = mse("extractors", "sets", "mosei-like").out
    assert "What cannot be reproduced." in text
    assert "features: {f0: {method: pyin, fmin: 55, fmax: 500}, rms: {}" in text


def test_an_unknown_set_is_told_with_the_nearest(mse):
    result = mse("extractors", "sets", "mosei-lik")
    assert result.code == 2
    assert "did you mean mosei-like?" in result.err


def test_extract_takes_a_set_and_refuses_what_is_none(mse, tmp_path):
    result = mse("extract", "meld", "--root", tmp_path, "--features", "egemaps-facent")
    assert result.code == 2
    assert "did you mean egemaps-facenet?" in result.err
    own = tmp_path / "own.yaml"
    own.write_text("version: 1\nstreams: {acoustic.egemap: {}}\ntraining: {epochs: 3}\n", encoding="utf-8")
    result = mse("extract", "meld", "--root", tmp_path, "--features", own)
    assert result.code == 2
    assert "line 2, streams.acoustic.egemap: There is no extractor acoustic.egemap" in result.err
    assert "line 3, training: has no place here; there may be version, streams, alignment" in result.err


@pytest.mark.slow
def test_extract_makes_a_set_s_streams_in_place_of_the_recipe_s(mse, tmp_path):
    root = tmp_path / "corpus"
    for number in range(3):
        write_wav(root / f"clip{number}.wav", seed=number)
    splits = ("train", "valid", "test")
    rows = [f"c{k},clip{k}.wav,{split},hello,{k}.5" for k, split in enumerate(splits)]
    (root / "clips.csv").write_text("\n".join(["id,media,split,text,label", *rows]) + "\n", encoding="utf-8")
    own = tmp_path / "own.yaml"
    own.write_text(
        "version: 1\nstreams:\n  acoustic.whole: {extractor: acoustic.opensmile, level: functionals}\n",
        encoding="utf-8",
    )
    words = ["--cache", tmp_path / "cache", "--workers", "1", "--quiet", "--json"]
    result = mse("extract", root / "clips.csv", "--features", own, *words)
    assert result.code == 0
    assert set(result.json["streams"]) == {"acoustic.whole"}
    dataset = store.open(tmp_path / "cache")["clips"]
    assert dataset["acoustic.whole"]["c0"].values.shape == (1, 88)
    assert list(dataset.manifest.recipe["streams"]) == ["acoustic.whole"]
