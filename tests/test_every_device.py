"""On a device apart from the CPU and without float64, every recipe trains and every verb of inference runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from matgl_ssl import list_recipes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.pyg,  # DGL makes graphs only on devices that it knows
    pytest.mark.skipif(
        not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"),
        reason="this torch cannot simulate a device",
    ),
]


@pytest.fixture(scope="module")
def found() -> dict[str, dict]:
    """What ``steps_elsewhere.py`` prints, by name."""
    script = Path(__file__).with_name("steps_elsewhere.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line.pop("name"): line for line in lines}


@pytest.mark.parametrize("name", ["guard", "predict", "embed", "teacher", "representation"])
def test_it_runs_elsewhere(found, name):
    assert found[name].get("ok"), found[name]


@pytest.mark.parametrize("model", ["MEGNet", "M3GNet"])
@pytest.mark.parametrize("recipe", sorted(list_recipes()))
def test_a_recipe_trains_elsewhere_as_here(found, recipe, model):
    result = found[f"{recipe} {model}"]
    assert "error" not in result, result["error"]
    assert result["there"] == pytest.approx(result["here"], rel=1e-4)
