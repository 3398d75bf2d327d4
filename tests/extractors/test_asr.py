"""text.asr: what models of every kind write of a sound, and when."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from transformers.models.whisper.generation_whisper import _dynamic_time_warping

from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.extractors.registry import create
from mse_pipeline.extractors.text import asr
from mse_pipeline.extractors.text.asr import cut_in_pauses, transcript
from mse_pipeline.extractors.text.recognition import Heard, Seq2SeqRecogniser, token_starts, warped
from mse_pipeline.media.audio import Audio
from tests.extractors.small_asr import save_speech2text, save_whisper
from tests.extractors.small_ctc import LETTERS, VOCABULARY, save_model, speak, trained_model
from tests.small_models import byte_tokenizer

CLIP = Clip(id="a", split=Split.TEST, text="not what is said", language="en")


def sound(seconds=1.0, seed=0):
    return Audio((np.random.default_rng(seed).normal(size=round(seconds * 16_000)) * 0.1).astype(np.float32))


def hear(folder, audio, **options):
    return create("text.asr", {"model": str(folder), "vad": 0, "no_speech": 1, **options})(CLIP, audio)


@pytest.fixture(scope="module")
def whispers(tmp_path_factory):
    """A folder of small Whispers."""
    home = tmp_path_factory.mktemp("whispers")
    save_whisper(home / "many", seed=1)
    save_whisper(home / "english", seed=1, multilingual=False)
    save_whisper(home / "old", seed=1, generation=False)
    return home


@pytest.fixture(scope="module")
def ctc(tmp_path_factory):
    """A CTC model that hears tones as letters."""
    labels = ["<pad>", "<unk>", *VOCABULARY[2:]]
    return save_model(tmp_path_factory.mktemp("ctc") / "tones", trained_model(), labels)


@pytest.mark.parametrize("seed", [1, 2])
def test_whisper_writes_what_transformers_own_generate_writes(tmp_path, seed):
    folder, audio = save_whisper(tmp_path / "w", seed=seed), sound()
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder)
    prepare = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    features = prepare(audio.samples, sampling_rate=16_000, return_tensors="pt").input_features
    ids = model.generate(features, task="transcribe", return_timestamps=False)
    expected = tokenizer.decode(ids[0], skip_special_tokens=True).strip()
    heard = hear(folder, audio)
    assert heard.notes["text"] == expected != ""
    assert heard.notes["language"] == tokenizer.decode(model.detect_language(features)[0]).strip("<|>")


def test_each_word_has_its_place_in_the_text_and_a_time_within_the_clip(whispers):
    heard = hear(whispers / "many", sound(3.3))  # in two pieces, as this model hears two seconds
    rows = zip(heard.notes["words"], heard.notes["spans"], heard.intervals, heard.valid, strict=True)
    spoken = [(word, span, times) for word, span, times, valid in rows if valid]
    assert len(spoken) > 1
    assert [heard.notes["text"][first:last] for _, (first, last), _ in spoken] == [word for word, _, _ in spoken]
    assert all(0 <= begin < end <= 3.3 for _, _, (begin, end) in spoken)
    assert heard.intervals[0, 0] == 0.0
    assert heard.intervals[-1, 1] == pytest.approx(3.3)
    assert np.all(heard.intervals[1:, 0] >= heard.intervals[:-1, 1] - 1e-9)
    assert np.all((heard.values[heard.valid] > 0) & (heard.values[heard.valid] <= 1))


def test_the_same_sound_gives_the_same_bits_whatever_the_clip_says(whispers):
    first, second = hear(whispers / "many", sound()), hear(whispers / "many", sound())
    assert first.equals(second)
    other = create("text.asr", {"model": str(whispers / "many"), "vad": 0, "no_speech": 1})
    assert other(replace(CLIP, text="", language="zh"), sound()).equals(first)


def test_language_is_detected_for_each_piece_or_given(whispers):
    given = hear(whispers / "many", sound(), language="zh").notes
    assert (given["language"], given["language_probability"]) == ("zh", None)
    assert 0.5 <= hear(whispers / "many", sound()).notes["language_probability"] <= 1


def test_a_model_of_english_alone_has_no_token_of_a_language(whispers):
    assert hear(whispers / "english", sound()).notes["language"] == "en"
    with pytest.raises(UsageError, match="english knows no language 'zh'"):
        hear(whispers / "english", sound(), language="zh")


def test_a_folder_without_generation_config_is_read_by_its_vocabulary_and_tells_how_words_are_timed(whispers):
    heard = hear(whispers / "old", sound())
    assert heard.notes["language"] in {"en", "zh"}
    assert "does not name its alignment_heads" in heard.notes["times"]
    assert "times" not in hear(whispers / "many", sound()).notes


def test_forced_decoder_ids_of_old_folders_do_not_count(whispers, tmp_path):
    folder = shutil.copytree(whispers / "many", tmp_path / "forced")
    own = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**own, "forced_decoder_ids": [[1, 70], [2, 71]]}))
    assert hear(folder, sound()).notes["text"] == hear(whispers / "many", sound()).notes["text"]


def test_generation_config_counts_in_the_key(whispers, tmp_path):
    folder = shutil.copytree(whispers / "many", tmp_path / "copy")
    digest = create("text.asr", {"model": str(whispers / "many")}).model_digest()
    assert create("text.asr", {"model": str(folder)}).model_digest() == digest
    (folder / "generation_config.json").unlink()
    assert create("text.asr", {"model": str(folder)}).model_digest() != digest


def test_a_character_of_several_tokens_belongs_to_the_last_of_them():
    """Each byte of this tokenizer's texts is a token."""
    tokenizer = byte_tokenizer(eos_token="</s>")
    model = SimpleNamespace(tokenizer=tokenizer)
    letters = Seq2SeqRecogniser._letters(model, tokenizer.encode(" 你好a"))
    assert (letters.text, letters.skip, letters.counts) == ("你好a", 1, [1, 0, 0, 1, 0, 0, 1, 1])


