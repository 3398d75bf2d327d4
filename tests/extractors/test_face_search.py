"""The search through a batch of frames, beside facenet-pytorch's own detector, and faces followed between searches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mse_pipeline import sample
from mse_pipeline.extractors.visual import detector as detection
from mse_pipeline.extractors.visual.detector import (
    MOST_FACES,
    Detections,
    Detector,
    Search,
    patches,
    refine,
    search,
    squares,
)
from mse_pipeline.extractors.visual.networks import OnnxNetworks, TorchNetworks, load_networks
from mse_pipeline.media.decode import FrameRequest, decode

RATE = 5.0


def frames_of(path: Path, width: int = 480) -> np.ndarray:
    found: list[np.ndarray] = []
    decode(path, audio=False, frames=[FrameRequest(RATE, lambda batch: found.append(batch.reduced(width)))])
    return np.concatenate(found)


@pytest.fixture(scope="module")
def speakers(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """Frames of two drawn people, (N, 240, 320, 3)."""
    home = tmp_path_factory.mktemp("speakers")
    for k, emotion in enumerate(("joy", "disgust")):
        sample.build_clip(home / f"{k}.mp4", emotion, 4 + k, duration=1.6)
    return [frames_of(home / f"{k}.mp4") for k in range(2)]


@pytest.fixture(scope="module")
def street(shared: Path) -> np.ndarray:
    return frames_of(shared / "data" / "multiface" / "street_1080p.mp4", 960)[:6]


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = np.clip(high - low, 0, None).prod()
    return float(shared / ((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - shared))


def theirs(frames: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Boxes and landmarks of facenet-pytorch's detector on single frames."""
    from facenet_pytorch import MTCNN

    detector = MTCNN(keep_all=True, min_face_size=40)
    found = [detector.detect(frame, landmarks=True) for frame in frames]
    return [(np.zeros((0, 4)), np.zeros((0, 5, 2))) if boxes is None else (boxes, marks) for boxes, _, marks in found]


def compare(frames: np.ndarray) -> tuple[list[float], list[float]]:
    """Overlap of each of their boxes with the nearest of ours, and distance of landmarks in widths of the face."""
    mine = search(load_networks("cpu"), frames, Search())
    overlaps, distances = [], []
    for k, (boxes, marks) in enumerate(theirs(frames)):
        own = np.flatnonzero(mine.frame == k)
        for box, points in zip(boxes, marks, strict=True):
            shares = [overlap(box, mine.boxes[j]) for j in own]
            overlaps.append(max(shares, default=0.0))
            if shares:
                nearest = own[int(np.argmax(shares))]
                distances.append(float(abs(mine.landmarks[nearest] - points).max() / (box[2] - box[0])))
    return overlaps, distances


@pytest.mark.slow
def test_drawn_faces_lie_where_facenet_pytorch_finds_them(speakers: list[np.ndarray]) -> None:
    for frames in speakers:
        overlaps, distances = compare(frames)
        assert len(overlaps) == len(frames)
        assert np.median(overlaps) > 0.9
        assert min(overlaps) > 0.8
        assert max(distances) < 0.06


@pytest.mark.slow
def test_real_faces_lie_where_facenet_pytorch_finds_them(shared: Path) -> None:
    overlaps, distances = compare(frames_of(shared / "data" / "grid" / "bbaf2n.mpg"))
    assert np.median(overlaps) > 0.9
    assert min(overlaps) > 0.8
    assert max(distances) < 0.06


@pytest.mark.slow
def test_faces_of_a_crowd_lie_where_facenet_pytorch_finds_them(street: np.ndarray) -> None:
    overlaps, _ = compare(street)
    assert len(overlaps) > 2 * len(street)
    assert np.median(overlaps) > 0.85
    assert np.mean(np.array(overlaps) > 0.75) > 0.85


