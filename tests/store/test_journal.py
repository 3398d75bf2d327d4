"""The journal: what it reads, how often, and what it refuses."""

import pytest

from mse_pipeline.errors import MseError
from mse_pipeline.store import journal as module
from mse_pipeline.store.journal import Journal, JournalRow
from tests.store.conftest import STREAM, VERSION


def row(clip, **more):
    return JournalRow(clip=clip, stream=STREAM, version=VERSION, status="done", **more)


@pytest.fixture
def parts_read(monkeypatch):
    read = []
    before = module.read_many

    def counting(paths):
        read.extend(path.name for path in paths)
        return before(paths)

    monkeypatch.setattr(module, "read_many", counting)
    return read


def test_a_part_is_read_once_however_often_it_is_asked_for(tmp_path, parts_read):
    journal = Journal(tmp_path)
    journal.commit("1", [row("a")])
    assert journal.read() is journal.read()
    journal.commit("2", [row("b"), row("a", rows=7)])
    assert {clip: one.rows for (clip, _), one in journal.read().items()} == {"a": 7, "b": 0}
    assert parts_read == ["1.jsonl", "2.jsonl"]


def test_an_earlier_part_that_comes_late_does_not_hold_over_later_ones(tmp_path):
    journal = Journal(tmp_path)
    journal.commit("2", [row("a", rows=2)])
    journal.read()
    journal.commit("1", [row("a", rows=1), row("b")])
    assert journal.read()["a", VERSION].rows == 2
    assert len(journal.read()) == 2


def test_merged_parts_hold_in_the_place_of_the_last(tmp_path):
    journal = Journal(tmp_path)
    for name, rows in (("1", 1), ("2", 2)):
        journal.commit(name, [row("a", rows=rows)])
    merged = journal.parts()
    journal.commit("3", [row("a", rows=3)])
    journal.merge(merged, [row("a", rows=2), row("b")])
    assert [part.name for part in journal.parts()] == ["2-merged0001.jsonl", "3.jsonl"]
    assert Journal(tmp_path).read()["a", VERSION].rows == 3
    journal.merge(journal.parts()[:1], [row("a", rows=2), row("b")])
    assert [part.name for part in journal.parts()] == ["2-merged0002.jsonl", "3.jsonl"]


@pytest.mark.parametrize("message", ["two\u2028lines", "a\x85b", "\x1c", "new\nline", "你好"])
def test_a_message_of_any_characters_reads_back(tmp_path, message):
    Journal(tmp_path).commit("1", [row("a", message=message)])
    assert Journal(tmp_path).read()["a", VERSION].message == message


@pytest.mark.parametrize("shard", ["../../elsewhere.parquet", "/etc/passwd", "a/b", "a\\b"])
def test_a_shard_that_lies_elsewhere_is_refused(tmp_path, shard):
    Journal(tmp_path).commit("1", [row("a", shard=shard)])
    with pytest.raises(MseError, match="not the name of a shard"):
        Journal(tmp_path).read()


@pytest.mark.parametrize("line", ["[]", "1", "null", '{"clip": 1}', '{"nonsense": true}', '"text"', "\udcff"])
def test_lines_that_are_no_rows_are_told(tmp_path, line):
    (tmp_path / "1.jsonl").write_bytes(line.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(MseError, match="is damaged"):
        Journal(tmp_path).read()
