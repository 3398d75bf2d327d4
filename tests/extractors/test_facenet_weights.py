"""Face embeddings with weights from a file, and where the weights come from. Nothing is fetched here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from facenet_pytorch import InceptionResnetV1

from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.extractors.registry import create
from mse_pipeline.extractors.visual import weights
from mse_pipeline.extractors.visual.facenet import has_bfloat16
from mse_pipeline.extractors.visual.faces import Faces
from tests.closeness import assert_close


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    network = InceptionResnetV1(classify=False)
    return {**network.state_dict(), "logits.weight": torch.zeros(3, 512), "logits.bias": torch.zeros(3)}


@pytest.fixture(scope="module", autouse=True)
def _own_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Networks with weights drawn by chance are not kept for later."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSE_MODELS", str(tmp_path_factory.mktemp("models")))
        yield


@pytest.fixture(scope="module")
def weights_file(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    torch.save(state, path)
    return path


@pytest.fixture
def faces() -> Faces:
    count, rng = 5, np.random.default_rng(0)
    valid = np.array([True, True, False, True, False])
    index = np.arange(count)
    return Faces(
        intervals=np.stack([index, index + 1], 1) / 5,
        valid=valid,
        boxes=np.zeros((count, 4)),
        probabilities=valid.astype(float),
        landmarks=np.zeros((count, 5, 2)),
        patches=np.zeros((count, 48, 48, 3), np.uint8),
        crops=rng.integers(0, 255, (count, 160, 160, 3), dtype=np.uint8),
        track=np.where(valid, 0, -1),
        notes={"policy": "largest"},
    )


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small stand-in for the released file, at an address on this disk, with an empty models' folder."""
    source = tmp_path / "release.pt"
    source.write_bytes(b"weights" * 1000)
    monkeypatch.setattr(weights, "URL", source.as_uri())
    monkeypatch.setattr(weights, "SHA256", hashlib.sha256(source.read_bytes()).hexdigest())
    monkeypatch.setenv("MSE_MODELS", str(tmp_path / "models"))
    return source


def test_embeddings_are_unit_vectors_of_the_valid_rows(weights_file: Path, faces: Faces) -> None:
    features = create("visual.facenet", {"weights": str(weights_file)})(faces)
    assert features.values.shape == (5, 512)
    lengths = np.linalg.norm(features.values, axis=1)
    assert_close(lengths, faces.valid.astype(float))
    assert features.names[0] == "facenet_000"
    assert features.notes["policy"] == "largest"
    assert features.notes["precision"] == ("bfloat16" if has_bfloat16("cpu") else "float32")


@pytest.mark.slow
def test_embeddings_equal_those_of_the_network(
    weights_file: Path, state: dict[str, torch.Tensor], faces: Faces
) -> None:
    network = InceptionResnetV1(classify=False)
    network.load_state_dict({name: value for name, value in state.items() if not name.startswith("logits")})
    pictures = (torch.from_numpy(faces.crops[faces.valid]).permute(0, 3, 1, 2).float() - 127.5) / 128
    with torch.no_grad():
        expected = network.eval()(pictures).numpy()
    features = create("visual.facenet", {"weights": str(weights_file), "precision": "float32"})(faces)
    assert_close(features.values[faces.valid], expected)
    assert features.notes["precision"] == "float32"


def test_precision_is_part_of_the_identity(weights_file: Path) -> None:
    one, other = (
        create("visual.facenet", {"weights": str(weights_file), "precision": precision}).identity()
        for precision in ("float32", "bfloat16")
    )
    assert one["config"].pop("precision") != other["config"].pop("precision")
    assert one == other


