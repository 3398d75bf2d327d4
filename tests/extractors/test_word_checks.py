"""Of what files say of words, each part that cannot be used costs itself alone, and is told."""
# ruff: noqa: F811 - the fixtures are those of the tests of word times

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.registry import create
from mse_pipeline.extractors.text.textgrid import read_textgrid
from mse_pipeline.extractors.text.word_checks import CONFIDENCE
from mse_pipeline.extractors.text.word_json import read_json
from mse_pipeline.extractors.text.word_tables import read_table
from tests.extractors.test_word_times import LONG, SAID, clip, read, write, write_csd  # noqa: F401


def as_json(rows):
    return json.dumps([dict(zip(("word", "start", "end", "score"), row, strict=False)) for row in rows])


def as_csv(rows):
    return "word,start,end,confidence\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)


def as_ctm(rows):
    return "".join(f"a 1 {start} {end - start} {word} {sure}\n" for word, start, end, sure in rows)


@pytest.fixture
def confidences(write, tmp_path):
    def of(name, content, **options):
        write(name, content)
        path = name.replace("a.", "{name}.", 1) if name.startswith("a.") else name
        made = create("text.word_times", {"path": path, **options})(clip(), tmp_path)
        return made.values[made.valid, 0].tolist(), made.notes.get("remark", {}).get("message", "")

    return of


LOG, UNUSABLE = [np.exp(-0.05), np.exp(-2.3)], "its confidences are neither probabilities, nor logarithms"
CONFIDENCES = {
    "probabilities": ([0.9, 0.25], [0.9, 0.25], ""),
    "sums a little over 1": ([1.01, 0.5], [1, 0.5], ""),
    "log probabilities": ([-0.05, -2.3], LOG, ""),
    "log probabilities up to 0": ([0, -2.3], [1, LOG[1]], ""),
    "the logarithm of nothing": ([-0.05, -np.inf], [LOG[0], 0], ""),
    "percent": ([95.5, 40], [0.955, 0.4], ""),
    "probabilities and logarithms": ([0.9, -2.3], [1, 1], UNUSABLE),
    "probabilities and percent": ([0.9, 87], [1, 1], UNUSABLE),
    "scores without a range": ([-3, 250], [1, 1], UNUSABLE),
    "no number": ([0.9, "loud"], [0.9, 1], "1 confidences are no numbers"),
}


@pytest.mark.parametrize("make", [as_json, as_csv, as_ctm])
@pytest.mark.parametrize("name", CONFIDENCES)
def test_confidences_are_of_the_kind_that_the_whole_file_shows(confidences, make, name):
    given, expected, told = CONFIDENCES[name]
    content = make([("so", 0.1, 0.4, given[0]), ("what", 0.5, 0.9, given[1])])
    found, remark = confidences(f"a.{make.__name__[3:]}", content)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert (told in remark) if told else not remark


@pytest.mark.parametrize("key", ["score", "probability", "confidence", "conf", "avg_logprob"])
def test_confidences_of_every_name_may_be_logarithms(confidences, key):
    words = [{"word": "so", "start": 0, "end": 1, key: -0.05}, {"word": "what", "start": 1, "end": 2, key: -2.3}]
    np.testing.assert_allclose(confidences("a.json", json.dumps(words))[0], LOG, rtol=1e-6)


def test_percent_signs_are_read(confidences):
    found, _ = confidences("a.csv", as_csv([("so", 0.1, 0.4, "95%"), ("what", 0.5, 0.9, "0.5%")]))
    np.testing.assert_allclose(found, [0.95, 0.005])


def test_the_kind_is_that_of_the_file_of_all_clips(confidences):
    found, _ = confidences("all.ctm", "a 1 0 1 so 0\na 1 1 1 what -2.3\nb 1 0 1 no -1\n")
    np.testing.assert_allclose(found, [1, LOG[1]], rtol=1e-6)


BAD = {
    "backward": (0.5, 0.48, "goes from 0.5 to 0.48 s; a word begins before it ends"),
    "not a number": (0.5, "nan", "goes from 0.5 to nan"),
    "infinite": (0.5, "inf", "goes from 0.5 to inf"),
    "an hour before": (-3600, 0.5, "goes from -3600 to 0.5"),
    "before the recording": (-0.5, -0.2, "before the recording begins"),
    "after all recordings": (0.5, 1e9, "goes from 0.5 to 1e"),
    "text": (0.5, "soon", "has the time 'soon', which is no number"),
}


