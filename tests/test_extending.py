"""The package on the page about extending: built from the page, installed, listed, run, and tested by its own tests."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_systems import SMALL, cscl, iron, nacl, skewed

from matgl_ssl import registry
from matgl_ssl.crystals import CrystalDataset

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w+ (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
LISTED = {
    "pretexts": "count-neighbours", "targets": "electron-density", "views": "scale-cell", "recipes": "toy-mixture",
    "encoders": "ToyMEGNet", "teachers": "springs",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the package is installed, in ``site``, with its tests and some crystals beside it."""
    folder = tmp_path_factory.mktemp("extending")
    for name, text in BLOCKS:
        path = folder / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "source" / "toys" / "__init__.py").touch()
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation",
            "--disable-pip-version-check", "--root-user-action", "ignore", "--target", folder / "site",
            folder / "source",
        ],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    CrystalDataset.from_crystals([nacl(), cscl(), iron(), skewed()] * 3).write_parquet(folder / "crystals.parquet")
    options = {"model_args": dict(SMALL["MEGNet"]), "accelerator": "cpu", "val_fraction": 0.2, "log_every": 1}
    (folder / "options.yaml").write_text(yaml.safe_dump(options))
    return folder


def run(folder: Path, *arguments: object) -> str:
    path = os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], env={**os.environ, "PYTHONPATH": path}, cwd=folder,
        capture_output=True, text=True, timeout=550, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_takes_forty_lines_at_most():
    assert len(BLOCKS) == 8
    assert all(len(text.splitlines()) <= 40 for _, text in BLOCKS)


def test_everything_is_listed_with_its_package(folder):
    script = f"from matgl_ssl import cli\nfor kind in {list(LISTED)}: cli.main(['list', kind])\n"
    (folder / "list_all.py").write_text(script)
    lines = run(folder, "list_all").splitlines()
    for kind, name in LISTED.items():
        (line,) = (line for line in lines if line.startswith(name))
        assert re.fullmatch(rf"{name} +toys 1\.0 +\S.*", line)
        assert name not in registry.names({"encoders": "architectures"}.get(kind, kind))


def test_it_pretrains(folder):
    pretrain = ("matgl_ssl.cli", "pretrain", "--config", "options.yaml", "--data", "crystals.parquet")
    run(folder, *pretrain, "--model", "ToyMEGNet", "--recipe", "toy-mixture", "--out", "mixture")
    with (folder / "mixture" / "metrics.csv").open() as file:
        row = next(csv.DictReader(file))
    one, other, both = (float(row[k]) for k in ("count-neighbours/loss", "crystal-targets/loss", "loss"))
    assert 2 * one + other == pytest.approx(both, rel=1e-5)
    pretexts = "[{name: energy-force-stress, arguments: {stress_weight: 0}}]"
    run(
        folder, *pretrain, "--model", "MEGNet", "--pretexts", pretexts, "--teacher", "springs", "--teacher-args",
        "{stiffness: 0.1}", "--teacher-copies", 1, "--epochs", 1, "--out", "taught",
    )  # fmt: skip
    assert (folder / "taught" / "encoder" / "model.json").exists()


@pytest.mark.slow
def test_its_own_tests_pass(folder):
    assert " passed" in run(folder, "pytest", "-q", "-p", "no:cacheprovider", folder / "source" / "test_toys.py")
