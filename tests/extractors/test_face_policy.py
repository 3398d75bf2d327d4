"""Whose face is followed: the largest, the longest, the most central, or the one that speaks."""

import numpy as np
import pytest

from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.registry import create
from mse_pipeline.extractors.visual.faces import FaceConfig, FaceSession
from mse_pipeline.extractors.visual.policy import agreement, loudness, opening
from mse_pipeline.media.audio import Audio
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import FrameBatch
from mse_pipeline.sample.scene import play
from mse_pipeline.sample.speaker import speaker
from mse_pipeline.store.keys import stream_id
from tests.extractors.two_faces import everything, side_by_side

CONFIG = FaceConfig(policy="speaking")


def follow(clip, config=CONFIG, face=None, audio=True):
    session = FaceSession(config)
    requests = [FrameRequest(config.rate, session.add)]
    if session.mouths is not None:
        requests.append(FrameRequest(session.mouths.rate, session.mouths.add))
    decoded = decode(clip, frames=requests)
    return session.finish(decoded.audio if audio else None, face)


def side(faces):
    """Where the followed face is."""
    return "left" if np.median(faces.boxes[faces.valid][:, 0]) < 0.5 else "right"


@pytest.fixture(scope="module")
def heads(shared):
    return [everything(path) for path in sorted((shared / "data/grid").glob("*.mpg"))]


@pytest.mark.slow
def test_of_two_people_who_both_talk_the_one_whose_sound_it_is_is_followed(heads, tmp_path):
    right_choices = 0
    for number in range(20):
        (one, sound), (other, _) = heads[number % 11], heads[(number * 3 + 1 + number // 11) % 11]
        left = number % 2 == 0
        pair = (one, other) if left else (other, one)
        clip = side_by_side(tmp_path / f"{number}.mp4", *pair, sound)
        right_choices += side(follow(clip)) == ("left" if left else "right")
    assert right_choices >= 18


def drawn(seed):
    """Frames of a drawn person, and the sound of a sentence."""
    scene = play(speaker(0, seed), "neutral", sentence=seed, seed=(seed,))
    return [np.asarray(picture) for picture in scene.pictures], scene.samples


def with_mouth(face, openings):
    """The face with a mouth of these heights, in shares of its largest, a frame each."""
    rows, columns = np.mgrid[: face.shape[0], : face.shape[1]]
    middle_y, middle_x = 0.62 * face.shape[0], 0.5 * face.shape[1]
    frames = []
    for share in openings:
        inside = ((columns - middle_x) / 16) ** 2 + ((rows - middle_y) / (1 + 13 * share)) ** 2 < 1
        frames.append(np.where(inside[..., None], np.uint8(20), face))
    return frames


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_of_two_drawn_faces_the_one_whose_mouth_moves_with_the_sound_is_followed(seed, tmp_path):
    sound = np.concatenate([drawn(seed + k)[1] for k in range(2)])
    voice = loudness(Audio(sound, 48_000), int(len(sound) / 48_000 * 25))
    talking = with_mouth(drawn(seed)[0][0], voice / voice.max())
    if seed < 2:
        other = [drawn(seed + 10)[0][0]] * len(talking)
    else:
        other = with_mouth(drawn(seed + 10)[0][0], np.random.default_rng(seed).permutation(voice / voice.max()))
    pair = (talking, other) if seed % 2 else (other, talking)
    faces = follow(side_by_side(tmp_path / "a.mp4", *pair, sound, 48_000))
    assert side(faces) == ("left" if seed % 2 else "right")
    scores = {track["chosen"]: track["score"] for track in faces.notes["tracks"]}
    assert scores[True] > 0.2 > scores.get(False, -1.0)


@pytest.fixture(scope="module")
def quiet_pair(tmp_path_factory):
    """A large silent face on the left, a small one on the right."""
    large, small = drawn(1)[0][0], drawn(2)[0][0]
    shrunk = np.full_like(small, 128)
    shrunk[60:180, 80:240] = small[::2, ::2]
    path = tmp_path_factory.mktemp("pair") / "pair.mp4"
    return side_by_side(path, [large] * 25, [shrunk] * 25, np.zeros(16_000, np.float32))


@pytest.mark.parametrize("audio", [True, False])
def test_where_no_mouth_moves_with_the_sound_the_largest_is_followed_and_it_is_told(quiet_pair, audio):
    faces = follow(quiet_pair, audio=audio)
    assert side(faces) == "left"
    assert faces.notes["fallback"].startswith("largest: no ")
    assert faces.notes["policy"] == "speaking"


def test_a_face_that_is_asked_for_is_followed(quiet_pair):
    config = FaceConfig(min_face_size=20)
    tracks = follow(quiet_pair, config).notes["tracks"]
    assert [track["chosen"] for track in tracks] == [True, False]
    asked = follow(quiet_pair, config, face=1)
    assert side(asked) == "right"
    assert asked.notes["asked_for"] == 1
    with pytest.raises(ClipError, match="face 7 was asked for, but 2 faces were found"):
        follow(quiet_pair, config, face=7)


def test_every_face_s_boxes_are_in_the_notes(quiet_pair):
    faces = follow(quiet_pair, FaceConfig(min_face_size=20))
    (first, second) = faces.notes["tracks"]
    assert [row for row, *_ in first["boxes"]] == list(range(len(faces)))
    np.testing.assert_allclose([box[1:] for box in first["boxes"]], faces.boxes, atol=1e-3)
    assert second["boxes"][0][1] > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "expected"), [("largest", "left"), ("longest", "right"), ("central", "right")])
