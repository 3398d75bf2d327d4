"""A table may lie anywhere, and so may its media: what the user says is read, what the table says alone is not."""

from __future__ import annotations

import logging
import os
import unicodedata
from pathlib import Path

import pytest

from mse_pipeline import corpora
from mse_pipeline.corpora import files, table_paths
from mse_pipeline.corpora.files import Folders, list_files, open_root
from mse_pipeline.errors import UsageError
from mse_pipeline.places import place
from mse_pipeline.prediction.predictor import of_table
from mse_pipeline.task import Classification
from tests.corpora.raw_folder import tree

HEADER = "id,media,split,text,label\n"
NAMES = ("a", "b", "c")


def rows(before: str = "", after: str = "", count: int = 3) -> str:
    """The text of a table whose media are called a.wav, b.wav, c.wav, ...."""
    return HEADER + "".join(
        f"{n},{before}{NAMES[n % 3]}.wav{after},{('train', 'valid', 'test')[n % 3]},x,{('joy', 'anger')[n % 2]}\n"
        for n in range(count)
    )


@pytest.fixture
def share(tmp_path) -> Path:
    """A folder of media on another disk, so to speak."""
    return tree(tmp_path / "share/meld", {f"{name}.wav": "" for name in NAMES})


@pytest.fixture
def lab(tmp_path) -> Path:
    return tree(tmp_path / "lab", {"labels/clips.csv": rows()})


def found(corpus) -> list[Path]:
    """The media files of all clips."""
    return [corpus.media_folder / str(clip.media) for clip in corpus.clips]


def everything(share: Path) -> list[Path]:
    return [share.resolve() / f"{name}.wav" for name in NAMES]


@pytest.mark.parametrize(
    ("root", "options"),
    [
        ("share/meld", {"table": "{tmp}/lab/labels/clips.csv"}),
        ("share/meld", {"table": "../../lab/labels/clips.csv"}),
        ("lab", {"media_root": "{tmp}/share/meld"}),
        ("lab/labels", {"media_root": "../../share/meld"}),
        ("lab/labels/clips.csv", {"media_root": "{tmp}/share/meld"}),
        ("lab", {"media_root": "linked"}),
        ("alias/meld", {"table": "{tmp}/lab/labels/clips.csv"}),
    ],
)
def test_a_table_and_its_media_may_lie_apart(tmp_path, lab, share, root, options):
    (tmp_path / "alias").symlink_to(tmp_path / "share")
    (lab / "linked").symlink_to(share)
    given = {name: value.format(tmp=tmp_path) for name, value in options.items()}
    assert found(corpora.read("table", tmp_path / root, given)) == everything(share)


@pytest.mark.parametrize(
    ("before", "media_root"),
    [
        ("{share}/", "{share}"),
        ("{share}/", "{tmp}"),
        ("../../share/meld/", "{share}"),
        ("{tmp}/alias/meld/", "{share}"),
        ("{tmp}/share/meld/", "{tmp}/alias"),
        ("linked/", "{share}"),
        ("meld/", "{tmp}/share"),
    ],
)
def test_with_media_root_paths_below_it_are_read_however_they_are_written(tmp_path, share, before, media_root):
    (tmp_path / "alias").symlink_to(tmp_path / "share")
    lab = tree(tmp_path / "lab/labels", {"clips.csv": rows(before.format(share=share, tmp=tmp_path))})
    (lab / "linked").symlink_to(share)
    corpus = corpora.read("table", lab, {"media_root": media_root.format(share=share, tmp=tmp_path)})
    assert found(corpus) == everything(share)
    assert any("3 media paths are absolute" in note for note in corpus.notes) is before.startswith("{")


@pytest.mark.parametrize("far", ["media", "table"])
def test_a_table_or_its_media_may_lie_on_a_storage(tmp_path, lab, share, far):
    storage = place(f"memory://{tmp_path.name}/set")
    for name in NAMES:
        (storage / f"{name}.wav").write_bytes(b"")
    (storage / "clips.csv").write_bytes(rows().encode())
    table = str(lab / "labels/clips.csv") if far == "media" else str(storage / "clips.csv")
    media = str(storage) if far == "media" else str(share)
    for root, options in ((media, {"table": table}), (str(lab), {"table": table, "media_root": media})):
        corpus = corpora.read("table", root, options)
        assert str(corpus.media_folder) == (media if far == "media" else str(share.resolve()))
        assert [clip.media for clip in corpus.clips] == ["a.wav", "b.wav", "c.wav"]