def test_chinese_has_a_row_for_each_character():
    times = np.arange(5)[:, None] / 10 + [0, 0.1]
    text, words = transcript([(2.0, Heard("你好 so", times, np.ones(5), -0.1, "zh"))])
    assert text == "你好 so"
    assert [(word.text, round(word.start, 2)) for word in words] == [("你", 2.0), ("好", 2.1), ("so", 2.3)]


def test_pieces_without_spaces_are_joined_without_one():
    piece = Heard("我很好", np.tile([0.0, 0.1], (3, 1)), np.ones(3), -0.1, "zh")
    assert transcript([(0, piece), (1, piece)])[0] == "我很好我很好"


def test_punctuation_is_no_word():
    piece = Heard("So, what?!", np.tile([0.0, 0.1], (10, 1)), np.ones(10), -0.1)
    assert [word.text for word in transcript([(0, piece)])[1]] == ["So", "what"]


def test_silence_gives_an_empty_transcript_and_is_told(whispers):
    heard = hear(whispers / "many", Audio(np.zeros(16_000, np.float32)), vad=0.5)
    assert (heard.notes["text"], heard.notes["words"], heard.valid.tolist()) == ("", [""], [False])
    assert heard.intervals.tolist() == [[0.0, 1.0]]
    assert heard.notes["remark"]["code"] == "no_speech"


def test_noise_that_nobody_speaks_in_is_not_transcribed(whispers):
    assert hear(whispers / "many", sound(), vad=0.5).notes["text"] == ""


def test_what_whisper_is_unsure_of_is_dropped_where_it_doubts_that_anybody_speaks(whispers):
    assert hear(whispers / "many", sound(), no_speech=0).notes["text"] == ""
    assert hear(whispers / "many", sound(), no_speech=0, unsure=-100).notes["text"] != ""


def test_a_model_that_is_stuck_is_told(whispers):
    heard = hear(whispers / "many", sound(3), repeats=0.1)
    assert heard.notes["remark"]["code"] == "repeated_text"


def test_ctc_models_hear_words_where_they_are(ctc):
    samples, times, _ = speak(["ABC", "DE", "CAB"], np.random.default_rng(5))
    heard = hear(ctc, Audio(samples), language="en")
    assert heard.notes["text"].startswith("A")
    assert heard.notes["text"].endswith("B")
    spoken = heard.intervals[heard.valid]
    assert abs(spoken[0, 0] - times[0][0]) < 0.06
    assert abs(spoken[-1, 1] - times[-1][1]) < 0.06


def test_ctc_writes_what_transformers_own_tokenizer_makes_of_the_likeliest_labels(ctc):
    samples, _, _ = speak([LETTERS[:4], LETTERS[2:5]], np.random.default_rng(3))
    model = transformers.Wav2Vec2ForCTC.from_pretrained(ctc)
    prepare = transformers.Wav2Vec2FeatureExtractor.from_pretrained(ctc)
    tokenizer = transformers.AutoTokenizer.from_pretrained(ctc)
    with torch.no_grad():
        logits = model(**prepare(samples, sampling_rate=16_000, return_tensors="pt")).logits
    assert hear(ctc, Audio(samples)).notes["text"] == tokenizer.batch_decode(logits.argmax(-1))[0].strip()


def test_other_models_with_a_decoder_are_timed_by_its_attention(tmp_path):
    heard = hear(save_speech2text(tmp_path / "s2t"), sound(), tokens=12)
    assert heard.notes["text"] != ""
    assert heard.notes["language"] is None
    assert heard.intervals[-1, 1] == pytest.approx(1.0)


