"""Tables as spreadsheets, pandas, R and people leave them: what is meant is read, what is not is told."""

from __future__ import annotations

import pytest

from mse_pipeline import corpora
from mse_pipeline.clip import Split
from mse_pipeline.corpora.table_cells import infer_task
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression
from tests.test_cells import PANDAS

HEADER = "id,media,split,text,label"


def table(root, *lines, header=HEADER, name="clips.csv", encoding="utf-8", task=None, **options):
    return read(root, "\n".join([header, *lines, ""]).encode(encoding), name=name, task=task, **options)


def read(root, content, name="clips.csv", task=None, **options):
    for file in "ab":
        (root / f"{file}.wav").touch()
    (root / name).write_bytes(content)
    return corpora.read("table", root, options, task=task)


def labels(corpus):
    return [clip.label for clip in corpus.clips]


def defects(corpus):
    return [(defect.code, defect.clip) for defect in corpus.defects]


# Absent values


@pytest.mark.parametrize("word", [*PANDAS, "", "NaT", "NAN", "none", "Null"])
def test_a_missing_label_makes_neither_a_class_nor_a_defect(tmp_path, word):
    numbers = table(tmp_path, "1,a.wav,train,x,1.5", f"2,b.wav,valid,y,{word}", "3,a.wav,test,z,-0.5")
    assert (numbers.task, labels(numbers)) == (Regression(-1.0, 2.0), [1.5, None, -0.5])
    words = table(tmp_path, "1,a.wav,train,x,joy", f"2,b.wav,valid,y,{word}", "3,a.wav,test,z,anger")
    assert (words.task, labels(words)) == (Classification(("anger", "joy")), ["joy", None, "anger"])
    assert not numbers.defects
    assert not words.defects
    assert "1 of 3 rows have no label." in words.notes


@pytest.mark.parametrize("word", ["nan", "NA", "None", "<NA>", "#N/A", "NULL"])
def test_a_missing_value_is_none_in_every_column(tmp_path, word):
    corpus = table(
        tmp_path,
        "1,a.wav,train,x,joy,0,1,Ann,d1,1,zh,1.5,sad",
        f"2,{word},train,{word},anger" + f",{word}" * 8,
        header=HEADER + ",start,end,speaker,dialogue,turn,language,label_text,label_face",
    )
    clip = corpus.clips[1]
    assert (clip.media, clip.text, clip.start, clip.end, clip.speaker) == (None, "", None, None, None)
    assert (clip.dialogue, clip.turn, clip.language, dict(clip.labels)) == (None, None, "en", {})
    assert dict(corpus.clips[0].labels) == {"text": 1.5, "face": "sad"}
    assert defects(corpus) == [("missing_media", "2")]
    assert any(f"{word!r} in column text (1 cell)" in note for note in corpus.notes)


@pytest.mark.parametrize("text", ["None.", "none", "Null", "Na", "None of us", "nan?", "NONE"])
def test_what_is_said_stays_said(tmp_path, text):
    corpus = table(tmp_path, f"1,a.wav,train,{text},joy,{text}", "2,b.wav,test,y,anger,Bo", header=HEADER + ",speaker")
    assert (corpus.clips[0].text, corpus.clips[0].speaker) == (text, text)
    assert not any("absent" in note for note in corpus.notes)


def test_a_class_that_is_called_none_is_one_where_the_task_names_it(tmp_path):
    rows = ("1,a.wav,train,x,none", "2,b.wav,test,y,anger", "3,b.wav,test,y,joy")
    assert labels(table(tmp_path, *rows, task=Classification(("none", "anger", "joy")))) == ["none", "anger", "joy"]
    corpus = table(tmp_path, *rows)
    assert labels(corpus) == [None, "anger", "joy"]
    assert any("'none' in column label (1 cell)" in note and "recipe's task names it" in note for note in corpus.notes)


def test_any_word_may_be_an_id(tmp_path):
    corpus = table(tmp_path, "None,a.wav,train,x,joy", "NA,b.wav,test,y,anger")
    assert [clip.id for clip in corpus.clips] == ["None", "NA"]


