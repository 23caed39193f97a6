"""A server on this machine that answers as the Hugging Face hub does."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from serving import serving

MODEL_ID = "owner/model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".bin")  # kept under their SHA-256, as large files are


class Hub(ThreadingHTTPServer):
    """The folder as the model `owner/model` at one commit; remembers which files were asked for."""

    def __init__(self, folder: Path, *, gated: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.gated = folder, gated
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[str] = []

    def names(self) -> list[str]:
        files = [path for path in sorted(self.folder.rglob("*")) if path.is_file()]
        return [str(path.relative_to(self.folder)) for path in files]

    def digest(self, name: str) -> str:
        content = (self.folder / name).read_bytes()
        if name.endswith(LARGE):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def tree(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for name in self.names():
            size, digest = (self.folder / name).stat().st_size, self.digest(name)
            entry: dict[str, object] = {"type": "file", "path": name, "size": size, "oid": digest}
            if name.endswith(LARGE):
                entry |= {"oid": "0" * 40, "lfs": {"oid": digest, "size": size, "pointerSize": 130}}
            found.append(entry)
        return found


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        api, files = f"/api/models/{MODEL_ID}", f"/{MODEL_ID}/resolve/{COMMIT}/"
        if self.server.gated:
            self._reply(403, b"{}", **{"X-Error-Code": "GatedRepo"})
        elif path.startswith(f"{api}/tree/"):
            self._json(self.server.tree())
        elif path == api or path.startswith(f"{api}/revision/"):
            siblings = [{"rfilename": name} for name in self.server.names()]
            self._json({"id": MODEL_ID, "sha": COMMIT, "siblings": siblings})
        elif path.removeprefix(files) in self.server.names():
            self._file(path.removeprefix(files))
        else:
            self._reply(404, b"{}", **{"X-Error-Code": "RepoNotFound"})

    def _file(self, name: str) -> None:
        self.server.asked += [name] * (self.command == "GET")
        etag = f'"{self.server.digest(name)}"'
        headers = {"ETag": etag, "X-Linked-Etag": etag, "X-Repo-Commit": COMMIT}
        self._reply(200, (self.server.folder / name).read_bytes(), **headers)

    def _json(self, content: object) -> None:
        self._reply(200, json.dumps(content).encode())

    def _reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hub_server(folder: Path, *, gated: bool = False) -> Iterator[Hub]:
    """Serve *folder*; with *gated*, to nobody."""
    hub = Hub(folder, gated=gated)
    with serving(hub):
        yield hub
