"""All streams of a clip stand on the rows of its words, or stay as they are."""

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mse_pipeline.alignment.apply import aligner, to_equal_bins
from mse_pipeline.alignment.words import load_tokenizer, to_subtokens, to_words
from mse_pipeline.errors import UsageError
from mse_pipeline.store import Features
from tests.small_models import byte_tokenizer

TEXT = "so, 你好"
WORDS = Features(
    [[0.9], [0.0], [0.8], [0.7]],
    [[0.1, 0.5], [0.5, 0.8], [0.8, 1.0], [1.0, 1.3]],
    [True, False, True, True],
    ["confidence"],
    {"words": ["so", "", "你", "好"], "spans": [[0, 2], None, [4, 5], [5, 6]], "text": TEXT},
)
KIND = {"kind": "words", "stream": "text.words", "pool": "mean", "silence": "drop", "subtokens": None}


def ramp(rows=15, step=0.1):
    begins = np.arange(rows) * step
    notes = {"face": 0}
    return Features(np.arange(rows)[:, None], np.stack([begins, begins + step], 1), np.ones(rows), ["place"], notes)


def no_times(values, spans, valid=None):
    nan = np.full((len(values), 2), np.nan)
    return Features(values, nan, np.ones(len(values)) if valid is None else valid, ["h0"], {"spans": spans})


def test_values_times_and_words_travel_together():
    aligned = to_words(ramp(), WORDS)
    np.testing.assert_allclose(aligned.values[:, 0], [2.5, 8.5, 11.0])
    np.testing.assert_array_equal(aligned.intervals, WORDS.intervals[[0, 2, 3]])
    assert aligned.notes == {"face": 0, "words": ["so", "你", "好"], "spans": [[0, 2], [4, 5], [5, 6]], "text": TEXT}


def test_silence_has_rows_of_its_own_where_asked_for():
    aligned = to_words(ramp(), WORDS, silence="keep")
    np.testing.assert_allclose(aligned.values[:, 0], [2.5, 6.0, 8.5, 11.0])
    assert aligned.notes["words"][1] == ""


def test_a_word_without_valid_rows_is_zero_and_not_valid():
    seen = ramp()
    blind = Features(seen.values, seen.intervals, seen.intervals[:, 0] > 0.9, seen.names)
    aligned = to_words(blind, WORDS)
    assert aligned.valid.tolist() == [False, False, True]
    assert aligned.values[:2].tolist() == [[0.0], [0.0]]


def test_text_without_times_is_put_on_words_by_its_characters():
    # "so" in two sub-tokens of which one reaches into the comma, both Chinese characters in one.
    text = no_times([[1.0], [4.0], [10.0]], [[0, 1], [1, 3], [4, 6]])
    aligned = to_words(text, WORDS)
    np.testing.assert_allclose(aligned.values[:, 0], [2.5, 10.0, 10.0])
    np.testing.assert_array_equal(aligned.intervals, WORDS.intervals[[0, 2, 3]])


def test_every_stream_gets_the_same_rows_and_the_words_themselves_too():
    words = {"a": WORDS}
    streams = [ramp(), no_times([[1.0]], [[0, 6]])]
    rows = {len(aligner(KIND, words.get)("a", one)) for one in streams}
    own = aligner(KIND, words.get, of_words=True)("a", WORDS)
    assert rows == {len(own)} == {3}
    np.testing.assert_allclose(own.values[:, 0], [0.9, 0.8, 0.7])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (None, "The clip has no word times."),
        (Features([[0.0]], [[0, 1]], [False], ["confidence"]), "The clip has no word times."),
    ],
)
def test_a_clip_without_words_keeps_its_own_rows(words, why):
    kept = aligner(KIND, lambda _: words)("a", ramp())
    assert kept.notes["unaligned"] == why
    np.testing.assert_array_equal(kept.values, ramp().values)
    np.testing.assert_array_equal(kept.intervals, ramp().intervals)


def test_text_that_cannot_be_found_keeps_its_own_rows():
    strangers = Features([[1.0]], [[0, 1]], [True], ["confidence"], {"words": ["x"], "spans": [None], "text": "y"})
    kept = aligner(KIND, lambda _: strangers)("a", no_times([[1.0], [2.0]], [[0, 1], [1, 2]]))
    assert kept.notes["unaligned"] == "No word of the clip is found in its text."
    nowhere = Features([[1.0]], [[np.nan, np.nan]], [True], ["h0"])
    assert "neither times nor places" in aligner(KIND, lambda _: WORDS)("a", nowhere).notes["unaligned"]


@pytest.mark.parametrize("pool", ["mean", "max", "std", "functionals"])
def test_clips_with_and_without_words_have_the_same_dimensions(pool):
    align = aligner({**KIND, "pool": pool}, {"a": WORDS}.get)
    assert align("a", ramp()).names == align("b", ramp()).names