def bad_textgrid(start, end):
    times = f'0.1\n0.4\n"so"\n{start}\n{end}\n"k"\n0.6\n0.9\n"what"\n'
    return f'"ooTextFile"\n"TextGrid"\n0\n2\n<exists>\n1\n"IntervalTier"\n"words"\n0\n2\n3\n{times}'


WITH_BAD = {
    "json": lambda start, end: json.dumps(
        {"segments": [{"words": [{"word": w, "start": b, "end": e} for w, b, e in bad_rows(start, end)]}]}
    ),
    "csv": lambda start, end: "word,start,end\n" + "".join(f"{w},{b},{e}\n" for w, b, e in bad_rows(start, end)),
    "align": lambda start, end: "".join(f"{b} {e} {w}\n" for w, b, e in bad_rows(start, end)),
    "TextGrid": bad_textgrid,
}


def bad_rows(start, end):
    return [("so", 0.1, 0.4), ("k", start, end), ("what", 0.6, 0.9)]


@pytest.mark.parametrize(
    ("suffix", "name"),
    # A TextGrid has numbers, or is damaged as a whole.
    [
        (suffix, name)
        for suffix in WITH_BAD
        for name in BAD
        if suffix != "TextGrid" or not isinstance(BAD[name][1], str)
    ],
)
def test_a_bad_word_costs_itself_alone_and_is_told(write, tmp_path, suffix, name):
    start, end, told = BAD[name]
    write(f"a.{suffix}", WITH_BAD[suffix](start, end))
    options = {"units_per_second": 1} if suffix == "align" else {}
    made = create("text.word_times", {"path": "{name}." + suffix, **options})(clip(), tmp_path)
    assert [word for word in made.notes["words"] if word] == ["so", "what"]
    remark = made.notes["remark"]
    assert remark["code"] == "word_times_repaired"
    assert "1 of 3 words is left out" in remark["message"]
    assert told in remark["message"]


MORE_BAD = {
    "ctm, backward": ("ctm", "a 1 0.1 0.3 so\na 1 0.5 -0.02 k\na 1 0.6 0.3 what\n", "line 2: 'k' goes"),
    "ctm, cut off": ("ctm", "a 1 0.1 0.3 so\na 1 0.5\na 1 0.6 0.3 what\n", "line 2: recording, channel"),
    "csv, cut off": ("csv", "word,start,end\nso,0.1,0.4\nk,0.5\nwhat,0.6,0.9\n", "line 3: 2 cells under 3 columns"),
    "json, no text": ("json", '[[0.1, 0.4, "so"], {"start": 0.5, "end": 0.6}, [0.6, 0.9, "what"]]', "a word is a text"),
    "json, a number": ("json", '[[0.1, 0.4, "so"], 5, [0.6, 0.9, "what"]]', "a word with its times is expected"),
    "json, no times": ("json", '[[0.1, 0.4, "so"], {"word": "50"}, [0.6, 0.9, "what"]]', "'50' has no times"),
    "json, no end": ("json", '[[0.1, 0.4, "so"], [0.5, null, "k"], [0.6, 0.9, "what"]]', "'k' has no times"),
    "json, true": ("json", '[[0.1, 0.4, "so"], [true, 1, "k"], [0.6, 0.9, "what"]]', "which is no number"),
    "json, NaN": ("json", '[[0.1, 0.4, "so"], [NaN, 1, "k"], [0.6, 0.9, "what"]]', "goes from nan"),
    "json, Infinity": ("json", '[[0.1, 0.4, "so"], [0.5, Infinity, "k"], [0.6, 0.9, "what"]]', "to inf"),
    "json, a segment that was not aligned": (
        "json",
        '{"segments": [{"words": [[0.1, 0.4, "so"]]}, {"text": "oh well", "start": 0, "end": 1}, '
        '{"words": [[0.6, 0.9, "what"]]}]}',
        "'oh well'.*has no words",
    ),
}


@pytest.mark.parametrize(("suffix", "content", "told"), MORE_BAD.values(), ids=MORE_BAD)
def test_what_is_no_word_costs_itself_alone_and_is_told(write, tmp_path, suffix, content, told):
    write(f"a.{suffix}", content)
    made = create("text.word_times", {"path": "{name}." + suffix})(clip(), tmp_path)
    assert [word for word in made.notes["words"] if word] == ["so", "what"]
    assert re.search(f"1 of 3 words is left out.*{told}", made.notes["remark"]["message"])


