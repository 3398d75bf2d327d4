"""A pack: what it holds, when it is written anew, and what it refuses."""

import json

import h5py
import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.errors import MseError
from mse_pipeline.store.commit import begin_run
from mse_pipeline.store.manifest import StreamEntry
from mse_pipeline.store.pack import Pack
from mse_pipeline.store.packing import pack_stream
from mse_pipeline.training.normaliser import fit, fit_stream
from tests.store.conftest import STREAM, VERSION, commit, features

# What it is


def test_a_clip_is_a_slice_of_the_mapped_file(made):
    dataset = made()
    commit(dataset, "c0", "c1", "c2")
    pack_stream(dataset, STREAM)
    pack = dataset[STREAM]
    one = pack["c1"]
    assert np.shares_memory(one.values, pack.arrays["values"])
    assert np.shares_memory(one.intervals, pack.arrays["intervals"])
    assert not one.values.flags.writeable
    assert one.values.ctypes.data % 4 == one.intervals.ctypes.data % 8 == 0


def test_what_was_read_stays_after_the_pack_was_closed_and_replaced(made):
    dataset = made()
    commit(dataset, "c0", "c1")
    pack_stream(dataset, STREAM)
    pack = dataset[STREAM]
    one = pack["c1"]
    commit(dataset, "c2")
    pack_stream(dataset, STREAM)
    pack.close()
    assert one.equals(features(1))
    with pytest.raises(ValueError, match="closed"):
        pack["c1"]
    assert dataset[STREAM]["c1"].equals(features(1))


def test_a_pack_is_opened_once_for_a_dataset(made):
    dataset = made()
    commit(dataset, "c0")
    pack_stream(dataset, STREAM)
    assert dataset[STREAM] is dataset[STREAM]


def test_anyone_reads_it_with_hdf5_alone(made):
    dataset = made()
    commit(dataset, "c0", "c3")
    pack_stream(dataset, STREAM)
    with h5py.File(dataset.pack_path(STREAM)) as file:
        assert list(file["clips"].asstr()) == ["c0", "c3"]
        assert list(file["keys"].asstr()) == ["c0", "c3"]
        assert file["offsets"][:].tolist() == [0, 12, 24]
        np.testing.assert_array_equal(file["values"][12:24], features(3).values)
        np.testing.assert_array_equal(file["valid"][12:24], features(3).valid)


@pytest.mark.parametrize("rows", [1, 12])
def test_a_normaliser_of_its_statistics_is_that_of_its_values(made, rows):
    dataset = made(count=40)
    clips = [f"c{n}" for n in range(40)]
    commit(dataset, *clips, rows=rows)
    pack_stream(dataset, STREAM)
    pack = dataset[STREAM]
    assert ("mean" in pack.arrays) == (rows >= 8)  # where they take more room than values, they are not kept
    chosen = [*clips[::3], "absent"]
    by_statistics = fit_stream(pack, chosen)
    by_values = fit(pack[clip] for clip in clips[::3])
    np.testing.assert_allclose(by_statistics.mean, by_values.mean, rtol=1e-12)
    np.testing.assert_allclose(by_statistics.deviation, by_values.deviation, rtol=1e-12)
    assert by_statistics.rows == by_values.rows


# Its bytes


def test_its_bytes_depend_on_its_content_alone(made, tmp_path):
    straight, winding = made(cache=tmp_path / "one"), made(cache=tmp_path / "two")
    commit(straight, *(f"c{n}" for n in range(6)))
    begin_run(winding, "first")
    commit(winding, "c5", "c2", run="first")
    pack_stream(winding, STREAM)
    commit(winding, "c0", key="outdated")
    begin_run(winding, "second")
    commit(winding, "c4", "c0", "c1", run="second")
    pack_stream(winding, STREAM)
    commit(winding, "c3")
    for dataset in (straight, winding):
        assert pack_stream(dataset, STREAM)
    assert straight.pack_path(STREAM).read_bytes() == winding.pack_path(STREAM).read_bytes()


def test_its_bytes_are_the_same_whether_lengths_are_known_before_or_not(made, tmp_path):
    datasets = [made(cache=tmp_path / kind, alignment={"kind": kind}) for kind in ("none", "same")]
    for dataset in datasets:
        commit(dataset, "c0", "c1", "c5")
        pack_stream(dataset, STREAM)
    packs = [Pack(dataset.pack_path(STREAM)) for dataset in datasets]
    for name in packs[0].arrays:
        assert packs[0].arrays[name].tobytes() == packs[1].arrays[name].tobytes()


# When it is written


