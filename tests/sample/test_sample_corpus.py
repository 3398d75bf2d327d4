from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import av
import pytest

from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.sample import EMOTIONS, SampleSummary, build, corpus
from mse_pipeline.sample.corpus import FOLDERS, LABEL_FILES

pytestmark = pytest.mark.slow

SMALL = (2, 1, 1)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return build(tmp_path_factory.mktemp("corpus") / "sample", clips_per_emotion=SMALL, workers=1)


def rows(root: Path, split: Split) -> list[dict[str, str]]:
    with (root / LABEL_FILES[split]).open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def seconds(moment: str) -> float:
    hours, minutes, rest = moment.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest.replace(",", "."))


def test_the_summary_counts_the_clips(small: SampleSummary) -> None:
    assert small.built
    assert small.clips == {Split.TRAIN: 14, Split.VALID: 7, Split.TEST: 7}
    assert 28 * 1.2 <= small.seconds <= 28 * 2.2


@pytest.mark.parametrize("split", Split)
def test_each_row_has_its_file_and_each_file_its_row(small: SampleSummary, split: Split) -> None:
    named = {f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}.mp4" for row in rows(small.root, split)}
    assert {path.name for path in (small.root / FOLDERS[split]).iterdir()} == named
    assert len(named) == small.clips[split]


@pytest.mark.parametrize("split", Split)
def test_text_and_speaker_say_nothing_about_the_emotion(small: SampleSummary, split: Split) -> None:
    table = rows(small.root, split)
    said = {
        emotion: Counter((r["Utterance"], r["Speaker"]) for r in table if r["Emotion"] == emotion)
        for emotion in EMOTIONS
    }
    assert all(counts == said["neutral"] for counts in said.values())
    assert sum(said["neutral"].values()) == small.clips[split] / 7


def test_nobody_appears_in_two_splits(small: SampleSummary) -> None:
    cast = [{row["Speaker"] for row in rows(small.root, split)} for split in Split]
    assert sum(map(len, cast)) == len(set().union(*cast))


def test_the_place_in_a_dialogue_does_not_give_the_emotion_away(small: SampleSummary) -> None:
    table = rows(small.root, Split.TRAIN)
    first, second = ([r["Emotion"] for r in table if r["Dialogue_ID"] == d] for d in "01")
    assert first != second


def test_sentiment_follows_the_emotion(small: SampleSummary) -> None:
    pairs = {(r["Emotion"], r["Sentiment"]) for split in Split for r in rows(small.root, split)}
    assert pairs == {
        ("neutral", "neutral"),
        ("joy", "positive"),
        ("surprise", "positive"),
        *((emotion, "negative") for emotion in ("fear", "sadness", "disgust", "anger")),
    }


@pytest.mark.parametrize("split", Split)
def test_times_are_written_as_meld_writes_them_and_agree_with_the_files(small: SampleSummary, split: Split) -> None:
    end = 0.0
    for row in rows(small.root, split):
        assert re.fullmatch(r"\d{1,2}:\d\d:\d\d,\d{3}", row["StartTime"])
        start, before = seconds(row["StartTime"]), end
        end = seconds(row["EndTime"])
        assert before < start < end
        path = small.root / FOLDERS[split] / f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}.mp4"
        with av.open(str(path)) as container:
            assert container.streams.video[0].frames / 25 == pytest.approx(end - start, abs=1e-3)


@pytest.mark.parametrize("split", Split)
def test_label_files_have_the_bytes_of_melds_first_line(small: SampleSummary, shared: Path, split: Split) -> None:
    name = LABEL_FILES[split]
    real = (shared / "data" / "meld" / "current" / name).read_bytes().splitlines(keepends=True)
    ours = (small.root / name).read_bytes().splitlines(keepends=True)
    assert ours[0] == real[0]
    assert ours[1].count(b'"') == 4  # the two times hold commas, nothing else does
    assert all(line.endswith(b"\r\n") for line in ours)


