"""A dry run tells what the training would be, and that is what the training is."""

from __future__ import annotations

import json

import pytest
import torch
import transformers

from mse_pipeline import backbones
from mse_pipeline.adapter import AdapterConfig, MSEAdapter
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.loading import outline
from mse_pipeline.clip import Split
from mse_pipeline.recipe import PromptSection, Training
from mse_pipeline.training.dry_run import Load, dry_run, estimate
from mse_pipeline.training.job import prepare
from mse_pipeline.training.reading import read
from mse_pipeline.training.states import bytes_per_token
from mse_pipeline.training.streams import choose_streams
from tests.small_models import ARCHITECTURES

SETTINGS = Training(epochs=3, batch_size=10, acoustic_hidden=4, visual_hidden=4, pseudo_tokens=2)
WORDING = PromptSection(task="Which emotion is it? It is")


@pytest.fixture
def told(made_dataset):
    def make(*without, backbone=None, wording=WORDING, dataset=None, **options):
        dataset = dataset or made_dataset(**options)
        choice = choose_streams(dataset, asked={}, without=without)
        job = prepare(dataset, backbone or outline("tiny"), SETTINGS, choice, wording)
        return dry_run(job, dataset, choice, wording, seeds=5), job

    return make


def test_it_tells_clips_streams_and_steps(told):
    run, _ = told()
    assert run.clips == {"train": 24, "valid": 9, "test": 9}
    assert (run.streams["acoustic"].name, run.streams["acoustic"].dims, run.streams["acoustic"].clips) == (
        "acoustic.made",
        5,
        42,
    )
    assert 3 <= run.streams["visual"].rows.median <= run.streams["visual"].rows.most <= 8
    assert (run.steps_an_epoch, run.steps, run.seeds) == (3, 9, 5)


def test_its_parameters_and_tokens_are_those_of_the_training(told):
    run, job = told()
    loaded = backbones.load("tiny")
    assert run.trainable == sum(parameter.numel() for parameter in MSEAdapter(job.config).parameters())
    assert run.backbone["parameters"] == sum(parameter.numel() for parameter in loaded.model.parameters())
    example = job.examples[Split.TRAIN][0]
    reading = read(loaded, MSEAdapter(job.config), job.prompt, job.batcher.batch([example]))
    shown = [token for token in run.prompt.example if token.part != "answer"]
    assert len(shown) == int(reading.mask.sum())
    assert len(shown) == run.prompt.fixed + run.prompt.pseudo + run.prompt.text.median
    assert run.prompt.example_clip == example.clip
    assert run.prompt.example[-1].piece == "0"


@pytest.mark.parametrize("without", [("text",), ("tgm",), ("msf",), ("acoustic", "visual")])
def test_ablations_are_told(told, without):
    run, job = told(*without)
    assert run.variant == job.about["variant"]
    assert run.trainable == sum(parameter.numel() for parameter in MSEAdapter(job.config).parameters())
    assert (run.prompt.text is None) == ("text" in without)
    assert ("fusion" in run.adapter) == ("msf" not in without)
    assert (run.streams["acoustic"] is None) == ("acoustic" in without)


def test_texts_that_are_read_once_and_a_head_are_told(made_dataset):
    dataset = made_dataset()
    choice = choose_streams(dataset, asked={}, without=())
    settings = SETTINGS.model_copy(update={"place": "before-answer", "answer": "head"})
    job = prepare(dataset, outline("tiny"), settings, choice, WORDING)
    run = dry_run(job, dataset, choice, WORDING, seeds=1)
    plain = dry_run(job, dataset, choice, WORDING, seeds=1, checkpointing=True)
    loaded = backbones.load("tiny")
    # The dataset has two texts.
    tokens = 2 * (run.prompt.fixed + run.prompt.text.median)
    assert run.memory.states == tokens * bytes_per_token(loaded)
    assert (job.states, plain.memory.states) == (None, 0)
    assert [token.part for token in run.prompt.example[-2:]] == ["pseudo tokens", "pseudo tokens"]
    assert run.prompt.answer_tokens is None


