"""Networks of OpenCV's model zoo, whose weights come in blocks of int8: the same values as OpenCV's."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mse_pipeline.errors import MseError
from mse_pipeline.extractors.visual import weights, zoo
from mse_pipeline.extractors.visual.onnx import Export, Session, contents
from mse_pipeline.extractors.visual.weights import Released
from mse_pipeline.extractors.visual.yunet import YunetDetector
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import FrameBatch

GIVEN = os.environ.get("MSE_MODELS")


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Released:
    """A network as the zoo has them: a convolution whose weights are blocks of int8 of another shape."""
    monkeypatch.setenv("MSE_MODELS", str(tmp_path))
    rng = np.random.default_rng(0)
    given = {
        "quantized": rng.integers(-127, 128, (2, 12), np.int8),
        "scales": rng.random((2, 3), np.float32),
        "zero_points": rng.integers(-9, 9, (2, 3), np.int8),
        "shape": np.array([2, 3, 2, 2]),
        "bias": np.array([5.0, -5.0], np.float32),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["quantized", "scales", "zero_points"], ["flat"], axis=1, block_size=4),
        helper.make_node("Reshape", ["flat", "shape"], ["weights"]),
        helper.make_node("Conv", ["data", "weights", "bias"], ["maps"]),
    ]
    inputs = [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 640, 640])]
    outputs = [helper.make_tensor_value_info("maps", TensorProto.FLOAT, None)]
    tensors = [numpy_helper.from_array(values, name) for name, values in given.items()]
    graph = helper.make_graph(nodes, "small", inputs, outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "s.onnx")
    digest = hashlib.sha256((tmp_path / "s.onnx").read_bytes()).hexdigest()
    return Released("s.onnx", "https://nowhere", digest, "1 MB", "a test", "wait")


def unpacked(released: Released, blue_first: bool) -> bytes:
    return zoo._unpacked(released, ("maps",), blue_first)


@pytest.mark.parametrize("blue_first", [False, True])
@pytest.mark.parametrize("library", ["openvino", "onnxruntime"])
def test_blocks_of_int8_are_computed_in_float32(
    library: str, blue_first: bool, released: Released, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library == "onnxruntime":
        monkeypatch.setattr("mse_pipeline.extractors.visual.onnx.openvino_alone", lambda: None)
    else:
        pytest.importorskip(library, reason="openvino is not installed")
    tensors = {
        t.name: numpy_helper.to_array(t) for t in onnx.load(weights.models_folder() / "s.onnx").graph.initializer
    }
    quantized, zero_points = tensors["quantized"].astype(float), np.repeat(tensors["zero_points"].astype(float), 4, 1)
    kernels = ((quantized - zero_points) * np.repeat(tensors["scales"], 4, 1)).reshape(2, 3, 2, 2)
    pictures = np.random.default_rng(1).integers(0, 256, (3, 5, 7, 3), np.uint8)
    channels = pictures[..., ::-1] if blue_first else pictures
    windows = np.lib.stride_tricks.sliding_window_view(channels.astype(float), (2, 2), axis=(1, 2))
    expected = np.einsum("nhwcij,ocij->nohw", windows, kernels) + tensors["bias"][:, None, None]
    (maps,) = Session(unpacked(released, blue_first), ("maps",), any_size=True)(pictures)
    np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-2)


def test_unpacked_weights_are_kept(released: Released) -> None:
    export = Export("small", released.sha256, lambda: unpacked(released, False), ("maps",), any_size=True)
    (content,) = contents([export])
    (kept,) = (weights.models_folder() / "onnx").glob("small-*.onnx")
    assert kept.read_bytes() == content
    assert not onnx.load_from_string(content).graph.node[0].op_type.startswith("Dequantize")


def test_damaged_weights_are_named(released: Released) -> None:
    (weights.models_folder() / "s.onnx").write_bytes(b"damaged")
    with pytest.raises(MseError, match=r"s\.onnx is damaged or another file"):
        unpacked(released, False)


@pytest.fixture
def frames(shared: Path, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Frames of MELD, 480 pixels wide."""
    if not GIVEN or not all((Path(GIVEN) / one.file).is_file() for one in (weights.YUNET, weights.SFACE)):
        pytest.skip("needs yunet.onnx and sface.onnx in $MSE_MODELS")
    monkeypatch.setenv("MSE_MODELS", GIVEN)
    made: list[np.ndarray] = []

    def add(batch: FrameBatch) -> None:
        made.extend(batch.reduced(480))

    for path in sorted((shared / "data/meld/clips").glob("*.mp4"))[:3]:
        decode(path, frames=[FrameRequest(2.0, add)], audio=False)
    return made


def test_yunet_finds_what_it_finds_in_opencv(frames: list[np.ndarray]) -> None:
    import cv2

    height, width = frames[0].shape[:2]
    try:
        theirs = cv2.FaceDetectorYN.create(str(weights.models_folder() / "yunet.onnx"), "", (width, height), 0.78)
    except cv2.error:
        pytest.skip(f"OpenCV {cv2.__version__} cannot read these weights")
    found = 0
    for frame, mine in zip(frames, YunetDetector(0, 0.78)(np.stack(frames)), strict=True):
        rows = theirs.detect(np.ascontiguousarray(frame[..., ::-1]))[1]
        rows = np.zeros((0, 15)) if rows is None else rows.astype(float)
        low, high = np.maximum(rows[:, :2], 0), np.minimum(rows[:, :2] + rows[:, 2:4], [width, height])
        order = np.argsort(-(high - low).prod(1), kind="stable")[:5]
        np.testing.assert_allclose(mine.boxes, np.concatenate([low, high], 1)[order], atol=1e-3)
        np.testing.assert_allclose(mine.probabilities, rows[order, 14], atol=1e-5)
        np.testing.assert_allclose(mine.landmarks, rows[order, 4:14].reshape(-1, 5, 2), atol=1e-3)
        found += len(mine)
    assert found > 20


def test_sface_gives_what_it_gives_in_opencv(frames: list[np.ndarray]) -> None:
    import cv2

    from mse_pipeline.extractors.visual.people import load_embedder

    faces = np.stack([frame[60:172, 100:212] for frame in frames[:11]])
    try:
        theirs = cv2.FaceRecognizerSF.create(str(weights.models_folder() / "sface.onnx"), "")
        vectors = np.concatenate([theirs.feature(np.ascontiguousarray(face[..., ::-1])) for face in faces])
    except cv2.error:
        pytest.skip(f"OpenCV {cv2.__version__} cannot read these weights")
    cosines = (load_embedder()(faces) * vectors).sum(1) / np.linalg.norm(vectors, axis=1)
    assert cosines.min() > 0.99999
