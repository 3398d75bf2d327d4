"""Paired bootstrap between the rows of a table."""

import numpy as np
import pytest

from mse_pipeline.errors import MseError
from mse_pipeline.report import build, to_json, to_markdown
from mse_pipeline.report.bootstrap import compare

RIGHT = [n % 3 for n in range(60)]


def run(folders, name, wrong, targets=RIGHT):
    """A run of two seeds that are wrong on so many clips each."""
    folder = folders.add(name)
    for seed in (1, 2):
        predictions = [(t + (n < wrong + seed)) % 3 for n, t in enumerate(targets)]
        score = float(np.mean(np.array(predictions) == targets))
        place = folders.seed(folder, seed, {"acc": score, "weight_F1": score})
        folders.predictions(place, targets, predictions)
    return folder


def test_a_clear_difference_is_told_from_chance(folders):
    run(folders, "good", 2), run(folders, "near", 3), run(folders, "bad", 40)
    report = build([folders.root], draws=200)
    rows = {row.run.name: row.comparison for row in report.tables[0].rows}
    assert rows["good"] is None
    assert rows["bad"].against == "good"
    assert rows["bad"].clips == 60
    assert rows["bad"].low <= rows["bad"].difference <= rows["bad"].high < 0
    assert rows["bad"].p < 0.02
    assert rows["near"].p > rows["bad"].p
    assert rows["near"].high >= 0 > rows["near"].difference
    assert to_json(report)["tables"][0]["runs"][-1]["comparison"]["metric"] == rows["bad"].metric
    assert "paired bootstrap over 60 clips" in to_markdown(report)


def test_nothing_is_compared_unless_it_is_asked_for(folders):
    run(folders, "good", 2), run(folders, "bad", 40)
    report = build([folders.root])
    assert all(row.comparison is None for row in report.tables[0].rows)
    assert "bootstrap" not in to_markdown(report)


def test_equal_runs_differ_by_nothing(folders):
    run(folders, "one", 5), run(folders, "other", 5)
    one, other = (row.run for row in build([folders.root]).tables[0].rows)
    found = compare(one, other, "test", draws=50)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_clips_with_other_labels_are_not_compared(folders):
    run(folders, "one", 5), run(folders, "other", 5, [(t + 1) % 3 for t in RIGHT])
    one, other = (row.run for row in build([folders.root]).tables[0].rows)
    with pytest.raises(MseError, match="share no clip with the same label"):
        compare(one, other, "test", draws=5)


def test_runs_without_predictions_are_told_and_not_compared(folders):
    run(folders, "good", 2)
    folders.add("bare", seeds=[{"acc": 0.1, "weight_F1": 0.1}])
    report = build([folders.root], draws=5)
    assert any("bare, seed 1: predictions.parquet cannot be read" in one for one in report.warnings)


def test_only_the_clips_that_meet_a_condition_are_compared(folders):
    run(folders, "good", 2), run(folders, "bad", 40)
    report = build([folders.root])
    good, bad = (row.run for row in report.tables[0].rows)
    kept = {f"test/{n}" for n in range(41, 60)}
    found = compare(bad, good, "test", 20, only=kept)
    assert found.clips == 19
    assert found.difference > -0.1 > compare(bad, good, "test", 20).difference
