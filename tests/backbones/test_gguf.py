"""GGUF files: what they hold is loaded and told, and none that is damaged does more than a sentence."""

from __future__ import annotations

import shutil
import struct

import pytest
import torch

from mse_pipeline import backbones
from mse_pipeline.backbones import gguf, registry, tiny
from mse_pipeline.backbones.loading import locate, outline
from mse_pipeline.backbones.prompt import encode
from mse_pipeline.errors import MseError, UsageError

pytest.importorskip("gguf", reason="needs the package gguf")

from tests.backbones.gguf_files import write_gguf
from tests.backbones.test_load import message, put_into_cache

TEXTS = ("I am fine.", "  Two  spaces", "-1.2", "4", " joy", "Don't you?", "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The built-in backbone as a folder of transformers."""
    folder = tmp_path_factory.mktemp("models") / "saved"
    model, tokenizer = tiny.build_tiny()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def file(folder, tmp_path_factory):
    """The same as a GGUF file of plain numbers."""
    return write_gguf(folder, tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def weights(backbone):
    return dict(backbone.model.state_dict())


# --- what loads ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_file_gives_the_model_of_the_folder(folder, file, dtype):
    read, expected = backbones.load(file, dtype), backbones.load(folder, dtype)
    assert (read.digest(), read.dtype, read.family) == (expected.digest(), expected.dtype, "llama")
    assert (read.name, read.source, read.revision, read.quantization) == (str(file), str(file), None, None)
    assert not any(weight.requires_grad for weight in read.model.parameters())


@pytest.mark.parametrize(("kind", "bits", "most"), [("Q8_0", 8.5, 0.01), ("Q5_0", 5.5, 0.06), ("Q4_0", 4.5, 0.12)])
def test_what_a_quantized_file_is_and_how_far_it_is_from_the_original_is_known(folder, tmp_path, kind, bits, most):
    read = backbones.load(write_gguf(folder, tmp_path / "small.gguf", kind))
    assert read.stored_as == f"GGUF {kind}, {bits} bits a weight"
    assert f"is stored as GGUF {kind}" in read.remark
    original = weights(backbones.load(folder))
    name = "model.layers.0.mlp.up_proj.weight"
    error = (weights(read)[name] - original[name]).norm() / original[name].norm()
    assert 0 < error < most


def test_a_folder_has_no_remark(folder):
    assert backbones.load(folder).remark == ""


@pytest.mark.parametrize("name", ["stories260K", "babyllama"])
def test_a_real_tokenizer_is_that_of_the_folder(shared, tmp_path, name):
    original = shared / "models" / name
    read, family = backbones.load_tokenizer(write_gguf(original, tmp_path / "real.gguf", "Q8_0"))
    expected, _ = backbones.load_tokenizer(original)
    assert [encode(read, text) for text in TEXTS] == [encode(expected, text) for text in TEXTS]
    assert (read.bos_token_id, family, len(read)) == (expected.bos_token_id, "llama", len(expected))


def test_a_folder_with_one_file_is_that_file(folder, file, tmp_path):
    shutil.copy(file, tmp_path / "MODEL.GGUF")
    shutil.copy(folder / "config.json", tmp_path)  # repositories of GGUF files often have one
    shutil.copy(folder / "tokenizer.json", tmp_path)
    assert backbones.load(tmp_path).stored_as == "GGUF F32, 32.0 bits a weight"
    shutil.copy(file, tmp_path / "other.gguf")
    with pytest.raises(UsageError, match="2 GGUF files: give one of them"):
        backbones.load(tmp_path)
    shutil.copy(folder / "model.safetensors", tmp_path)
    assert backbones.load(tmp_path).stored_as is None


def test_a_tokenizer_that_lies_beside_is_not_taken(folder, file, tmp_path):
    copy = shutil.copy(file, tmp_path / "model.gguf")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["evil.Tokenizer", null]}}')
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert backbones.load(copy).tokenizer.vocab_size == 640


def test_an_outline_has_no_weights(file):
    drawn = outline(file, "bfloat16")
    assert (drawn.device.type, drawn.dtype, drawn.hidden_size) == ("meta", torch.bfloat16, 128)
    assert drawn.stored_as == "GGUF F32, 32.0 bits a weight"