def characters(**named):
    """A tokenizer whose tokens are runs of letters, single signs, and both of 你好 in one."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "s": 1, "o": 2, ",": 3, "你好": 4}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("你好|[a-z]|[^a-z\\s]"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", **named)


def test_each_subtoken_has_the_row_of_its_word():
    expanded = to_subtokens(to_words(ramp(), WORDS), characters())
    found = {
        (token, tuple(span)): value
        for token, span, value in zip(
            expanded.notes["tokens"], expanded.notes["spans"], expanded.values[:, 0].round(3).tolist(), strict=True
        )
    }
    assert found["s", (0, 1)] == found["o", (1, 2)] == 2.5
    assert found["你好", (4, 6)] == 9.75  # the mean of both characters
    comma = expanded.notes["tokens"].index(",")
    assert not expanded.valid[comma]
    assert np.isnan(expanded.intervals[comma]).all()
    np.testing.assert_allclose(expanded.intervals[expanded.notes["tokens"].index("你好")], [0.8, 1.3])


def test_a_word_without_values_still_has_its_time_after_expansion():
    seen = ramp()
    blind = Features(seen.values, seen.intervals, np.zeros(len(seen)), seen.names)
    expanded = to_subtokens(to_words(blind, WORDS), characters())
    assert not expanded.valid.any()
    np.testing.assert_allclose(expanded.intervals[0], [0.1, 0.5])


def test_subtokens_come_from_a_folder(tmp_path):
    byte_tokenizer(bos_token="<s>").save_pretrained(tmp_path / "bytes")
    kind = {**KIND, "subtokens": str(tmp_path / "bytes")}
    expanded = aligner(kind, {"a": WORDS}.get)("a", ramp())
    assert len(expanded) == len(TEXT.encode())  # bytes, and no control token
    unplaced = {**WORDS.notes, "spans": [None] * 4}
    words = Features(WORDS.values, WORDS.intervals, WORDS.valid, WORDS.names, unplaced)
    assert len(aligner(kind, {"a": words}.get)("a", ramp())) == 3
    with pytest.raises(UsageError, match="no tokenizer can be loaded"):
        load_tokenizer(str(tmp_path / "nowhere"))


def test_equal_bins_are_of_time_not_of_words():
    binned = to_equal_bins(ramp(10), 3)
    np.testing.assert_allclose(binned.intervals[:, 1], [1 / 3, 2 / 3, 1.0])
    assert binned.values[0, 0] == pytest.approx((0 + 1 + 2 + 3 / 3) / (10 / 3))
    timeless = to_equal_bins(no_times([[1.0], [2.0], [3.0], [4.0]], [[0, 1]] * 4), 2)
    assert timeless.values[:, 0].tolist() == [1.5, 3.5]
    assert np.isnan(timeless.intervals).all()
    assert len(to_equal_bins(Features(np.zeros((0, 1)), np.zeros((0, 2)), [], ["a"]), 5)) == 0
    assert len(aligner({"kind": "equal_bins", "bins": 4})("a", ramp())) == 4


def voiced_ramp():
    """Pitch of 110 to 124 Hz in every other row, and the row's number in all."""
    ramp_rows = ramp()
    pitch = np.where(np.arange(15) % 2 == 0, 110.0 + np.arange(15), np.nan)
    values = np.stack([pitch, np.arange(15.0)], 1)
    return Features(values, ramp_rows.intervals, ramp_rows.valid, ["f0", "place"])


def test_a_word_has_the_mean_of_the_defined_values_alone():
    aligned = to_words(voiced_ramp(), WORDS)
    # Rows 1 to 4, 8 and 9, 10 to 12; those with an even number are voiced.
    np.testing.assert_allclose(aligned.values, [[113.0, 2.5], [118.0, 8.5], [121.0, 11.0]], rtol=1e-6)


def test_a_word_without_voice_has_no_pitch_and_stays_a_row():
    seen = voiced_ramp()
    values = seen.values.copy()
    values[8:10, 0] = np.nan
    aligned = to_words(Features(values, seen.intervals, seen.valid, seen.names), WORDS, pool="functionals")
    assert aligned.valid.all()
    assert np.isnan(aligned.values[1, :6]).all()
    assert np.isfinite(aligned.values[[0, 2]]).all()
    assert np.isfinite(aligned.values[1, 6:]).all()


def test_what_is_not_defined_of_a_word_is_not_of_its_subtokens():
    words = Features(
        [[np.nan, 1.0], [220.0, 2.0], [np.nan, 3.0]],
        [[0.1, 0.5], [0.8, 1.0], [1.0, 1.3]],
        [True] * 3,
        ["f0", "place"],
        {"words": ["so", "你", "好"], "spans": [[0, 2], [4, 5], [5, 6]], "text": TEXT},
    )
    pieces = to_subtokens(words, byte_tokenizer())
    named = {"so": [np.nan, 1.0], "你": [220.0, 2.0], "好": [np.nan, 3.0]}
    for span, row, valid in zip(pieces.notes["spans"], pieces.values, pieces.valid, strict=True):
        said = next((word for word in named if TEXT.find(word) <= span[0] < TEXT.find(word) + len(word)), None)
        np.testing.assert_array_equal(row, named[said] if said else [0.0, 0.0])
        assert valid == (said is not None)