def test_a_bad_word_of_a_csd_costs_itself_alone(tmp_path):
    write_csd(tmp_path / "words.csd", [b"so", b"k", b"what"], [[0.1, 0.4], [0.5, np.nan], [0.6, 0.9]])
    made = create("text.word_times", {"path": "words.csd"})(clip(), tmp_path)
    assert [word for word in made.notes["words"] if word] == ["so", "what"]
    assert "1 of 3 words is left out" in made.notes["remark"]["message"]


def test_a_bad_recording_costs_itself_alone(write, read):
    write("all.json", json.dumps({"a": [[0.5, 0.75, "so"], [0.75, 1.5, "what"]], "b": 5, "c": [[1, 0, "k"]]}))
    assert read("all.json") == SAID
    with pytest.raises(ClipError, match="a list of words is expected, but this is '5'"):
        read("all.json", clip(id="b", media=None))
    with pytest.raises(ClipError, match=r"no word with a time.*'k' goes from 1 to 0"):
        read("all.json", clip(id="c", media=None))


def test_words_behind_the_clip_are_told(write, tmp_path):
    write("a.json", json.dumps([[0.1, 0.4, "so"], [8, 9, "late"]]))
    part = clip(start=3.0, end=4.0)
    made = create("text.word_times", {"path": "{stem}.json", "clock": "clip"})(part, tmp_path)
    assert [word for word in made.notes["words"] if word] == ["so"]
    assert (
        "1 of 2 words is left out: it lies behind the clip's end at 1 s, as 'late'" in made.notes["remark"]["message"]
    )


WHISPER = {
    "text": " Bin red by k seven now. So what?",
    "segments": [
        {"id": 0, "start": 0.0, "end": 3.0, "text": " Bin red by k seven now.", "avg_logprob": -0.2},
        {"id": 1, "start": 3.0, "end": 4.0, "text": " So what?", "avg_logprob": -0.3},
    ],
    "language": "en",
}


def sentence_grid(*texts):
    head = f'"ooTextFile"\n"TextGrid"\n0\n9\n<exists>\n1\n"IntervalTier"\n"words"\n0\n9\n{len(texts)}\n'
    return head + "".join(f'{place}\n{place + 1}\n"{text}"\n' for place, text in enumerate(texts))


SENTENCES = {
    "json of whisper without word times": ("json", json.dumps(WHISPER)),
    "json list": ("json", json.dumps([[0, 1, "So what?"], [1, 2, "I do not know."], [2, 3, "Yes."]])),
    "json of transformers": ("json", json.dumps({"chunks": [{"text": " So what is it?", "timestamp": [0, 2]}]})),
    "csv": ("csv", 'word,start,end\n"So, what?",0,1\nI do not know,1,2\n'),
    "tsv of whisper": ("tsv", "start\tend\ttext\n0\t3000\tBin red by k seven now.\n3000\t4000\tSo what?\n"),
    "align": ("align", "0 1 so what\n1 2 I do not know\n"),
    "TextGrid": ("TextGrid", sentence_grid("", "so what", "", "I do not know", "sil")),
    "TextGrid with sounds": ("TextGrid", sentence_grid("[laughter]", "so what is it", "<unk>", "sp", "sil")),
    "Chinese": ("TextGrid", sentence_grid("我今天很高兴", "这是什么东西")),
    "Chinese with signs": ("json", json.dumps([[0, 1, "好，走吧"], [1, 2, "不，等等！"]])),
    "Japanese": ("json", json.dumps([[0, 1, "今日は天気がいいですね"], [1, 2, "そうですね、行きましょう"]])),
    "Thai": ("json", json.dumps([[0, 1, "วันนี้อากาศดีมากเลยครับ"]])),
    "Korean": ("json", json.dumps([[0, 1, "오늘은 날씨가 좋네요"]])),
    "ideographic blanks": ("json", json.dumps([[0, 1, "これ\u3000それ"]])),
}


@pytest.mark.parametrize(("suffix", "content"), SENTENCES.values(), ids=SENTENCES)
def test_sentences_are_no_words(write, read, suffix, content):
    write(f"a.{suffix}", content)
    with pytest.raises(ClipError, match=r"its entries are sentences.*word_timestamps=True.*text\.ctc"):
        read("{name}." + suffix)


