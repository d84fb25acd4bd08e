"""Where the compiled kernel comes from, and what happens where there can be none: torch computes the same."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from matgl_ssl.acceleration import compiler, kernel
from matgl_ssl.acceleration.rows import Rows

needs_compiler = pytest.mark.skipif(compiler.library() is None, reason="no C++ compiler")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


COPY = '[ "$1" = --version ] && exit; while [ "$1" != -o ]; do shift; done'
"""What a fake compiler does before it makes the file that is asked for, ``$2``."""


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path, caplog):
    """A cache of the test's own, and nothing remembered of the kernel before and after."""
    caplog.set_level("INFO", logger="matgl_ssl")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiler.library.cache_clear()
    yield
    compiler.library.cache_clear()


@pytest.fixture(scope="session")
def compiled() -> Path:
    """The library that this session compiled."""
    return next(Path(os.environ["XDG_CACHE_HOME"]).rglob("*.so"))


@pytest.fixture
def _copying(compiled, monkeypatch, tmp_path) -> None:
    """A compiler that takes no time."""
    compiler_that(
        tmp_path,
        monkeypatch,
        f'[ "$1" = --version ] && exit; while [ "$1" != -o ]; do shift; done; cp {compiled} "$2"\n',
    )


@pytest.fixture
def kernels(tmp_path) -> Path:
    return tmp_path / "cache" / "matgl_ssl" / "kernels"


def product() -> torch.Tensor:
    """A little of what models do, which must come out right with and without a compiled kernel."""
    rows = Rows()
    return rows.compute(rows.rows(torch.arange(6.0).view(2, 3)).linear(torch.eye(3)).activate("silu"))[0]


def assert_torch_computes(caplog, *why: str) -> None:
    assert compiler.library() is None
    assert compiler.library() is None
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert all(part in said for part in why), said
    torch.testing.assert_close(product(), torch.nn.functional.silu(torch.arange(6.0).view(2, 3)))


def compiler_that(tmp_path, monkeypatch, script: str) -> None:
    """A fake compiler."""
    path = tmp_path / "bin" / "g++"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"#!/bin/sh\n" + script.encode("latin-1"))
    path.chmod(0o755)
    monkeypatch.setenv("CXX", str(path))


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".so")


@needs_compiler
@pytest.mark.usefixtures("_copying")
def test_it_is_compiled_once_into_a_folder_of_the_users_own(kernels, caplog):
    assert compiler.library() is not None
    torch.testing.assert_close(product(), torch.nn.functional.silu(torch.arange(6.0).view(2, 3)))
    (said,) = [record.getMessage() for record in caplog.records]
    assert str(kernels) in said
    assert "MATGL_SSL_ACCELERATION=torch" in said
    assert kernels.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in kernels.iterdir()) == [*entries(kernels), "lock"]
    before = [(path.name, path.stat().st_mtime_ns) for path in kernels.glob("*.so")]
    caplog.clear()
    compiler.library.cache_clear()
    assert compiler.library() is not None
    assert not caplog.records
    assert [(path.name, path.stat().st_mtime_ns) for path in kernels.glob("*.so")] == before


def test_without_a_compiler_torch_computes(monkeypatch, caplog):
    monkeypatch.setattr(compiler.shutil, "which", lambda name: None)
    assert_torch_computes(caplog, "no C++ compiler")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 1\n", "failed (1)"),
        ("[ $1 = --version ] || { echo no space left >&2; exit 1; }\n", "no space left"),
        ("[ $1 = --version ] || { printf '\\377\\376 kaputt' >&2; exit 1; }\n", "kaputt"),
        ("printf '\\377\\376'\n", "No such file"),  # it says that all is well, and makes nothing
        ("[ $1 = --version ] || { while [ $1 != -o ]; do shift; done; echo junk > $2; }\n", "file too short"),
    ],
)  # fmt: skip
def test_a_broken_compiler_is_done_without(script, why, monkeypatch, tmp_path, caplog):
    compiler_that(tmp_path, monkeypatch, script)
    assert_torch_computes(caplog, why)


@pytest.mark.parametrize("when", ["true", "[ $1 != --version ]"])
def test_a_compiler_that_hangs_is_ended_with_its_children(when, monkeypatch, tmp_path, caplog):
    compiler_that(tmp_path, monkeypatch, f"if {when}; then sleep 60.0625 & wait; fi\n")
    monkeypatch.setattr(compiler, "_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(compiler, "_COMPILE_SECONDS", 0.5)
    assert_torch_computes(caplog, "did not end within 0.5 s")
    for _ in range(100):  # the system takes a moment to end them
        if b"60.0625" not in subprocess.run(["ps", "-A", "-o", "args"], capture_output=True, check=True).stdout:
            return
        time.sleep(0.05)
    pytest.fail("the compiler's child is still there")


def test_without_a_home_directory_torch_computes(monkeypatch, caplog):
    def lost():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(compiler.Path, "home", lost)
    assert_torch_computes(caplog, "home directory")


@needs_compiler
@pytest.mark.usefixtures("_copying")
def test_a_relative_cache_is_ignored(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    compiler.library()
    assert not (tmp_path / "here").exists()
    assert (tmp_path / "home" / ".cache" / "matgl_ssl" / "kernels").is_dir()


def test_a_cache_that_cannot_be_written_is_done_without(kernels, caplog):
    kernels.parent.mkdir(parents=True)
    kernels.write_text("a file, where a folder should be", encoding="utf-8")
    assert_torch_computes(caplog, str(kernels))


@needs_compiler
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o750])
@pytest.mark.usefixtures("_copying")
def test_nothing_is_loaded_from_a_folder_that_others_may_enter(mode, kernels, caplog):
    compiler.library()
    compiler.library.cache_clear()
    caplog.clear()
    kernels.chmod(mode)
    assert_torch_computes(caplog, f"chmod 700 {kernels}")


