"""Short names: complete, distinct, and honest about what this machine lacks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mse_pipeline import backbones
from mse_pipeline.backbones import registry

CACHED = "HuggingFaceTB/SmolLM2-135M"


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_names_and_repositories_are_distinct():
    names = [entry.name for entry in registry.ENTRIES]
    repositories = [entry.hub_id for entry in registry.ENTRIES]
    assert len(set(names)) == len(names) == len(set(repositories))
    assert all(name == name.lower() for name in names)


def test_tiny_is_described_as_it_is():
    entry, tiny = registry.find("tiny"), backbones.load("tiny")
    assert entry.hidden_size == tiny.hidden_size
    assert entry.parameters == sum(weight.numel() for weight in tiny.model.parameters())


@pytest.mark.parametrize(
    ("name", "config", "sizes"),
    [
        ("qwen", "Qwen2", {"intermediate_size": 5504, "num_hidden_layers": 24, "num_attention_heads": 16}),
        (
            "chatglm3",
            "Glm",
            {"vocab_size": 65024, "intermediate_size": 13696, "num_hidden_layers": 28, "num_attention_heads": 32},
        ),
        (
            "llama3.2-3b",
            "Llama",
            {"vocab_size": 128256, "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 24}
            | {"num_key_value_heads": 8, "tie_word_embeddings": True},
        ),
    ],
)
def test_numbers_of_weights_are_those_of_their_sizes(name, config, sizes):
    import torch
    import transformers

    entry = registry.find(name)
    keys = {"num_key_value_heads": 16} if name == "qwen" else {}
    common = {"vocab_size": 151936, "hidden_size": entry.hidden_size, "tie_word_embeddings": False, "pad_token_id": 0}
    made = getattr(transformers, f"{config}Config")(**{**common, **keys, **sizes})
    with torch.device("meta"):
        model = getattr(transformers, f"{config}ForCausalLM")(made)
    assert sum(weight.numel() for weight in model.parameters()) == entry.parameters


@pytest.mark.parametrize(
    ("name", "hub_id"),
    [
        ("qwen", "Qwen/Qwen-1_8B"),
        ("ChatGLM3", "zai-org/chatglm3-6b-base"),
        (" llama2 ", "meta-llama/Llama-2-7b-hf"),
        ("qwen2.5-7b", "Qwen/Qwen2.5-7B"),
    ],
)
def test_short_names_are_found_whatever_their_case(name, hub_id):
    assert registry.find(name).hub_id == hub_id
    assert registry.by_hub_id(hub_id.upper()) is registry.find(name)


@pytest.mark.parametrize("name", ["", "qwen2", "meta-llama/Llama-2-7b-hf", "tiny2"])
def test_other_names_are_no_short_names(name):
    assert registry.find(name) is None


def test_no_hub_name_belongs_to_the_built_in_backbone():
    assert registry.by_hub_id("") is None


@pytest.mark.parametrize(
    ("name", "first"),
    [("tinny", "tiny"), ("smolm2-135m", "smollm2-135m"), ("someone/Qwen3-06B", "qwen3-0.6b"), ("llama-2", "llama2")],
)
def test_a_misspelt_name_leads_to_the_nearest(name, first):
    assert registry.nearest(name)[0] == first


def test_nothing_resembles_a_name_from_elsewhere():
    assert registry.nearest("xyzzy") == ()


def test_describe_says_what_is_missing(empty_cache):
    rows = {row.entry.name: row for row in backbones.describe()}
    assert tuple(rows) == tuple(entry.name for entry in registry.ENTRIES)
    assert rows["tiny"] == backbones.Availability(registry.find("tiny"), ready=True, needs="")
    assert [name for name, row in rows.items() if row.ready] == ["tiny"]
    assert rows["chatglm3"].needs.startswith("Download it: `hf download zai-org/chatglm3-6b-base")
    assert "`hf auth login`" in rows["llama2"].needs
    assert rows["qwen3-0.6b"].needs == (
        "Download it: `hf download Qwen/Qwen3-0.6B --local-dir Qwen3-0.6B`, then `--backbone ./Qwen3-0.6B`."
    )


def test_describe_sees_what_the_hub_cache_holds(empty_cache):
    repository = empty_cache / f"models--{CACHED.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    (snapshot / "config.json").write_text("{}")
    assert not next(row for row in backbones.describe() if row.entry.hub_id == CACHED).ready
    (snapshot / "model.safetensors").write_bytes(b"")
    assert next(row for row in backbones.describe() if row.entry.hub_id == CACHED).ready


def test_importing_and_looking_up_is_cheap():
    code = (
        "import sys; from mse_pipeline import backbones; from mse_pipeline.backbones import registry; "
        "registry.nearest('qwen3'); heavy = {'torch', 'transformers', 'numpy', 'huggingface_hub'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        backbones.nothing  # noqa: B018 - reading it is what is tested
