"""unimse-style: plain T5 without adapters, where streams reach it, what is trained, its contrast, and its sizes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from transformers import T5Model

from benchmarks.made_models import WORDS
from mse_pipeline.adapter import AdapterConfig, build
from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.training.answering import direct_loss
from mse_pipeline.training.models.pretrained import framed
from mse_pipeline.training.models.unimse_style import Fusion, StreamVector, info_nce
from tests.training.models.conftest import without_dropout

T5_BASE = {
    **{"vocab_size": 32128, "d_model": 768, "d_kv": 64, "d_ff": 3072, "num_heads": 12},
    **{"num_layers": 12, "num_decoder_layers": 12},
}


@pytest.fixture
def model_of(job, small):
    def make(**options):
        made = job("unimse-style", model_options={**small("unimse-style"), **options})
        torch.manual_seed(4)
        model = build(made.config).eval()
        model.begin(made.backbone)
        return made, model, made.batcher.batch(made.examples[Split.TRAIN][:3])

    return make


def test_without_adapters_it_is_t5(model_of, small):
    _, model, batch = model_of(bypass=True)
    ids, mask = framed(batch, model.options["before"], model.options["last"])
    assert ids[0].tolist() == [WORDS.index(word) for word in ("well", "we", "go", "there", "0", "</s>")]
    plain = T5Model.from_pretrained(small("unimse-style")["encoder"]).eval()
    with torch.no_grad():
        first = torch.zeros(3, 1, dtype=torch.int64)
        theirs = plain(input_ids=ids, attention_mask=mask.long(), decoder_input_ids=first).last_hidden_state
        assert torch.equal(model(batch), model.out(theirs[:, 0]))


def states_of(model, batch):
    """What each block of both stacks makes of a batch."""
    found, handles = {}, []
    for name in ("encoder", "decoder"):
        for place, block in enumerate(getattr(model.t5, name).block):
            key = (name, place)
            handles.append(
                block.register_forward_hook(lambda _m, _g, made, key=key: found.__setitem__(key, made[0].clone()))
            )
    with torch.no_grad():
        model(batch)
    for handle in handles:
        handle.remove()
    return found


def test_what_is_heard_and_seen_reaches_the_last_blocks_alone(model_of):
    _, model, batch = model_of()
    before = states_of(model, batch)
    after = states_of(model, replace(batch, acoustic=batch.acoustic + 1, visual=batch.visual - 1))
    changed = {key for key, states in before.items() if not torch.equal(states, after[key])}
    # The decoder reads what the encoder made in the end.
    assert changed == {("encoder", 1), ("decoder", 0), ("decoder", 1)}
    assert not any(module._forward_hooks for module in model.t5.modules())


def test_adapters_streams_and_the_last_blocks_learn_and_nothing_else(model_of):
    made, model, batch = model_of(tuned=1)
    before = {name: weight.clone() for name, weight in model.t5.named_parameters()}
    optimiser = torch.optim.AdamW(model.train().parameters(), 1e-2)
    direct_loss(made, model, batch).backward()
    optimiser.step()
    moved = {name for name, weight in model.t5.named_parameters() if not torch.equal(weight, before[name])}
    assert moved
    assert all(".block.1." in name for name in moved)
    beside = [*model.vectors.parameters(), *model.adapters.parameters(), *model.out.parameters()]
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in beside)


def test_vectors_that_are_all_alike_are_told_apart_by_chance_alone():
    same = torch.ones(16, 4)
    assert info_nce(same, 3 * same).item() == pytest.approx(math.log(16))
    assert info_nce(torch.eye(4), torch.eye(4)).item() < 1e-3


def test_the_contrast_is_added_in_training_where_it_is_asked_for(model_of):
    made, model, batch = model_of(contrast=0.5)
    with torch.no_grad():
        plain = direct_loss(made, model, batch)
        told = direct_loss(made, without_dropout(model), batch)
        extra = 0.5 * sum(model._contrasts)
    assert len(model._contrasts) == 2
    torch.testing.assert_close(told, plain + extra)
    assert len(model_of()[1].contrasted) == 0


@pytest.mark.parametrize(("hidden", "count"), [(32, 747_136), (64, 804_544)])
def test_an_adapter_has_as_many_parameters_as_papers_count(hidden, count):
    with torch.device("meta"):
        adapter = Fusion(768, 2 * hidden, 64)
    assert sum(weight.numel() for weight in adapter.parameters()) == count


def test_a_streams_vector_has_as_many_parameters_as_papers_count():
    with torch.device("meta"):
        made = StreamVector(64, 32, 0.3)
    assert sum(weight.numel() for weight in made.parameters()) == 13_600


@pytest.mark.parametrize(("hidden", "adapters"), [(32, 4_482_816), (64, 4_827_264)])
def test_the_whole_has_as_many_parameters_as_papers_count(hidden, adapters):
    config = AdapterConfig(
        hidden_size=32,
        acoustic_dim=64,
        visual_dim=64,
        model="unimse-style",
        head=1,
        options={"sizes": T5_BASE, "hidden": hidden},
    )
    with torch.device("meta"):
        made = build(config)
    assert sum(weight.numel() for weight in made.t5.parameters()) == 222_903_552
    assert sum(weight.numel() for weight in made.t5.parameters() if weight.requires_grad) == 33_037_824
    assert sum(weight.numel() for weight in made.adapters.parameters()) == adapters


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"fused": 3}, "fused must be a number of blocks from 0 to 2, but is 3"),
        ({"tuned": -1}, "tuned must be a whole number from 0, but is -1"),
        ({"contrast": -0.5}, "contrast must be at least 0"),
        ({"contrast": 0.5, "bypass": True}, "there are none: set it to 0"),
    ],
)
def test_what_cannot_be_is_refused(model_of, options, told):
    with pytest.raises(UsageError, match=told):
        model_of(**options)
