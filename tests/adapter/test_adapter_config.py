"""AdapterConfig: what it accepts, what it refuses, and its JSON form."""

from __future__ import annotations

import json

import pytest

from mse_pipeline.adapter import AdapterConfig
from mse_pipeline.errors import UsageError

SIZES = {"hidden_size": 64, "acoustic_dim": 25, "visual_dim": 35}


def test_json_and_back_is_the_same_configuration():
    config = AdapterConfig(**SIZES, acoustic_hidden=8, visual_hidden=4, pseudo_tokens=2, dropout=0.1, scales=(2, 4))
    assert AdapterConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("changes", "version"), [({}, 2), ({"encoder": "attentive"}, 4), ({"head": 3, "pseudo_tokens": 0, "members": 4}, 5)]
)
def test_the_json_form_names_the_oldest_version_that_tells_all(changes, version):
    config = AdapterConfig(**SIZES, **changes)
    assert config.to_json()["format"] == version
    assert AdapterConfig.from_json(config.to_json()) == config


def test_format_1_is_read_as_the_whole_adapter():
    value = {**AdapterConfig(**SIZES).to_json(), "format": 1}
    for part in ("mixer", "fusion", "text"):
        del value[part]
    assert AdapterConfig.from_json(value) == AdapterConfig(**SIZES)
    with pytest.raises(UsageError, match="unknown mixer"):
        AdapterConfig.from_json({**value, "mixer": True})


def test_an_adapter_that_would_read_nothing_is_refused():
    with pytest.raises(UsageError, match="reads nothing"):
        AdapterConfig(hidden_size=64, acoustic_dim=None, visual_dim=None, text=False)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"hidden_size": 0}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"acoustic_dim": -3}, "acoustic_dim"),
        ({"visual_dim": 2.5}, "visual_dim"),
        ({"acoustic_hidden": "64"}, "acoustic_hidden"),
        ({"pseudo_tokens": -1}, "pseudo_tokens"),
        ({"dropout": 1}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"dropout": float("nan")}, "dropout"),
        ({"dropout": None}, "dropout"),
        ({"scales": ()}, "scales"),
        ({"scales": "8"}, "scales"),
        ({"scales": (8, 0)}, "scales"),
        ({"hidden_size": 16}, "scale 32"),
        ({"pseudo_tokens": 10**9}, "pseudo_tokens"),
        ({"scales": (1,) * 1000}, "1000 scales"),
        ({"mixer": 1}, "mixer"),
        ({"fusion": None}, "fusion"),
        ({"text": "no"}, "text"),
        ({"members": 0}, "members"),
        ({"members": 65}, "65 members"),
        ({"members": 2}, "pseudo_tokens: 0 and training.answer: head"),
        ({"members": 2, "pseudo_tokens": 0}, "training.members: 1"),
        ({"members": 2, "head": 3}, "training.members: 1"),
    ],
)
def test_a_wrong_size_is_refused_by_name(change, named):
    with pytest.raises(UsageError, match=named):
        AdapterConfig(**{**SIZES, **change})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 6}, "newer"),
        ({"format": 0}, "format 0"),
        ({"format": None}, "format None"),
        ({"format": True}, "format True"),
        ({"layers": 3}, "unknown layers"),
        ({"hidden_size": "wide"}, "hidden_size"),
    ],
)
def test_json_of_another_kind_is_refused(change, said):
    with pytest.raises(UsageError, match=said):
        AdapterConfig.from_json({**AdapterConfig(**SIZES).to_json(), **change})


def test_json_with_a_missing_size_is_refused():
    value = AdapterConfig(**SIZES).to_json()
    del value["scales"]
    with pytest.raises(UsageError, match="missing scales"):
        AdapterConfig.from_json(value)


def test_what_is_no_object_is_refused():
    with pytest.raises(UsageError, match="JSON object"):
        AdapterConfig.from_json([1])