def test_a_batch_finds_what_single_frames_find(street: np.ndarray) -> None:
    networks = load_networks("cpu")
    together = search(networks, street[:3], Search())
    for k in range(3):
        apart = search(networks, street[k : k + 1], Search())
        np.testing.assert_allclose(together.boxes[together.frame == k], apart.boxes, atol=0.01)
        np.testing.assert_allclose(together.landmarks[together.frame == k], apart.landmarks, atol=0.01)


def test_torch_finds_the_same_faces(speakers: list[np.ndarray]) -> None:
    mine, theirs = (
        search(networks, speakers[0][:3], Search()) for networks in (load_networks("cpu"), TorchNetworks("cpu"))
    )
    np.testing.assert_array_equal(mine.frame, theirs.frame)
    for name in ("boxes", "probabilities", "landmarks"):
        np.testing.assert_allclose(getattr(mine, name), getattr(theirs, name), atol=1e-3)


def test_of_boxes_that_overlap_the_most_probable_of_each_group_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [30, 30, 40, 40], [0, 0, 10, 10]], np.float32)
    scores = np.array([0.8, 0.9, 0.7, 0.6], np.float32)
    assert detection.strongest(boxes, scores, np.array([0, 0, 0, 1]), 0.5).tolist() == [1, 2, 3]
    assert detection.strongest(boxes, scores, np.array([0, 0, 0, 1]), 0.9).tolist() == [1, 0, 2, 3]
    assert detection.strongest(boxes[:0], scores[:0], np.zeros(0, np.int64), 0.5).tolist() == []


@pytest.mark.parametrize("shape", [(30, 30), (39, 400), (8, 8), (1, 2000)])
def test_frames_smaller_than_any_face_hold_none(shape: tuple[int, int]) -> None:
    found = search(load_networks("cpu"), np.zeros((2, *shape, 3), np.uint8), Search())
    assert len(found.boxes) == len(found.frame) == 0
    assert found.landmarks.shape == (0, 5, 2)


def test_candidates_outside_the_frame_are_left_out(speakers: list[np.ndarray]) -> None:
    frame = speakers[0][:1]
    away = np.array([[-80.0, -80, -10, -10], [400, 300, 460, 360]])
    found = refine(load_networks("cpu"), frame, away, np.zeros(2), 0.0)
    assert len(found.boxes) == 0


def test_one_face_given_twice_is_found_once(speakers: list[np.ndarray]) -> None:
    frame = speakers[0][:1]
    (box,) = search(load_networks("cpu"), frame, Search()).boxes
    twice = squares(np.stack([box, box + 4]))
    assert len(refine(load_networks("cpu"), frame, twice, np.zeros(2), 0.7).boxes) == 1


def test_patches_are_squares_at_o_nets_size(speakers: list[np.ndarray]) -> None:
    frame = np.zeros((1, 100, 100, 3), np.uint8)
    frame[0, 20:80, 35:65] = 200
    patch = patches(frame, np.array([[35.0, 20, 65, 80]]), np.array([0]))[0]
    assert patch.shape == (48, 48, 3)
    assert patch[24, 24].tolist() == [200] * 3
    assert patch[24, 2].tolist() == [0] * 3


# Faces followed between full searches.


def detector(every: int) -> Detector:
    return Detector(Search(), 0.9, every)


def same(one: list[Detections], other: list[Detections]) -> list[float]:
    assert [len(faces) for faces in one] == [len(faces) for faces in other]
    return [overlap(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x.boxes, y.boxes, strict=True)]


