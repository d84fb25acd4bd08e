"""The commands that ``docs/models.md`` shows, run against a hub on this machine."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hub_server import TOKEN, running
from pymatgen.io.vasp import Poscar
from small_systems import nacl, small_model

from matgl_ssl import Crystal, save_model
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.hub.files import FILES

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
TARGET = {"name": "band_gap", "unit": "eV", "transform": None, "extensive": False}


def shown(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def place(tmp_path):
    """A folder with the files that the page takes for granted."""
    Poscar(nacl().to_structure()).write_file(tmp_path / "POSCAR")
    rng = np.random.default_rng(0)
    cells = [5.4 + 0.05 * i for i in range(12)]
    crystals = [
        Crystal(nacl().numbers, nacl().frac_coords, a * np.eye(3), id=str(a), labels={"band_gap": float(rng.random())})
        for a in cells
    ]
    CrystalDataset.from_crystals(crystals).write_parquet(tmp_path / "gaps.parquet")
    facts = {"kind": "model", "readout": "trained", "target": TARGET, "elements": ["Na", "Cl"]}
    save_model(small_model("MEGNet"), tmp_path / "runs" / "gaps" / "model", **facts)
    return tmp_path


def test_the_commands_run(place):
    with running() as hub:
        environment = os.environ | {
            "HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
            "HOME": str(place), "PYTHONPATH": os.pathsep.join(sys.path),
        }  # fmt: skip
        commands = [line for block in shown("bash") for line in block.replace("OWNER", "someone").splitlines()]
        assert len(commands) == 7
        for command in commands:
            verb, *arguments = shlex.split(command)
            assert verb == "mgl-ssl"
            done = subprocess.run(
                [sys.executable, "-m", "matgl_ssl.cli", *arguments], cwd=place, env=environment, capture_output=True,
                text=True, check=False, timeout=300,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert {path.name for path in (place / "gaps-model").iterdir()} == {*FILES, "README.md"}
        (python,) = shown("python")
        done = subprocess.run(
            [sys.executable, "-c", python.replace("OWNER", "someone")], cwd=place, env=environment, capture_output=True,
            text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout == "['Na', 'Cl']\n"
