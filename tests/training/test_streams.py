import pytest

from mse_pipeline.errors import UsageError
from mse_pipeline.store.manifest import StreamEntry
from mse_pipeline.training.streams import choose_streams, open_streams


def test_the_only_stream_of_each_modality_is_taken(made_dataset):
    choice = choose_streams(made_dataset(), asked={})
    assert choice.names == {"acoustic": "acoustic.made", "visual": "visual.made"}
    assert choice.variant == "adapter"
    assert not choice.left_out
    assert sorted(open_streams(made_dataset(), choice)) == ["acoustic", "visual"]


def test_a_modality_without_features_is_left_out_with_a_word(made_dataset):
    dataset = made_dataset(modalities=("acoustic",))
    dataset.set_manifest(dataset.manifest.with_stream("visual.mtcnn", StreamEntry("0" * 12, {})))
    choice = choose_streams(dataset, asked={})
    assert choice.names["visual"] is None
    assert choice.variant == "without visual"
    assert "visual.mtcnn: no clip has it" in choice.left_out[0]


@pytest.mark.parametrize(
    ("without", "variant"),
    [
        (("visual",), "without visual"),
        (("acoustic", "visual"), "text-only"),
        (("tgm",), "without tgm"),
        (("msf", "tgm"), "without tgm+msf"),
        (("text",), "without text"),
        (("text", "visual", "msf"), "without visual+msf+text"),
        (("acoustic", "visual", "msf"), "text-only without msf"),
    ],
)
def test_modalities_are_left_out_when_asked(made_dataset, without, variant):
    choice = choose_streams(made_dataset(), asked={}, without=without)
    assert choice.variant == variant
    assert choice.parts == tuple(part for part in ("tgm", "msf", "text") if part in without)
    assert not choice.left_out


def test_several_streams_must_be_told_apart(made_dataset):
    dataset = made_dataset()
    dataset.put("visual.other", dict(dataset["visual.made"]))
    with pytest.raises(UsageError, match="--visual NAME"):
        choose_streams(dataset, asked={})
    assert choose_streams(dataset, asked={"visual": "visual.other"}).names["visual"] == "visual.other"


@pytest.mark.parametrize(
    ("asked", "without", "told"),
    [
        ({"visual": "acoustic.made"}, (), "is no visual stream"),
        ({"visual": "visual.mad"}, (), "Did you mean visual.made"),
        ({"visual": "visual.made"}, ("visual",), "exclude each other"),
        ({}, ("txt",), "nothing called 'txt' to leave out; did you mean text: --without takes"),
        ({}, ("text", "acoustic", "visual"), "nothing is left"),
        ({}, ("text", "tgm"), "changes nothing"),
        ({}, ("tgm", "acoustic", "visual"), "nothing to be mixed"),
    ],
)
def test_impossible_choices_are_told(made_dataset, asked, without, told):
    with pytest.raises(UsageError, match=told):
        choose_streams(made_dataset(), asked=asked, without=without)


def test_an_empty_stream_that_was_asked_for_is_told(made_dataset):
    dataset = made_dataset()
    dataset.put("visual.none", {})
    with pytest.raises(UsageError, match=r"No clip of made has features of visual\.none"):
        choose_streams(dataset, asked={"visual": "visual.none"})
