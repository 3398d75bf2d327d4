"""A name that is not known is told with the nearest that is, also where the usual word is not ours."""

import pytest

from mse_pipeline import corpora, metrics, recipe, store
from mse_pipeline.backbones import devices, registry
from mse_pipeline.cli.evaluate import parse_split
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import did_you_mean
from mse_pipeline.extraction.run import stream_specs
from mse_pipeline.extractors.registry import create
from mse_pipeline.store.features import Features
from mse_pipeline.task import Classification
from mse_pipeline.training.streams import choose_streams

STREAMS = ("acoustic.egemaps", "visual.mtcnn", "text.words")


@pytest.mark.parametrize(
    ("name", "known", "near"),
    [
        ("audio", ("acoustic", "visual", "text"), "acoustic"),
        ("Video", ("acoustic", "visual", "text"), "visual"),
        ("language", ("acoustic", "visual", "text"), "text"),
        ("audio.egemaps", STREAMS, "acoustic.egemaps"),
        ("vision.mtcn", STREAMS, "visual.mtcnn"),
        ("mtcnn", STREAMS, "visual.mtcnn"),
        ("dia0_utt0", ("train/dia0_utt0",), "train/dia0_utt0"),
        ("sound", ("sounds", "label"), "sounds"),
        ("val", Split, "valid"),
        ("", STREAMS, None),
        ("zzz", STREAMS, None),
    ],
)
def test_the_nearest_name_is_told(name, known, near):
    assert did_you_mean(name, known) == ("" if near is None else f"; did you mean {near}?")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    clips = [Clip(id="a", split=Split.TRAIN, text="", label="joy")]
    cache = store.open(tmp_path_factory.mktemp("cache"))
    dataset = cache.create("meld", clips, task=Classification(("joy", "anger")))
    dataset.put("acoustic.egemaps", {"a": Features([[1.0]], [[0, 1]], [True], ["f0"])})
    return dataset


@pytest.mark.parametrize(
    ("ask", "near"),
    [
        (lambda dataset: choose_streams(dataset, asked={}, without=("audio",)), "acoustic"),
        (lambda dataset: choose_streams(dataset, asked={}, without=("fusion",)), None),
        (lambda dataset: choose_streams(dataset, asked={"acoustic": "audio.egemaps"}), "acoustic.egemaps"),
        (lambda dataset: choose_streams(dataset, asked={"acoustic": "egemaps"}), "acoustic.egemaps"),
        (lambda dataset: choose_streams(dataset, asked={}, model="mse-adaptor"), "mse-adapter"),
        (lambda dataset: stream_specs(recipe.load("meld"), ["audio.egemaps"]), "acoustic.egemaps"),
        (lambda dataset: create("audio.egemaps", {}), "acoustic.egemaps"),
        (lambda dataset: create("mtcnn", {}), "visual.mtcnn"),
        (lambda dataset: corpora.read("modei", "."), "mosei"),
        (lambda dataset: recipe.load("medl"), "meld"),
        (lambda dataset: metrics.evaluate("mled", [0], [0]), "meld"),
        (lambda dataset: parse_split("dev"), "valid"),
        (lambda dataset: devices.number_format("float-16"), "float16"),
        (lambda dataset: devices.require_quantization("4-bit"), "4bit"),
    ],
)
def test_whoever_resolves_a_name_tells_the_nearest(dataset, ask, near):
    with pytest.raises(Exception) as found:  # noqa: PT011 - of several kinds
        ask(dataset)
    told = str(found.value).lower()
    assert ("did you mean" in told) == (near is not None)
    assert near is None or f"did you mean {near}" in told


@pytest.mark.parametrize(
    ("name", "near"), [("lama2", "llama2"), ("Qwen/Qwen2.5-05B", "qwen2.5-0.5b"), ("tyni", "tiny")]
)
def test_of_backbones_the_nearest_short_names_are_told(name, near):
    assert registry.nearest(name)[0] == near
    assert registry.unknown_sentence(name, "nor on the hub").endswith(f"or a folder (did you mean {near}?).")
