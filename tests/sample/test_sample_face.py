from __future__ import annotations

import numpy as np
import pytest

from mse_pipeline.sample.expression import EXPRESSIONS, Pose
from mse_pipeline.sample.face import HEIGHT, WIDTH, backdrop, draw
from mse_pipeline.sample.speaker import speaker


def picture(pose: Pose = Pose(), person: int = 0, seed: int = 0) -> np.ndarray:  # noqa: B008
    who = speaker(seed, person)
    return draw(backdrop(who), who, pose).astype(np.uint8)


@pytest.fixture(scope="module")
def detect():
    torch = pytest.importorskip("torch")
    from facenet_pytorch import MTCNN

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    detector = MTCNN(keep_all=True, min_face_size=40)
    yield lambda pixels: detector.detect(pixels, landmarks=True)
    torch.set_num_threads(before)


@pytest.mark.parametrize("emotion", EXPRESSIONS)
@pytest.mark.parametrize("person", [0, 1, 2, 3])
def test_the_face_detector_finds_exactly_one_face_whatever_it_shows(detect, emotion: str, person: int) -> None:
    boxes, probabilities, _ = detect(picture(EXPRESSIONS[emotion], person, seed=4))
    assert len(boxes) == 1
    assert probabilities[0] > 0.9
    left, top, right, bottom = boxes[0]
    assert left < WIDTH / 2 < right
    assert 60 < right - left < 130
    assert 90 < bottom - top < 170


def test_landmarks_lie_on_the_drawn_features_and_move_with_them(detect) -> None:
    still = detect(picture())[2][0]
    moved = detect(picture(Pose(across=0.4, down=0.2)))[2][0]
    assert still[0, 0] < still[2, 0] < still[1, 0]  # eye, nose, eye
    assert still[:2, 1].max() < still[2, 1] < still[3:, 1].min()  # eyes above nose above mouth
    assert np.allclose(moved - still, [[20, 10]], atol=4)


@pytest.mark.parametrize(("emotion", "direction"), [("joy", -1), ("sadness", 1), ("surprise", 1)])
@pytest.mark.parametrize("person", [0, 1, 2, 3])
def test_the_detector_sees_the_corners_of_the_mouth_rise_and_fall(
    detect, emotion: str, direction: int, person: int
) -> None:
    def drop(pose: Pose) -> float:
        points = detect(picture(pose, person))[2][0]
        return float(points[3:, 1].mean() - points[:2, 1].mean())

    assert direction * (drop(EXPRESSIONS[emotion]) - drop(Pose())) > 1.0  # pixels


@pytest.mark.parametrize("person", range(12))
def test_every_person_is_drawn_as_a_whole_frame(person: int) -> None:
    who = speaker(1, person)
    room = backdrop(who)
    before = room.copy()
    pixels = draw(room, who, Pose(opening=0.5))
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert pixels.dtype == np.float32
    assert 0 <= pixels.min() < pixels.max() <= 255
    assert np.array_equal(room, before)
    assert np.abs(pixels[115, 138] - who.skin).max() < 90  # the cheek has the colour of skin


@pytest.mark.parametrize("unit", [f"au{n}" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 20, 24, 26)])
def test_every_action_unit_can_be_seen(unit: str) -> None:
    rest = picture(Pose(opening=0.2)).astype(float)
    shown = picture(Pose(**{unit: 1.0, "opening": 0.2})).astype(float)
    assert (np.abs(shown - rest).max(2) > 12).sum() > 20


def test_a_blink_hides_the_white_of_the_eyes() -> None:
    def white(pixels: np.ndarray) -> int:
        return int((pixels[100:118, 125:195].min(2) > 185).sum())

    assert white(picture(person=1)) > 15
    assert white(picture(Pose(blink=1.0), person=1)) == 0


def test_a_head_that_leaves_the_picture_does_no_harm() -> None:
    gone = picture(Pose(across=20.0, down=20.0))
    assert gone.shape == (HEIGHT, WIDTH, 3)