# Numbers


@pytest.mark.parametrize(
    ("delimiter", "cells"),
    [(";", ("1,5", "-0,5", "2,0")), ("\t", ("1,5", "-0,5", "2")), (",", ("1.5", "\u22120.5", "2.0"))],
)
def test_numbers_are_read_as_their_table_writes_them(tmp_path, delimiter, cells):
    rows = [delimiter.join((str(n), "a.wav", "train", "x", cell, cell)) for n, cell in enumerate(cells)]
    header = HEADER.replace(",", delimiter) + f"{delimiter}label_text"
    corpus = table(tmp_path, *rows, header=header)
    assert corpus.task == Regression(-1.0, 2.0)
    assert labels(corpus) == [1.5, -0.5, 2.0]
    assert [clip.labels["text"] for clip in corpus.clips] == [1.5, -0.5, 2.0]


def test_times_have_decimal_commas_too(tmp_path):
    corpus = table(
        tmp_path,
        "1;a.wav;train;x, y;joy;0,25;1,5",
        "2;b.wav;test;y;anger;\u22120,5;2",
        header=HEADER.replace(",", ";") + ";start;end",
    )
    assert [(clip.start, clip.end) for clip in corpus.clips] == [(0.25, 1.5), (0.0, 2.0)]
    assert corpus.clips[0].text == "x, y"


@pytest.mark.parametrize("cells", [('"1,5"', '"-0,5"'), ('"1,234.5"', "2"), ("1'000", "2"), ("1 000", "2 000")])
def test_numbers_of_an_unclear_notation_are_asked_about(tmp_path, cells):
    with pytest.raises(UsageError, match="reads like a number with a decimal comma or with thousands parted"):
        table(tmp_path, *(f"{n},a.wav,train,x,{cell}" for n, cell in enumerate(cells)))


def test_a_time_of_an_unclear_notation_is_told_with_the_mend(tmp_path):
    with pytest.raises(UsageError, match=r"start '1,000' is not a number of seconds; write it with a decimal point"):
        table(tmp_path, '1,a.wav,train,x,joy,"1,000"', "2,b.wav,test,y,anger,0", header=HEADER + ",start")


@pytest.mark.parametrize("cells", [("1", "2", "3"), ("0", "1", "1"), ("1.0", "2.0", "-1.0")])
def test_whole_numbers_are_told_as_what_they_are_taken_for_and_how_to_say_the_other(cells):
    task, note = infer_task(cells, "label")
    assert isinstance(task, Regression)
    assert "whole numbers" in note
    assert "classes: [" + ", ".join(f'"{n:g}"' for n in sorted(set(map(float, cells)))) + "]" in note


def test_classes_that_are_whole_numbers_are_found_in_what_pandas_makes_of_them(tmp_path):
    corpus = table(
        tmp_path, "1,a.wav,train,x,1.0", "2,b.wav,test,y,0.0", "3,b.wav,test,y,", task=Classification(("0", "1"))
    )
    assert labels(corpus) == ["1", "0", None]
    assert not corpus.defects


# Slips


def test_one_number_among_words_is_a_defect_of_its_row(tmp_path):
    corpus = table(
        tmp_path, "1,a.wav,train,x,joy", "2,b.wav,train,x,anger", "3,b.wav,train,x,0.5", "4,a.wav,test,x,joy"
    )
    assert corpus.task == Classification(("anger", "joy"))
    assert labels(corpus) == ["joy", "anger", None, "joy"]
    assert defects(corpus) == [("label_out_of_range", "3")]
    assert any("1 labels are numbers among words, as '0.5'" in note for note in corpus.notes)