def test_sentences_of_a_csd_are_no_words(tmp_path, read):
    write_csd(tmp_path / "words.csd", [b"so what", b"I do not know"], [[0, 1], [1, 2]])
    with pytest.raises(ClipError, match="its entries are sentences"):
        read("words.csd")


WORDS = {
    "names of two parts": ["I", "love", "New York", "at", "5 a.m.", "sharp"],
    "punctuation": ["So", ",", "what", "?", "--", "e-mail", "o'clock"],
    "Chinese characters": list("我今天很高兴"),
    "Chinese words": ["我", "今天", "很", "高兴", "胸有成竹", "。"],
    "Japanese words": ["今日", "は", "天気", "が", "食べました", "インターネット", "ありがとうございます"],
    "Thai words": ["สวัสดีครับ", "มหาวิทยาลัย"],
    "one word": ["so"],
    "signs with blanks": ["R & B", "is", "what", "they", "play"],
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_words_of_all_scripts_are_words(write, read, words):
    write("a.json", json.dumps([[place, place + 1, word] for place, word in enumerate(words)]))
    assert [word for _, _, word in read("{name}.json")] == words


def two_tiers(*names, texts=("anna", "ben")):
    tiers = "".join(
        f'"IntervalTier"\n"{name}"\n0\n2\n1\n0\n2\n"{text}"\n' for name, text in zip(names, texts, strict=True)
    )
    return f'"ooTextFile"\n"TextGrid"\n0\n2\n<exists>\n{len(names)}\n{tiers}'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("name", ["words", "sentence"])
def test_tiers_of_one_name_are_asked_about(write, read, name, encoding):
    write("a.TextGrid", two_tiers(name, name).encode(encoding))
    with pytest.raises(ClipError, match=rf"'{name}#1', '{name}#2'.*option tier"):
        read("{name}.TextGrid")
    with pytest.raises(ClipError, match=f"2 are called '{name}'"):
        read("{name}.TextGrid", tier=name)
    assert read("{name}.TextGrid", tier=f"{name}#2") == [(0.0, 2.0, "ben")]


def test_tiers_of_one_name_in_the_long_form(write, read):
    write("a.TextGrid", LONG.replace('"phones"', '"words"'))
    with pytest.raises(ClipError, match=r"\('words#1', 'words#2'\) 2 are of words"):
        read("{name}.TextGrid")


def test_a_damaged_tier_that_is_not_asked_for_costs_nothing(write, read):
    write("a.TextGrid", two_tiers("words", "phones").replace('0\n2\n"ben"', '2\n0\n"ben"'))
    assert read("{name}.TextGrid") == [(0.0, 2.0, "anna")]


SEVERAL = {
    "entries of one name": (
        "json",
        '{"words": [[0, 1, "so"]], "words": [[0, 1, "what"]]}',
        {},
        "several entries called",
    ),
    "tiers of one name": (
        "json",
        '{"tiers": {"words": {"entries": [[0, 1, "so"]]}, "words": {"entries": [[0, 1, "what"]]}}}',
        {},
        "several entries called 'words'",
    ),
    "tiers of two speakers": (
        "json",
        '{"tiers": {"ann - words": {"entries": [[0, 1, "so"]]}, "ben - words": {"entries": []}}}',
        {},
        "'ann - words', 'ben - words'.*option tier",
    ),
    "columns of one name": ("csv", "word,start,end,start\nso,0,1,2\n", {}, "several columns called 'start'"),
    "channels": ("ctm", "a A 0 1 so\na B 0 1 what\n", {"tier": "B"}, r"several channels.*\('A', 'B'\).*option tier"),
    "speakers": (
        "csv",
        "Begin,End,Label,Type,Speaker\n0,1,so,words,ann\n0,1,what,words,ben\n",
        {"tier": "ben - words"},
        r"'ann - words', 'ben - words'.*option tier",
    ),
}


@pytest.mark.parametrize(("suffix", "content", "mend", "told"), SEVERAL.values(), ids=SEVERAL)
def test_words_of_several_at_once_are_asked_about(write, read, suffix, content, mend, told):
    write(f"a.{suffix}", content)
    with pytest.raises(ClipError, match=told):
        read("{name}." + suffix)
    if mend:
        assert read("{name}." + suffix, **mend) == [(0.0, 1.0, "what")]


def test_units_of_time_hold_for_every_format(tmp_path, read):
    write_csd(tmp_path / "words.csd", [b"so", b"what"], [[500, 750], [750, 1500]])
    assert read("words.csd", units_per_second=1000) == SAID


@pytest.mark.parametrize("key", CONFIDENCE)
def test_a_log_probability_is_read_under_each_usual_name(key, tmp_path):
    words = [
        {"word": "so", "start": 0.1, "end": 0.4, key: -0.05},
        {"word": "what", "start": 0.5, "end": 0.9, key: -2.3},
    ]
    (tmp_path / "a.json").write_text(json.dumps(words))
    (tmp_path / "a.csv").write_text(f"word,start,end,{key}\nso,0.1,0.4,-0.05\nwhat,0.5,0.9,-2.3\n")

    for found in (read_json(tmp_path / "a.json")[""], read_table(tmp_path / "a.csv")[""]):
        assert [word.confidence for word in found] == pytest.approx([0.951, 0.1], abs=1e-3)


def test_scores_of_nothing_but_zero_are_the_logarithm_of_one(tmp_path):
    (tmp_path / "a.json").write_text('[{"word": "yes", "start": 0.1, "end": 0.4, "score": 0.0}]')

    assert [word.confidence for word in read_json(tmp_path / "a.json")[""]] == [1.0]


_SENTENCES = [
    {"start": 0.0, "end": 3.0, "text": " Bin red by k seven now."},
    {"start": 3.0, "end": 4.0, "text": " So what?"},
]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"segments": _SENTENCES, "word_segments": []}, "its entries are sentences"),
        ({"segments": [{**one, "words": []} for one in _SENTENCES]}, "has no words"),
        ({"segments": [{**one, "words": []} for one in _SENTENCES], "word_segments": []}, "has no words"),
    ],
    ids=["no-words-anywhere", "empty-words", "empty-words-twice"],
)
def test_segments_that_were_not_aligned_are_told(content, told, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(content))

    with pytest.raises(ClipError, match=told):
        read_json(tmp_path / "a.json")


