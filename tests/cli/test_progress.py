"""What long work says of itself where there is no terminal, and how long it still takes."""

from __future__ import annotations

import re
import time

import pytest

from mse_pipeline.cli.progress import ExtractionBar, Lines, TrainingBar, bar, rate_of, seconds_left


def test_a_log_gets_a_line_now_and_then_with_what_is_done_and_left(capsys):
    with Lines("epochs", first=0.05, every=0.1) as progress:
        shown = TrainingBar(progress, "meld, adapter")
        shown.begin(7, 4)
        shown.epoch({"epoch": 1, "loss": 0.5, "clips_per_second": 12.0, "valid": {"weight_F1": 0.25}})
        shown.step(3, 20)
        time.sleep(0.5)
    said = capsys.readouterr().err
    assert "meld, adapter, seed 7: 1 of 4 epochs," in said
    assert "0:00:00 so far, 0:00:0" in said
    assert "left; step 3/20  loss 0.500  valid weight_F1 0.250" in said
    assert 2 <= said.count("\n") <= 5
    time.sleep(0.2)
    assert not capsys.readouterr().err


def test_short_work_says_nothing_where_there_is_no_terminal(capsys):
    with bar("clips") as progress:
        shown = ExtractionBar(progress)
        shown.begin(5)
        shown.advance(5, 1)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(("done", "left"), [(0, None), (1, 30.0), (2, 10.0), (4, None)])
def test_the_time_left_is_known_from_the_first_step_on(done, left):
    progress = Lines("epochs")
    progress.get_time = lambda: now
    now = 0.0
    task = progress.add_task("train", total=4)
    now = 10.0
    progress.update(task, completed=done)
    (shown,) = progress.tasks
    found = seconds_left(shown)
    assert found == pytest.approx(left) if left is not None else found is None


def test_a_terminal_shows_no_dashes_for_a_time_that_is_unknown(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with bar("clips") as progress:
        shown = ExtractionBar(progress)
        shown.begin(5)
        progress.refresh()
        assert "-:--" not in capsys.readouterr().err
        shown.advance(2, 0)
        progress.refresh()
        assert "left" in capsys.readouterr().err


def extraction(progress, clips, seconds):
    """The bar of an extraction of so many clips, on a clock that the test sets."""
    shown = ExtractionBar(progress)
    shown.begin(clips)
    shown.pace(0, 0.0, seconds)
    return shown, progress.tasks[-1]


def test_the_rate_is_of_clips_that_were_worked_on_and_the_time_left_of_their_seconds():
    now = 0.0
    progress = Lines("clips")
    progress.get_time = lambda: now
    shown, task = extraction(progress, 1000, 300.0)
    for passed, left in ((0, 300.0), (2, 240.0), (4, 180.0)):  # 2 clips of 30 seconds each in 10 seconds
        now += 10.0
        shown.pace(2 if passed else 0, 60.0 if passed else 0.0, left)
        shown.advance(2 if passed else 0, 0)
    shown.pace(0, 0.0, 180.0)
    shown.advance(900, 900)  # without a file
    assert rate_of(task) == pytest.approx(0.2, rel=0.5)
    assert seconds_left(task) == pytest.approx(30.0, abs=1.0)
    assert "extract: 904 of 1,000 clips, 0.2/s, 0:00:30 so far, 0:00:30 left; 900 with failures" in progress.line(task)


def test_missing_clips_alone_have_no_rate_and_no_wrong_time():
    now = 0.0
    progress = Lines("clips")
    progress.get_time = lambda: now
    shown, task = extraction(progress, 13686, 1000.0)
    for _ in range(3):
        now += 1.0
        shown.pace(0, 0.0, 1000.0)
        shown.advance(182, 182)
    assert progress.line(task) == "extract: 546 of 13,686 clips, 0:00:03 so far; 546 with failures"


def test_clips_that_are_unchanged_leave_the_pace_and_shorten_the_rest():
    now = 0.0
    progress = Lines("clips")
    progress.get_time = lambda: now
    shown, task = extraction(progress, 100, 1000.0)
    now = 10.0
    shown.pace(10, 100.0, 900.0)
    shown.pace(0, 0.0, 100.0)  # 80 clips of 800 seconds are in the cache
    assert seconds_left(task) == pytest.approx(10.0)


@pytest.mark.parametrize("terminal", [True, False])
def test_with_a_terminal_and_without_the_same_is_said_of_rate_and_time(terminal, monkeypatch, capsys):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "200")
    now = 0.0
    with bar("clips") as progress:
        progress.get_time = lambda: now
        shown, task = extraction(progress, 10, 100.0)
        for left in (90.0, 80.0):
            now += 5.0
            shown.pace(1, 10.0, left)
            shown.advance(1, 0)
        if terminal:
            progress.refresh()
        else:
            progress.console.print(progress.line(task))
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "0.2/s" in said
    assert "0:00:10 so far, 0:00:40 left" in said
