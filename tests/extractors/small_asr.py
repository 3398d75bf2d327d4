"""Random speech-to-text models in the real classes, which write letters, saved as a hub's repository has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from tests.small_models import byte_tokenizer

LETTERS = "abcdefgh "
CONTROL = (
    *("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|zh|>", "<|translate|>", "<|transcribe|>"),
    *("<|nospeech|>", "<|notimestamps|>", "<|0.00|>", "<|0.02|>"),
)


def save_whisper(
    folder: Path,
    *,
    seconds: int = 2,
    multilingual: bool = True,
    letters: str = LETTERS,
    heads: bool = True,
    generation: bool = True,
    seed: int = 0,
    **changes: Any,
) -> Path:
    """A Whisper of two layers that hears so many seconds at once and writes nothing but some letters.

    Args:
        folder: Where it is written.
        seconds: That it hears at once.
        multilingual: Whether it knows languages, English and Chinese; else it is as those called ``.en``.
        letters: What it may write, beside the end of the text.
        heads: Whether its generation_config.json names alignment_heads.
        generation: Whether there is a generation_config.json.
        seed: Of its weights.
        changes: Of its configuration.
    """
    control = [token for token in CONTROL if multilingual or token not in {"<|en|>", "<|zh|>", "<|translate|>"}]
    tokenizer = byte_tokenizer(*control, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    ids = tokenizer.get_vocab()
    end = ids["<|endoftext|>"]
    config = transformers.WhisperConfig(
        d_model=24,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        vocab_size=len(tokenizer),
        num_mel_bins=16,
        max_source_positions=50 * seconds,
        max_target_positions=24,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=ids["<|startoftranscript|>"],
        **changes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.WhisperForConditionalGeneration(config)
        for parameter in model.parameters():  # so that what is heard matters
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.4)
    written = {token for token, id_ in ids.items() if tokenizer.decode([id_]) in letters and token not in CONTROL}
    own = {
        "suppress_tokens": [id_ for token, id_ in ids.items() if token not in written and id_ != end],
        "begin_suppress_tokens": [ids["Ġ"]],
        "is_multilingual": multilingual,
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "return_timestamps": False,
        "_from_model_config": False,  # else it is made anew of config.json when it is read
        **({"alignment_heads": [[0, 1], [1, 2]]} if heads else {}),
    }
    if multilingual:
        own["lang_to_id"] = {token: ids[token] for token in ("<|en|>", "<|zh|>")}
        own["task_to_id"] = {name: ids[f"<|{name}|>"] for name in ("transcribe", "translate")}
    for name, value in own.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=seconds).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if not generation:
        (folder / "generation_config.json").unlink()
    return folder


def save_speech2text(folder: Path, seed: int = 0) -> Path:
    """A Speech2Text of two layers."""
    tokenizer = byte_tokenizer("<s>", "<pad>", "</s>", bos_token="<s>", pad_token="<pad>", eos_token="</s>")
    config = transformers.Speech2TextConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        conv_channels=16,
        input_feat_per_channel=16,
        max_source_positions=400,
        max_target_positions=600,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.Speech2TextForConditionalGeneration(config)
    ids = tokenizer.get_vocab()
    written = {ids[sign] for sign in (*LETTERS.strip(), "Ġ")} | {tokenizer.eos_token_id}
    model.generation_config.suppress_tokens = [id_ for id_ in ids.values() if id_ not in written]
    model.save_pretrained(folder)
    extractor = transformers.Speech2TextFeatureExtractor(feature_size=16, num_mel_bins=16)
    extractor.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
