"""Trainings of any model on the made dataset, whose streams tell the label and whose text does not."""

import pytest
import torch

from benchmarks.made_models import options_of
from mse_pipeline import backbones
from mse_pipeline.adapter.models import find
from mse_pipeline.backbones.none import none
from mse_pipeline.recipe import PromptSection, Training
from mse_pipeline.training.job import prepare
from mse_pipeline.training.streams import choose_streams

WORDING = PromptSection(task="Which emotion is it? It is")


def job_of(dataset, model, *, without=(), backbone=None, wording=WORDING, **settings):
    """A job of a model; with `tiny` for one that needs a backbone."""
    loaded = backbone or (backbones.load("tiny") if find(model).reads_backbone else none())
    choice = choose_streams(dataset, asked={}, without=without, model=model)
    given = {"epochs": 1, "batch_size": 12, "model": model, **settings}
    return prepare(dataset, loaded, Training(**given), choice, wording)


def without_dropout(model):
    """The model in training mode, in which it drops nothing."""
    for part in model.train().modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        elif isinstance(getattr(part, "dropout", None), float):
            part.dropout = 0.0
    return model


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Settings of a model that make it small, with the folder of a small random encoder where it needs one."""
    encoders = tmp_path_factory.mktemp("encoders")
    return lambda name: dict(options_of(name, encoders))


@pytest.fixture
def job(made_dataset):
    """A job on the made dataset."""

    def make(model, kind="classification", **more):
        return job_of(made_dataset(kind), model, **more)

    return make
