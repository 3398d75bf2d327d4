"""A small hub: the endpoints that uploading and fetching a model repository take, over a real connection."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"


@dataclass
class Repository:
    """One repository: its commits in order, each name -> bytes."""

    private: bool = False
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{}])
    sizes: dict[str, int] = field(default_factory=dict)  # sizes that are lied about

    def sha(self, index: int = -1) -> str:
        index %= len(self.commits)
        return hashlib.sha1(f"{index}".encode()).hexdigest()

    def at(self, revision: str) -> int | None:
        if revision == "main":
            return len(self.commits) - 1
        return next((index for index in range(len(self.commits)) if self.sha(index) == revision), None)


class Hub:
    """The state of a hub, and the server in front of it."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.asked: list[str] = []
        hub = self

        class Handler(_Handler):
            state = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _send(self, status: int, value: object = None, *, body: bytes | None = None, **headers: str) -> None:
        data = json.dumps(value).encode() if body is None else body
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _no_repository(self) -> None:
        self._send(404 if self._known() else 401, {"error": "not found"}, X_Error_Code="RepoNotFound")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.state.asked.append(f"{self.command} {path}")
        parts = path.split("/")
        if parts[:2] == ["api", "models"]:
            repository = self.state.repositories.get("/".join(parts[2:4]))
            revision = parts[5] if parts[4:5] == ["revision"] else "main"
        else:
            repository = self.state.repositories.get("/".join(parts[:2]))
            revision = parts[3] if parts[2:3] == ["resolve"] else "main"
        if repository is None or (repository.private and not self._known()):
            self._no_repository()
            return
        index = repository.at(revision)
        if index is None:
            self._send(404, {"error": "no revision"}, X_Error_Code="RevisionNotFound")
        elif parts[0] == "api":
            files = repository.commits[index]
            siblings = [
                {"rfilename": name, "size": repository.sizes.get(name, len(data))} for name, data in files.items()
            ]
            value = {"id": "/".join(parts[2:4]), "sha": repository.sha(index), "private": repository.private}
            self._send(200, {**value, "siblings": siblings, "tags": []})
        else:
            self._file(repository, index, "/".join(parts[4:]))

    do_HEAD = do_GET

    def _file(self, repository: Repository, index: int, name: str) -> None:
        data = repository.commits[index].get(name)
        if data is None:
            self._send(404, {"error": "no file"}, X_Error_Code="EntryNotFound")
            return
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        self._send(200, body=data, ETag=etag, X_Repo_Commit=repository.sha(index))

    def do_PUT(self) -> None:
        self.state.stored[self.path.rsplit("/", 1)[-1]] = self._body()
        self._send(200, {})

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.state.asked.append(f"POST {path}")
        body = self._body()
        if path == "api/validate-yaml":
            self._send(200, {"errors": [], "warnings": []})
            return
        if not self._known():
            self._send(401, {"error": "Invalid username or password."})
            return
        if path == "api/repos/create":
            self._create(json.loads(body))
        elif path.endswith("/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            kinds = {True: "lfs", False: "regular"}
            told = [
                {"path": f["path"], "uploadMode": kinds[f["path"].endswith(".safetensors")], "shouldIgnore": False}
                for f in files
            ]
            self._send(200, {"files": told})
        else:
            self._commit("/".join(path.split("/")[2:4]), body)

    def _create(self, asked: dict) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] != "someone":
            self._send(403, {"error": "You don't have the rights to create a model under this namespace"})
        elif name in self.state.repositories:
            self._send(409, {"error": "You already created this model repo", "url": f"{self.state.url}/{name}"})
        else:
            private = asked.get("visibility") == "private" or asked.get("private") is True
            self.state.repositories[name] = Repository(private)
            self._send(200, {"url": f"{self.state.url}/{name}", "id": name, "name": name})

    def _batch(self, asked: dict) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.state.url}/stored/{one['oid']}"}}}
            for one in asked["objects"]
        ]
        self._send(200, {"transfer": "basic", "objects": objects})

    def _commit(self, name: str, body: bytes) -> None:
        repository = self.state.repositories[name]
        files = dict(repository.commits[-1])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.state.stored[value["oid"]]
        repository.commits.append(files)
        url = f"{self.state.url}/{name}/commit/{repository.sha()}"
        self._send(200, {"commitUrl": url, "commitOid": repository.sha()})
