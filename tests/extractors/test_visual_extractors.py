"""Faces found, followed and turned into features, on real clips where they are at hand."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from facenet_pytorch import InceptionResnetV1

from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.registry import create
from mse_pipeline.extractors.visual.faces import FaceConfig, Faces, FaceSession, region, stretched
from mse_pipeline.extractors.visual.networks import TorchNetworks, mtcnn_digest
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import Frame, FrameBatch


def batch(pixels: np.ndarray, start: int = 0) -> FrameBatch:
    index = np.arange(start, start + len(pixels))
    return FrameBatch.of(pixels, np.stack([index, index + 1], 1) / 5)


def faces_in(path: Path, config: FaceConfig) -> Faces:
    session = FaceSession(config)
    decode(path, audio=False, frames=[FrameRequest(config.rate, session.add)])
    return session.finish()


@pytest.fixture(scope="session")
def grid(shared: Path) -> dict[str, Faces]:
    return {path.stem: faces_in(path, FaceConfig()) for path in sorted((shared / "data" / "grid").glob("*.mpg"))}


@pytest.fixture(scope="session")
def random_weights(grid: dict[str, Faces], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    torch.manual_seed(0)
    network = InceptionResnetV1(classify=False)
    # Normalisation learned from a few pictures makes a random network tell pictures apart, as a trained one does.
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    crops = np.concatenate([faces.crops[faces.valid][:1] for faces in grid.values()])
    with torch.no_grad():
        network.train()((torch.from_numpy(crops).permute(0, 3, 1, 2).float() - 127.5) / 128)
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def street(shared: Path) -> list[FrameBatch]:
    found: list[FrameBatch] = []
    decode(shared / "data" / "multiface" / "street_1080p.mp4", frames=[FrameRequest(2.5, found.append)], audio=False)
    return found


@pytest.mark.slow
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
    onet = TorchNetworks("cpu").networks["onet"]
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
        "boxes": notes["tracks"][0]["boxes"],
    }
    assert len(notes["tracks"][0]["boxes"]) == 15


def test_crops_equal_those_of_facenet_pytorch_from_the_full_size_frame(street: list[FrameBatch]) -> None:
    from facenet_pytorch import extract_face
    from PIL import Image

    frame = street[0].frames[0]
    for box in ([800.2, 300.7, 1000.9, 620.4], [-10.0, -5.0, 120.0, 90.0], [1850.5, 1000.1, 1990.0, 1100.0]):
        theirs = extract_face(Image.fromarray(frame.pixels), np.array(box), 160).permute(1, 2, 0).numpy()
        mine = stretched(region(frame, np.array(box), 160), 160)
        np.testing.assert_array_equal(mine, theirs.astype(np.uint8))


def test_of_a_large_box_no_more_than_its_crop_is_kept() -> None:
    frame = Frame(av.VideoFrame.from_ndarray(np.zeros((600, 800, 3), np.uint8), format="rgb24"))
    assert region(frame, np.array([10.0, 10, 50, 40]), 160).shape == (30, 40, 3)
    assert region(frame, np.array([10.0, 10, 410, 510]), 160).shape == (160, 160, 3)


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


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_embeddings_of_real_faces_keep_what_tells_them_apart(
    grid: dict[str, Faces], random_weights: Path, precision: str
) -> None:
    faces = grid["bbaf2n"], grid["swwp2s"], grid["lbax4n"]
    crops = np.concatenate([one.crops[one.valid][:2] for one in faces])
    pictures = (torch.from_numpy(crops).permute(0, 3, 1, 2).float() - 127.5) / 128
    network = InceptionResnetV1(classify=False)
    network.load_state_dict(torch.load(random_weights, weights_only=True))
    with torch.inference_mode():
        expected = network.eval()(pictures).numpy()
    extractor = create("visual.facenet", {"weights": str(random_weights), "precision": precision})
    made = np.concatenate([extractor(one).values[one.valid][:2] for one in faces])
    assert (expected[::2] @ expected[::2].T).min() < 0.8  # the people lie apart
    assert (made * expected).sum(1).min() > {"float32": 0.99999, "bfloat16": 0.997}[precision]


def test_the_detectors_digest_is_that_of_its_weights() -> None:
    import hashlib

    import facenet_pytorch

    folder = Path(facenet_pytorch.__file__).parent / "data"
    digest = hashlib.blake2b(digest_size=16)
    for name in ("pnet.pt", "rnet.pt", "onet.pt"):
        digest.update((folder / name).read_bytes())
    assert mtcnn_digest() == digest.hexdigest()
