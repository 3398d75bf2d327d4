"""Trainings of any model on the made dataset, whose streams tell the label and whose text does not."""

import pytest

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


@pytest.fixture
def job(made_dataset):
    """A job on the made dataset."""

    def make(model, kind="classification", **more):
        return job_of(made_dataset(kind), model, **more)

    return make
