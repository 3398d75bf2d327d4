"""Loading: every kind of folder and name ends in a frozen model or in one sentence."""

from __future__ import annotations

import json
import pickle
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import torch

from mse_pipeline import backbones
from mse_pipeline.backbones import tiny
from mse_pipeline.errors import MseError, UsageError
from tests.closeness import assert_close

COMMIT = "b" * 40


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A complete checkpoint folder with safetensors; tests copy it before they spoil it."""
    folder = tmp_path_factory.mktemp("models") / "saved"
    model, tokenizer = tiny.build_tiny()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoint")


@pytest.fixture
def pickled(checkpoint):
    """The same checkpoint with its weights as a pickle."""
    from safetensors.torch import load_file

    torch.save(load_file(checkpoint / "model.safetensors"), checkpoint / "pytorch_model.bin")
    (checkpoint / "model.safetensors").unlink()
    return checkpoint


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty hub cache, and no connection wanted."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def rewrite(path, **changes):
    """Change keys of a JSON file; None removes one."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def put_into_cache(cache, name, checkpoint, commit=COMMIT):
    repository = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(checkpoint, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)


def message(error):
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith((".", "!"))
    return text


# --- what loads ---------------------------------------------------------------------------------------------------


def test_a_folder_gives_the_model_that_was_saved(saved):
    loaded = backbones.load(str(saved))
    assert loaded.digest() == backbones.load("tiny").digest()
    assert (loaded.name, loaded.source, loaded.revision) == (str(saved), str(saved), None)
    assert not loaded.model.training
    assert not any(weight.requires_grad for weight in loaded.model.parameters())
    assert loaded.model.config._attn_implementation == "sdpa"
    assert loaded.tokenizer("joy:4")["input_ids"] == backbones.load("tiny").tokenizer("joy:4")["input_ids"]


@pytest.mark.parametrize("spelling", ["checkpoint", "./checkpoint", "checkpoint/", "~/checkpoint"])
def test_a_folder_is_found_from_where_one_stands(checkpoint, monkeypatch, spelling):
    monkeypatch.chdir(checkpoint.parent)
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    assert backbones.load(spelling).hidden_size == tiny.HIDDEN_SIZE


def test_a_folder_that_looks_like_a_hub_name_is_a_folder(checkpoint, monkeypatch):
    (checkpoint.parent / "someone").mkdir()
    checkpoint.rename(checkpoint.parent / "someone" / "model")
    monkeypatch.chdir(checkpoint.parent)
    assert backbones.load("someone/model").source == "someone/model"


def test_a_short_name_wins_over_a_folder_of_that_name(checkpoint, monkeypatch):
    checkpoint.rename(checkpoint.parent / "tiny")
    monkeypatch.chdir(checkpoint.parent)
    assert backbones.load("tiny").source == "built-in"
    assert backbones.load("./tiny").source == "tiny"


def test_a_path_object_does_as_well(saved):
    assert backbones.load(saved).family == "llama"


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("which", ["tiny", "folder"])
def test_the_number_format_is_what_was_asked(saved, which, dtype):
    loaded = backbones.load("tiny" if which == "tiny" else saved, dtype=dtype)
    assert {weight.dtype for weight in loaded.model.parameters()} == {getattr(torch, dtype)} == {loaded.dtype}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("GPT2", {"n_embd": 32, "n_layer": 1, "n_head": 2}),
        ("GPTNeoX", {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}),
        ("Qwen2", {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}),
        ("Qwen3", {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}),
        ("Glm", {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}),
    ],
)
def test_other_architectures_load_with_the_classes_of_transformers(tmp_path, kind, options):
    import transformers

    name = "GPT2LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM"
    config = getattr(transformers, f"{kind}Config")(vocab_size=640, pad_token_id=0, eos_token_id=2, **options)
    original = getattr(transformers, name)(config).eval()
    original.save_pretrained(tmp_path)
    tiny.build_tokenizer().save_pretrained(tmp_path)
    loaded = backbones.load(tmp_path)
    ids = torch.tensor([[1, 40, 50]])
    assert type(loaded.model).__name__ == name
    assert loaded.hidden_size == 32
    with torch.no_grad():
        logits = loaded.model(inputs_embeds=loaded.embed(ids)).logits
        assert_close(logits, original(ids).logits)


def test_pickled_weights_that_are_only_tensors_load(pickled):
    assert backbones.load(pickled).digest() == backbones.load("tiny").digest()


def test_weights_in_parts_load(tmp_path):
    model, tokenizer = tiny.build_tiny()
    model.save_pretrained(tmp_path, max_shard_size="500KB")
    tokenizer.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert backbones.load(tmp_path).digest() == backbones.load("tiny").digest()