def test_a_file_of_the_hub_is_found_in_its_cache(file, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "repository").mkdir()
    shutil.copy(file, tmp_path / "repository/tiny.gguf")
    put_into_cache(tmp_path / "hub", "someone/tiny-GGUF", tmp_path / "repository")
    place = locate("someone/tiny-GGUF:tiny.gguf")
    assert (place.path.name, place.source, place.revision) == ("tiny.gguf", "someone/tiny-GGUF:tiny.gguf", "b" * 40)
    assert registry.cached_folder("someone/tiny-GGUF:tiny.gguf") == place.path
    with pytest.raises(UsageError, match=r"no file 'other.gguf'"):
        locate("someone/tiny-GGUF:other.gguf")


# --- what is refused ----------------------------------------------------------------------------------------------


def test_a_missing_package_names_the_extra(file, monkeypatch):
    monkeypatch.setattr(gguf, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as error:
        backbones.load(file)
    assert 'pip install "mse-pipeline[gguf]"' in message(error)


def test_a_quantization_beside_the_file_s_own_is_refused(file):
    for read in (backbones.load, outline):
        with pytest.raises(UsageError, match=r"leave --quantization 4bit out|needs a CUDA GPU"):
            read(file, quantization="4bit")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"general__architecture": "rwkv7"}, "'rwkv7' model, which transformers"),
        ({"general__architecture": "t5"}, "cannot be read|not a causal language model"),
        ({"llama__block_count": 7}, "claims 7 layers and has tensors of 2"),
        ({"llama__block_count": 2**31}, "claims 2147483648 layers"),
        ({"llama__embedding_length": 2**20}, "holds 492,160"),
        ({"llama__feed_forward_length": 2**31}, "holds 492,160"),
        ({"llama__vocab_size": 2**31}, "holds 492,160"),
        ({"llama__rope__dimension_count": 2**24}, "holds 492,160"),
        ({"llama__attention__head_count": "many"}, "cannot be|can be made"),
        ({"tokenizer__ggml__tokens": None}, "cannot be read"),
        ({"tokenizer__ggml__model": "unheard"}, "The tokenizer of .* cannot be read"),
        ({"tokenizer__ggml__bos_token_id": 10**6}, "The tokenizer of .* cannot be read"),
        ({"tokenizer__ggml__tokens": ["a" * 4000]}, "a token of 4,000 bytes"),
        ({"split__count": 3}, "one of 3 parts"),
        ({"general__alignment": 48}, "alignment is 48"),
    ],
)
def test_what_a_file_claims_is_compared_with_what_it_holds(folder, tmp_path, changes, says):
    if changes.get("general__alignment"):
        path = write_gguf(folder, tmp_path / "odd.gguf", made__up=0xABCD)
        content = path.read_bytes().replace(b"made.up", b"general.alignment"[:7])
        key = struct.pack("<Q", 17) + b"general.alignment" + struct.pack("<II", 4, 48)
        old = struct.pack("<Q", 7) + b"general" + struct.pack("<II", 4, 0xABCD)
        path.write_bytes(content.replace(old, key))
    else:
        path = write_gguf(folder, tmp_path / "odd.gguf", **changes)
    with pytest.raises((UsageError, MseError), match=says) as error:
        backbones.load(path)
    message(error)


