"""What long work says of itself where there is no terminal, and how long it still takes."""

from __future__ import annotations

import time

import pytest

from mse_pipeline.cli.progress import ExtractionBar, Lines, TrainingBar, bar, seconds_left


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
