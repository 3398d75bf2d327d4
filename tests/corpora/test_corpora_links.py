"""Raw folders whose files are links, as repositories of data lay them out, and as strangers might."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from mse_pipeline import corpora
from mse_pipeline.corpora.files import list_files, open_root
from mse_pipeline.errors import UsageError
from mse_pipeline.places import Reach
from tests.corpora.raw_folder import tree

TABLE = "id,media,split,text,label\na,videos/a.mp4,train,x,joy\nb,videos/b.mp4,test,y,anger\n"
MELD = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
    '1,Hi!,Joey,joy,positive,0,0,4,7,"00:20:57,256","00:20:58,0"\n'
)
MMSA = (
    "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode\n"
    "v_1,0001,Yes.,0.5,0.5,0.5,0.5,Positive,train\n"
)
CHERMA = [
    {"audio_file": "q.wav", "video_file": "q.mp4", "video_label": "高兴"}
    | dict.fromkeys(("txt_label", "audio_label", "visual_label"), "高兴")
]
IEMOCAP = "% [START_TIME - END_TIME] TURN_NAME EMOTION\n\n[6.2 - 8.2]\tSes01F_impro01_F000\tneu\t[2.5, 3.5, 4.0]\n"

CORPORA = {
    "table": ({"clips.csv": TABLE}, ("videos/a.mp4", "videos/b.mp4")),
    "meld": ({"train_sent_emo.csv": MELD}, ("train_splits/dia0_utt0.mp4",)),
    "mosei": ({"label.csv": MMSA}, ("Raw/v_1/0001.mp4",)),
    "mosi": ({"label.csv": MMSA}, ("Raw/v_1/0001.mp4",)),
    "sims": ({"label.csv": MMSA}, ("Raw/v_1/0001.mp4",)),
    "simsv2": ({"meta.csv": MMSA}, ("Raw/v_1/0001.mp4",)),
    "cherma": ({"train.json": json.dumps(CHERMA)}, ("media/q.mp4",)),
    "iemocap": (
        {"Session1/dialog/EmoEvaluation/Ses01F_impro01.txt": IEMOCAP},
        ("Session1/dialog/avi/DivX/Ses01F_impro01.avi",),
    ),
}
"""Corpus -> its label files, and its media."""


def read(name: str, root: Path, **options):
    return corpora.read(name, root, options if name == "table" else {"official": False, **options})


def missing(corpus) -> list[str]:
    return [defect.message for defect in corpus.defects if defect.code == "missing_media"]


def link(path: Path, target: str | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def stored(store: Path, content: bytes, pattern: str) -> Path:
    """A file in a store of contents, by its digest."""
    sha = hashlib.sha256(content).hexdigest()
    path = store / pattern.format(sha=sha, a=sha[:2], b=sha[2:4], rest=sha[2:])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def hub(top: Path, files: dict[str, bytes]) -> Path:
    """Hugging Face's cache: snapshots/COMMIT/x -> ../../blobs/SHA."""
    root = top / "datasets--x--y/snapshots/c0ffee"
    for name, content in files.items():
        blob = stored(top / "datasets--x--y/blobs", content, "{sha}")
        link(root / name, os.path.relpath(blob, (root / name).parent))
    return root


def annex(top: Path, files: dict[str, bytes]) -> Path:
    """git-annex, of which the folder that is read is a part: x -> ../.git/annex/objects/…."""
    (top / ".git").mkdir(parents=True)
    for name, content in files.items():
        key = stored(top / ".git/annex/objects", content, "{a}/{b}/SHA256E-{sha}/SHA256E-{sha}")
        link(top / "data" / name, os.path.relpath(key, (top / "data" / name).parent))
    return top / "data"


