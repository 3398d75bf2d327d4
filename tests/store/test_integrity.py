"""Flipped bits: verify finds them and names their clips, nothing reads or copies them, and old caches are unchecked."""

import json
import random
import shutil

import h5py
import pyarrow.parquet as pq
import pytest

from mse_pipeline import store
from mse_pipeline.errors import MseError
from mse_pipeline.store.checksum import DamagedError, mended, seal, unseal
from mse_pipeline.store.hdf5 import inspect
from mse_pipeline.store.integrity import mend_texts, save_clips, verify
from mse_pipeline.store.journal import JournalRow
from mse_pipeline.store.pack import Pack
from mse_pipeline.store.packing import pack_stream
from mse_pipeline.store.pruning import compact
from mse_pipeline.store.shards import write_shard
from mse_pipeline.store.storage import put
from tests.store.conftest import STREAM, VERSION, commit, features
from tests.store.test_pack import unchecked

ENTRY = {"clip": "train/ä", "stream": STREAM, "rows": 12, "share": 1.5e10, "more": {"crc": "00000000"}}
LINE = (seal(ENTRY) + "\n").encode()
DOCUMENT = (seal(ENTRY, indent=2) + "\n").encode()


@pytest.fixture
def dataset(made):
    """Six clips in two shards, packed, and another stream beside it."""
    dataset = made()
    commit(dataset, "c0", "c1", "c2")
    commit(dataset, "c3", "c4", "c5", rows=900)
    pack_stream(dataset, STREAM)
    dataset.put("visual.y", {"c0": features(7)}, source={"format": "csd", "files": "y.csd"})
    return store.open(dataset.path.parent)["mine"]


def flip(path, place, bit=0):
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


def shards(dataset):
    """Shards by the clips that they hold."""
    found = {}
    for row in dataset.rows(STREAM):
        found.setdefault(dataset.stream_folder(STREAM, VERSION) / row.shard, []).append(row.clip)
    return {tuple(sorted(clips)): path for path, clips in found.items()}


def values(dataset):
    opened = store.open(dataset.path.parent)["mine"]
    return {
        (stream, kind, clip): (one.values.tobytes(), one.intervals.tobytes(), one.valid.tobytes(), one.names)
        for stream in opened
        for kind, view in (("native", opened.native(stream)), ("packed", opened[stream]))
        for clip, one in view.items()
    }


def region(dataset, name):
    """Where an array of the pack begins, and the bytes of one clip's rows in it."""
    return inspect(dataset.pack_path(STREAM)).regions[name].start


# Texts


@pytest.mark.parametrize("content", [LINE, DOCUMENT, LINE + LINE.replace(b"1", b"1")], ids=["line", "document", "two"])
def test_every_flipped_bit_of_a_sealed_text_is_found_and_set_back(content):
    def is_whole(text):
        if content is DOCUMENT:
            return unseal(text)[1]
        return all(unseal(line)[1] for line in text.split("\n") if line)

    assert is_whole(content.decode())
    for place in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            try:
                found = not (is_whole(changed.decode()) and changed.endswith(b"\n"))
            except ValueError:
                found = True
            assert found, (place, bit)
            if (place + bit) % 61 == 0:
                assert mended(bytes(changed)) == content, (place, bit)


@pytest.mark.parametrize("content", [b"", b"{}", LINE.replace(b"12", b"21"), b"x" * 1000, LINE[:-20]])
def test_what_was_changed_otherwise_is_not_guessed_at(content):
    assert mended(content) is None


def test_a_text_without_a_checksum_is_read_as_it_is():
    assert unseal('{"a": 1}') == ({"a": 1}, False)
    for text in ("[1]", "1", '"crc"'):
        with pytest.raises(ValueError, match="no JSON object"):
            unseal(text)


# What verify finds


def test_a_cache_without_damage_is_all_checked(dataset):
    found = verify(dataset)
    assert (found.damages, found.unchecked) == ((), {})
    assert found.features == 2 * (6 + 1)  # in shards and in packs
    # The manifest, clips, two commits and a put, three shards; two packs, their states and identities.
    assert found.files == 2 + 3 + 3 + 3 * 2


def place_in_shard(dataset):
    path = shards(dataset)["c3", "c4", "c5"]
    column = pq.ParquetFile(path).metadata.row_group(0).column(3)
    return path, column.data_page_offset + column.total_compressed_size - 40


