"""Which detector finds faces and what knows people again: decided once, in the key, told where it is not the best."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mse_pipeline.errors import MseError
from mse_pipeline.extraction.run import stream_specs
from mse_pipeline.extractors.registry import available, create
from mse_pipeline.extractors.visual import weights
from mse_pipeline.extractors.visual.faces import FaceConfig, FaceSession
from mse_pipeline.extractors.visual.people import aligned, around, from_text, load_embedder, to_text
from mse_pipeline.extractors.visual.policy import activity, confidence, motion, voiced
from mse_pipeline.extractors.visual.tracking import Track
from mse_pipeline.extractors.visual.yunet import YunetDetector
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.recipe import Recipe

FACE_STREAMS = ("visual.mtcnn", "visual.geometry", "visual.yunet")
GIVEN = os.environ.get("MSE_MODELS")


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models' folder."""
    monkeypatch.setenv("MSE_MODELS", str(tmp_path))
    return tmp_path


@pytest.fixture
def real_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    here = GIVEN and all((Path(GIVEN) / one.file).is_file() for one in (weights.YUNET, weights.SFACE))
    if not here:
        pytest.skip("needs yunet.onnx and sface.onnx in $MSE_MODELS")
    monkeypatch.setenv("MSE_MODELS", str(GIVEN))


def test_without_weights_mtcnn_finds_faces_and_the_run_says_so(models: Path) -> None:
    extractor = create("visual.mtcnn")
    assert (extractor.config.detector, extractor.config.identity) == ("mtcnn", "none")
    assert (extractor.config.min_face_size, extractor.config.min_probability) == (40, 0.9)
    told = " ".join(extractor.instead())
    assert f"yunet.onnx is not in {models}" in told
    assert f"sface.onnx is not in {models}" in told


def test_with_weights_the_best_is_taken_without_a_word(models: Path) -> None:
    for released in (weights.YUNET, weights.SFACE):
        (models / released.file).touch()
    extractor = create("visual.geometry")
    assert (extractor.config.detector, extractor.config.identity) == ("yunet", "sface")
    assert extractor.config.min_probability == 0.78
    assert extractor.instead() == ()


@pytest.mark.parametrize("stream", FACE_STREAMS)
def test_who_names_a_detector_is_told_nothing(models: Path, stream: str) -> None:
    extractor = create(stream, {"detector": "mtcnn", "identity": "none"})
    assert extractor.instead() == ()
    assert extractor.identity()["config"]["detector"] == "mtcnn"


@pytest.mark.parametrize("stream", FACE_STREAMS)
def test_detector_and_identity_are_part_of_the_key(models: Path, stream: str) -> None:
    asked = [{"detector": d, "identity": i} for d in ("mtcnn", "yunet") for i in ("none", "sface")]
    made = [create(stream, options).identity() for options in asked]
    assert len({str(one["config"]) for one in made}) == 4
    assert len({one["model"] for one in made}) == 4
    assert create(stream, asked[0]).identity() == create(stream, asked[0]).identity()


def test_options_of_mtcnn_alone_do_not_change_the_key_of_yunet(models: Path) -> None:
    one, other = (create("visual.yunet", more) for more in ({}, {"detect_every": 1, "factor": 0.5}))
    assert one.identity() == other.identity()


def test_all_workers_take_what_was_decided_for_the_plan(models: Path) -> None:
    plain = {"version": 1, "name": "a", "corpus": {"name": "table"}, "streams": {"visual.mtcnn": {"rate": 4}}}
    (spec,) = stream_specs(Recipe.model_validate(plain))
    assert spec.options == {"rate": 4, "detector": "mtcnn", "identity": "none"}
    assert len(spec.instead) == 2
    for released in (weights.YUNET, weights.SFACE):
        (models / released.file).touch()  # as on a worker's machine
    assert create(spec.stream, spec.options).identity() == spec.identity


@pytest.mark.parametrize("released", [weights.YUNET, weights.SFACE])
def test_damaged_weights_are_told_when_the_run_is_planned(models: Path, released: weights.Released) -> None:
    (models / released.file).write_bytes(b"half")
    with pytest.raises(MseError, match=rf"{released.file} is damaged or another file.*{released.otherwise[:20]}"):
        create("visual.mtcnn").identity()