HEADER = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot be mapped|empty"),
        (b"GGUF", "ends within"),
        (b"GG", "does not begin as one"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"PK\x03\x04" + bytes(60), "archive|does not begin as one"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "claims 1,152,921,504,606,846,976 tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "claims 1,152,921,504,606,846,976 keys"),
        (HEADER + struct.pack("<Q", 2**63) + b"name of a key", "ends within 'a key'"),
        (HEADER + struct.pack("<Q", 1) + b"a" + struct.pack("<IQ", 8, 2**62), "ends within 'a'"),
        (HEADER + struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 0, 2**62), "claims .* a, more than"),
        (HEADER + struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 8, 2**61), "claims .* a, more than"),
        (HEADER + struct.pack("<Q", 1) + b"a" + struct.pack("<IIQI", 9, 9, 1, 9), "unknown type 9"),
        (HEADER + struct.pack("<Q", 1) + b"a" + struct.pack("<II", 77, 0), "unknown type 77"),
        (HEADER + struct.pack("<Q", 1) + b"a" + struct.pack("<II", 4, 0), "names no architecture"),
    ],
)
def test_damaged_and_hostile_files_are_told_in_a_sentence(tmp_path, content, says):
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises((UsageError, MseError), match=says) as error:
        backbones.load(path)
    message(error)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_a_file_that_was_cut_off_is_told(file, tmp_path, share):
    content = file.read_bytes()
    path = tmp_path / "short.gguf"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(MseError, match="Download it again"):
        backbones.load(path)


def test_tensors_that_lie_over_each_other_are_refused(tmp_path):
    """A thousand tensors on the same bytes would take a thousand times the file's size."""
    key = struct.pack("<Q", 20) + b"general.architecture" + struct.pack("<IQ", 8, 5) + b"llama"
    names = [f"blk.{index}.attn_q.weight".encode() for index in range(1000)]
    shape = struct.pack("<IQQIQ", 2, 1000, 1000, 0, 0)
    table = b"".join(struct.pack("<Q", len(name)) + name + shape for name in names)
    path = tmp_path / "heap.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1000, 1) + key + table + bytes(4_000_100))
    with pytest.raises(MseError, match="1000 tensors take 4,000,000,000 bytes"):
        backbones.load(path)


@pytest.mark.parametrize(
    ("shape", "kind", "says"),
    [
        ((2**62, 2**62), 0, "bytes, and"),
        ((0, 4), 0, "impossible shape"),
        ((33,), 8, "impossible shape"),
        ((32,), 4, "ggml type 4"),
        ((32,), 999, "ggml type 999"),
        ((1,) * 9, 0, "9 dimensions"),
    ],
)
def test_impossible_tensors_are_refused(tmp_path, shape, kind, says):
    key = struct.pack("<Q", 20) + b"general.architecture" + struct.pack("<IQ", 8, 5) + b"llama"
    tensor = struct.pack("<Q", 1) + b"a" + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, 0)
    path = tmp_path / "odd.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + key + tensor + bytes(128))
    with pytest.raises((UsageError, MseError), match=says) as error:
        backbones.load(path)
    message(error)


def test_a_file_without_one_of_its_tensors_is_told(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, tmp_path / "less")
    state = load_file(folder / "model.safetensors")
    state["model.layers.1.mlp.up_proj.weight"] = torch.zeros(1)
    del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, tmp_path / "less/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MseError, match="describes a model of"):
        backbones.load(write_gguf(tmp_path / "less", tmp_path / "less.gguf"))


# --- where it is told ---------------------------------------------------------------------------------------------


def test_a_run_keeps_how_the_weights_were_stored_and_finds_the_file_again(folder, tmp_path, monkeypatch):
    from mse_pipeline.prediction.remaking import load_backbone
    from mse_pipeline.recipe import PromptSection, Training
    from mse_pipeline.training.job import prepare
    from mse_pipeline.training.run import train
    from mse_pipeline.training.stored import open_stored
    from mse_pipeline.training.streams import choose_streams
    from tests.training.conftest import maker

    monkeypatch.setenv("MSE_MODELS", str(tmp_path / "no models"))
    dataset = maker(tmp_path)()
    settings, wording = Training(epochs=1, batch_size=8), PromptSection()

    def job(place):
        return prepare(dataset, backbones.load(place), settings, choose_streams(dataset, asked={}), wording)

    assert "stored_as" not in job(folder).about["backbone"]
    quantized = job(write_gguf(folder, tmp_path / "tiny-q8.gguf", "Q8_0"))
    assert quantized.about["backbone"]["stored_as"] == "GGUF Q8_0, 8.5 bits a weight"
    (result,) = train(quantized, tmp_path / "runs", seeds=[1])
    again = load_backbone(open_stored(result.folder.parent))
    assert again.digest() == quantized.about["backbone"]["digest"]