def test_only_what_is_new_is_read_from_shards(made, shards_read):
    dataset = made()
    commit(dataset, "c0", "c4")
    commit(dataset, "c1", "c3")
    assert pack_stream(dataset, STREAM)
    assert len(shards_read) == 2
    commit(dataset, "c2", "c5")
    shards_read.clear()
    assert pack_stream(dataset, STREAM)
    assert len(shards_read) == 1
    assert list(dataset[STREAM]) == [f"c{n}" for n in range(6)]
    assert all(one.equals(features(int(clip[1:]))) for clip, one in dataset[STREAM].items())
    shards_read.clear()
    assert not pack_stream(dataset, STREAM)
    assert not shards_read


def test_a_clip_with_another_key_is_read_again_and_one_that_is_gone_is_left_out(made, shards_read):
    dataset = made()
    commit(dataset, "c0", "c1")
    commit(dataset, "c2")
    pack_stream(dataset, STREAM)
    commit(dataset, "c2", key="changed", rows=5)
    store.open(dataset.path.parent).create("mine", dataset.clips[1:4], task=dataset.manifest.task)
    shards_read.clear()
    again = store.open(dataset.path.parent)["mine"]
    assert pack_stream(again, STREAM)
    assert len(shards_read) == 1
    assert {clip: len(one) for clip, one in again[STREAM].items()} == {"c1": 12, "c2": 5}


def test_a_pack_of_an_older_format_and_a_damaged_one_are_made_anew(made):
    dataset = made()
    commit(dataset, "c0")
    pack_stream(dataset, STREAM)
    whole = dataset.pack_path(STREAM).read_bytes()
    with h5py.File(dataset.pack_path(STREAM), "a") as file:
        file.attrs["format"] = 1
    assert pack_stream(dataset, STREAM)
    assert dataset.pack_path(STREAM).read_bytes() == whole
    dataset.pack_path(STREAM).write_bytes(whole[:-100])
    assert pack_stream(dataset, STREAM)
    assert dataset.pack_path(STREAM).read_bytes() == whole


def test_commits_of_other_streams_leave_it_current_and_its_note_is_brought_up_to_date(made, shards_read):
    dataset = made()
    commit(dataset, "c0")
    pack_stream(dataset, STREAM)
    note = dataset.pack_path(STREAM).with_suffix(".json")
    before = json.loads(note.read_text())
    commit(dataset, "c1", stream="visual.y", version="0" * 12)
    shards_read.clear()
    assert not pack_stream(dataset, STREAM)
    assert not shards_read
    after = json.loads(note.read_text())
    assert after["content"] == before["content"]
    assert after["state"]["journal"] == dataset.journal.fingerprint() != before["state"]["journal"]


def test_a_clip_that_cannot_be_aligned_is_left_out(made):
    dataset = made(alignment={"kind": "words", "stream": "text.words"})
    commit(dataset, "c0", "c1", "c2")
    pack_stream(dataset, STREAM, lambda clip, one: None if clip == "c1" else one)
    assert list(dataset[STREAM]) == ["c0", "c2"]


def test_rows_that_depend_on_another_stream_follow_its_changes(made):
    words, version = "text.words", "f" * 12
    dataset = made(alignment={"kind": "words", "stream": words, "pool": "mean"})
    dataset.set_manifest(dataset.manifest.with_stream(words, StreamEntry(version, {"stream": words})))
    commit(dataset, "c0", "c1", "c2")
    commit(dataset, "c0", "c1", stream=words, version=version)
    aligned = []

    def align(clip, one):
        aligned.append(clip)
        return one

    assert pack_stream(dataset, STREAM, align)
    assert not pack_stream(dataset, STREAM, align)
    commit(dataset, "c1", stream=words, version=version, key="changed")
    aligned.clear()
    assert pack_stream(dataset, STREAM, align)
    assert aligned == ["c1"]


def test_packs_on_different_clocks_have_short_names_of_their_own(made):
    alignments = [
        {"kind": "none"},
        {"kind": "grid", "step": 0.1},
        {"kind": "grid", "step": 0.2},
        {"kind": "words", "stream": "text.words"},
        {"kind": "words", "level": "text.words"},
        {"kind": "words", "stream": "../" * 200},
    ]
    names = []
    for alignment in alignments:
        dataset = made(alignment=alignment)
        names.append(dataset.pack_path(STREAM).name)
        assert dataset.pack_path(STREAM).parent == dataset.stream_folder(STREAM, VERSION)
    assert len(set(names)) == len(alignments)
    assert max(map(len, names)) < 40
    assert names[0] == "pack-none.h5"


# What it refuses


