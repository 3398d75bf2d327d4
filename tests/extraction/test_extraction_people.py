"""The policy `speaker`: rows of all faces are kept, and the speaker's are chosen when all clips are known."""

import json

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import MseError
from mse_pipeline.extraction.people import choose_people, guessed
from mse_pipeline.extraction.run import pack
from mse_pipeline.extractors.visual.people import to_text
from mse_pipeline.sample.scene import play
from mse_pipeline.sample.speaker import speaker
from mse_pipeline.store.commit import Commit
from mse_pipeline.store.journal import JournalRow
from mse_pipeline.store.keys import stream_id
from mse_pipeline.store.manifest import StreamEntry
from mse_pipeline.task import Classification
from tests.extractors.two_faces import side_by_side

pytestmark = pytest.mark.slow

STREAM = "visual.faces"
PEOPLE = {"Ann": np.eye(128)[0], "Bob": np.eye(128)[1], "Cid": np.eye(128)[2]}
SERIES = [
    *[("Ann", ["Ann"]), ("Bob", ["Bob"]), ("Ann", ["Bob", "Ann"]), ("Bob", ["Ann"])],
    *[("Ann", ["Ann"]), ("Bob", ["Bob"])] * 2,
]


def features(seen, frames=5, known=True, **notes):
    """A clip of some people, a track each; values are the track's number."""
    tracks = [
        {
            "track": k,
            "chosen": k == 0,
            "boxes": [[frame, 0.1, 0.1, 0.3, 0.4] for frame in range(frames)],
            **({"identity": to_text(PEOPLE[name])} if known else {}),
        }
        for k, name in enumerate(seen)
    ]
    values = np.repeat(np.arange(-1.0, len(seen)), frames)[:, None]
    edges = np.tile(np.arange(frames) / 5, len(seen) + 1)
    told = {"candidates": frames, "tracks": tracks, **notes}
    return store.Features(values, np.stack([edges, edges + 0.2], 1), values[:, 0] >= 0, ("track",), told)


@pytest.fixture
def made(tmp_path):
    """A dataset with a stream a configuration, of the same clips."""

    def make(series=SERIES, configs=({"policy": "speaker"},), **options):
        clips = [
            Clip(id=f"c{k}", split=Split.TRAIN, label="joy", speaker=name, dialogue="d")
            for k, (name, _) in enumerate(series)
        ]
        dataset = store.open(tmp_path / "cache").create("mine", clips, task=Classification(("joy", "anger")))
        for number, config in enumerate(configs):
            identity = {"stream": f"{STREAM}{number}", "config": config}
            entry = StreamEntry(stream_id(identity), identity)
            dataset.set_manifest(dataset.manifest.with_stream(f"{STREAM}{number}", entry))
            commit = Commit(dataset, "run")
            for clip, (_, seen) in zip(clips, series, strict=True):
                row = JournalRow(
                    clip=clip.id, stream=f"{STREAM}{number}", version=entry.version, status="done", key=f"k{clip.id}"
                )
                commit.add(row, features(seen, **options))
            commit.write()
        return dataset

    return make


def followed(dataset, stream=f"{STREAM}0"):
    """The followed track of each clip; None where there is none."""
    found = {}
    for clip in dataset[stream]:
        one = dataset[stream][clip]
        (track,) = set(one.values[one.valid].ravel().tolist()) or {None}
        found[clip] = track
    return found


def test_each_clip_shows_its_speaker_and_a_clip_without_its_speaker_shows_nobody(made):
    dataset = made()
    assert choose_people(dataset, {}) == ()
    assert pack(dataset) == [f"{STREAM}0"]
    assert followed(dataset) == {"c0": 0, "c1": 0, "c2": 1, "c3": None, "c4": 0, "c5": 0, "c6": 0, "c7": 0}
    codes = {row.clip: row.code for row in dataset.rows(f"{STREAM}0") if row.code}
    assert codes == {"c3": "no_speaker"}
    (row,) = (row for row in dataset.rows(f"{STREAM}0") if row.clip == "c3")
    assert "Bob, who speaks, is not seen" in row.message


def test_a_second_run_with_the_same_clips_chooses_nothing_anew(made):
    dataset = made()
    asked = []
    choose_people(dataset, {}, asked.append)
    choose_people(store.open(dataset.path.parent)["mine"], {}, asked.append)
    assert asked == [f"{STREAM}0"]


def test_streams_that_do_not_follow_the_speaker_are_left_alone(made):
    dataset = made(configs=({"policy": "largest"}, {"policy": "speaker"}, {}))
    asked = []
    choose_people(dataset, {}, asked.append)
    assert asked == [f"{STREAM}1"]


def test_streams_whose_faces_are_the_same_follow_the_same(made):
    dataset = made(configs=({"policy": "speaker"}, {"policy": "speaker", "rate": 5}))
    choose_people(dataset, {})
    pack(dataset)
    assert followed(dataset, f"{STREAM}0") == followed(dataset, f"{STREAM}1")


