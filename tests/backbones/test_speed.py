"""Speed: layers that are computed again give the same bits, and compiled ones the same numbers."""

from __future__ import annotations

import pytest
import torch

from mse_pipeline.errors import UsageError
from mse_pipeline.training import run
from mse_pipeline.training.reading import Reading, answer_logits
from mse_pipeline.training.run import compile_forward, enable_checkpointing
from tests.closeness import assert_close
from tests.small_models import ARCHITECTURES, WIDTH, small_backbone


def answer(backbone, length=9):
    """Logits, and the gradient of what was read; the first clip is padded in front."""
    embeddings = torch.randn(3, length, WIDTH, generator=torch.Generator().manual_seed(length)).requires_grad_()
    mask = torch.ones(3, length, dtype=torch.bool)
    mask[0, :4] = False
    logits = answer_logits(backbone, Reading(embeddings, mask), keep=2)
    logits.logsumexp(-1).sum().backward()
    return logits.detach(), embeddings.grad


def passes_of_the_first_layer(backbone):
    """How often its parts run: once forward, and once more where it is computed again."""
    ran = []
    norm = next(part for part in run._layers(backbone)[0].modules() if not list(part.children()))
    norm.register_forward_hook(lambda *_: ran.append(torch.is_grad_enabled()))
    return ran


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layers_that_are_computed_again_give_the_same_bits(architecture):
    plain = answer(small_backbone(architecture))
    backbone = small_backbone(architecture)
    assert enable_checkpointing(backbone) == 2
    again = answer(backbone)
    assert torch.equal(plain[0], again[0])
    assert torch.equal(plain[1], again[1])


@pytest.mark.parametrize("architecture", ["llama", "opt"])
def test_a_backbone_in_evaluation_mode_is_computed_again_in_the_backward_pass_only(architecture):
    backbone = small_backbone(architecture)
    ran = passes_of_the_first_layer(backbone)
    answer(backbone)
    assert len(ran) == 1
    enable_checkpointing(backbone)
    enable_checkpointing(backbone)
    ran.clear()
    answer(backbone)
    assert len(ran) == 2
    ran.clear()
    with torch.no_grad():
        answer_logits(backbone, Reading(torch.randn(1, 3, WIDTH), torch.ones(1, 3, dtype=torch.bool)), keep=1)
    assert len(ran) == 1
    assert not backbone.model.training


@pytest.mark.slow
def test_compiled_layers_give_the_same_numbers_for_sequences_of_any_length():
    backbone, plain = small_backbone("qwen2", num_hidden_layers=1), small_backbone("qwen2", num_hidden_layers=1)
    try:
        assert compile_forward(backbone) == 1
    except UsageError as error:
        pytest.skip(str(error))
    for length in (9, 14, 6):
        for compiled, expected in zip(answer(backbone, length), answer(plain, length), strict=True):
            assert_close(compiled, expected)
    assert backbone.digest() == plain.digest()


def test_a_machine_that_cannot_compile_is_told_what_it_needs(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(UsageError, match=r"needs a C\+\+ compiler"):
        compile_forward(small_backbone())


def test_a_class_without_such_layers_is_refused():
    from dataclasses import replace

    backbone = replace(small_backbone(), model=torch.nn.Linear(2, 2))
    backbone.model.config = small_backbone().model.config
    for change in (enable_checkpointing, compile_forward):
        with pytest.raises(UsageError, match="no layers"):
            change(backbone)
