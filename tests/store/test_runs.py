"""Runs: which exclude each other, which may commit, and what a beginning run cleans up."""

import filelock
import pytest

from mse_pipeline.errors import UsageError
from mse_pipeline.store.atomic import ASIDE
from mse_pipeline.store.commit import Commit, begin_run, run_lock
from mse_pipeline.store.journal import Row
from tests.store.conftest import STREAM, VERSION, features


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (None, None, False),
        (None, "1/2", False),
        ("1/2", None, False),
        ("1/2", "1/2", False),
        ("1/2", "2/2", True),
        ("2/8", "7/8", True),
    ],
)
def test_shares_run_side_by_side_and_the_whole_runs_alone(tmp_path, first, second, together):
    with run_lock(tmp_path, first):
        if together:
            with run_lock(tmp_path, second):
                pass
        else:
            with pytest.raises(filelock.Timeout), run_lock(tmp_path, second):
                pass
    with run_lock(tmp_path, second):  # what has ended is in nobody's way
        pass


@pytest.mark.parametrize("share", ["0/8", "9/8", "1", "1/0", "a/b", "../1", "", "1/2/3"])
def test_what_is_no_share_is_told(tmp_path, share):
    with pytest.raises(UsageError, match="as in 1/8"), run_lock(tmp_path, share):
        pass


def late(dataset, run):
    commit = Commit(dataset, run, guarded=True)
    commit.add(Row(clip="c0", stream=STREAM, version=VERSION, status="done", key="k"), features(0))
    return commit.write()


@pytest.mark.parametrize(
    ("runs", "may_commit"),
    [
        ([("a", None), ("b", None)], "b"),
        ([("a", "1/2"), ("b", "2/2")], "ab"),
        ([("a", "1/2"), ("b", "2/2"), ("c", "1/2")], "bc"),
        ([("a", "1/2"), ("b", None)], "b"),
        ([("a", None), ("b", "1/2"), ("c", "2/2")], "bc"),
    ],
)
def test_a_run_takes_the_guard_of_earlier_runs_of_the_same_clips(made, runs, may_commit):
    dataset = made()
    for run, share in runs:
        begin_run(dataset, run, share)
    assert [run for run, _ in runs if late(dataset, run)] == list(may_commit)


def leave_unfinished(dataset):
    folder = dataset.stream_folder(STREAM, VERSION)
    (folder / f"{ASIDE}1-shard-x.parquet").write_bytes(b"half")
    (folder / "shard-orphan.parquet").write_bytes(b"no journal names it")


def test_a_share_leaves_alone_what_another_may_be_writing(made):
    dataset = made()
    leave_unfinished(dataset)
    with run_lock(dataset.path, "2/2"), run_lock(dataset.path, "1/2"):
        assert begin_run(dataset, "a", "1/2") == 0
    with run_lock(dataset.path, "1/2"):
        assert begin_run(dataset, "b", "1/2") == 2