def datalad(top: Path, files: dict[str, bytes]) -> Path:
    """A dataset in another one of DataLad: its repository lies in that one's."""
    (top / ".git/modules/sub").mkdir(parents=True)
    link(top / "sub/.git", "../.git/modules/sub")
    for name, content in files.items():
        key = stored(top / ".git/modules/sub/annex/objects", content, "{a}/{b}/SHA256E-{sha}/SHA256E-{sha}")
        depth = "../" * name.count("/")
        link(top / "sub" / name, f"{depth}.git/{key.relative_to(top / '.git/modules/sub')}")
    return top / "sub"


def dvc(top: Path, files: dict[str, bytes]) -> Path:
    """DVC with links for its type of cache: absolute ones."""
    for name, content in files.items():
        link(top / "data" / name, stored(top / ".dvc/cache", content, "files/md5/{a}/{rest}"))
    return top / "data"


@pytest.mark.parametrize("name", CORPORA)
@pytest.mark.parametrize("lay_out", [hub, annex, datalad, dvc])
def test_a_repository_of_links_reads_as_plain_files_do(tmp_path, lay_out, name):
    labels, media = CORPORA[name]
    contents = {**{file: text.encode() for file, text in labels.items()}, **{file: file.encode() for file in media}}
    plain = read(name, tree(tmp_path / "plain", contents))
    linked = read(name, lay_out(tmp_path / "linked", contents))
    assert plain.with_media() == len(media)
    assert (linked.clips, linked.defects, linked.notes) == (plain.clips, plain.defects, plain.notes)


@pytest.mark.parametrize("name", CORPORA)
def test_a_link_to_elsewhere_costs_its_clips_and_names_the_mend(tmp_path, name):
    labels, media = CORPORA[name]
    root = tree(tmp_path / "root", labels)
    for file in media:
        link(root / file, tree(tmp_path / "share", {Path(file).name: ""}) / Path(file).name)
    corpus = read(name, root)
    assert len(corpus.clips) == len(media)
    assert corpus.with_media() == 0
    assert len(missing(corpus)) == len(media)
    for message, file in zip(missing(corpus), media, strict=True):
        assert f"{file}, " in message
        assert "is a symbolic link out of the root, to '" in message
        assert "--follow-links allows it" in message
    assert [clip.media for clip in read(name, root, follow_links=True).clips] == list(media)


@pytest.mark.parametrize("name", CORPORA)
def test_a_folder_that_links_to_elsewhere_costs_its_clips_and_names_the_mend(tmp_path, name):
    labels, media = CORPORA[name]
    root = tree(tmp_path / "root", labels)
    folder = os.path.dirname(media[0])
    tree(tmp_path / "share", {Path(file).name: "" for file in media})
    link(root / folder, tmp_path / "share")
    corpus = read(name, root)
    assert corpus.with_media() == 0
    assert all(f"{folder}, " in message and "--follow-links allows it" in message for message in missing(corpus))
    assert read(name, root, follow_links=True).with_media() == len(media)


@pytest.mark.parametrize("name", [name for name in CORPORA if name != "table"])
def test_label_files_that_are_links_to_elsewhere_are_the_reason_that_is_told(tmp_path, name):
    labels, media = CORPORA[name]
    root = tree(tmp_path / "root", dict.fromkeys(media, ""))
    for file, text in labels.items():
        link(root / file, tree(tmp_path / "share", {Path(file).name: text}) / Path(file).name)
    with pytest.raises(UsageError, match=r"is a symbolic link out of the root.*--follow-links allows it"):
        read(name, root)
    assert read(name, root, follow_links=True).with_media() == len(media)


@pytest.mark.parametrize("options", [{}, {"table": "clips.csv"}])
def test_a_table_that_is_a_link_to_elsewhere_is_the_reason_that_is_told(tmp_path, options):
    tree(tmp_path, {"share/clips.csv": TABLE, "root/videos/a.mp4": "", "root/videos/b.mp4": ""})
    link(tmp_path / "root/clips.csv", "../share/clips.csv")
    with pytest.raises(UsageError, match=r"clips.csv is a symbolic link out of the root.*--follow-links allows it"):
        read("table", tmp_path / "root", **options)
    assert read("table", tmp_path / "root", follow_links=True, **options).with_media() == 2


