"""Compiling ``kernel.cpp`` with the machine's own C++ compiler, once for each user, compiler and processor.

Libraries are kept in a folder that nobody else may write to. A library's name ends with the hash of its content, which
is compared before the library is loaded: one that was cut short would crash the process.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from matgl_ssl._files import digest

_SOURCE = Path(__file__).with_name("kernel.cpp")
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-fno-strict-aliasing")
_ANSWER_SECONDS = 10
"""How long a compiler may take to tell its version."""
_COMPILE_SECONDS = 120
"""How long it may take to compile: thirty times what it needs. Other processes wait as long for their turn."""

log = logging.getLogger(__name__)


@cache
def library() -> Any:
    """The compiled kernel's entry point. None where there is none: one line of the log then says why."""
    try:
        found = _loaded().matgl_ssl_rows
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        log.warning("MatGL models run accelerated by torch alone, without a compiled kernel: %s", error)
        return None
    found.restype, found.argtypes = ctypes.c_int64, [ctypes.c_int64] * 12  # pointers are numbers here
    return found


def _loaded() -> ctypes.CDLL:
    """The library from the cache, made first where it is not there.

    Raises:
        OSError: The cache or the library cannot be used.
        RuntimeError: There is no home directory, or no compiler that works.
    """
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))), None)
    if compiler is None:
        raise RuntimeError("there is no C++ compiler (CXX, c++, g++, clang++).")
    version = _output([compiler, "--version"], _ANSWER_SECONDS)
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text(encoding="utf-8", errors="replace").splitlines() if cpu.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")  # x86, ARM
    facts = [_SOURCE.read_text(encoding="utf-8"), version, flags, platform.machine(), platform.processor(), *_FLAGS]
    start = f"kernel-{digest([chr(0).join(facts)], 16)}-"
    with _own_folder() as folder:
        found = _from_cache(folder, start)
        if found is None:
            with FileLock(folder / "lock", timeout=_COMPILE_SECONDS):
                found = _from_cache(folder, start)  # another process may have made it meanwhile
                if found is None:
                    _compile(compiler, folder, start)
                    found = _from_cache(folder, start)
        if found is None:
            raise RuntimeError(f"the library that {compiler} made in {folder.resolve()} is gone or was changed.")
    return found


@contextmanager
def _own_folder() -> Iterator[Path]:
    """The cache, after a look at whose it is: a path to the folder that was looked at, whatever stands there by now."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))  # a relative one is to be ignored, by its specification
    folder = (given if given.is_absolute() else Path.home() / ".cache") / "matgl_ssl" / "kernels"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise PermissionError(f"others own {folder} or may enter it. Remove it, or run: chmod 700 {folder}")
        same = Path(f"/proc/{os.getpid()}/fd/{descriptor}")  # as compilers see it, too
        yield same if same.exists() else folder
    finally:
        os.close(descriptor)


def _from_cache(folder: Path, start: str) -> ctypes.CDLL | None:
    """The cached library whose name begins so. Damaged ones and links are removed, never loaded."""
    for path in folder.glob(f"{start}*"):
        status = path.lstat()
        is_own = status.st_uid == os.geteuid() and stat.S_ISREG(status.st_mode)
        if is_own and path.name == f"{start}{digest([path.read_bytes()])}.so":
            return ctypes.CDLL(str(path))
        path.unlink()
    return None


def _compile(compiler: str, folder: Path, start: str) -> None:
    """Compile into the cache. The caller holds its lock."""
    log.info(
        "Compiling a C++ kernel that makes MatGL's networks faster, with %s. This takes some seconds and happens once. "
        "The kernel is kept in %s. To run without it, set MATGL_SSL_ACCELERATION=torch.",
        compiler,
        folder.resolve(),
    )
    for left in folder.glob("tmp*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / "kernel.so"
        command = [compiler, *_FLAGS, str(_SOURCE), "-o", str(made)]
        try:
            _output([*command, "-fopenmp"], _COMPILE_SECONDS)
        except ChildProcessError:  # a compiler without OpenMP
            _output(command, _COMPILE_SECONDS)
        made.replace(folder / f"{start}{digest([made.read_bytes()])}.so")


def _output(command: list[str], seconds: float) -> str:
    """What a command says.

    Raises:
        ChildProcessError: The command failed.
        TimeoutError: It did not end in time. Its children were killed with it.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(seconds)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise TimeoutError(f"{command[0]} did not end within {seconds:g} s.") from error
            raise
        output.seek(0)
        said = output.read().decode(errors="replace")
    if code:
        raise ChildProcessError(f"{command[0]} failed ({code}). Its output: {said.strip()[-2000:]}")
    return said
