"""Undefined values on their way out: other formats get 0, as they have it, and no NaN."""

from __future__ import annotations

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.exchange import registry
from mse_pipeline.exchange.base import bring_in
from mse_pipeline.task import Classification, Regression

STREAMS = {"acoustic": "acoustic.own", "visual": "visual.own"}
VALUES = np.array([[np.nan, 1.0], [220.0, 2.0], [np.nan, 3.0]], np.float32)
READ_AS = {
    "mmsa": {"acoustic": "acoustic.mmsa", "visual": "visual.mmsa"},
    "mse-adapter": {"acoustic": "acoustic.mse", "visual": "visual.mse"},
}
"""Names that streams have after a format that keeps none."""


def dataset_of(cache, task):
    """A clip a split; its second row alone has a pitch."""
    label = "joy" if isinstance(task, Classification) else 1.0
    clips = [Clip(id=f"{split}$_${split}", split=split, text="Hi.", label=label) for split in Split]
    dataset = cache.create("mine", clips, task=task, source={"corpus": "mosei"})
    intervals = [[k / 10, (k + 1) / 10] for k in range(3)]
    features = store.Features(VALUES, intervals, [True] * 3, ("f0", "loudness"))
    for stream in STREAMS.values():
        dataset.put(stream, {clip.id: features for clip in clips})
    return dataset


@pytest.mark.parametrize(
    "name", [name for name, form in registry.available()[0].items() if form.writer and form.reader]
)
def test_what_is_not_defined_is_zero_in_other_formats_and_that_is_told(name, tmp_path):
    cache = store.open(tmp_path / "cache")
    classes = name == "mse-adapter"
    dataset = dataset_of(cache, Classification(("joy", "fear")) if classes else Regression(-3.0, 3.0))
    path = tmp_path / ("out.pkl" if name == "mmsa" else "out")
    registry.write(name, dataset, path, streams=STREAMS)
    imported = registry.read(name, path, {"classes": "joy,fear"} if classes else {})
    again = bring_in(imported, cache, "again")
    for stream in READ_AS.get(name, STREAMS).values():
        assert len(again[stream]) == 3
        for features in again[stream].values():
            np.testing.assert_array_equal(features.values, np.nan_to_num(VALUES))
    assert "which values are defined" in registry.find(name).loses


def test_the_cache_keeps_what_is_not_defined(tmp_path):
    dataset = dataset_of(store.open(tmp_path / "cache"), Regression(-3.0, 3.0))
    for held in (dataset["acoustic.own"], dataset.native("acoustic.own")):
        for features in held.values():
            assert features.values.tobytes() == VALUES.tobytes()
            assert features.valid.all()