def where(path, text, more=0):
    """Where a text stands in a file."""
    return path, path.read_bytes().index(text) + more


ALL = ("c0", "c1", "c2")
CASES = [
    ("values", lambda d: (d.pack_path(STREAM), region(d, "values") + 12 * 3 * 4 + 3), "pack", ("c1",)),
    ("intervals", lambda d: (d.pack_path(STREAM), region(d, "intervals") + 12 * 16 * 2), "pack", ("c2",)),
    ("valid", lambda d: (d.pack_path(STREAM), region(d, "valid") + 40), "pack", ("c3",)),
    ("statistics", lambda d: (d.pack_path(STREAM), region(d, "mean") + 3 * 8 * 5 + 7), "pack", ("c5",)),
    ("a checksum", lambda d: (d.pack_path(STREAM), region(d, "checksums") + 8 * 4), "pack", ("c4",)),
    ("the pack's first bytes", lambda d: (d.pack_path(STREAM), 1), "pack", ()),
    ("a clip's name in the pack", lambda d: where(d.pack_path(STREAM), b"c4"), "pack", ()),
    ("a page of a shard", place_in_shard, "shard", ("c5",)),
    ("the shard's last bytes", lambda d: (shards(d)[ALL], -1), "shard", ALL),
    ("a digit of the journal", lambda d: where(d.journal.parts()[0], b'"rows": 12', 8), "journal", ("c0",)),
    ("the end of a line", lambda d: where(d.journal.parts()[0], b"\n"), "journal", ("c0",)),
    ("the manifest", lambda d: where(d.path / "dataset.json", b"joy"), "manifest", ()),
    ("the clip table", lambda d: (d.path / "clips.parquet", 60), "clips", ()),
    ("an identity", lambda d: (d.stream_folder(STREAM, VERSION) / "stream.json", 8), "identity", ()),
    ("a pack's state", lambda d: (d.pack_path(STREAM).with_suffix(".json"), 30), "state", ()),
]


