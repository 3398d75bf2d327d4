"""visual.transformers on networks of feature maps, and visual.timm: values, names, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.extractors import create
from tests.closeness import assert_close
from tests.extractors.small_encoders import WIDTH, save_vision
from tests.extractors.small_families import MAPS, save_maps, save_windows
from tests.extractors.test_neural_visual import some_faces, some_frames

WIDTHS = {"efficientnet": 320}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("maps")
    return {kind: save_maps(home / kind, kind) for kind in MAPS}


def plain_call(folder: Path, pictures: Any) -> Any:
    """What one writes by hand: the image processor, then the model."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    inputs = processor(images=list(pictures), return_tensors="pt")
    with torch.no_grad():
        return transformers.AutoModel.from_pretrained(folder).eval()(**inputs)


@pytest.mark.parametrize("kind", MAPS)
def test_the_pooled_map_of_a_face_equals_the_plain_call(folders: dict[str, Path], kind: str) -> None:
    faces = some_faces()
    extractor = create("visual.transformers", {"model": str(folders[kind]), "batch": 4})
    features = extractor(faces)
    assert features.values.shape == (7, WIDTHS.get(kind, WIDTH))
    assert features.names[0] == f"{kind}_0000"
    expected = plain_call(folders[kind], faces.crops[faces.valid]).pooler_output.flatten(1).numpy()
    assert_close(features.values[faces.valid], expected)
    assert extractor.identity()["config"]["pooling"] == "pooler"


