"""mag-bert: the gate's properties, plain BERT without it, sizes, and a run that needs the encoder's folder no more."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn
from transformers import BertModel

from benchmarks.made_models import WORDS, small_encoder
from mse_pipeline import adapter
from mse_pipeline.adapter import AdapterConfig, build
from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.training.answering import score_clips
from mse_pipeline.training.loop import predict_split
from mse_pipeline.training.models.mag_bert import Gate, in_bins
from mse_pipeline.training.run import train


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A folder of a small random BERT."""
    return small_encoder(tmp_path_factory.mktemp("bert"), "bert")


def rows_of(batch=2, length=5, dims=(3, 4)):
    torch.manual_seed(2)
    return {name: torch.randn(batch, length, dim) for name, dim in zip(("visual", "acoustic"), dims, strict=True)}


def test_without_a_step_the_gate_is_a_layer_norm_whatever_is_heard():
    gate = Gate(8, {"visual": 3, "acoustic": 4}, beta=0.0).eval()
    text = torch.randn(2, 5, 8)
    assert torch.equal(gate(text, rows_of()), nn.functional.layer_norm(text, (8,)))
    assert torch.equal(gate(text, {name: 9 * one for name, one in rows_of().items()}), gate(text, rows_of()))


@pytest.mark.parametrize("beta", [0.005, 1.0, 3.0])
def test_a_displacement_is_bounded_by_the_embedding_and_by_what_moves_it(beta):
    gate, text = Gate(8, {"visual": 3, "acoustic": 4}, beta=beta), torch.randn(2, 5, 8)
    free = Gate(8, {"visual": 3, "acoustic": 4}, beta=1e12)
    free.load_state_dict(gate.state_dict())
    for scale in (1e-3, 1.0, 1e3):
        rows = {name: scale * one for name, one in rows_of().items()}
        moved, whole = (one.displacement(text, rows).norm(dim=2) for one in (gate, free))
        assert (moved <= beta * text.norm(dim=2) * (1 + 1e-6)).all()
        assert (moved <= whole * (1 + 1e-5)).all()


def test_rows_of_a_token_move_that_token_alone():
    gate, text, rows = Gate(8, {"visual": 3, "acoustic": 4}).eval(), torch.randn(2, 5, 8), rows_of()
    before = gate(text, rows)
    rows["acoustic"][0, 2] += 1
    changed = (gate(text, rows) != before).any(2).nonzero().tolist()
    assert changed == [[0, 2]]


@pytest.mark.parametrize(
    ("lengths", "bins", "expected"),
    [
        ([6], [3], [[1.0, 5.0, 9.0]]),
        ([2], [3], [[0.0, 0.0, 2.0]]),
        ([0], [3], [[0.0, 0.0, 0.0]]),
        ([5], [0], [[0.0, 0.0, 0.0]]),
        ([6, 3], [1, 3], [[5.0, 0.0, 0.0], [0.0, 2.0, 4.0]]),
    ],
)
def test_bins_are_means_of_valid_rows(lengths, bins, expected):
    rows = (2.0 * torch.arange(6)).repeat(len(lengths), 1)
    rows = torch.where(torch.arange(6) < torch.tensor(lengths)[:, None], rows, torch.nan).unsqueeze(-1)
    assert in_bins(rows, torch.tensor(lengths), torch.tensor(bins), 3).squeeze(-1).tolist() == expected


def test_the_bypassed_gate_is_plain_bert(job, encoder):
    made = job("mag-bert", model_options={"encoder": str(encoder), "bypass": True})
    model = build(made.config).eval()
    model.begin(made.backbone)
    plain = BertModel.from_pretrained(encoder).eval()
    batch = made.batcher.batch(made.examples[Split.TEST][:3])
    ids, mask = model._tokens(batch)
    assert ids[0].tolist() == [WORDS.index(word) for word in ("[CLS]", "we", "go", "there", "0", "[SEP]")]
    with torch.no_grad():
        theirs = model.out(plain(input_ids=ids, attention_mask=mask.long()).pooler_output)
        assert torch.equal(model(batch), theirs)
    assert not model.bert.embeddings._forward_hooks


def test_it_is_trained_kept_and_needs_its_folder_no_more(job, encoder, tmp_path):
    folder = tmp_path / "bert"
    shutil.copytree(encoder, folder)
    made = job("mag-bert", epochs=2, learning_rate=1e-3, model_options={"encoder": str(folder)})
    assert len(made.about["model"]["encoder"]) == 64
    (result,) = train(made, tmp_path / "runs", [1])
    shutil.rmtree(folder)
    loaded, _ = adapter.load(result.folder / "adapter")
    assert predict_split(made, loaded, Split.TEST).values == predict_split(made, loaded.eval(), Split.TEST).values
    assert result.result["trainable_parameters"] == sum(weight.numel() for weight in loaded.parameters())
    alone = torch.cat([score_clips(made, loaded, [one]) for one in made.examples[Split.TEST][:3]])
    torch.testing.assert_close(score_clips(made, loaded, made.examples[Split.TEST])[:3], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "told"),
    [({}, "set training.model_options.encoder"), ({"encoder": "nowhere"}, "has no config.json, tokenizer.json")],
)
def test_an_encoder_that_is_not_there_is_told(job, options, told):
    with pytest.raises(UsageError, match=told):
        job("mag-bert", model_options=options)


@pytest.mark.parametrize(
    ("dims", "count"),
    [
        ((74, 35), 1_351_680),
        ((25, 177), 1_494_528),
        ((64, 64), 1_380_864),
        ((1024, 2048), 5_902_848),
        ((74, 47), 1_370_112),
        ((33, 709), 2_323_968),
    ],
    ids=["MOSEI", "SIMS v2", "MELD", "CHERMA", "MOSI", "SIMS v1"],
)
def test_the_gate_has_as_many_parameters_as_papers_count(dims, count):
    with torch.device("meta"):
        gate = Gate(768, {"acoustic": dims[0], "visual": dims[1]})
    assert sum(weight.numel() for weight in gate.parameters()) == count


@pytest.mark.parametrize(
    ("vocabulary", "dims", "outputs", "count"),
    [
        (30522, (74, 35), 1, 110_834_689),
        (30522, (64, 64), 7, 110_868_487),
        (21128, (25, 177), 1, 103_762_945),
        (21128, (1024, 2048), 7, 108_175_879),
    ],
    ids=["MOSEI", "MELD", "SIMS v2", "CHERMA"],
)
def test_the_whole_model_has_as_many_parameters_as_papers_count(vocabulary, dims, outputs, count):
    config = AdapterConfig(
        hidden_size=32,
        acoustic_dim=dims[0],
        visual_dim=dims[1],
        model="mag-bert",
        head=outputs,
        options={"sizes": {"vocab_size": vocabulary}},
    )
    with torch.device("meta"):
        made = build(config)
    width = 0 if made.width is None else 1  # of the Laplace distribution, which the paper does not have
    assert sum(weight.numel() for weight in made.parameters()) - width == count
