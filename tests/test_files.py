"""The one way to write a file, to hash, and to hold a lock."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from matgl_ssl._files import _HOST, atomic_path, digest, locked, write_text

HOLD = """
import sys, time
from matgl_ssl._files import locked
with locked(sys.argv[1]):
    print(1, flush=True)
    time.sleep(60)
"""


class TestAtomicPath:
    def test_a_file_is_the_old_one_or_the_new_one(self, tmp_path):
        path = tmp_path / "deep" / "file.txt"
        write_text(path, "old ü")
        with atomic_path(path) as temporary:
            temporary.write_text("new")
            assert temporary.parent == path.parent
            assert path.read_text(encoding="utf-8") == "old ü"
        assert path.read_text() == "new"
        assert list(path.parent.iterdir()) == [path]

    def test_what_a_killed_process_left_is_removed_and_nothing_else(self, tmp_path):
        ended = subprocess.run(
            [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
        )
        for name in (
            f".a.txt.{_HOST}-{ended.stdout.strip()}.tmp",
            f".b.{_HOST}-{os.getpid()}.tmp",
            ".mine.1.tmp",
            "c.tmp",
        ):
            (tmp_path / name).touch()
        write_text(tmp_path / "file.txt", "new")
        assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
            ["file.txt", f".b.{_HOST}-{os.getpid()}.tmp", ".mine.1.tmp", "c.tmp"]
        )

    def test_it_is_on_the_disk_before_it_has_its_name(self, tmp_path, monkeypatch):
        order = []
        monkeypatch.setattr(os, "fsync", lambda fd: order.append(Path(f"/proc/self/fd/{fd}").resolve().name))
        replace = Path.replace
        monkeypatch.setattr(Path, "replace", lambda old, new: (order.append("replace"), replace(old, new))[1])
        write_text(tmp_path / "file.txt", "new")
        assert order == [f".file.txt.{_HOST}-{os.getpid()}.tmp", "replace", tmp_path.name]

    def test_a_failure_leaves_the_old_file_and_nothing_else(self, tmp_path):
        path = tmp_path / "file.txt"
        write_text(path, "old")
        with pytest.raises(UnicodeEncodeError):
            write_text(path, "half \ud800")
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_block_that_writes_nothing_changes_nothing(self, tmp_path):
        write_text(tmp_path / "file.txt", "old")
        with atomic_path(tmp_path / "file.txt"):
            pass
        assert (tmp_path / "file.txt").read_text() == "old"


def test_a_digest_is_that_of_the_whole():
    rows = np.arange(7)
    whole = hashlib.sha256("añb".encode() + rows.tobytes()).hexdigest()
    assert digest(["añ", b"b", rows.data]) == whole
    assert digest((part for part in ("a", "ñb", rows.data)), 12) == whole[:12]


def test_a_lock_is_taken_back_from_a_process_that_is_killed(tmp_path):
    path = tmp_path / "locks" / "one"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"1\n"
    with locked(path, wait=False) as mine:
        assert not mine
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked(path) as mine:
        assert mine
    with locked(path, wait=False) as mine:
        assert mine
    holder.stdout.close()