def test_code_in_a_checkpoint_is_not_run(checkpoint):
    canary = checkpoint.parent / "canary"
    code = f"open({str(canary)!r}, 'w').close()\nclass C: pass\n"
    (checkpoint / "own.py").write_text(code)
    rewrite(checkpoint / "config.json", auto_map={"AutoConfig": "own.C", "AutoModelForCausalLM": "own.C"})
    rewrite(checkpoint / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.C", None]})
    assert type(backbones.load(checkpoint).model).__name__ == "LlamaForCausalLM"
    assert not canary.exists()


def test_logs_hold_no_progress_bar(saved, capfd):
    backbones.load(saved)
    assert "Loading weights" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(("name", "hidden_size"), [("stories260K", 64), ("babyllama", 128)])
def test_real_language_models_load(shared, name, hidden_size):
    first, second = (backbones.load(shared / "models" / name) for _ in range(2))
    assert (first.family, first.hidden_size, first.embed(torch.tensor([[1, 2]])).shape) == (
        "llama",
        hidden_size,
        (1, 2, hidden_size),
    )
    assert first.digest() == second.digest()
    ids = first.tokenizer("Once upon a time there was a little", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = first.model(ids).logits
    assert torch.isfinite(logits).all()
    # It is a language model: it expects its own next tokens far above chance.
    likelihood = torch.log_softmax(logits[0, :-1], -1).gather(1, ids[0, 1:, None]).mean()
    assert likelihood > -torch.log(torch.tensor(float(logits.shape[-1]))) / 2


# --- folders that do not load -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", "has a config.json but no weights"),
        ("tokenizer.json", "has weights but no tokenizer"),
    ],
)
def test_an_incomplete_folder_says_what_it_lacks(checkpoint, gone, says):
    (checkpoint / gone).unlink()
    with pytest.raises(UsageError, match=says) as error:
        backbones.load(checkpoint)
    assert str(checkpoint) in message(error)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": None}, "names no model_type"),
        ({"model_type": 7}, "names no model_type"),
        ({"model_type": "nonesuch"}, "'nonesuch' model, which transformers .* does not know. Take"),
        ({"model_type": "nonesuch", "auto_map": {"AutoModel": "own.C"}}, "code of its own, which mse never runs"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "a BertForMaskedLM, which is not a causal"),
        ({"model_type": "bert", "architectures": None}, "a model of type 'bert', which is not a causal"),
        ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, "T5ForConditionalGeneration"),
        ({"model_type": "bart", "is_encoder_decoder": True, "architectures": None}, "not a causal language model"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "a LlamaForSequenceClassification, which is not"),
    ],
)
def test_a_configuration_of_another_kind_is_refused(checkpoint, changes, says):
    rewrite(checkpoint / "config.json", **changes)
    with pytest.raises(UsageError, match=says) as error:
        backbones.load(checkpoint)
    message(error)


@pytest.mark.parametrize("content", ["{", "[1]", "\x00\x01", "[" * 100_000])
def test_a_configuration_that_is_no_json_object_is_refused(checkpoint, content):
    (checkpoint / "config.json").write_text(content)
    with pytest.raises(UsageError, match=r"config\.json .*[Dd]ownload it again"):
        backbones.load(checkpoint)


def test_a_configuration_without_architectures_is_taken_by_its_type(checkpoint):
    rewrite(checkpoint / "config.json", architectures=None)
    assert backbones.load(checkpoint).family == "llama"


