"""``benchmarks/reliability.py``, in short: commands are killed, and their disk is full or broken."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "reliability.py"


@pytest.mark.slow
@pytest.mark.pyg
@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs Linux and a C compiler")
@pytest.mark.parametrize(
    ("part", "command", "n"), [("kills", "finetune", 4), ("faults", "embed", 6), ("faults", "save", 4)]
)
def test_nothing_is_lost(tmp_path, part, command, n):
    arguments = ["--only", part, "--command", command, "--n", str(n), "--results", str(tmp_path)]
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "reliability.json").read_text())[part]
    assert found["wrong"] == []
    assert found["total"]["survived"] == found["total"][part] > n // 2
