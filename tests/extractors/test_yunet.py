"""YuNet: from its maps to faces."""

from __future__ import annotations

import numpy as np
import pytest

from mse_pipeline.extractors.visual import yunet
from mse_pipeline.extractors.visual.yunet import YunetDetector
from mse_pipeline.extractors.visual.zoo import STRIDES, YUNET_OUTPUTS

Face = tuple[int, int, int, int, float]
"""Frame, which of the strides, row and column of the place, and probability."""


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """What the network was given; in its place stands one that sees the faces of `SEEN`."""
    given: list[tuple[int, ...]] = []

    def network(frames: np.ndarray) -> list[np.ndarray]:
        first = sum(shape[0] for shape in given)
        given.append(frames.shape)
        made = {}
        for k, stride in enumerate(STRIDES):
            rows, columns = frames.shape[1] // stride, frames.shape[2] // stride
            places = len(frames) * rows * columns
            score, box, marks = np.zeros((places, 1)), np.zeros((places, 4)), np.zeros((places, 10))
            for frame, of, row, column, probability in SEEN:
                if of == k and first <= frame < first + len(frames):
                    place = ((frame - first) * rows + row) * columns + column
                    score[place], box[place, 2:], marks[place] = probability, np.log(4.0), np.arange(10) / 10
            made |= {
                f"cls_{stride}": score,
                f"obj_{stride}": score * 1.5,
                f"bbox_{stride}": box,
                f"kps_{stride}": marks,
            }
        return [made[name][None].astype(np.float32) for name in YUNET_OUTPUTS]

    monkeypatch.setattr(yunet, "load_yunet", lambda: network)
    return given


SEEN: tuple[Face, ...] = (
    (0, 0, 2, 3, 1.0),
    (0, 0, 3, 3, 0.9),  # the same face, less sure
    (0, 2, 3, 5, 0.9),
    (1, 1, 1, 1, 0.5),  # not sure enough: the root of 0.5 times 0.75 is 0.61
    (5, 1, 4, 4, 0.95),
)


def test_each_frame_has_its_own_faces(shapes: list[tuple[int, ...]]) -> None:
    found = YunetDetector(16, 0.78)(np.zeros((6, 150, 200, 3), np.uint8))
    assert shapes == [(3, 160, 224, 3), (3, 160, 224, 3)]  # padded to multiples of 32, in batches of one size
    assert [len(faces) for faces in found] == [2, 0, 0, 0, 0, 1]
    assert found[0].boxes.tolist() == [[96.0, 32.0, 200.0, 150.0], [8.0, 0.0, 40.0, 32.0]]  # cut at the borders
    np.testing.assert_allclose(found[0].probabilities, [np.sqrt(0.9), 1.0], rtol=1e-6)
    np.testing.assert_allclose(found[0].landmarks[1], (np.arange(10) / 10).reshape(5, 2) * 8 + [24, 16], rtol=1e-5)
    np.testing.assert_allclose(found[5].boxes, [[32, 32, 96, 96]], rtol=1e-5)


def test_faces_that_are_too_small_are_left_out(shapes: list[tuple[int, ...]]) -> None:
    found = YunetDetector(40, 0.78)(np.zeros((1, 160, 224, 3), np.uint8))
    assert [len(faces) for faces in found] == [1]


def test_no_frames_no_faces(shapes: list[tuple[int, ...]]) -> None:
    assert YunetDetector(16, 0.78)(np.zeros((0, 160, 224, 3), np.uint8)) == []
    assert shapes == []
