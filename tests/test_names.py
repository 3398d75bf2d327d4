"""Names of files: both normal forms of one name, and ids that no disk can hold as a name."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from mse_pipeline import store
from mse_pipeline.cli.inspect import file_name
from mse_pipeline.clip import Clip, Split
from mse_pipeline.corpora.base import Corpus
from mse_pipeline.corpora.faces import with_faces
from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.exchange import npy_folder
from mse_pipeline.exchange.openface import match_files
from mse_pipeline.extractors.registry import create
from mse_pipeline.names import ByName, existing, same_on_disk, too_long
from mse_pipeline.places import place
from mse_pipeline.prediction.predictor import texts_of_table
from mse_pipeline.task import Classification

NFC, NFD = (unicodedata.normalize(form, "Zoë/école") for form in ("NFC", "NFD"))
BOTH = pytest.mark.parametrize(("written", "called"), [(NFC, NFD), (NFD, NFC), (NFC, NFC)])


def clip(name: str) -> Clip:
    return Clip(id=name, split=Split.TRAIN, media=f"{name}.mp4", text="so what")


@BOTH
def test_a_name_is_found_in_either_form(written, called):
    names = ByName({called: 1, "other": 2})
    assert (written in names, names[written], names.get(written), names.written(written)) == (True, 1, 1, called)
    assert ("none" in names, names.get("none"), names.get("none", 3)) == (False, None, 3)
    with pytest.raises(KeyError):
        names["none"]


@pytest.mark.parametrize("name", [NFC, NFD])
def test_of_two_forms_the_exact_one_wins(name):
    names = ByName({NFC: NFC, NFD: NFD})
    assert (names[name], names.written(name)) == (name, name)


def test_other_letters_are_other_names():
    assert "ﬁ" not in ByName({"fi": 1})  # a ligature is another name, however alike it looks
    assert "e" not in ByName({"é": 1})


@BOTH
@pytest.mark.parametrize("kind", ["local", "remote"])
def test_an_existing_file_is_found_in_either_form(tmp_path, kind, written, called):
    root = tmp_path if kind == "local" else place(f"memory://{tmp_path.name}/names")
    path = root / f"{called}.align"
    if kind == "local":
        path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert existing(root, f"{written}.align").read_bytes() == b"x"
    assert existing(root, "Zoë/none.align") in {root / "Zoë/none.align", root / Path(called).parent / "none.align"}


@BOTH
def test_feature_files_find_their_clips_in_either_form(written, called):
    assert match_files([clip(written)], [f"out/{called}.csv"])[written].file == f"out/{called}.csv"
    flat = called.replace("/", "_")
    assert match_files([clip(written)], [f"{flat}.csv"])[written].file == f"{flat}.csv"


@BOTH
def test_word_times_find_their_file_in_either_form(tmp_path, written, called):
    path = tmp_path / f"times/{called}.align"
    path.parent.mkdir(parents=True)
    path.write_text("0 12500 so\n12500 25000 what\n")
    for template in ("times/{id}.align", "times/{media}.align"):
        assert create("text.word_times", {"path": template})(clip(written), tmp_path).notes["words"] == ["so", "what"]


@BOTH
def test_word_times_of_all_clips_find_theirs_in_either_form(tmp_path, written, called):
    (tmp_path / "all.ctm").write_text(f"{called} 1 0 0.5 so\n{called} 1 0.5 0.5 what\n", encoding="utf-8")
    assert create("text.word_times", {"path": "all.ctm"})(clip(written), tmp_path).notes["words"] == ["so", "what"]


@BOTH
def test_faces_and_texts_find_their_clips_in_either_form(tmp_path, written, called):
    (tmp_path / "faces.csv").write_text(f"clip,face\n{called},2\n", encoding="utf-8")
    corpus = Corpus(name="x", root=tmp_path, task=Classification(("joy", "anger")), clips=(clip(written),))
    assert with_faces(corpus, "faces.csv").clips[0].face == 2
    (tmp_path / "texts.csv").write_text(f"file,text\n{called}.mp4,Hello\n", encoding="utf-8")
    file = Path(f"{written}.mp4")
    assert texts_of_table(tmp_path / "texts.csv", [file]) == {file: "Hello"}


@BOTH
def test_npy_files_find_their_clips_in_either_form(tmp_path, written, called):
    np = pytest.importorskip("numpy")
    (tmp_path / "acoustic" / Path(called).parent).mkdir(parents=True)
    np.save(tmp_path / f"acoustic/{called}.npy", np.ones((2, 3), np.float32))
    table = f"id,label,split,text\n{written},joy,train,x\nb,anger,test,y\n"
    (tmp_path / "label.csv").write_text(table, encoding="utf-8")
    assert list(dict(npy_folder.read(tmp_path).streams["acoustic.npy"]())) == [written]


@pytest.mark.parametrize("target", ["../outside.align", "gone.align"])
def test_word_times_behind_a_link_tell_the_link(tmp_path, target):
    (tmp_path / "outside.align").write_text("0 12500 so\n")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a.align").symlink_to(target)
    there = target.startswith("..")
    with pytest.raises(ClipError, match="--follow-links allows it" if there else "which does not exist"):
        create("text.word_times", {"path": "{id}.align"})(clip("a"), tmp_path / "root")
    if there:
        followed = create("text.word_times", {"path": "{id}.align", "follow_links": True})
        assert followed(clip("a"), tmp_path / "root").notes["words"] == ["so"]
        assert followed.identity() == create("text.word_times", {"path": "{id}.align"}).identity()


@pytest.mark.parametrize(
    ("path", "fits"),
    [
        ("x" * 235, True),
        ("x" * 236, False),
        ("情" * 78, True),
        ("情" * 79, False),
        (f"{'x' * 200}/{'y' * 200}", True),
        (f"a/{'😀' * 59}/b", False),
    ],
)
def test_a_name_is_measured_in_bytes_part_by_part(path, fits):
    assert (too_long(path) is None) is fits


@pytest.mark.parametrize(
    ("name", "told"),
    [("x" * 200, None), ("情" * 76, None), ("情" * 78, "235"), ("é" * 150, "235"), ("a/" + "情" * 100, "235")],
)
def test_an_export_writes_ids_or_says_which_it_cannot(tmp_path, name, told):
    clips = [Clip(id=name, split=Split.TRAIN, label="joy"), Clip(id="b", split=Split.TEST, label="anger")]
    dataset = store.open(tmp_path / "cache").create("mine", clips, task=Classification(("joy", "anger")))
    dataset.put("acoustic.x", {one.id: store.Features([[1.0]], [[0.0, 1.0]], [True], ("a",)) for one in clips})
    out = tmp_path / "out"
    if told is None:
        npy_folder.write(dataset, out, streams={"acoustic": "acoustic.x"})
        assert (out / f"acoustic.x/{name}.npy").is_file()
    else:
        with pytest.raises(UsageError, match=f"bytes in UTF-8.*at most {told}"):
            npy_folder.write(dataset, out, streams={"acoustic": "acoustic.x"})
        assert not out.exists()


@pytest.mark.parametrize(("names", "alike"), [(("a", "b"), False), (("a/x", "A/x"), True), ((NFC, NFD), True)])
def test_names_that_one_disk_takes_for_one_file_are_found(tmp_path, names, alike):
    found = same_on_disk(tmp_path, names)
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files = sum(path.is_file() for path in tmp_path.rglob("*"))
    assert found == ([names] if alike and files == 1 else [])


def test_pages_of_clips_with_other_letters_have_names_of_their_own():
    ids = ["情/1", "感/1", "é", "e", "e\u0301", "a" * 300, "a" * 301, "a b", "a:b"]
    names = {file_name(f"mine-{one}") for one in ids}
    assert len(names) == len(ids)
    assert all(too_long(f"{name}.html") is None and name.isascii() for name in names)
