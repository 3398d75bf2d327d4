"""Qwen-1 (Bai et al. 2023, arXiv 2309.16609) as transformers' Qwen2.

The two differ in names, and in that Qwen-1 keeps query, key and value in one matrix, calls the gate `w2` and the up
projection `w1`, and counts both in its intermediate size. From `seq_length` tokens on its code scales attention (NTK,
log n), which Qwen2 does not, so that is as far as the converted model reads.

Tiktoken files: a line a token, its bytes in base64 and its rank; and the merges that the ranks imply.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mse_pipeline.backbones.original.layout import CheckpointLayout, ConfigSection, Plan, last_merge
from mse_pipeline.errors import MseError, UsageError

MAX_BYTES = 64 * 2**20
LONGEST = 1_024
"""Bytes of a token; real ones have up to 128."""


def read_ranks(path: Path) -> dict[bytes, int]:
    """Tokens and their ranks, which are their ids.

    Raises:
        MseError: The file is none of this form, or its ranks do not count up from 0.
    """
    if path.stat().st_size > MAX_BYTES:
        raise MseError(f"{path} has more than {MAX_BYTES >> 20} MiB, too many for a vocabulary: download it again.")
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            token, rank = line.split()
            spelled, place = base64.b64decode(token, validate=True), int(rank)
        except (ValueError, binascii.Error):
            raise MseError(
                f"{path}, line {number}: a token in base64 and its rank are expected. Download it again."
            ) from None
        if place != len(ranks) or not 1 <= len(spelled) <= LONGEST or spelled in ranks:
            raise MseError(
                f"{path}, line {number}: rank {place} should be {len(ranks)}, of a token of 1 to {LONGEST} bytes that "
                "was not there before. Download it again."
            )
        ranks[spelled] = place
    if any(bytes([byte]) not in ranks for byte in range(256)):
        raise MseError(f"{path} lacks some of the 256 single bytes: download it again.")
    return ranks


def merges(ranks: Mapping[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """The pairs that are merged, in their order.

    Tiktoken merges the neighbours whose joint rank is lowest, the leftmost first. Whatever stands around them, two
    neighbours that make up a token have come about as when that token's bytes are merged alone: so each token has one
    pair, the last one of that process, and the list of pairs gives the same tokens for every text.

    Examples:
        >>> alone = {bytes([byte]): byte for byte in range(256)}
        >>> list(merges({**alone, b"bc": 256, b"ab": 257, b"abc": 258}))
        [(b'b', b'c'), (b'a', b'b'), (b'a', b'bc')]
    """
    for token in ranks:
        # What never becomes one token is found only where it is a whole piece of text (`ignore_merges`).
        pair = last_merge([token[place : place + 1] for place in range(len(token))], ranks)
        if pair is not None:
            yield pair


def letters(token: bytes) -> str:
    r"""A token's bytes as the letters that the library `tokenizers` writes for them, one a byte.

    Examples:
        >>> letters(b" a\n")
        'ĠaĊ'
    """
    return token.decode("latin-1").translate(_LETTERS)


def _alphabet() -> dict[int, str]:
    """Printable bytes of Latin-1 stand for themselves; the others take the letters from U+0100 on (GPT-2)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(0x100 + place) for place, byte in enumerate(others)}


_LETTERS = _alphabet()


TOKENIZER_FILE = "qwen.tiktoken"
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How a text is cut before bytes are merged; no token reaches over a cut."""
END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONTROL = (END, START, STOP, *(f"<|extra_{index}|>" for index in range(205)))
"""Control tokens; their ids follow those of the file."""
LAYER = {
    "ln_1.weight": ("input_layernorm.weight",),
    "attn.c_attn.weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    "attn.c_attn.bias": ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"),
    "attn.c_proj.weight": ("self_attn.o_proj.weight",),
    "ln_2.weight": ("post_attention_layernorm.weight",),
    "mlp.w1.weight": ("mlp.up_proj.weight",),
    "mlp.w2.weight": ("mlp.gate_proj.weight",),
    "mlp.c_proj.weight": ("mlp.down_proj.weight",),
}


def _configure(old: ConfigSection) -> Any:
    from transformers import Qwen2Config

    old.require("a quantized checkpoint keeps other weights; take the one in half precision", quantization_config=None)
    old.require("no checkpoint of Qwen-1 differs", no_bias=True, scale_attn_weights=True, rotary_pct=1.0)
    width, heads = old.whole("hidden_size", "width"), old.whole("num_attention_heads", "heads")
    both = old.whole("intermediate_size", "width")
    if both % 2 or width % heads:
        raise UsageError(
            f"{old.path} says intermediate_size = {both} and hidden_size = {width} with {heads} heads, which cannot be "
            "shared out evenly: download it again."
        )
    old.require("Qwen2 has heads of hidden_size / num_attention_heads", kv_channels=width // heads)
    return Qwen2Config(
        vocab_size=old.whole("vocab_size", "vocabulary"),
        hidden_size=width,
        intermediate_size=both // 2,
        num_hidden_layers=old.whole("num_hidden_layers", "layers"),
        num_attention_heads=heads,
        num_key_value_heads=heads,
        rms_norm_eps=old.number("layer_norm_epsilon", 1e-6),
        max_position_embeddings=old.whole("seq_length", "length", 8192),
        rope_theta=old.number("rotary_emb_base", 10_000),
        tie_word_embeddings=old.flag("tie_word_embeddings", False),
        bos_token_id=None,
        eos_token_id=None,
    )


def _plan(config: Any) -> Plan:
    plan: dict[str, tuple[str, ...]] = {
        "transformer.wte.weight": ("model.embed_tokens.weight",),
        "transformer.ln_f.weight": ("model.norm.weight",),
    }
    for layer in range(config.num_hidden_layers):
        for old, new in LAYER.items():
            plan[f"transformer.h.{layer}.{old}"] = tuple(f"model.layers.{layer}.{name}" for name in new)
    if not config.tie_word_embeddings:
        plan["lm_head.weight"] = ("lm_head.weight",)
    return plan


def _tokenizer(folder: Path) -> Any:
    """Byte-pair merges by rank after NFC, as the original does; spelled control tokens are read as such by default."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ranks = read_ranks(folder / TOKENIZER_FILE)
    tokenizer = Tokenizer(
        models.BPE(
            vocab={letters(token): rank for token, rank in ranks.items()},
            merges=[(letters(left), letters(right)) for left, right in merges(ranks)],
            ignore_merges=True,
        )
    )
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(CONTROL))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=END,
        additional_special_tokens=[name for name in CONTROL if name != END],
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )


LAYOUT = CheckpointLayout(
    model_type="qwen",
    title="Qwen-1",
    family="qwen2",
    model_class="Qwen2ForCausalLM",
    tokenizer_file=TOKENIZER_FILE,
    configure=_configure,
    plan=_plan,
    skipped=(".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"),
    tokenizer=_tokenizer,
)
