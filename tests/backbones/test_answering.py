"""The last layer and the logits, computed where the answer needs them alone, and attention behind kept keys."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mse_pipeline.backbones import attention
from mse_pipeline.backbones.answering import PLAIN_FAMILIES, takes_tokens
from mse_pipeline.training.reading import Reading, answer_logits, answer_states
from mse_pipeline.training.states import CACHE_FAMILIES, PromptStates
from tests.closeness import assert_close
from tests.small_models import ARCHITECTURES, WIDTH, small_backbone

TOKENS = (33, 7, 200)
KEPT = [(60, 61, 62, 63, 64, 65, 66), (70, 71)]


def answered(backbone, **options):
    """Logits at the last two positions, and the gradient of what was read; the first clip is padded in front."""
    embeddings = torch.randn(3, 7, WIDTH, generator=torch.Generator().manual_seed(1)).requires_grad_()
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[0, :4] = False
    logits = answer_logits(backbone, Reading(embeddings, mask), keep=2, **options)
    logits.square().sum().backward()
    return logits.detach(), embeddings.grad


def everywhere(backbone):
    """The same by the model alone: all layers at all positions, and all logits."""
    embeddings = torch.randn(3, 7, WIDTH, generator=torch.Generator().manual_seed(1)).requires_grad_()
    mask = torch.ones(3, 7, dtype=torch.int64)
    mask[0, :4] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    places = {} if backbone.family == "bloom" else {"position_ids": positions}
    logits = backbone.model(inputs_embeds=embeddings, attention_mask=mask, **places).logits[:, -2:]
    logits = logits[..., list(TOKENS)]
    logits.square().sum().backward()
    return logits.detach(), embeddings.grad


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_of_some_tokens_are_those_of_the_whole_vocabulary(architecture):
    backbone = small_backbone(architecture)
    made = []
    hook = backbone.model.get_output_embeddings().register_forward_hook(lambda _, given, out: made.append(out.shape))
    found = answered(backbone, tokens=TOKENS)
    hook.remove()
    assert takes_tokens(backbone) == (architecture in PLAIN_FAMILIES)
    assert made[0][1:] == (2, len(TOKENS) if takes_tokens(backbone) else backbone.model.config.vocab_size)
    for value, expected in zip(found, everywhere(backbone), strict=True):
        assert_close(value, expected, 1e-4)
    # Afterwards the model is what it was.
    assert backbone.model(inputs_embeds=torch.randn(1, 3, WIDTH)).logits.shape[2] == backbone.model.config.vocab_size


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("gemma2", {"final_logit_softcapping": 2.0}),
        ("granite", {"logits_scaling": 3.0}),
        ("cohere", {"logit_scale": 0.5}),
        ("gpt2", {"tie_word_embeddings": False}),
        ("phi", {}),
    ],
)
def test_caps_scales_and_biases_of_logits_hold(architecture, changes):
    backbone = small_backbone(architecture, **changes)
    head = backbone.model.get_output_embeddings()
    if head.bias is not None:
        nn.init.normal_(head.bias)
    assert takes_tokens(backbone)
    for value, expected in zip(answered(backbone, tokens=TOKENS), everywhere(backbone), strict=True):
        assert_close(value, expected, 1e-4)


def test_a_head_that_is_no_plain_product_gives_the_whole_vocabulary():
    class Squeezed(nn.Linear):
        """As a quantized layer is."""

    backbone = small_backbone()
    expected = answered(backbone, tokens=TOKENS)
    head = backbone.model.lm_head
    squeezed = Squeezed(head.in_features, head.out_features, bias=False)
    squeezed.weight = head.weight
    backbone.model.lm_head = squeezed
    assert not takes_tokens(backbone)
    for value, plain in zip(answered(backbone, tokens=TOKENS), expected, strict=True):
        assert_close(value, plain)


@pytest.mark.parametrize("architecture", sorted(PLAIN_FAMILIES & set(ARCHITECTURES) - {"opt"}))
def test_the_last_mlp_reads_the_answers_positions_alone(architecture):
    backbone = small_backbone(architecture)
    read = []
    layers = max((one for one in backbone.model.modules() if isinstance(one, nn.ModuleList)), key=len)
    for layer in layers:
        layer.mlp.register_forward_hook(lambda _, given, made: read.append((given[0].shape[1], made.shape[1])))
    answered(backbone)
    # Hooks run in order: these see what the model does by itself, and the last one is widened behind them.
    assert read == [(7, 7), (2, 2)]
    read.clear()
    answer_states(backbone, Reading(torch.randn(1, 5, WIDTH), torch.ones(1, 5, dtype=torch.bool)))
    assert read == [(5, 5), (1, 1)]
    read.clear()
    backbone.model(inputs_embeds=torch.randn(1, 4, WIDTH))
    assert read == [(4, 4), (4, 4)]


@pytest.mark.parametrize("architecture", sorted(CACHE_FAMILIES & set(ARCHITECTURES)))
@pytest.mark.parametrize("new", [1, 3])
def test_attention_behind_kept_keys_is_that_of_torch(architecture, new, monkeypatch):
    backbone = small_backbone(architecture, attention="sdpa" if architecture != "gemma2" else None)
    used, attend = [], attention.attend
    monkeypatch.setattr(attention, "attend", lambda *given, **named: used.append(1) or attend(*given, **named))
    found = []
    for most in (attention._MOST_WEIGHTS, 0):
        monkeypatch.setattr(attention, "_MOST_WEIGHTS", most)
        before = PromptStates(backbone).of(KEPT)
        own = torch.randn(2, new, WIDTH, generator=torch.Generator().manual_seed(2)).requires_grad_()
        mask = torch.ones(2, new, dtype=torch.bool)
        mask[1, : new - 1] = False
        logits = answer_logits(backbone, Reading(own, torch.cat([before.mask, mask], 1), before.past), keep=1)
        logits.square().sum().backward()
        found.append((logits.detach(), own.grad))
        assert backbone.model.config._attn_implementation == ("eager" if architecture == "gemma2" else "sdpa")
    assert len(used) == (0 if architecture == "gemma2" else 2)  # a layer each
    for value, expected in zip(*found, strict=True):
        assert_close(value, expected, 1e-4)


def test_keys_that_are_learned_get_their_gradient():
    backbone = small_backbone()
    before = PromptStates(backbone).of(KEPT)
    for layer in before.past.layers:
        layer.keys = layer.keys.requires_grad_()
    first = before.past.layers[0].keys
    own = torch.randn(2, 1, WIDTH, generator=torch.Generator().manual_seed(2))
    mask = torch.cat([before.mask, torch.ones(2, 1, dtype=torch.bool)], 1)
    answer_logits(backbone, Reading(own, mask, before.past), keep=1).square().sum().backward()
    assert first.grad.abs().sum() > 0
