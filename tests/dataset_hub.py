"""A server of one data set that speaks as much of the Hugging Face hub's protocol as ``datasets`` needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote


@contextmanager
def serving(folder: Path, name: str) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder as the data set ``name``: the address, and the paths that are asked for."""
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"folder": folder, "name": name, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path
    name: str
    asked: list[str]

    def log_message(self, *_):
        """Nothing is logged."""

    def do_GET(self):
        path, api = unquote(self.path.partition("?")[0]), f"/api/datasets/{self.name}"
        self.asked.append(path)
        if path == api or path.startswith(f"{api}/revision/"):
            files = [file.relative_to(self.folder).as_posix() for file in self._files()]
            info = {"id": self.name, "sha": self._revision(), "siblings": [{"rfilename": file} for file in files]}
            return self._send(200, info)
        if path.startswith(f"{api}/tree/"):
            under = self.folder / path.removeprefix(f"{api}/tree/").partition("/")[2]
            if under.is_dir():
                return self._send(200, [self._item(child) for child in sorted(under.iterdir())])
        if path.startswith(f"/datasets/{self.name}/resolve/"):
            file = self.folder / path.removeprefix(f"/datasets/{self.name}/resolve/").partition("/")[2]
            if file.is_file():
                return self._send_file(file)
        return self._send(404, {}, {"X-Error-Code": "EntryNotFound" if self.name in path else "RepoNotFound"})

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        wanted = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body).get("paths", [])
        self._send(200, [self._item(self.folder / path) for path in wanted if (self.folder / path).exists()])

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def _revision(self) -> str:
        return hashlib.sha1(b"".join(file.read_bytes() for file in self._files())).hexdigest()

    def _item(self, path: Path) -> dict[str, object]:
        item = {"path": path.relative_to(self.folder).as_posix(), "oid": "0" * 40}
        return item | ({"type": "directory"} if path.is_dir() else {"type": "file", "size": path.stat().st_size})

    def _send_file(self, file: Path) -> None:
        body = file.read_bytes()
        headers = {
            "ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": self._revision(), "Accept-Ranges": "bytes",
        }  # fmt: skip
        if not (wanted := self.headers.get("Range")):
            return self._send(200, body, headers)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, stop = (int(first), int(last or len(body)) + 1) if first else (len(body) - int(last), len(body))
        part = body[start:stop]
        return self._send(206, part, headers | {"Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(body)}"})

    def _send(self, code: int, content: object, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for key, value in {
            "Content-Length": str(len(body)),
            "Content-Type": "application/json",
            **(headers or {}),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
