"""What the system and other libraries raise reaches users as one typed error, and a failed start leaves nothing."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from small_systems import SMALL, cscl, nacl, rattled, small_model

from matgl_ssl.boundary import typed, typed_errors
from matgl_ssl.cli import main
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.errors import ConfigError, DataError, ModelError, ResourceError
from matgl_ssl.hub import save_model
from matgl_ssl.training import pretrain as pretraining

pytestmark = pytest.mark.pyg  # it is the same code in both backends

MEGNET = json.dumps({k: v for k, v in SMALL["MEGNet"].items() if k != "element_types"})


class MisconfigurationException(Exception):
    """As Lightning calls it."""


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "cls", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), ResourceError, "/x/y: Permission denied. Make it"),
        (OSError(errno.ENOSPC, "No space left on device"), ResourceError, "free space"),
        (OSError(errno.EROFS, "Read-only file system", f"{os.environ['HF_HOME']}/hub"), ResourceError, "set HF_HOME"),
        (RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/0"), ResourceError, "free space"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), ResourceError, "--batch-size"),
        (torch.OutOfMemoryError("CUDA out of memory."), ResourceError, "--batch-size"),
        (MemoryError("8 GiB"), ResourceError, "--batch-size"),
        (pa.ArrowInvalid("cannot mix list and non-list"), DataError, "cannot mix"),
        (UnicodeDecodeError("utf-8", b"\xb7", 0, 1, "invalid start byte"), DataError, "not UTF-8"),
        (MisconfigurationException("no backend"), ConfigError, "no backend"),
        (caused(ValueError("generating"), OSError(errno.EDQUOT, "Disk quota exceeded", "a")), ResourceError, "quota"),
        (caused(ValueError("wrapped"), ModelError("ours")), ModelError, "ours"),
    ],
)
def test_foreign_exceptions_become_typed_ones(error, cls, said):
    with pytest.raises(cls, match=said) as caught, typed_errors():
        raise error
    assert caught.value.exit_code > 1


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("ours"), BrokenPipeError(), ZeroDivisionError()])
def test_faults_of_ours_stay_what_they_are(error):
    assert typed(error) is None
    with pytest.raises(type(error)), typed_errors():
        raise error


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    crystals = []
    for i in range(6):
        crystal = rattled((nacl(), cscl())[i % 2], 0.02, seed=i)
        crystals.append(dataclasses.replace(crystal, id=f"c{i}", labels={"gap": float(i), "text": "x"}))
    return CrystalDataset.from_crystals(crystals).write_parquet(tmp_path_factory.mktemp("table") / "t.parquet")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    target = {"name": "gap", "unit": "eV", "transform": None, "extensive": False}
    folder = tmp_path_factory.mktemp("model") / "model"
    return save_model(small_model("MEGNet"), folder, kind="model", readout="trained", target=target)


def finetuning(table: Path, out: Path, *more: str) -> list[str]:
    return ["finetune", "--model", "MEGNet", "--model-args", MEGNET, "--data", str(table), "--target", "gap",
            "--epochs", "1", "--out", str(out), *more]  # fmt: skip


def last_line(capsys) -> str:
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "flags",
    ["--accelerator gpu", "--accelerator cuda", "--accelerator foo", "--devices 0", "--devices -1", "--devices cuda:0",
     "--devices 2"],
)  # fmt: skip
def test_devices_that_are_not_there_make_no_directory(table, tmp_path, capsys, flags, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(finetuning(table, tmp_path / "deep" / "run", *flags.split())) == 2
    assert last_line(capsys).startswith("mgl-ssl: error: ")
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize("out", ["file/run", "/proc/run", "file"])
def test_places_for_runs_that_cannot_be_written(table, tmp_path, capsys, out):
    (tmp_path / "file").write_text("mine")
    code = main(finetuning(table, tmp_path / out))
    assert code == 6
    assert last_line(capsys).startswith("mgl-ssl: error: ")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("out", ["/proc/x.parquet", "file/x.parquet"])
def test_places_for_vectors_that_cannot_be_written(table, model, tmp_path, capsys, out):
    (tmp_path / "file").write_text("mine")
    assert main(["embed", "-m", str(model), "--data", str(table), "--out", str(tmp_path / out)]) == 8
    assert out.split("/")[-2] in last_line(capsys)


@pytest.mark.parametrize(
    ("error", "code"), [(OSError(errno.ENOSPC, "No space left on device"), 8), (KeyboardInterrupt(), 130)]
)
def test_a_run_that_fails_before_it_trains_leaves_nothing(table, tmp_path, monkeypatch, error, code):
    def fail(*args, **kwargs):
        assert list(tmp_path.rglob("config.yaml"))
        raise error

    monkeypatch.setattr(pretraining, "with_targets", fail)
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "new" / "run", tmp_path / "empty"):
        assert main(["pretrain", "--model", "MEGNet", "--data", str(table), "--out", str(folder)]) == code
    assert not list(tmp_path.rglob("*run*")) + list(tmp_path.rglob("*.yaml"))


def test_a_run_that_has_trained_stays(table, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "run"
    arguments = ["pretrain", "--model", "MEGNet", "--model-args", MEGNET, "--data", str(table), "--out", str(out),
                 "--epochs", "1", "--accelerator", "cpu"]  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "save_model", fail)
        assert main(arguments) == 8
    assert (out / "checkpoints" / "last.ckpt").exists()
    assert main([*arguments, "--resume"]) == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("epochs: 1\n".encode("utf-16"), "not UTF-8"),
        (b'unit: "J\xb7mol"\n', "not UTF-8"),
        (b"\xef\xbb\xbfepoch: 1\r\n", "Did you mean 'epochs'"),
    ],
)
def test_configurations_of_windows(table, tmp_path, capsys, content, said):
    (tmp_path / "c.yaml").write_bytes(content)
    assert main(finetuning(table, tmp_path / "run", "--config", str(tmp_path / "c.yaml"))) == 2
    assert said in last_line(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("column", "code"), [("gap", 0), ("text", 3)])
def test_property_labels_of_text(table, tmp_path, capsys, column, code):
    pretexts = json.dumps([{"name": "property-labels", "arguments": {"columns": {column: "value"}}}])
    assert main(["pretrain", "--model", "MEGNet", "--model-args", MEGNET, "--pretexts", pretexts, "--data", str(table),
                 "--epochs", "1", "--out", str(tmp_path / "run")]) == code  # fmt: skip
    assert (tmp_path / "run").exists() == (code == 0)
    if code:
        assert "column 'text' of material_id 'c0'" in last_line(capsys)


MAIN = "import sys; from matgl_ssl.cli import main; sys.exit(main(sys.argv[1:]))"


def run(arguments: list[str], *, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, after some lines of Python."""
    return subprocess.run(
        [sys.executable, "-c", f"{before}\n{MAIN}", *arguments], env={**os.environ, **environment},
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_terminal_without_utf8_and_a_home_that_is_none(model, tmp_path):
    file = tmp_path / "\u00fc.cif"
    nacl().to_structure().to(filename=str(file), fmt="cif")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run(["predict", "-m", str(model), "--data", str(file)], HOME="/proc/nothing", **ascii_only)
    assert done.returncode == 0, done.stderr
    assert "gap = " in done.stdout
    assert "Set HOME" in done.stderr


@pytest.mark.slow
def test_a_disk_that_is_full(table, tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
    done = run(finetuning(table, tmp_path / "full"), before=limit)
    assert done.returncode == 8, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(r"last.ckpt cannot be written: the disk is full or broken after .* MB are free", done.stderr)
    assert not (tmp_path / "full").exists()


@pytest.fixture(params=[signal.SIGTERM, signal.SIGHUP])
def number(request):
    """A signal that ends this process, also where nohup has it ignored."""
    before = signal.signal(request.param, signal.SIG_DFL)
    yield request.param
    signal.signal(request.param, before)


def test_a_signal_before_training_leaves_nothing(table, tmp_path, monkeypatch, number):
    before = signal.getsignal(number)
    monkeypatch.setattr(pretraining, "with_targets", lambda *args, **kwargs: os.kill(os.getpid(), number))
    with pytest.raises(SystemExit) as caught:
        main(["pretrain", "--model", "MEGNet", "--data", str(table), "--out", str(tmp_path / "run")])
    assert caught.value.code == 128 + number
    assert not (tmp_path / "run").exists()
    assert signal.getsignal(number) == before


@pytest.mark.slow
def test_ctrl_c_while_preparing_is_one_line(table, tmp_path):
    press = """
import os, signal
import matgl_ssl.training.pretrain as module
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
module.with_targets = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGINT)
"""
    done = run(["pretrain", "--model", "MEGNet", "--data", str(table), "--out", str(tmp_path / "run")], before=press)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr.splitlines()[-1] == "mgl-ssl: interrupted"
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_reader_that_has_seen_enough(model, table, monkeypatch):
    def closed(*args, **kwargs):
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", closed)
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    monkeypatch.setattr(sys.stdout, "fileno", lambda: 1, raising=False)
    assert main(["predict", "-m", str(model), "--data", str(table)]) == 128 + signal.SIGPIPE
