"""The clips of a cache for models of one's own."""

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression
from mse_pipeline.training.torch_data import ClipDataset, collate


def made(home, task, labels):
    clips = [
        Clip(id=f"{split}/{n}", split=split, text=f"text {n}", label=label)
        for split in (Split.TRAIN, Split.TEST)
        for n, label in enumerate(labels)
    ]
    dataset = store.open(home).create("mine", clips, task=task)
    features = {
        clip.id: store.Features(
            [[float(n), np.nan], [float(n), 2.0], [0, 0]][: 2 + n],
            [[0, 1], [1, 2], [2, 3]][: 2 + n],
            [True, True, False][: 2 + n],
            ("f0", "loud"),
        )
        for n, clip in enumerate(clips[:2])
    }
    dataset.put("acoustic.own", features)
    dataset.put("visual.none", {})
    return dataset


@pytest.mark.parametrize(
    ("task", "labels", "expected"),
    [
        (Classification(("calm", "joy")), ("joy", "calm", None), torch.tensor([1, 0])),
        (Regression(-1, 1), (0.5, -1.0, None), torch.tensor([0.5, -1.0])),
    ],
)
def test_a_batch_has_labels_and_padded_normalised_rows(tmp_path, task, labels, expected):
    dataset = made(tmp_path, task, labels)
    train = ClipDataset(dataset, "train")
    (batch,) = DataLoader(train, batch_size=8, collate_fn=collate)
    assert (batch["id"], batch["text"]) == (["train/0", "train/1"], ["text 0", "text 1"])
    assert torch.equal(batch["label"], expected)
    assert batch["acoustic.own_lengths"].tolist() == [2, 3]
    assert batch["acoustic.own"].shape == (2, 3, 2)
    assert batch["acoustic.own"][..., 0].tolist() == [[-1, -1, 0], [1, 1, 0]]  # mean .5, deviation .5
    assert torch.isfinite(batch["acoustic.own"]).all()


def test_without_normalisation_values_are_the_caches_and_zero_where_undefined(tmp_path):
    dataset = made(tmp_path, Regression(-1, 1), (0.5, -1.0))
    item = ClipDataset(dataset, "train", ["acoustic.own"], normalised=False)[1]
    assert item["acoustic.own"].tolist() == [[1, 0], [1, 2], [0, 0]]


def test_a_clip_without_a_stream_has_no_rows_and_workers_get_their_own_files(tmp_path):
    dataset = made(tmp_path, Regression(-1, 1), (0.5, -1.0))
    test = pickle.loads(pickle.dumps(ClipDataset(dataset, "test", ["acoustic.own"])))
    batch = collate([test[0], test[1]])
    assert batch["acoustic.own_lengths"].tolist() == [0, 0]
    assert batch["acoustic.own"].shape == (2, 0, 2)


@pytest.mark.parametrize(
    ("split", "streams", "told"), [("valid", None, "no labelled clip"), ("train", ["audio.own"], "acoustic.own")]
)
def test_what_is_not_there_is_told(tmp_path, split, streams, told):
    with pytest.raises(UsageError, match=told):
        ClipDataset(made(tmp_path, Regression(-1, 1), (0.5, -1.0)), split, streams)
