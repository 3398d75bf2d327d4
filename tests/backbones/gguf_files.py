"""LLaMA folders written as GGUF files, as llama.cpp's converter writes them: for tests of their reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def write_gguf(folder: Path, path: Path, kind: str = "F32", **changes: Any) -> Path:
    """Write a LLaMA of transformers with its tokenizer as a GGUF file.

    Args:
        folder: Weights in safetensors, and a tokenizer.json of byte-level or sentencepiece BPE.
        path: The file.
        kind: Of the matrices whose rows are whole blocks, as in ``Q8_0``.
        changes: Other values for keys, with ``__`` for dots, as in ``llama__block_count=7``; None leaves one out.
    """
    import gguf
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text())
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    facts: dict[str, Any] = {
        "general.name": "written by a test",
        "general.file_type": int(gguf.LlamaFileType[f"{'ALL' if kind == 'F32' else 'MOSTLY'}_{kind}"]),
        "llama.context_length": config["max_position_embeddings"],
        "llama.embedding_length": config["hidden_size"],
        "llama.block_count": config["num_hidden_layers"],
        "llama.feed_forward_length": config["intermediate_size"],
        "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": groups,
        "llama.rope.dimension_count": config["hidden_size"] // heads,
        "llama.rope.freq_base": 10_000.0,
        "llama.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        "llama.vocab_size": config["vocab_size"],
        **_tokenizer(folder),
    }
    facts |= {name.replace("__", "."): value for name, value in changes.items()}
    writer = gguf.GGUFWriter(path, facts.pop("general.architecture", "llama"))
    for name, value in facts.items():
        if isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        elif value is not None:
            writer.add_array(name, value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, tensor in load_file(folder / "model.safetensors").items():
        values = tensor.float().numpy()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            values = _interleaved(values, heads if "q_proj" in name else groups)
        numbers = gguf.GGMLQuantizationType[kind]
        if values.ndim < 2 or values.shape[1] % gguf.GGML_QUANT_SIZES[numbers][0]:
            numbers = gguf.GGMLQuantizationType.F32
        stored = gguf.quants.quantize(np.ascontiguousarray(values), numbers)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), stored, raw_dtype=numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _interleaved(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries and keys in llama.cpp's order, where the two halves of a rotation are neighbours."""
    return values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)


def _tokenizer(folder: Path) -> dict[str, Any]:
    described = json.loads((folder / "tokenizer.json").read_text())
    model, special = described["model"], {token["id"] for token in described["added_tokens"]}
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    begin, end = next(
        ids for ids in ((1, 2), (0, 1)) if all(tokens[one] in ("<s>", "</s>", "<bos>", "<eos>") for one in ids)
    )
    byte_level = "Ġ" in "".join(tokens)
    facts = {
        "tokenizer.ggml.model": "gpt2" if byte_level else "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if index in special else 1 for index in range(len(tokens))],
        "tokenizer.ggml.bos_token_id": begin,
        "tokenizer.ggml.eos_token_id": end,
    }
    if byte_level:
        return {**facts, "tokenizer.ggml.pre": "default", "tokenizer.ggml.merges": merges}
    ranks = {merge.replace(" ", ""): -float(rank) for rank, merge in enumerate(merges)}
    return {**facts, "tokenizer.ggml.scores": [ranks.get(token, -1e6) for token in tokens]}
