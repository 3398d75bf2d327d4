"""Word times are read as their files say them, whoever wrote the files."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.extractors.registry import check, create
from mse_pipeline.extractors.text.spoken import units
from mse_pipeline.extractors.text.word_checks import TimedWord, placed

LONG = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1.5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = ""
        intervals [2]:
            xmin = 0.5
            xmax = 0.75
            text = "say ""hi"""
        intervals [3]:
            xmin = 0.75
            xmax = 1.5
            text = "你好"
    item [2]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 1.5
        points: size = 1
        points [1]:
            number = 0.3
            mark = "click"
    item [3]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 1.5
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 1.5
            text = "ah"
'''
SHORT = '''File type = "ooTextFile"
Object class = "TextGrid"

0
1.5
<exists>
1
"IntervalTier"
"Ann - words"
0
1.5
3
0
0.5
""
0.5
0.75
"say ""hi"""
0.75
1.5
"你好"
'''
GRID = "0 12500 sil\n12500 18750 so\n18750 37500 what\n"


def clip(**changes):
    return Clip(**{"id": "train/a", "split": Split.TRAIN, "media": "video/a.mp4", "text": "So, what?", **changes})


@pytest.fixture
def write(tmp_path):
    def file(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return file


@pytest.fixture
def read(tmp_path):
    """(begin, end, text) of each row of a clip."""

    def rows(path, one=None, **options):
        made = create("text.word_times", {"path": path, **options})(one or clip(), tmp_path)
        assert made.valid.tolist() == [bool(word) for word in made.notes["words"]]
        times = made.intervals.round(6).tolist()
        return [(*time, word) for time, word in zip(times, made.notes["words"], strict=True)]

    return rows


SAID = [(0.0, 0.5, ""), (0.5, 0.75, "so"), (0.75, 1.5, "what")]
QUOTED = [(0.0, 0.5, ""), (0.5, 0.75, 'say "hi"'), (0.75, 1.5, "你好")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("content", [LONG, SHORT], ids=["long", "short"])
def test_textgrids_of_both_forms_and_all_encodings(write, read, content, encoding):
    write("a.TextGrid", content.encode(encoding))
    assert read("{name}.TextGrid") == QUOTED


def test_a_tier_is_chosen_by_its_name(write, read):
    write("a.TextGrid", LONG)
    assert read("{name}.TextGrid", tier="phones") == [(0.0, 1.5, "ah")]
    with pytest.raises(ClipError, match=r"'words', 'phones'.*none called 'Words'.*option tier"):
        read("{name}.TextGrid", tier="Words")
    write("b.TextGrid", LONG.replace('"words"', '"sounds"'))
    with pytest.raises(ClipError, match="none called words, nor a single one"):
        read("{name}.TextGrid", clip(id="b"))


FILES = {
    "align": ("align", GRID),
    "ctm": ("ctm", ";; made by Kaldi\nb 1 0 9 no\na 1 0.5 0.25 so 0.9\na 1 0.75 0.75 what NA\na 1 0 0.5 <eps>\n"),
    "csv": ("csv", "clip,word,start,end\nb,no,0,9\na,so,0.5,0.75\na,what,0.75,1.5\n"),
    "csv with durations": ("csv", "Word,Onset,Duration\nso,0.5,0.25\nwhat,0.75,0.75\n"),
    "tsv": ("tsv", "id\tlabel\tbegin\tend\ntrain/a\tso\t0.5\t0.75\ntrain/a\twhat\t0.75\t1.5\n"),
    "csv of MFA": (
        "csv",
        "Begin,End,Label,Type,Speaker\n0.5,0.75,so,words,ann\n0.75,1.5,what,words,ann\n0.5,0.6,S,phones,ann\n",
    ),
    "json list": ("json", json.dumps([{"word": "so", "start": 0.5, "end": 0.75}, [0.75, 1.5, "what"]])),
    "json by clip": (
        "json",
        json.dumps({"b": [[0, 9, "no"]], "a": {"words": [[0.5, 0.75, "so"], [0.75, 1.5, "what"]]}}),
    ),
    "json of MFA": (
        "json",
        json.dumps(
            {
                "start": 0,
                "end": 1.5,
                "tiers": {
                    "words": {"type": "interval", "entries": [[0.5, 0.75, "so"], [0.75, 1.5, "what"]]},
                    "phones": {"type": "interval", "entries": [[0.5, 0.75, "S"]]},
                },
            }
        ),
    ),
    "json of WhisperX": (
        "json",
        json.dumps(
            {
                "segments": [
                    {"text": "so", "words": [{"word": " so", "start": 0.5, "end": 0.75, "score": 0.9}, {"word": "5"}]},
                    {"text": "what", "words": [{"word": "what", "start": 0.75, "end": 1.5, "score": 0.8}]},
                ]
            }
        ),
    ),
    "json of transformers": (
        "json",
        json.dumps(
            {"chunks": [{"text": " so", "timestamp": [0.5, 0.75]}, {"text": " what", "timestamp": [0.75, 1.5]}]}
        ),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_each_clip(write, read, name):
    suffix, content = FILES[name]
    write(f"times/a.{suffix}", content)
    assert read("times/{name}." + suffix) == SAID


@pytest.mark.parametrize("name", ["ctm", "csv", "tsv", "json by clip"])
def test_one_file_for_all_clips(write, read, name):
    suffix, content = FILES[name]
    write(f"all.{suffix}", content)
    assert read(f"all.{suffix}") == SAID
    with pytest.raises(ClipError, match="no words of train/c: it has no recording named 'train/c', 'c'"):
        read(f"all.{suffix}", clip(id="train/c", media=None))


def write_csd(path, words, times, entry="a"):
    with h5py.File(path, "w") as file:
        group = file.create_group(f"All Words/data/{entry}")
        group["features"] = np.array(words, dtype="S32").reshape(-1, 1)
        group["intervals"] = np.array(times, float)


def test_timestamped_words_of_cmu(tmp_path, read):
    write_csd(tmp_path / "words.csd", [b"sp", b"so", b"what"], [[0, 0.5], [0.5, 0.75], [0.75, 1.5]])
    assert read("words.csd") == SAID
    with pytest.raises(ClipError, match="no words of b"):
        read("words.csd", clip(id="b", media=None))


def test_confidence_is_what_the_file_gives(write, tmp_path):
    write("a.ctm", FILES["ctm"][1])
    made = create("text.word_times", {"path": "a.ctm"})(clip(), tmp_path)
    np.testing.assert_allclose(made.values[:, 0], [0.0, 0.9, 1.0])


def test_words_are_found_in_the_text_of_the_clip(write, tmp_path):
    write("a.align", GRID)
    made = create("text.word_times", {"path": "{stem}.align"})(clip(), tmp_path)
    assert made.notes["text"] == "So, what?"
    assert made.notes["spans"] == [None, [0, 2], [4, 8]]


def test_a_clip_of_a_longer_file_says_whose_clock(write, read):
    write("a.align", GRID)
    part = clip(start=0.25, end=1.25)
    assert read("{stem}.align", part, clock="file") == [(0.0, 0.25, ""), (0.25, 0.5, "so"), (0.5, 1.0, "what")]
    assert read("{stem}.align", part, clock="clip") == [(0.0, 0.5, ""), (0.5, 0.75, "so"), (0.75, 1.0, "")]
    with pytest.raises(ClipError, match="option clock"):
        read("{stem}.align", part)


def test_a_word_belongs_to_the_clip_where_its_middle_is(write, read):
    write("a.align", GRID)
    assert read("{stem}.align", clip(start=0.7), clock="file") == [(0.0, 0.05, ""), (0.05, 0.8, "what")]


def test_other_units_of_time(write, read):
    write("a.csv", "word,start,end\nso,500,750\nwhat,750,1500\n")
    assert read("{name}.csv", units_per_second=1000) == SAID


def test_silence_is_what_no_word_covers(write, read):
    write("a.json", json.dumps([[0.5, 0.75, "so"], [0.76, 1.0, "what"], [1.5, 2.0, "SIL"]]))
    assert read("{name}.json") == [(0.0, 0.5, ""), (0.5, 0.75, "so"), (0.76, 1.0, "what"), (1.0, 2.0, "")]
    write("b.json", json.dumps([[0.5, 0.75, "uh"]]))
    with pytest.raises(ClipError, match="no word with a time"):
        read("{name}.json", clip(id="b"), silence=["uh"])


@pytest.mark.parametrize("path", ["{id}.align", "{split}/{name}.align", "of/{media}.align"])
def test_fields_of_a_path(write, read, path):
    place = path.format(id="train/a", split="train", name="a", media="video/a")
    write(place, GRID)
    assert read(path) == SAID


HOSTILE = {
    "not a grid": ("a.TextGrid", "hello", "ends before"),
    "another object": ("a.TextGrid", '"ooTextFile" "Pitch" 0 1', "no TextGrid"),
    "cut off": ("a.TextGrid", LONG[:500], "ends before all that it announces"),
    "open quote": ("a.TextGrid", SHORT.replace('"你好"', '"你好'), "line 21: a text is opened with a quote"),
    "claims much": ("a.TextGrid", SHORT.replace("\n3\n", "\n999999999\n"), "ends before"),
    "no count": ("a.TextGrid", SHORT.replace("\n3\n", "\n2.5\n"), "line 12: 2.5 is no count"),
    "no number": ("a.TextGrid", SHORT.replace("0.75", '"x"', 1), "line 17: a number is expected"),
    "backwards": (
        "a.align",
        "2 1 so\n4 3 what\n",
        "line 1: 'so' goes.*before it ends. None of its 2 words can be used",
    ),
    "zero bytes": ("a.ctm", b"\xff\xfe\x00", "neither UTF-8 nor UTF-16"),
    "latin": ("a.ctm", b"a 1 0 1 so\na 1 0 1 caf\xe9\n", "line 2: is neither UTF-8"),
    "few fields": ("a.ctm", ";; made by nobody\na 1 0.5\n", "line 2: recording, channel"),
    "words for times": ("a.align", "x 2 what\n", "line 1: 'what' has the time 'x', which is no number"),
    "infinite": ("a.align", "0 inf so\n", "line 1: 'so' goes from 0 to inf"),
    "not a number": ("a.csv", "word,start,end\nso,nan,1\n", "line 2: 'so' goes from nan"),
    "no column": ("a.csv", "word,begin\nso,0\n", "no column end; there are 'word', 'begin'"),
    "empty": ("a.csv", "", "no column word and no column start and no column end"),
    "uneven": ("a.csv", "word,start,end\nso,0\n", "line 2: 2 cells under 3 columns"),
    "bad quote": ("a.csv", 'word,start,end\n"so,0,1\n', "no sound table"),
    "no json": ("a.json", '[\n{"word": }', "line 2: is no JSON"),
    "deep": ("a.json", "[" * 100_000, "nested too deeply"),
    "other json": ("a.json", '{"words": 3}', "a list of words is expected, but this is '3'"),
    "true as time": ("a.json", '[{"word": "so", "start": true, "end": 1}]', "which is no number"),
    "huge int": ("a.json", '[{"word": "so", "start": 0, "end": 1' + "0" * 400 + "}]", "no time of a recording"),
    "longer int": ("a.json", "[[0, 1" + "0" * 5000 + ', "so"]]', "is no JSON"),
    "no word": ("a.json", "[[0, 1, 2]]", "a word is a text"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_files_are_told_with_their_line(write, read, name):
    file, content, message = HOSTILE[name]
    write(file, content)
    with pytest.raises(ClipError, match=message) as caught:
        read("{name}." + file.partition(".")[2])
    assert caught.value.code == "alignment_failed"
    assert file in str(caught.value)


def test_a_hostile_csd_is_refused(tmp_path, read):
    write_csd(tmp_path / "short.csd", [b"so"], [[0, 1], [1, 2]])
    with pytest.raises(ClipError, match=r"1 words but intervals of shape \(2, 2\)"):
        read("short.csd")
    write_csd(tmp_path / "there.csd", [b"so"], [[0, 1]])
    with h5py.File(tmp_path / "link.csd", "w") as file:
        file.create_group("All Words/data")["a"] = h5py.ExternalLink(str(tmp_path / "there.csd"), "All Words/data/a")
    with pytest.raises(ClipError, match="link to another file"):
        read("link.csd")
    (tmp_path / "none.csd").write_bytes(b"text")
    with pytest.raises(ClipError, match="cannot be read as HDF5"):
        read("none.csd")


KINDS_OF_TEXT = {
    "fixed": np.array([b"sp", b"so", b"what"]),
    "fixed, a column": np.array([[b"sp"], [b"so"], [b"what"]]),
    "fixed, a line": np.array([[b"sp", b"so", b"what"]]),
    "fixed, wide": np.array([b"sp", b"so", b"what"], "S5000"),
    "fixed UTF-8": np.array([b"sp", b"so", b"what"], h5py.string_dtype("utf-8", 8)),
    "variable": np.array(["sp", "so", "what"], h5py.string_dtype()),
    "variable, a column": np.array([["sp"], ["so"], ["what"]], h5py.string_dtype()),
    "variable bytes": np.array([b"sp", b"so", b"what"], h5py.string_dtype("ascii")),
    "variable objects": np.array(["sp", b"so", "what"], object),
}


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("kind", KINDS_OF_TEXT)
def test_words_of_a_csd_are_strings_of_any_kind(tmp_path, read, kind, compression):
    with h5py.File(tmp_path / "words.csd", "w") as file:
        group = file.create_group("words/data/a")
        texts = KINDS_OF_TEXT[kind]
        dtype = h5py.string_dtype() if texts.dtype == object and not texts.dtype.metadata else texts.dtype
        group.create_dataset("features", data=texts, dtype=dtype, compression=compression)
        group["intervals"] = np.array([[0, 0.5], [0.5, 0.75], [0.75, 1.5]])
    assert read("words.csd") == SAID


def test_long_and_foreign_words_of_variable_length(tmp_path, read):
    words = ["é" * 5000, "你好"]
    with h5py.File(tmp_path / "words.csd", "w") as file:
        file.create_dataset("words/data/a/features", data=words, dtype=h5py.string_dtype())
        file["words/data/a/intervals"] = np.array([[0.0, 1.0], [1.0, 2.0]])
    assert [word for _, _, word in read("words.csd")] == words


def test_many_rows_that_point_to_one_long_text_are_refused(tmp_path, read):
    one = tmp_path / "words.csd"
    with h5py.File(one, "w") as file:
        data = file.create_dataset("words/data/a/features", (4000,), h5py.string_dtype())
        data[0] = "x" * 60_000
        file["words/data/a/intervals"] = np.zeros((4000, 2))
        start = data.id.get_offset()
    raw = bytearray(one.read_bytes())
    pointer = raw[start : start + 16]
    raw[start : start + 16 * 4000] = pointer * 4000
    one.write_bytes(raw)
    with pytest.raises(ClipError, match="and more, but the whole file has"):
        read("words.csd")


@pytest.mark.parametrize("shape", [(2, 3), (2, 1, 1), ()])
def test_words_of_other_shapes_are_refused(tmp_path, read, shape):
    with h5py.File(tmp_path / "words.csd", "w") as file:
        file["words/data/a/features"] = np.full(shape, b"so", "S4")
        file["words/data/a/intervals"] = np.zeros((2, 2))
    with pytest.raises(ClipError, match="expected is one text for each row"):
        read("words.csd")


@pytest.mark.parametrize("id_", ["../outside", "/etc/passwd", "a/../../outside", "link/outside"])
def test_a_clip_cannot_name_a_file_outside_of_the_folder(tmp_path, id_):
    (tmp_path / "outside.align").write_text(GRID)
    root = tmp_path / "root"
    (root / "times").mkdir(parents=True)
    (root / "times/link").symlink_to(tmp_path)
    with pytest.raises(ClipError, match="leads out of"):
        create("text.word_times", {"path": "times/{id}.align"})(clip(id=id_), root)


def test_the_digest_knows_content_and_names(write, tmp_path):
    def digest(path):
        return create("text.word_times", {"path": path}).files_digest(tmp_path)

    first = write("times/a.align", GRID)
    one = digest("times/{id}.align")
    assert digest("times/{id}.align") == one
    write("times/note.txt", "of no interest")
    assert digest("times/{id}.align") == one
    assert digest("times/{stem}.align") != one
    second = write("times/b.align", GRID)
    two = digest("times/{id}.align")
    assert two != one
    second.write_text(GRID + "37500 40000 now\n")
    three = digest("times/{id}.align")
    assert three != two
    first.rename(first.with_name("c.align"))
    assert digest("times/{id}.align") not in {one, two, three}
    write("all.ctm", "a 1 0 1 so\n")
    alone = digest("all.ctm")
    write("all.ctm", "a 1 0 2 so\n")
    assert digest("all.ctm") != alone


def test_files_that_are_not_there_are_told_before_the_run(tmp_path):
    with pytest.raises(UsageError, match=r"no file like times/\{id\}.align below"):
        create("text.word_times", {"path": "times/{id}.align"}).files_digest(tmp_path)
    with pytest.raises(UsageError, match=r"no file all\.ctm below"):
        create("text.word_times", {"path": "all.ctm"}).files_digest(tmp_path)
    with pytest.raises(ClipError, match="cannot be read: No such file"):
        create("text.word_times", {"path": "{id}.align"})(clip(), tmp_path)


def test_unfit_options_are_told():
    ((path, message),) = check({"text.word_times": {"path": "{idd}.align"}})
    assert path == "text.word_times.path"
    assert "{idd} is unknown; there are {id}, {name}, {split}, {media}, {stem}" in message
    assert check({"text.word_times": {"path": "{id"}})
    with pytest.raises(UsageError, match="no suffix that tells its format"):
        create("text.word_times", {"path": "{id}.txt"})
    with pytest.raises(UsageError, match="one file for all clips"):
        create("text.word_times", {"path": "all.TextGrid"})
    assert create("text.word_times", {"path": "{id}.txt", "format": "ctm"}).config.kind == "ctm"


@pytest.mark.parametrize(
    ("words", "text", "spans"),
    [
        (["I'M", "GONNA", "go"], "I’m going to go.", [(0, 3), None, (13, 15)]),
        (["the", "the", "end"], "the, the end", [(0, 3), (5, 8), (9, 12)]),
        (["你好", "世", "界"], "你好，世界！", [(0, 2), (3, 4), (4, 5)]),
        (["uh", "so"], "so uh", [(3, 5), None]),
        (["so"], "", [None]),
    ],
)
def test_words_are_placed_whatever_their_case_and_punctuation(words, text, spans):
    timed = [TimedWord(number, number + 1, word) for number, word in enumerate(words)]
    assert [word.span for word in placed(timed, text)] == spans


def test_units_are_words_and_characters():
    said = "Twenty-one o'clock -- $3.50, 50%; U.S. 'quoted' e-mail カナ हिन्दी 3个 R&B"
    assert [unit.text for unit in units(said)] == [
        *["Twenty-one", "o'clock", "$3.50", "50%", "U", "S", "quoted", "e-mail", "カ", "ナ", "हिन्दी", "3", "个"],
        *["R", "&", "B"],
    ]
    assert all(said[unit.start : unit.end] == unit.text for unit in units(said))


@pytest.mark.parametrize("absent", ["", "NA", "nan", "None", "NULL"])
def test_an_absent_confidence_is_certain_and_a_word_is_what_it_is(write, tmp_path, absent):
    write("a.csv", f"word,start,end,confidence\nNone,0.5,0.75,{absent}\nnull,0.75,1.5,0.5\n")
    made = create("text.word_times", {"path": "{stem}.csv"})(clip(), tmp_path)
    assert made.notes["words"][-2:] == ["None", "null"]
    np.testing.assert_allclose(made.values[-2:, 0], [1.0, 0.5])
