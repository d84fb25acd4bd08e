"""Commands in processes of their own, forked from one that has imported everything, and hit at a chosen write."""

from __future__ import annotations

import ctypes
import errno
import itertools
import mmap
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).with_name("intercept.c")
KILL = "kill -9"
_ERRORS = {KILL: -1, "ENOSPC": errno.ENOSPC, "EIO": errno.EIO}
_LONGEST = 120.0
"""Seconds after which a command counts as hanging."""


class _Watch(ctypes.Structure):
    """The same as in ``intercept.c``."""

    _fields_ = (
        *((name, ctypes.c_long) for name in ("pid", "count", "at", "error", "lasts", "used")),
        ("folder", ctypes.c_char * 512),
        ("log", ctypes.c_char * (1 << 20)),
    )


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Its exit code; negative for a signal.
        said: What it wrote to stderr.
        calls: Those that changed files, each with its path, in order.
        hit: The one that was hit.
        left: Processes that it left behind.
        seconds: How long it took.
    """

    code: int
    said: str
    calls: list[str]
    hit: str
    left: int
    seconds: float


def intercepted() -> None:
    """Start this program again with the library between it and the system, unless it is there."""
    if "intercept" in os.environ.get("LD_PRELOAD", ""):
        return
    library = Path(tempfile.mkdtemp(prefix="matgl_ssl-intercept-")) / "intercept.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", str(_SOURCE), "-o", str(library), "-ldl"], check=True)
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "LD_PRELOAD": str(library)})  # noqa: S606


def run(
    command: Callable[[], int],
    folder: Path,
    *,
    at: int = 0,
    what: str = KILL,
    after: float | None = None,
) -> Ended:
    """Run a command in a process of its own.

    Args:
        command: What it does; its exit code.
        folder: Calls that change files beneath it count.
        at: The one that is hit, from 1; none by default.
        what: ``KILL``, ``ENOSPC`` (whatever needs room fails from then on), or ``EIO`` (once).
        after: Seconds after which it is killed wherever it is.
    """
    memory = mmap.mmap(-1, ctypes.sizeof(_Watch))
    watch = _Watch.from_buffer(memory)
    watch.at, watch.error, watch.lasts, watch.folder = at, _ERRORS[what], what == "ENOSPC", os.fsencode(folder)
    with tempfile.TemporaryFile() as said:
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _child(command, said.fileno(), watch)
        code = _waited(pid, start + min(after or _LONGEST, _LONGEST))
        seconds = time.monotonic() - start
        left = _left_behind(pid)
        said.seek(0)
        text = said.read().decode(errors="replace")
    calls = watch.log.decode(errors="replace").splitlines()
    return Ended(code, text, calls, calls[at - 1] if 0 < at <= len(calls) else "", left, seconds)


def _child(command: Callable[[], int], said: int, watch: _Watch) -> None:
    code = 70
    try:
        os.setsid()
        os.dup2(said, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        watch.pid = os.getpid()
        ctypes.CDLL(None).watch(ctypes.byref(watch))
        code = command()
    except SystemExit as err:
        code = err.code if isinstance(err.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        watch.pid = 0
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _waited(pid: int, until: float) -> int:
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        time.sleep(0.002)


def _left_behind(session: int) -> int:
    """Processes of a session that are still there after ten seconds; they are killed."""
    end = time.monotonic() + 10
    while (there := _of_session(session)) and time.monotonic() < end:
        time.sleep(0.1)
    for pid in there:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(there)


def _of_session(session: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, sid = stat.read_text().rpartition(")")[2].split()[:4]
            if int(sid) == session and state != "Z":
                found.append(int(stat.parent.name))
    return found


def places(calls: list[str], n: int | None, draw: random.Random) -> list[int]:
    """Numbers of calls to be hit: all, but of a file's writes in a row the first, the one in the middle and the last.

    Args:
        calls: The calls of a command that nothing hits.
        n: How many of these, one drawn from each of n equal parts.
        draw: Draws.
    """
    found: list[int] = []
    before = 0
    for call, group in itertools.groupby(calls):
        size = len(list(group))
        hit = {1, (size + 1) // 2, size} if call.startswith("write ") else range(1, size + 1)
        found += [before + i for i in sorted(hit)]
        before += size
    if n is None or n >= len(found):
        return found
    bounds = [i * len(found) // n for i in range(n + 1)]
    return [draw.choice(found[a:b]) for a, b in itertools.pairwise(bounds)]
