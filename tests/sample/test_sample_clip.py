from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from mse_pipeline import sample
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.sample.scene import write_movie
from mse_pipeline.sample.speaker import speaker


def test_a_clip_is_h264_and_stereo_aac_of_the_length_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "new" / "clip.mp4"
    length = sample.build_clip(path, "joy", 1, duration=0.8)
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height, video.average_rate) == (320, 240, 25)
        assert (audio.rate, audio.codec_context.layout.name) == (48_000, "stereo")
        sound = sum(frame.samples for frame in container.decode(audio=0)) / 48_000
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert length == len(frames) / 25 == 0.8
    assert sound == pytest.approx(0.8, abs=0.05)
    assert frames[10].std() > 20
    assert path.stat().st_size < 60_000


@pytest.mark.parametrize("emotion", sample.EMOTIONS)
def test_the_same_clip_has_the_same_bytes(tmp_path: Path, emotion: str) -> None:
    first, second = tmp_path / "a.mp4", tmp_path / "b.mp4"
    for path in (first, second):
        sample.build_clip(path, emotion, 2, duration=0.3)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "other",
    [
        {"emotion": "anger"},
        {"speaker_seed": 1},
        {"sentence": 1},
        {"take": 1},
    ],
)
def test_emotion_speaker_sentence_and_take_each_make_another_clip(tmp_path: Path, other: dict) -> None:
    first, second = tmp_path / "a.mp4", tmp_path / "b.mp4"
    sample.build_clip(first, duration=0.3)
    sample.build_clip(second, duration=0.3, **other)
    assert first.read_bytes() != second.read_bytes()


def test_a_whole_sentence_takes_one_to_two_seconds(tmp_path: Path) -> None:
    assert 1.2 <= sample.build_clip(tmp_path / "a.mp4", "fear") <= 2.2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"emotion": "boredom"}, "no emotion 'boredom' in the sample; it has neutral, surprise"),
        ({"duration": 0.0}, "above 0 seconds, got 0.0"),
        ({"duration": float("nan")}, "above 0 seconds, got nan"),
    ],
)
def test_a_clip_that_cannot_be_is_refused_in_a_sentence(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sample.build_clip(tmp_path / "a.mp4", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_movie_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.mp4 was given none"):
        write_movie(tmp_path / "none.mp4", iter(()), np.zeros(100, np.float32), 48_000)


def test_a_missing_encoder_is_named_with_its_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"aac", "mpeg4"})
    with pytest.raises(MseError, match=r"no encoder libx264.*pip install"):
        write_movie(tmp_path / "a.mp4", [np.zeros((2, 2, 3), np.uint8)], np.zeros(9, np.float32), 48_000)


def test_importing_the_package_brings_in_nothing_heavy() -> None:
    code = "import sys, mse_pipeline.sample; print({'numpy', 'av', 'scipy', 'joblib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'bild'"):
        sample.bild  # noqa: B018


def test_people_of_the_corpus_can_be_had_one_by_one() -> None:
    assert speaker(0, 0).name == "Ada"


def test_a_clip_can_have_another_size(tmp_path: Path) -> None:
    sample.build_clip(tmp_path / "a.mp4", "joy", 1, duration=0.2, size=(640, 360))
    with av.open(str(tmp_path / "a.mp4")) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert {picture.shape for picture in pictures} == {(360, 640, 3)}


@pytest.mark.parametrize("size", [(321, 240), (320, 241), (32, 240), (0, 0)])
def test_an_odd_or_tiny_size_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="even and at least 64 pixels, got"):
        sample.build_clip(tmp_path / "a.mp4", size=size)
    assert not list(tmp_path.iterdir())
