"""Features: what is the same in memory, whatever made it."""

import numpy as np

from mse_pipeline.store.features import Features


def test_a_value_that_is_not_defined_is_spelled_in_one_way():
    spellings = np.array([0x7FC00000, 0xFFC00000, 0x7FC00001], np.uint32).view(np.float32)
    read_only = spellings[:, None].copy()
    read_only.flags.writeable = False
    times, valid = np.stack([np.arange(3.0), np.arange(3.0) + 1], axis=1), [True] * 3
    features = Features(read_only, times, valid, ["pitch"])
    assert features.equals(Features(np.full((3, 1), np.nan), times, valid, ["pitch"]))
    assert read_only.view(np.uint32)[:, 0].tolist() == [0x7FC00000, 0xFFC00000, 0x7FC00001]