def test_long_sound_is_cut_where_nobody_speaks():
    spoken = np.ones(1000)
    spoken[[290, 291, 292, 293, 294, 295, 600, 601, 602, 603, 604, 605]] = 0
    pieces = cut_in_pauses(spoken, 400 * 512, 1000 * 512)
    assert [round(end / 512, -1) for _, end in pieces[:-1]] == [290, 600]
    assert pieces[0][0] == 0
    assert all(first[1] == second[0] for first, second in itertools.pairwise(pieces))
    assert all(end - begin <= 400 * 512 for begin, end in pieces)


@pytest.mark.parametrize("rows", [1, 7, 999, 1000, 3001])
def test_no_piece_is_longer_than_a_model_can_hear(rows):
    probabilities = np.random.default_rng(rows).random(rows)
    pieces = cut_in_pauses(probabilities, 10_000, rows * 512 - 100)
    assert pieces[-1][1] == rows * 512 - 100
    assert all(0 < end - begin <= 10_000 for begin, end in pieces)


def test_the_cheapest_way_is_that_of_transformers():
    cost = np.random.default_rng(0).normal(size=(7, 31))
    for ours, theirs in zip(warped(cost), _dynamic_time_warping(cost), strict=True):
        assert ours.tolist() == theirs.tolist()


def test_a_token_begins_where_attention_moves_on_to_it():
    weights = np.full((1, 4, 40), 1e-3)
    for token, rows in enumerate([slice(0, 10), slice(10, 25), slice(25, 40)]):
        weights[0, token + 1, rows] = 1.0
    assert token_starts(weights, 1).tolist() == pytest.approx([0, 10, 25], abs=1)


def _save_bert(home):
    config = transformers.BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    transformers.BertModel(config).save_pretrained(home / "m")
    return home / "m"


def _save_encoder(home):
    from tests.extractors.small_ctc import small_model

    folder = save_model(home / "m", small_model(len(VOCABULARY)), VOCABULARY)
    small_model(len(VOCABULARY)).wav2vec2.save_pretrained(folder)
    return folder


def _without(home, name):
    folder = save_whisper(home / "m")
    for file in folder.glob(name.replace("tokenizer.json", "*token*")):
        file.unlink()
    return folder


def _with_rate(home, rate):
    folder = save_whisper(home / "m")
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "sampling_rate": rate}))
    return folder


def _save_classifier(home):
    folder = save_whisper(home / "m")
    config = transformers.WhisperConfig.from_pretrained(folder)
    config.classifier_proj_size = 8
    transformers.WhisperForAudioClassification(config).save_pretrained(folder)
    return folder


REFUSED = {
    "a text model": (_save_bert, "does not write what it hears"),
    "a speech encoder without a head": (_save_encoder, "lack .* the first is lm_head"),
    "no feature extractor": (lambda home: _without(home, "preprocessor_config.json"), "no usable preprocessor_config"),
    "no tokenizer": (lambda home: _without(home, "tokenizer.json"), "no usable tokenizer.json"),
    "another rate": (lambda home: _with_rate(home, 8000), "hears 8,000 samples a second"),
    "no decoder": (_save_classifier, "lack .* parameters that speech recognition needs"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_models_that_cannot_be_used_are_refused_with_what_they_lack(tmp_path, what):
    make, message = REFUSED[what]
    with pytest.raises(MseError, match=message):
        create("text.asr", {"model": str(make(tmp_path))}).load()


def test_a_window_longer_than_whisper_hears_is_refused(whispers):
    with pytest.raises(UsageError, match="takes 2 s at once, and `window` asks for 30 s"):
        create("text.asr", {"model": str(whispers / "many"), "window": 30}).load()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("language", "english", "code of a language"),
        ("vad", 1, "less than 1"),
        ("precision", "float16", "float32"),
        ("window", 0, "greater than or equal to 1"),
    ],
)
def test_options_that_mean_nothing_are_refused(option, value, message):
    with pytest.raises(UsageError, match=message):
        create("text.asr", {option: value})


def test_half_precision_computes_on_the_cpu(whispers):
    assert hear(whispers / "many", sound(), precision="bfloat16").notes["text"] != ""


def test_words_are_cut_to_the_speech_that_they_overlap():
    words = [asr.TimedWord(0.0, 1.4, "so"), asr.TimedWord(1.4, 1.4, "what"), asr.TimedWord(2.5, 3.2, "now")]
    placed = asr.in_time(words, [(1.0, 2.0)], 3.0)
    assert [(round(word.start, 2), round(word.end, 2)) for word in placed] == [(0.9, 1.4), (1.4, 1.42), (2.5, 3.0)]
