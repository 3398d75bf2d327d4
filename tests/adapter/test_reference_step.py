"""One training step equals that of the authors' implementation: pseudo tokens, loss and every gradient."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from mse_pipeline import backbones
from mse_pipeline.adapter import AdapterConfig, MSEAdapter, load_reference_state, reference_names
from mse_pipeline.backbones.answers import Answers
from mse_pipeline.backbones.prompt import Prompt, encode
from mse_pipeline.task import Classification, Regression
from mse_pipeline.training.objective import Batch, answer_loss
from tests.closeness import assert_close

MELD = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
TASKS = {"mosei": Regression(-3, 3), "meld": Classification(MELD), "simsv2": Regression(-1, 1)}


@pytest.fixture(scope="module")
def qwen1(shared):
    return backbones.load(shared / "models" / "qwen1-tiny")


@pytest.mark.parametrize("dataset", TASKS)
def test_a_step_equals_the_reference(dataset, qwen1, shared):
    folder = shared / "reference" / "reference-step"
    told = json.loads((folder / f"{dataset}.json").read_text())
    tensors = load_file(folder / f"{dataset}.safetensors")
    adapter = MSEAdapter(
        AdapterConfig(
            hidden_size=qwen1.hidden_size,
            acoustic_dim=told["a"],
            visual_dim=told["v"],
            acoustic_hidden=told["ha"],
            visual_hidden=told["hv"],
            pseudo_tokens=told["pt"],
        )
    )
    state = {name.removeprefix("param."): value for name, value in tensors.items() if name.startswith("param.")}
    load_reference_state(adapter, state)
    assert sum(parameter.numel() for parameter in adapter.parameters()) == told["trainable"]

    task = TASKS[dataset]
    language = "zh" if told["lang"] == "cn" else "en"
    answers = Answers(task, qwen1.tokenizer, qwen1.family)
    prompt = Prompt.build(qwen1.tokenizer, family=qwen1.family, task_prompt=told["prompt"], language=language)
    labels = [MELD[label] if dataset == "meld" else label for label in told["labels"]]
    text_ids = torch.tensor(told["input_ids"])
    assert [list(encode(qwen1.tokenizer, text)[: text_ids.shape[1]]) for text in told["texts"]] == told["input_ids"]
    batch = Batch(
        clips=("a", "b", "c"),
        text_ids=text_ids,
        text_mask=torch.ones_like(text_ids, dtype=torch.bool),
        acoustic=tensors["audio"],
        acoustic_lengths=tensors["audio_len"],
        visual=tensors["video"],
        visual_lengths=tensors["video_len"],
        targets=torch.tensor([answers.target(label) for label in labels]),
    )

    pseudo = adapter(
        batch.acoustic,
        batch.acoustic_lengths,
        batch.visual,
        batch.visual_lengths,
        qwen1.embed(text_ids),
        batch.text_mask,
    )
    assert_close(pseudo, tensors["pseudo_tokens"])

    loss = answer_loss(qwen1, adapter, prompt, answers, batch)
    assert loss.item() == pytest.approx(told["loss"], rel=1e-4, abs=1e-4)

    loss.backward()
    gradients = {theirs: adapter.get_parameter(ours).grad for ours, theirs in reference_names(adapter).items()}
    expected = {name.removeprefix("grad."): value for name, value in tensors.items() if name.startswith("grad.")}
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert_close(gradient, expected[name], name=name)
