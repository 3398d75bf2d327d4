"""What `mse inspect` collects, draws and writes."""

import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from mse_pipeline import fonts, store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.inspection import picture
from mse_pipeline.inspection.collect import collect
from mse_pipeline.inspection.picture import draw_picture, write_page
from mse_pipeline.task import Classification
from tests.cli.conftest import mse  # noqa: F401
from tests.media.media_files import tone, write_media

BOX = ("box_x1", "box_y1", "box_x2", "box_y2", "probability")
TEXT = "<script>document.title = 'run'</script> 你好 $x_1$"


@pytest.fixture
def made(tmp_path):
    """A cache with one clip of a second: 5 rows of faces, a stream of words, sound; and its raw folder."""
    root = tmp_path / "raw"
    root.mkdir()
    frames = [np.full((90, 160, 3), 10 * k, np.uint8) for k in range(10)]
    write_media(root / "a.mp4", frames=frames, fps=10, sound=tone(1.0, 16_000), sound_rate=16_000)
    clips = [
        Clip(id="train/a", split=Split.TRAIN, media="a.mp4", text=TEXT, label="joy", speaker="Ann"),
        Clip(id="test/none", split=Split.TEST, text="", label="anger"),
    ]
    dataset = store.open(tmp_path / "cache").create("mine", clips, task=Classification(("joy", "anger")))
    edges = np.arange(6) * 0.2
    intervals = np.stack([edges[:-1], edges[1:]], 1)
    values = np.tile(np.array([0.25, 0.25, 0.5, 0.75, 0.99], np.float32), (5, 1))
    tracks = [
        {"track": 0, "from": 0.0, "to": 1.0, "score": 0.6, "frames": 4, "chosen": True},
        {"track": 1, "from": 0.0, "to": 1.0, "score": 0.1, "frames": 1, "boxes": [[0, 0.7, 0.1, 0.9, 0.4]]},
    ]
    faces = store.Features(values, intervals, [True, True, False, True, True], BOX, {"tracks": tracks})
    words = store.Features(
        [[0.9], [0.0], [0.8]],
        [[0.0, 0.4], [0.4, 0.5], [0.5, 1.0]],
        [True, False, True],
        ("confidence",),
        {"words": ["hello", "", "<b>there</b>"]},
    )
    dataset.put("visual.faces", {"train/a": faces})
    dataset.put("text.words", {"train/a": words})
    return tmp_path / "cache", root


@pytest.fixture
def inspection(made):
    cache, root = made
    return collect(store.open(cache)["mine"], "train/a", root, frames=3)


def test_frames_bear_the_face_that_was_followed_and_the_others(inspection):
    first, middle, last = inspection.frames
    assert [(box.chosen, box.track) for box in first.boxes] == [(False, 1), (True, None)]
    assert first.boxes[1].corners == pytest.approx((0.25, 0.25, 0.5, 0.75))
    assert middle.boxes == ()  # the row without a face
    assert [box.chosen for box in last.boxes] == [True]
    assert first.pixels.shape == (90, 160, 3)


def test_words_keep_their_times_and_silence(inspection):
    assert [(word.text, word.begin, word.end) for word in inspection.words] == [
        ("hello", 0.0, 0.4),
        ("", 0.4, 0.5),
        ("<b>there</b>", 0.5, 1.0),
    ]
    assert inspection.words[0].confidence == pytest.approx(0.9)


def test_a_clip_without_media_still_shows_what_is_in_the_cache(made):
    cache, _ = made
    one = collect(store.open(cache)["mine"], "train/a")
    assert one.audio is None
    assert one.frames == ()
    assert one.duration == 1.0
    assert {view.stream: len(view.features) for view in one.streams} == {"visual.faces": 5, "text.words": 3}
    assert draw_picture(one).startswith(b"\x89PNG")


def test_what_is_wrong_is_collected_from_corpus_journal_and_file(made):
    cache, root = made
    dataset = store.open(cache)["mine"]
    listed = {"code": "text_repaired", "clip": "train/a", "message": "Was broken."}
    (dataset.path / "defects.jsonl").write_text(json.dumps(listed) + "\n")
    (root / "a.mp4").write_bytes(b"not a video")
    codes = [code for code, _ in collect(dataset, "train/a", root).problems]
    assert codes == ["text_repaired", "undecodable"]


def test_an_unknown_clip_is_refused_with_the_nearest(made):
    with pytest.raises(UsageError, match=r"no clip 'train/b'.*did you mean train/a"):
        collect(store.open(made[0])["mine"], "train/b")


def test_the_picture_marks_the_box_in_its_colour(inspection):
    pixels = np.asarray(Image.open(io.BytesIO(draw_picture(inspection))).convert("RGB")).astype(int)
    orange = (np.abs(pixels - [0xE4, 0x57, 0x2E]).sum(2) < 12).sum()
    assert orange > 200
    assert pixels.shape[1] > 1000


def test_the_page_shows_hostile_text_as_text_and_may_run_nothing(inspection):
    page = write_page(inspection)
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;there&lt;/b&gt;" in page
    assert not re.search(r"<script", page, re.IGNORECASE)
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)