def test_policies_that_look_at_boxes(policy, expected):
    session = FaceSession(FaceConfig(policy=policy, rate=5))
    large, central = drawn(1)[0][0], drawn(2)[0][0]
    canvas = np.full((480, 960, 3), 128, np.uint8)
    frames = []
    for k in range(6):
        frame = canvas.copy()
        frame[120:360, 340:660] = central
        if k < 4:
            frame[:480, :340] = np.kron(large, np.ones((2, 2, 1), np.uint8))[:, 150:490]
        frames.append(frame)
    edges = np.arange(7) * 0.2
    session.add(FrameBatch.of(np.stack(frames), np.stack([edges[:-1], edges[1:]], 1)))
    boxes = session.finish().boxes
    assert (boxes[0, 0] < 0.3) == (expected == "left")


def test_a_mouth_that_moves_with_the_sound_agrees_and_one_that_lags_does_not():
    rng = np.random.default_rng(0)
    voice = np.convolve(rng.random(100), np.ones(3) / 3, "same")
    assert agreement(voice * 0.4 + 0.1, voice) > 0.75
    assert agreement(np.roll(voice, 1), voice) > 0.7
    assert agreement(np.roll(voice, 12), voice) < 0.2
    assert agreement(np.where(np.arange(100) < 10, voice, np.nan), voice) is None


def test_loudness_has_a_value_a_frame_and_none_after_the_sound():
    tone = np.sin(2 * np.pi * 440 * np.arange(8_000) / 16_000).astype(np.float32)
    values = loudness(Audio(tone), 25)
    assert values[:12].min() > 0.5
    assert values[14:].max() == 0.0
    assert not loudness(Audio(np.zeros(10, np.float32)), 5).any()


def test_a_mouth_outside_of_the_frame_is_not_open():
    marks = np.array([[35, -80], [65, -80], [50, -60], [40, -40], [60, -40]], float)
    assert opening(np.full((20, 100), 90, np.uint8), marks) == 0.0


def test_each_policy_has_features_of_its_own():
    made = [create("visual.mtcnn", {"policy": policy}) for policy in ("largest", "longest", "central", "speaking")]
    assert len({stream_id(extractor.identity()) for extractor in made}) == 4
