"""A hub on this machine: an HTTP server that speaks as much of the Hugging Face hub's protocol as models need.

Repositories, revisions, trees, ``resolve`` with its headers and its redirects to a store of large files, uploads by the
LFS protocol, commits, tokens. Everything is in memory. The client that talks to it is the real ``huggingface_hub``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_right"
OWNER = "someone"


class Repo:
    """Commits by their hash, each a mapping from path to ``(bytes, is_lfs)``, and branches and tags by name."""

    def __init__(self, private: bool) -> None:
        self.private = private
        self.commits: dict[str, dict[str, tuple[bytes, bool]]] = {}
        self.refs: dict[str, str] = {}
        self.commit("main", {})

    def commit(self, ref: str, files: dict[str, tuple[bytes, bool]]) -> str:
        sha = hashlib.sha1(repr((ref, len(self.commits), files)).encode()).hexdigest()
        self.commits[sha] = files
        self.refs[ref] = sha
        return sha

    def revision(self, name: str) -> str | None:
        return name if name in self.commits else self.refs.get(name)


class Hub(ThreadingHTTPServer):
    """The server, and what a test asks of it.

    Attributes:
        repos: By ``OWNER/NAME``.
        store: Large files by their SHA-256.
        seen: Method and path of each request.
        cut_after: Bytes after which the next download of a large file is cut off; None lets it end.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.store: dict[str, bytes] = {}
        self.seen: list[tuple[str, str]] = []
        self.cut_after: int | None = None
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def files(self, repo: str, ref: str = "main") -> dict[str, bytes]:
        """The files of a revision."""
        return {name: data for name, (data, _) in self.repos[repo].commits[self.repos[repo].refs[ref]].items()}

    def tamper(self, repo: str, name: str, change, ref: str = "main") -> None:
        """Commit another content of a file."""
        head = self.repos[repo].commits[self.repos[repo].refs[ref]]
        data, large = head[name]
        data = change(data)
        self.store[hashlib.sha256(data).hexdigest()] = data
        self.repos[repo].commit(ref, {**head, name: (data, large)})


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path = url.path
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            self.server.seen.append((self.command, path))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token != TOKEN:
            return self._send(refused(401, message="Invalid credentials in Authorization header"))
        for pattern, method in ROUTES:
            if found := re.fullmatch(pattern, path):
                with self.server.lock:
                    answer = method(self, *map(unquote, found.groups()), body=body, user=OWNER if token else None)
                return self._send(answer if isinstance(answer, Answer) else as_json(answer))
        return self._send(refused(404, "NotFound"))

    def _send(self, answer: Answer) -> None:
        cut = None
        if answer.large and self.command == "GET":
            cut, self.server.cut_after = self.server.cut_after, None
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.data)), **answer.headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.data[:cut])
        self.close_connection = cut is not None

    # What each path does.

    def whoami(self, body: bytes, user: str | None) -> object:
        return {"type": "user", "name": user} if user else refused(401, message="no token")

    def validate(self, body: bytes, user: str | None) -> object:
        return {"errors": [], "warnings": []}

    def create(self, body: bytes, user: str | None) -> object:
        asked = json.loads(body)
        name = f"{asked.get('organization') or user}/{asked['name']}"
        if user is None:
            return refused(401, message="no token")
        if name in self.server.repos:
            return refused(409, message="You already created this model repo", url=f"{self.server.address}/{name}")
        if asked.get("organization") not in (None, user):
            return refused(403, message="You don't have the rights to create a model under this namespace")
        self.server.repos[name] = Repo(asked.get("visibility") == "private" or bool(asked.get("private")))
        return {"url": f"{self.server.address}/{name}"}

    def info(self, name: str, revision: str = "main", *, body: bytes, user: str | None) -> object:
        repo, sha = self._at(name, revision, user)
        if not isinstance(repo, Repo):
            return repo
        siblings = [{"rfilename": path} for path in repo.commits[sha]]
        return {"id": name, "modelId": name, "sha": sha, "private": repo.private, "tags": [], "siblings": siblings}

    def tree(self, name: str, revision: str, *, body: bytes, user: str | None) -> object:
        repo, sha = self._at(name, revision, user)
        if not isinstance(repo, Repo):
            return repo
        files = []
        for path, (data, large) in repo.commits[sha].items():
            about = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            file = {"type": "file", "path": path, "size": len(data), "oid": git_hash(data)}
            files.append(file | ({"lfs": about} if large else {}))
        return files

    def branch(self, name: str, branch: str, *, body: bytes, user: str | None) -> object:
        repo, sha = self._at(name, "main", user, write=True)
        if not isinstance(repo, Repo):
            return repo
        if branch in repo.refs:
            return refused(409, message="Reference already exists")
        repo.refs[branch] = sha
        return {}

    def preupload(self, name: str, revision: str, *, body: bytes, user: str | None) -> object:
        repo, sha = self._at(name, revision, user, write=True)
        if not isinstance(repo, Repo):
            return repo
        files = []
        for file in json.loads(body)["files"]:
            large = file["path"].endswith(".pt")
            known = repo.commits[sha].get(file["path"])
            oid = known and (hashlib.sha256(known[0]).hexdigest() if known[1] else git_hash(known[0]))
            mode = "lfs" if large else "regular"
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": files}

    def batch(self, name: str, *, body: bytes, user: str | None) -> object:
        repo, _ = self._at(name, "main", user, write=True)
        if not isinstance(repo, Repo):
            return repo
        objects = [{"oid": o["oid"], "size": o["size"]} for o in json.loads(body)["objects"]]
        for each in objects:
            if each["oid"] not in self.server.store:
                each["actions"] = {
                    "upload": {"href": f"{self.server.address}/store/{each['oid']}", "header": {}},
                    "verify": {"href": f"{self.server.address}/verify", "header": {}},
                }
        return {"transfer": "basic", "objects": objects}

    def upload(self, oid: str, *, body: bytes, user: str | None) -> object:
        if hashlib.sha256(body).hexdigest() != oid:
            return refused(400, message="the content is another")
        self.server.store[oid] = body
        return {}

    def verify(self, *, body: bytes, user: str | None) -> object:
        asked = json.loads(body)
        whole = len(self.server.store.get(asked["oid"], b"")) == asked["size"]
        return {} if whole else refused(404, message="not here")

    def commit(self, name: str, revision: str, *, body: bytes, user: str | None) -> object:
        repo, sha = self._at(name, revision, user, write=True)
        if not isinstance(repo, Repo):
            return repo
        files = dict(repo.commits[sha])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = (base64.b64decode(value["content"]), False)
            elif line["key"] == "lfsFile":
                files[value["path"]] = (self.server.store[value["oid"]], True)
        new = repo.commit(revision, files)
        url = f"{self.server.address}/{name}/commit/{new}"
        return {"success": True, "commitOid": new, "commitUrl": url, "pullRequestUrl": None}

    def resolve(self, name: str, revision: str, path: str, *, body: bytes, user: str | None) -> object:
        repo, sha = self._at(name, revision, user)
        if not isinstance(repo, Repo):
            return repo
        if path not in repo.commits[sha]:
            return refused(404, "EntryNotFound", X_Repo_Commit=sha)
        data, large = repo.commits[sha][path]
        if not large:
            return Answer(200, data, {"ETag": f'"{git_hash(data)}"', "X_Repo_Commit": sha})
        oid = hashlib.sha256(data).hexdigest()
        about = {"X_Linked_Etag": f'"{oid}"', "X_Linked_Size": str(len(data)), "X_Repo_Commit": sha}
        # Under another name, as that of a content network: the client follows redirects to the same host by itself.
        return Answer(302, b"", {"Location": f"http://localhost:{self.server.server_port}/store/{oid}", **about})

    def download(self, oid: str, *, body: bytes, user: str | None) -> object:
        if self.command == "PUT":
            return self.upload(oid, body=body, user=user)
        data = self.server.store[oid]
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start, end = int(asked[1]), len(data)
            return Answer(206, data[start:], {"Content_Range": f"bytes {start}-{end - 1}/{end}"}, large=True)
        return Answer(200, data, {"ETag": f'"{oid}"'}, large=True)

    def _at(self, name: str, revision: str, user: str | None, *, write: bool = False) -> tuple[object, str]:
        """The repository and the commit; or why not."""
        repo = self.server.repos.get(name)
        if repo is None or (repo.private and user is None):
            return refused(401 if user is None else 404, "RepoNotFound", "Repository not found"), ""
        if write and user != name.split("/", maxsplit=1)[0]:
            return refused(403, message="You may not write here"), ""
        sha = repo.revision(revision)
        return (repo, sha) if sha else (refused(404, "RevisionNotFound", "Invalid rev id"), "")