@needs_compiler
@pytest.mark.usefixtures("_copying")
def test_nothing_is_loaded_through_a_link(kernels, tmp_path, caplog):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    kernels.parent.mkdir(parents=True)
    kernels.symlink_to(elsewhere)
    assert_torch_computes(caplog, str(kernels))


@needs_compiler
@as_root
@pytest.mark.usefixtures("_copying")
def test_nothing_is_loaded_from_a_folder_of_somebody_elses(kernels, caplog):
    compiler.library()
    compiler.library.cache_clear()
    caplog.clear()
    os.chown(kernels, 65534, 65534)
    assert_torch_computes(caplog, f"others own {kernels}")


@needs_compiler
@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "link", "foreign"])
@pytest.mark.usefixtures("_copying")
def test_a_damaged_library_is_found_and_made_again(damage, kernels, tmp_path, caplog):
    """Loading one that was cut short would end the process with SIGBUS."""
    compiler.library()
    compiler.library.cache_clear()
    (path,) = kernels.glob("*.so")
    content = path.read_bytes()
    if damage == "link":
        path.rename(tmp_path / "moved.so")
        path.symlink_to(tmp_path / "moved.so")
    elif damage == "foreign":
        if os.geteuid():
            pytest.skip("only root can give files away")
        os.chown(path, 65534, 65534)
    else:
        middle = len(content) // 2
        changed = bytes([content[middle] ^ 1])
        bad = {"cut": content[:middle], "bit": content[:middle] + changed + content[middle + 1 :], "empty": b""}
        path.write_bytes(bad[damage])
    caplog.clear()
    assert compiler.library() is not None
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert not path.is_symlink()
    assert entries(kernels)
    assert path.stat().st_uid == os.geteuid()


@needs_compiler
@pytest.mark.usefixtures("_copying")
def test_a_library_of_any_length_is_told_from_the_whole(kernels):
    compiler.library()
    (path,) = kernels.glob("*.so")
    content = path.read_bytes()
    for part in range(11):
        path.write_bytes(content[: len(content) * part // 11])
        compiler.library.cache_clear()
        assert compiler.library() is not None
        assert path.read_bytes() == content


@needs_compiler
@pytest.mark.usefixtures("_copying")
def test_a_folder_that_is_exchanged_meanwhile_is_not_touched(kernels, tmp_path, monkeypatch, compiled):
    """Whoever owns the folder above may put another in its place after the look at whose it is."""
    victim = tmp_path / "victim"
    (victim / "tmpmine").mkdir(parents=True)
    (victim / "lock").symlink_to(tmp_path / "precious")
    (tmp_path / "precious").write_text("precious")
    looked = compiler._from_cache

    def exchanged(folder, start):
        if not kernels.is_symlink():
            kernels.rename(tmp_path / "away")
            kernels.symlink_to(victim)
        return looked(folder, start)

    monkeypatch.setattr(compiler, "_from_cache", exchanged)
    assert compiler.library() is not None
    assert sorted(path.name for path in victim.iterdir()) == ["lock", "tmpmine"]
    assert (tmp_path / "precious").read_text() == "precious"
    assert entries(tmp_path / "away")


@needs_compiler
def test_processes_that_start_together_compile_once(compiled, monkeypatch, tmp_path):
    """A compiler that takes its time, and counts how often it is asked to compile."""
    log = tmp_path / "compiled"
    compiler_that(tmp_path, monkeypatch, f'{COPY}; echo once >> {log}; sleep 2; cp {compiled} "$2"\n')
    code = (
        "import sys, types; package = types.ModuleType('room'); package.__path__ = [sys.argv[1]]\n"
        "sys.modules['room'] = package\n"  # the room's files without all of MatGL
        "from room import compiler; assert compiler.library() is not None"
    )
    folder = str(Path(compiler.__file__).parent)
    processes = [subprocess.Popen([sys.executable, "-c", code, folder]) for _ in range(4)]
    assert [process.wait(120) for process in processes] == [0] * 4
    assert log.read_text(encoding="utf-8").split() == ["once"]


@needs_compiler
@pytest.mark.usefixtures("_copying")
def test_what_a_killed_process_left_behind_is_removed(kernels):
    kernels.mkdir(parents=True, mode=0o700)
    (kernels / "tmpkilled").mkdir()
    (kernels / "tmpkilled" / "kernel.so").write_bytes(b"half")
    assert compiler.library() is not None
    assert not (kernels / "tmpkilled").exists()


@needs_compiler
@pytest.mark.usefixtures("_copying")
def test_want_of_memory_in_the_kernel_is_a_memory_error(monkeypatch):
    """Scratch memory of some terabytes."""
    monkeypatch.setattr(kernel, "_BLOCK", 2**40)
    with pytest.raises(MemoryError, match="smaller batches"):
        product()
    monkeypatch.undo()
    product()