@pytest.mark.parametrize("slip", ["?", "unknown", "#DIV/0!", '"1,5"', "1.5x"])
def test_one_word_among_numbers_is_a_defect_of_its_row(tmp_path, slip):
    corpus = table(
        tmp_path,
        "1,a.wav,train,x,1.5,2",
        f"2,b.wav,train,x,{slip},{slip}",
        "3,b.wav,test,x,-2,1",
        header=HEADER + ",label_text",
    )
    assert corpus.task == Regression(-2.0, 2.0)
    assert labels(corpus) == [1.5, None, -2.0]
    assert [dict(clip.labels) for clip in corpus.clips] == [{"text": 2.0}, {}, {"text": 1.0}]
    assert defects(corpus) == [("label_out_of_range", "2")] * 2


def test_numbers_and_words_in_equal_parts_are_asked_about():
    with pytest.raises(UsageError, match="holds numbers, as '1', and words, as 'anger', and many of both"):
        infer_task(["1", "joy", "2", "anger"], "label")


# What spreadsheets, pandas and R leave


PLAIN = b"id,media,split,text,label\n1,a.wav,train,x,joy\n2,b.wav,valid,y,anger\n"


@pytest.mark.parametrize(
    "content",
    [
        b"sep=;\nid;media;split;text;label\n1;a.wav;train;x;joy\n2;b.wav;valid;y;anger\n",
        b"\xef\xbb\xbfsep=;\r\nid;media;split;text;label\r\n1;a.wav;train;x;joy\r\n2;b.wav;valid;y;anger\r\n",
        b'"sep=,"\nid,media,split,text,label\n1,a.wav,train,x,joy\n2,b.wav,valid,y,anger\n',
        b"SEP=,,,,,\nid,media,split,text,label\n1,a.wav,train,x,joy\n2,b.wav,valid,y,anger\n",
        b"sep=|\nid|media|split|text|label\n1|a.wav|train|x|joy\n2|b.wav|valid|y|anger\n",
        b"sep=\t\nid\tmedia\tsplit\ttext\tlabel\n1\ta.wav\ttrain\tx\tjoy\n2\tb.wav\tvalid\ty\tanger\n",
        b"id,media,split,text,label,,\n1,a.wav,train,x,joy,,\n2,b.wav,valid,y,anger,,\n",
        b"id,media,split,text,label,,\n1,a.wav,train,x,joy\n2,b.wav,valid,y,anger,,,\n".replace(b"joy\n", b"joy,,\n"),
        b"id,media,split,text,label\n1,a.wav,train,x,joy,,\n2,b.wav,valid,y,anger\n,,,,\n\n",
        b",id,media,split,text,label\n0,1,a.wav,train,x,joy\n1,2,b.wav,valid,y,anger\n",
        b",Unnamed: 0,id,media,split,text,label\n0,0,1,a.wav,train,x,joy\n1,1,2,b.wav,valid,y,anger\n",
        b"Unnamed: 0.1,Unnamed: 0,id,media,split,text,label\n0,7,1,a.wav,train,x,joy\n1,8,2,b.wav,valid,y,anger\n",
        b'"","id","media","split","text","label"\n"1","1","a.wav","train","x","joy"\n"2","2","b.wav","valid","y","anger"\n',
        b"\xef\xbb\xbf\xef\xbb\xbf" + PLAIN,
        b"\xef\xbb\xbf" + PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\r"),
        b"\n\n" + PLAIN,
        b"id,media,split,text,label,note,note\n1,a.wav,train,x,joy,p,p\n2,b.wav,valid,y,anger,q,q\n",
        b"id,media,split,text,label,note,note\n1,a.wav,train,x,joy,p,q\n2,b.wav,valid,y,anger,q,r\n",
    ],
)
def test_what_programs_leave_in_a_table_is_not_taken_for_its_content(tmp_path, content):
    corpus = read(tmp_path, content)
    assert [(clip.id, clip.media, clip.split, clip.text, clip.label) for clip in corpus.clips] == [
        ("1", "a.wav", Split.TRAIN, "x", "joy"),
        ("2", "b.wav", Split.VALID, "y", "anger"),
    ]


