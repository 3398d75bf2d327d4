import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.store.where import FACE, MEASURES, SOUND, is_of_quality, select
from mse_pipeline.task import Classification

SOUND_NAMES = ("loudness", "level", "peak", "clipped_share", "snr")
FACE_NAMES = ("face_size", "face_sharpness", "face_brightness", "face_contrast")


def sound(snr, seconds=2.0):
    values = np.array([[-23.0, -20.0, -1.0, 0.0, snr]])
    return store.Features(values, np.array([[0.0, seconds]]), np.array([True]), SOUND_NAMES)


def face(*sizes):
    """A row a frame; None for a frame without a face."""
    values = np.array([[size or 0.0, 80.0, 0.5, 0.2] for size in sizes])
    edges = np.arange(len(sizes) + 1) * 0.2
    valid = np.array([size is not None for size in sizes])
    return store.Features(values, np.stack([edges[:-1], edges[1:]], 1), valid, FACE_NAMES)


@pytest.fixture
def dataset(tmp_path):
    """Five clips; c3's noise is not defined, c4 was not measured."""
    clips = [
        Clip(
            id=f"c{n}",
            split=(Split.TRAIN, Split.TRAIN, Split.VALID, Split.TEST, Split.TEST)[n],
            text="hi",
            speaker="Ann" if n % 2 else None,
            label=("joy", "fear")[n % 2],
            labels={"sentiment": float(n)},
            start=0.0 if n < 2 else None,
            end=1.0 + n if n < 2 else None,
        )
        for n in range(5)
    ]
    made = store.open(tmp_path).create("mine", clips, task=Classification(("joy", "fear")), source={"recipe": "meld"})
    made.put(SOUND, {"c0": sound(30), "c1": sound(20), "c2": sound(10), "c3": sound(np.nan, 4.0)})
    made.put(FACE, {"c0": face(100, 120, None, None), "c1": face(None, None), "c2": face(90), "c3": face(50, 60, 70)})
    return store.open(tmp_path)["mine"]


@pytest.mark.parametrize(
    ("where", "kept", "unknown"),
    [
        ("snr > 15", {"c0", "c1"}, 2),
        ("not snr > 15", {"c2"}, 2),
        ("face_share > 0.4", {"c0", "c2", "c3"}, 1),
        ("face_share == 0", {"c1"}, 1),
        ("face_size >= 110", {"c0"}, 2),  # the median over frames with a face
        ("face_share > 0.4 and snr > 15", {"c0"}, 2),
        ("split != 'train' and face_share == 1.0", {"c2", "c3"}, 1),
        ("speaker == 'Ann'", {"c1", "c3"}, 3),
        ("label == 'joy'", {"c0", "c2", "c4"}, 0),
        ("label_sentiment >= 3", {"c3", "c4"}, 0),
        ("duration > 1.5", {"c1", "c2", "c3"}, 1),  # of the span, else of what was extracted
        ("id in ('c0', 'c4')", {"c0", "c4"}, 0),
    ],
)
def test_clips_are_kept_by_their_fields_and_measures(dataset, where, kept, unknown):
    selection = select(dataset, where)
    assert selection.kept == kept
    assert selection.unknown == unknown
    assert selection.to_plain() == {"where": where, "kept": len(kept), "left_out": 5 - len(kept), "unknown": unknown}


def test_clips_that_were_not_measured_are_told_with_the_command(dataset):
    assert select(dataset, "snr > 15").remarks == (
        "1 clips have no acoustic.quality yet, so that their snr is not known: "
        "mse extract meld --set 'streams.acoustic.quality={}' --streams acoustic.quality",
    )
    assert select(dataset, "label == 'joy'").remarks == ()


def test_measures_that_no_clip_has_are_refused_with_one_command_for_all(made):
    with pytest.raises(UsageError) as refused:
        select(made(), "snr > 15 and face_share > 0.5 and speech_share > 0.2")
    assert str(refused.value) == (
        "--where: no clip of mine has these measures yet: face_share of visual.quality; snr of acoustic.quality; "
        "speech_share of acoustic.vad. Extract them first: mse extract … "
        "--set 'streams.visual.quality={}' --streams visual.quality "
        "--set 'streams.acoustic.quality={}' --streams acoustic.quality "
        "--set 'streams.acoustic.vad={}' --streams acoustic.vad"
    )


def test_lengths_that_nothing_tells_are_refused(made):
    with pytest.raises(UsageError, match="does not tell the duration of 6 clips"):
        select(made(), "duration > 1")


def test_a_condition_that_no_clip_meets_is_refused(dataset):
    with pytest.raises(UsageError, match=r"No clip of mine meets --where 'snr > 99' \(5 clips; of 2 it is not known"):
        select(dataset, "snr > 99")


def test_labels_that_are_numbers_are_compared_with_numbers(dataset):
    with pytest.raises(UsageError, match="a text cannot be compared with a number"):
        select(dataset, "label > 1")
    with pytest.raises(UsageError, match="there is no label_sentimant; did you mean label_sentiment"):
        select(dataset, "label_sentimant > 1")


def test_codes_are_those_of_the_corpus_and_of_streams(dataset):
    from mse_pipeline.store.checksum import seal

    listed = dataset.path / "defects.jsonl"
    line = seal({"code": "clipped_audio", "message": "It is clipped.", "clip": "c2"})
    of_a_file = seal({"code": "no_video", "message": "It has none.", "path": "a.mp4"})
    listed.write_text(f"{line}\n{of_a_file}\n")
    assert select(dataset, "'clipped_audio' not in defects").kept == {"c0", "c1", "c3", "c4"}
    listed.write_text(line.replace("c2", "c3") + "\n")
    with pytest.raises(MseError, match="damaged"):
        select(dataset, "'clipped_audio' not in defects")


def test_the_share_of_speech_is_that_of_the_notes(dataset):
    vad = store.Features(np.ones((2, 1)), np.array([[0, 1], [1, 2.0]]), np.ones(2), ("p",), {"speech_share": 0.25})
    dataset.put("acoustic.vad", {"c0": vad})
    assert MEASURES["speech_share"].make(vad) == 0.25
    assert select(dataset, "speech_share < 0.5").kept == {"c0"}
    assert np.isnan(MEASURES["speech_share"].make(sound(3)))


def test_streams_of_quality_are_known_by_what_made_them(dataset):
    dataset.put("acoustic.egemaps", {"c0": sound(3)})
    assert [is_of_quality(dataset, name) for name in (SOUND, FACE, "acoustic.egemaps")] == [True, True, False]