def test_what_a_person_says_repacks_the_clips_that_it_changes(made):
    dataset = made()
    choose_people(dataset, {})
    pack(dataset)
    before = dict(zip(dataset[f"{STREAM}0"], dataset[f"{STREAM}0"].clip_keys, strict=True))
    choose_people(dataset, {("c0", 0): "Bob", ("c1", 0): ""})
    assert pack(dataset) == [f"{STREAM}0"]
    assert followed(dataset)["c3"] == 0
    after = dict(zip(dataset[f"{STREAM}0"], dataset[f"{STREAM}0"].clip_keys, strict=True))
    assert {clip for clip in before if before[clip] != after[clip]} >= {"c3", "c1"}


def test_names_told_of_faces_that_a_clip_has_not_are_told_each_time(made):
    dataset = made()
    for _ in range(2):
        (said,) = choose_people(dataset, {("c0", 7): "Bob", ("c1", 0): "Bob"})
        assert said.endswith("and have no effect: track 7 of c0.")
    assert choose_people(dataset, {("c0", 0): "Ann"}) == ()


def test_a_face_that_was_asked_for_is_kept_and_tells_who_the_speaker_is(made):
    dataset = made([("Ann", ["Bob"])] * 3, asked_for=0)
    choose_people(dataset, {})
    pack(dataset)
    assert followed(dataset) == {"c0": 0, "c1": 0, "c2": 0}
    assert dataset.choices(f"{STREAM}0").clips == {}


@pytest.mark.parametrize(
    ("series", "options", "why"),
    [
        ([(None, ["Ann"])] * 3, {}, "no speaker is named"),
        (SERIES, {"known": False}, "its faces have no identity"),
    ],
)
def test_where_the_speaker_cannot_be_followed_the_largest_face_is_and_the_run_says_so(made, series, options, why):
    dataset = made(series, **options)
    (said,) = choose_people(dataset, {})
    assert said == f"{STREAM}0: the largest face of each clip is followed, not the speaker's: {why}."
    pack(dataset)
    assert set(followed(dataset).values()) == {0}


def test_clips_of_several_people_whose_speaker_is_a_guess_are_known(made):
    dataset = made([(None, ["Ann"]), (None, ["Bob", "Ann"]), (None, [])])
    choose_people(dataset, {})
    assert guessed(dataset, f"{STREAM}0") == ("c1",)
    known = made()
    choose_people(known, {})
    assert guessed(known, f"{STREAM}0") == ()
    largest = made([(None, ["Bob", "Ann"])], configs=({"policy": "largest"},))
    assert guessed(largest, f"{STREAM}0") == ()


@pytest.mark.parametrize(
    "track",
    [
        {"track": 0, "identity": "???", "boxes": [[0, 0, 0, 1, 1]]},
        {"track": 0, "identity": to_text(np.zeros(128)), "boxes": [[0, 0, 0, 1, 1]]},
        {"track": 0, "identity": to_text(np.eye(128)[0]), "boxes": [[0, 0]]},
        {"track": 0, "identity": to_text(np.eye(128)[0]), "boxes": []},
        {"track": "x", "identity": to_text(np.eye(128)[0]), "boxes": [[0, 0, 0, 1, 1]]},
    ],
)
def test_damaged_notes_are_told(made, track):
    dataset = made(SERIES[:1])
    folder = dataset.stream_folder(f"{STREAM}0", dataset.manifest.streams[f"{STREAM}0"].version)
    (shard,) = folder.glob("shard-*.parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(shard)
    notes = json.dumps({"candidates": 5, "tracks": [{"chosen": True, **track}]})
    pq.write_table(table.set_column(table.schema.get_field_index("notes"), "notes", pa.array([notes])), shard)
    with pytest.raises(MseError, match="The notes of c0 are damaged"):
        choose_people(dataset, {})


@pytest.fixture
def pairs(tmp_path):
    """Two clips of two drawn faces each, with a table that names speakers."""
    root = tmp_path / "corpus"
    root.mkdir()
    left, right = (list(play(speaker(0, seed), "neutral", seed=(seed,)).pictures)[:12] for seed in (1, 2))
    sound = play(speaker(0, 1), "neutral", seed=(1,)).samples
    lines = ["id,media,split,text,label,speaker"]
    for name, split, label in (("a", "train", "joy"), ("b", "test", "anger")):
        side_by_side(root / f"{name}.mp4", left, right, sound, 48_000)
        lines.append(f"{name},{name}.mp4,{split},hello,{label},Ann")
    (root / "clips.csv").write_text("\n".join(lines) + "\n")
    return root


def test_without_identities_rows_are_those_of_the_largest_face(pairs, recipe, run, tmp_path):
    options = {"extractor": "visual.geometry", "detector": "mtcnn", "identity": "none"}
    streams = {f"visual.{policy}": {"policy": policy, **options} for policy in ("speaker", "largest")}
    summary = run(recipe(streams=streams), pairs)
    assert any("not the speaker's: its faces have no identity" in one for one in summary.instead)
    assert summary.streams["visual.speaker"] == summary.streams["visual.largest"]
    dataset = store.open(tmp_path / "cache")["mine"]
    for clip in ("a", "b"):
        one, other = (dataset[stream][clip] for stream in streams)
        assert np.array_equal(one.valid, other.valid)
        assert np.allclose(one.values, other.values, atol=1e-5, equal_nan=True)
        assert np.array_equal(one.intervals, other.intervals)