def test_a_text_that_pushes_its_row_into_the_empty_columns_is_not_read_shifted(tmp_path):
    content = b"id,media,split,text,label,\n1,a.wav,train,x, y,joy\n2,b.wav,valid,y,anger,\n"
    with pytest.raises(UsageError, match=r"cells in a column without a name, in rows 2.*double quotes"):
        read(tmp_path, content)


@pytest.mark.parametrize("twin", ["id", "text", "label"])
def test_two_columns_of_one_name_that_differ_are_refused_where_they_are_needed(tmp_path, twin):
    with pytest.raises(UsageError, match=f"several columns named {twin}; rename all but one"):
        table(tmp_path, "1,a.wav,train,x,joy,other", "2,b.wav,test,y,anger,other", header=f"{HEADER},{twin}")


@pytest.mark.parametrize("suffix", ["xlsx", "xls", "ods", "xlsm", "XLSX", "numbers"])
@pytest.mark.parametrize("where", ["the root itself", "the option table", "clips in the root"])
def test_spreadsheets_are_refused_with_the_words_that_help(tmp_path, suffix, where):
    name = f"clips.{suffix}"
    (tmp_path / name).write_bytes(b"PK\x03\x04")
    root = tmp_path / name if where == "the root itself" else tmp_path
    options = {"table": name} if where == "the option table" else {}
    with pytest.raises(UsageError, match=r"spreadsheet, which is not read: save its sheet as a \.csv.*CSV UTF-8"):
        corpora.read("table", root, options)