def test_an_adapter_is_not_followed_to_the_model_that_it_names(checkpoint):
    (checkpoint / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    with pytest.raises(UsageError, match="PEFT adapter"):
        backbones.load(checkpoint)


class Canary:
    """Its pickle makes a file when it is read without care."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_with_code_is_refused_by_name(pickled, legacy):
    canary = pickled.parent / "canary"
    weights = {"model.norm.weight": Canary(canary)}
    if legacy:
        (pickled / "pytorch_model.bin").write_bytes(pickle.dumps(weights))
    else:
        torch.save(weights, pickled / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"pytorch_model\.bin.*\.safetensors") as error:
        backbones.load(pickled)
    message(error)
    assert not canary.exists()


def test_a_large_file_pointer_is_not_taken_for_weights(checkpoint):
    (checkpoint / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(UsageError, match="git lfs pull"):
        backbones.load(checkpoint)


@pytest.mark.parametrize(
    ("weight_map", "says"),
    [
        ({"a": "../outside.safetensors"}, "not a .safetensors file of its own folder"),
        ({"a": "..\\outside.safetensors"}, "not a .safetensors file of its own folder"),
        ({"a": "weights.bin"}, "not a .safetensors file of its own folder"),
        (
            {"a": "model-00001-of-00002.safetensors"},
            "model-00001-of-00002.safetensors, a part of the weights, is missing",
        ),
        ({"a": 3}, "no weight_map"),
        ({}, "no weight_map"),
        ([], "no weight_map"),
    ],
)
def test_an_index_of_parts_is_not_trusted(checkpoint, weight_map, says):
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(UsageError, match=says):
        backbones.load(checkpoint)


def test_broken_weights_are_told_from_missing_ones(checkpoint):
    (checkpoint / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(MseError, match="cannot be loaded") as error:
        backbones.load(checkpoint)
    assert str(checkpoint) in message(error)


def test_weights_that_lack_parameters_are_not_filled_with_random_numbers(checkpoint):
    from safetensors.torch import load_file, save_file

    weights = load_file(checkpoint / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MseError, match=r"lack 1 parameters .*model\.layers\.1\.mlp\.up_proj\.weight"):
        backbones.load(checkpoint)


def test_weights_of_another_size_are_refused(checkpoint):
    rewrite(checkpoint / "config.json", intermediate_size=64)
    with pytest.raises(MseError, match=r"6 parameters of another shape .*\(128, 256\) instead of \(128, 64\)"):
        backbones.load(checkpoint)


@pytest.mark.parametrize("content", ["{", "{}", "not json"])
def test_a_broken_tokenizer_is_told(checkpoint, content):
    (checkpoint / "tokenizer.json").write_text(content)
    with pytest.raises(MseError, match="tokenizer in") as error:
        backbones.load(checkpoint)
    message(error)


def test_a_tokenizer_of_a_larger_model_is_refused(checkpoint):
    from safetensors.torch import load_file, save_file

    weights = load_file(checkpoint / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = weights[name][:300].contiguous()
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    rewrite(checkpoint / "config.json", vocab_size=300)
    with pytest.raises(UsageError, match="640 tokens and the model embeddings for 300"):
        backbones.load(checkpoint)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vocab_size": 10**9}, "asks for 1000000000 embeddings of width 128, more than"),
        ({"num_hidden_layers": 10**9}, "asks for 1000000000 layers"),
    ],
)
def test_absurd_sizes_are_refused_before_memory_is_taken(checkpoint, changes, says):
    rewrite(checkpoint / "config.json", **changes)
    with pytest.raises(UsageError, match=says):
        backbones.load(checkpoint)


# --- names that do not load ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("./nowhere", "folder './nowhere' does not exist"),
        ("/nowhere/at/all", "does not exist"),
        ("~/nowhere", "does not exist"),
        ("a/b/c", "does not exist"),
        ("tinny", "neither a short name nor a folder, .*take one of tiny"),
        ("what is this?", "nor can it be a hub name"),
        ("Qwen/Qwen2.5-0.5B", "HF_HUB_OFFLINE is set.*`hf download Qwen/Qwen2.5-0.5B --local-dir Qwen2.5-0.5B`"),
        ("smollm2-135m", "not in the hub's cache.*`hf download HuggingFaceTB/SmolLM2-135M"),
        ("someone/Qwen3-06B", "short names like it: qwen3-0.6b"),
    ],
)
def test_a_name_that_leads_nowhere_is_told(offline, name, says):
    with pytest.raises(UsageError, match=says) as error:
        backbones.load(name)
    message(error)


def test_a_file_is_not_a_folder(saved):
    with pytest.raises(UsageError, match="is a file: give the folder"):
        backbones.load(saved / "model.safetensors")


@pytest.mark.parametrize("name", ["someone/model", "plain-name"])
def test_what_the_hub_cache_holds_loads_offline(offline, saved, name):
    put_into_cache(offline, name, saved)
    loaded = backbones.load(name)
    assert (loaded.name, loaded.source, loaded.revision) == (name, name, COMMIT)
    assert loaded.digest() == backbones.load("tiny").digest()


def test_a_cache_with_the_configuration_alone_is_told(offline, checkpoint):
    (checkpoint / "model.safetensors").unlink()
    put_into_cache(offline, "someone/model", checkpoint)
    with pytest.raises(UsageError, match=r"no weights of someone/model.*`hf download someone/model"):
        backbones.load("someone/model")


def test_pickled_weights_are_found_in_the_hub_cache_too(offline, pickled):
    put_into_cache(offline, "someone/model", pickled)
    assert backbones.load("someone/model").digest() == backbones.load("tiny").digest()


def test_a_revision_is_taken_from_the_hub_cache(offline, saved, checkpoint):
    put_into_cache(offline, "someone/model", saved)
    shutil.copytree(checkpoint, offline / "models--someone--model" / "snapshots" / ("c" * 40))
    (offline / "models--someone--model" / "refs" / "v1").write_text("c" * 40)
    assert backbones.load("someone/model").revision == COMMIT
    assert backbones.load("someone/model", revision="v1").revision == "c" * 40
    assert backbones.load("someone/model", revision=COMMIT).revision == COMMIT
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE"):
        backbones.load("someone/model", revision="v2")


@pytest.mark.parametrize("name", ["tiny", "folder"])
def test_what_is_no_repository_has_no_revision(saved, name):
    with pytest.raises(UsageError, match="no repository of the hub, so it has no revision 'main'"):
        backbones.load("tiny" if name == "tiny" else saved, revision="main")


def test_the_tokenizer_alone_needs_no_weights(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    tokenizer, family = backbones.load_tokenizer(checkpoint)
    assert family == "llama"
    assert tokenizer("joy")["input_ids"] == backbones.load_tokenizer("tiny")[0]("joy")["input_ids"]


# --- a hub on this machine ----------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub at localhost that answers every request with one refusal, which the test sets."""
    from huggingface_hub import constants

    answer = {"status": 404, "code": "RepoNotFound"}

    class Refuse(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(answer["status"])
            self.send_header("X-Error-Code", answer["code"])
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *args):
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield answer
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "status", "code", "says"),
    [
        ("meta-llama/Llama-2-7b-hf", 403, "GatedRepo", "is gated on the hub: accept its licence.*`hf auth login`"),
        ("llama2", 403, "GatedRepo", "meta-llama/Llama-2-7b-hf is gated"),
        ("someone/model", 404, "RepoNotFound", "nor a repository that the hub shows you"),
        ("lama2", 404, "RepoNotFound", "neither a short name nor a folder, .*take one of llama2"),
        ("someone/model", 500, "Broken", "the hub cannot be reached"),
        ("someone/model", 404, "RevisionNotFound", "someone/model has no revision"),
    ],
)
def test_refusals_of_the_hub_become_sentences(hub, name, status, code, says):
    hub.update(status=status, code=code)
    with pytest.raises(UsageError, match=says) as error:
        backbones.load(name)
    message(error)


