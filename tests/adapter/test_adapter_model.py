"""MSEAdapter: its sizes, and what its output does and does not depend on."""

from __future__ import annotations

import pytest
import torch

from mse_pipeline.adapter import AdapterConfig, MSEAdapter
from mse_pipeline.adapter.model import masked_mean

# dataset: (acoustic, visual dims), (acoustic, visual widths), pseudo tokens
PAPER = {
    "mosei": ((74, 35), (64, 32), 4),
    "simsv2": ((25, 177), (64, 64), 4),
    "meld": ((64, 64), (32, 16), 2),
    "cherma": ((1024, 2048), (32, 16), 4),
    "meld-chatglm3": ((64, 64), (64, 32), 4),
}


def small(**changes) -> MSEAdapter:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "acoustic_dim": 5, "visual_dim": 3, "acoustic_hidden": 8, "visual_hidden": 4}
    return MSEAdapter(AdapterConfig(**{**sizes, **changes})).eval()


def inputs(clips=4, rows=6, frames=5, tokens=7, width=64) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return [
        torch.randn(clips, rows, 5, generator=draw),
        torch.tensor([6, 1, 4, 3])[:clips],
        torch.randn(clips, frames, 3, generator=draw),
        torch.tensor([2, 5, 1, 4])[:clips],
        torch.randn(clips, tokens, width, generator=draw),
        torch.arange(tokens) < torch.tensor([7, 3, 1, 5])[:clips, None],
    ]


@pytest.mark.parametrize(
    ("dataset", "hidden_size", "count"),
    [
        ("mosei", 2048, 1_351_244),
        ("mosei", 4096, 2_631_692),
        ("simsv2", 2048, 1_400_268),
        ("simsv2", 4096, 2_680_716),
        ("meld", 2048, 1_312_072),
        ("meld", 4096, 2_592_520),
        ("cherma", 2048, 1_561_932),
        ("cherma", 4096, 2_842_380),
        ("meld-chatglm3", 4096, 2_632_844),
    ],
)
def test_it_has_exactly_the_published_number_of_parameters(dataset, hidden_size, count):
    dims, widths, pseudo_tokens = PAPER[dataset]
    config = AdapterConfig(
        hidden_size=hidden_size,
        acoustic_dim=dims[0],
        visual_dim=dims[1],
        acoustic_hidden=widths[0],
        visual_hidden=widths[1],
        pseudo_tokens=pseudo_tokens,
    )
    with torch.device("meta"):
        adapter = MSEAdapter(config)
    assert sum(parameter.numel() for parameter in adapter.parameters()) == count


def test_the_output_is_one_embedding_a_pseudo_token():
    assert small(pseudo_tokens=3)(*inputs()).shape == (4, 3, 64)


