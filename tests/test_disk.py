"""A disk that is full or broken: one error that names the path, and nothing of what was there is lost."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
from small_systems import small_model

from matgl_ssl import save_model
from matgl_ssl._files import _HOST, atomic_path, scratch_folder, writing
from matgl_ssl._folders import atomic_folder
from matgl_ssl.boundary import typed
from matgl_ssl.errors import DataError, NotWrittenError
from matgl_ssl.evaluation import schedule
from matgl_ssl.evaluation.store import Store, Unit

FULL = OSError(errno.ENOSPC, "No space left on device")
BROKEN = OSError(errno.EIO, "Input/output error")
TORCHS = RuntimeError("basic_ios::clear: iostream error")


def half(writes, path, content, error):
    """Write some of a file or a folder, and fail."""
    with writes(path) as new:
        if content is None:
            new.mkdir()
        else:
            new.write_bytes(content)
        raise error


def fail(error):
    def failing(*_, **__):
        raise error

    return failing


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            FULL,
            r"the disk is full after 0.1 MB of it \(what is there now has 0.2 MB\), and [\d.]+ MB are free.*Free some",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "a quota is full after .* MB are free"),
        (BROKEN, "Input/output error.*Look at the disk"),
        (TORCHS, "the disk is full or broken after 0.1 MB"),
    ],
)
def test_a_file_names_itself_and_how_to_go_on(tmp_path, error, said):
    path = tmp_path / "file"
    path.write_bytes(b"old" * 66_667)
    with pytest.raises(NotWrittenError, match=f"^{path} cannot be written: {said}.*--resume"):
        half(atomic_path, path, b"half" * 25_000, error)
    assert path.read_bytes().startswith(b"old")
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_synced_and_made_is_named_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail(BROKEN))
    with pytest.raises(NotWrittenError, match=f"^{tmp_path / 'file'} cannot"), atomic_path(tmp_path / "file") as new:
        new.touch()
    monkeypatch.setattr(os, "mkdir", fail(OSError(errno.ENOSPC, "No space left", str(tmp_path / "deep"))))
    path = tmp_path / "deep" / "file"
    with pytest.raises(NotWrittenError, match=f"^{path} cannot .* MB are free"), atomic_path(path):
        pass


@pytest.mark.parametrize(
    "error",
    [DataError("ours"), KeyError("x"), RuntimeError("else"), OSError(errno.EIO, "broken", "/elsewhere/source"),
     ConnectionResetError(errno.ECONNRESET, "reset")],
)  # fmt: skip
def test_errors_of_what_is_read_stay_what_they_are(tmp_path, error):
    with pytest.raises(type(error)) as caught, writing(tmp_path / "file"):
        raise error
    assert caught.value is error


def test_a_cache_is_moved_by_its_variable():
    path = f"{os.environ['HF_DATASETS_CACHE']}/matgl_ssl/x.arrow"
    said = str(typed(OSError(errno.ENOSPC, "No space left on device", path)))
    assert "set HF_DATASETS_CACHE to another folder" in said


def test_a_folder_is_the_old_one_when_the_disk_is_full(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(NotWrittenError, match=f"^{path} cannot"):
        half(atomic_folder, path, None, FULL)
    assert [p.name for p in tmp_path.rglob("*")] == ["folder", "old"]


def test_a_model_that_cannot_be_saved_is_named(tmp_path, monkeypatch):
    path = save_model(small_model("MEGNet"), tmp_path / "model", kind="encoder", readout="untrained")
    files = {file.name: file.read_bytes() for file in path.iterdir()}
    monkeypatch.setattr("torch.save", fail(TORCHS))
    with pytest.raises(NotWrittenError, match=f"^{path} cannot"):
        save_model(small_model("MEGNet", seed=1), path, kind="encoder", readout="untrained")
    assert {file.name: file.read_bytes() for file in path.iterdir()} == files
    assert list(tmp_path.iterdir()) == [path]


def test_a_scratch_folder_of_a_killed_process_is_removed_by_the_next(tmp_path):
    script = "import os, sys; from pathlib import Path; from matgl_ssl._files import scratch_folder\n"
    script += (
        "with scratch_folder(Path(sys.argv[1]), 'spool') as folder: (folder / 'x').touch(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    (tmp_path / ".spool-0.somebody-1.tmp").mkdir()  # of another machine
    assert len(list(tmp_path.iterdir())) == 2
    with scratch_folder(tmp_path, "spool") as one, scratch_folder(tmp_path, "spool") as other:
        assert {p.name for p in tmp_path.iterdir()} == {one.name, other.name, ".spool-0.somebody-1.tmp"}
        assert _HOST in one.name
    assert [p.name for p in tmp_path.iterdir()] == [".spool-0.somebody-1.tmp"]


def test_a_benchmark_stops_where_no_unit_can_be_kept(tmp_path):
    store = Store(tmp_path)
    units = [Unit("cell", str(i), {"i": i}, fail(NotWrittenError("full"))) for i in range(2)]
    with pytest.raises(NotWrittenError):
        list(schedule.work(units, store))
