"""Features of several faces, of which a choice makes one row a frame wherever they are read."""

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import MseError
from mse_pipeline.store.candidates import FILE, Choice, Choices, pick, read_choices, write_choices
from mse_pipeline.store.commit import Commit
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.journal import JournalRow
from mse_pipeline.store.keys import stream_id
from mse_pipeline.store.manifest import StreamEntry
from mse_pipeline.store.packing import pack_stream
from mse_pipeline.store.pruning import compact, prune
from mse_pipeline.task import Classification

STREAM = "visual.faces"
IDENTITY = {"stream": STREAM, "revision": 1, "config": {"policy": "speaker"}, "model": None}


def candidates(frames=4, tracks=((0, 1, 2), (1, 3)), chosen=0):
    """Rows of tracks whose values are 10 times the track's number and the frame, behind empty ones."""
    notes = {
        "candidates": frames,
        "fallback": "largest: not compared with other clips",
        "tracks": [
            {"track": k, "chosen": k == chosen, "boxes": [[frame, 0.1, 0.1, 0.2, 0.2] for frame in track]}
            for k, track in enumerate(tracks)
        ],
    }
    places = [*range(frames), *(frame for track in tracks for frame in track)]
    values = [*([0.0] * frames), *(10.0 * (k + 1) + frame for k, track in enumerate(tracks) for frame in track)]
    intervals = np.stack([np.array(places), np.array(places) + 1], 1) / 5
    return store.Features(np.array(values)[:, None], intervals, np.arange(len(places)) >= frames, ("x",), notes)


@pytest.mark.parametrize(
    ("tracks", "values"),
    [
        (None, [10, 11, 12, 0]),
        ((1,), [0, 21, 0, 23]),
        ((), [0, 0, 0, 0]),
        ((0, 1), [10, 21, 12, 23]),
        ((7,), [0, 0, 0, 0]),
    ],
    ids=["as the notes say", "the other", "nobody", "both", "a track that is not there"],
)
def test_one_row_a_frame_is_made_of_the_tracks_that_count(tracks, values):
    picked = pick(candidates(), None if tracks is None else Choice("", tracks))
    assert picked.values.ravel().tolist() == values
    assert picked.valid.tolist() == [value > 0 for value in values]
    assert picked.intervals[:, 0].tolist() == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert "candidates" not in picked.notes
    assert [one["chosen"] for one in picked.notes["tracks"]] == [
        k in (tracks or (0,) * (tracks is None)) for k in (0, 1)
    ]
    assert ("fallback" in picked.notes) == (tracks is None)


def test_features_of_one_face_stay_as_they_are():
    plain = store.Features([[1.0]], [[0.0, 0.2]], [True], ("x",), {"tracks": [{"track": 0, "chosen": True}]})
    assert pick(plain) is plain
    assert pick(plain, Choice("", ())) is plain


@pytest.mark.parametrize(
    "notes",
    [
        {"candidates": 10},
        {"candidates": -1},
        {"candidates": "many"},
        {"tracks": None},
        {"tracks": [{"track": 0, "boxes": [[0]] * 4}]},
        {"tracks": [{"track": 0, "boxes": [[0]] * 4}, {"track": 1, "boxes": [[4]]}]},
        {"tracks": [{"track": 0, "boxes": [[0]] * 4}, {"track": 1, "boxes": [[-1]]}]},
        {"tracks": [{"track": 0}, {}]},
        {"tracks": [{"track": 0, "boxes": [[]]}]},
    ],
)
def test_notes_that_do_not_fit_the_rows_are_refused(notes):
    one = candidates(tracks=((0, 1, 2), (1, 3)))
    with pytest.raises(MseError, match="do not fit its rows"):
        pick(store.Features(one.values, one.intervals, one.valid, one.names, {**one.notes, "tracks": [], **notes}))


