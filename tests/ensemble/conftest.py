"""Small labelled tables in which the truth is known, and a small encoder."""

from __future__ import annotations

import numpy as np
import pytest
from small_systems import small_model
from synthetic import cell

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.ensemble import plain
from matgl_ssl.ensemble.members import tabular
from matgl_ssl.hub import save_model

METALS, ANIONS = (11, 12, 26, 55, 57), (8, 17)


@pytest.fixture(autouse=True, scope="session")
def few_trees():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tabular, "_TREES", 20)
        patched.setattr(plain, "_SIMILAR", 40)
        patched.setattr(plain, "_SHIPPED", 20)
        yield


def table(n: int, label, seed: int = 0, **more) -> CrystalDataset:
    """Caesium-chloride cells of twenty and more formulas, with ``target = label(metal, anion, a)``."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        metal, anion, a = int(rng.integers(3, 50)), int(rng.choice((8, 16, 17, 35))), float(rng.uniform(3.2, 4.4))
        if metal in (10, 18, 36) or metal == anion:
            metal = 26
        rows.append(cell(metal, anion, a, target=label(metal, anion, a), **{k: v(metal, a) for k, v in more.items()}))
    return CrystalDataset.from_crystals(rows)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    """An encoder of a few elements with random weights."""
    path = tmp_path_factory.mktemp("encoder") / "encoder"
    return str(save_model(small_model("MEGNet"), path, kind="encoder", readout="untrained"))


def known_elements(n: int, label, seed: int = 0) -> CrystalDataset:
    """The same of elements that the encoder knows."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        metal, anion, a = int(rng.choice(METALS)), int(rng.choice(ANIONS)), float(rng.uniform(3.2, 4.4))
        rows.append(cell(metal, anion, a, target=label(metal, anion, a)))
    return CrystalDataset.from_crystals(rows)
