import pytest

from tests import skipped_summary

pytest_plugins = "pytester"

SUITE = """
import pytest

@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_slow(number): ...

@pytest.mark.real
def test_of_a_large_model(): ...

@pytest.mark.parametrize("folder", ["a", "b"])
def test_of_real_data(folder):
    pytest.skip("needs the folder ../shared (real clips) beside the checkout")

def test_of_a_package():
    pytest.importorskip("not_there", reason="needs the package not_there, which is no part of the set-up")

@pytest.mark.skipif(True, reason="AVI holds no HEVC")
def test_of_avi(): ...

def test_that_runs(): ...
"""
OFTEN = ["3 slow (make test-all)", "2 without the folder ../shared"]
ONCE = ["1 real (make real)", "1 without the package not_there", "1 (AVI holds no HEVC)"]


@pytest.fixture
def suite(pytester):
    pytester.makeini("[pytest]\nmarkers =\n  slow: minutes\n  real: hours\n")
    pytester.makeconftest("from tests.skipped_summary import *")
    pytester.makepyfile(SUITE)
    return pytester


@pytest.mark.parametrize("processes", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_the_last_line_tells_what_did_not_run_and_why(suite, processes):
    result = suite.runpytest_inprocess("-m", "not slow and not real", *processes)
    line = next(line for line in result.outlines if line.startswith("not run: "))
    assert line.removeprefix("not run: ").split(", ") == [*OFTEN, *ONCE]
    result.assert_outcomes(passed=1, skipped=4, deselected=0 if processes else 4)


def test_where_all_run_nothing_is_told(suite):
    result = suite.runpytest_inprocess("-k", "slow or runs")
    assert "not run: 5 deselected (-m or -k)" in result.outlines
    result = suite.runpytest_inprocess("test_where_all_run_nothing_is_told.py::test_that_runs")
    assert not [line for line in result.outlines if line.startswith("not run")]


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("Skipped: needs Dask: pip install 'mse-pipeline[dask]'", "without Dask"),
        ("needs the models x.onnx and y.onnx", "without the models x.onnx and y.onnx"),
        ("Skipped: unconditional skip", "(unconditional skip)"),
    ],
)
def test_reasons_become_a_few_words(reason, cause):
    assert skipped_summary.cause(reason) == cause