def test_previous_turns_are_told(told, made_dataset):
    from dataclasses import replace

    from mse_pipeline import store

    dataset = made_dataset()
    clips = [replace(clip, dialogue="0", turn=turn, speaker="Ann") for turn, clip in enumerate(dataset.clips)]
    dataset = store.open(dataset.path.parent).create("made", clips, task=dataset.manifest.task)
    run, job = told(dataset=dataset, wording=WORDING.model_copy(update={"context": 2}))
    batch = job.batcher.batch(job.examples[Split.TRAIN])
    assert run.prompt.previous.largest == int(batch.context_mask.sum(1).max())
    spoken = [token.piece for token in run.prompt.example if token.part == "previous turns"]
    assert "".join(spoken) == "Ann:"


def test_texts_that_are_cut_are_counted(told, made_dataset):
    from dataclasses import replace

    from mse_pipeline import store

    dataset = made_dataset()
    long = [replace(clip, text="so long " * 3000) if clip.id == "train/1" else clip for clip in dataset.clips]
    dataset = store.open(dataset.path.parent).create("made", long, task=dataset.manifest.task)
    run, _ = told(dataset=dataset)
    assert run.prompt.cut == 1
    assert run.prompt.text.largest == run.prompt.room


def test_it_is_plain_json_and_writes_nothing(told, made_dataset, tmp_path):
    dataset = made_dataset()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    run, _ = told(dataset=dataset)
    value = json.loads(json.dumps(run.to_json()))
    assert value["memory"]["total"] == run.memory.total > value["memory"]["weights"] == 4 * 492_160
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def kept(model, clips, tokens, dtype) -> int:
    """Bytes that autograd keeps of a forward pass, parameters and buffers left out."""
    known = {one.untyped_storage().data_ptr() for one in [*model.parameters(), *model.buffers()]}
    seen = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            seen[storage.data_ptr()] = storage
        return tensor

    width = model.get_input_embeddings().weight.shape[1]
    read = torch.randn(clips, tokens, width, dtype=dtype, requires_grad=True)
    mask = torch.ones(clips, tokens, dtype=torch.int64)
    mask[0, :5] = 0  # else no mask is made
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(inputs_embeds=read, attention_mask=mask, use_cache=False, logits_to_keep=1)
    return sum(storage.nbytes() for storage in seen.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma3_text", "glm", "phi3"])
def test_the_estimate_of_activations_is_what_autograd_keeps(kind, dtype):
    config_class, model_class, given = ARCHITECTURES[kind]
    sizes = {**given, "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 3}
    if "head_dim" in given:
        sizes["head_dim"] = 32
    config = getattr(transformers, config_class)(**{**sizes, "vocab_size": 300, "bos_token_id": 1, "eos_token_id": 2})
    config._attn_implementation = "sdpa"
    model = getattr(transformers, model_class)(config).to(dtype).eval().requires_grad_(False)
    backbone = Backbone("made", "made", None, model, None)
    clips, tokens, number = 3, 60, torch.empty((), dtype=dtype).element_size()
    told = estimate(
        backbone, AdapterConfig(hidden_size=128, acoustic_dim=None, visual_dim=None), Load(clips, tokens, 1, 0)
    )
    embeddings = clips * tokens * 4 * number * 128
    assert told.activations - embeddings == pytest.approx(kept(model, clips, tokens, dtype), rel=0.05)


def test_parts_of_a_batch_and_checkpointing_take_less(made_dataset):
    dataset = made_dataset()
    choice = choose_streams(dataset, asked={})
    job = prepare(dataset, outline("tiny"), SETTINGS, choice, WORDING)

    def activations(**options) -> int:
        return dry_run(job, dataset, choice, WORDING, **options).memory.activations

    assert activations(accumulation=5) * 5 == activations()
    assert activations(checkpointing=True) < activations()


@pytest.mark.parametrize(("quantization", "smallest", "largest"), [(None, 2, 2), ("8bit", 1, 1.7), ("4bit", 0.5, 1.4)])
def test_squeezed_weights_take_less(quantization, smallest, largest):
    drawn = outline("tiny", "bfloat16", quantization=quantization)
    told = estimate(drawn, AdapterConfig(hidden_size=128, acoustic_dim=None, visual_dim=None), Load(1, 10, 1, 0))
    assert smallest <= told.weights / 492_160 <= largest
