"""Strain a crystal at random, and write the strain down."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from matgl_ssl.arguments import Positive
from matgl_ssl.backends import STRAIN
from matgl_ssl.crystals.records import Crystal

from .view import View


@dataclass(frozen=True)
class StrainLattice(View):
    """Deform the lattice by ``exp(e)``, e symmetric with ``N(0, sigma²)`` in each component; fractional coordinates
    stay.

    The exponential (logarithmic strain) keeps the cell's handedness however large the strain.

    Attributes:
        sigma: Standard deviation of the strain's components.
    """

    sigma: Positive = 0.05

    def on_crystal(self, crystal: Crystal, rng: np.random.Generator) -> Crystal:
        """Strain before the graph is built; ``labels["applied_strain"]`` is e."""
        upper = np.triu(rng.normal(0.0, self.sigma, (3, 3)))
        strain = upper + np.triu(upper, 1).T
        values, axes = np.linalg.eigh(strain)
        lattice = crystal.lattice @ (axes * np.exp(values)) @ axes.T
        return dataclasses.replace(crystal, lattice=lattice, labels={**crystal.labels, STRAIN: strain})
