"""A run on extracted sound, trained once, that the tests of prediction share."""

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mse_pipeline import backbones, store
from mse_pipeline.cli.train import spare_threads
from mse_pipeline.clip import Clip, Split
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.recipe import PromptSection, Recipe, Training
from mse_pipeline.task import Classification
from mse_pipeline.training.job import prepare
from mse_pipeline.training.run import train
from mse_pipeline.training.streams import choose_streams
from tests.cli.conftest import mse  # noqa: F401 - a fixture
from tests.extraction.conftest import write_wav

SETTINGS = Training(epochs=1, batch_size=4, learning_rate=5e-3, acoustic_hidden=8, visual_hidden=8, seeds=(1, 2))
WORDING = PromptSection()
TEXTS = ("a bad deed it is", "a cab it is")


def write_table(path, rows, header=("id", "media", "split", "text", "label")):
    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows([header, *rows])
    return path


@dataclass(frozen=True)
class Trained:
    """A run with all that it came from."""

    root: Path
    cache: store.Cache
    dataset: store.Dataset
    run: Path

    def description(self, seed=1):
        return json.loads((self.run / f"seed-{seed}" / "adapter" / "adapter.json").read_text())


def train_on(dataset, runs, *, backbone="tiny", seeds=(1,), without=(), wording=WORDING, settings=SETTINGS):
    """A run on a dataset of the cache."""
    loaded = backbones.load(backbone) if isinstance(backbone, str) else backbone
    choice = choose_streams(dataset, asked={}, without=without, model=settings.model)
    job = prepare(dataset, loaded, settings, choice, wording)
    spare_threads(loaded, job.config)
    return train(job, runs, list(seeds))[0].folder.parent


@pytest.fixture(scope="session")
def heard(tmp_path_factory):
    """Tones through `acoustic.egemaps`, and a run of two seeds on them."""
    home = tmp_path_factory.mktemp("heard")
    rows = []
    for index in range(10):
        write_wav(home / f"tone{index}.wav", 0.6, seed=index)
        split = ("train", "train", "train", "train", "valid", "valid", "test", "test", "train", "test")[index]
        rows.append((f"tone{index}", f"tone{index}.wav", split, TEXTS[index % 2], ("high", "low")[index % 2]))
    write_table(home / "clips.csv", rows)
    plain = {
        "version": 1,
        "name": "tones",
        "corpus": {"name": "table"},
        "media": {"max_seconds": 20.0},
        "streams": {"acoustic.egemaps": {}},
        "alignment": {"kind": "grid", "step": 0.1},
    }
    cache = store.open(home / "cache")
    extract(Recipe.model_validate(plain), home, cache, ExtractionOptions(workers=1))
    run = train_on(cache["tones"], home / "runs", seeds=(1, 2))
    return Trained(home, cache, cache["tones"], run)


@pytest.fixture
def changed(heard, tmp_path):
    """A copy of the run whose run.json and adapters were changed by someone."""

    def make(change):
        run = tmp_path / "changed"
        shutil.copytree(heard.run, run)
        described = json.loads((run / "run.json").read_text())
        change(described)
        (run / "run.json").write_text(json.dumps(described))
        return run

    return make


@pytest.fixture
def made_dataset(tmp_path):
    """A dataset of features that were made elsewhere."""

    def make(name="made", *, classes=("high", "low"), dim=5, labelled=True, names=None, texts="so it is"):
        rng = np.random.default_rng(0)
        clips, stream = [], {}
        for split in Split:
            for index in range(4):
                label = classes[index % len(classes)] if labelled or split != Split.TEST else None
                clip = Clip(id=f"{split}/{index}", split=split, text=texts, label=label)
                clips.append(clip)
                edges = np.arange(4) * 0.1
                values = rng.normal(size=(3, dim)) + index % len(classes)
                intervals = np.stack([edges[:-1], edges[1:]], 1)
                stream[clip.id] = store.Features(values, intervals, np.ones(3), names or [f"d{i}" for i in range(dim)])
        dataset = store.open(tmp_path / "cache").create(name, clips, task=Classification(tuple(classes)))
        dataset.put("acoustic.made", stream, source={"tool": f"ours for {name}"})
        return dataset

    return make


def files_of(folder):
    """Content of every file below a folder, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