@pytest.mark.parametrize(("change", "kind", "clips"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_flipped_bit_is_found_with_its_stream_and_clips(dataset, change, kind, clips):
    path, place = change(dataset)
    flip(path, place)
    found = verify(store.open(dataset.path.parent)["mine"]).damages
    assert [(one.kind, one.path) for one in found if one.kind == kind] == [(kind, path)]
    one = next(one for one in found if one.kind == kind)
    assert one.clips == clips
    assert one.problem
    if kind in {"pack", "shard", "identity", "state"}:
        assert (one.stream, one.version) == (STREAM, VERSION)


def test_a_shard_that_is_gone_is_found(dataset):
    path = shards(dataset)[ALL]
    path.unlink()
    (one,) = verify(dataset).damages
    assert (one.path, one.clips) == (path, ALL)


def other_values(dataset):
    """A shard whose pages are whole, but which holds other values of one clip, and other names of none."""
    path = shards(dataset)[ALL]
    rows = [(f"c{n}", f"c{n}", features(n)) for n in range(3)]
    rows[1] = ("c1", "c1", features(9))
    write_shard(path, STREAM, rows)
    return path


def test_a_shard_of_other_values_is_found_by_the_journal(dataset):
    path = other_values(dataset)
    (one,) = verify(dataset).damages
    assert (one.path, one.clips) == (path, ("c1",))


def test_random_bits_are_found_or_leave_what_is_read_as_it_was(dataset, tmp_path):
    before = values(dataset), dataset.clips, dataset.manifest
    chance = random.Random(0)
    missed = []
    for path in sorted(path for path in dataset.path.rglob("*") if path.is_file() and path.stat().st_size):
        whole = path.read_bytes()
        for _ in range(6):
            place, bit = chance.randrange(len(whole)), chance.randrange(8)
            flip(path, place, bit)
            again = store.open(dataset.path.parent)["mine"]
            if not verify(again).damages and (values(again), again.clips, again.manifest) != before:
                missed.append((path.name, place, bit))
            path.write_bytes(whole)
    assert not missed


@pytest.mark.parametrize(("stream", "version"), [("../../..", "a" * 12), ("..", "a" * 12), (STREAM, "../../elsewhere")])
def test_a_journal_that_names_a_place_outside_is_not_followed(dataset, stream, version):
    outside = JournalRow(clip="c0", stream=stream, version=version, status="done", key="c0", shard="shard-x.parquet")
    dataset.journal.commit(dataset.journal.next_name("stranger"), [outside])
    assert verify(dataset).damages == ()
    assert verify(dataset).files == 2 + 4 + 3 + 3 * 2


# What reads nothing that is damaged


def test_reading_a_damaged_row_names_clip_stream_file_and_mend(dataset):
    flip(dataset.pack_path(STREAM), region(dataset, "values") + 12 * 3 * 4 + 3, 6)
    pack = store.open(dataset.path.parent)["mine"][STREAM]
    assert pack["c0"].equals(features(0))
    told = rf"{STREAM} of the clip 'c1' in the pack .*pack-none.h5 is damaged.*mse cache verify mine --repair"
    with pytest.raises(DamagedError, match=told):
        pack["c1"]
    flip(*place_in_shard(dataset))
    with pytest.raises(DamagedError, match=rf"{STREAM} of the clip 'c4' in the shard .*mse cache verify mine --repair"):
        dataset.native(STREAM)["c4"]


def test_damaged_statistics_normalise_nothing(dataset):
    flip(dataset.pack_path(STREAM), region(dataset, "spread") + 3 * 8 * 2)
    pack = Pack(dataset.pack_path(STREAM))
    assert len(list(pack.statistics(["c0", "c1"]))) == 1
    with pytest.raises(DamagedError, match="'c2'"):
        list(pack.statistics(["c1", "c2"]))


def test_packing_copies_no_damaged_row_from_the_pack_before(dataset, shards_read):
    whole = dataset.pack_path(STREAM).read_bytes()
    flip(dataset.pack_path(STREAM), region(dataset, "values") + 12 * 3 * 4 + 3, 6)
    shards_read.clear()
    assert pack_stream(dataset, STREAM, anew=True)
    assert len(shards_read) == 1  # that of the damaged clip
    assert dataset.pack_path(STREAM).read_bytes() == whole


def test_packing_and_merging_read_no_damaged_shard(dataset):
    before = dataset.pack_path(STREAM).read_bytes()
    other_values(dataset)
    commit(dataset, "c0", key="newer")
    dataset.pack_path(STREAM).unlink()
    with pytest.raises(DamagedError, match="'c1'"):
        pack_stream(dataset, STREAM)
    dataset.pack_path(STREAM).write_bytes(before)
    with pytest.raises(MseError, match="Run: mse cache verify mine --repair"):
        compact(dataset)


def test_a_pack_without_checksums_is_read_but_not_copied_from(dataset, shards_read):
    whole = dataset.pack_path(STREAM).read_bytes()
    unchecked(dataset.pack_path(STREAM))
    assert dataset[STREAM]["c3"].equals(features(3, rows=900))
    assert verify(dataset).unchecked == {"pack": 1}
    shards_read.clear()
    assert pack_stream(dataset, STREAM, anew=True)
    assert len(shards_read) == 2
    assert dataset.pack_path(STREAM).read_bytes() == whole


def test_what_earlier_versions_wrote_is_read_and_told_as_unchecked(dataset):
    before = values(dataset)
    for part in dataset.journal.parts():
        rows = [unseal(line)[0] for line in part.read_text().splitlines()]
        plain = [{key: value for key, value in row.items() if key != "checksum"} for row in rows]
        part.write_text("".join(json.dumps(row) + "\n" for row in plain))
    for path in dataset.path.rglob("*.json"):
        value, _ = unseal(path.read_text())
        path.write_text(json.dumps({**value, "format": 1} if path.name == "dataset.json" else value))
    for path in (dataset.path / "clips.parquet", *shards(dataset).values()):
        table = pq.read_table(path)
        kept = {key: value for key, value in (table.schema.metadata or {}).items() if key != b"mse.checksum"}
        pq.write_table(table.replace_schema_metadata(kept), path)
    for path in dataset.path.rglob("*.h5"):
        unchecked(path)
    found = verify(store.open(dataset.path.parent)["mine"])
    assert found.damages == ()
    assert found.unchecked == {
        "journal": 3,
        "manifest": 1,
        "clips": 1,
        "shard": 3,
        "identity": 2,
        "state": 2,
        "pack": 2,
    }
    assert values(dataset) == before


# What can be mended without the raw files


def reopened(dataset):
    return store.open(dataset.path.parent)["mine"]


@pytest.mark.parametrize("kind", ["journal", "manifest", "identity", "state"])
def test_a_flipped_bit_of_a_text_is_set_back(dataset, kind):
    for path, place in (case[1](dataset) for case in CASES if case[2] == kind):
        whole = path.read_bytes()
        flip(path, place)
        mend_texts(dataset, verify(reopened(dataset)).damages)
        assert path.read_bytes() == whole
    assert verify(reopened(dataset)).damages == ()


def test_a_byte_that_became_the_end_of_a_line_is_set_back(dataset):
    part = dataset.journal.parts()[0]
    whole = part.read_bytes()
    flip(part, whole.index(b"J") if b"J" in whole else whole.index(b"*") if b"*" in whole else whole.index(b"\n"), 6)
    mend_texts(dataset, verify(reopened(dataset)).damages)
    assert part.read_bytes() == whole


def test_a_line_that_is_lost_is_found_again_in_its_shard(dataset):
    before = values(dataset)
    part = dataset.journal.parts()[0]
    first, *others = part.read_bytes().splitlines(keepends=True)
    part.write_bytes(b"\x00" * len(first.strip()) + b"\n" + b"".join(others))
    mend_texts(dataset, verify(reopened(dataset)).damages)
    again = reopened(dataset)
    assert verify(again).damages == ()
    assert values(again) == before
    row = again.journal.read()["c0", VERSION]
    assert (row.key, row.rows, row.mtime_ns) == ("c0", 12, None)  # the next run looks at its media file again


def test_of_a_damaged_shard_the_other_clips_move_on_and_the_pack_gives_back_the_damaged_ones(dataset):
    before = values(dataset)
    path, place = place_in_shard(dataset)
    flip(path, place)
    assert save_clips(dataset, verify(dataset).damages) == []
    assert values(dataset) == before
    assert verify(dataset).damages == ()


def test_without_a_pack_only_the_damaged_clips_are_lost(dataset):
    path, place = place_in_shard(dataset)
    flip(path, place)
    dataset.pack_path(STREAM).unlink()
    assert [row.clip for row in save_clips(dataset, verify(dataset).damages)] == ["c5"]
    assert dataset.native(STREAM)["c3"].equals(features(3, rows=900))


# Object storage


@pytest.mark.slow
def test_on_object_storage_the_pack_and_this_machine_s_copy_are_both_looked_at(made, s3_cache, tmp_path):
    dataset = made(cache=s3_cache)
    commit(dataset, "c0", "c1")
    pack_stream(dataset, STREAM)
    found = verify(dataset)
    assert (found.damages, found.files) == ((), 7)
    dataset[STREAM].close()
    (copy,) = (tmp_path / "copies").iterdir()
    place = inspect(copy).regions["values"].start + 3
    shutil.copy(copy, tmp_path / "whole")
    flip(copy, place)
    (one,) = verify(dataset).damages
    assert (one.kind, one.path, one.clips) == ("copy", copy, ("c0",))
    put(dataset.pack_path(STREAM), copy.read_bytes())
    (one,) = (one for one in verify(dataset).damages if one.kind == "pack")
    assert (str(one.path), one.clips) == (str(dataset.pack_path(STREAM)), ("c0",))
    with pytest.raises(DamagedError, match=r"'c0' in the pack s3://.* mse cache verify mine --repair"):
        store.open(s3_cache)["mine"][STREAM]["c0"]


def test_a_pack_s_file_says_of_itself_what_is_needed_to_check_it(dataset):
    """Anyone's zlib and HDF5 can."""
    import zlib

    with h5py.File(dataset.pack_path(STREAM)) as file:
        begin, end = file["offsets"][1:3]
        parts = (file[name][begin:end].tobytes() for name in ("values", "intervals", "valid"))
        assert zlib.crc32(b"".join(parts)) == file["checksums"][1, 0]
        parts = (file[name][1].tobytes() for name in ("count", "mean", "spread"))
        assert zlib.crc32(b"".join(parts)) == file["checksums"][1, 1]
