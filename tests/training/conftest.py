import numpy as np
import pytest
import torch

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.task import Classification, Regression

CLASSES = ("neutral", "joy", "anger")
PER_SPLIT = {Split.TRAIN: 24, Split.VALID: 9, Split.TEST: 9}


@pytest.fixture(autouse=True)
def _one_thread():
    """As the command computes with a small model: sharing products as short as these costs more than it gains."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sequence(rng, mean, dim):
    rows = int(rng.integers(3, 9))
    edges = np.arange(rows + 1) * 0.1
    values = rng.normal(size=(rows, dim)) * 0.3 + mean
    return store.Features(values, np.stack([edges[:-1], edges[1:]], 1), np.ones(rows), [f"d{i}" for i in range(dim)])


@pytest.fixture
def made_dataset(tmp_path):
    """A dataset whose acoustic rows tell the label and whose text does not."""
    return maker(tmp_path)


def maker(folder):
    def make(kind="classification", modalities=("acoustic", "visual")):
        rng = np.random.default_rng(0)
        clips, streams = [], {modality: {} for modality in modalities}
        directions = {"acoustic": rng.normal(size=(3, 5)), "visual": rng.normal(size=(3, 4))}
        for split, count in PER_SPLIT.items():
            for index in range(count):
                place = index % 3
                label = CLASSES[place] if kind == "classification" else float(place - 1)
                clip = Clip(id=f"{split}/{index}", split=split, text=f"we go there {index % 2}", label=label)
                clips.append(clip)
                for modality, stream in streams.items():
                    mean = directions[modality][place] * 2
                    stream[clip.id] = sequence(rng, mean, directions[modality].shape[1])
        task = Classification(CLASSES) if kind == "classification" else Regression(-1.0, 1.0)
        dataset = store.open(folder / "cache").create("made", clips, task=task)
        for modality, stream in streams.items():
            dataset.put(f"{modality}.made", stream)
        return dataset

    return make
