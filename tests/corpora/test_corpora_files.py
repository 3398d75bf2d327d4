"""Nothing outside of the root is ever reached, whatever tables and links say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mse_pipeline.corpora.base import read_bytes, read_each, read_heads
from mse_pipeline.corpora.files import Folders, inside, list_files, open_root, relative
from mse_pipeline.errors import UsageError
from mse_pipeline.places import place


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    for name in (
        "a.mp4",
        "sub/b.mp4",
        "sub/deep/c.mp4",
        "._a.mp4",
        ".DS_Store",
        "__MACOSX/a.mp4",
        ".git/x",
        "sub/Thumbs.db",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (tmp_path / "secret.mp4").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "d.mp4").touch()
    return open_root(folder)


def test_listing_is_sorted_by_depth_and_ignores_what_systems_leave(root):
    assert list_files(root).files == ("a.mp4", "sub/b.mp4", "sub/deep/c.mp4")
    assert list_files(root).refused == ()


def test_a_cache_below_the_root_is_none_of_the_data(root):
    for name in ("dataset.json", "clips.parquet", "journal/1.jsonl", "streams/a/1.parquet"):
        (root / "cache/mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "cache/mine" / name).touch()
    (root / "begun").mkdir()  # by a run that was killed at once
    for name in (".run.lock", "clips.parquet"):
        (root / "begun" / name).touch()
    (root / "theirs").mkdir()
    for name in ("dataset.json", "clips.parquet"):
        (root / "theirs" / name).touch()
    added = ("theirs/clips.parquet", "theirs/dataset.json")
    assert set(list_files(root).files) == {"a.mp4", "sub/b.mp4", "sub/deep/c.mp4", *added}


def test_a_cache_below_a_remote_root_is_none_of_the_data(remote):
    keys = ("dataset.json", "clips.parquet", "journal/1.jsonl")
    remote.fs.pipe({f"{remote.path}/cache/mine/{key}": b"" for key in keys})
    assert list_files(remote).files == ("a.csv", "sub/b.mp4")


def test_links_out_of_the_root_are_refused_and_named(root):
    (root / "out.mp4").symlink_to(root.parent / "secret.mp4")
    (root / "outside").symlink_to(root.parent / "other")
    (root / "inside.mp4").symlink_to(root / "sub" / "b.mp4")
    (root / "again").symlink_to(root / "sub")
    (root / "loop.mp4").symlink_to(root / "loop.mp4")
    listing = list_files(root)
    assert listing.files == ("a.mp4", "inside.mp4", "sub/b.mp4", "sub/deep/c.mp4")
    there = root.parent
    assert listing.refused == (
        f"loop.mp4 is a symbolic link to '{root}/loop.mp4', which does not exist.",
        f"out.mp4 is a symbolic link out of the root, to '{there}/secret.mp4'; --follow-links allows it (2 such links, "
        "of which this is the first).",
    )
    assert set(listing.withheld) == {"loop.mp4", "out.mp4", "outside"}


def test_names_that_are_not_utf8_are_refused(root):
    try:
        Path(os.fsdecode(os.fsencode(root) + b"/\xff.mp4")).touch()
    except OSError:
        pytest.skip("this file system refuses such names itself")
    assert list_files(root).refused == ("'\\udcff.mp4' has a name that is not UTF-8.",)


def test_a_folder_that_vanishes_is_named(tmp_path):
    assert "cannot be listed" in list_files(tmp_path / "gone").refused[0]


@pytest.mark.parametrize(("name", "says"), [("nowhere", "does not exist"), ("a.mp4", "is a file")])
def test_a_root_must_be_a_folder(root, name, says):
    with pytest.raises(UsageError, match=f"{says}.*--root"):
        open_root(root / name)


@pytest.mark.parametrize(
    ("base", "written", "path"),
    [
        ("", "a.mp4", "a.mp4"),
        ("", "./sub//b.mp4", "sub/b.mp4"),
        ("labels", "../video/a.mp4", "video/a.mp4"),
        ("", "sub\\b.mp4", "sub/b.mp4"),
        ("labels", "/data/set/video/a.mp4", "video/a.mp4"),
        ("", "sub/../a.mp4", "a.mp4"),
        ("", "..a.mp4", "..a.mp4"),
    ],
)
def test_paths_are_taken_below_the_root(base, written, path):
    assert relative(Path("/data/set"), base, written) == path


@pytest.mark.parametrize(
    ("base", "written", "says"),
    [
        ("", "../a.mp4", "leads out"),
        ("", "sub/../../a.mp4", "leads out"),
        ("labels", "../../a.mp4", "leads out"),
        ("", "..\\a.mp4", "leads out"),
        ("", "/etc/passwd", "absolute"),
        ("", "/data/settings/a.mp4", "absolute"),
        ("", "/data/set/../a.mp4", "leads out"),
        ("", "C:\\a.mp4", "absolute"),
        ("", "C:a.mp4", "absolute"),
        ("", "\\\\server\\share\\a.mp4", "absolute"),
        ("", "a\0.mp4", "zero byte"),
    ],
)
def test_paths_out_of_the_root_are_refused(base, written, says):
    with pytest.raises(ValueError, match=says):
        relative(Path("/data/set"), base, written)


def test_folders_answer_whether_files_are_there(root):
    folders = Folders(root)
    answers = [folders.has(path) for path in ("a.mp4", "sub/b.mp4", "sub", "sub/none.mp4", "none/a.mp4")]
    assert answers == [True, True, False, False, False]


def test_folders_refuse_links_out_of_the_root(root):
    (root / "out.mp4").symlink_to(root.parent / "secret.mp4")
    (root / "outside").symlink_to(root.parent / "other")
    folders = Folders(root)
    for path in ("out.mp4", "outside/d.mp4"):
        with pytest.raises(ValueError, match="symbolic link out of the root"):
            folders.has(path)


@pytest.fixture
def remote(tmp_path):
    """A root on a storage whose keys may be any text."""
    path = place(f"memory://{tmp_path.name}/set")
    keys = (
        "a.csv",
        "sub/b.mp4",
        ".hidden/c",
        "._a.csv",
        "x\\y.mp4",
        "sub%2f..%2f..%2fkey",
        "%252e%252e/d.mp4",
        "s3://other/e",
        "a::b",
    )
    path.fs.pipe({f"{path.path}/{key}": b"1,2\n3" for key in keys})
    path.fs.store[f"{path.path}/sub/../../f.mp4"] = path.fs.store[f"{path.path}/a.csv"]
    path.fs.pipe_file(f"/{tmp_path.name}/secret.mp4", b"")
    return open_root(str(path))


def test_a_remote_listing_leaves_out_keys_that_are_no_plain_paths(remote):
    listing = list_files(remote)
    assert listing.files == ("a.csv", "sub/b.mp4")
    assert len(listing.refused) == 6
    assert all("might lead out of the root" in reason for reason in listing.refused)


def test_remote_folders_answer_whether_files_are_there(remote):
    folders = Folders(remote)
    assert [folders.has(path) for path in ("a.csv", "sub/b.mp4", "sub", "none.mp4")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("base", "written", "path"),
    [
        ("", "a.mp4", "a.mp4"),
        ("labels", "../video/a.mp4", "video/a.mp4"),
        ("labels", "memory://data/set/video/a.mp4", "video/a.mp4"),
        ("", "100%.mp4", "100%.mp4"),
        ("", "a%20b?#.mp4", "a%20b?#.mp4"),
        ("", "12:30.mp4", "12:30.mp4"),
    ],
)
def test_paths_are_taken_below_a_remote_root(base, written, path):
    assert relative(place("memory://data/set"), base, written) == path


@pytest.mark.parametrize(
    "written",
    [
        "../a.mp4",
        "/etc/passwd",
        "C:\\a.mp4",
        "memory://data/other/a.mp4",
        "memory://data/settings/a.mp4",
        "memory://data/set/../other/a.mp4",
        "s3://other/a.mp4",
        "file:/etc/passwd",
        "sub/s3://other/a.mp4",
        "simplecache::s3://other/a.mp4",
        "%2e%2e/a.mp4",
        "sub/..%2f..%2fa.mp4",
        "%252e%252e%252fa.mp4",
        "..%5ca.mp4",
        "%2fetc/passwd",
    ],
)
def test_addresses_out_of_a_remote_root_are_refused(written):
    with pytest.raises(ValueError, match="root"):
        relative(place("memory://data/set"), "", written)


@pytest.mark.parametrize(("name", "says"), [("nowhere", "does not exist"), ("a.csv", "is a file")])
def test_a_remote_root_must_be_a_folder(remote, name, says):
    with pytest.raises(UsageError, match=f"{says}.*--root"):
        open_root(remote / name)


def test_small_files_are_read_together_and_bounded(root, remote):
    for folder in (root, remote):
        for name, content in (("small.txt", b"12345"), ("large.txt", b"123456"), ("empty.txt", b"")):
            (folder / name).write_bytes(content)
        found = dict(read_each(folder, ["large.txt", "none.txt", "small.txt", "empty.txt"], 5))
        assert isinstance(found.pop("none.txt"), UsageError)
        assert found == {"large.txt": None, "small.txt": b"12345", "empty.txt": b""}
        heads = dict(read_heads(folder, ["large.txt", "none.txt", "empty.txt"], 3))
        assert heads == {"large.txt": b"123", "none.txt": b"", "empty.txt": b""}
        assert read_bytes(folder / "small.txt", "File", 5) == b"12345"
        with pytest.raises(UsageError, match="File has 6 bytes; at most 5 are read"):
            read_bytes(folder / "large.txt", "File", 5)
        with pytest.raises(UsageError, match="File cannot be read"):
            read_bytes(folder / "none.txt", "File", 5)


def test_inside_follows_links(root):
    (root / "outside").symlink_to(root.parent / "other")
    assert inside(root, "")
    assert inside(root, "sub/b.mp4")
    assert not inside(root, "outside/d.mp4")
    assert not inside(root, "../root2")
