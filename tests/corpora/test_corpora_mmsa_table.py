"""The label table that MOSI, MOSEI and SIMS share, in every state that it is passed around in."""

from __future__ import annotations

import csv

import pytest

from mse_pipeline.clip import Split
from mse_pipeline.corpora.mmsa_table import COLUMNS, clip_files, is_label_table, read_label_table
from mse_pipeline.errors import UsageError

HEADER = ",".join(COLUMNS)
ROW = "video_0001,0001,我不想,-1.0,-0.8,,0.2,Negative,train"


def table(tmp_path, *lines, encoding="utf-8", end="\n"):
    path = tmp_path / "label.csv"
    path.write_bytes((end.join(lines) + end).encode(encoding))
    return path


def test_a_row_carries_all_that_the_table_says(tmp_path):
    (row,) = read_label_table(table(tmp_path, HEADER, ROW))
    assert (row.number, row.video_id, row.clip_id, row.id) == (2, "video_0001", "0001", "video_0001$_$0001")
    assert (row.text, row.label, row.annotation, row.mode, row.split) == (
        "我不想",
        -1.0,
        "Negative",
        "train",
        Split.TRAIN,
    )
    assert row.modality_labels == {"text": -0.8, "visual": 0.2}
    assert not row.repaired


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_and_line_ends_make_no_difference(tmp_path, encoding, end):
    (row,) = read_label_table(table(tmp_path, HEADER, ROW, encoding=encoding, end=end))
    assert (row.video_id, row.text, row.mode) == ("video_0001", "我不想", "train")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("lines", [(HEADER, ROW), (ROW, ROW)])
def test_label_tables_are_told_by_their_content(tmp_path, encoding, lines):
    assert is_label_table(table(tmp_path, *lines, encoding=encoding))


