"""Remote media: fetched one by one, digested on the way, kept within bounds, gone with their process."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import filelock
import pytest

from mse_pipeline.errors import ClipError
from mse_pipeline.media import fetching
from mse_pipeline.media.fetching import Stamps, fetch, local_path, media_digest, remove_abandoned
from mse_pipeline.places import place


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where temporary files go, with nothing fetched yet."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fetching._store.cache_clear()
    yield tmp_path
    fetching._store()._remove()
    fetching._store.cache_clear()


@pytest.fixture
def root(folder):
    """A remote root of three files; the storage counts what is read."""
    path = place(f"memory://{folder.name}/set")
    path.fs.pipe({f"/{folder.name}/set/{name}.wav": name.encode() * 100 for name in "abc"})
    return path


def there(folder):
    return sorted(path.read_bytes()[:1].decode() for path in folder.glob("mse-media-*/*.wav"))


def test_a_fetched_file_is_the_remote_one_with_its_digest_and_stamp(root, tmp_path):
    found = fetch(root, "a.wav")
    assert found.path.read_bytes() == b"a" * 100
    assert found.path.suffix == ".wav"
    assert found.digest == media_digest(found.path)
    assert (found.size, found.mtime_ns) == Stamps(root).of("a.wav")


def test_a_local_file_stays_where_it_is(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"abc")
    found = fetch(tmp_path, "a.wav")
    assert found.path == local_path(tmp_path, "a.wav") == tmp_path / "a.wav"
    assert (found.digest, found.size, found.mtime_ns) == (
        media_digest(found.path),
        3,
        (tmp_path / "a.wav").stat().st_mtime_ns,
    )


def test_a_file_is_fetched_once_until_it_changes(root, monkeypatch):
    reads = []
    original = type(root.fs).cat_file
    monkeypatch.setattr(type(root.fs), "cat_file", lambda *a, **k: reads.append(a[1]) or original(*a, **k))
    first = [fetch(root, "a.wav").digest for _ in range(3)]
    assert len(reads) == len(set(first)) == 1
    root.fs.pipe_file(reads[0], b"other")
    assert fetch(root, "a.wav").path.read_bytes() == b"other"
    assert len(reads) == 2


@pytest.mark.parametrize(
    ("bound", "value", "kept"), [("MOST_BYTES", 250, ["b", "c"]), ("MOST_FILES", 1, ["c"]), ("MOST_BYTES", 50, ["c"])]
)
def test_what_is_kept_is_bounded(root, folder, monkeypatch, bound, value, kept):
    monkeypatch.setattr(fetching, bound, value)
    for name in "abc":
        assert fetch(root, f"{name}.wav").path.exists()
    assert there(folder) == kept


def test_large_files_come_in_blocks(root, monkeypatch):
    monkeypatch.setattr(fetching, "_BLOCK", 7)
    assert fetch(root, "b.wav").path.read_bytes() == b"b" * 100


def test_a_file_that_changes_while_it_is_fetched_is_told(root, folder, monkeypatch):
    monkeypatch.setattr(fetching, "_BLOCK", 60)
    original = type(root.fs).cat_file

    def change(storage, path, **more):
        content = original(storage, path, **more)
        storage.pipe_file(path, b"x" * 100)
        return content

    monkeypatch.setattr(type(root.fs), "cat_file", change)
    with pytest.raises(ClipError, match="was changed while it was fetched") as error:
        fetch(root, "a.wav")
    assert error.value.code == "missing_media"
    assert there(folder) == []


def test_files_that_cannot_be_fetched_are_missing(root, monkeypatch, tmp_path):
    for place_, media in ((root, "none.wav"), (tmp_path, "none.wav")):
        with pytest.raises(ClipError, match=r"none\.wav") as error:
            fetch(place_, media)
        assert error.value.code == "missing_media"

    def refuse(*args, **more):
        raise PermissionError(13, "Access Denied")

    monkeypatch.setattr(type(root.fs), "cat_file", refuse)
    with pytest.raises(ClipError, match=r"a\.wav cannot be fetched from memory://.*: Access Denied"):
        fetch(root, "a.wav")


CODE = """
import os, sys, tempfile
tempfile.tempdir = sys.argv[1]
from mse_pipeline.media.fetching import fetch
from mse_pipeline.places import place
root = place("memory://set")
root.fs.pipe_file("/set/z.wav", b"z")
fetch(root, "z.wav")
if sys.argv[2] == "killed":
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("how", ["done", "killed"])
def test_nothing_stays_of_a_process_that_has_ended(root, folder, how):
    fetch(root, "a.wav")
    subprocess.run([sys.executable, "-c", CODE, str(folder), how], check=how == "done")
    assert there(folder) == (["a"] if how == "done" else ["a", "z"])
    remove_abandoned()
    assert there(folder) == ["a"]


def test_folders_of_others_are_left_alone(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "lock").touch()
    (folder / "mse-media-link").symlink_to(other)
    (folder / "mse-media-nolock").mkdir()
    held = folder / "mse-media-held"
    held.mkdir()
    with filelock.FileLock(held / "lock"):
        remove_abandoned()
        assert held.is_dir()
    assert (other / "lock").exists()
    assert (folder / "mse-media-nolock").is_dir()


def test_stamps_are_those_of_the_files(root, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"abc")
    status = (tmp_path / "a.wav").stat()
    assert Stamps(tmp_path).of("a.wav") == (status.st_size, status.st_mtime_ns)
    for folder in (tmp_path, root):
        assert Stamps(folder).of("none.wav") == Stamps(folder).of(None) == (None, None)
    before = Stamps(root).of("b.wav")
    root.fs.pipe_file(f"{root.path}/b.wav", b"x" * 100)
    assert before[0] == Stamps(root).of("b.wav")[0] == 100
    assert before[1] != Stamps(root).of("b.wav")[1]
