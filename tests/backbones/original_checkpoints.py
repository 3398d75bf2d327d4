"""Small checkpoints in the original layouts of Qwen-1 and ChatGLM3, written here byte by byte, and what they hold."""

from __future__ import annotations

import base64
import json
import struct

import torch
import transformers
from safetensors.torch import save_file

QWEN_TOKENS = [bytes([byte]) for byte in range(256)] + [b"he", b"in", b" t", b" the", b"it", b" +", b"ha", b"hap"]
SPECIAL_ROWS = 208
GLM_PIECES = ["▁", "e", "h", "t", "i", "n", "0", "1", ".", "▁t", "he", "▁the", "▁▁", "in"]


def qwen(folder, *, form="safetensors"):
    """A Qwen-1 with random weights; returns the Qwen2 that it should become."""
    folder.mkdir()
    config = transformers.Qwen2Config(
        vocab_size=len(QWEN_TOKENS) + SPECIAL_ROWS + 8,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        rms_norm_eps=1e-6,
        max_position_embeddings=512,
        rope_theta=10_000.0,
        tie_word_embeddings=False,
    )
    model = random(transformers.Qwen2ForCausalLM(config))
    new = model.state_dict()
    old = {
        "transformer.wte.weight": new["model.embed_tokens.weight"],
        "transformer.ln_f.weight": new["model.norm.weight"],
        "lm_head.weight": new["lm_head.weight"],
    }
    for layer in range(2):
        before, after = f"transformer.h.{layer}.", f"model.layers.{layer}."
        for kind in ("weight", "bias"):
            parts = [new[f"{after}self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            old[f"{before}attn.c_attn.{kind}"] = torch.cat(parts)
        old[f"{before}attn.c_proj.weight"] = new[f"{after}self_attn.o_proj.weight"]
        old[f"{before}mlp.w1.weight"] = new[f"{after}mlp.up_proj.weight"]
        old[f"{before}mlp.w2.weight"] = new[f"{after}mlp.gate_proj.weight"]
        old[f"{before}mlp.c_proj.weight"] = new[f"{after}mlp.down_proj.weight"]
        old[f"{before}ln_1.weight"] = new[f"{after}input_layernorm.weight"]
        old[f"{before}ln_2.weight"] = new[f"{after}post_attention_layernorm.weight"]
    about = {
        "model_type": "qwen",
        "vocab_size": config.vocab_size,
        "hidden_size": 32,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "kv_channels": 8,
        "layer_norm_epsilon": 1e-6,
        "rotary_emb_base": 10000,
        "rotary_pct": 1.0,
        "seq_length": 512,
        "no_bias": True,
        "use_dynamic_ntk": True,
        "use_logn_attn": True,
        "tie_word_embeddings": False,
        "auto_map": {"AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel"},
    }
    (folder / "config.json").write_text(json.dumps(about))
    lines = [f"{base64.b64encode(token).decode()} {rank}" for rank, token in enumerate(QWEN_TOKENS)]
    (folder / "qwen.tiktoken").write_text("\n".join(lines) + "\n")
    write_weights(folder, old, form)
    return model


def chatglm(folder, *, form="bin"):
    """A ChatGLM3 with random weights; returns the Glm that it should become."""
    folder.mkdir()
    config = transformers.GlmConfig(
        vocab_size=3 + 256 + len(GLM_PIECES) + 16,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        rms_norm_eps=1e-5,
        max_position_embeddings=512,
        rope_theta=10_000.0,
        partial_rotary_factor=0.5,
        attention_bias=True,
        pad_token_id=0,
        eos_token_id=2,
    )
    model = random(transformers.GlmForCausalLM(config))
    new = model.state_dict()
    old = {
        "transformer.embedding.word_embeddings.weight": new["model.embed_tokens.weight"],
        "transformer.encoder.final_layernorm.weight": new["model.norm.weight"],
        "transformer.output_layer.weight": new["lm_head.weight"],
        "transformer.rotary_pos_emb.inv_freq": torch.ones(2),
    }
    for layer in range(2):
        before, after = f"transformer.encoder.layers.{layer}.", f"model.layers.{layer}."
        for kind in ("weight", "bias"):
            parts = [new[f"{after}self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            old[f"{before}self_attention.query_key_value.{kind}"] = torch.cat(parts)
        old[f"{before}self_attention.dense.weight"] = new[f"{after}self_attn.o_proj.weight"]
        old[f"{before}mlp.dense_h_to_4h.weight"] = new[f"{after}mlp.gate_up_proj.weight"]
        old[f"{before}mlp.dense_4h_to_h.weight"] = new[f"{after}mlp.down_proj.weight"]
        old[f"{before}input_layernorm.weight"] = new[f"{after}input_layernorm.weight"]
        old[f"{before}post_attention_layernorm.weight"] = new[f"{after}post_attention_layernorm.weight"]
    about = {
        "model_type": "chatglm",
        "padded_vocab_size": config.vocab_size,
        "hidden_size": 32,
        "ffn_hidden_size": 48,
        "num_layers": 2,
        "num_attention_heads": 4,
        "kv_channels": 8,
        "multi_query_attention": True,
        "multi_query_group_num": 2,
        "layernorm_epsilon": 1e-5,
        "seq_length": 512,
        "add_qkv_bias": True,
        "add_bias_linear": False,
        "original_rope": True,
        "rmsnorm": True,
        "post_layer_norm": True,
        "tie_word_embeddings": False,
        "auto_map": {"AutoModel": "modeling_chatglm.ChatGLMForConditionalGeneration"},
    }
    (folder / "config.json").write_text(json.dumps(about))
    (folder / "tokenizer.model").write_bytes(sentencepiece_model(GLM_PIECES))
    write_weights(folder, old, form)
    return model


def random(model):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            # Parameters alone: rotation tables stay in float32, as in any model that is loaded.
            parameter.data = (torch.randn(parameter.shape, generator=generator) * 0.3).to(torch.float16)
    return model.eval()


def write_weights(folder, state, form):
    """`safetensors`, `bin` or `legacy`, each also as `-shards`."""
    kind, _, shards = form.partition("-")
    suffix = "safetensors" if kind == "safetensors" else "bin"
    stem = "model" if kind == "safetensors" else "pytorch_model"
    names = sorted(state)
    groups = [names[place::3] for place in range(3)] if shards else [names]
    weight_map = {}
    for number, group in enumerate(groups, start=1):
        file = f"{stem}-{number:05d}-of-00003.{suffix}" if shards else f"{stem}.{suffix}"
        part = {name: state[name].clone() for name in group}
        if kind == "safetensors":
            save_file(part, folder / file)
        else:
            torch.save(part, folder / file, _use_new_zipfile_serialization=kind != "legacy")
        weight_map.update(dict.fromkeys(group, file))
    if shards:
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"weight_map": weight_map}))


def sentencepiece_model(pieces, *, kind=2, **normalizer):
    """A `tokenizer.model`: three control pieces, 256 bytes, then `pieces`, the earlier the sooner merged."""
    rows = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    rows += [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    rows += [(piece, -float(place), 1) for place, piece in enumerate(pieces)]
    data = b""
    for text, score, type_ in rows:
        spelled = text.encode()
        piece = field(1, spelled) + b"\x15" + struct.pack("<f", score) + b"\x18" + bytes([type_])
        data += field(1, piece)
    data += field(2, b"\x18" + bytes([kind]) + varint(35 << 3) + b"\x01")
    options = {"dummy_prefix": 1, "remove_spaces": 0, **normalizer}
    return data + field(3, b"\x18" + bytes([options["dummy_prefix"]]) + b"\x20" + bytes([options["remove_spaces"]]))


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number):
    data = b""
    while number > 0x7F:
        data += bytes([number & 0x7F | 0x80])
        number >>= 7
    return data + bytes([number])