# --- formats and devices ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "half", "", "int8"])
def test_an_unknown_number_format_is_refused(dtype):
    with pytest.raises(UsageError, match="none of float32, float16, bfloat16"):
        backbones.load("tiny", dtype=dtype)


@pytest.mark.parametrize("device", ["gpu", "", "cuda:", "cuda:x", "cpu0", "meta"])
def test_an_unknown_device_is_refused(device):
    with pytest.raises(UsageError, match="none of cpu, cuda, cuda:N and mps"):
        backbones.load("tiny", device=device)


@pytest.mark.parametrize(
    ("quantization", "device", "says"),
    [("2bit", "cpu", "none of 4bit, 8bit"), ("4bit", "cpu", "needs a CUDA GPU, and the device is cpu")],
)
def test_quantization_needs_a_gpu(quantization, device, says):
    with pytest.raises(UsageError, match=says):
        backbones.load("tiny", device=device, quantization=quantization)


def test_quantization_names_the_packages_that_it_needs(monkeypatch):
    from mse_pipeline.backbones import devices

    monkeypatch.setattr(devices, "find_spec", lambda package: None)
    with pytest.raises(UsageError, match="`pip install bitsandbytes accelerate`"):
        devices.quantization_config("8bit", torch.device("cuda:0"), torch.float16)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_without_cuda_says_so(device):
    with pytest.raises(UsageError, match=r"which torch .* does not find here: take --device cpu"):
        backbones.load("tiny", device=device)


def test_a_gpu_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="has cuda:0 to cuda:1"):
        backbones.load("tiny", device="cuda:2")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has an Apple GPU")
def test_mps_elsewhere_than_on_a_mac_says_so():
    with pytest.raises(UsageError, match="Apple silicon"):
        backbones.load("tiny", device="mps")


def test_a_backbone_that_does_not_fit_says_its_size(monkeypatch):
    move = torch.nn.Module.to

    def refuse(self, where):
        if isinstance(where, torch.device):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return move(self, where)

    monkeypatch.setattr(torch.nn.Module, "to", refuse)
    with pytest.raises(MseError, match=r"tiny takes 0\.0 GiB, more than cpu has free"):
        backbones.load("tiny")
