"""The pages that show the faces of a whole dataset: the sheet of all clips, and the gallery of people."""

import csv
import json
import re

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.inspection import faces
from mse_pipeline.inspection.faces import face_stream, moment, write_people, write_sheet
from mse_pipeline.store.candidates import Choice, Choices
from mse_pipeline.store.commit import Commit
from mse_pipeline.store.journal import JournalRow
from mse_pipeline.store.keys import stream_id
from mse_pipeline.store.manifest import StreamEntry
from mse_pipeline.task import Classification
from tests.cli.conftest import mse  # noqa: F401
from tests.media.media_files import write_media

STREAM = "visual.faces"
EVIL = "<script>alert('Ann')</script>"
PERSONS = [
    {"name": EVIL, "sure": True, "spoken": 2, "seen": 1, "doubt": 0.0, "tracks": 2, "faces": [["a", 1], ["b", 0]]},
    {"name": "Bob", "sure": False, "spoken": 1, "seen": 1, "doubt": 0.7, "tracks": 1, "faces": [["c", 0]]},
    {"name": None, "sure": False, "spoken": 0, "seen": 0, "doubt": 0.0, "tracks": 1, "faces": [["gone", 0], ["a", 0]]},
]


def features():
    """Five frames with two faces: one left in all of them, one right in the last three."""
    tracks = [
        {"track": 0, "chosen": True, "boxes": [[row, 0.1, 0.2, 0.3, 0.6] for row in range(5)]},
        {"track": 1, "chosen": False, "boxes": [[row, 0.6, 0.2, 0.9, 0.8] for row in (2, 3, 4)]},
    ]
    edges = np.array([*range(5), *range(5), 2, 3, 4]) / 5
    valid = np.arange(13) >= 5
    notes = {"candidates": 5, "tracks": tracks}
    return store.Features(np.ones((13, 1)), np.stack([edges, edges + 0.2], 1), valid, ("x",), notes)


@pytest.fixture
def made(tmp_path):
    """A dataset of four clips: the right face, nobody's, a doubtful one, and one that failed; and its raw folder."""
    root = tmp_path / "raw"
    root.mkdir()
    half = np.concatenate([np.full((90, 80, 3), value, np.uint8) for value in (60, 200)], axis=1)
    clips = []
    for name in "abcd":
        if name != "c":  # whose file is gone
            write_media(root / f"{name}.mp4", frames=[half] * 10, fps=10)
        clips.append(Clip(id=name, split=Split.TRAIN, media=f"{name}.mp4", speaker=EVIL, label="joy"))
    dataset = store.open(tmp_path / "cache").create("mine", clips, task=Classification(("joy", "anger")))
    identity = {"stream": STREAM, "config": {"policy": "speaker", "rate": 5.0}}
    entry = StreamEntry(stream_id(identity), identity)
    dataset.set_manifest(dataset.manifest.with_stream(STREAM, entry))
    commit = Commit(dataset, "run")
    plain = {"stream": STREAM, "version": entry.version}
    for name in "abc":
        commit.add(JournalRow(clip=name, status="done", key=f"k{name}", **plain), features())
    commit.add(JournalRow(clip="d", status="failed", code="no_face", stage="extract", message="None <b>.", **plain))
    commit.write()
    chosen = {
        "a": Choice("ka", (1,), 3, 0.1),
        "b": Choice("kb", (), 0, 0.3, "no_speaker", "Not seen."),
        "c": Choice("kc", (0,), 5, 0.7, "unsure_speaker", "A guess."),
    }
    dataset.set_choices(STREAM, Choices(chosen, "x", {"persons": PERSONS, "missing": [["Cid", 3]]}))
    return dataset, root


def test_the_most_doubtful_clips_come_first_and_each_says_why(made, tmp_path):
    dataset, root = made
    (page,) = write_sheet(dataset, root, tmp_path / "sheet.html")
    html = page.read_text()
    kinds = re.findall(r'<article class="tile (\w+)">', html)
    assert kinds == ["failed", "doubtful", "nobody", "clear"]
    assert re.findall(r'<b title="(\w)">', html) == ["d", "c", "b", "a"]
    for text in ("no_face: None &lt;b&gt;.", "A guess.", "Not seen.", "3 of 5 rows", "0 of 5 rows"):
        assert text in html
    assert re.findall(r"<label for=show-|<label for=\"show-(\w+)\">([^<]+) <span>(\d)", html) == [
        ("all", "all", "4"),
        ("doubtful", "doubtful", "1"),
        ("nobody", "speaker not seen", "1"),
        ("failed", "no face", "1"),
        ("clear", "clear", "1"),
    ]


def test_the_sheet_shows_the_face_that_was_followed(made, tmp_path):
    import base64
    import io

    from PIL import Image

    dataset, root = made
    (page,) = write_sheet(dataset, root, tmp_path / "sheet.html")
    tile = page.read_text().split("<article")[4]
    face, frame = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in re.findall(r"base64,([^\"]+)", tile)
    )
    assert np.median(face) > 150  # the right half
    x, y = int(0.6 * frame.shape[1]), int(0.5 * frame.shape[0])
    red, blue = frame[y, x - 3 : x + 4].astype(int)[:, [0, 2]].T
    assert (red - blue).max() > 60