@pytest.mark.parametrize(
    ("magic", "what"),
    [(b"PK\x03\x04rest", "workbook of Excel or"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old workbook")],
)
def test_a_spreadsheet_under_another_name_is_refused_too(tmp_path, magic, what):
    with pytest.raises(UsageError, match=rf"Table clips.csv is an? .*{what}.*CSV UTF-8".replace("an? .*", ".*")):
        read(tmp_path, magic)


@pytest.mark.parametrize("suffix", ["feather", "arrow", "pkl"])
def test_tables_of_other_libraries_are_refused_with_the_words_that_help(tmp_path, suffix):
    (tmp_path / f"clips.{suffix}").touch()
    with pytest.raises(UsageError, match=r"save it as one of \.csv, \.tsv, \.parquet"):
        corpora.read("table", tmp_path, {"table": f"clips.{suffix}"})


def test_a_parquet_table_under_another_name_is_read(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: [one, two] for name, one, two in zip(HEADER.split(","), "1atxj", "2btya", strict=True)}
    pq.write_table(pa.table({**columns, "split": ["train", "test"]}), tmp_path / "clips.csv")
    assert [clip.id for clip in corpora.read("table", tmp_path).clips] == ["1", "2"]


# Encodings and damage


@pytest.mark.parametrize("encoding", ["euc-kr", "cp949", "utf-16-le"])
def test_the_encoding_can_be_told(tmp_path, encoding):
    content = "\n".join([HEADER, "1,a.wav,train,네,joy", "2,b.wav,test,x,anger"]).encode(encoding)
    corpus = read(tmp_path, content, encoding=encoding)
    assert corpus.clips[0].text == "네"
    assert corpus.notes[0] == f"Table clips.csv was read as {encoding.replace('euc-kr', 'euc_kr')}, as requested."


def test_an_unknown_encoding_is_refused_with_the_nearest():
    problems = list(corpora.check({"corpus": {"name": "table", "options": {"encoding": "shift_jsi"}}}))
    assert problems[0][0] == "corpus.options.encoding"
    assert "did you mean shift_jis?" in problems[0][1]


ROWS = (
    "1,a.wav,train,我今天很高兴,joy,安娜,1",
    "2,b.wav,valid,你好世界,anger,波,2",
    "3,a.wav,train,今天天气不错,joy,安娜,3",
)
WIDE = HEADER + ",speaker,turn"


def damaged(find, put, row=1):
    lines = [line.encode() for line in (WIDE, *ROWS)]
    assert find in lines[row + 1]
    lines[row + 1] = lines[row + 1].replace(find, put, 1)
    return b"\n".join(lines)


@pytest.mark.parametrize(
    ("find", "put"),
    [
        ("世".encode(), b"\xe4\xb8"),
        ("世".encode(), b"\xff"),
        ("界".encode(), b"\xe7"),
        ("波".encode(), b"\x80"),
        ("世界".encode(), b"\xe4\xb8\xe7\x95"),
    ],
)
def test_damaged_bytes_cost_the_text_of_their_row_alone(tmp_path, find, put):
    corpus = read(tmp_path, damaged(find, put))
    assert [clip.text for clip in corpus.clips][::2] == ["我今天很高兴", "今天天气不错"]
    assert [clip.speaker for clip in corpus.clips][::2] == ["安娜", "安娜"]
    assert labels(corpus) == ["joy", "anger", "joy"]
    assert "\ufffd" in corpus.clips[1].text + corpus.clips[1].speaker
    assert defects(corpus) == [("text_repaired", "2")]
    assert "row 3 held damaged bytes" in corpus.defects[0].message


def test_a_damaged_label_is_no_class(tmp_path):
    corpus = read(tmp_path, damaged(b"joy", b"j\xffy", row=2))
    assert corpus.task == Classification(("anger", "joy"))
    assert labels(corpus) == ["joy", "anger", None]
    assert defects(corpus) == [("label_out_of_range", "3")]


def test_damaged_media_are_missing(tmp_path):
    corpus = read(tmp_path, damaged(b"b.wav", b"\xff.wav"))
    assert [clip.media for clip in corpus.clips] == ["a.wav", None, "a.wav"]
    assert defects(corpus) == [("missing_media", "2")]


@pytest.mark.parametrize(
    ("find", "put"),
    [
        (b"2,b", b"\xff,b"),
        (b"valid", b"v\xfflid"),
        (b"\xe6\xb3\xa2,2", b"\xe6\xb3\xa2,\xff"),
        (b",b.wav", b"\xffb.wav"),
        (b",anger", b"\xff\xfeanger"),
    ],
    ids=["id", "split", "turn", "delimiter", "delimiter in a text"],
)
def test_a_row_without_a_whole_id_or_split_is_left_out_and_told(tmp_path, find, put):
    corpus = read(tmp_path, damaged(find, put), task=Classification(("anger", "joy")))
    assert [(clip.id, clip.text) for clip in corpus.clips] == [("1", "我今天很高兴"), ("3", "今天天气不错")]
    assert defects(corpus) == [("undecodable", None)]
    assert corpus.defects[0].message.startswith("Row 3 is left out")


@pytest.mark.parametrize("quote", ["first", "last"])
def test_a_damaged_quote_costs_its_row_alone(tmp_path, quote):
    rows = (
        '1,a.wav,train,"Hi, you",joy',
        '2,b.wav,test,"Go, now",anger',
        '3,a.wav,test,"Oh, no",joy',
        "4,b.wav,train,好,anger",
    )
    sound = "\n".join([HEADER, *rows, ""]).encode()
    place = sound.index(b'"Go') if quote == "first" else sound.index(b'w"') + 1
    corpus = read(tmp_path, sound[:place] + b"\xff" + sound[place + 1 :])
    assert [(clip.id, clip.text) for clip in corpus.clips] == [("1", "Hi, you"), ("3", "Oh, no"), ("4", "好")]
    assert corpus.defects[0].message.startswith("Row 3 is left out")


# What was understood


def test_texts_of_another_language_are_remarked(tmp_path):
    rows = ("1,a.wav,train,今天天气不错,joy", "2,b.wav,test,Well done,anger", "3,b.wav,test,我 OK 的,anger")
    (note,) = [note for note in table(tmp_path, *rows).notes if "texts of language" in note]
    assert note.startswith("2 of 3 texts of language en are written in Chinese characters, as that of 1")
    (note,) = [note for note in table(tmp_path, *rows, language="zh").notes if "texts of language" in note]
    assert note.startswith("1 of 3 texts of language zh is written in Latin letters, as that of 2")
    assert "as en," in note


@pytest.mark.parametrize(
    ("language", "text", "remarked"),
    [
        ("en", "Ça alors été", False),
        ("de", "Grüß dich", False),
        ("en", "12!", False),
        ("en", "Привет", True),
        ("ru", "Привет", False),
        ("ja", "今日は", False),
        ("ja", "サヨナラ", False),
        ("ko", "안녕", False),
        ("ko", "你好", True),
        ("zh", "ＯＫ", True),
        ("el", "Ναι", False),
    ],
)
def test_a_script_fits_a_language_or_not(tmp_path, language, text, remarked):
    corpus = table(tmp_path, f"1,a.wav,train,{text},joy", "2,b.wav,test,,anger", language=language)
    assert any("texts of language" in note for note in corpus.notes) == remarked


def test_a_few_words_of_english_in_chinese_are_no_remark(tmp_path):
    rows = [f"{n},a.wav,train,今天天气不错,{'joy' if n % 2 else 'anger'}" for n in range(40)]
    corpus = table(tmp_path, *rows, "x,b.wav,test,OK,joy", language="zh")
    assert not any("texts of language" in note for note in corpus.notes)


@pytest.mark.parametrize("written", [",5", "\u200e0,5", "0,50", "+,5"])
def test_half_is_a_number_however_a_spreadsheet_of_semicolons_writes_it(tmp_path, written):
    header = HEADER.replace(",", ";")
    corpus = table(tmp_path, f"1;a.wav;train;x;{written}", "2;b.wav;valid;y;\u20141,", header=header)
    assert (labels(corpus), corpus.task) == ([0.5, -1.0], Regression(-1.0, 1.0))


def test_empty_columns_that_the_header_alone_counts_are_no_columns(tmp_path):
    corpus = table(tmp_path, "1,a.wav,train,x,joy", "2,b.wav,valid,y,anger,", header=HEADER + ",,")
    assert labels(corpus) == ["joy", "anger"]
    with pytest.raises(UsageError, match="another number of cells in rows 3"):
        table(tmp_path, "1,a.wav,train,x,joy", "2,b.wav,valid,y", header=HEADER + ",,")


@pytest.mark.parametrize(("name", "text"), [("iso2022_jp", "\u4eca\u65e5"), ("iso2022_kr", "\uc548\ub155")])
def test_an_encoding_of_escapes_is_no_ascii(tmp_path, name, text):
    corpus = table(tmp_path, f"1,a.wav,train,{text},joy", "2,b.wav,valid,y,anger", encoding=name)
    assert corpus.clips[0].text == text
    assert any("was read as iso2022_" in note for note in corpus.notes)


def test_one_zero_byte_costs_its_row_alone_in_a_short_table_too(tmp_path):
    corpus = table(tmp_path, "1,a.wav,train,he\0llo,joy", "2,b.wav,valid,y,anger")
    assert defects(corpus) == [("text_repaired", "1")]
    assert corpus.clips[1].text == "y"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html><html><title>Sign in</title></html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "a Git LFS pointer"),
        (b"\x1f\x8b\x08\0", "packed with gzip"),
    ],
    ids=["page", "pointer", "gzip"],
)
def test_what_a_broken_download_leaves_in_the_place_of_a_table_is_named(tmp_path, content, what):
    with pytest.raises(UsageError, match=what):
        read(tmp_path, content)


@pytest.mark.parametrize("damaged", [b"2,b.wav,valid,y,ang\xffer", b"2,b.wav\xffvalid,y,anger"])
def test_a_class_that_damage_has_cost_is_told(tmp_path, damaged):
    content = f"{HEADER}\n1,a.wav,train,\u4f60\u597d,joy\n".encode() + damaged + b"\n3,b.wav,test,y,joy\n"
    with pytest.raises(UsageError, match=r"one class only.* Labels were lost by damaged bytes \(rows 3\)"):
        read(tmp_path, content)
