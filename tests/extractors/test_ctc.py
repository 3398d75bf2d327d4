"""A transcript finds its place in the sound, or says why it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import ClipError, MseError, UsageError
from mse_pipeline.extractors.registry import create
from mse_pipeline.extractors.text.ctc import WILD, CtcModel, Heard, Vocabulary, heard, parted
from mse_pipeline.extractors.text.spoken import Unit, chinese, english, spoken, units
from mse_pipeline.media.audio import Audio
from tests.extractors.small_ctc import VOCABULARY, save_model, small_model, speak, trained_model

ENGLISH = Vocabulary({letter: number for number, letter in enumerate("ETAONIHSRDLUMWCFGYPBVK'XJQZ", start=5)}, 0, 4)
CHINESE = Vocabulary({sign: number for number, sign in enumerate("我有三个苹果你好二零八年十五", start=1)}, 0)


def letters(vocabulary, text, language="en"):
    """The labels of each word as text; * for what the model does not know, and | between words."""
    names = {label: name for name, label in vocabulary.ids.items()} | {WILD: "*", vocabulary.delimiter: "|"}
    return "".join(names[label] for label in vocabulary.targets(text, language).labels.tolist())


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Hello, world!", "HELLO|WORLD"),
        ("It’s -- well -- 'fine'...", "IT'S|WELL|FINE"),
        ("Chloé's café", "CHLOE'S|CAFE"),
        ("I paid $20.50 on the 3rd", "I|PAID|TWENTY|POINT|FIVE|ZERO|DOLLARS|ON|THE|THIRD"),
        ("in the 1990s, 50% & MP3", "IN|THE|NINETEEN|NINETIES|FIFTY|PERCENT|AND|MP|THREE"),
        ("say Привет now", "SAY|*|NOW"),
        ("at 10:30 (2nd try)", "AT|TEN|THIRTY|SECOND|TRY"),
        ("!!! ...", ""),
    ],
)
def test_english_becomes_letters(text, labels):
    assert letters(ENGLISH, text) == labels


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("我有3个苹果。", "我有三个苹果"),
        ("你好，你好！", "你好你好"),
        ("２００８年", "二零零八年"),
        ("15个", "十五个"),
        ("我有龘龘苹果", "我有**苹果"),
    ],
)
def test_chinese_becomes_characters(text, labels):
    assert letters(CHINESE, text, "zh") == labels


def test_targets_remember_whose_they_are():
    targets = CHINESE.targets("有15个", "zh")
    assert [unit.text for unit in targets.units] == ["有", "15", "个"]
    assert targets.owners.tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("0", "zero"),
        ("110", "one hundred ten"),
        ("2000", "two thousand"),
        ("2005", "two thousand five"),
        ("2024", "twenty twenty four"),
        ("1,000,001", "one million one"),
        ("12345678901234567", "one two three four five six seven eight nine zero one two three four five six seven"),
    ],
)
def test_english_numbers(number, said):
    assert " ".join(english(number)) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("0", "零"),
        ("12", "十二"),
        ("20", "二十"),
        ("110", "一百一十"),
        ("1001", "一千零一"),
        ("10500", "一万零五百"),
        ("100001", "十万零一"),
        ("100000001", "一亿零一"),
        ("1,234,567", "一百二十三万四千五百六十七"),
        ("007", "零零七"),
    ],
)
def test_chinese_numbers(number, said):
    assert chinese(number) == said


def test_numbers_of_other_languages_are_left_as_they_are():
    assert spoken(units("50%")[0], "de") == ["50%"]


def made(targets, path, rng, sure=0.95):
    """Emissions that say a path: columns of the blank, of any label, and of the labels that are known."""
    known = np.unique(targets.labels[targets.labels != WILD]).tolist()
    frames = np.full((len(path), 3 + len(known)), (1 - sure) / (2 + len(known)))
    frames *= rng.uniform(0.5, 1.0, frames.shape)
    stranger = frames.shape[1] - 1  # a label that the text has not, as for a sign that the model does not know
    for frame, place in enumerate(path):
        label = None if place < 0 else int(targets.labels[place])
        column = 0 if label is None else stranger if label == WILD else 2 + known.index(label)
        frames[frame, column] = sure
    frames[:, 1] = 0
    frames /= frames.sum(axis=1, keepdims=True)
    frames[:, 1] = 1 - frames[:, 0]
    return np.log(frames[:, :-1])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("vocabulary", "text", "language"),
    [
        (ENGLISH, "Hello, Mississippi! It's all too good, Привет and 3 bees.", "en"),
        (CHINESE, "你好，你好！我有龘苹果，3个苹果。果果", "zh"),
    ],
    ids=["en", "zh"],
)
def test_words_are_exactly_where_a_made_path_has_them(vocabulary, text, language, seed):
    rng = np.random.default_rng(seed)
    targets = vocabulary.targets(text, language)
    path = [-1] * int(rng.integers(0, 5))
    for place, label in enumerate(targets.labels):
        twin = place > 0 and label == targets.labels[place - 1]
        path += [-1] * max(int(rng.integers(0, 3)), int(twin)) + [place] * int(rng.integers(1, 4))
    path += [-1] * int(rng.integers(0, 5))
    found = heard(made(targets, path, rng), targets)
    assert [word.unit for word in found] == list(targets.units)
    for number, word in enumerate(found):
        frames = [frame for frame, place in enumerate(path) if place >= 0 and targets.owners[place] == number]
        assert (word.start, word.end) == (frames[0], frames[-1] + 1)
        wild = all(targets.labels[place] == WILD for place in path if place >= 0 and targets.owners[place] == number)
        assert word.confidence == 0 if wild else word.confidence > 0.85


def test_confidence_is_the_mean_posterior_of_the_frames_of_a_word():
    targets = Vocabulary({"a": 1, "b": 2}, blank=0).targets("ab b", "en")
    frames = np.array([[0.1, 0.9, 0.8, 0.0], [0.2, 0.8, 0.0, 0.6], [0.9, 0.1, 0.0, 0.1], [0.3, 0.7, 0.0, 0.7]])
    found = heard(np.log(frames.clip(1e-9)), targets)
    assert [round(word.confidence, 6) for word in found] == [0.7, 0.7]


def test_short_silence_belongs_to_its_neighbours():
    words = [
        Heard(Unit("a", 0, 1), 12, 14, 1.0),
        Heard(Unit("b", 2, 3), 16, 20, 1.0),
        Heard(Unit("c", 4, 5), 40, 41, 1),
    ]
    assert parted(words, 10, 45) == [(12, 15), (15, 20), (40, 45)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("ctc") / "tones", trained_model(), VOCABULARY)


@pytest.fixture(scope="module")
def extractor(folder):
    made = create("text.ctc", {"model": str(folder)})
    made.load()
    return made


def clip(text, language="en"):
    return Clip(id="train/a", split=Split.TRAIN, media="a.wav", text=text, language=language)


@pytest.mark.parametrize(
    ("text", "language", "said"),
    [
        ("Bad, a cab! BEE?", "en", ["BAD", "A", "CAB", "BEE"]),
        ("你好，好你。20", "zh", ["你", "好", "好", "你", "二十"]),
        ("ab'c deed", "en", ["AB'C", "DEED"]),
    ],
)
def test_words_are_found_in_sound(extractor, text, language, said):
    samples, times, _ = speak(said, np.random.default_rng(5))
    features = extractor(clip(text, language), Audio(samples))
    there = np.flatnonzero(features.valid)
    np.testing.assert_allclose(features.intervals[there], times, atol=0.04)
    assert features.notes["words"] == ["", *(word for unit in units(text) for word in (unit.text, ""))]
    assert [text[slice(*features.notes["spans"][row])] for row in there] == [unit.text for unit in units(text)]
    assert (features.values[there, 0] > 0.5).all()
    np.testing.assert_array_equal(features.intervals[1:, 0], features.intervals[:-1, 1])
    assert features.intervals[-1, 1] == pytest.approx(len(samples) / 16_000)


def test_a_wrong_transcript_is_less_sure(extractor):
    samples, _, _ = speak(["BAD", "CAB"], np.random.default_rng(1))
    right, wrong = (extractor(clip(text), Audio(samples)) for text in ("bad cab", "dee bee"))
    assert right.values[right.valid].mean() > 2 * wrong.values[wrong.valid].mean()


def test_long_sound_is_heard_in_windows(folder, extractor):
    rng = np.random.default_rng(8)
    said = ["".join(rng.choice(list("ABCDE"), 3)) for _ in range(24)]
    samples, times, _ = speak(said, rng)
    windows = create("text.ctc", {"model": str(folder), "window": 2.0, "context": 0.5})
    whole, parts = extractor(clip(" ".join(said)), Audio(samples)), windows(clip(" ".join(said)), Audio(samples))
    np.testing.assert_allclose(parts.intervals[parts.valid], times, atol=0.04)
    np.testing.assert_allclose(parts.intervals, whole.intervals, atol=0.021)


@pytest.mark.parametrize("samples", [16_000, 79_999, 80_000, 80_001, 123_456])
def test_windows_give_each_frame_once(folder, samples):
    sound = np.random.default_rng(0).normal(size=samples).astype(np.float32)
    labels = np.array([2, 5])
    whole = CtcModel(folder, "cpu", window=600.0).emissions(sound, labels)
    parts = CtcModel(folder, "cpu", window=1.5, context=0.5).emissions(sound, labels)
    assert whole.shape == parts.shape == ((samples - 400) // 320 + 1, 4)


def test_a_model_of_long_pieces_splits_words_itself():
    pieces = {"ab": [7], "x": [None]}
    targets = Vocabulary({"\u2581ab": 7}, 0, None, lambda word: pieces[word]).targets("ab x", "en")
    assert targets.labels.tolist() == [7, WILD]


@pytest.mark.parametrize(
    ("text", "samples", "message"),
    [
        ("", 16_000, "has no text"),
        ("?!", 16_000, "knows no sign of the text"),
        ("Привет", 16_000, "for another language"),
        ("bad " * 99, 16_000, "does not fit into its sound: .* labels need .* frames, but there are 49"),
        ("bad", 700, "0.044 s of sound, too little"),
        ("bad", 0, "0.000 s of sound, too little"),
    ],
)
def test_what_cannot_be_aligned_is_a_defect(extractor, text, samples, message):
    sound = Audio(np.random.default_rng(0).normal(size=samples).astype(np.float32) * 0.1)
    with pytest.raises(ClipError, match=message) as caught:
        extractor(clip(text), sound)
    assert caught.value.code == "alignment_failed"


def test_silence_cannot_be_aligned(extractor):
    with pytest.raises(ClipError, match="silent from begin to end"):
        extractor(clip("bad"), Audio(np.zeros(16_000, np.float32)))


def test_the_identity_is_the_model_and_not_its_place(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "moved")
    identity = create("text.ctc", {"model": str(folder)}).identity()
    assert create("text.ctc", {"model": str(tmp_path / "moved")}).identity() == identity
    other = save_model(tmp_path / "other", small_model(len(VOCABULARY)), VOCABULARY)
    assert create("text.ctc", {"model": str(other)}).identity() != identity
    assert create("text.ctc", {"model": str(folder), "min_silence": 0.5}).identity() != identity


def test_models_are_found_below_the_folder_of_models(folder, monkeypatch):
    monkeypatch.setenv("MSE_MODELS", str(folder.parent))
    there = create("text.ctc", {"model": str(folder)})
    assert create("text.ctc", {"model": "tones"}).model_digest() == there.model_digest()


def test_a_model_that_is_not_there_says_what_to_do(folder, tmp_path, monkeypatch):
    import shutil

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MseError, match=r"hf download me/no-such"):
        create("text.ctc", {"model": "me/no-such"}).load()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"has no config\.json"):
        create("text.ctc", {"model": str(tmp_path / "empty")}).load()
    (tmp_path / "empty/config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UsageError, match="but no weights"):
        create("text.ctc", {"model": str(tmp_path / "empty")}).load()
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UsageError, match="cannot be loaded as a CTC model"):
        create("text.ctc", {"model": str(other)}).load()