@pytest.mark.parametrize("write", ["sheet", "people"])
def test_pages_load_and_run_nothing_and_escape_names(made, tmp_path, write):
    dataset, root = made
    page = tmp_path / "page.html"
    if write == "sheet":
        write_sheet(dataset, root, page)
    else:
        write_people(dataset, root, page, tmp_path / "people.csv")
    html = page.read_text()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "default-src 'none'" in html
    assert not re.findall(r"(?:src|href)=\"(?!data:)", html)


def test_many_clips_become_several_pages_that_lead_to_each_other(made, tmp_path, monkeypatch):
    dataset, root = made
    monkeypatch.setattr(faces, "PER_PAGE", 3)
    pages = write_sheet(dataset, root, tmp_path / "out" / "sheet.html")
    assert [page.name for page in pages] == ["sheet.html", "sheet-2.html"]
    assert [page.read_text().count("<article") for page in pages] == [3, 1]
    assert 'href="sheet-2.html"' in pages[0].read_text()
    assert 'href="sheet.html"' in pages[1].read_text()


def test_the_gallery_has_a_picture_a_name_and_a_table_to_correct(made, tmp_path):
    dataset, root = made
    page, table = tmp_path / "people.html", tmp_path / "people.csv"
    write_people(dataset, root, page, table)
    html = page.read_text()
    cards = html.split('<section class="person')[1:]
    assert [card.count("<img") for card in cards] == [0, 2, 1]  # Bob's clip has no file, and one clip is gone
    assert "doubtful, 0.70" in cards[0]
    assert "seen in 1 of the 2 clips" in cards[1]
    assert "Cid (3 clips)" in html
    rows = list(csv.DictReader(table.open()))
    assert [(row["clip"], row["track"], row["name"], row["taken_for"]) for row in rows] == [
        ("a", "1", "", EVIL),
        ("c", "0", "", "Bob"),
        ("gone", "0", "", ""),
    ]


def test_without_the_raw_files_pages_have_no_pictures(made, tmp_path):
    dataset, _ = made
    (page,) = write_sheet(dataset, None, tmp_path / "sheet.html")
    write_people(dataset, None, tmp_path / "people.html", tmp_path / "people.csv")
    assert "<img" not in page.read_text() + (tmp_path / "people.html").read_text()
    assert "The raw files were not found." in page.read_text()


def test_a_moment_is_the_middle_of_the_longest_track_that_was_followed():
    tracks = features().notes["tracks"]
    clip = Clip(id="a", split=Split.TRAIN)
    one = moment(clip, tracks, 0.2, (1,))
    assert (one.begin, [box.chosen for box in one.boxes]) == (pytest.approx(0.6), [False, True])
    assert moment(clip, tracks, 0.2, ()).begin == pytest.approx(0.4)
    assert moment(clip, [], 0.2, ()).boxes == ()


def test_a_stream_that_follows_no_face_has_no_sheet(made):
    dataset, _ = made
    other = {"stream": "acoustic.x", "config": {}}
    dataset.set_manifest(dataset.manifest.with_stream("acoustic.x", StreamEntry(stream_id(other), other)))
    assert face_stream(dataset) == STREAM
    with pytest.raises(UsageError, match=r"acoustic\.x of mine follows no face; visual.faces does"):
        face_stream(dataset, "acoustic.x")
    with pytest.raises(UsageError, match=r"no stream 'visual\.face'"):
        face_stream(dataset, "visual.face")


@pytest.mark.parametrize(
    ("policy", "identity", "speaker", "told"),
    [
        ("largest", "sface", "Ann", r"policy is largest\. Extract with --set streams\.visual\.faces\.policy=speaker"),
        ("speaker", "none", "Ann", r"sface\.onnx.*MSE_MODELS.*--set streams\.visual\.faces\.identity=sface"),
        ("speaker", "sface", None, "no clip has a speaker"),
        ("speaker", "sface", "Ann", "none was found"),
    ],
)
def test_people_of_a_stream_without_names_are_refused_with_the_mend(tmp_path, policy, identity, speaker, told):
    clip = Clip(id="a", split=Split.TRAIN, speaker=speaker)
    dataset = store.open(tmp_path / "cache").create("mine", [clip], task=Classification(("joy", "anger")))
    about = {"stream": STREAM, "config": {"policy": policy, "identity": identity}}
    dataset.set_manifest(dataset.manifest.with_stream(STREAM, StreamEntry(stream_id(about), about)))
    with pytest.raises(UsageError, match=f"no names: .*{told}"):
        write_people(dataset, None, tmp_path / "people.html", tmp_path / "people.csv")


def test_the_command_writes_both_and_tells_where(made, mse, tmp_path):  # noqa: F811
    dataset, root = made
    where = ["--cache", str(dataset.path.parent), "--root", str(root), "--out", str(tmp_path / "out")]
    result = mse("inspect", "mine", "--sheet", str(tmp_path / "sheet.html"), "--people", *where, "--json")
    told = json.loads(result.out.splitlines()[-1])
    assert told == {
        "dataset": "mine",
        "sheet": [str(tmp_path / "sheet.html")],
        "people": [str(tmp_path / "out" / "mine-people.html")],
        "table": [str(tmp_path / "out" / "mine-people.csv")],
    }
    assert (tmp_path / "out" / "mine-people.html").is_file()
