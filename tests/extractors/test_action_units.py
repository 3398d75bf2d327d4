"""Action units by py-feat: what is told where it, or its weights, are missing, and that each face gets its row."""

import importlib.util

import numpy as np
import pytest

from mse_pipeline.errors import UsageError
from mse_pipeline.extractors.registry import create, find
from mse_pipeline.extractors.visual import action_units
from mse_pipeline.extractors.visual.action_units import UNITS, ActionUnitsMeasure
from mse_pipeline.extractors.visual.faces import Faces


def test_missing_weights_are_told_with_their_place_and_licence(tmp_path, monkeypatch):
    monkeypatch.setenv("MSE_MODELS", str(tmp_path))
    with pytest.raises(UsageError, match=r"face_multitask_v28.safetensors, which is not there. Download .*non-commerc"):
        create("visual.action_units").identity()
    with pytest.raises(UsageError, match=r"needs .*mine.safetensors, which is not there"):
        create("visual.action_units", {"weights": str(tmp_path / "mine.safetensors")}).identity()


def test_weights_that_may_hold_code_are_refused(tmp_path):
    (tmp_path / "face.pt").write_bytes(b"a pickle")
    with pytest.raises(UsageError, match=r"must be a .safetensors file, which holds no code"):
        create("visual.action_units", {"weights": str(tmp_path / "face.pt")}).identity()


def test_a_missing_package_is_told_with_the_extra(tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "feat" else find_spec(name))
    assert find("visual.action_units").missing() == 'Not installed: pip install "mse-pipeline[aus]"'
    with pytest.raises(UsageError, match=r'pip install "mse-pipeline\[aus\]"'):
        action_units.load_model(tmp_path / "none.safetensors", "cpu")


def test_the_followed_face_has_its_row_and_frames_without_a_face_have_none():
    extractor = create("visual.action_units")
    measure = extractor.measures[0]
    assert measure == ActionUnitsMeasure(None, "cpu")
    measured = np.full((3, len(UNITS)), np.nan, np.float32)
    measured[1] = np.linspace(0, 1, len(UNITS))
    valid = np.array([False, True, False])
    blank = np.zeros((3, 1, 1, 3), np.uint8)
    faces = Faces(
        intervals=np.array([[0, 1], [1, 2], [2, 3.0]]),
        valid=valid,
        boxes=np.zeros((3, 4)),
        probabilities=np.zeros(3),
        landmarks=np.zeros((3, 5, 2)),
        patches=blank,
        crops=blank,
        track=np.where(valid, 0, -1),
        measured={measure.key: measured},
    )
    features = extractor(faces)
    assert features.valid.tolist() == valid.tolist()
    assert not features.values[[0, 2]].any()
    assert features.values[1].tolist() == measured[1].tolist()
    assert measure(None, np.zeros((0, 4)), np.zeros((0, 5, 2))).shape == (0, 20)
