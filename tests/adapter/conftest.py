from __future__ import annotations

import pytest
import torch

from mse_pipeline import adapter
from mse_pipeline.adapter import hub as card
from tests.adapter.hub_server import TOKEN, Hub

ABOUT = {
    "seed": 1111,
    "dataset": "meld",
    "variant": "adapter",
    "backbone": {
        "name": "/home/ann/models/qwen",
        "source": "/home/ann/models/qwen",
        "revision": None,
        "digest": "b" * 64,
        "dtype": "bfloat16",
    },
    "streams": {
        "acoustic": {
            "name": "acoustic.made",
            "version": "0123456789ab",
            "alignment": {"kind": "grid", "step": 0.1},
            "identity": {"config": {"model": "/home/ann/encoders/wavlm"}},
        },
        "visual": None,
    },
    "places": {"acoustic.made": {"folder": "/home/ann/encoders"}},
    "prompt": {"language": "en", "task": "Which emotion is it? It is"},
    "training": {"epochs": 30, "learning_rate": 0.0005},
    "clips": {"train": 9989, "valid": 1109, "test": 2610},
}
RESULT = {
    "valid": {"acc": 0.6, "weight_F1": 0.61},
    "test": {"acc": 0.62, "weight_F1": 0.63},
    "best_epoch": 3,
    "epochs": 9,
    "alarms": ["All predictions are one class."],
}


@pytest.fixture
def made(tmp_path):
    """An adapter's folder as a training leaves it."""

    def make(name="adapter", result=RESULT, **about):
        torch.manual_seed(0)
        model = adapter.MSEAdapter(adapter.AdapterConfig(hidden_size=64, acoustic_dim=5, visual_dim=None))
        folder = adapter.save(model, tmp_path / name, {**ABOUT, **about})
        card.write_card(folder, result)
        return folder

    return make


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine, that the hub's client asks in place of the real one."""
    from huggingface_hub import HfApi, constants

    running = Hub()
    # The client has read its environment as it was imported; each of its modules asks these names anew.
    monkeypatch.setattr(constants, "ENDPOINT", running.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # large files by Git LFS, which is simple
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(HfApi, "endpoint", running.url, raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield running
    running.close()