@pytest.mark.parametrize(
    ("target", "mend"),
    [
        (".git/annex/objects/aa/bb/SHA256E-1/SHA256E-1", "git annex get (or datalad get) brings it"),
        (".dvc/cache/files/md5/aa/bb", "dvc pull brings it"),
        ("blobs/0123", "hf download brings it"),
        ("gone/a.mp4", "which does not exist"),
    ],
)
@pytest.mark.parametrize("name", ["table", "meld", "simsv2"])
def test_a_link_whose_file_was_not_fetched_says_what_fetches_it(tmp_path, name, target, mend):
    labels, media = CORPORA[name]
    root = tree(tmp_path, labels)
    link(root / media[0], tmp_path / target)
    corpus = read(name, root)
    assert corpus.clips[0].media is None
    assert Path(media[0]).name in missing(corpus)[0]
    assert mend in missing(corpus)[0]


def test_a_file_that_dvc_knows_and_has_not_pulled_is_told(tmp_path):
    root = tree(tmp_path, {"clips.csv": TABLE, "videos/a.mp4.dvc": "outs:", "videos/b.mp4": ""})
    assert (
        "videos/a.mp4, which is not there; a.mp4.dvc is there, so that dvc pull brings it."
        in missing(read("table", root))[0]
    )


def test_links_of_one_cause_are_one_sentence_with_their_number(tmp_path):
    root = tree(tmp_path / "root", {"label.csv": MMSA})
    tree(tmp_path / "share", {f"{n}.mp4": "" for n in range(100)})
    for n in range(100):
        link(root / f"Raw/v_1/{n:04}.mp4", tmp_path / f"share/{n}.mp4")
    told = [note for note in read("simsv2", root).notes if note.startswith("Ignored")]
    assert len(told) == 1
    assert "100 such links" in told[0]


def test_links_in_circles_end(tmp_path):
    root = tree(tmp_path / "root", {"a.mp4": ""})
    tree(tmp_path / "share/deep", {"b.mp4": ""})
    link(root / "share", tmp_path / "share")
    link(tmp_path / "share/deep/again", tmp_path / "share")
    link(tmp_path / "share/home", root)
    assert list_files(open_root(root), follow_links=True).files == ("a.mp4", "share/deep/b.mp4")


@pytest.mark.parametrize(
    ("made", "target", "allowed"),
    [
        ((".git/config",), "top/other/a.mp4", True),
        ((".git/config",), "top/.git/config", False),
        ((".dvc/config",), "top/.dvc/config", False),
        ((".git/config",), "outside/a.mp4", False),
        ((), "top/other/a.mp4", False),
        (("blobs/x",), "top/blobs/x", False),
    ],
)
def test_a_link_stays_in_its_repository_and_out_of_its_settings(tmp_path, made, target, allowed):
    root = tree(tmp_path / "top/data", {"clips.csv": ""})
    tree(tmp_path / "top", dict.fromkeys(made, ""))
    tree(tmp_path, {target: ""})
    link(root / "a.mp4", tmp_path / target)
    assert Reach(open_root(root)).allows("a.mp4") is allowed


def test_a_home_that_is_a_repository_makes_no_private_file_part_of_a_dataset(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    tree(tmp_path, {".git/config": "", ".ssh/key": "", "data/clips.csv": ""})
    link(tmp_path / "data/a.mp4", "../.ssh/key")
    assert not Reach(open_root(tmp_path / "data")).allows("a.mp4")


@pytest.mark.parametrize("lay_out", [hub, annex, datalad, dvc])
def test_a_table_that_is_such_a_link_is_named_itself(tmp_path, lay_out):
    labels, media = CORPORA["table"]
    contents = {file: text.encode() for file, text in {**labels, **dict.fromkeys(media, "")}.items()}
    root = lay_out(tmp_path, {name: content + name.encode() * (name in media) for name, content in contents.items()})
    corpus = corpora.read("table", root / "clips.csv")
    assert (corpus.root, corpus.with_media(), corpus.defects) == (root, len(media), ())
