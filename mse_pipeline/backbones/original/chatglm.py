"""ChatGLM2 and ChatGLM3 (GLM team 2024, arXiv 2406.12793) as transformers' Glm.

The two differ in names, and in that ChatGLM keeps query, key and value in one matrix: all query heads, then the groups
of keys, then those of values. Both rotate half of each head's dimensions, in neighbouring pairs.

Sentencepiece models: the pieces of a `tokenizer.model`, and a fast tokenizer that gives the same ids.

The file is a protocol buffer, of which a dozen fields matter (google/sentencepiece, `sentencepiece_model.proto`); they
are read here, so that the package needs neither `sentencepiece` nor `protobuf`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mse_pipeline.backbones.original.layout import CheckpointLayout, ConfigSection, Plan, last_merge
from mse_pipeline.errors import MseError, UsageError

MAX_BYTES = 64 * 2**20
LONGEST = 1_024
"""Letters of a piece; real ones have up to 64."""
SPACE = "▁"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
UNIGRAM, BPE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class SentencePieces:
    """What a file holds.

    Attributes:
        texts: The pieces; their place is their id.
        scores: Of each; the higher, the earlier it is merged.
        kinds: Of each, as `NORMAL` or `BYTE`.
        unknown: Id of what stands for the unknown.
    """

    texts: tuple[str, ...]
    scores: tuple[float, ...]
    kinds: tuple[int, ...]
    unknown: int


def read_pieces(path: Path) -> SentencePieces:
    """Read a model that merges pairs (BPE), falls back to bytes and leaves the text as it is.

    Raises:
        UsageError: It is a model of another kind, which would give other tokens here.
        MseError: The file is damaged.
    """
    if path.stat().st_size > MAX_BYTES:
        raise MseError(f"{path} has more than {MAX_BYTES >> 20} MiB, too many for a vocabulary: download it again.")
    texts, scores, kinds = [], [], []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    try:
        for field, value in _fields(path.read_bytes()):
            if field == 1:
                piece = dict(_fields(value))
                texts.append(piece[1].decode())
                scores.append(struct.unpack("<f", piece.get(2, bytes(4)))[0])
                kinds.append(piece.get(3, NORMAL))
            elif field == 2:
                trainer.update(_fields(value))
            elif field == 3:
                normalizer.update(_fields(value))
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise MseError(f"{path} cannot be read as a sentencepiece model: download it again.") from error
    _require_plain(path, trainer, normalizer, set(kinds))
    unknown = trainer.get(40, 0)
    whole = len(set(texts)) == len(texts) and all(1 <= len(text) <= LONGEST for text in texts)
    bytes_there = [text for text, kind in zip(texts, kinds, strict=True) if kind == BYTE]
    if not whole or sorted(bytes_there) != [f"<0x{byte:02X}>" for byte in range(256)] or not 0 <= unknown < len(texts):
        raise MseError(f"{path} holds a piece twice, an empty one, or not all 256 bytes: download it again.")
    return SentencePieces(tuple(texts), tuple(scores), tuple(kinds), unknown)


def build(pieces: SentencePieces) -> Any:
    """A tokenizer of the library `tokenizers` with the ids of these pieces; control tokens are left to the caller.

    Raises:
        UsageError: The order of merges depends on more than the pieces.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers

    vocabulary = {text: place for place, text in enumerate(pieces.texts)}
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=list(merges(pieces)),
            unk_token=pieces.texts[pieces.unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def merges(pieces: SentencePieces) -> Iterator[tuple[str, str]]:
    """The pairs that are merged, in their order; one a piece, for the reason that `tiktoken_file.merges` gives.

    Raises:
        UsageError: Two pieces have one score, or one is made of letters that are no pieces themselves.

    Examples:
        >>> kinds = (UNKNOWN, NORMAL, NORMAL, NORMAL, NORMAL)
        >>> list(merges(SentencePieces(("?", "a", "b", "ab", "abb"), (0.0, -3.0, -4.0, -1.0, -2.0), kinds, 0)))
        [('a', 'b'), ('ab', 'b')]
    """
    score = {
        text: score
        for text, score, kind in zip(pieces.texts, pieces.scores, pieces.kinds, strict=True)
        if kind == NORMAL
    }
    long = sorted((text for text in score if len(text) > 1), key=score.__getitem__, reverse=True)
    if len({score[text] for text in long}) < len(long):
        raise UsageError("Two pieces of the tokenizer have the same score, so that their order is not known.")
    cost = {text: -value for text, value in score.items()}
    for text in long:
        parts = list(text)
        if any(letter not in score for letter in parts):
            raise UsageError(f"The tokenizer's piece {text!r} is made of letters that are no pieces.")
        pair = last_merge(parts, cost)
        if pair is not None:
            yield pair


def _require_plain(path: Path, trainer: Mapping[int, Any], normalizer: Mapping[int, Any], kinds: set[int]) -> None:
    """Refuse what would be read to other tokens: numbers are those of the fields in sentencepiece_model.proto."""
    plain = {
        "merges pairs (BPE)": trainer.get(3, UNIGRAM) == BPE,
        "falls back to bytes": bool(trainer.get(35, 0)),
        "puts a space before the text": bool(normalizer.get(3, 1)) and not trainer.get(24, 0),
        "keeps runs of spaces": not normalizer.get(4, 1),
        "rewrites no letters": not normalizer.get(2, b""),
        "has no pieces of the user": not kinds & {USER_DEFINED, UNUSED},
    }
    for what, holds in plain.items():
        if not holds:
            raise UsageError(
                f"{path} is a tokenizer of another kind: mse makes one only of a model that {what}. Take a checkpoint "
                "with a tokenizer.json."
            )


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a message (protobuf.dev, encoding)."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        field, kind = tag >> 3, tag & 7
        value: Any
        if kind == _VARINT:
            value, place = _varint(data, place)
        else:
            if kind == _BYTES:
                size, place = _varint(data, place)
            elif kind in (_FIXED32, _FIXED64):
                size = 4 if kind == _FIXED32 else 8
            else:
                raise ValueError(f"a field of kind {kind}")
            value, place = data[place : place + size], place + size
            if place > len(data):
                raise ValueError("a field beyond the end")
        yield field, value


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A whole number of seven bits a byte, the lowest first, and where it ends."""
    number = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise ValueError("a number without an end")
        byte = data[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return number, place


TOKENIZER_FILE = "tokenizer.model"
CONTROL_TOKENS = (
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "sop",
    "eop",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
)
"""Control tokens; their ids follow those of the file. ChatGLM2 knows the first five."""
UNKNOWN_TOKEN, END = "<unk>", "</s>"
LARGEST_VOCABULARY = 100_000
"""ChatGLM2 and ChatGLM3 have 65,024 tokens, GLM-4, of the same model type, 151,552."""
LAYER = {
    "input_layernorm.weight": ("input_layernorm.weight",),
    "self_attention.query_key_value.weight": (
        "self_attn.q_proj.weight",
        "self_attn.k_proj.weight",
        "self_attn.v_proj.weight",
    ),
    "self_attention.query_key_value.bias": (
        "self_attn.q_proj.bias",
        "self_attn.k_proj.bias",
        "self_attn.v_proj.bias",
    ),
    "self_attention.dense.weight": ("self_attn.o_proj.weight",),
    "post_attention_layernorm.weight": ("post_attention_layernorm.weight",),
    "mlp.dense_h_to_4h.weight": ("mlp.gate_up_proj.weight",),
    "mlp.dense_4h_to_h.weight": ("mlp.down_proj.weight",),
}


def _configure(old: ConfigSection) -> Any:
    from transformers import GlmConfig

    old.require(
        "this is the first ChatGLM-6B, another architecture; take --backbone chatglm3", position_encoding_2d=False
    )
    old.require("a quantized checkpoint keeps other weights; take the one in half precision", quantization_bit=0)
    old.require(
        "no checkpoint of ChatGLM2 or ChatGLM3 differs",
        multi_query_attention=True,
        original_rope=True,
        rmsnorm=True,
        post_layer_norm=True,
        add_bias_linear=False,
        apply_residual_connection_post_layernorm=False,
    )
    vocabulary = old.whole("padded_vocab_size", "vocabulary")
    if vocabulary > LARGEST_VOCABULARY:
        raise UsageError(
            f"{old.path} says padded_vocab_size = {vocabulary}: this is GLM-4 in its original layout, which mse does "
            "not read. Take --backbone glm-4-9b, the same weights in the layout of transformers."
        )
    width, heads = old.whole("hidden_size", "width"), old.whole("num_attention_heads", "heads")
    groups, head = old.whole("multi_query_group_num", "heads"), old.whole("kv_channels", "width")
    if heads % groups or width != heads * head:
        raise UsageError(
            f"{old.path} says hidden_size = {width}, num_attention_heads = {heads}, kv_channels = {head} and "
            f"multi_query_group_num = {groups}, which do not fit together: download it again."
        )
    return GlmConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=old.whole("ffn_hidden_size", "width"),
        num_hidden_layers=old.whole("num_layers", "layers"),
        num_attention_heads=heads,
        num_key_value_heads=groups,
        head_dim=head,
        rms_norm_eps=old.number("layernorm_epsilon", 1e-5),
        max_position_embeddings=old.whole("seq_length", "length", 8192),
        # The variants for 32,768 tokens turn more slowly.
        rope_theta=10_000.0 * old.number("rope_ratio", 1),
        partial_rotary_factor=0.5,
        attention_bias=old.flag("add_qkv_bias", False),
        tie_word_embeddings=old.flag("tie_word_embeddings", False),
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
    )


def _plan(config: Any) -> Plan:
    plan: dict[str, tuple[str, ...]] = {
        "transformer.embedding.word_embeddings.weight": ("model.embed_tokens.weight",),
        "transformer.encoder.final_layernorm.weight": ("model.norm.weight",),
    }
    for layer in range(config.num_hidden_layers):
        for old, new in LAYER.items():
            if config.attention_bias or not old.endswith(".bias"):
                plan[f"transformer.encoder.layers.{layer}.{old}"] = tuple(f"model.layers.{layer}.{n}" for n in new)
    if not config.tie_word_embeddings:
        plan["transformer.output_layer.weight"] = ("lm_head.weight",)
    return plan


def _tokenizer(folder: Path) -> Any:
    """Sentencepiece's merges; `[gMASK] sop` begins each sequence; spelled control tokens stay text, as originally.

    Were they read as control tokens by default, the word "sophisticated" would begin with one.
    """
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = build(read_pieces(folder / TOKENIZER_FILE))
    tokenizer.add_special_tokens([UNKNOWN_TOKEN, "<s>", END, *CONTROL_TOKENS])
    begin = ("[gMASK]", "sop")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{' '.join(begin)} $A", special_tokens=[(name, tokenizer.token_to_id(name)) for name in begin]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN_TOKEN,
        eos_token=END,
        pad_token=UNKNOWN_TOKEN,
        additional_special_tokens=list(CONTROL_TOKENS),
        split_special_tokens=True,
        padding_side="left",
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )


LAYOUT = CheckpointLayout(
    model_type="chatglm",
    title="ChatGLM2/3",
    family="glm",
    model_class="GlmForCausalLM",
    tokenizer_file=TOKENIZER_FILE,
    configure=_configure,
    plan=_plan,
    skipped=(".rotary_pos_emb.inv_freq",),
    tokenizer=_tokenizer,
)