def test_weights_that_cannot_be_fetched_are_told_with_what_to_do(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(weights.urllib.request, "urlopen", refuse)
    with pytest.raises(
        MseError, match=r"face detector YuNet could not be downloaded.*or use the option `detector: mtcnn`"
    ):
        weights.fetched(weights.YUNET)
    assert create("visual.yunet").face.missing() == ("yunet.onnx",)


def test_the_stream_of_yunet_begins_as_that_of_mtcnn() -> None:
    one, other = create("visual.yunet"), create("visual.mtcnn")
    assert one.names == other.names[:15]
    assert one.units == other.units[:15]
    assert available()["visual.yunet"].dim == 15


def test_a_face_is_turned_upright_and_the_part_that_it_lies_in_is_known() -> None:
    marks = np.array([[30.0, 60.0], [30.0, 20.0], [50.0, 40.0], [70.0, 58.0], [70.0, 22.0]])  # lying on its side
    picture = np.zeros((100, 100, 3), np.uint8)
    for x, y in marks.astype(int):
        picture[y - 2 : y + 3, x - 2 : x + 3] = 255
    made = aligned(picture, marks).astype(int)
    for x, y in ((38, 52), (74, 52), (56, 72)):
        assert made[y - 3 : y + 4, x - 3 : x + 4].max() > 150
    x1, y1, x2, y2 = around(marks)
    assert (x1 < marks[:, 0].min(), y1 < marks[:, 1].min()) == (True, True)
    assert (x2 > marks[:, 0].max(), y2 > marks[:, 1].max()) == (True, True)


def test_an_identity_survives_as_text() -> None:
    vector = np.random.default_rng(0).normal(size=128).astype(np.float32)
    vector /= np.linalg.norm(vector)
    np.testing.assert_allclose(from_text(to_text(vector)), vector, atol=1e-3)


def test_a_mouth_that_moves_while_there_is_a_voice_is_active() -> None:
    voice = np.where(np.arange(100) < 50, 1.0, 0.05)
    assert voiced(voice).tolist() == [True] * 50 + [False] * 50
    speaks, listens = np.where(voice > 0.5, 0.2, 0.06), np.where(voice > 0.5, 0.06, 0.2)
    assert activity(speaks, voice) > 2 * activity(listens, voice)
    assert activity(np.full(100, 0.2), np.zeros(100)) == 0.0
    assert activity(np.full(100, np.nan), voice) == 0.0


def test_motion_is_that_of_the_mouth_and_not_of_the_head() -> None:
    still = np.random.default_rng(0).normal(100.0, 20.0, (24, 32))
    opened = still.copy()
    opened[10:16, 10:22] = 20.0
    assert motion(still, opened) > 0.2
    assert motion(still, np.roll(still, 1, axis=0)) == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(motion(None, still))


def test_nobody_who_is_active_gives_no_confidence() -> None:
    assert confidence([Track(person=0)], [-1.0], [0.0]) == 0.0
    assert confidence([], [], []) == 0.0


def test_yunet_finds_faces_where_mtcnn_does(real_weights: None, shared: Path) -> None:
    path = sorted((shared / "data/grid").glob("*.mpg"))[0]
    made = {}
    for detector in ("mtcnn", "yunet"):
        session = FaceSession(FaceConfig(detector=detector, identity="none"))
        decode(path, frames=[FrameRequest(5.0, session.add)], audio=False)
        made[detector] = session.finish()
    one, other = made["mtcnn"], made["yunet"]
    assert one.valid.all()
    assert other.valid.all()
    middles = [(faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 for faces in (one, other)]
    assert np.abs(middles[0] - middles[1]).max() < 0.05
    marks = [f.boxes[:, None, :2] + f.landmarks * (f.boxes[:, 2:] - f.boxes[:, :2])[:, None] for f in (one, other)]
    assert np.abs(marks[0] - marks[1]).max() < 0.05  # also the order: left eye first


def test_yunet_finds_nothing_in_an_even_frame(real_weights: None) -> None:
    assert [len(found) for found in YunetDetector(16, 0.78)(np.full((2, 90, 160, 3), 128, np.uint8))] == [0, 0]


def test_sface_knows_people_again(real_weights: None, shared: Path) -> None:
    made = []
    for path in sorted((shared / "data/grid").glob("*.mpg"))[:3]:
        session = FaceSession(FaceConfig(detector="yunet", identity="sface", policy="speaker"))
        decode(path, frames=[FrameRequest(2.0, session.add)], audio=False)
        made.append(from_text(session.finish().notes["tracks"][0]["identity"]))
    cosines = np.array(made) @ np.array(made).T
    np.testing.assert_allclose(np.diag(cosines), 1.0, atol=1e-3)
    assert cosines[np.triu_indices(3, 1)].max() < 0.36
    assert load_embedder()(np.zeros((0, 112, 112, 3), np.uint8)).shape == (0, 128)