def replaced(name, **settings):
    """A change of a pack: one of its datasets is another."""

    def change(file):
        old = file[name][()] if name in file else None
        del file[name]
        if "maker" in settings:
            settings["maker"](file, name, old)
        else:
            file.create_dataset(name, **{"data": old, **settings})

    return change


def external(file, name, old):
    file.create_dataset(name, old.shape, old.dtype, external=[("secret.bin", 0, h5py.h5f.UNLIMITED)])


def virtual(file, name, old):
    layout = h5py.VirtualLayout(old.shape, old.dtype)
    layout[:] = h5py.VirtualSource("secret.h5", "values", old.shape)
    file.create_virtual_dataset(name, layout)


def linked(file, name, old):
    file[name] = h5py.ExternalLink("secret.h5", "values")


def soft(file, name, old):
    file[name] = h5py.SoftLink("/intervals")


def late(file, name, old):
    file.create_dataset(name, (1 << 40, 3), np.float32)  # claims terabytes, and holds none


def group(file, name, old):
    file.create_group(name)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (replaced("values", maker=external), "outside"),
        (replaced("values", maker=virtual), "outside"),
        (replaced("values", maker=linked), "outside"),
        (replaced("values", maker=soft), "outside"),
        (replaced("offsets", maker=external), "outside"),
        (replaced("values", maker=group), "not an HDF5 dataset"),
        (replaced("values", chunks=(4, 3)), "not contiguous"),
        (replaced("values", chunks=(4, 3), compression="gzip"), "not contiguous"),
        (replaced("offsets", chunks=(1,)), "not contiguous"),
        (replaced("values", maker=late), "beyond the end"),
        (replaced("values", data=np.zeros((36, 3))), "type float64"),
        (replaced("values", data=np.zeros((36, 3), "f4,f4")), "has the type"),
        (replaced("offsets", data=np.zeros(4, np.float32)), "has the type"),
        (replaced("clips", data=np.zeros(3, np.int64)), "list of texts"),
        (replaced("values", data=np.zeros((35, 3), np.float32)), "has the shape"),
        (replaced("mean", data=np.zeros((2, 3))), "has the shape"),
        (replaced("intervals", data=np.zeros((36, 3))), "has the shape"),
        (replaced("offsets", data=np.int64([0, 12, 24, 1 << 40])), "has the shape"),
        (replaced("offsets", data=np.int64([0, 24, 12, 36])), "rise from 0"),
        (replaced("offsets", data=np.int64([-12, 12, 24, 36])), "rise from 0"),
        (replaced("offsets", data=np.int64([0, 36])), "fit together"),
        (replaced("clips", data=["c0", "c0", "c1"], dtype=h5py.string_dtype()), "fit together"),
        (replaced("keys", data=["k"], dtype=h5py.string_dtype()), "fit together"),
        (lambda file: file.attrs.__setitem__("format", 1), "format 1, expected 2"),
        (lambda file: file.attrs.__setitem__("about", "[]"), "no JSON object"),
        (lambda file: file.attrs.__setitem__("about", "[" * 200_000), "recursion"),
        (lambda file: file.__delitem__("names"), "names"),
    ],
)
def test_a_file_that_is_not_what_it_claims_is_refused_before_it_is_mapped(made, change, told):
    dataset = made()
    commit(dataset, "c0", "c1", "c2")
    pack_stream(dataset, STREAM)
    path = dataset.pack_path(STREAM)
    (path.parent / "secret.bin").write_bytes(b"\1" * 4096)
    with h5py.File(path.parent / "secret.h5", "w") as file:
        file["values"] = np.ones((36, 3), np.float32)
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(MseError, match=told):
        Pack(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_short_is_told_and_kills_nothing(made, share):
    dataset = made()
    commit(dataset, *(f"c{n}" for n in range(6)), rows=2000)
    pack_stream(dataset, STREAM)
    path = dataset.pack_path(STREAM)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(MseError, match="cannot be read"):
        Pack(path)


def unchecked(path):
    """Make a pack one of an earlier version, which has no checksums."""
    with h5py.File(path, "a") as file:
        file.attrs["format"] = 2
        del file["checksums"], file.attrs["checksum"]


def test_bytes_that_are_no_truth_values_are_read_as_true(made):
    dataset = made()
    commit(dataset, "c0")
    pack_stream(dataset, STREAM)
    with h5py.File(dataset.pack_path(STREAM)) as file:
        place = file["valid"].id.get_offset()
    unchecked(dataset.pack_path(STREAM))
    with dataset.pack_path(STREAM).open("r+b") as file:
        file.seek(place)
        file.write(b"\x80" * 12)
    valid = Pack(dataset.pack_path(STREAM))["c0"].valid
    assert valid.view(np.uint8).tolist() == [1] * 12
