"""visual.transformers_clip and its sibling of whole frames equal the plain calls of transformers on windows."""

from __future__ import annotations

import functools
import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.extractors import create
from mse_pipeline.extractors.visual.faces import Faces
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import FrameBatch
from mse_pipeline.store.features import Features
from tests.closeness import assert_close
from tests.extractors.small_encoders import WIDTH
from tests.extractors.small_families import WINDOWS, save_windows
from tests.extractors.test_neural_visual import some_faces

RANDOM = np.random.default_rng(3)
LENGTH = 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("windows")
    return {kind: save_windows(home / kind, kind) for kind in WINDOWS}


def frames(count: int, height: int = 90, width: int = 160) -> np.ndarray:
    return RANDOM.integers(0, 255, (count, height, width, 3), dtype=np.uint8)


def times(count: int) -> np.ndarray:
    return np.stack([np.arange(count), np.arange(count) + 1], 1) / 5


def of_frames(extractor: Any, pixels: np.ndarray, size: int = 3) -> Features:
    session = extractor.begin()
    for k in range(0, len(pixels), size):
        session.add(FrameBatch.of(pixels[k : k + size], times(len(pixels))[k : k + size]))
    return session.finish()


@functools.cache
def plain_model(folder: Path) -> tuple[Any, Any]:
    model = transformers.AutoModel.from_pretrained(folder).eval()
    if folder.name == "vjepa2":
        return transformers.AutoVideoProcessor.from_pretrained(folder), model
    return transformers.AutoImageProcessor.from_pretrained(folder), model


def plain_call(folder: Path, window: list[np.ndarray], **more: Any) -> Any:
    """What one writes by hand: the processor on the frames, then the model; the output, batch of one."""
    processor, model = plain_model(folder)
    inputs = processor(list(window), return_tensors="pt")
    with torch.no_grad():
        if folder.name == "xclip":
            return model.vision_model(inputs["pixel_values"].flatten(0, 1), **more)
        return model(**inputs, **more)


def mean(folder: Path, window: list[np.ndarray]) -> np.ndarray:
    states = plain_call(folder, window).last_hidden_state
    if folder.name == "xclip":
        return states[:, 1:].mean((0, 1)).numpy()
    tokens = {"timesformer": LENGTH * 16 + 1, "vivit": 2 * 16 + 1}.get(folder.name, 2 * 16)
    assert states.shape[1] == tokens
    return states[0, tokens % 2 :].mean(0).numpy()


@pytest.mark.parametrize("kind", WINDOWS)
@pytest.mark.parametrize("batch", [1, 3])
def test_windows_of_frames_equal_the_plain_call(folders: dict[str, Path], kind: str, batch: int) -> None:
    pixels = frames(11)
    extractor = create("visual.transformers_clip_frame", {"model": str(folders[kind]), "batch": batch})
    features = of_frames(extractor, pixels)
    starts = [0, 2, 4, 6, 7]  # the last ends with the clip
    expected = np.stack([mean(folders[kind], list(pixels[start : start + LENGTH])) for start in starts])
    assert features.values.shape == (5, WIDTH)
    assert_close(features.values, expected)
    borders = [0.0, *((a + b + LENGTH) / 10 for a, b in itertools.pairwise(starts)), 2.2]
    np.testing.assert_allclose(features.intervals, np.stack([borders[:-1], borders[1:]], 1))
    assert features.notes == {"model": kind, "window": 4, "hop": 2}
    assert extractor.step == 0.4


@pytest.mark.parametrize("kind", WINDOWS)
def test_windows_of_a_face_equal_the_plain_call(folders: dict[str, Path], kind: str) -> None:
    faces = some_faces(9)  # without a face in the third frame, which shows that of the second
    features = create("visual.transformers_clip", {"model": str(folders[kind]), "hop": 3})(faces)
    shown = [0, 1, 1, 3, 4, 5, 6, 7, 8]
    expected = [mean(folders[kind], list(faces.crops[shown[start : start + LENGTH]])) for start in (0, 3, 5)]
    assert_close(features.values, np.stack(expected))
    assert features.valid.all()
    assert features.notes == {"policy": "largest", "model": kind, "window": 4, "hop": 3}


