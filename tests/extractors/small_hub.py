"""A hub at localhost with one repository, enough of one for the hub's own client to download from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40


class Hub:
    """What the server answers.

    Attributes:
        files: Name -> content of the repository's files.
        refusal: Status and error code that every request is answered with; None for none.
        asked: Paths of all requests.
    """

    def __init__(self) -> None:
        self.address = ""
        self.files: dict[str, bytes] = {}
        self.refusal: tuple[int, str] | None = None
        self.asked: list[str] = []

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Hub]:
        """A hub that answers until the block ends."""
        hub = cls()

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(body=True)

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def _answer(self, body: bool) -> None:
                path = unquote(urlsplit(self.path).path)
                hub.asked.append(path)
                status, headers, content = hub._find(path)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                """Keep the test's output clean."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        hub.address = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield hub
        finally:
            server.shutdown()
            server.server_close()

    def _find(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if self.refusal is not None:
            return self.refusal[0], {"X-Error-Code": self.refusal[1]}, b""
        name = path.rsplit("/", 1)[-1]
        if "/resolve/" in path and name in self.files:
            content = self.files[name]
            return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}, content
        if "/tree/" in path:
            tree = [{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in self.files.items()]
            return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()
        if "/api/models/" in path:
            about = {"id": "some/model", "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.files]}
            return 200, {"Content-Type": "application/json"}, json.dumps(about).encode()
        return 404, {"X-Error-Code": "EntryNotFound"}, b""
