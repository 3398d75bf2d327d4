"""The Qwen-1 checkpoint of ../shared on transformers' Qwen2, enough of it for comparing with golden values."""

from __future__ import annotations

import base64
import json
import unicodedata
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import regex
from safetensors.torch import load_file
from transformers import Qwen2Config, Qwen2ForCausalLM

from mse_pipeline.backbones.backbone import Backbone

# How the tokenizer of Qwen cuts a text before merging bytes.
PIECES = regex.compile(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Qwen1Tokenizer:
    """Byte pair merging by rank, as the lines of qwen.tiktoken give it, and the three control tokens."""

    bos_token_id = None
    unk_token_id = None

    def __init__(self, folder: Path) -> None:
        lines = (folder / "qwen.tiktoken").read_text().splitlines()
        self.ranks = {base64.b64decode(token): int(rank) for token, rank in map(str.split, lines)}
        names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
        self.special = {name: len(self.ranks) + index for index, name in enumerate(names)}

    def __call__(self, text: str, *, add_special_tokens: bool, split_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        assert split_special_tokens
        return {
            "input_ids": [
                token
                for piece in PIECES.findall(unicodedata.normalize("NFC", text))
                for token in self._merge(piece.encode())
            ]
        }

    def convert_tokens_to_ids(self, token: str) -> int | None:
        return self.special.get(token)

    def _merge(self, word: bytes) -> list[int]:
        parts = [word[i : i + 1] for i in range(len(word))]
        while len(parts) > 1:
            ranks = [self.ranks.get(a + b, len(self.ranks)) for a, b in pairwise(parts)]
            at = min(range(len(ranks)), key=ranks.__getitem__)
            if ranks[at] == len(self.ranks):
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return [self.ranks[part] for part in parts]


@lru_cache(maxsize=1)
def load_qwen1(folder: Path) -> Backbone:
    """Weights under Qwen-1's names -> Qwen2ForCausalLM in float32, frozen."""
    old = json.loads((folder / "config.json").read_text())
    config = Qwen2Config(
        vocab_size=old["vocab_size"],
        hidden_size=old["hidden_size"],
        intermediate_size=old["intermediate_size"] // 2,
        num_hidden_layers=old["num_hidden_layers"],
        num_attention_heads=old["num_attention_heads"],
        num_key_value_heads=old["num_attention_heads"],
        rms_norm_eps=old["layer_norm_epsilon"],
        max_position_embeddings=old["seq_length"],
        rope_parameters={"rope_type": "default", "rope_theta": float(old["rotary_emb_base"])},
        tie_word_embeddings=old["tie_word_embeddings"],
    )
    renamed = {
        "transformer.wte.": "model.embed_tokens.",
        "transformer.ln_f.": "model.norm.",
        "lm_head.": "lm_head.",
        ".ln_1.": ".input_layernorm.",
        ".ln_2.": ".post_attention_layernorm.",
        ".attn.c_proj.": ".self_attn.o_proj.",
        ".mlp.c_proj.": ".mlp.down_proj.",
        ".mlp.w1.": ".mlp.up_proj.",
        ".mlp.w2.": ".mlp.gate_proj.",
        "transformer.h.": "model.layers.",
    }
    state = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        new = name
        for before, after in renamed.items():
            new = new.replace(before, after)
        if ".attn.c_attn." in new:
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                state[new.replace(".attn.c_attn.", f".self_attn.{letter}_proj.")] = part.float()
        else:
            state[new] = tensor.float()
    model = Qwen2ForCausalLM(config).float()
    model.load_state_dict(state)
    model.eval().requires_grad_(False)
    return Backbone("qwen1-tiny", str(folder), None, model, Qwen1Tokenizer(folder))