def test_it_computes_the_equations_of_the_paper():
    adapter = small()
    acoustic, _, visual, _, text, _ = inputs()
    full = torch.full((4,), 6), torch.full((4,), 5)
    a = adapter.acoustic.linear(adapter.acoustic.rnn(acoustic)[0][:, -1])
    v = adapter.visual.linear(adapter.visual.rnn(visual)[0][:, -1])
    k = adapter.mixer.linear(text.mean(1))
    f = a * k + v * k
    weight, bias = adapter.fusion.mix.weight.flatten(), adapter.fusion.mix.bias
    mixed = sum(w * mlp(f) for w, mlp in zip(weight, adapter.fusion.scales, strict=True)) + bias
    wide = adapter.projector.widen(mixed)
    expected = torch.stack(
        [wide * w + b for w, b in zip(adapter.projector.multiply.weight, adapter.projector.multiply.bias, strict=True)],
        dim=1,
    )
    actual = adapter(acoustic, full[0], visual, full[1], text, torch.ones(4, 7))
    torch.testing.assert_close(actual, expected)
    assert [mlp[0].out_features for mlp in adapter.fusion.scales] == [64 // 8, 64 // 32, 64 // 16]


def test_padding_has_no_influence_whatever_it_holds():
    adapter, given = small(), inputs()
    expected = adapter(*given)
    for values, ends in ((given[0], given[1]), (given[2], given[3])):
        for clip, end in enumerate(ends.tolist()):
            values[clip, end:] = float("nan")
    given[4][~given[5]] = float("nan")
    longer = [*given[:4], *(torch.cat([x, torch.zeros_like(x[:, :2])], dim=1) for x in given[4:])]
    torch.testing.assert_close(adapter(*longer), expected)


def test_each_clip_gets_what_it_gets_alone_in_any_order():
    adapter, given = small(), inputs()
    together = adapter(*given)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(adapter(*(x[order] for x in given)), together[order])
    for clip in range(4):
        torch.testing.assert_close(adapter(*(x[clip : clip + 1] for x in given)), together[clip : clip + 1])


def test_a_clip_without_a_stream_has_a_zero_vector_there():
    adapter, given = small(), inputs()
    given[1][2] = 0
    encoded = adapter.acoustic(given[0], given[1])
    assert encoded[2].eq(0).all()
    assert encoded[[0, 1, 3]].ne(0).all()
    silent = small(acoustic_dim=None)
    silent.load_state_dict({k: v for k, v in adapter.state_dict().items() if not k.startswith("acoustic.")})
    torch.testing.assert_close(adapter(*given)[2], silent(None, None, *given[2:])[2])


@pytest.mark.parametrize("rows", [0, 3])
def test_a_batch_without_any_row_is_read(rows):
    adapter, given = small(), inputs()
    given[0], given[1] = given[0][:, :rows], torch.zeros(4, dtype=torch.int64)
    tokens = adapter(*given)
    tokens.sum().backward()
    assert torch.isfinite(tokens).all()
    assert adapter.acoustic.rnn.weight_ih_l0.grad is None


def test_without_streams_the_text_alone_is_fused():
    adapter, given = small(acoustic_dim=None, visual_dim=None), inputs()
    assert not [name for name, _ in adapter.named_parameters() if name.startswith(("acoustic", "visual"))]
    text = given[4][:1, :7]
    expected = adapter.projector(adapter.fusion(adapter.mixer.linear(text.mean(1))))
    torch.testing.assert_close(adapter(None, None, None, None, text, torch.ones(1, 7)), expected)


def test_without_tgm_the_text_is_added_to_the_modalities():
    adapter, given = small(mixer=False), inputs()
    a, v = adapter.acoustic(given[0], given[1]), adapter.visual(given[2], given[3])
    k = adapter.mixer.linear(masked_mean(*given[4:]))
    torch.testing.assert_close(adapter(*given), adapter.projector(adapter.fusion(a + v + k)))
    assert adapter.state_dict().keys() == small().state_dict().keys()


def test_without_msf_the_projector_takes_the_fused_vector_as_it_is():
    adapter, given = small(fusion=False), inputs()
    a, v = adapter.acoustic(given[0], given[1]), adapter.visual(given[2], given[3])
    k = adapter.mixer.linear(masked_mean(*given[4:]))
    torch.testing.assert_close(adapter(*given), adapter.projector(a * k + v * k))
    assert not [name for name in adapter.state_dict() if name.startswith("fusion")]


def test_without_text_the_modalities_are_added_and_no_text_is_read():
    adapter, given = small(text=False), inputs()
    a, v = adapter.acoustic(given[0], given[1]), adapter.visual(given[2], given[3])
    expected = adapter.projector(adapter.fusion(a + v))
    torch.testing.assert_close(adapter(*given[:4], None, None), expected)
    torch.testing.assert_close(adapter(*given[:4], given[4] * float("nan"), given[5]), expected)
    assert not [name for name in adapter.state_dict() if name.startswith("mixer")]


def test_parts_left_out_together():
    adapter, given = small(text=False, fusion=False, visual_dim=None), inputs()
    expected = adapter.projector(adapter.acoustic(given[0], given[1]))
    torch.testing.assert_close(adapter(*given[:2], None, None, None, None), expected)


def test_a_stream_that_the_configuration_leaves_out_is_not_read():
    adapter, given = small(visual_dim=None), inputs()
    torch.testing.assert_close(adapter(*given), adapter(*given[:2], None, None, *given[4:]))


def test_a_text_without_tokens_counts_as_a_zero_mean():
    adapter, given = small(), inputs()
    given[5][1] = False
    given[4][1] = 0
    empty = adapter(*given)[1]
    given[5][1] = True
    torch.testing.assert_close(empty, adapter(*given)[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_stays_in_float32_beside_a_backbone_in_half_precision(dtype):
    adapter, given = small(), inputs()
    tokens = adapter(*given[:4], given[4].to(dtype), given[5])
    assert tokens.dtype == torch.float32
    torch.testing.assert_close(tokens, adapter(*given[:4], given[4].to(dtype).float(), given[5]))


def test_dropout_acts_in_training_only():
    adapter, given = small(dropout=0.5), inputs()
    torch.testing.assert_close(adapter(*given), adapter(*given))
    adapter.train()
    assert not torch.equal(adapter(*given), adapter(*given))


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (0, None, "acoustic_dim=None"),
        (3, None, "visual_dim=None"),
        (4, None, "text=False"),
        (5, None, "text=False"),
        (0, torch.zeros(4, 6, 9), "reads"),
        (0, torch.zeros(6, 5), "reads"),
        (1, torch.ones(3, dtype=torch.int64), "as many lengths"),
        (1, torch.tensor([1, 2, 3, 7]), "between 0 and 6"),
        (3, torch.tensor([1, 2, -3, 4]), "between 0 and 5"),
        (5, torch.ones(4, 9), "text mask"),
    ],
)
def test_what_does_not_fit_is_refused(place, value, said):
    given: list = inputs()
    given[place] = value
    with pytest.raises(ValueError, match=said):
        small()(*given)


def test_with_residuals_a_mixer_and_a_fusion_that_give_nothing_lose_nothing():
    adapter = small(residual=True)
    with torch.no_grad():
        for part in (adapter.mixer, adapter.fusion.mix):
            for weight in part.parameters():
                weight.zero_()
    acoustic, lengths, visual, counts, *_ = inputs()
    expected = adapter.projector(adapter.acoustic(acoustic, lengths) + adapter.visual(visual, counts))
    torch.testing.assert_close(adapter(*inputs()), expected)