def test_a_window_without_a_face_in_half_of_its_frames_does_not_count(folders: dict[str, Path]) -> None:
    faces = some_faces(8)
    valid = np.array([False, False, False, True, True, True, True, True])
    hidden = Faces(**{**faces.__dict__, "valid": valid})
    features = create("visual.transformers_clip", {"model": str(folders["videomae"])})(hidden)
    assert features.valid.tolist() == [False, True, True]
    assert not features.values[0].any()
    with pytest.raises(ClipError, match="No face was found"):
        create("visual.transformers_clip", {"model": str(folders["videomae"])})(
            Faces(**{**faces.__dict__, "valid": np.zeros(8, bool)})
        )


@pytest.mark.parametrize("kind", WINDOWS)
@pytest.mark.parametrize("count", [1, 3])
def test_a_clip_shorter_than_a_window_repeats_its_last_frame(folders: dict[str, Path], kind: str, count: int) -> None:
    pixels = frames(count)
    features = of_frames(create("visual.transformers_clip_frame", {"model": str(folders[kind])}), pixels)
    assert_close(features.values[0], mean(folders[kind], [*pixels, *pixels[-1:].repeat(LENGTH - count, 0)]))
    np.testing.assert_allclose(features.intervals, [[0.0, count / 5]])


def test_a_clip_without_frames_is_told(folders: dict[str, Path]) -> None:
    session = create("visual.transformers_clip_frame", {"model": str(folders["videomae"])}).begin()
    with pytest.raises(ClipError, match="no frame"):
        session.finish()


@pytest.mark.parametrize(
    ("kind", "options"),
    [("timesformer", {"pooling": "cls"}), ("vivit", {"pooling": "cls"}), ("vivit", {"pooling": "pooler"})],
)
def test_class_tokens_and_poolers_are_the_models_own(folders: dict[str, Path], kind: str, options: dict) -> None:
    pixels = frames(LENGTH)
    features = of_frames(create("visual.transformers_clip_frame", {"model": str(folders[kind]), **options}), pixels)
    output = plain_call(folders[kind], list(pixels))
    expected = output.pooler_output[0] if options["pooling"] == "pooler" else output.last_hidden_state[0, 0]
    assert_close(features.values[0], expected.numpy())


def test_what_x_clip_pools_are_its_video_features(folders: dict[str, Path]) -> None:
    pixels = frames(6)
    options = {"model": str(folders["xclip"]), "pooling": "pooler"}
    features = of_frames(create("visual.transformers_clip_frame", options), pixels)
    processor, model = plain_model(folders["xclip"])
    inputs = processor([list(pixels[:4]), list(pixels[2:])], return_tensors="pt")
    with torch.no_grad():
        expected = model.get_video_features(**inputs).pooler_output.numpy()
    assert features.values.shape == (2, 8)
    assert_close(features.values, expected)


@pytest.mark.parametrize("kind", WINDOWS)
def test_layers_are_hidden_states(folders: dict[str, Path], kind: str) -> None:
    pixels = frames(LENGTH)
    options = {"model": str(folders[kind]), "layer": 1, "pooling": "mean"}
    features = of_frames(create("visual.transformers_clip_frame", options), pixels)
    states = plain_call(folders[kind], list(pixels), output_hidden_states=True).hidden_states[1]
    skip = 1 if kind in ("timesformer", "vivit", "xclip") else 0
    assert_close(features.values[0], states[:, skip:].mean((0, 1)).numpy())


