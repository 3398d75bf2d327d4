"""Random backbones of two layers and a tokenizer of single bytes: the real classes, made in milliseconds."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mse_pipeline.backbones.backbone import Backbone

WIDTH = 32
SMALL = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": None,
}
ARCHITECTURES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", SMALL),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", SMALL),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {**SMALL, "head_dim": 8}),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", {**SMALL, "head_dim": 8}),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", {**SMALL, "head_dim": 8}),
    "gemma3_text": ("Gemma3TextConfig", "Gemma3ForCausalLM", {**SMALL, "head_dim": 8}),
    "mistral": ("MistralConfig", "MistralForCausalLM", SMALL),
    "glm": ("GlmConfig", "GlmForCausalLM", {**SMALL, "head_dim": 8}),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", SMALL),
    "granite": ("GraniteConfig", "GraniteForCausalLM", SMALL),
    "cohere": ("CohereConfig", "CohereForCausalLM", SMALL),
    "phi": ("PhiConfig", "PhiForCausalLM", SMALL),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", SMALL),
    "gpt2": (
        "GPT2Config",
        "GPT2LMHeadModel",
        {"n_embd": WIDTH, "n_layer": 2, "n_head": 4, "n_positions": 512},
    ),
    "opt": (
        "OPTConfig",
        "OPTForCausalLM",
        {
            "hidden_size": WIDTH,
            "word_embed_proj_dim": WIDTH,
            "ffn_dim": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 512,
            "pad_token_id": None,
        },
    ),
    "bloom": ("BloomConfig", "BloomForCausalLM", {"hidden_size": WIDTH, "n_layer": 2, "n_head": 4}),
}


def byte_tokenizer(*special: str, **named: str) -> PreTrainedTokenizerFast:
    """A tokenizer of 256 byte tokens, then control tokens; `named` as in ``bos_token="<s>"``."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([*special, *named.values()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


def small_backbone(
    architecture: str = "llama",
    *,
    tokenizer: Any = None,
    attention: str | None = None,
    dtype: torch.dtype = torch.float32,
    **changes: Any,
) -> Backbone:
    """A frozen random backbone, the same on every call."""
    tokenizer = tokenizer or byte_tokenizer(bos_token="<s>")
    config_name, model_name, sizes = ARCHITECTURES[architecture]
    config = getattr(transformers, config_name)(vocab_size=len(tokenizer), **{**sizes, **changes})
    if attention:
        config._attn_implementation = attention
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = getattr(transformers, model_name)(config)
        # Larger than at the start of a pre-training, so that attention attends and positions matter.
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.25)
    model.to(dtype).eval().requires_grad_(False)
    return Backbone(architecture, "random", None, model, tokenizer)