def test_media_of_a_table_elsewhere_may_lie_beside_it(tmp_path, lab):
    tree(lab / "labels", {f"{name}.wav": "" for name in NAMES})
    corpus = corpora.read("table", tree(tmp_path / "root", {"x": ""}), {"table": f"{lab}/labels/clips.csv"})
    assert found(corpus) == everything(lab / "labels")


@pytest.mark.parametrize(
    ("before", "cause", "folder"),
    [
        ("{share}/", "is an absolute path outside of the root", "{share}"),
        ("../../share/meld/", "leads out of the root", "{share}"),
        ("../../share/meld/../../share/", "leads out of the root", "{tmp}/share"),
    ],
)
def test_a_hundred_paths_of_one_cause_are_one_line_with_the_mend(tmp_path, share, before, cause, folder):
    written = before.format(share=share)
    lab = tree(tmp_path / "lab/labels", {"clips.csv": rows(written, count=100)})
    with pytest.raises(UsageError) as error:
        corpora.read("table", lab)
    told = str(error.value)
    assert len(told.splitlines()) == 1
    assert f"media '{written}a.wav' {cause}" in told
    assert f"--media-root {folder.format(share=share, tmp=tmp_path)} " in told
    assert "and 90 more" in told


@pytest.mark.parametrize("written", ["/etc/passwd", "../../../../../../../../etc/passwd", "..\\..\\x.wav", "C:\\x.wav"])
def test_a_table_alone_leads_nowhere(tmp_path, share, written):
    lab = tree(tmp_path / "lab/labels", {"clips.csv": rows() + f"x,{written},train,x,joy\n"})
    for options in ({}, {"media_root": str(share)}):
        with pytest.raises(UsageError, match=r"\(row 5\)"):
            corpora.read("table", lab, options)


def test_a_link_to_a_file_that_nobody_named_is_not_read(tmp_path):
    root = tree(tmp_path / "root", {"clips.csv": rows(), "b.wav": "", "c.wav": ""})
    (root / "a.wav").symlink_to("/etc/passwd")
    assert [clip.media for clip in corpora.read("table", root).clips] == [None, "b.wav", "c.wav"]


def test_absolute_paths_of_another_machine_say_so(tmp_path):
    root = tree(tmp_path, {"clips.csv": rows("/home/nobody/at/all/")})
    with pytest.raises(UsageError, match="no such folder is on this machine"):
        corpora.read("table", root)


def test_media_root_without_any_of_the_media_is_told_at_once(lab, share):
    with pytest.raises(UsageError, match=r"none of the 3 media of table labels/clips.csv is below it, as in 'a.wav'"):
        corpora.read("table", lab, {"media_root": str(share.parent)})
    with pytest.raises(UsageError, match=r"Folder .* does not exist.*media_root"):
        corpora.read("table", lab, {"media_root": f"{share}/none"})


def test_a_name_that_differs_by_case_is_told_and_not_guessed(tmp_path):
    root = tree(tmp_path, {"clips.csv": rows(), "A.WAV": "", "b.wav": "", "c.wav": ""})
    corpus = corpora.read("table", root)
    assert corpus.clips[0].media is None
    assert corpus.defects[0].message == (
        "Row 2 names a.wav, which is not there; A.WAV is there, which differs by case alone."
    )


