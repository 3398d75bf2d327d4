"""What the adapter reads in training, changed at random: rows, spans, streams and noise, each as asked for."""

import pytest
import torch

from mse_pipeline.recipe import Training
from mse_pipeline.training.augmentation import augment
from mse_pipeline.training.reading import Batch

CLIPS, ROWS = 64, 50


def batch(*, modalities=("acoustic", "visual"), text=True, lengths=None):
    """Values that are all 1, so that what is 0 was set to 0; text in every clip, or in none."""
    lengths = torch.full((CLIPS,), ROWS) if lengths is None else lengths
    streams = {name: torch.ones(CLIPS, ROWS, 3) for name in modalities}
    return Batch(
        clips=tuple(map(str, range(CLIPS))),
        text_ids=torch.zeros(CLIPS, 2, dtype=torch.int64),
        text_mask=torch.full((CLIPS, 2), text),
        **streams,
        **{f"{name}_lengths": lengths.clone() for name in modalities},
    )


def changed(settings, seed=0, text=True, **made):
    torch.manual_seed(seed)
    return augment(batch(**made), Training(**settings), text=text)


def test_without_settings_the_batch_is_the_same_and_nothing_is_drawn():
    given = batch()
    before = torch.get_rng_state()
    assert augment(given, Training()) is given
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_row_dropout_sets_its_share_of_rows_to_0_as_wholes(share):
    made = changed({"row_dropout": share})
    for values in (made.acoustic, made.visual):
        zero = (values == 0).all(2)
        assert zero.float().mean().item() == pytest.approx(share, abs=0.03)
        assert torch.equal(zero, (values == 0).any(2))
    assert not torch.equal(made.acoustic, made.visual)  # each stream draws its own
    assert made.acoustic_lengths.tolist() == [ROWS] * CLIPS


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_time_mask_is_one_span_of_its_share_of_each_sequence(share):
    lengths = torch.arange(CLIPS) % ROWS
    made = changed({"time_mask": share}, lengths=lengths)
    begins = set()
    for clip, length in enumerate(lengths.tolist()):
        zero = (made.acoustic[clip, :length] == 0).all(1).nonzero().flatten()
        assert len(zero) == round(share * length + 1e-9) or abs(len(zero) - share * length) <= 0.5
        assert len(zero) == 0 or int(zero[-1] - zero[0]) + 1 == len(zero)
        begins |= set(zero[:1].tolist())
    assert len(begins) > 5


def test_noise_has_its_deviation_and_leaves_padding_alone():
    lengths = torch.full((CLIPS,), ROWS // 2)
    made = changed({"feature_noise": 0.5}, lengths=lengths)
    noise = made.acoustic[:, : ROWS // 2] - 1
    assert noise.std().item() == pytest.approx(0.5, rel=0.05)
    assert noise.mean().item() == pytest.approx(0, abs=0.03)
    assert not made.acoustic[:, ROWS // 2 :].any()


def test_masked_rows_are_0_also_where_there_is_noise():
    made = changed({"feature_noise": 1.0, "row_dropout": 0.5})
    assert (made.acoustic == 0).all(2).float().mean().item() == pytest.approx(0.5, abs=0.03)


def test_a_dropped_modality_has_no_row():
    made = changed({"modality_dropout": 0.3})
    for lengths, values in ((made.acoustic_lengths, made.acoustic), (made.visual_lengths, made.visual)):
        absent = lengths == 0
        assert 0.1 < absent.float().mean().item() < 0.5
        assert not values[absent].any()
        assert lengths[~absent].tolist() == [ROWS] * int((~absent).sum())
    assert ((made.acoustic_lengths == 0) & (made.visual_lengths == 0)).any()  # the text is still read


@pytest.mark.parametrize(("text", "spoken"), [(False, True), (True, False)])
def test_where_no_text_is_read_a_clip_keeps_one_of_its_streams(text, spoken):
    torch.manual_seed(1)
    made = augment(batch(text=spoken), Training(modality_dropout=0.9), text=text)
    kept = torch.stack([made.acoustic_lengths, made.visual_lengths]) > 0
    assert kept.any(0).all()
    assert kept[0].any()
    assert kept[1].any()  # by chance one or the other


def test_a_clip_without_a_stream_stays_without_it_and_keeps_the_other():
    lengths = torch.zeros(CLIPS, dtype=torch.int64)
    given = batch()
    given = Batch(**{**vars(given), "visual_lengths": lengths})
    made = augment(given, Training(modality_dropout=0.9), text=False)
    assert not made.visual_lengths.any()
    assert made.acoustic_lengths.tolist() == [ROWS] * CLIPS


@pytest.mark.parametrize("modalities", [("acoustic",), ()])
def test_streams_that_are_not_read_are_not_made(modalities):
    made = changed(
        {"row_dropout": 0.5, "modality_dropout": 0.5, "feature_noise": 0.1, "time_mask": 0.2}, modalities=modalities
    )
    assert made.visual is None
    assert (made.acoustic is None) == (not modalities)


def test_the_same_random_state_gives_the_same_batch():
    every = {"row_dropout": 0.2, "modality_dropout": 0.2, "feature_noise": 0.1, "time_mask": 0.2}
    one, two, other = changed(every, 3), changed(every, 3), changed(every, 4)
    assert torch.equal(one.acoustic, two.acoustic)
    assert torch.equal(one.visual_lengths, two.visual_lengths)
    assert not torch.equal(one.acoustic, other.acoustic)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("row_dropout", 1.0),
        ("row_dropout", -0.1),
        ("modality_dropout", 1.5),
        ("feature_noise", -1.0),
        ("feature_noise", float("inf")),
        ("time_mask", 1.0),
        ("label_smoothing", 1.0),
        ("label_smoothing", -0.1),
        ("average", 1.0),
        ("average", True),
        ("learning_rate", "Auto"),
        ("learning_rate", 0.0),
    ],
)
def test_an_impossible_value_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        Training(**{name: value})
