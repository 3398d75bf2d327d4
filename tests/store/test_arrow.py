"""Arrow arrays that are made without pandas are those that pyarrow makes."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from mse_pipeline.store.arrow import numbers, texts, to_numpy

NAN = float("nan")


@pytest.mark.parametrize("values", [[], ["a"], ["", "né", "日本"], [None, "b", None], [None] * 9, ["x"] * 17 + [None]])
def test_texts_are_those_of_pyarrow(values):
    array = texts(values)
    array.validate(full=True)
    assert array.equals(pa.array(values, pa.string()))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([], pa.int64()),
        ([1, None, -(2**63)], pa.int64()),
        ([1, 2.5, None], pa.float64()),
        ([None] * 9, pa.float64()),
        (np.arange(7, dtype=np.float32).reshape(1, 7)[0], pa.float32()),
        (np.arange(10)[::2], pa.int64()),
        (np.array([True, False, True] * 5), pa.bool_()),
        (np.zeros(0, bool), pa.bool_()),
    ],
)
def test_numbers_are_those_of_pyarrow(values, kind):
    array = numbers(values, kind)
    array.validate(full=True)
    assert array.equals(pa.array(values, kind))


def test_nan_is_a_number_and_not_missing():
    array = numbers(np.array([NAN, 1.0], np.float32), pa.float32())
    assert array.null_count == 0
    assert np.isnan(array[0].as_py())


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.int64(), pa.bool_()], ids=str)
@pytest.mark.parametrize(("offset", "length"), [(0, 21), (3, 11), (20, 1), (21, 0)])
def test_slices_of_arrays_are_read_as_pyarrow_reads_them(kind, offset, length):
    array = pa.array((np.arange(21) % 3).astype(kind.to_pandas_dtype()), kind).slice(offset, length)
    assert np.array_equal(to_numpy(array), array.to_numpy(zero_copy_only=False))
    assert to_numpy(array).dtype == array.to_numpy(zero_copy_only=False).dtype


def test_missing_values_are_refused():
    with pytest.raises(ValueError, match="1 of its 2 values are missing"):
        to_numpy(pa.array([1.0, None]))


def test_a_dataset_is_written_without_pandas(tmp_path):
    program = """
import sys
from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.task import Regression
data = store.open(sys.argv[1]).create("d", [Clip(id="a", split=Split.TRAIN, label=1.0)], task=Regression(-3.0, 3.0))
data.put("acoustic.x", {"a": store.Features([[0.5]], [[0.0, 1.0]], [True], ("f",))})
print(data.native("acoustic.x")["a"].values.tolist(), "pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[[0.5]] False"