def test_a_finished_corpus_is_found_and_left_alone(small: SampleSummary) -> None:
    before = {path: path.stat().st_mtime_ns for path in small.root.rglob("*")}
    by_name = {"train": 2, "valid": 1, "test": 1}
    again = build(small.root, clips_per_emotion=by_name)
    assert not again.built
    assert (again.root, again.clips, again.seconds) == (small.root, small.clips, small.seconds)
    assert {path: path.stat().st_mtime_ns for path in small.root.rglob("*")} == before


@pytest.mark.parametrize("other", [{"seed": 1}, {"clips_per_emotion": (3, 1, 1)}])
def test_a_corpus_made_otherwise_is_not_passed_off_as_this_one(small: SampleSummary, other: dict) -> None:
    with pytest.raises(UsageError, match=r"made otherwise.*Give another folder"):
        build(small.root, **{"clips_per_emotion": SMALL, **other})


@pytest.mark.parametrize("marker", [None, "", "[]", '{"seed": 0}', "{"])
def test_a_folder_with_other_files_is_never_overwritten(tmp_path: Path, marker: str | None) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    if marker is not None:
        (tmp_path / "sample.json").write_text(marker)
    before = digests(tmp_path)
    with pytest.raises(UsageError, match="no finished sample corpus"):
        build(tmp_path)
    assert digests(tmp_path) == before


def test_a_file_in_the_place_of_the_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "sample").write_text("mine")
    with pytest.raises(UsageError, match="no finished sample corpus"):
        build(tmp_path / "sample")
    assert (tmp_path / "sample").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clips_per_emotion": (1, 1)}, "at least 1 for train, valid and test"),
        ({"clips_per_emotion": (1, 1, 1, 1)}, "at least 1 for train, valid and test"),
        ({"clips_per_emotion": (1, 0, 1)}, "at least 1 for train, valid and test"),
        ({"clips_per_emotion": {"train": 1, "test": 1}}, "at least 1 for train, valid and test"),
        ({"clips_per_emotion": {"train": 1, "dev": 1, "test": 1}}, r"cannot be read.*'dev'"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"workers": 0}, "workers at least 1"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build(tmp_path / "sample", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_killed_build_leaves_nothing_and_the_next_one_makes_the_same_corpus(
    small: SampleSummary, tmp_path: Path
) -> None:
    root = tmp_path / "sample"
    code = f"from pathlib import Path; from mse_pipeline.sample import build; build(Path({str(root)!r}), workers=1)"
    victim = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("**/*.mp4")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    assert list(tmp_path.glob(".aside-*/**/*.mp4"))
    assert not root.exists()

    root.mkdir()  # an empty folder may be there
    summary = build(root, clips_per_emotion=SMALL, workers=2)

    assert summary.built
    assert digests(root) == digests(small.root)  # whatever the number of workers
    assert not list(tmp_path.glob(".aside-*"))


def test_a_worker_that_outlives_its_killed_build_writes_into_no_other(tmp_path: Path, monkeypatch) -> None:
    """As its folder was once called alike, a clip of the killed build could stand among those of the next one."""
    root, other = tmp_path / "sample", tmp_path / ".aside-sample-2-00000000"
    other.mkdir()  # of another build
    folders: list[Path] = []

    def killed(folder: Path, *given, **further) -> float:
        folders.append(folder)
        folder.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        build(root, clips_per_emotion=SMALL, workers=1)

    def outlived(folder: Path, *given, **further) -> float:
        assert not folders[0].exists()
        folders[0].mkdir()  # by the worker of the other build
        folders.append(folder)
        folder.mkdir()
        return 1.0

    monkeypatch.setattr(corpus, "_write", outlived)
    build(root, clips_per_emotion=SMALL, workers=1)
    assert folders[0] != folders[1]
    assert [path.name for path in tmp_path.glob(".aside-*")] == [other.name]


def test_the_marker_tells_how_the_corpus_was_made(small: SampleSummary) -> None:
    marker = json.loads((small.root / "sample.json").read_text())
    assert marker["seed"] == 0
    assert marker["clips_per_emotion"] == {"train": 2, "valid": 1, "test": 1}
