"""text: asr — clips without a text have what speech recognition hears, and all else reads it as any text."""

from __future__ import annotations

import pytest

from mse_pipeline import store
from mse_pipeline.errors import UsageError
from mse_pipeline.extraction.repair import repair
from mse_pipeline.recipe import Recipe, with_settings
from mse_pipeline.store.manifest import read_clips, write_clips
from tests.extraction.conftest import write_wav
from tests.extractors.small_asr import save_whisper
from tests.extractors.small_encoders import save_text

GIVEN = {1: "so it is", 4: "very good"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two Whispers that write different things, and a text encoder."""
    home = tmp_path_factory.mktemp("models")
    return [save_whisper(home / f"whisper{seed}", seed=seed) for seed in (1, 2)], save_text(home / "bert", "bert")


@pytest.fixture
def spoken(tmp_path):
    """Six clips of sound, two of which have a text."""
    root = tmp_path / "corpus"
    lines = ["id,media,split,text,label"]
    for index in range(6):
        write_wav(root / f"clip{index}.wav", 0.8, seed=index)
        split, label = ("train", "valid", "test")[index % 3], "ab"[index // 3]
        lines.append(f"c{index},clip{index}.wav,{split},{GIVEN.get(index, '')},{label}")
    (root / "clips.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def of(recipe, models):
    """A recipe of transcripts by one of the Whispers, and of a text encoder that reads them."""

    def make(text="asr", whisper=0):
        heard = {"model": str(models[0][whisper]), "vad": 0, "no_speech": 1}
        streams = {"text.transformers": {"model": str(models[1]), "max_tokens": 16, "overlap": 4}, "text.asr": heard}
        return recipe(corpus={"name": "table", "text": text}, streams=streams)

    return make


def texts(path):
    return {clip.id: (clip.text, clip.text_from) for clip in store.open(path)["mine"].clips}


def test_clips_without_a_text_have_a_transcript_and_are_marked(spoken, of, run, tmp_path):
    summary = run(of(), spoken)
    dataset = store.open(tmp_path / "cache")["mine"]
    heard = dataset.native("text.asr")
    for index, clip in enumerate(dataset.clips):
        if index in GIVEN:
            assert (clip.text, clip.text_from) == (GIVEN[index], None)
        else:
            assert (clip.text, clip.text_from) == (heard[clip.id].notes["text"], "text.asr")
            assert clip.text
            assert clip.language == heard[clip.id].notes["language"]
    assert dataset.manifest.source["text"] == {"source": "asr", "stream": "text.asr", "model": "whisper1"}
    assert summary.streams["text.transformers"].done == 6  # all are read, whoever wrote them
    assert summary.understood.textless == 0


def test_all_clips_have_one_where_that_is_asked_for(spoken, of, run, tmp_path):
    run(of("asr-all"), spoken)
    assert {source for _, source in texts(tmp_path / "cache").values()} == {"text.asr"}


def test_a_second_run_does_nothing_and_another_model_makes_texts_and_their_streams_anew(spoken, of, run, tmp_path):
    run(of(), spoken)
    first = texts(tmp_path / "cache")
    again = run(of(), spoken)
    assert again.processed == 0
    assert texts(tmp_path / "cache") == first
    other = run(of(whisper=1), spoken)
    second = texts(tmp_path / "cache")
    anew = {clip for clip in first if first[clip] != second[clip]}
    assert anew == {"c0", "c2", "c3", "c5"}  # the given texts are as they were
    spoken_anew = sum(bool(second[clip][0].strip()) for clip in anew)
    read = other.streams["text.transformers"]
    assert (read.made, read.failed.get("no_text", 0)) == (spoken_anew, 4 - spoken_anew)


def test_without_it_texts_are_the_corpus_own_again(spoken, of, run, recipe, tmp_path):
    run(of(), spoken)
    run(recipe(streams={"text.asr": of().streams["text.asr"]}), spoken)
    assert texts(tmp_path / "cache")["c0"] == ("", None)


def test_shares_make_together_what_one_run_makes(spoken, of, run, tmp_path):
    run(of(), spoken, tmp_path / "whole")
    for number in (1, 2, 3):
        run(of(), spoken, tmp_path / "shared", share=(number, 3))
    assert texts(tmp_path / "shared") == texts(tmp_path / "whole")
    whole, shared = (store.open(tmp_path / name)["mine"]["text.transformers"] for name in ("whole", "shared"))
    assert list(whole) == list(shared)
    assert all(whole[clip].equals(shared[clip]) for clip in whole)


def test_some_streams_alone_come_with_the_transcripts(spoken, of, run, tmp_path):
    run(of(), spoken, streams=("text.transformers",))
    assert all(text for text, _ in texts(tmp_path / "cache").values())


def test_a_damaged_clip_table_gets_its_transcripts_back(spoken, of, run, tmp_path):
    run(of(), spoken)
    before, table = texts(tmp_path / "cache"), tmp_path / "cache/mine/clips.parquet"
    table.write_bytes(b"damaged")
    repair(store.open(tmp_path / "cache")["mine"], spoken)
    assert texts(tmp_path / "cache") == before


def test_a_clip_table_of_an_earlier_version_has_texts_of_the_corpus(tmp_path, spoken, recipe, run):
    import pyarrow.parquet as pq

    run(recipe(streams={}), spoken)
    table = tmp_path / "cache/mine/clips.parquet"
    pq.write_table(pq.read_table(table).drop_columns(["text_from"]).replace_schema_metadata({}), table)
    clips = read_clips(table)
    assert {clip.text_from for clip in clips} == {None}
    write_clips(table, clips)
    assert read_clips(table) == clips


def test_the_recipe_gets_the_stream_that_texts_come_from():
    plain = {"version": 1, "name": "mine", "corpus": {"name": "table", "text": "asr"}}
    assert Recipe.model_validate(plain).streams == {"text.asr": {}}
    named = Recipe.model_validate({**plain, "streams": {"text.heard": {"extractor": "text.asr", "model": "m"}}})
    assert (named.transcripts, list(named.streams)) == ("text.heard", ["text.heard"])
    assert Recipe.model_validate(named.to_dict()) == named


def test_recipes_without_it_keep_their_digest(recipe):
    assert "text" not in recipe().to_dict()["corpus"]
    assert recipe().transcripts is None


def test_the_command_line_may_ask_for_it(recipe):
    changed = with_settings(recipe(), ["corpus.text=asr", "streams.text.asr={model: whispers/base}"])
    assert changed.streams["text.asr"] == {"model": "whispers/base"}
    with pytest.raises(UsageError, match=r"corpus\.text"):
        with_settings(recipe(), ["corpus.text=whisper"])
