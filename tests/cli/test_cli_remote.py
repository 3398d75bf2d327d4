"""The command line with raw data on a real S3 server."""

from __future__ import annotations

import os

import pytest

from tests.s3_server import serve
from tests.test_remote_roots import table_tree

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def s3():
    yield from serve()


def test_a_table_on_a_bucket_is_named_as_a_file_is(s3, tmp_path, mse):
    url = s3.upload(table_tree(tmp_path / "raw"), "cli")
    s3.requests.seen.clear()
    arguments = ("--streams", "acoustic.egemaps", "--workers", 1, "--cache", tmp_path / "cache", "--json")
    result = mse("extract", f"{url}/clips.csv", *arguments)
    assert (result.code, result.json["streams"]["acoustic.egemaps"]["done"]) == (0, 5)
    check = mse("datasets", "check", "table", "--root", url, "--json")
    assert (check.code, check.json["root"], check.json["files"]) == (0, url, 5)


def test_storages_that_refuse_are_told_in_a_sentence(s3, mse, monkeypatch):
    for root in ("s3://bucket/nothing", "s3://no-such-bucket/meld"):
        result = mse("extract", "meld", "--root", root)
        assert result.code == 2
        assert f"Folder {root} does not exist" in result.err
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    result = mse("extract", "meld", "--root", "s3://bucket/elsewhere")
    s3fs.S3FileSystem.clear_instance_cache()
    assert result.code == 2
    assert "s3://bucket/elsewhere cannot be reached" in result.err
    assert os.environ["AWS_ENDPOINT_URL"] in result.err