@pytest.mark.parametrize(
    "line",
    ["Sr No.,Utterance,Speaker", "a,b,c,d,e,f,g,h,i", "", "v,1,text,0.5,,,,Positive,other", 'video_id,"clip_id'],
)
def test_other_files_are_no_label_tables(tmp_path, line):
    assert not is_label_table(table(tmp_path, line))
    assert not is_label_table(tmp_path / "absent.csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_come_in_any_order_and_some_may_lack(tmp_path, delimiter):
    path = table(tmp_path, delimiter.join(["Mode", "TEXT", "clip_id", "note", "video_id"]), delimiter.join("dxabv"))
    path.write_text(path.read_text().replace("d" + delimiter + "x", "val" + delimiter + "x"))
    (row,) = read_label_table(path)
    assert (row.video_id, row.clip_id, row.text, row.split, row.label) == ("v", "a", "x", Split.VALID, None)


@pytest.mark.parametrize(
    ("video", "clip"),
    [("-NFrJFQijFE", "0"), ("B1B71X_SmwY", "12"), ("_a_", "00042"), ("--a", "1"), ("100178", "7"), ("1e5", "01")],
)
@pytest.mark.parametrize("header", [True, False])
def test_ids_stay_as_they_are_written(tmp_path, video, clip, header):
    lines = [HEADER] * header + [f"{video},{clip},hi,0.5,,,,Positive,test"]
    (row,) = read_label_table(table(tmp_path, *lines))
    assert (row.video_id, row.clip_id) == (video, clip)
    assert row.number == len(lines)


def test_copies_without_a_header_keep_their_first_row(tmp_path):
    rows = read_label_table(table(tmp_path, ROW, ROW.replace("0001,0001", "0001,0002")))
    assert [(row.number, row.clip_id, row.label) for row in rows] == [(1, "0001", -1.0), (2, "0002", -1.0)]


def test_unsupervised_rows_have_no_labels(tmp_path):
    rows = read_label_table(table(tmp_path, HEADER, "aqgy1_0001,00000,好,,,,,,", "aqgy1_0001,00001,好,nan,,,,,"))
    assert [(row.label, row.modality_labels, row.mode, row.split) for row in rows] == [(None, {}, "", None)] * 2


@pytest.mark.parametrize("word", ["nan", "NA", "None", "null", "<NA>", "#N/A"])
def test_words_for_absent_values_are_none(tmp_path, word):
    (row,) = read_label_table(table(tmp_path, HEADER, ",".join(["v", "1", *[word] * 7])))
    assert (row.text, row.label, row.modality_labels, row.annotation, row.mode) == ("", None, {}, "", "")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_tables_of_wide_characters_are_told_and_read_too(tmp_path, encoding):
    path = table(tmp_path, HEADER, ROW, encoding=encoding)
    assert is_label_table(path)
    assert read_label_table(path)[0].text == "我不想"


def test_numbers_have_decimal_commas_where_semicolons_part_the_cells(tmp_path):
    lines = ("video_id;clip_id;text;label;label_T;mode", "v;1;x;-0,8;\u22121,0;train")
    (row,) = read_label_table(table(tmp_path, *lines))
    assert (row.label, row.modality_labels) == (-0.8, {"text": -1.0})


def test_texts_may_hold_commas_quotes_and_line_ends(tmp_path):
    rows = read_label_table(table(tmp_path, HEADER, 'v,1,"a, ""b""\nc",1,,,,Positive,train', "", "v,2,d,1,,,,,train"))
    assert [(row.number, row.text) for row in rows] == [(2, 'a, "b"\nc'), (4, "d")]


def test_encoding_damage_is_repaired_and_told(tmp_path):
    (row,) = read_label_table(table(tmp_path, HEADER, "v,1,don\x92t,1,,,,Positive,train"))
    assert (row.text, row.repaired) == ("don’t", True)


def test_an_unknown_mode_is_kept_for_the_corpus_to_judge(tmp_path):
    (row,) = read_label_table(table(tmp_path, HEADER, "v,1,x,1,,,,Positive,train_mix"))
    assert (row.mode, row.split) == ("train_mix", None)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEADER], "label.csv has no rows"),
        ([""], "label.csv is empty"),
        (["video_id,clip_id,label", "v,1,0"], "has no column text; it has video_id, clip_id, label"),
        (["video_id,clip_id,text,label,label", "v,1,x,0,1"], "several columns named label"),
        ([HEADER, "v,1,x,0.5"], r"4 cells instead of 9; put texts with commas into quotes \(row 2\)"),
        ([HEADER, "v,1,a, b,0.5,,,,Positive,train"], "10 cells instead of 9"),
        ([HEADER, "v,1,x,much,,,,Positive,train"], r"label 'much' is not a number \(row 2\)"),
        ([HEADER, "v,1,x,1,inf,,,Positive,train"], "label_T 'inf' is not a number"),
        ([HEADER, '"v,1,x,1,,,,Positive,train'], "is not valid CSV"),
        ([HEADER, ",1,x,1,,,,Positive,train"], "video_id '' is not a plain name"),
        ([HEADER, "v,,x,1,,,,Positive,train"], "clip_id '' is not a plain name"),
        ([HEADER, "../../etc,passwd,x,1,,,,Positive,train"], "video_id '../../etc' is not a plain name"),
        ([HEADER, "/etc,passwd,x,1,,,,Positive,train"], "video_id '/etc' is not a plain name"),
        ([HEADER, "..,1,x,1,,,,Positive,train"], r"video_id '\.\.' is not a plain name"),
        ([HEADER, "v,a\\b,x,1,,,,Positive,train"], "clip_id .* is not a plain name"),
        ([HEADER, f"{'v' * 101},1,x,1,,,,Positive,train"], "video_id 'v+' is not a plain name"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_rows(tmp_path, lines, message):
    with pytest.raises(UsageError, match=message):
        read_label_table(table(tmp_path, *lines), "label.csv")


def test_all_errors_of_a_table_are_told_at_once(tmp_path):
    with pytest.raises(UsageError) as error:
        read_label_table(table(tmp_path, HEADER, "v,1,x,a,,,,,train", "v,2,x,1,,,,", "../v,3,x,1,,,,,train"))
    assert all(part in str(error.value) for part in ("(row 2)", "(row 3)", "(row 4)"))


def test_files_that_cannot_be_tables_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"x\.csv cannot be read: No such file"):
        read_label_table(tmp_path / "x.csv")
    (tmp_path / "zero.csv").write_bytes(b"video_id,clip_id,text\nv\0,1,x\n")
    with pytest.raises(UsageError, match="zero bytes"):
        read_label_table(tmp_path / "zero.csv")
    monkeypatch.setattr("mse_pipeline.corpora.mmsa_table._MAX_BYTES", 10)
    with pytest.raises(UsageError, match="at most 10 are read"):
        read_label_table(table(tmp_path, HEADER, ROW))


def test_media_are_found_by_folder_and_name():
    paths = ["Raw/v_1/0001.mp4", "copy/Raw/v_1/0001.MP4", "Raw/v_1/0001.txt", "0001.mp4", "Raw/-a/3.wav"]
    assert clip_files(paths) == {("v_1", "0001"): [paths[0], paths[1]], ("-a", "3"): ["Raw/-a/3.wav"]}


@pytest.mark.parametrize(
    ("name", "counts"),
    [("mosei/label.csv", (16326, 1871, 4659)), ("simsv2/meta.csv", (2722, 647, 1034))],
)
def test_real_tables_are_read_whole(shared, name, counts):
    file = shared / "data" / name
    rows = read_label_table(file)
    assert tuple(sum(row.split == split for row in rows) for split in Split) == counts
    assert len({row.id for row in rows}) == len(rows)
    with file.open(encoding="utf-8-sig", newline="") as opened:
        written = [(record["video_id"], record["clip_id"], record["text"]) for record in csv.DictReader(opened)]
    assert [(row.video_id, row.clip_id, row.text) for row in rows] == written
    assert is_label_table(file)
