"""ChatGLM2 and ChatGLM3 (GLM team 2024, arXiv 2406.12793) as transformers' Glm.

The two differ in names, and in that ChatGLM keeps query, key and value in one matrix: all query heads, then the groups
of keys, then those of values. Both rotate half of each head's dimensions, in neighbouring pairs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mse_pipeline.backbones.original.layout import Layout, Plan, Section
from mse_pipeline.errors import UsageError

TOKENIZER_FILE = "tokenizer.model"
CONTROL = (
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
UNKNOWN, END = "<unk>", "</s>"
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


def _configure(old: Section) -> Any:
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

    from mse_pipeline.backbones.original.sentencepiece_file import build, read_pieces

    tokenizer = build(read_pieces(folder / TOKENIZER_FILE))
    tokenizer.add_special_tokens([UNKNOWN, "<s>", END, *CONTROL])
    begin = ("[gMASK]", "sop")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{' '.join(begin)} $A", special_tokens=[(name, tokenizer.token_to_id(name)) for name in begin]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        eos_token=END,
        pad_token=UNKNOWN,
        additional_special_tokens=list(CONTROL),
        split_special_tokens=True,
        padding_side="left",
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )


LAYOUT = Layout(
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
