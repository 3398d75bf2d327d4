"""visual.transformers and visual.transformers_frame equal the plain calls of transformers on crops and frames."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from mse_pipeline.errors import ClipError, MseError, UsageError
from mse_pipeline.extractors.registry import create
from mse_pipeline.extractors.visual.faces import Faces, FaceSession
from mse_pipeline.extractors.visual.whole import Frames, FrameSession
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import FrameBatch
from tests.closeness import assert_close
from tests.extractors.small_encoders import VISION, WIDTH, save_vision

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("vision")
    return {kind: save_vision(home / kind, kind) for kind in VISION}


def some_faces(count: int = 7) -> Faces:
    """Random faces; in the third frame there is none."""
    index = np.arange(count)
    valid = index != 2
    crops = RANDOM.integers(0, 255, (count, 160, 160, 3), dtype=np.uint8) * valid[:, None, None, None].astype(np.uint8)
    return Faces(
        intervals=np.stack([index, index + 1], 1) / 5,
        valid=valid,
        boxes=np.zeros((count, 4)),
        probabilities=np.ones(count),
        landmarks=np.zeros((count, 5, 2)),
        patches=np.zeros((count, 48, 48, 3), np.uint8),
        crops=crops,
        track=np.where(valid, 0, -1),
        notes={"policy": "largest"},
    )


def some_frames(count: int = 5, height: int = 90, width: int = 160) -> Frames:
    index = np.arange(count)
    pixels = RANDOM.integers(0, 255, (count, height, width, 3), dtype=np.uint8)
    return Frames(np.stack([index, index + 1], 1) / 5, tuple(pixels))


def plain_call(folder: Path, pictures: Any) -> Any:
    """What one writes by hand: the image processor, then the model."""
    processor, model = plain_model(folder)
    inputs = processor(images=list(pictures), return_tensors="pt")
    with torch.no_grad():
        return model(**inputs, output_hidden_states=True)


@functools.cache
def plain_model(folder: Path) -> tuple[Any, Any]:
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    kind = transformers.CLIPVisionModel if folder.name == "clip" else transformers.AutoModel
    return processor, kind.from_pretrained(folder).eval()


@pytest.mark.parametrize("kind", ["clip", "clip_vision", "dinov2", "vit"])
def test_the_class_token_of_a_face_equals_the_plain_call(folders: dict[str, Path], kind: str) -> None:
    faces = some_faces()
    features = create("visual.transformers", {"model": str(folders[kind]), "batch": 4})(faces)
    expected = plain_call(folders[kind], faces.crops[faces.valid]).last_hidden_state[:, 0].numpy()
    assert features.values.shape == (7, WIDTH)
    assert_close(features.values[faces.valid], expected)
    assert not features.values[2].any()
    np.testing.assert_array_equal(features.valid, faces.valid)
    np.testing.assert_array_equal(features.intervals, faces.intervals)
    assert features.notes == {"policy": "largest", "model": kind}


@pytest.mark.parametrize("kind", VISION)
def test_the_mean_over_the_patches_of_frames_equals_the_plain_call(folders: dict[str, Path], kind: str) -> None:
    frames = some_frames()
    features = create("visual.transformers_frame", {"model": str(folders[kind]), "pooling": "mean"})(frames)
    patches = 16  # of 8 x 8 pixels in 32 x 32; what stands before them is no patch
    expected = plain_call(folders[kind], frames.pixels).last_hidden_state[:, -patches:].mean(1).numpy()
    assert_close(features.values, expected)
    assert features.valid.all()
    assert features.notes == {"model": kind}


@pytest.mark.parametrize("kind", ["clip", "clip_vision", "dinov2", "siglip"])
def test_the_pooler_is_the_models_own(folders: dict[str, Path], kind: str) -> None:
    frames = some_frames()
    features = create("visual.transformers_frame", {"model": str(folders[kind]), "pooling": "pooler"})(frames)
    assert_close(features.values, plain_call(folders[kind], frames.pixels).pooler_output)


@pytest.mark.parametrize(("options", "layers"), [({"layer": 1}, [1]), ({"layer": -1}, [-1]), ({"last": 2}, [-2, -1])])
@pytest.mark.parametrize("kind", ["clip", "vit"])
def test_layers_are_hidden_states(folders: dict[str, Path], kind: str, options: dict, layers: list[int]) -> None:
    frames = some_frames()
    features = create("visual.transformers_frame", {"model": str(folders[kind]), **options})(frames)
    states = plain_call(folders[kind], frames.pixels).hidden_states
    expected = torch.stack([states[layer] for layer in layers]).mean(0)[:, 0].numpy()
    assert_close(features.values, expected)


def test_a_real_clip_goes_through_face_and_frame(shared: Path, folders: dict[str, Path]) -> None:
    face = create("visual.transformers", {"model": str(folders["vit"])})
    frame = create("visual.transformers_frame", {"model": str(folders["clip"]), "width": 320})
    session, whole = FaceSession(face.face), FrameSession(frame.frames)
    requests = [FrameRequest(face.face.rate, session.add), FrameRequest(frame.frames.rate, whole.add)]
    decode(shared / "data" / "grid" / "bbaf2n.mpg", audio=False, frames=requests)
    faces, frames = session.finish(), whole.finish()
    of_faces, of_frames = face(faces), frame(frames)
    expected = plain_call(folders["vit"], faces.crops[faces.valid]).last_hidden_state[:, 0].numpy()
    assert_close(of_faces.values[faces.valid], expected)
    expected = plain_call(folders["clip"], frames.pixels).last_hidden_state[:, 0].numpy()
    assert_close(of_frames.values, expected)
    assert len(of_faces) == len(of_frames) == 15
    np.testing.assert_array_equal(of_faces.intervals, of_frames.intervals)


def test_names_and_steps_come_from_the_configuration(folders: dict[str, Path]) -> None:
    extractor = create("visual.transformers", {"model": str(folders["clip"]), "rate": 10})
    assert extractor.names[0] == "clip_vision_model_0000"
    assert len(extractor.names) == WIDTH
    assert extractor.step == 0.1
    assert not hasattr(extractor, "model")


def test_face_settings_are_shared_with_the_other_extractors(folders: dict[str, Path]) -> None:
    extractor = create("visual.transformers", {"model": str(folders["vit"])})
    assert extractor.face == create("visual.mtcnn").face
    assert "rate" in extractor.identity()["config"]


def test_a_pooler_without_weights_is_refused_before_any_clip(folders: dict[str, Path]) -> None:
    create("visual.transformers", {"model": str(folders["vit"]), "pooling": "mean"}).load()
    with pytest.raises(MseError, match=r"lack 2 parameters of its configuration; the first is pooler"):
        create("visual.transformers", {"model": str(folders["vit"]), "pooling": "pooler"}).load()


def test_a_model_without_a_class_token_is_told_before_any_clip(folders: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="has no class token: take `pooling: mean`"):
        create("visual.transformers_frame", {"model": str(folders["siglip"])}).load()


def test_clips_without_faces_or_frames_are_told(folders: dict[str, Path]) -> None:
    session = FaceSession(create("visual.transformers", {"model": str(folders["vit"])}).face)
    session.add(FrameBatch.of(np.zeros((2, 120, 160, 3), np.uint8), np.array([[0, 0.2], [0.2, 0.4]])))
    with pytest.raises(ClipError) as caught:
        create("visual.transformers", {"model": str(folders["vit"])})(session.finish())
    assert caught.value.code == "no_face"
    with pytest.raises(ClipError) as caught:
        create("visual.transformers_frame", {"model": str(folders["vit"])})(Frames(np.zeros((0, 2)), ()))
    assert caught.value.code == "no_video"


def test_no_more_pictures_than_a_batch_go_through_the_model_at_once(folders: dict[str, Path]) -> None:
    extractor = create("visual.transformers_frame", {"model": str(folders["dinov2"]), "batch": 3})
    extractor.load()
    seen: list[int] = []
    extractor.model.embeddings.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    extractor(some_frames(8))
    assert seen == [3, 3, 2]


def test_bfloat16_is_near_to_float32(folders: dict[str, Path]) -> None:
    frames = some_frames()
    full = create("visual.transformers_frame", {"model": str(folders["clip"])})(frames).values
    half = create("visual.transformers_frame", {"model": str(folders["clip"]), "precision": "bfloat16"})(frames).values
    assert half.dtype == np.float32
    assert 0 < np.linalg.norm(half - full) / np.linalg.norm(full) < 0.1
