"""Random encoders of windows, of feature maps and of filter banks, in the real classes, saved with their processors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers

from tests.extractors.small_encoders import WIDTH, save_model

_LAYERS = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
_SMALL = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
_READER = {**_LAYERS, "vocab_size": 50}

WINDOWS = ("videomae", "timesformer", "vivit", "vjepa2", "xclip")
FRAMES = {"videomae": 4, "timesformer": 4, "vivit": 4, "vjepa2": 4, "xclip": 4}
MAPS = ("efficientnet", "resnet", "convnext", "convnextv2", "swin")
BANKS = ("w2v-bert", "ast", "clap", "clap-fused", "seamless", "seamless2", "qwen2-audio")


def save_windows(folder: Path, kind: str) -> Path:
    """An encoder of windows of 4 frames of 32 x 32 pixels; X-CLIP with its text half."""
    tower = {**_LAYERS, "image_size": 32, "patch_size": 8, "num_frames": 4}
    if kind == "videomae":
        config: Any = transformers.VideoMAEConfig(**tower, tubelet_size=2, decoder_hidden_size=WIDTH, num_labels=3)
        # As VideoMAE lies on the hub: with a head for classes.
        return save_model(
            folder, transformers.VideoMAEForVideoClassification, config, transformers.VideoMAEImageProcessor(**_SMALL)
        )
    if kind == "timesformer":
        config = transformers.TimesformerConfig(**tower)
        return save_model(folder, transformers.TimesformerModel, config, transformers.VideoMAEImageProcessor(**_SMALL))
    if kind == "vivit":
        config = transformers.VivitConfig(
            **{k: v for k, v in tower.items() if k != "patch_size"}, tubelet_size=[2, 8, 8]
        )
        return save_model(folder, transformers.VivitModel, config, transformers.VivitImageProcessor(**_SMALL))
    if kind == "vjepa2":
        config = transformers.VJEPA2Config(
            patch_size=8,
            crop_size=32,
            frames_per_clip=4,
            hidden_size=WIDTH,
            num_attention_heads=2,
            num_hidden_layers=2,
            mlp_ratio=2.0,
            pred_hidden_size=WIDTH,
            pred_num_attention_heads=2,
            pred_num_hidden_layers=1,
        )
        return save_model(folder, transformers.VJEPA2Model, config, transformers.VJEPA2VideoProcessor(crop_size=32))
    vision = {**tower, "mit_hidden_size": 8, "mit_intermediate_size": 16, "mit_num_hidden_layers": 1}
    config = transformers.XCLIPConfig(
        text_config=_READER,
        vision_config={**vision, "mit_num_attention_heads": 2},
        projection_dim=8,
        prompt_num_attention_heads=2,
    )
    return save_model(folder, transformers.XCLIPModel, config, transformers.VideoMAEImageProcessor(**_SMALL))


def save_maps(folder: Path, kind: str) -> Path:
    """A network of feature maps for pictures of 32 x 32, with its classifier, as they lie on the hub."""
    size = {"height": 32, "width": 32}
    of_convnext = transformers.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875)
    if kind == "efficientnet":
        config: Any = transformers.EfficientNetConfig(
            image_size=32,
            width_coefficient=0.25,
            depth_coefficient=0.5,
            depth_divisor=8,
            in_channels=[32, 16, 24],
            out_channels=[16, 24, 40],
            kernel_sizes=[3, 3, 3],
            strides=[1, 2, 2],
            num_block_repeats=[1, 1, 1],
            expand_ratios=[1, 2, 2],
            hidden_dim=320,  # of round_filters(1280 * width_coefficient), as the network computes it
            num_labels=3,
        )
        processor: Any = transformers.EfficientNetImageProcessor(size=size)
        return save_model(folder, transformers.EfficientNetForImageClassification, config, processor)
    if kind == "resnet":
        config = transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, WIDTH], depths=[1, 1], layer_type="basic", num_labels=3
        )
        return save_model(folder, transformers.ResNetForImageClassification, config, of_convnext)
    if kind == "swin":
        config = transformers.SwinConfig(
            image_size=32, patch_size=4, embed_dim=12, depths=[1, 1], num_heads=[2, 2], window_size=4, num_labels=3
        )
        return save_model(
            folder, transformers.SwinForImageClassification, config, transformers.ViTImageProcessor(size=size)
        )
    name = {"convnext": "ConvNext", "convnextv2": "ConvNextV2"}[kind]
    config = getattr(transformers, f"{name}Config")(
        num_stages=2, hidden_sizes=[12, WIDTH], depths=[1, 1], image_size=32, num_labels=3
    )
    return save_model(folder, getattr(transformers, f"{name}ForImageClassification"), config, of_convnext)


def save_bank(folder: Path, kind: str, **changes: Any) -> Path:
    """An encoder of sound that reads a filter bank or a spectrogram, within the model that it is a part of."""
    if kind == "w2v-bert":
        config: Any = transformers.Wav2Vec2BertConfig(
            **_LAYERS,
            feature_projection_input_dim=160,
            conv_depthwise_kernel_size=3,
            output_hidden_size=WIDTH,
            **changes,
        )
        return save_model(folder, transformers.Wav2Vec2BertModel, config, transformers.SeamlessM4TFeatureExtractor())
    if kind == "ast":
        config = transformers.ASTConfig(**_LAYERS, num_mel_bins=32, num_labels=3, **changes)
        processor: Any = transformers.ASTFeatureExtractor(num_mel_bins=32)
        return save_model(folder, transformers.ASTForAudioClassification, config, processor)
    if kind.startswith("clap"):
        fused = kind == "clap-fused"
        audio = {
            "spec_size": 64,
            "patch_stride": [4, 4],
            "num_mel_bins": 16,
            "patch_embeds_hidden_size": 12,
            "depths": [1, 1],
            "num_attention_heads": [2, 2],
            "hidden_size": WIDTH,
            "window_size": 4,
            "enable_fusion": fused,
        }
        text = {**_READER, "projection_dim": 8}
        config = transformers.ClapConfig(
            audio_config={**audio, "projection_dim": 8}, text_config=text, projection_dim=8
        )
        processor = transformers.ClapFeatureExtractor(
            feature_size=16, hop_length=2400, fft_window_size=4096, truncation="fusion" if fused else "rand_trunc"
        )
        return save_model(folder, transformers.ClapModel, config, processor)
    if kind.startswith("seamless"):
        return _save_seamless(folder, kind, **changes)
    config = transformers.Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "num_mel_bins": 16,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 32,
            "d_model": WIDTH,
            "max_source_positions": 100,
        },
        text_config={**_READER, "model_type": "qwen2", "num_key_value_heads": 4},
        audio_token_index=49,
    )
    processor = transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=2, return_attention_mask=True)
    return save_model(folder, transformers.Qwen2AudioForConditionalGeneration, config, processor)


def _save_seamless(folder: Path, kind: str, **changes: Any) -> Path:
    parts = ("encoder", "decoder", "t2u_encoder", "t2u_decoder")
    small: dict[str, Any] = {f"{part}_layers": 1 for part in parts}
    small |= {f"{part}_ffn_dim": 8 for part in parts} | {f"{part}_attention_heads": 2 for part in parts}
    small |= dict.fromkeys(("unit_embed_dim", "lang_embed_dim", "spkr_embed_dim"), 8)
    small |= dict.fromkeys(("vocab_size", "t2u_vocab_size", "unit_hifi_gan_vocab_size"), 40)
    small |= {
        "hidden_size": WIDTH,
        "speech_encoder_layers": 2,
        "speech_encoder_attention_heads": 4,
        "speech_encoder_intermediate_size": 32,
        "feature_projection_input_dim": 160,
        "conv_depthwise_kernel_size": 3,
        "upsample_initial_channel": 64,
        "max_position_embeddings": 64,
        **changes,
    }
    processor = transformers.SeamlessM4TFeatureExtractor()
    if kind == "seamless":
        return save_model(folder, transformers.SeamlessM4TModel, transformers.SeamlessM4TConfig(**small), processor)
    config = transformers.SeamlessM4Tv2Config(**small, char_vocab_size=40)
    return save_model(folder, transformers.SeamlessM4Tv2Model, config, processor)
