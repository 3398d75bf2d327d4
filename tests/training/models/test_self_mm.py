"""self-mm: how labels of the modalities are made, what they are for, and that they outlive an interruption."""

from __future__ import annotations

import math

import pytest
import torch

from mse_pipeline.adapter import AdapterConfig, build
from mse_pipeline.clip import Split
from mse_pipeline.training.answering import direct_loss
from mse_pipeline.training.loop import fit_adapter
from mse_pipeline.training.models.self_mm import ALL, Seen, UnimodalLabels

RIGHT = torch.tensor([0.5, -0.5])


def seen(whole, text):
    """Two clips, a glad and a sad one, by the place of their F* on a line."""
    labels = zip(("glad", "sad"), RIGHT.tolist(), whole, text, strict=True)
    return [Seen(clip, right, {ALL: torch.tensor([x]), "text": torch.tensor([y])}) for clip, right, x, y in labels]


def made(labels):
    return labels.of("text", ["glad", "sad"], RIGHT).tolist()


def test_labels_are_the_multimodal_ones_until_a_clip_is_seen_again():
    labels = UnimodalLabels(["text"])
    assert made(labels) == RIGHT.tolist()
    labels.update(seen((1.0, -1.0), (1.0, -1.0)))
    assert made(labels) == RIGHT.tolist()


@pytest.mark.parametrize("text", [(0.5, -0.5), (0.0, 0.0), (1.0, -1.0), (3.0, 0.5)])
def test_a_label_is_shifted_by_the_relative_distances_of_the_paper(text):
    labels = UnimodalLabels(["text"])
    labels.update(seen((1.0, -1.0), (1.0, -1.0)))  # the centres: 1 and -1, of both branches
    labels.update(seen((0.5, -0.5), text))

    def alpha(place):  # equations (5) to (7), of vectors of one value
        return ((place + 1) ** 2 - (place - 1) ** 2) / ((place - 1) ** 2 + 1e-6)

    for found, right, whole, own in zip(made(labels), RIGHT.tolist(), (0.5, -0.5), text, strict=True):
        shift = (alpha(own) - alpha(whole)) / 2 * (right + alpha(whole)) / alpha(whole)  # (8)
        new = min(1.0, max(-1.0, right + shift))
        assert found == pytest.approx(1 / 3 * right + 2 / 3 * new, abs=1e-5)  # (9), the second time


def test_what_lies_where_the_whole_lies_keeps_its_label_and_the_momentum_grows_slow():
    labels = UnimodalLabels(["text"])
    labels.update(seen((1.0, -1.0), (1.0, -1.0)))
    labels.update(seen((0.5, -0.5), (0.5, -0.5)))
    assert made(labels) == pytest.approx(RIGHT.tolist())
    before, moved = made(labels)[0], []
    for _ in range(6):
        labels.update(seen((0.5, -0.5), (-0.5, -0.5))[:1])
        moved.append(abs(made(labels)[0] - before))
        before = made(labels)[0]
    assert moved[0] > 0.1
    assert moved[-1] < moved[0]


def test_without_a_clip_on_one_side_and_with_no_distance_labels_stay():
    labels = UnimodalLabels(["text"])
    for _ in range(2):
        labels.update(seen((1.0, -1.0), (1.0, -1.0))[:1])
    assert made(labels) == RIGHT.tolist()
    labels.update(seen((1.0, -1.0), (1.0, -1.0)))
    labels.update(seen((0.0, 0.0), (0.0, 0.0)))  # alpha is 0 / 0 in the shift
    assert all(math.isfinite(one) for one in made(labels))


def test_a_clip_that_two_processes_read_is_noted_once_and_labels_go_on_after_an_interruption():
    once, twice = UnimodalLabels(["text"]), UnimodalLabels(["text"])
    for step in (seen((1.0, -1.0), (1.0, -1.0)), seen((0.5, -0.5), (0.2, 0.3))):
        once.update(step)
        twice.update([*step, *step[:1]])
    restored = UnimodalLabels(["text"])
    restored.load_state_dict(twice.state_dict())
    for labels in (once, twice, restored):
        labels.update(seen((0.4, -0.4), (0.1, -0.9)))
    assert made(once) == made(twice) == made(restored) != RIGHT.tolist()


@pytest.fixture
def trained(job, small):
    def make(kind, **more):
        settings = {"epochs": 4, "learning_rate": 1e-2, "adam_epsilon": 1e-8, "keep": "last"}
        return job("self-mm", kind, model_options=small("self-mm"), **{**settings, **more})

    return make


def test_numbers_get_labels_of_their_own_by_modality_and_classes_do_not(trained):
    fitted = fit_adapter(trained("regression"), 1).last
    state = fitted.labels.state_dict()
    assert len(state["clips"]) == 24
    assert set(state["times"].tolist()) == {4}
    for name in ("text", "acoustic", "visual"):
        own = state["labels"][name]
        assert (own - state["right"]).abs().max() > 0.01, name
        assert own.abs().max() <= 1
    assert not fit_adapter(trained("classification", epochs=1), 1).last.labels.state_dict()["clips"]


def test_a_modality_learns_as_far_as_its_label_is_another_one(trained):
    made = trained("regression")
    torch.manual_seed(1)
    model = build(made.config).eval()
    batch = made.batcher.batch(made.examples[Split.TRAIN][:6])

    def extra():
        with torch.no_grad():
            return direct_loss(made, model, batch) - loss

    with torch.no_grad():
        model.extra_loss, kept = (lambda loss_of: None), model.extra_loss
        loss = direct_loss(made, model, batch)
        model.extra_loss = kept
    assert extra() == 0  # the first labels are the multimodal ones, whose weight is tanh 0
    model.after_step(list)
    vectors = {name: torch.randn(6, one.first.out_features) for name, one in model.branches.items()}
    model.labels.update(
        [Seen(clip, 0.0, {n: rows[i] for n, rows in vectors.items()}) for i, clip in enumerate(batch.clips)]
    )
    assert (extra() > 0) == any(
        (model.labels.of(name, batch.clips, torch.zeros(6)) != 0).any() for name in ("text", "acoustic", "visual")
    )


@pytest.mark.parametrize(
    ("head", "told"),
    [(1, "words learned from scratch"), (3, "each modality learns the clip's class; words learned from scratch")],
)
def test_reports_tell_what_is_learned(head, told):
    config = AdapterConfig(hidden_size=32, acoustic_dim=2, visual_dim=None, model="self-mm", head=head)
    assert type(build(config)).adaptation(config) == told
