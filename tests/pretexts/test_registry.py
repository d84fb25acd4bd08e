"""Pretexts by name: ours, unknown ones, and those of other installed packages."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from small_systems import SMALL, cscl, iron, nacl, skewed, small_encoder

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.errors import ConfigError
from matgl_ssl.pretexts import build_pretext, get_pretext, list_pretexts, registry
from matgl_ssl.pretexts.derivative_denoising import DerivativeDenoising
from matgl_ssl.pretexts.masked_atoms import MaskedAtoms


def test_our_pretexts_are_registered_by_entry_points_like_anybodys():
    found = list_pretexts()
    assert found["masked-atoms"] is MaskedAtoms
    assert found["derivative-denoising"] is DerivativeDenoising
    assert all(p.summary for p in found.values())


def test_an_unknown_pretext_is_answered_with_the_nearest_and_all_names():
    with pytest.raises(ConfigError) as error:
        get_pretext("masked-atom")
    assert "Unknown pretext 'masked-atom'. Did you mean 'masked-atoms'?" in str(error.value)
    assert "derivative-denoising" in str(error.value)


def test_an_unknown_argument_is_answered_with_the_nearest_and_all_arguments():
    with pytest.raises(ConfigError) as error:
        build_pretext("derivative-denoising", small_encoder("MEGNet"), {"sigm": 0.1})
    assert "sigm" in str(error.value)
    assert "Did you mean 'sigma'?" in str(error.value)
    for argument in ("loss", "remove_com", "scale", "sign", "topology"):
        assert argument in str(error.value)


def test_the_encoder_is_not_an_argument_of_a_recipe():
    with pytest.raises(ConfigError, match="encoder"):
        build_pretext("masked-atoms", small_encoder("MEGNet"), {"encoder": None})


def test_arguments_reach_the_pretext():
    pretext = build_pretext("masked-atoms", small_encoder("MEGNet"), {"fraction": 0.3})
    assert pretext.views["masked"].fraction == 0.3


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("derivative-denoising", {"sigma": "wide"}),
        ("derivative-denoising", {"remove_com": "perhaps"}),
        ("derivative-denoising", {"loss": "l3"}),
        ("masked-atoms", {"fraction": [0.1]}),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named(name, arguments):
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        build_pretext(name, small_encoder("MEGNet"), arguments)


def test_numbers_that_yaml_reads_as_text_are_numbers():
    """YAML 1.1 reads 1e-1 as a string."""
    pretext = build_pretext("derivative-denoising", small_encoder("MEGNet"), {"sigma": "1e-1"})
    assert pretext.views["displaced"].sigma == 0.1


def test_a_pretext_that_cannot_be_imported_is_left_out_with_a_warning(monkeypatch):
    broken = importlib.metadata.EntryPoint("broken", "no_such_module_anywhere:Pretext", registry.GROUP)
    ours = list(importlib.metadata.entry_points(group=registry.GROUP))
    monkeypatch.setattr(registry, "entry_points", lambda group: [*ours, broken])
    with pytest.warns(UserWarning, match="'broken' of .* cannot be imported: No module named"):
        found = list_pretexts()
    assert "broken" not in found
    assert "masked-atoms" in found


TOY = {
    "pyproject.toml": """\
        [build-system]
        requires = ["setuptools"]
        build-backend = "setuptools.build_meta"
        [project]
        name = "toy-pretexts"
        version = "1.0"
        [project.entry-points."matgl_ssl.pretexts"]
        count-neighbours = "toy_pretexts:CountNeighbours"
        [tool.setuptools]
        py-modules = ["toy_pretexts"]
        """,
    "toy_pretexts.py": """\
        import torch
        from torch import nn
        from matgl_ssl.pretexts import Pretext, PretextOutput
        from matgl_ssl.views import View


        class CountNeighbours(Pretext):
            summary = "how many neighbours an atom has within the cutoff"

            def __init__(self, encoder, *, scale: float = 10.0):
                super().__init__(encoder)
                self.views = {"plain": View()}
                self.head = nn.Linear(encoder.node_dim, 1)
                self.scale = scale

            def forward(self, features, batch):
                n = torch.bincount(batch["plain"].edge_index[0], minlength=len(batch["plain"].batch))
                loss = (self.head(features["plain"].node[-1])[:, 0] - n / self.scale).pow(2).mean()
                return PretextOutput(loss)
        """,
}
RECIPE = """\
pretexts:
  - {name: count-neighbours, weight: 2.0, arguments: {scale: 20.0}}
  - {name: masked-atoms}
epochs: 1
batch_size: 4
"""


def test_a_pretext_of_another_installed_package_works_by_its_entry_point(tmp_path):
    assert sum(len(textwrap.dedent(text).splitlines()) for text in TOY.values()) <= 40
    package, site = tmp_path / "toy", tmp_path / "site"
    package.mkdir()
    for name, text in TOY.items():
        (package / name).write_text(textwrap.dedent(text))
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation",
            "--disable-pip-version-check", "--root-user-action", "ignore", "--target", str(site), str(package),
        ],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    recipe, data, out = tmp_path / "recipe.yaml", tmp_path / "data.parquet", tmp_path / "run"
    recipe.write_text(RECIPE)
    CrystalDataset.from_crystals([nacl(), cscl(), iron(), skewed()] * 3).write_parquet(data)
    arguments = {k: v for k, v in SMALL["MEGNet"].items() if k != "element_types"}
    script = f"""
import csv
from matgl_ssl import list_pretexts, pretrain
assert "count-neighbours" in str(list_pretexts())
pretrain(data={str(data)!r}, out={str(out)!r}, recipe={str(recipe)!r}, model="MEGNet", model_args={arguments!r},
         log_every=1, accelerator="cpu", val_fraction=0.2)
row = list(csv.DictReader(open({str(out / "metrics.csv")!r})))[0]
toy, ours, both = (float(row[k]) for k in ("count-neighbours/loss", "masked-atoms/loss", "loss"))
assert abs(2 * toy + ours - both) < 1e-5 * both, row
print("trained")
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300, check=False,
        cwd=Path(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "trained"
    assert (out / "encoder" / "model.json").exists()
    assert "count-neighbours" not in list_pretexts()
