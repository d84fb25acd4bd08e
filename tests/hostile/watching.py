"""Open hostile inputs in a process that tells what else is opened, asked for or executed.

    python tests/hostile/watching.py FOLDER           # a line of JSON for each input
    python tests/hostile/watching.py FOLDER naive     # the same of readers that believe what they read

Python raises an audit event (PEP 578) before it opens a file, connects, imports, or starts a program. What C++ opens
is seen where pyarrow and lmdb are called. An input is to open itself, caches and Python's own files, and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

SECONDS = 20
_RUNS = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn", "subprocess.Popen",
    "webbrowser.open", "code.__new__",
)  # fmt: skip
_ASKS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request")

_WEIGHTS = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild\w+|torch\.\w+Storage|numpy\..*(_reconstruct|ndarray|dtype)"
)
"""What files of weights name: MatGL 2 unpickles them as Python does, after they were looked at."""


class Watch:
    """An audit hook.

    Attributes:
        own: Folders in which files may be opened.
        seen: What happened since it was armed: ``executed``, ``requests`` or ``foreign_paths``, and what.
    """

    def __init__(self, own: list[Path], modules: tuple[str, ...], executed: str) -> None:
        self.own = tuple(os.path.realpath(path) + os.sep for path in own)
        self.modules, self.executed = modules, executed
        self.armed = False
        self.seen: list[tuple[str, str]] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event in _RUNS or event == self.executed:
            self.seen.append(("executed", event))
        elif event == "import" and arguments[0] in self.modules:
            self.seen.append(("executed", f"import {arguments[0]}"))
        elif event == "pickle.find_class" and not _WEIGHTS.fullmatch(name := f"{arguments[0]}.{arguments[1]}"):
            self.seen.append(("executed", f"pickle of {name}"))
        elif event in _ASKS:
            self.seen.append(("requests", f"{event} {arguments[1:]!r:.80}"))
        elif event in ("open", "sqlite3.connect") and isinstance(arguments[0], str | bytes | os.PathLike):
            self._opened(os.fsdecode(arguments[0]))

    def _opened(self, path: str) -> None:
        path = path.removeprefix("file:").partition("?")[0] if path.startswith("file:") else path
        if not os.path.realpath(path).startswith(self.own):
            self.seen.append(("foreign_paths", path))


def told(module: Any, *names: str) -> None:
    """Let functions that open files outside of Python raise the event of those that do."""

    def telling(opens: Callable[..., Any], path: Any, *args: Any, **kwargs: Any) -> Any:
        sys.audit("open", path, "r", 0)
        return opens(path, *args, **kwargs)

    for name in names:
        setattr(module, name, partial(telling, getattr(module, name)))


def _openers() -> dict[str, Callable[[Path], object]]:
    from matgl_ssl.cli import main
    from matgl_ssl.config import read_yaml
    from matgl_ssl.crystals import check_dataset, read_crystals
    from matgl_ssl.evaluation.plan import Unit
    from matgl_ssl.evaluation.store import Store, read_archive
    from matgl_ssl.hub import load_model
    from matgl_ssl.training.checkpoint_files import read_checkpoint

    def unit(path: Path) -> object:
        known = Unit("cell", "x", {}, dict)
        (path.parent / f"{known.name}.json").write_text(path.read_text().splitlines()[1])
        return Store(path.parent).get(known)

    return {
        "data": lambda path: check_dataset(read_crystals(path)),
        "model": load_model,
        "checkpoint": read_checkpoint,
        "yaml": read_yaml,
        "run": lambda path: main(["pretrain", "--out", str(path), "--resume"]),
        "units": read_archive,
        "unit": unit,
    }


def _inputs(folder: Path, bait: Any) -> Iterator[tuple[str, str, Path]]:
    from hostile import data, models

    yield from ((name, "data", path) for name, path in data.inputs(folder / "data", bait))
    yield from models.inputs(folder / "models", bait)


def watched(folder: Path, naive: bool) -> None:
    """Make all inputs, then open each as this package does, or a few in ways that believe them."""
    import lmdb
    import matgl
    import pyarrow as pa
    import torch
    from hostile.bait import EXECUTED, MODULES, Bait, salt

    torch.set_num_threads(1)
    told(pa, "memory_map", "OSFile")
    told(lmdb, "open")
    bait = Bait(folder / "bait")
    bait.lay()
    sys.path.insert(0, str(bait.folder))
    inputs, openers = list(_inputs(folder / "inputs", bait)), _openers()
    if naive:
        from hostile.naive import OPENERS

        inputs, openers = [(name, name, bait.folder) for name in OPENERS], {**openers, **OPENERS}
    python = [sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), Path(matgl.__file__).parent]
    package = Path(sys.modules["matgl_ssl"].__file__ or "").parent
    own = [folder / "inputs", folder / "home", Path("/proc"), Path("/dev"), Path("/sys"), package, *map(Path, python)]
    own += package.parent.glob("matgl_ssl*-info")
    watch = Watch(own, MODULES, EXECUTED)
    sys.addaudithook(watch)
    (folder / "inputs" / "plain.json").write_text(json.dumps(salt().as_dict()))
    openers["data"](folder / "inputs" / "plain.json")  # what libraries open when they are first used
    openers["model"](folder / "inputs" / "models" / "plain")
    for name, how, path in inputs:
        watch.seen.clear()
        signal.alarm(SECONDS)
        watch.armed = True
        try:
            came = f"read{f': {code}' if (code := openers[how](path)) and isinstance(code, int) else ''}"
        except BaseException as err:  # what a hostile input may raise, SystemExit included
            came = f"{type(err).__name__}: {err}"
        watch.armed = False
        signal.alarm(0)
        row = {"name": name, "how": how, "came": came[:300], "seen": watch.seen}
        print(json.dumps(row), flush=True)
        for module in MODULES:
            sys.modules.pop(module, None)


if __name__ == "__main__":
    where = Path(sys.argv[1]).resolve()
    for variable, value in {
        "HF_HOME": where / "home", "HF_DATASETS_CACHE": where / "home" / "datasets", "XDG_CACHE_HOME": where / "home",
        "TMPDIR": where / "home", "MATGL_CACHE": where / "home", "MPLCONFIGDIR": where / "home", "HF_HUB_OFFLINE": "1",
        "MATGL_SSL_ACCELERATION": "torch",
    }.items():  # fmt: skip
        os.environ[variable] = str(value)
    (where / "home").mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(where / "home")
    sys.path.insert(0, str(Path(__file__).parents[1]))
    watched(where, naive=sys.argv[2:] == ["naive"])
