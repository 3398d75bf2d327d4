"""Figures for papers: written as PNG and PDF, without boxes in place of letters."""

import warnings

import pytest

from mse_pipeline import fonts
from mse_pipeline.report import build, figures
from mse_pipeline.report.figures import draw_all
from tests.cli.conftest import mse  # noqa: F401 - pytest finds it by its name


@pytest.fixture
def report(folders):
    names = ["$x_1$", "愤怒", "\U0001faf7"]
    folder = folders.add("classes", dataset="mine", metrics="classification", classes=names)
    place = folders.seed(folder, 1, {"acc": 0.5, "weight_F1": 0.5})
    folders.predictions(place, [0, 1, 2], [0, 1, 1], probabilities=[[0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3]])
    folder = folders.add("numbers", dataset="mosei", metrics="mosei", classes=None)
    place = folders.seed(folder, 1, {"MAE": 0.5})
    folders.predictions(place, [0.0, 1.0], [0.5, 1.0])
    folders.epochs(place, [2.0, 1.0], [{"MAE": 0.7}, {"MAE": 0.5}])
    return build([folders.root])


def test_each_figure_is_written_twice_without_a_warning(report, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(figures, "DPI", 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = draw_all(report, tmp_path / "figures")
    assert [path.name for path in written] == [
        "mine-seeds.png",
        "classes-confusion.png",
        "classes-classes.png",
        "classes-calibration.png",
        "mosei-seeds.png",
        "numbers-scatter.png",
        "numbers-errors.png",
        "numbers-curves.png",
    ]
    for path in written:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert not any(capfd.readouterr())


def test_a_name_that_no_font_can_write_is_a_number():
    from mse_pipeline.report.figures import _writable

    names = ["joy", "愤怒", "\U0001faf7"]
    assert _writable(names, "class")[::2] == ["joy", "class 3"]
    assert _writable(names, "class")[1] == ("愤怒" if not fonts.lacking(["愤怒"]) else "class 2")


def test_a_new_folder_is_told_and_one_without_a_parent_is_refused(mse, folders):  # noqa: F811
    folders.add("a", seeds=[{"acc": 0.5, "weight_F1": 0.5}])
    told = mse("report", folders.root, "--figures", folders.root.parent / "new")
    assert "1 figures, each as PNG and PDF" in " ".join(told.err.split())
    assert "a new folder" in " ".join(told.err.split())
    refused = mse("report", folders.root, "--figures", folders.root / "no" / "new")
    assert refused.code == 2
    assert not (folders.root / "no").exists()


def test_no_option_makes_folders_by_surprise(mse, folders):  # noqa: F811
    folders.add("a", seeds=[{"acc": 0.5, "weight_F1": 0.5}])
    for option in ("--markdown", "--out", "--clips"):
        refused = mse("report", folders.root, option, folders.root / "no" / "report.csv")
        assert refused.code == 2
        assert "there is no folder" in " ".join(refused.err.split())
    assert not (folders.root / "no").exists()
