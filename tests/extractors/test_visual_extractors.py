"""Faces found, followed and turned into features, on real clips where they are at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.registry import create
from mse_pipeline.extractors.visual.detector import MOST_FACES, detect, load_mtcnn, mtcnn_digest, reduce_frames
from mse_pipeline.extractors.visual.faces import FaceConfig, Faces, FaceSession, cut, square
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import FrameBatch


def batch(pixels: np.ndarray, start: int = 0) -> FrameBatch:
    index = np.arange(start, start + len(pixels))
    return FrameBatch(pixels, np.stack([index, index + 1], 1) / 5)


def faces_in(path: Path, config: FaceConfig) -> Faces:
    session = FaceSession(config)
    decode(path, audio=False, frames=[FrameRequest(config.rate, session.add)])
    return session.finish()


@pytest.fixture(scope="session")
def grid(shared: Path) -> dict[str, Faces]:
    return {path.stem: faces_in(path, FaceConfig()) for path in sorted((shared / "data" / "grid").glob("*.mpg"))}


@pytest.fixture(scope="session")
def street(shared: Path) -> list[FrameBatch]:
    found: list[FrameBatch] = []
    decode(shared / "data" / "multiface" / "street_1080p.mp4", frames=[FrameRequest(2.5, found.append)], audio=False)
    return found


def test_speakers_faces_are_found_in_nearly_all_frames(grid: dict[str, Faces]) -> None:
    valid = np.concatenate([faces.valid for faces in grid.values()])
    assert len(valid) == 15 * 11
    assert valid.mean() >= 0.95


def test_a_single_speaker_is_one_track_near_the_middle(grid: dict[str, Faces]) -> None:
    for faces in grid.values():
        assert set(faces.track[faces.valid]) == {0}
        centres = (faces.boxes[faces.valid, :2] + faces.boxes[faces.valid, 2:]) / 2
        assert (abs(centres - 0.5) < 0.25).all()


def test_landmarks_lie_where_a_face_has_them(grid: dict[str, Faces]) -> None:
    for faces in grid.values():
        marks = faces.landmarks[faces.valid]
        assert ((marks > -0.1) & (marks < 1.1)).all()
        assert (marks[:, 0, 0] < marks[:, 1, 0]).all()  # left eye left of the right
        assert (marks[:, :2, 1].max(1) < marks[:, 3:, 1].min(1)).all()  # eyes above the mouth


def test_mtcnn_features_hold_box_landmarks_and_activations(grid: dict[str, Faces]) -> None:
    extractor = create("visual.mtcnn")
    faces = grid["bbaf2n"]
    features = extractor(faces)
    assert features.values.shape == (15, 271)
    np.testing.assert_allclose(features.values[:, :4], faces.boxes, atol=1e-6)
    np.testing.assert_allclose(features.values[:, 4], faces.probabilities, atol=1e-6)
    np.testing.assert_allclose(features.values[:, 5:15], faces.landmarks.reshape(15, 10), atol=1e-6)
    np.testing.assert_array_equal(features.intervals, faces.intervals)
    assert features.names[0] == "box_x1"
    assert features.names[4:7] == ("probability", "left_eye_x", "left_eye_y")
    assert features.names[-1] == "onet_255"
    assert features.notes["policy"] == "largest"


def test_activations_are_what_o_net_finds_its_landmarks_from(grid: dict[str, Faces]) -> None:
    extractor = create("visual.mtcnn")
    faces = grid["lbax4n"]
    activations = torch.from_numpy(extractor(faces).values[:, 15:])
    onet = load_mtcnn(40, (0.6, 0.7, 0.7), 0.709, "cpu").onet
    patches = (torch.from_numpy(faces.patches).permute(0, 3, 1, 2).float() - 127.5) / 128
    with torch.no_grad():
        _, landmarks, _ = onet(patches)
        np.testing.assert_allclose(onet.dense6_3(activations).numpy(), landmarks.numpy(), atol=1e-4)


def test_the_notes_tell_the_choice_as_plain_json(grid: dict[str, Faces]) -> None:
    notes = grid["swwp2s"].notes
    assert json.loads(json.dumps(notes)) == notes
    assert notes["tracks"][0] == {
        "track": 0,
        "from": 0.0,
        "to": 3.0,
        "score": notes["tracks"][0]["score"],
        "frames": 15,
        "chosen": True,
    }


def test_crops_equal_those_of_facenet_pytorch(street: list[FrameBatch]) -> None:
    from facenet_pytorch import extract_face
    from PIL import Image

    frame = street[0].pixels[0]
    (found,) = detect(load_mtcnn(40, (0.6, 0.7, 0.7), 0.709, "cpu"), frame[None], 960, 0.9)
    assert 2 <= len(found) <= MOST_FACES
    for box in found.boxes:
        theirs = extract_face(Image.fromarray(frame), box, 160).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(cut(frame, box, 160), theirs.astype(np.uint8))


def test_a_batch_finds_what_single_frames_find(street: list[FrameBatch]) -> None:
    mtcnn = load_mtcnn(40, (0.6, 0.7, 0.7), 0.709, "cpu")
    frames = street[0].pixels[:3]
    together = detect(mtcnn, frames, 480, 0.9)
    apart = [detect(mtcnn, frame[None], 480, 0.9)[0] for frame in frames]
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=0.1)


def test_boxes_are_mapped_back_to_the_full_frame(street: list[FrameBatch]) -> None:
    mtcnn = load_mtcnn(40, (0.6, 0.7, 0.7), 0.709, "cpu")
    frame = street[0].pixels[:1]
    (small,), (large,) = detect(mtcnn, frame, 640, 0.9), detect(mtcnn, frame, 960, 0.9)
    side = large.boxes[0, 2] - large.boxes[0, 0]
    np.testing.assert_allclose(small.boxes[0], large.boxes[0], atol=0.15 * side)
    assert side > 60


def test_in_a_crowd_frames_without_the_followed_face_are_kept_and_not_valid(street: list[FrameBatch]) -> None:
    session = FaceSession(FaceConfig())
    count = 0
    for some in street:
        session.add(some)
        count += len(some.pixels)
    session.add(batch(np.zeros((2, 1080, 1920, 3), np.uint8), count))
    faces = session.finish()
    assert len(faces) == count + 2
    assert not faces.valid[-2:].any()
    assert faces.valid.any()
    features = create("visual.mtcnn")(faces)
    assert len(features) == count + 2
    assert not features.values[~faces.valid].any()
    assert (features.valid == faces.valid).all()
    assert (faces.track[~faces.valid] == -1).all()
    assert sum(track["chosen"] for track in faces.notes["tracks"]) == len(set(faces.track[faces.valid]))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((3, 120, 160, 3), np.uint8),
        np.full((2, 120, 160, 3), 255, np.uint8),
        np.zeros((2, 16, 16, 3), np.uint8),
        np.zeros((1, 2000, 1, 3), np.uint8),
        np.random.default_rng(0).integers(0, 255, (2, 120, 160, 3), dtype=np.uint8),
    ],
    ids=["black", "white", "tiny", "sliver", "noise"],
)
def test_frames_without_any_face_give_no_face(pixels: np.ndarray) -> None:
    session = FaceSession(FaceConfig())
    session.add(batch(pixels))
    faces = session.finish()
    assert len(faces) == len(pixels)
    assert not faces.valid.any()
    for stream in ("visual.mtcnn", "visual.facenet"):
        with pytest.raises(ClipError, match=f"any of the {len(pixels)} sampled frames") as caught:
            create(stream)(faces)
        assert caught.value.code == "no_face"


def test_a_clip_without_frames_has_no_face() -> None:
    faces = FaceSession(FaceConfig()).finish()
    assert len(faces) == 0
    with pytest.raises(ClipError, match="any of the 0 sampled frames"):
        create("visual.mtcnn")(faces)


class Failing:
    """A detector that fails on dark frames as facenet-pytorch's does where all candidates lie outside."""

    min_face_size = 20

    def __init__(self, error: Exception) -> None:
        self.error = error

    def detect(self, frames: np.ndarray, landmarks: bool) -> tuple[Any, Any, Any]:
        if (frames.max((1, 2, 3)) == 0).any():
            raise self.error
        return (
            [np.array([[10.0, 10, 60, 60]])] * len(frames),
            [np.array([1.0])] * len(frames),
            [np.full((1, 5, 2), 20.0)] * len(frames),
        )


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("torch.cat(): expected a non-empty list of Tensors"),
        IndexError("The shape of the mask [3] at index 0 does not match"),
    ],
)
def test_a_frame_on_which_the_detector_fails_costs_no_other(error: Exception) -> None:
    frames = np.zeros((3, 80, 80, 3), np.uint8)
    frames[0] = frames[2] = 200
    assert [len(found) for found in detect(Failing(error), frames, 480, 0.9)] == [1, 0, 1]


