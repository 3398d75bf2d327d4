"""Parquet tables hold texts, numbers and times in many Arrow types; each is read, or refused by its name."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mse_pipeline import corpora
from mse_pipeline.corpora.table_file import Unreadable, to_cells
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression

BASE = {
    "id": ["1", "2"],
    "media": ["a.wav", "a.wav"],
    "split": ["train", "valid"],
    "text": ["你好", "y"],
    "label": ["joy", "anger"],
}
PARIS, SHANGHAI = "Europe/Paris", "Asia/Shanghai"


def read(root, arrays, **options):
    (root / "a.wav").touch()
    pq.write_table(pa.table({**BASE, **arrays}), root / "clips.parquet")
    return corpora.read("table", root, options)


def stamps(kind, *times, day=(2024, 5, 1)):
    return pa.array([dt.datetime(*day, *time) for time in times], kind)


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()],
    ids=str,
)
@pytest.mark.parametrize("dictionary", [False, True])
def test_texts_of_every_type_are_read(tmp_path, kind, dictionary):
    as_bytes = "binary" in str(kind)
    arrays = {
        name: pa.array([text.encode() if as_bytes else text for text in texts], kind) for name, texts in BASE.items()
    }
    if dictionary and "view" not in str(kind):
        arrays = {name: array.dictionary_encode() for name, array in arrays.items()}
    corpus = read(tmp_path, arrays)
    assert [(clip.id, clip.media, clip.text, clip.label) for clip in corpus.clips] == [
        ("1", "a.wav", "你好", "joy"),
        ("2", "a.wav", "y", "anger"),
    ]
    assert corpus.task == Classification(("anger", "joy"))


def test_texts_of_a_fixed_size_are_read_without_their_padding(tmp_path):
    corpus = read(tmp_path, {"label": pa.array([b"joy\0\0", b"anger"], pa.binary(5))})
    assert [clip.label for clip in corpus.clips] == ["joy", "anger"]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        *(
            (pa.array([0, 5 * unit], pa.duration(name)), pa.array([5 * unit, 9 * unit], pa.duration(name)))
            for name, unit in (("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000))
        ),
        *(
            (pa.array([dt.time(0), dt.time(0, 0, 5)], kind), pa.array([dt.time(0, 0, 5), dt.time(0, 0, 9)], kind))
            for kind in (pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"))
        ),
        *(
            (
                pa.array([0, 5 * unit], pa.timestamp(name, zone)),
                pa.array([5 * unit, 9 * unit], pa.timestamp(name, zone)),
            )
            for name, unit in (("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000))
            for zone in (None, "UTC", SHANGHAI)
        ),
        *(
            (
                stamps(pa.timestamp("us"), (0, 0, 0), (0, 0, 5), day=day),
                stamps(pa.timestamp("us"), (0, 0, 5), (0, 0, 9), day=day),
            )
            for day in ((1900, 1, 1), (1899, 12, 30), (2024, 5, 1))
        ),
        *(
            (pa.array([0, 5], kind), pa.array([5, 9], kind))
            for kind in (pa.int8(), pa.uint16(), pa.int64(), pa.float16(), pa.float32(), pa.float64())
        ),
        (
            pa.array([Decimal("0.00"), Decimal("5.00")], pa.decimal128(5, 2)),
            pa.array([Decimal("5.00"), Decimal("9.00")], pa.decimal256(5, 2)),
        ),
        (pa.array(["0", "5.0"]), pa.array(["5", "9"])),
        (pa.array(["0", "5"]).dictionary_encode(), pa.array([5.0, 9.0]).dictionary_encode()),
    ],
    ids=lambda array: str(array.type),
)
def test_spans_of_every_type_are_seconds(tmp_path, start, end):
    corpus = read(tmp_path, {"start": start, "end": end})
    assert [(clip.start, clip.end) for clip in corpus.clips] == [(0.0, 5.0), (5.0, 9.0)]


def test_times_of_day_in_a_zone_are_those_of_its_clocks(tmp_path):
    local = stamps(pa.timestamp("ms"), (0, 0, 1), (0, 1, 0))
    zoned = pa.compute.assume_timezone(local, PARIS)
    corpus = read(tmp_path, {"start": zoned})
    assert [clip.start for clip in corpus.clips] == [1.0, 60.0]


def test_times_beyond_a_day_count_on_from_the_day_of_no_day(tmp_path):
    corpus = read(tmp_path, {"start": pa.array([90_000, 1], pa.timestamp("s"))})
    assert [clip.start for clip in corpus.clips] == [90_000.0, 1.0]


def test_fractions_of_a_second_are_kept(tmp_path):
    corpus = read(tmp_path, {"start": pa.array([1_250_000_000, 1], pa.duration("ns"))})
    assert [clip.start for clip in corpus.clips] == [1.25, 1e-9]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([None, None], pa.null()),
        pa.array([None, None], pa.duration("ms")),
        pa.array([None, None], pa.timestamp("us", PARIS)),
        pa.array([float("nan"), None]),
        pa.array([float("nan"), None], pa.float32()),
        pa.array(["NaT", "<NA>"]),
        pa.array(["", "None"]),
    ],
    ids=lambda array: str(array.type),
)
def test_spans_without_values_are_none(tmp_path, column):
    assert [clip.start for clip in read(tmp_path, {"start": column}).clips] == [None, None]


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64(), pa.decimal128(4, 2)], ids=str)
def test_numbers_of_every_width_are_what_was_meant(tmp_path, kind):
    values = [Decimal("0.10"), Decimal("-1.50")] if "decimal" in str(kind) else [0.1, -1.5]
    corpus = read(tmp_path, {"label": pa.array(values, kind)})
    # Of half width 0.1 has three digits, which is what NumPy writes too.
    assert [clip.label for clip in corpus.clips] == [0.1, -1.5]
    assert corpus.task == Regression(-2.0, 1.0)


def test_truth_values_are_classes(tmp_path):
    assert read(tmp_path, {"label": [True, False]}).task == Classification(("False", "True"))


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([[1.0], [2.0]]), "list<"),
        (pa.array([["a"], ["b"]], pa.list_(pa.string(), 1)), "fixed_size_list<"),
        (pa.array([{"a": 1}, {"a": 2}]), "struct<"),
        (pa.array([[("a", 1)], [("b", 2)]], pa.map_(pa.string(), pa.int64())), "map<"),
        (pa.array([b"\xff\xd8\xff\xe0", b"\x89PNG\xff"]), "binary, whose bytes are not text in utf-8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("name", ["text", "label", "start", "speaker", "label_visual"])
def test_a_column_that_is_needed_and_cannot_be_read_is_refused_by_its_type(tmp_path, column, kind, name):
    with pytest.raises(UsageError) as error:
        read(tmp_path, {name: column})
    assert f"column {name} is of the type " in str(error.value)
    assert kind in str(error.value)


def test_a_renamed_column_is_refused_by_its_type(tmp_path):
    with pytest.raises(UsageError, match="column words is of the type list"):
        read(tmp_path, {"words": [["a"], ["b"]]}, columns={"text": "words"})


def test_a_column_that_nobody_needs_is_left_aside_and_told(tmp_path):
    corpus = read(tmp_path, {"embedding": [[1.0], [2.0]], "text": ["a", "b"]})
    assert any("column embedding is ignored; it is of the type list<" in note for note in corpus.notes)


def test_points_in_time_of_several_days_are_no_seconds(tmp_path):
    start = pa.array([dt.datetime(2024, 5, 1, 23, 59), dt.datetime(2024, 5, 2)], pa.timestamp("us"))
    with pytest.raises(UsageError, match=r"column start is of the type .* points in time of several days"):
        read(tmp_path, {"start": start})


def test_a_damaged_byte_in_a_text_costs_its_row_alone(tmp_path):
    column = pa.array(["我今天很高兴".encode(), "你好".encode()[:-1]], pa.binary())
    # Parquet's own text type is not checked when it is written either.
    for kind in (pa.binary(), pa.string()):
        corpus = read(tmp_path, {"text": column.view(kind) if kind == pa.string() else column})
        assert [clip.text for clip in corpus.clips] == ["我今天很高兴", "你\ufffd"]
        assert [(defect.code, defect.clip) for defect in corpus.defects] == [("text_repaired", "2")]


def test_bytes_are_read_in_the_encoding_that_is_told(tmp_path):
    column = pa.array(["안녕".encode("euc-kr"), "네".encode("euc-kr")])
    with pytest.raises(UsageError, match="not text in utf-8"):
        read(tmp_path, {"text": column})
    assert read(tmp_path, {"text": column}, encoding="euc-kr").clips[0].text == "안녕"


def test_extension_types_are_read_as_what_they_store():
    class Word(pa.ExtensionType):
        def __init__(self):
            super().__init__(pa.string(), "mse.test.word")

        def __arrow_ext_serialize__(self):
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage_type, serialized):
            return cls()

    column = pa.chunked_array([pa.ExtensionArray.from_storage(Word(), pa.array(["joy", None]))])
    assert to_cells(column) == ["joy", ""]


def test_runs_are_read_as_their_values():
    runs = pa.RunEndEncodedArray.from_arrays([2, 3], ["joy", "anger"])
    assert to_cells(pa.chunked_array([runs])) == ["joy", "joy", "anger"]


def test_intervals_of_months_are_no_seconds():
    with pytest.raises(Unreadable, match="interval"):
        to_cells(pa.chunked_array([pa.array([(1, 2, 3)], pa.month_day_nano_interval())]))