@dataclass(frozen=True)
class Answer:
    """What is sent back; a large one may be cut off."""

    status: int
    data: bytes
    headers: dict[str, str]
    large: bool = False


def as_json(content: object) -> Answer:
    """An answer in JSON."""
    return Answer(200, json.dumps(content).encode(), {"Content_Type": "application/json"})


def refused(status: int, code: str = "", message: str = "", **more: str) -> Answer:
    """An error as the hub words it: its code in a header."""
    data = json.dumps({"error": message or code, **more}).encode()
    about = {"X_Error_Code": code, "X_Error_Message": message or code}
    return Answer(status, data, {k: v for k, v in (about | more).items() if v and k != "url"})


def git_hash(data: bytes) -> str:
    """What git calls a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


_NAME, _REVISION = r"([\w.-]+/[\w.-]+)", r"([^/]+)"
ROUTES = [
    (r"/api/whoami-v2", Handler.whoami),
    (r"/api/validate-yaml", Handler.validate),
    (r"/api/repos/create", Handler.create),
    (rf"/api/models/{_NAME}", Handler.info),
    (rf"/api/models/{_NAME}/revision/{_REVISION}", Handler.info),
    (rf"/api/models/{_NAME}/tree/{_REVISION}", Handler.tree),
    (rf"/api/models/{_NAME}/branch/{_REVISION}", Handler.branch),
    (rf"/api/models/{_NAME}/preupload/{_REVISION}", Handler.preupload),
    (rf"/api/models/{_NAME}/commit/{_REVISION}", Handler.commit),
    (rf"/{_NAME}\.git/info/lfs/objects/batch", Handler.batch),
    (rf"/{_NAME}/resolve/{_REVISION}/(.+)", Handler.resolve),
    (r"/store/(\w+)", Handler.download),
    (r"/verify", Handler.verify),
]


@contextmanager
def running():
    """A hub, while the block runs."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
