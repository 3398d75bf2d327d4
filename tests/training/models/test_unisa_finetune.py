"""unisa-finetune: plain BART without placeholders, what rows are put in their place, and its sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import BartModel

from mse_pipeline.adapter import AdapterConfig, build
from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.training.answering import direct_loss
from mse_pipeline.training.models.pretrained import framed
from tests.training.models.conftest import without_dropout

BART_BASE = {
    **{"d_model": 768, "encoder_layers": 6, "decoder_layers": 6, "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072},
    **{"encoder_attention_heads": 12, "decoder_attention_heads": 12},
}


@pytest.fixture
def model_of(job, small):
    def make(without=(), **options):
        given = {**small("unisa-finetune"), **options}
        made = job("unisa-finetune", without=without, model_options=given)
        torch.manual_seed(4)
        model = build(made.config).eval()
        model.begin(made.backbone)
        return made, model, made.batcher.batch(made.examples[Split.TRAIN][:3])

    return make


def test_without_placeholders_it_is_bart(model_of, small):
    _, model, batch = model_of(without=("acoustic", "visual"))
    ids, mask = framed(batch, [model.options["first"]], model.options["last"])
    plain = BartModel.from_pretrained(small("unisa-finetune")["encoder"]).eval()
    with torch.no_grad():
        assert not model.dataset.any()
        embeddings, read = model.embedded(batch, ())
        assert torch.equal(read, mask)
        ours = model.bart.encoder(inputs_embeds=embeddings, attention_mask=read.long()).last_hidden_state
        theirs = plain(input_ids=ids, attention_mask=mask.long(), decoder_input_ids=torch.full((3, 1), 5))
        assert torch.equal(ours, theirs.encoder_last_hidden_state)
        assert torch.equal(model(batch), model.head(theirs.last_hidden_state[:, 0]))


def test_what_is_heard_and_seen_changes_its_own_rows_alone(model_of):
    _, model, batch = model_of()
    with torch.no_grad():
        before, mask = model.embedded(batch, model.names)
        rows = [min(5, int(one)) for one in batch.visual_lengths]
        for clip, seen in enumerate(rows):  # <s> <img> V ... <audio> A ... text </s>
            for name, first in (("visual", 2), ("acoustic", 3 + seen)):
                last = first + min(5, int(getattr(batch, f"{name}_lengths")[clip]))
                after, again = model.embedded(replace(batch, **{name: getattr(batch, name) + 1}), model.names)
                assert torch.equal(mask, again)
                changed = (before[clip] != after[clip]).any(1).nonzero().flatten().tolist()
                assert changed == list(range(first, last)), (clip, name)


def test_a_clip_without_a_stream_has_its_mark_and_no_row(model_of):
    _, model, batch = model_of()
    silent = replace(batch, acoustic_lengths=torch.zeros(3, dtype=torch.int64))
    with torch.no_grad():
        _, mask = model.embedded(silent, model.names)
    rows = batch.visual_lengths.clamp(max=5) + batch.text_mask.sum(1)
    assert mask.sum(1).tolist() == (rows + 4).tolist()


def test_texts_and_turns_before_are_cut_where_there_is_no_room_for_them(model_of):
    _, model, batch = model_of()
    words = torch.arange(40).expand(3, -1) % 12 + 6
    there = torch.arange(40) < torch.tensor([[40], [10], [4]])
    said = replace(batch, text_ids=words, text_mask=there, context_ids=words, context_mask=there)
    with torch.no_grad():
        embeddings, mask = model.embedded(said, ())
        assert mask.sum(1).tolist() == [32, 10 + 10 + 2, 4 + 4 + 2]
        assert model(said).isfinite().all()
        torch.testing.assert_close(embeddings[1, 20], model.bart.shared(words[1, 9]))


def test_fine_tuning_learns_the_text_alone_as_well(model_of):
    made, model, batch = model_of(text_alone=True)
    with torch.no_grad():
        both = direct_loss(made, without_dropout(model), batch)
        model.eval()
        whole = direct_loss(made, model, batch)
        model.names, kept = [], model.names
        alone = direct_loss(made, model, batch)
        model.names = kept
    torch.testing.assert_close(both, whole + alone)


def size_of(**sizes):
    config = AdapterConfig(
        hidden_size=32,
        acoustic_dim=64,
        visual_dim=64,
        model="unisa-finetune",
        head=50_320,
        options={"sizes": {**BART_BASE, **sizes}},
    )
    with torch.device("meta"):
        return build(config)


def count(module):
    return sum(weight.numel() for weight in module.parameters())


def test_its_parts_have_as_many_parameters_as_papers_count():
    plain, whole = size_of(), size_of(vocab_size=50_320)
    assert count(plain.bart) == 139_420_416
    # UniSA has 15 datasets, and <img> and <audio> among its vocabulary.
    assert count(whole.bart) + count(whole.project) + 15 * whole.dataset.numel() == 139_574_016
    assert 5 * count(whole.head) == 196_177_920


def test_rows_that_leave_no_room_are_refused(model_of):
    with pytest.raises(UsageError, match=r"must leave room for a text among the 32 .*, but they take 39"):
        model_of(acoustic_rows=30)