@pytest.mark.parametrize("every", [2, 5])
def test_between_searches_a_face_is_followed_to_where_a_search_finds_it(speakers: list[np.ndarray], every: int) -> None:
    for frames in speakers:
        following = detector(every)
        overlaps = same(following(frames), detector(1)(frames))
        assert following.searched == -(-len(frames) // every)
        assert np.median(overlaps) > 0.9
        assert min(overlaps) > 0.75


def test_real_faces_are_followed_to_where_a_search_finds_them(shared: Path) -> None:
    frames = frames_of(shared / "data" / "grid" / "lbax4n.mpg")
    following = detector(5)
    overlaps = same(following(frames), detector(1)(frames))
    assert following.searched == 3
    assert np.median(overlaps) > 0.9
    assert min(overlaps) > 0.75


def test_how_frames_are_dealt_into_batches_does_not_matter(speakers: list[np.ndarray]) -> None:
    frames, parts, whole = speakers[0], detector(3), detector(3)
    dealt = [*parts(frames[:1]), *parts(frames[1:5]), *parts(frames[5:])]
    assert min(same(dealt, whole(frames))) > 0.99
    assert parts.searched == whole.searched


def test_behind_a_cut_the_new_face_is_found_at_once(speakers: list[np.ndarray]) -> None:
    one, other = speakers[0][:4], speakers[1][:4][:, :, ::-1]
    moved = np.roll(other, 90, axis=2)  # the second person sits elsewhere
    following = detector(100)
    found = following(np.concatenate([one, moved]))
    assert following.searched == 2
    assert min(same(found[4:], detector(1)(moved))) > 0.75


def test_a_face_that_goes_is_not_followed_into_nothing(speakers: list[np.ndarray]) -> None:
    frames = np.concatenate([speakers[0][:3], np.zeros_like(speakers[0][:3])])
    assert [len(faces) for faces in detector(100)(frames)] == [1, 1, 1, 0, 0, 0]


def test_where_there_is_no_face_each_frame_is_searched(speakers: list[np.ndarray]) -> None:
    frames = np.concatenate([np.zeros_like(speakers[0][:3]), speakers[0][:3]])
    following = detector(100)
    assert [len(faces) for faces in following(frames)] == [0, 0, 0, 1, 1, 1]
    assert following.searched == 4


def test_a_change_of_size_begins_with_a_search(speakers: list[np.ndarray]) -> None:
    following = detector(100)
    following(speakers[0][:2])
    assert [len(faces) for faces in following(speakers[0][:2, :200])] == [1, 1]
    assert following.searched == 2


def test_two_people_beside_each_other_are_both_followed(speakers: list[np.ndarray]) -> None:
    both = np.concatenate([speakers[0][:5], speakers[1][:5]], axis=2)
    following = detector(5)
    found = following(both)
    assert [len(faces) for faces in found] == [2] * 5
    assert following.searched == 1
    for faces in found:
        sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
        assert sides[0].prod() >= sides[1].prod()


def test_only_the_largest_faces_of_a_crowd_are_kept(speakers: list[np.ndarray]) -> None:
    row = np.concatenate([speakers[0][:1]] * 4, axis=2)
    crowd = np.concatenate([row, row], axis=1)
    (found,) = detector(1)(crowd)
    assert len(search(load_networks("cpu"), crowd, Search()).boxes) == 8
    assert len(found) == MOST_FACES


def test_no_frames_are_no_detections() -> None:
    assert detector(5)(np.zeros((0, 100, 100, 3), np.uint8)) == []


def test_networks_are_loaded_once_a_device() -> None:
    assert load_networks("cpu") is load_networks("cpu")
    assert isinstance(load_networks("cpu"), OnnxNetworks)


@pytest.mark.parametrize(
    ("now", "stayed"),
    [
        ([[2, 0, 42, 40], [101, 0, 141, 40]], True),
        ([[101, 0, 141, 40], [2, 0, 42, 40]], True),  # in another order
        ([[2, 0, 42, 40], [101, 0, 141, 40], [200, 0, 240, 40]], True),  # one more has come
        ([[2, 0, 42, 40], [160, 0, 200, 40]], False),  # one of the two leaps
        ([[60, 0, 100, 40], [101, 0, 141, 40]], False),
        ([[2, 0, 42, 40]], False),
    ],
)
def test_faces_stay_only_where_each_of_them_does(now: list[list[float]], stayed: bool) -> None:
    before = np.array([[0, 0, 40, 40], [100, 0, 140, 40]], np.float64)
    assert detection._stayed(before, np.array(now, np.float64)) == stayed
