"""Damage anywhere in a .csd file ends with a sentence."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from mse_pipeline.errors import ClipError, MseError
from mse_pipeline.exchange import csd
from mse_pipeline.extractors.text.word_csd import read_csd
from tests.exchange.test_exchange_csd import mosei  # noqa: F401 - a fixture


def test_a_file_that_is_cut_or_damaged_anywhere_gives_a_sentence(mosei):  # noqa: F811
    """Of files cut at many places and with zeros in many places, each reads or is refused, and no other error comes."""
    rng = np.random.default_rng(0)
    told = []
    for name in ("labels/CMU_MOSEI_Labels.csd", "language/CMU_MOSEI_TimestampedWords.csd"):
        whole = (mosei / name).read_bytes()
        for place in rng.integers(0, len(whole), 20).tolist():
            zeros = whole[:place] + bytes(64) + whole[place + 64 :]
            for damaged in (whole[:place], zeros[: len(whole)]):
                (mosei / name).write_bytes(damaged)
                try:
                    csd.read(mosei)
                except MseError as error:
                    told.append(str(error))
        (mosei / name).write_bytes(whole)
    assert len(told) > 30
    assert all("CMU_MOSEI_" in one or "Labels of" in one or "split" in one for one in told)


def test_a_heap_of_texts_without_an_end_is_refused(tmp_path):
    """HDF5 itself would read it forever."""
    path = tmp_path / "words.csd"
    with h5py.File(path, "w") as file:
        file.create_dataset("words/data/a/features", data=["so", "what"], dtype=h5py.string_dtype())
        file["words/data/a/intervals"] = np.zeros((2, 2))
    data = bytearray(path.read_bytes())
    heap = data.find(b"GCOL")
    data[heap + 16 : heap + 80] = bytes(64)
    path.write_bytes(data)
    with pytest.raises(ClipError, match="heap of its texts has no valid end"):
        read_csd(path, ["a"])
