"""The encoders that really come with the package: whole, small, described, and the same in both graph libraries."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase.build import bulk
from small_systems import nacl

from matgl_ssl import StructureFeaturizer, load_model, read_crystals, read_stamp
from matgl_ssl._backend import BACKEND
from matgl_ssl.encoders import Encoder, architecture_of
from matgl_ssl.hub import shipped_names
from matgl_ssl.hub.heads import heads_of
from matgl_ssl.hub.shipped import FOLDER
from matgl_ssl.hub.stamp import VECTOR
from matgl_ssl.targets import Density
from matgl_ssl.training.taught import crystal_vectors

NAMES = shipped_names()
MOST_TOGETHER, MOST_EACH = 5_000_000, 700_000


def references(library: str, name: str) -> dict[str, float]:
    content = json.loads((FOLDER / library / name / "model.json").read_text(encoding="utf-8"))
    return content["metadata"]["matgl_ssl"]["references"]


def test_they_are_small():
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert files
    assert sum(file.stat().st_size for file in files) < MOST_TOGETHER
    assert max(file.stat().st_size for file in files) < MOST_EACH


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_as_it_was_saved_and_makes_vectors(name):
    """``load_model`` holds files against the stamp's digest, and predictions against its references."""
    model, stamp = load_model(name), read_stamp(name)
    assert name == f"{architecture_of(model).name}-{stamp['recipe']}"
    assert (stamp["kind"], stamp["readout"]) == ("encoder", VECTOR)
    assert stamp["steps"] > 1000
    assert {"Si", "O", "Fe"} < set(stamp["elements"])
    vectors = StructureFeaturizer(name, layer=None).fit().transform([nacl()])
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize("name", NAMES)
def test_its_heads_know_densities(name):
    """From lithium's 0.6 to tungsten's 19 g/cm³."""
    solids = [
        bulk("Li", "bcc", a=3.44), bulk("NaCl", "rocksalt", a=5.69), bulk("Si", "diamond", a=5.47),
        bulk("Al", "fcc", a=4.04), bulk("ZnO", "wurtzite", a=3.28, c=5.30, u=0.38), bulk("Cu", "fcc", a=3.62),
        bulk("Ag", "fcc", a=4.15), bulk("W", "bcc", a=3.18),
    ]  # fmt: skip
    crystals, heads = read_crystals(solids), heads_of(read_stamp(name))
    said = heads(crystal_vectors(Encoder(load_model(name)), crystals))[:, heads.names.index("density/0")]
    assert np.corrcoef(said, [Density()(crystal)[0] for crystal in crystals])[0, 1] > 0.95
    assert heads.explained[heads.names.index("density/0")] > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_its_card_says_what_it_has_seen_under_which_licence_and_how_good_it_is(name):
    card = (FOLDER / BACKEND / name / "README.md").read_text(encoding="utf-8")
    for said in (
        "Materials Project",
        "WBM",
        "CC-BY-4.0",
        "epochs",
        "steps",
        "commit",
        "## How good it is",
        "| phonons |",
    ):
        assert said in card


def test_megnet_says_the_same_in_both_graph_libraries():
    first, second = (references(library, "MEGNet-textbook") for library in ("pyg", "dgl"))
    assert first.keys() == second.keys()
    values = np.array([[first[crystal], second[crystal]] for crystal in first])
    assert np.abs(values[:, 0] - values[:, 1]).max() < 1e-4 * np.abs(values).max()