def test_the_same_weights_elsewhere_are_the_same_identity(
    weights_file: Path, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    copy = tmp_path / "copy.pt"
    copy.write_bytes(weights_file.read_bytes())
    other = tmp_path / "other.pt"
    torch.save({**state, "last_bn.bias": torch.ones(512)}, other)
    one, two, three = (
        create("visual.facenet", {"weights": str(path)}).identity() for path in (weights_file, copy, other)
    )
    assert one == two
    assert one["model"] != three["model"]
    assert "weights" not in one["config"]


@pytest.mark.slow
def test_safetensors_give_the_same_embeddings(
    weights_file: Path, state: dict[str, torch.Tensor], tmp_path: Path, faces: Faces
) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "random.safetensors"
    save_file(state, path)
    one = create("visual.facenet", {"weights": str(path)})
    one.load("cpu")
    assert one(faces).equals(create("visual.facenet", {"weights": str(weights_file)})(faces))


@pytest.mark.slow
def test_weights_of_another_network_are_told_by_name(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "wrong.pt"
    wrong = {**state, "extra": torch.zeros(1), "last_bn.weight": torch.zeros(3)}
    del wrong["last_bn.bias"]
    torch.save(wrong, path)
    with pytest.raises(UsageError) as caught:
        create("visual.facenet", {"weights": str(path)}).load()
    for words in ("1 missing, as last_bn.bias", "1 unknown, as extra", "1 of another shape, as last_bn.weight"):
        assert words in str(caught.value)


def test_a_missing_file_of_weights_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="do not exist"):
        create("visual.facenet", {"weights": str(tmp_path / "none.pt")}).identity()


class Evil:
    """Runs a command when unpickled."""

    def __reduce__(self) -> tuple:
        return (exec, ("raise SystemExit('ran')",))


@pytest.mark.parametrize("kind", ["pickle", "text", "list", "safetensors"])
def test_a_hostile_or_broken_file_is_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("bad.safetensors" if kind == "safetensors" else "bad.pt")
    if kind == "pickle":
        torch.save({"conv": Evil()}, path)
    elif kind == "list":
        torch.save([torch.zeros(2)], path)
    else:
        path.write_text("no weights")
    with pytest.raises(UsageError, match=r"bad\.(pt|safetensors) of visual\.facenet"):
        create("visual.facenet", {"weights": str(path)}).load()


def test_the_released_weights_are_fetched_once(released: Path) -> None:
    path = weights.find_weights(None)
    assert path == weights.models_folder() / weights.NAME
    assert path.read_bytes() == released.read_bytes()
    released.unlink()
    assert weights.find_weights(None) == path
    assert not list(path.parent.glob(".aside-*"))


def test_a_fetch_with_another_digest_is_thrown_away(released: Path) -> None:
    released.write_bytes(b"something else")
    with pytest.raises(MseError, match="expected"):
        weights.find_weights(None)
    assert not [p for p in weights.models_folder().iterdir() if p.suffix != ".lock"]


def test_without_a_network_one_sentence_says_what_to_put_where(released: Path) -> None:
    released.unlink()
    with pytest.raises(MseError) as caught:
        create("visual.facenet").identity()
    assert f"Download {weights.URL} (112 MB) to {weights.models_folder() / weights.NAME}" in str(caught.value)


def test_an_endless_answer_is_cut_off(released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_MOST_BYTES", 100)
    with pytest.raises(MseError, match="larger than 100 bytes"):
        weights.find_weights(None)
    assert not list(weights.models_folder().glob(".aside-*"))


def test_a_damaged_file_in_the_models_folder_is_told(released: Path) -> None:
    path = weights.models_folder() / weights.NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half")
    with pytest.raises(MseError, match="is damaged or another file"):
        weights.find_weights(None)


def test_models_live_in_the_home_folder_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MSE_MODELS", raising=False)
    assert weights.models_folder() == Path.home() / ".cache" / "mse" / "models"


def test_the_released_weights_are_those_of_the_released_address() -> None:
    assert weights.URL.startswith("https://github.com/timesler/facenet-pytorch/releases/download/")
    assert len(weights.SHA256) == 64