def test_the_page_tells_how_much_of_a_value_is_defined(made):
    cache, root = made
    dataset = store.open(cache)["mine"]
    intervals = [[k / 4, (k + 1) / 4] for k in range(4)]
    values = [[np.nan, np.nan, 1.0], [220.0, np.nan, 2.0], [240.0, np.nan, 3.0], [np.nan, np.nan, 4.0]]
    dataset.put(
        "acoustic.voice", {"train/a": store.Features(values, intervals, [True] * 4, ("f0", "jitter", "loudness"))}
    )
    one = collect(dataset, "train/a", root, frames=1)
    page = write_page(one)
    cells = '<td class="number">{}</td>'.format
    row = "<td>{}</td>" + "".join(map(cells, ("{}", "{}", "{}", "{}")))
    assert row.format("f0", "50 %", "220", "230", "240") in page
    assert row.format("jitter", "0 %", "–", "–", "–") in page
    assert row.format("loudness", "100 %", "1", "2.5", "4") in page
    assert "nan" not in re.sub(r"data:[^\"]*", "", page)
    assert draw_picture(one).startswith(b"\x89PNG")


@pytest.mark.slow
def test_chromium_opens_the_page_without_a_word(inspection, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium on the path")
    page = tmp_path / "page.html"
    page.write_text(write_page(inspection), encoding="utf-8")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    assert "<title>train/a" in done.stdout
    assert "CONSOLE" not in done.stderr


def test_the_command_writes_a_picture_and_a_page(made, mse, tmp_path):  # noqa: F811
    cache, root = made
    out = tmp_path / "out"
    told = mse("inspect", "train/a", "--cache", cache, "--root", root, "--out", out, "--json")
    assert told.code == 0
    assert sorted(path.name for path in out.iterdir()) == ["mine-train_a.html", "mine-train_a.png"]
    assert told.json["page"] == str(out / "mine-train_a.html")


def test_the_command_names_what_it_does_not_find(made, mse, tmp_path):  # noqa: F811
    cache, _ = made
    assert "did you mean train/a" in mse("inspect", "train/aa", "--cache", cache).err
    told = mse("inspect", "test/none", "--cache", cache, "--root", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert told.code == 0
    assert "Use --root for the folder of the raw files" in " ".join(told.err.split())


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["f0", "loudness"], ["f0", "loudness"]),
        ([f"{k}" for k in range(768)], ["0 … 767 (768)"]),
        (
            ["box_x1", "box_x2", "probability", *(f"onet_{k:03}" for k in range(256))],
            ["box_x1 … box_x2 (2)", "probability", "onet_000 … onet_255 (256)"],
        ),
    ],
)
def test_many_values_are_named_in_groups(names, told):
    groups = picture._groups(names)
    assert [picture._group_name(names, *group) for group in groups] == told


def test_of_many_kinds_of_names_small_neighbours_are_joined_and_each_group_is_high_enough_for_its_name():
    names = [f"{letter * 3}{k}" for letter in "abcdefghijklmnopqrstuvwxyz" for k in range(2)] + ["big"] * 1000
    groups = picture._groups(names)
    assert len(groups) == picture._GROUPS
    assert [first for first, _ in groups[1:]] == [end for _, end in groups[:-1]]
    edges, middles = picture._rows(groups, 3.0)
    assert (len(edges), len(middles), groups[-1]) == (len(names) + 1, len(groups), (52, 1052))
    assert min(edges[end] - edges[first] for first, end in groups) * 3.0 / len(names) >= picture._LINE - 1e-9


def test_letters_that_no_font_has_are_squares_and_told_once(made, mse, tmp_path, monkeypatch, recwarn):  # noqa: F811
    latin = {name: letters for name, letters in fonts._letters().items() if name == "DejaVu Sans"}
    monkeypatch.setattr(fonts, "_letters", lambda: latin)
    cache, root = made
    told = mse("inspect", "train/a", "--cache", cache, "--root", root, "--out", tmp_path / "out")
    assert " ".join(told.err.split()).startswith("No font here has 你好, so mine-train_a.png shows squares")
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    assert (fonts.writable("a 你\n好\x1b"), fonts.lacking(["ok"])) == ("a □\n□□", "")


def test_with_a_font_for_chinese_nothing_is_said(made, mse, tmp_path, recwarn):  # noqa: F811
    if fonts.lacking(["你好"]):
        pytest.skip("needs a font with Chinese, as Noto Sans CJK")
    cache, root = made
    told = mse("inspect", "train/a", "--cache", cache, "--root", root, "--out", tmp_path / "out")
    assert told.err == ""
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


@pytest.mark.parametrize("moved", [False, True])
def test_the_folder_of_the_media_is_remembered_and_told_where_it_has_moved(made, mse, tmp_path, moved):  # noqa: F811
    cache, root = made
    dataset = store.open(cache)["mine"]
    source = {"media_root": str(root)}
    store.open(cache).create("mine", dataset.clips, task=dataset.manifest.task, source=source)
    if moved:
        root.rename(tmp_path / "elsewhere")
    told = mse("inspect", "train/a", "--cache", cache, "--out", tmp_path / "out")
    said = " ".join(told.err.split())
    # Without a font for Chinese, that is said, too.
    assert (f"The features were extracted from {root}, which has moved or is not mounted" in said) == moved, said