@pytest.mark.parametrize("kind", ["timesformer", "vjepa2"])
def test_some_models_take_windows_of_other_lengths(folders: dict[str, Path], kind: str) -> None:
    pixels = frames(8)
    options = {"model": str(folders[kind]), "window": 8}
    features = of_frames(create("visual.transformers_clip_frame", options), pixels)
    states = plain_call(folders[kind], list(pixels)).last_hidden_state[0]
    assert_close(features.values[0], states[1 if kind == "timesformer" else 0 :].mean(0).numpy())


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("videomae", {"window": 8}, "reads windows of 4 frames, and `window` asks for 8: leave `window` out"),
        ("xclip", {"window": 8}, "reads windows of 4 frames"),
        ("vjepa2", {"window": 5}, "reads 2 frames as one: `window` must be a multiple"),
        ("videomae", {"hop": 5}, "frames between would be left out. Use 1 to 4"),
        ("videomae", {"pooling": "cls"}, "has no class token: take `pooling: mean`"),
        ("videomae", {"pooling": "pooler"}, "pools nothing: take `pooling: mean`"),
        ("vjepa2", {"layer": 9}, "has 3 hidden states"),
    ],
)
@pytest.mark.parametrize("stream", ["visual.transformers_clip", "visual.transformers_clip_frame"])
def test_options_that_do_not_fit_are_refused_before_any_clip(
    folders: dict[str, Path], stream: str, kind: str, options: dict, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        create(stream, {"model": str(folders[kind]), **options}).load()


def test_a_speaker_that_is_chosen_later_cannot_be_followed_in_windows(folders: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="windows are made of one face"):
        create("visual.transformers_clip", {"model": str(folders["videomae"]), "policy": "speaker"})


def test_of_x_clip_only_the_vision_half_is_read(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["xclip"], tmp_path / "vision"))
    state = load_file(folder / "model.safetensors")
    state = {name: value for name, value in state.items() if name.startswith("vision_model.")}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    pixels = frames(LENGTH)
    whole, alone = (
        of_frames(create("visual.transformers_clip_frame", {"model": str(place)}), pixels)
        for place in (folders["xclip"], folder)
    )
    np.testing.assert_array_equal(whole.values, alone.values)


def test_no_more_frames_are_kept_than_windows_need(folders: dict[str, Path]) -> None:
    """However long the clip: those of the windows that wait, and of the next one."""
    extractor = create("visual.transformers_clip_frame", {"model": str(folders["videomae"]), "width": 32, "batch": 2})
    session = extractor.begin()
    most = 0
    pixels = frames(10, 32, 32)
    for k in range(60):  # 2 minutes at 5 frames a second
        session.add(FrameBatch.of(pixels, times(600)[10 * k : 10 * k + 10]))
        waiting = [id(frame) for window in session._windows._waiting for frame in window]
        most = max(most, len({*waiting, *map(id, session._windows._recent)}))
    assert len(session.finish()) == 299
    assert most <= 2 * LENGTH


def test_half_precision_is_near(folders: dict[str, Path]) -> None:
    pixels = frames(LENGTH)
    for kind in WINDOWS:
        options = {"model": str(folders[kind])}
        full = of_frames(create("visual.transformers_clip_frame", options), pixels).values
        half = of_frames(create("visual.transformers_clip_frame", {**options, "precision": "bfloat16"}), pixels).values
        assert 0 < np.linalg.norm(half - full) / np.linalg.norm(full) < 0.1


def test_a_folder_without_its_processor_is_told(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["videomae"], tmp_path / "bare"))
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UsageError, match=r"no usable preprocessor_config\.json.*Copy it from the model"):
        create("visual.transformers_clip", {"model": str(folder)}).load()


def test_the_frames_of_a_real_clip_become_windows(shared: Path, folders: dict[str, Path]) -> None:
    extractor = create("visual.transformers_clip_frame", {"model": str(folders["videomae"])})
    session, seen = extractor.begin(), []
    requests = [
        FrameRequest(5.0, session.add),
        FrameRequest(5.0, lambda batch: seen.extend(batch.reduced(480))),
    ]
    decode(shared / "data" / "grid" / "bbaf2n.mpg", audio=False, frames=requests)
    features = session.finish()
    assert len(seen) == 15
    assert features.intervals[-1, 1] == pytest.approx(3.0, abs=0.05)
    starts = [0, 2, 4, 6, 8, 10, 11]
    assert_close(features.values, np.stack([mean(folders["videomae"], seen[k : k + LENGTH]) for k in starts]))
