"""Strained and shaken metals with energies, forces and stresses of ASE's EMT: labels whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT

from matgl_ssl.crystals import Crystal, CrystalDataset


@cache
def metals() -> tuple[Crystal, ...]:
    """Cells of 4, 8 and 16 atoms of three metals, six frames of each."""
    crystals, rng = [], np.random.default_rng(0)
    for element in ("Cu", "Ni", "Al"):
        for repeated in ((1, 1, 1), (2, 1, 1), (2, 2, 1)):
            for i in range(6):
                atoms = bulk(element, cubic=True) * repeated
                strain = rng.normal(0, 0.01, (3, 3)) + rng.normal(0, 0.01) * np.eye(3)
                atoms.set_cell(atoms.cell[:] @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
                atoms.rattle(0.05, rng=rng)
                atoms.calc = EMT()
                labels = {"energy": atoms.get_potential_energy() - 3.5 * len(atoms), "forces": atoms.get_forces()}
                labels["stress"] = atoms.get_stress(voigt=False)
                crystals.append(Crystal.from_atoms(atoms, id=f"{element}{len(atoms)}-{i}", labels=labels))
    return tuple(crystals)


def labelled(
    *names: str, only: Callable[[Crystal], bool] = lambda crystal: True, **changes: Callable[[Any, Crystal], Any]
) -> CrystalDataset:
    """Those with some of the labels, changed by functions of label and crystal."""

    def changed(crystal: Crystal) -> Crystal:
        labels = {name: crystal.labels[name] for name in names or crystal.labels}
        return replace(crystal, labels={k: changes[k](v, crystal) if k in changes else v for k, v in labels.items()})

    kept: Iterable[Crystal] = filter(only, metals())
    return CrystalDataset.from_crystals(map(changed, kept))