def test_choices_are_read_as_they_were_written(tmp_path):
    made = Choices(
        {"a/ü": Choice("k1", (0, 2), 5, 0.25, "unsure_speaker", "A guess."), "b": Choice("k2", ())},
        "hash",
        {"persons": [{"name": "Ünal"}]},
    )
    write_choices(tmp_path, made)
    assert read_choices(tmp_path) == made
    assert read_choices(tmp_path).digest == made.digest != Choices().digest == ""
    assert read_choices(tmp_path / "elsewhere") == Choices()
    write_choices(tmp_path, Choices(made_of="hash"))
    assert read_choices(tmp_path) == Choices(made_of="hash")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"format": 9}',
        '{"format": 1, "made_of": "", "about": {}, "clips": {"a": {"tracks": ["x"]}}}',
        '{"format": 1, "made_of": "", "about": {}, "clips": {"a": {"key": "", "tracks": [], "odd": 1}}}',
    ],
)
def test_a_damaged_file_of_choices_is_told(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(MseError, match="cannot be read"):
        read_choices(tmp_path)


@pytest.fixture
def dataset(tmp_path):
    """Three clips with two faces each, packed as the notes say."""
    clips = [Clip(id=name, split=Split.TRAIN, label="joy") for name in "abc"]
    made = store.open(tmp_path / "cache").create("mine", clips, task=Classification(("joy", "anger")))
    entry = StreamEntry(stream_id(IDENTITY), IDENTITY)
    made.set_manifest(made.manifest.with_stream(STREAM, entry))
    for name in "abc":
        commit = Commit(made, "run")
        commit.add(
            JournalRow(clip=name, stream=STREAM, version=entry.version, status="done", key=f"k{name}"), candidates()
        )
        commit.write()
    pack_stream(made, STREAM)
    return made


def shown(dataset, clip):
    """What is read of a clip: the same from the pack and from the shards, one by one and in order."""
    packed, native = dataset[STREAM][clip], dataset.native(STREAM)[clip]
    assert packed.equals(native)
    assert dict(dataset.native(STREAM).in_order())[clip].equals(native)
    return packed.values.ravel().tolist()


def test_without_a_choice_the_face_of_the_clip_alone_is_read(dataset):
    assert shown(dataset, "a") == [10, 11, 12, 0]
    assert [(row.rows, row.valid) for row in dataset.rows(STREAM)] == [(4, 3)] * 3


def test_a_choice_is_read_at_once_and_repacks_its_clips_alone(dataset, monkeypatch):
    chosen = {
        "a": Choice("ka", (1,), 2),
        "b": Choice("kb", (), 0, 0.3, "no_speaker", "Not seen."),
        "c": Choice("old", (1,)),
    }
    before = list(dataset[STREAM].clip_keys)
    dataset.set_choices(STREAM, Choices(chosen))
    read = []
    original = store.dataset.ShardView.in_order

    def spy(self, only=None):
        read.extend(sorted(only))
        return original(self, only)

    monkeypatch.setattr(store.dataset.ShardView, "in_order", spy)
    assert pack_stream(dataset, STREAM)
    monkeypatch.undo()
    assert read == ["a", "b"]
    assert [shown(dataset, clip) for clip in "abc"] == [[0, 21, 0, 23], [0] * 4, [10, 11, 12, 0]]
    after = list(dataset[STREAM].clip_keys)
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, False, True]
    assert not pack_stream(dataset, STREAM)
    fresh = Dataset(dataset.path)
    assert [shown(fresh, clip) for clip in "abc"] == [[0, 21, 0, 23], [0] * 4, [10, 11, 12, 0]]
    rows = {row.clip: (row.valid, row.code, row.message) for row in fresh.rows(STREAM)}
    assert rows == {"a": (2, None, None), "b": (0, "no_speaker", "Not seen."), "c": (3, None, None)}
    assert fresh.native(STREAM)["b"].notes["remark"] == "Not seen."


def test_a_choice_survives_compaction_and_pruning(dataset):
    dataset.set_choices(STREAM, Choices({"a": Choice("ka", (1,), 2)}))
    pack_stream(dataset, STREAM)
    compact(dataset)
    prune(dataset)
    assert shown(Dataset(dataset.path), "a") == [0, 21, 0, 23]


def test_choices_of_a_version_that_no_recipe_uses_go_with_it(dataset):
    dataset.set_choices(STREAM, Choices({"a": Choice("ka", (1,), 2)}))
    folder = dataset.stream_folder(STREAM, dataset.manifest.streams[STREAM].version)
    other = {**IDENTITY, "revision": 2}
    dataset.set_manifest(dataset.manifest.with_stream(STREAM, StreamEntry(stream_id(other), other)))
    prune(dataset)
    assert not folder.exists()
