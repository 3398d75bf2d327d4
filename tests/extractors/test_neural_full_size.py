"""Models of the size that people use: names, clocks and shapes from their configurations, without their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from mse_pipeline.extractors.registry import create
from tests.extractors.small_encoders import word_pieces

pytestmark = pytest.mark.slow

LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
TOWER = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
SPEECH = {
    "wav2vec2-base": ("Wav2Vec2Config", {}, "wav2vec2", 768),
    "wav2vec2-large": ("Wav2Vec2Config", {**LARGE, **STABLE}, "wav2vec2", 1024),
    "hubert-large": ("HubertConfig", {**LARGE, **STABLE}, "hubert", 1024),
    "wavlm-large": ("WavLMConfig", {**LARGE, **STABLE}, "wavlm", 1024),
    "data2vec-audio-large": ("Data2VecAudioConfig", LARGE, "data2vec-audio", 1024),
    "whisper-large-v3": (
        "WhisperConfig",
        {
            "d_model": 1280,
            "encoder_layers": 32,
            "encoder_attention_heads": 20,
            "decoder_attention_heads": 20,
            "num_mel_bins": 128,
        },
        "whisper",
        1280,
    ),
}
PICTURES = {
    "vit-base": ("ViTConfig", {}, "vit", 768, 197),
    "dinov2-large": ("Dinov2Config", {**TOWER, "patch_size": 14, "image_size": 518}, "dinov2", 1024, 1370),
    "clip-large": (
        "CLIPConfig",
        {"vision_config": {**TOWER, "intermediate_size": 4096, "patch_size": 14}, "projection_dim": 768},
        "clip_vision_model",
        1024,
        257,
    ),
}
TEXTS = {
    "bert-base-chinese": ("BertConfig", {"vocab_size": 21128}, "bert", 768),
    "roberta-large": ("RobertaConfig", {**LARGE, "max_position_embeddings": 514}, "roberta", 1024),
    "llama-2-7b": ("LlamaConfig", {}, "llama", 4096),
}


def folder_without_weights(folder: Path, config: Any) -> Path:
    """A configuration beside weights that nobody is to read."""
    config.save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"not read")
    return folder


def on_meta(config: Any) -> Any:
    with torch.device("meta"):
        return transformers.AutoModel.from_config(config).eval()


@pytest.mark.parametrize("name", SPEECH)
def test_speech_encoders(tmp_path: Path, name: str) -> None:
    kind, changes, model_type, dim = SPEECH[name]
    config = getattr(transformers, kind)(**changes)
    folder = folder_without_weights(tmp_path, config)
    preprocessor: Any = transformers.Wav2Vec2FeatureExtractor()
    if model_type == "whisper":
        preprocessor = transformers.WhisperFeatureExtractor(feature_size=128)
    preprocessor.save_pretrained(folder)
    extractor = create("acoustic.transformers", {"model": str(folder)})
    assert extractor.names == tuple(f"{model_type}_{k:04d}" for k in range(dim))
    assert extractor.step == 0.02
    whole = on_meta(config)
    model = whole.encoder if extractor.tower is not None else extractor.part_of_model(whole)  # what is loaded of it
    shape = (1, 128, 3000) if model_type == "whisper" else (1, 480_000)
    with torch.no_grad():
        states = model(torch.empty(shape, device="meta")).last_hidden_state
    assert states.shape == (1, extractor.clock.rows(480_000), dim)


@pytest.mark.parametrize("name", PICTURES)
def test_vision_encoders(tmp_path: Path, name: str) -> None:
    kind, changes, model_type, dim, tokens = PICTURES[name]
    config = getattr(transformers, kind)(**changes)
    folder = folder_without_weights(tmp_path, config)
    for stream in ("visual.transformers", "visual.transformers_frame"):
        extractor = create(stream, {"model": str(folder)})
        assert extractor.names == tuple(f"{model_type}_{k:04d}" for k in range(dim))
        assert extractor.step == 0.2
    model = extractor.part_of_model(on_meta(config))
    side = extractor.model_config.image_size
    pixels = torch.empty((2, 3, side, side), device="meta")
    with torch.no_grad():
        states = model(pixels).last_hidden_state
    assert states.shape == (2, tokens, dim)
    assert extractor._tokens_before_patches(states, pixels) == 1


@pytest.mark.parametrize("name", TEXTS)
def test_text_encoders(tmp_path: Path, name: str) -> None:
    kind, changes, model_type, dim = TEXTS[name]
    config = getattr(transformers, kind)(**changes)
    folder = folder_without_weights(tmp_path, config)
    word_pieces().save_pretrained(folder)
    extractor = create("text.transformers", {"model": str(folder)})
    assert extractor.names == tuple(f"{model_type}_{k:04d}" for k in range(dim))
    assert extractor.length == 512
    ids = torch.zeros((1, extractor.length), dtype=torch.long, device="meta")
    with torch.no_grad():
        assert extractor.part_of_model(on_meta(config))(ids).last_hidden_state.shape == (1, 512, dim)
