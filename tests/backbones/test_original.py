"""Qwen-1 and ChatGLM2/3 in their original files: same weights, same logits, same tokens, no code of theirs."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from mse_pipeline import backbones
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.checkpoint import load_weights, read_checkpoint
from mse_pipeline.backbones.prompt import encode
from mse_pipeline.errors import MseError, UsageError
from tests.backbones import original_checkpoints as original

pytestmark = pytest.mark.slow

FORMS = ["safetensors", "safetensors-shards", "bin", "bin-shards", "legacy"]
MAKERS = {"qwen": original.qwen, "chatglm": original.chatglm}
CLASSES = {"qwen": "Qwen2ForCausalLM", "chatglm": "GlmForCausalLM"}


@pytest.fixture(params=MAKERS)
def family(request):
    return request.param


@pytest.fixture
def folder(family, tmp_path):
    MAKERS[family](tmp_path / "original", form="safetensors")
    return tmp_path / "original"


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def digest(model):
    return Backbone("", "", None, model, None).digest()


def message(error):
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


# --- weights ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_the_weights_are_those_of_the_checkpoint_bit_by_bit(family, form, tmp_path):
    expected = MAKERS[family](tmp_path / "original", form=form)
    loaded = backbones.load(tmp_path / "original", dtype="float16")
    assert type(loaded.model).__name__ == CLASSES[family]
    assert loaded.digest() == digest(expected)
    assert not any(weight.requires_grad for weight in loaded.model.parameters())
    assert not loaded.model.training
    assert loaded.model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_number_format_is_what_was_asked(family, folder, dtype):
    loaded = backbones.load(folder, dtype=dtype)
    assert {weight.dtype for weight in loaded.model.parameters()} == {loaded.dtype} == {getattr(torch, dtype)}
    assert loaded.model.config.dtype == loaded.dtype


def test_it_computes_what_the_class_computes_that_was_made_in_the_usual_way(family, tmp_path):
    expected = MAKERS[family](tmp_path / "original").float()
    assert expected.model.rotary_emb.inv_freq.dtype == torch.float32
    loaded = backbones.load(tmp_path / "original")
    ids = torch.randint(0, 256, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded.model(ids).logits, expected(ids).logits)


@pytest.mark.parametrize("shard_bytes", [2 * 10**9, 20_000])
def test_a_converted_folder_holds_the_same(family, folder, tmp_path, shard_bytes):
    converted = backbones.convert(folder, tmp_path / "new", shard_bytes=shard_bytes)
    files = list(converted.glob("*.safetensors"))
    assert (len(files) > 1) == (shard_bytes == 20_000) == (converted / "model.safetensors.index.json").is_file()
    before, after = (backbones.load(place, dtype="float16") for place in (folder, converted))
    assert after.digest() == before.digest()
    assert after.model.config.dtype == torch.float16
    for text in ("the hat  in it", " 0.1", "", "<|im_start|> sop </s>"):
        assert encode(after.tokenizer, text) == encode(before.tokenizer, text)
        assert after.tokenizer(text)["input_ids"] == before.tokenizer(text)["input_ids"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_transformers_reads_a_converted_folder_without_mse(family, folder, tmp_path):
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(backbones.convert(folder, tmp_path / "new"), dtype=torch.float32)
    assert digest(plain) == backbones.load(folder).digest()


def test_code_of_the_checkpoint_is_not_run(family, folder):
    canary = folder.parent / "canary"
    for name in ("modeling_qwen.py", "modeling_chatglm.py", "tokenization_qwen.py"):
        (folder / name).write_text(f"open({str(canary)!r}, 'w').close()\n")
    backbones.load(folder)
    assert not canary.exists()


# --- golden values of the original code ---------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["qwen1-tiny", "chatglm3-tiny"])
def golden(request, shared, tmp_path_factory):
    """Folder of a real tokenizer with small weights, another one that it was converted to, and what is known of it."""
    source = shared / "models" / request.param
    converted = backbones.convert(source, tmp_path_factory.mktemp("golden") / request.param)
    return {"original": backbones.load(source), "converted": backbones.load(converted)}, json.loads(
        (source / "golden.json").read_text()
    )


@pytest.mark.parametrize("which", ["original", "converted"])
def test_tokens_are_those_of_the_original_code(golden, which):
    tokenizer, known = golden[0][which].tokenizer, golden[1]
    assert tokenizer(known["texts"])["input_ids"] == known["ids"]
    assert {name: tokenizer.convert_tokens_to_ids(name) for name in known["special"]} == known["special"]
    without = known.get("ids_no_special", known["ids"])
    assert [list(encode(tokenizer, text)) for text in known["texts"]] == without
    assert [tokenizer.decode(ids) for ids in without[:4]] == known["texts"][:4]


@pytest.mark.parametrize("which", ["original", "converted"])
def test_logits_are_those_of_the_original_code(golden, which):
    backbone, known = golden[0][which], golden[1]
    for case in known["logits"]:
        with torch.no_grad():
            logits = backbone.model(torch.tensor([case["input_ids"]])).logits[0]
        top = logits.gather(1, torch.tensor(case["top_ids"]))
        torch.testing.assert_close(top, torch.tensor(case["top_logits"]), atol=1e-4, rtol=0)
        torch.testing.assert_close(logits.logsumexp(1), torch.tensor(case["logsumexp"]), atol=1e-4, rtol=0)


def weights_digest(folder):
    """Without the tokenizer, whose making takes longer than all else."""
    checkpoint = read_checkpoint(folder)
    return digest(load_weights(checkpoint, checkpoint.layout, torch.float16, torch.device("cpu")))


def test_shards_and_pickles_of_real_files_load_alike(shared, tmp_path):
    from safetensors.torch import load_file

    for name in ("qwen1-tiny", "chatglm3-tiny"):
        source = shared / "models" / name
        binary = source / "pytorch_model.bin"
        state = torch.load(binary, weights_only=True) if binary.is_file() else load_file(source / "model.safetensors")
        digests = {weights_digest(source)}
        for form in ("safetensors-shards", "bin-shards", "safetensors" if binary.is_file() else "bin"):
            folder = tmp_path / f"{name}-{form}"
            shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.bin", "*.safetensors"))
            original.write_weights(folder, state, form)
            digests.add(weights_digest(folder))
        assert len(digests) == 1


@pytest.mark.parametrize(
    "text", ["<|im_start|>", "bye<|im_end|>", "[gMASK]sop", "</s>", "sophisticated <unk>", "<0x0A>"]
)
def test_control_tokens_spelled_in_a_text_stay_text(golden, text):
    tokenizer = golden[0]["original"].tokenizer
    ids = encode(tokenizer, text)
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids) == text


# --- what does not load -------------------------------------------------------------------------------------------


def load_state(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_all_names_that_do_not_fit_are_told_at_once(family, folder):
    state = load_state(folder)
    gone = [name for name in state if name.endswith("ln_1.weight") or name.endswith("input_layernorm.weight")]
    for name in gone:
        del state[name]
    state["transformer.prefix_encoder.embedding.weight"] = torch.zeros(1)
    original.write_weights(folder, state, "safetensors")
    with pytest.raises(MseError, match=r"lack 2 \(.*\) and have unknown 1 \(transformer\.prefix_encoder") as error:
        backbones.load(folder)
    assert all(name in message(error) for name in gone)


def test_weights_of_another_shape_are_refused(family, folder):
    key = "intermediate_size" if family == "qwen" else "ffn_hidden_size"
    rewrite(folder / "config.json", **{key: 128})
    with pytest.raises(MseError, match=r"misshapen .* instead of") as error:
        backbones.load(folder)
    message(error)


def test_weights_of_whole_numbers_are_refused(family, folder):
    state = load_state(folder)
    name = next(name for name in state if name.endswith(("w1.weight", "dense_h_to_4h.weight")))
    state[name] = state[name].to(torch.int8)
    original.write_weights(folder, state, "safetensors")
    with pytest.raises(MseError, match="quantized"):
        backbones.load(folder)


class Canary:
    """Its pickle makes a file when it is read without care."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_with_code_is_refused(family, folder):
    canary = folder.parent / "canary"
    (folder / "model.safetensors").unlink()
    torch.save({"transformer.wte.weight": Canary(canary)}, folder / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"pytorch_model\.bin.*hold more than tensors"):
        backbones.load(folder)
    assert not canary.exists()


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"PK\x03\x04"])
def test_broken_weights_are_told(family, folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(MseError, match=r"model\.safetensors cannot be read.*[Dd]ownload it again") as error:
        backbones.load(folder)
    message(error)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(MseError, match=r"pytorch_model\.bin"):
        backbones.load(folder)


def test_other_things_in_a_pickle_are_refused(family, folder):
    (folder / "model.safetensors").unlink()
    torch.save([torch.zeros(1)], folder / "pytorch_model.bin")
    with pytest.raises(UsageError, match="other things than weights"):
        backbones.load(folder)


@pytest.mark.parametrize("value", [10**12, 0, -1, "32", True, None, 1.5])
@pytest.mark.parametrize("key", ["hidden_size", "num_attention_heads"])
def test_absurd_sizes_are_refused_before_memory_is_taken(family, folder, key, value):
    rewrite(folder / "config.json", **{key: value})
    with pytest.raises(UsageError, match=rf"{key} = .*should be a whole number"):
        backbones.load(folder)


def test_many_layers_are_refused_by_their_names_before_a_model_is_made(family, folder):
    rewrite(folder / "config.json", **{"num_hidden_layers" if family == "qwen" else "num_layers": 1000})
    with pytest.raises(MseError, match=r"lack \d+ .*more\)"):
        backbones.load(folder)


@pytest.mark.parametrize(
    ("family", "changes", "says"),
    [
        ("qwen", {"no_bias": False}, "no_bias = False"),
        ("qwen", {"quantization_config": {"bits": 4}}, "quantized"),
        ("qwen", {"kv_channels": 16}, "kv_channels = 16"),
        ("qwen", {"intermediate_size": 97}, "cannot be shared out evenly"),
        ("qwen", {"layer_norm_epsilon": "small"}, "should be a number above 0"),
        ("chatglm", {"quantization_bit": 4}, "quantized"),
        ("chatglm", {"position_encoding_2d": True}, "the first ChatGLM-6B"),
        ("chatglm", {"padded_vocab_size": 151552}, "--backbone glm-4-9b"),
        ("chatglm", {"multi_query_attention": False}, "multi_query_attention = False"),
        ("chatglm", {"multi_query_group_num": 3}, "do not fit together"),
    ],
    indirect=["family"],
)
def test_variants_that_the_classes_do_not_compute_are_refused(family, folder, changes, says):
    rewrite(folder / "config.json", **changes)
    with pytest.raises(UsageError, match=says) as error:
        backbones.load(folder)
    message(error)


def test_a_variant_for_longer_texts_turns_more_slowly(tmp_path):
    original.chatglm(tmp_path / "original")
    rewrite(tmp_path / "original" / "config.json", rope_ratio=50, seq_length=32768)
    config = backbones.load(tmp_path / "original").model.config
    assert config.rope_parameters["rope_theta"] == 500_000
    assert config.max_position_embeddings == 32768


def test_a_folder_without_its_tokenizer_says_so(family, folder):
    name = {"qwen": "qwen.tiktoken", "chatglm": "tokenizer.model"}[family]
    (folder / name).unlink()
    with pytest.raises(UsageError, match=f"no tokenizer .*{name}"):
        backbones.load(folder)


def test_an_original_layout_is_converted_before_it_is_quantized(family, folder, monkeypatch):
    from mse_pipeline.backbones import loading

    monkeypatch.setattr(loading, "quantization_config", lambda *_: object())
    with pytest.raises(UsageError, match="mse backbones convert"):
        backbones.load(folder, quantization="4bit")


# --- conversion ---------------------------------------------------------------------------------------------------


def test_nothing_is_overwritten(family, folder, tmp_path):
    (tmp_path / "new").mkdir()
    assert backbones.convert(folder, tmp_path / "new").is_dir()
    with pytest.raises(UsageError, match="exists already"):
        backbones.convert(folder, tmp_path / "new")


def test_what_needs_no_conversion_says_so(tmp_path):
    with pytest.raises(UsageError, match="needs no conversion: `--backbone tiny`"):
        backbones.convert("tiny", tmp_path / "new")


def test_a_failed_conversion_leaves_nothing(family, folder, tmp_path):
    state = load_state(folder)
    state.popitem()
    original.write_weights(folder, state, "safetensors")
    with pytest.raises(MseError, match="lack 1"):
        backbones.convert(folder, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["original"]