def test_other_errors_of_the_detector_are_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        detect(Failing(RuntimeError("out of memory")), np.zeros((2, 80, 80, 3), np.uint8), 480, 0.9)


def test_only_the_largest_faces_of_a_crowd_are_kept() -> None:
    class Crowd(Failing):
        def detect(self, frames: np.ndarray, landmarks: bool) -> tuple[Any, Any, Any]:
            boxes = np.array([[k, k, 3 * k + 5.0, 3 * k + 5] for k in range(9)] + [[10.0, 10, 10.5, 90]])
            return [boxes], [np.array([0.95] * 8 + [0.5, 0.99])], [np.zeros((10, 5, 2))]

    (found,) = detect(Crowd(RuntimeError()), np.ones((1, 100, 100, 3), np.uint8), 480, 0.9)
    assert len(found) == MOST_FACES
    areas = (found.boxes[:, 2:] - found.boxes[:, :2]).prod(1)
    assert (np.diff(areas) < 0).all()
    assert areas[0] == 19.0**2


def test_frames_are_reduced_by_area_and_never_enlarged() -> None:
    frame = np.zeros((1, 4, 8, 3), np.uint8)
    frame[:, :, ::2] = 200
    np.testing.assert_array_equal(reduce_frames(frame, 4), np.full((1, 2, 4, 3), 100))
    assert reduce_frames(frame, 8) is frame
    assert reduce_frames(frame, 640) is frame


def test_a_box_over_the_border_is_cut_there() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        cut(frame, np.array([-10.0, -5, 20, 30]), 48), cut(frame, np.array([0.0, 0, 20, 30]), 48)
    )
    np.testing.assert_array_equal(
        cut(frame, np.array([70.0, 50, 200, 90]), 48), cut(frame, np.array([70.0, 50, 80, 60]), 48)
    )
    assert square(np.array([0.0, 0.0, 10.0, 20.0])).tolist() == [-5.0, 0.0, 15.0, 20.0]


def test_the_detectors_digest_is_that_of_its_weights() -> None:
    import hashlib

    import facenet_pytorch

    folder = Path(facenet_pytorch.__file__).parent / "data"
    digest = hashlib.blake2b(digest_size=16)
    for name in ("pnet.pt", "rnet.pt", "onet.pt"):
        digest.update((folder / name).read_bytes())
    assert mtcnn_digest() == digest.hexdigest() == create("visual.mtcnn").identity()["model"]
