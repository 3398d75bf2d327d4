"""A check of small folders: contents compared, numbers as labels, roots that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from mse_pipeline.checking import run
from mse_pipeline.checking.probing import Probed
from mse_pipeline.checking.report import judge, label_counts, properties, spread
from mse_pipeline.checking.run import check
from mse_pipeline.clip import Clip, Split
from mse_pipeline.corpora import available, entries, find
from mse_pipeline.errors import UsageError
from mse_pipeline.media.probe import MediaInfo
from mse_pipeline.recipe import Recipe
from mse_pipeline.task import Classification, Regression
from tests.checking.trees import link
from tests.extraction.conftest import write_wav

TABLE = Recipe.model_validate({"version": 1, "name": "mine", "corpus": {"name": "table"}})


class Heard:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None]] = []
        self.files = 0

    def stage(self, text: str, total: int | None = None) -> None:
        self.stages.append((text, total))

    def advance(self, files: int) -> None:
        self.files += files


@pytest.fixture
def folder(seeds, tmp_path) -> Path:
    link(tmp_path, seeds, {"a.mp4": "good", "b.mp4": "good", "c.mp4": "two frames", "d.mp4": "empty"})
    rows = ["a,a.mp4,train,x,1", "b,b.mp4,test,x,2", "c,c.mp4,dev,x,-1.5", "d,d.mp4,test,x,", "e,e.mp4,test,x,0"]
    (tmp_path / "clips.csv").write_text("\n".join(["id,media,split,text,label", *rows]) + "\n")
    return tmp_path


def test_equal_files_are_found_on_demand_alone(folder):
    assert "duplicate" not in check(TABLE, folder).by_code()
    heard = Heard()
    [defect] = check(TABLE, folder, digests=True, progress=heard).by_code()["duplicate"]
    assert (defect.clip, defect.path) == ("b", "b.mp4")
    # Of the four files only the two of one size are read in full.
    assert heard.stages == [("reading the corpus", None), ("probing", 4), ("comparing contents", 2)]
    assert heard.files == 6


def test_a_file_that_cannot_be_read_to_its_end_is_told(folder, monkeypatch):
    def fail(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(run, "media_digest", fail)
    report = check(TABLE, folder, digests=True)
    assert [defect.message for defect in report.by_code()["undecodable"]] == [
        "a.mp4 cannot be read to its end: Input/output error.",
        "b.mp4 cannot be read to its end: Input/output error.",
        "d.mp4 is empty (0 bytes); fetch it again.",
    ]


def test_numbers_are_told_by_spread_a_split(folder):
    report = check(TABLE, folder)
    assert report.splits[Split.TEST].labels.mean == 1.0
    assert report.splits[Split.TEST].with_media == 2
    assert report.splits[Split.TEST].readable == 1
    assert report.splits[Split.TEST].expected is None
    assert report.labels == {}


@pytest.mark.parametrize("name", ["none", "empty"])
def test_roots_that_hold_nothing_are_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError):
        check(TABLE, tmp_path / name)


def clips(*labels):
    return [Clip(id=str(place), split=Split.TRAIN, label=label) for place, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("task", "labels", "bins"),
    [
        (Classification(("joy", "fear")), ("joy", "joy", None), {"joy": 2, "fear": 0, "(none)": 1}),
        (
            Regression(-3, 3),  # halves go to the even neighbour
            (-3.0, -2.5, -1.5, 0.5, 1 / 3, 2 / 3, 2.5, 3.0),
            {"-3": 1, "-2": 2, "-1": 0, "0": 2, "+1": 1, "+2": 1, "+3": 1},
        ),
        (
            Regression(-1, 1),
            (-1.0, -0.8, -0.6, -0.2, 0.0, 0.1, 0.2, 0.6, 0.8, 1.0),
            {"-1 to -0.8": 2, "-0.6 to -0.2": 2, "0": 2, "0.2 to 0.6": 2, "0.8 to 1": 2},
        ),
        (Regression(0, 10), (5.0,), {}),
    ],
)
def test_labels_are_counted_in_the_fields_bins(task, labels, bins):
    counts = label_counts(clips(*labels), task)
    assert {name: split_counts[Split.TRAIN] for name, split_counts in counts.items()} == bins


def test_nothing_has_no_spread_and_no_properties():
    assert spread([]) is None
    assert properties([]) == {}


def test_every_reader_has_an_entry_and_names_are_unique():
    names = [entry.name for entry in entries()[0]]
    assert len(set(names)) == len(names)
    assert set(available()) <= set(names)


@pytest.mark.parametrize("name", ["meld", "mosei", "simsv2", "mosi", "sims"])
def test_official_counts_are_those_of_the_readers(name):
    from importlib import import_module

    if name not in available():
        pytest.skip(f"there is no reader of {name}")
    module = import_module(f"mse_pipeline.corpora.{name}")
    official = getattr(module, "OFFICIAL", None)
    if official is None:
        pytest.skip(f"the reader of {name} keeps its official counts elsewhere")
    assert {str(split): count for split, count in official.items()} == dict(find(name).splits)


def test_an_unknown_dataset_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="did you mean simsv2"):
        find("simv2")


def test_a_clip_in_which_nobody_speaks_is_a_defect_where_that_is_asked_for(tmp_path):
    write_wav(tmp_path / "a.wav")
    (tmp_path / "clips.csv").write_text("id,media,split,text,label\na,a.wav,train,,x\nb,a.wav,test,so,y\n")
    assert "no_speech" not in {defect.code for defect in check(TABLE, tmp_path, workers=1).defects}
    told = check(TABLE, tmp_path, workers=1, speech=True).defects
    assert {defect.clip for defect in told if defect.code == "no_speech"} == {"a", "b"}


@pytest.mark.parametrize(("start", "end", "speaks"), [(None, None, True), (0.0, 1.0, False), (1.5, None, True)])
def test_speech_counts_within_a_clips_span(start, end, speaks):
    clip = Clip(id="a", split=Split.TEST, media="a.wav", start=start, end=end)
    info = MediaInfo(path=Path("a.wav"), container="wav", size=1, duration=3.0, has_audio=True, has_video=True)
    probed = Probed(media="a.wav", info=info, speech=((1.2, 2.0),))
    assert ("no_speech" in {defect.code for defect in judge(clip, probed, None)}) is not speaks


def test_it_is_told_which_clips_will_have_a_transcript(tmp_path):
    write_wav(tmp_path / "a.wav")
    (tmp_path / "clips.csv").write_text("id,media,split,text,label\na,a.wav,train,,x\nb,a.wav,test,so,y\n")
    recipe = Recipe.model_validate({"version": 1, "name": "mine", "corpus": {"name": "table", "text": "asr"}})
    notes = check(recipe, tmp_path, workers=1).notes
    assert "text: asr: 1 of 2 clips have their text from text.asr, when they are extracted." in notes