def test_a_segment_without_words_costs_itself_alone(tmp_path):
    words = [{"word": "yes", "start": 5.0, "end": 5.4}]
    (tmp_path / "a.json").write_text(json.dumps({"segments": [{**_SENTENCES[1], "words": []}, {"words": words}]}))

    found = read_json(tmp_path / "a.json")[""]

    assert [word.text for word in found] == ["yes"]
    assert "'So what?' has no words" in found.remarks[0]


def _textgrid(*tiers):
    head = f'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n2\n<exists>\n{len(tiers)}\n'
    return head + "".join(f'"IntervalTier"\n"{name}"\n0\n2\n{intervals}' for name, intervals in tiers)


@pytest.mark.parametrize("time", ["nan", "--undefined--"])
def test_an_interval_of_undefined_time_costs_itself_alone(time, tmp_path):
    intervals = f'3\n0.1\n0.4\n"so"\n0.5\n{time}\n"k"\n0.6\n0.9\n"what"\n'
    (tmp_path / "a.TextGrid").write_text(_textgrid(("words", intervals)))

    found = read_textgrid(tmp_path / "a.TextGrid")

    assert [word.text for word in found] == ["so", "what"]
    assert "'k'" in found.remarks[0]


def test_tiers_whose_names_differ_by_spaces_alone_are_asked_about(tmp_path):
    tiers = _textgrid(("words", '1\n0\n2\n"anna"\n'), ("words ", '1\n0\n2\n"ben"\n'))
    (tmp_path / "a.TextGrid").write_text(tiers)

    with pytest.raises(ClipError, match="2 are of words"):
        read_textgrid(tmp_path / "a.TextGrid")
    assert [word.text for word in read_textgrid(tmp_path / "a.TextGrid", "words#2")] == ["ben"]


def test_a_table_of_words_of_semicolons_has_decimal_commas(tmp_path):
    (tmp_path / "a.csv").write_text("word;start;end;score\nso, so;0,1;0,4;-0,05\nwhat;1,125;1,5;-2,3\n")
    found = read_table(tmp_path / "a.csv")[""]
    assert [(word.text, word.start, word.end) for word in found] == [("so, so", 0.1, 0.4), ("what", 1.125, 1.5)]
    assert [word.confidence for word in found] == pytest.approx([0.951, 0.1], abs=1e-3)