@pytest.mark.parametrize("kind", MAPS)
def test_the_mean_over_the_map_of_a_frame_equals_the_plain_call(folders: dict[str, Path], kind: str) -> None:
    frames = some_frames()
    options = {"model": str(folders[kind]), "pooling": "mean"}
    features = create("visual.transformers_frame", options)(frames)
    states = plain_call(folders[kind], frames.pixels).last_hidden_state
    assert_close(features.values, states.mean((2, 3) if states.ndim == 4 else 1).numpy())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pooling": "cls"}, "has no class token: take `pooling: mean` or `pooling: pooler`"),
        ({"layer": 1}, "feature maps of several sizes: leave out `layer` and `last`"),
        ({"last": 2}, "feature maps of several sizes"),
    ],
)
@pytest.mark.parametrize("kind", ["resnet", "swin"])
def test_options_of_tokens_are_refused(folders: dict[str, Path], kind: str, options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        create("visual.transformers", {"model": str(folders[kind]), **options}).load()


def test_the_key_of_a_vision_transformer_is_that_of_its_class_token(tmp_path: Path) -> None:
    folder = str(save_vision(tmp_path / "vit", "vit"))
    usual = create("visual.transformers", {"model": folder}).identity()
    assert usual == create("visual.transformers", {"model": folder, "pooling": "cls"}).identity()
    assert usual["config"]["pooling"] == "cls"


def test_a_width_that_the_weights_contradict_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["efficientnet"], tmp_path / "other"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_dim": 24}))
    with pytest.raises(MseError, match="weights and configuration belong to two models"):
        create("visual.transformers", {"model": str(folder)}).load()


# --- timm ---------------------------------------------------------------------------------------------------------

timm = pytest.importorskip("timm")
ARCHITECTURES = {"resnet10t": 512, "mobilenetv3_small_050": 1024, "test_vit": 64}


@pytest.fixture(scope="module")
def of_timm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("timm")
    for name in ARCHITECTURES:
        with torch.random.fork_rng():
            torch.manual_seed(7)
            model = timm.create_model(name, pretrained=False, num_classes=5).eval()
        config = {"input_size": [3, 64, 64], "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7], "license": "mit"}
        if name == "test_vit":
            config["input_size"] = list(model.pretrained_cfg["input_size"])
        (home / name).mkdir()
        save_file(model.state_dict(), home / name / "model.safetensors")
        told = {"architecture": name, "num_classes": 5, "pretrained_cfg": config}
        (home / name / "config.json").write_text(json.dumps(told))
    return {name: home / name for name in ARCHITECTURES}


def timm_call(folder: Path, pictures: Any) -> np.ndarray:
    """What one writes by hand with timm."""
    from PIL import Image

    told = json.loads((folder / "config.json").read_text())
    model = timm.create_model(told["architecture"], num_classes=5, pretrained_cfg_overlay=told["pretrained_cfg"]).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    pixels = torch.stack([transform(Image.fromarray(picture)) for picture in pictures])
    with torch.no_grad():
        return model.forward_head(model.forward_features(pixels), pre_logits=True).numpy()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_model_of_timm_gives_what_its_classifier_would_read(of_timm: dict[str, Path], name: str) -> None:
    faces, frames = some_faces(4), some_frames(2)
    face = create("visual.timm", {"model": str(of_timm[name]), "batch": 2})
    features = face(faces)
    assert features.values.shape == (4, ARCHITECTURES[name])
    assert features.names[0] == f"{name}_0000"
    assert_close(features.values[faces.valid], timm_call(of_timm[name], faces.crops[faces.valid]))
    assert features.notes == {"policy": "largest", "model": name, "architecture": name, "licence": "mit"}
    whole = create("visual.timm_frame", {"model": str(of_timm[name])})(frames)
    assert_close(whole.values, timm_call(of_timm[name], frames.pixels))


def test_a_file_of_weights_needs_its_architecture(of_timm: dict[str, Path], tmp_path: Path) -> None:
    file = Path(shutil.copy(of_timm["resnet10t"] / "model.safetensors", tmp_path / "mine.safetensors"))
    with pytest.raises(UsageError, match="give the option `architecture`"):
        create("visual.timm_frame", {"model": str(file)}).load()
    with pytest.raises(UsageError, match="has no architecture 'resnet10'"):
        create("visual.timm_frame", {"model": str(file), "architecture": "resnet10"}).load()
    with pytest.raises(UsageError, match=r"are not those of resnet18: \d+ parameters"):
        create("visual.timm_frame", {"model": str(file), "architecture": "resnet18"}).load()
    extractor = create("visual.timm_frame", {"model": str(file), "architecture": "resnet10t"})
    assert extractor(some_frames(1)).values.shape == (1, 512)


def test_a_configuration_cannot_name_other_weights_and_pickles_are_refused(
    of_timm: dict[str, Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(of_timm["resnet10t"], tmp_path / "hostile"))
    plain = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**plain, "model_args": {"checkpoint_path": "/etc/passwd"}}))
    with pytest.raises(UsageError, match="sets 'checkpoint_path', which no model may set"):
        create("visual.timm", {"model": str(folder)}).load()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"are no \.safetensors file, and others may hold code"):
        create("visual.timm", {"model": str(folder)}).load()
    with pytest.raises(UsageError, match=r"'resnet' model of transformers: use visual\.transformers"):
        create("visual.timm", {"model": str(folders["resnet"])}).load()


def test_the_key_of_a_model_of_timm_is_that_of_its_content(of_timm: dict[str, Path], tmp_path: Path) -> None:
    moved = Path(shutil.copytree(of_timm["resnet10t"], tmp_path / "moved"))
    key = create("visual.timm", {"model": str(of_timm["resnet10t"])}).identity()
    assert create("visual.timm", {"model": str(moved), "batch": 2}).identity() == key
    plain = json.loads((moved / "config.json").read_text())
    plain["pretrained_cfg"]["mean"] = [0.0, 0.0, 0.0]
    (moved / "config.json").write_text(json.dumps(plain))
    assert create("visual.timm", {"model": str(moved)}).identity() != key


def test_a_model_of_timm_is_sent_to_its_extractor(tmp_path: Path) -> None:
    folder = tmp_path / "wrapped"
    folder.mkdir()
    shutil.copy(save_windows(tmp_path / "weights", "videomae") / "model.safetensors", folder)
    told = {"architecture": "resnet10t", "num_classes": 5, "model_type": "timm_wrapper", "pretrained_cfg": {}}
    (folder / "config.json").write_text(json.dumps(told))
    with pytest.raises(UsageError, match=r"as a model of timm: use visual\.timm"):
        create("visual.transformers", {"model": str(folder)}).load()
