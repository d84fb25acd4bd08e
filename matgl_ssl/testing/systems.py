"""Crystals and models small enough for every test."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from pymatgen.core import Lattice, Structure
from torch import nn

from matgl_ssl._backend import BACKEND
from matgl_ssl.backends import CrystalBatch, collate
from matgl_ssl.crystals import Crystal
from matgl_ssl.encoders import ARCHITECTURES, Encoder
from matgl_ssl.hub import new_model

ELEMENTS = ("H", "C", "O", "Na", "Mg", "Si", "Cl", "Fe", "Cs", "La", "U")
SMALL = {
    "M3GNet": {
        "nblocks": 2, "units": 16, "dim_node_embedding": 16, "dim_edge_embedding": 16, "element_types": ELEMENTS,
    },
    "MEGNet": {
        "nblocks": 3, "dim_node_embedding": 8, "hidden_layer_sizes_input": (16, 8),
        "hidden_layer_sizes_conv": (16, 16, 8), "hidden_layer_sizes_output": (8, 4), "nlayers_set2set": 1,
        "niters_set2set": 2, "element_types": ELEMENTS,
    },
    "TensorNet": {"nblocks": 2, "units": 8, "num_rbf": 16, "element_types": ELEMENTS},
}  # fmt: skip


ROTATION = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
ROTATION *= np.sign(np.linalg.det(ROTATION))

GAIN = {"M3GNet": 2.0, "MEGNet": 3.0, "TensorNet": 2.0}


NAMES = tuple(name for name in SMALL if BACKEND in ARCHITECTURES[name].backends)
"""Our architectures that the installed MatGL has."""
EXTENSIVE = tuple(name for name in NAMES if ARCHITECTURES[name].extensive)
"""Those of them whose output can be a sum over atoms."""


def small_model(name: str, *, seed: int = 0, **changes: Any) -> nn.Module:
    """A MatGL model whose weights are a function of the seed, in eval mode.

    Larger weights than fresh ones: there, what an atom hears from its neighbours drowns in the rounding, and tests of
    what features must not depend on would pass whatever happens.
    """
    torch.manual_seed(seed)
    model = new_model(name, {**SMALL[name], **changes}).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.mul_(GAIN[name])
    return model


def small_encoder(name: str, *, seed: int = 0, **changes: Any) -> Encoder:
    """The encoder of a ``small_model``."""
    return Encoder(small_model(name, seed=seed, **changes)).eval()


def from_spacegroup(group: str, a: float, species: Sequence[str], coords: Any, id: str = "") -> Crystal:
    """A cubic crystal."""
    return Crystal.from_structure(Structure.from_spacegroup(group, Lattice.cubic(a), species, coords), id=id)


def rattled(crystal: Crystal, sigma: float = 0.05, seed: int = 0) -> Crystal:
    """A crystal whose atoms are displaced by Gaussian noise (Å)."""
    noise = np.random.default_rng(seed).normal(0, sigma, (len(crystal), 3))
    moved = crystal.frac_coords + noise @ np.linalg.inv(crystal.lattice)
    return Crystal(crystal.numbers, moved, crystal.lattice, id=crystal.id)


@cache
def nacl() -> Crystal:
    """Rock salt, 8 atoms, off its high-symmetry positions so that no force is zero."""
    return rattled(from_spacegroup("Fm-3m", 5.64, ["Na", "Cl"], [[0, 0, 0], [0.5] * 3], id="nacl"))


@cache
def cscl() -> Crystal:
    """Caesium chloride, two atoms."""
    return from_spacegroup("Pm-3m", 4.12, ["Cs", "Cl"], [[0, 0, 0], [0.5] * 3], id="cscl")


@cache
def iron() -> Crystal:
    """One atom in a primitive cell."""
    lattice = 2.86 / 2 * np.array([[-1.0, 1, 1], [1, -1, 1], [1, 1, -1]])
    return Crystal(np.array([26]), np.zeros((1, 3)), lattice, id="fe")


@cache
def skewed() -> Crystal:
    """Six atoms in a low-symmetry cell, coordinates outside of [0, 1) included."""
    rng = np.random.default_rng(3)
    lattice = np.array([[4.9, 0.1, 0.0], [-2.3, 4.3, 0.2], [0.3, 0.1, 5.4]])
    grid = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)])[:6] / 2
    frac = grid + rng.uniform(0.0, 0.1, (6, 3)) + np.array([-1, 0, 0])
    return Crystal(np.array([14, 14, 8, 8, 12, 8]), frac, lattice, id="skewed")


def supercell(crystal: Crystal, repeats: tuple[int, int, int]) -> Crystal:
    """Atoms of one image after those of the other; atom ``i`` is a copy of atom ``i % len(crystal)``."""
    shifts = np.array(list(np.ndindex(*repeats)))
    frac = (crystal.frac_coords[None] + shifts[:, None]).reshape(-1, 3) / repeats
    numbers = np.tile(crystal.numbers, len(shifts))
    return Crystal(numbers, frac, crystal.lattice * np.array(repeats)[:, None], id=f"{crystal.id}-super")


def reordered(crystal: Crystal) -> tuple[Crystal, np.ndarray]:
    """The same crystal turned, with another origin and its atoms in another order, and that order."""
    order = np.random.default_rng(1).permutation(len(crystal))
    coords = (crystal.frac_coords[order] + [0.3, 0.7, 0.1]) % 1
    return Crystal(crystal.numbers[order], coords, crystal.lattice @ ROTATION), order


def some_crystals() -> list[Crystal]:
    """Four of them, 17 atoms."""
    return [nacl(), cscl(), iron(), skewed()]


def make_batch(encoder: Encoder, crystals: Sequence[Crystal]) -> CrystalBatch:
    """Crystals as an encoder takes them."""
    build = encoder.graph_builder()
    return collate([build(c) for c in crystals])


def double(encoder: Encoder, crystals: Sequence[Crystal]) -> CrystalBatch:
    """A float64 batch whose geometry has not been rounded by MatGL's float32 converter; the edges are its."""
    batch = make_batch(encoder, crystals).to("cpu", torch.float64)
    batch.frac_coords = torch.from_numpy(np.concatenate([c.frac_coords for c in crystals]))
    batch.lattice = torch.from_numpy(np.stack([c.lattice for c in crystals]))
    return batch
