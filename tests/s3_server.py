"""A real S3 server on loopback, for the tests that need one."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mse_pipeline.extraction.hosts import dismiss

_KEYS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1"}
_REQUEST = re.compile(r"(GET|HEAD|PUT|POST|DELETE) (/\S*) HTTP")


class Requests(logging.Handler):
    """Remembers what the server was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if found := _REQUEST.search(record.getMessage()):
            self.seen.append((found[1], found[2]))

    def listings(self) -> int:
        """How often a bucket was listed."""
        return sum("list-type=2" in path for _, path in self.seen)

    def objects(self, ending: str = "") -> list[str]:
        """Objects that were read, whole or a part, whose names end so."""
        return [path for verb, path in self.seen if verb == "GET" and "?" not in path and path.endswith(ending)]


class Server:
    """The server with one empty bucket."""

    def __init__(self, url: str, requests: Requests) -> None:
        self.url, self.requests = url, requests

    def upload(self, folder: Path, name: str) -> str:
        """Put a folder's files below a name; returns the URL."""
        import s3fs

        storage = s3fs.S3FileSystem(use_listings_cache=False)
        files = [path for path in folder.rglob("*") if path.is_file()]
        storage.pipe({f"bucket/{name}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in files})
        self.requests.seen.clear()
        return f"s3://bucket/{name}"


def serve() -> Iterator[Server]:
    """Start the server, point the environment at it, and end it."""
    moto = pytest.importorskip("moto.server", reason="needs moto[server], an S3 server: pip install 'moto[server]'")
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs: pip install 'mse-pipeline[s3]'")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    requests = Requests()
    logger = logging.getLogger("werkzeug")
    before = logger.handlers, logger.propagate, logger.level
    server.start()
    logger.handlers, logger.propagate = [requests], False
    logger.setLevel(logging.INFO)
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**_KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            patch.setenv(name, value)
        for name in set(os.environ) & {"AWS_PROFILE", "AWS_SESSION_TOKEN"}:
            patch.delenv(name)
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem(use_listings_cache=False).makedirs("bucket", exist_ok=True)
        dismiss(all_of_them=True)  # they know no server, or another one
        yield Server(os.environ["AWS_ENDPOINT_URL"], requests)
        dismiss(all_of_them=True)
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()
    logger.handlers, logger.propagate, logger.level = before
