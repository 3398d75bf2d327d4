"""Random encoders in the real classes, saved with their preprocessors as a hub's repository has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tests.small_models import byte_tokenizer

WIDTH = 24
_SPEECH = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
_LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
SPEECH: dict[str, tuple[str, dict[str, Any], bool]] = {
    # name -> class, changes of the configuration, whether its feature extractor normalises
    "wav2vec2": ("Wav2Vec2", {}, True),
    "wav2vec2-stable": ("Wav2Vec2", _LAYER_NORM, True),
    "hubert": ("Hubert", {}, False),
    "wavlm": ("WavLM", {}, False),
    "data2vec": ("Data2VecAudio", {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 3}, True),
}
_TOWER = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
VISION = ("clip", "clip_vision", "dinov2", "vit", "siglip")
_READER = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 32,
}
TEXT = ("bert", "roberta", "llama")
WORDS = ["so", "it", "is", "good", "i", "am", "very", "un", "##happy", ".", ",", *"我很高兴！"]


def save_speech(folder: Path, kind: str, **more: Any) -> Path:
    """A speech encoder that reads samples, with its feature extractor."""
    name, changes, normalises = SPEECH[kind]
    config = getattr(transformers, f"{name}Config")(**{**_SPEECH, **changes, **more})
    stable = changes.get("feat_extract_norm") == "layer"
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalises, return_attention_mask=stable)
    return save_model(folder, getattr(transformers, f"{name}Model"), config, extractor)


def save_whisper(folder: Path, seconds: int = 30, **changes: Any) -> Path:
    """A Whisper of two layers, encoder and decoder, that hears so many seconds at once."""
    config = transformers.WhisperConfig(
        d_model=WIDTH,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        vocab_size=64,
        num_mel_bins=16,
        max_source_positions=50 * seconds,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        **changes,
    )
    extractor = transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=seconds)
    return save_model(folder, transformers.WhisperModel, config, extractor)


def save_vision(folder: Path, kind: str) -> Path:
    """A vision transformer for pictures of 32 x 32, with its image processor."""
    if kind in {"clip", "clip_vision"}:
        size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
        processor = transformers.CLIPImageProcessor(**size)
        vision = transformers.CLIPVisionConfig(**_TOWER)
        if kind == "clip_vision":
            return save_model(folder, transformers.CLIPVisionModel, vision, processor)
        text = {**_READER, "vocab_size": 50, "projection_dim": 8}
        config = transformers.CLIPConfig(text_config=text, vision_config=vision.to_dict(), projection_dim=8)
        return save_model(folder, transformers.CLIPModel, config, processor)
    if kind == "dinov2":
        size = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
        changed = {k: v for k, v in _TOWER.items() if k != "intermediate_size"}
        config = transformers.Dinov2Config(mlp_ratio=2, **changed)
        return save_model(folder, transformers.Dinov2Model, config, transformers.BitImageProcessor(**size))
    if kind == "siglip":
        processor = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
        return save_model(folder, transformers.SiglipVisionModel, transformers.SiglipVisionConfig(**_TOWER), processor)
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    # As facial-expression ViTs lie on the hub: with a head for classes, and without a pooler.
    config = transformers.ViTConfig(**_TOWER, num_labels=7)
    return save_model(folder, transformers.ViTForImageClassification, config, processor)


def save_text(folder: Path, kind: str) -> Path:
    """A text model of three layers with its tokenizer."""
    if kind == "bert":
        tokenizer = word_pieces()
        config = transformers.BertConfig(vocab_size=len(tokenizer), max_position_embeddings=24, **_READER)
        return save_model(folder, transformers.BertModel, config, tokenizer)
    if kind == "roberta":
        tokenizer = byte_tokenizer("<s>", "<pad>", "</s>", bos_token="<s>", pad_token="<pad>", eos_token="</s>")
        begin, end = (("<s>", tokenizer.bos_token_id), ("</s>", tokenizer.eos_token_id))
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[begin, end]
        )
        # As in RoBERTa, positions count from the padding's index on, here 257: 32 are left.
        config = transformers.RobertaConfig(
            vocab_size=len(tokenizer), max_position_embeddings=290, pad_token_id=tokenizer.pad_token_id, **_READER
        )
        return save_model(folder, transformers.RobertaForMaskedLM, config, tokenizer)
    tokenizer = byte_tokenizer(bos_token="<s>")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    config = transformers.LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **_READER)
    return save_model(folder, transformers.LlamaForCausalLM, config, tokenizer)


def word_pieces() -> PreTrainedTokenizerFast:
    """BERT's tokenizer over a few English and Chinese words."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {token: index for index, token in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def save_model(folder: Path, model_class: Any, config: Any, preprocessor: Any) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = model_class(config).eval()
        # Larger than at the start of a pre-training, so that attention attends and positions matter.
        for name, weight in model.named_parameters():
            if weight.ndim == 2:
                torch.nn.init.normal_(weight, std=0.2)
            elif "bias" in name:
                torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder)
    preprocessor.save_pretrained(folder)
    return folder