@pytest.mark.parametrize("kind", ["local", "remote"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_names_match_in_the_other_normal_form_and_the_exact_one_wins(tmp_path, kind, written):
    def of(form, name="Schüler/émotion.wav"):
        return unicodedata.normalize(form, name)

    other = {"NFC": "NFD", "NFD": "NFC"}[written]
    root = tmp_path if kind == "local" else place(f"memory://{tmp_path.name}/forms")

    def put(name):
        path = root / name
        if kind == "local":
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")

    put(of(other))
    assert Folders(root).find(of(written)) == of(other)
    put(of(written))
    if kind == "remote" or len(os.listdir(root)) == 2:  # some disks take both for one
        assert Folders(root).find(of(written)) == of(written)
    assert Folders(root).find(of(written, "Schüler/emotion.wav")) is None


DECOMPOSED = unicodedata.normalize("NFD", "vidéo")
MMSA = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode\nvidéo,{clip},x,0.5,,,,Positive,train\n"
CHERMA = (
    '[{"audio_file": "vidéo.wav", "video_file": "vidéo.mp4", "video_label": "高兴", "txt_label": "高兴", '
    '"audio_label": "高兴", "visual_label": "高兴"}]'
)


@pytest.mark.parametrize(
    ("name", "labels", "media"),
    [
        ("table", {"clips.csv": HEADER + "a,vidéo/é.mp4,train,x,joy\nb,b.mp4,test,x,anger\n"}, f"{DECOMPOSED}/é.mp4"),
        ("mosei", {"label.csv": MMSA.format(clip="1")}, f"Raw/{DECOMPOSED}/1.mp4"),
        ("mosei", {"label.csv": MMSA.format(clip="1")}, f"Raw/Videos/Segmented/{DECOMPOSED}_1.mp4"),
        ("mosi", {"label.csv": MMSA.format(clip="1")}, f"Raw/{DECOMPOSED}/1.mp4"),
        ("sims", {"label.csv": MMSA.format(clip="1")}, f"Raw/{DECOMPOSED}/0001.mp4"),
        ("simsv2", {"meta.csv": MMSA.format(clip="1")}, f"Raw/{DECOMPOSED}/1.mp4"),
        ("simsv2", {"meta.csv": MMSA.format(clip="1")}, f"Raw/{DECOMPOSED}/00001.mp4"),
        ("cherma", {"train.json": CHERMA}, f"media/{DECOMPOSED}.mp4"),
    ],
)
def test_label_files_find_media_in_the_other_normal_form(tmp_path, name, labels, media):
    root = tree(tmp_path, {**labels, media: ""})
    corpus = corpora.read(name, root, {} if name == "table" else {"official": False})
    assert corpus.clips[0].media == media
    assert not [defect for defect in corpus.defects if defect.code == "unlabelled_media"]


@pytest.mark.parametrize("written", ["{share}/", ""])
def test_a_table_to_predict_is_read_from_the_same_places(tmp_path, share, written):
    lab = tree(tmp_path / "lab", {"clips.csv": rows(written.format(share=share))})
    task = Classification(("joy", "anger"))
    corpus = of_table(lab / "clips.csv", task, "en", media_root=str(share))
    assert found(corpus) == everything(share)
    if written:
        with pytest.raises(UsageError, match=f"--media-root {share}"):
            of_table(lab / "clips.csv", task, "en")


def test_the_search_for_a_table_ends_and_says_how_to_name_it(tmp_path, monkeypatch):
    root = tree(tmp_path, {f"{n}/x/y/a.wav": "" for n in range(9)} | {"3/x/clips.csv": rows()})
    monkeypatch.setattr(table_paths, "_MOST_SEARCHED", 5)
    with pytest.raises(UsageError, match=r"in the 5 folders that were searched.*mse extract TABLE --root"):
        corpora.read("table", root)
    monkeypatch.setattr(table_paths, "_MOST_SEARCHED", 25)
    assert corpora.read("table", root).sources == ("3/x/clips.csv",)


def test_a_root_that_holds_too_much_is_told_and_then_refused(tmp_path, monkeypatch, caplog):
    root = open_root(tree(tmp_path, {f"{n}.wav": "" for n in range(9)}))
    monkeypatch.setattr(files, "_MANY_ENTRIES", 5)
    with caplog.at_level(logging.WARNING):
        assert len(list_files(root).files) == 9
    assert "holds more than 5 files and folders" in caplog.text
    monkeypatch.setattr(files, "MOST_ENTRIES", 8)
    with pytest.raises(UsageError, match="give the dataset's own folder with --root"):
        list_files(root)
