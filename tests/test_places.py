"""Where data lies: local paths stay paths, URLs become paths of their storage, and errors say what to do."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from mse_pipeline.errors import UsageError
from mse_pipeline.places import address, is_local, listing, place


@pytest.mark.parametrize("where", ["data/meld", "/data/meld", "~/meld", "C:\\meld", "a:b/c"])
def test_what_is_no_url_is_a_local_path(where):
    assert place(where) == Path(where)
    assert is_local(place(where))


def test_a_file_url_is_the_local_folder():
    assert place("file:///data/meld") == Path("/data/meld")


def test_a_path_stays_what_it_is():
    remote = place("memory://a/b")
    assert place(remote) is remote
    assert place(Path("a")) == Path("a")


def test_a_url_is_a_path_that_travels_to_other_processes():
    remote = place("memory://set/meld")
    assert not is_local(remote)
    assert (str(remote), address(remote)) == ("memory://set/meld", "/set/meld")
    assert str(pickle.loads(pickle.dumps(remote))) == str(remote)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("nonsense://a/b", "Unsupported filesystem: 'nonsense'.*as in s3://BUCKET/FOLDER"),
        ("zip://a.zip::memory://none.zip", "zip://a.zip::memory://none.zip cannot be opened"),
    ],
)
def test_urls_that_cannot_be_opened_are_told(where, says):
    with pytest.raises(UsageError, match=says):
        place(where)


@pytest.mark.parametrize(
    ("where", "module", "mend"),
    [("s3://b/x", "s3fs", r"pip install 'mse-pipeline\[s3\]'"), ("gs://b/x", "gcsfs", r"fsspec\[gs\]")],
)
def test_a_missing_package_is_told_with_the_line_that_installs_it(monkeypatch, where, module, mend):
    import fsspec

    monkeypatch.setitem(sys.modules, module, None)
    known = sys.modules[fsspec.get_filesystem_class.__module__]._registry
    monkeypatch.delitem(known, where.partition(":")[0], raising=False)
    with pytest.raises(UsageError, match=f"needs a package.*{mend}"):
        place(where)


def test_a_listing_has_all_files_by_their_path_and_no_folders():
    root = place("memory://listing/set")
    root.fs.pipe({"/listing/set/a.csv": b"1", "/listing/set/sub/b.mp4": b"22", "/listing/settings/c": b""})
    assert {path: entry["size"] for path, entry in listing(root).items()} == {"a.csv": 1, "sub/b.mp4": 2}
