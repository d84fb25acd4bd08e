"""Every pretext passes the suite that other packages inherit."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from matgl_ssl.pretexts.atom_targets import AtomTargets
from matgl_ssl.pretexts.conditioned_denoising import ConditionedDenoising
from matgl_ssl.pretexts.contrast import Contrast
from matgl_ssl.pretexts.crystal_targets import CrystalTargets
from matgl_ssl.pretexts.deep_infomax import DeepInfoMax
from matgl_ssl.pretexts.derivative_denoising import DerivativeDenoising
from matgl_ssl.pretexts.direct_denoising import DirectDenoising
from matgl_ssl.pretexts.edge_denoising import EdgeDenoising
from matgl_ssl.pretexts.energy_force_stress import EnergyForceStress
from matgl_ssl.pretexts.latent_prediction import LatentPrediction
from matgl_ssl.pretexts.masked_atoms import MaskedAtoms
from matgl_ssl.pretexts.masked_edges import MaskedEdges
from matgl_ssl.pretexts.micro_property import MicroProperty
from matgl_ssl.pretexts.property_labels import PropertyLabels
from matgl_ssl.pretexts.structure_denoising import StructureDenoising
from matgl_ssl.testing import PretextTests

ENERGIES = {"MEGNet": {}, "M3GNet": {"is_intensive": False}}


class TestMaskedAtoms(PretextTests):
    pretext = MaskedAtoms


class TestGroupsAndPeriods(PretextTests):
    pretext = MaskedAtoms
    arguments: ClassVar = {"target": "group-period"}
    models: ClassVar = {"MEGNet": {}}


class TestMaskedEdges(PretextTests):
    pretext = MaskedEdges


class TestMicroProperty(PretextTests):
    pretext = MicroProperty


class TestContrast(PretextTests):
    pretext = Contrast
    arguments: ClassVar = {"loss": "vicreg", "distance": 0.05, "min_distance": 0.0}


class TestDerivativeDenoising(PretextTests):
    pretext = DerivativeDenoising
    models = ENERGIES


class TestDirectDenoising(PretextTests):
    pretext = DirectDenoising


class TestConditionedDenoising(PretextTests):
    pretext = ConditionedDenoising


class TestStructureDenoising(PretextTests):
    pretext = StructureDenoising


class TestEdgeDenoising(PretextTests):
    pretext = EdgeDenoising


class TestEdgeDistances(PretextTests):
    pretext = EdgeDenoising
    arguments: ClassVar = {"target": "distance"}
    models: ClassVar = {"MEGNet": {}}


class TestDeepInfoMax(PretextTests):
    pretext = DeepInfoMax
    models: ClassVar = {"MEGNet": {}}


class TestLatentPrediction(PretextTests):
    pretext = LatentPrediction


class TestEnergyForceStress(PretextTests):
    pretext = EnergyForceStress
    models = ENERGIES
    falls_to = 0.99  # random labels

    def crystals(self):
        rng = np.random.default_rng(0)
        return [
            dataclasses.replace(
                c,
                labels={
                    "energy": float(rng.normal(-3.0 * len(c))),
                    "forces": rng.normal(size=(len(c), 3)),
                    "stress": 0.01 * rng.normal(size=(3, 3)),
                },
            )
            for c in super().crystals()
        ]


class TestAtomTargets(PretextTests):
    pretext = AtomTargets


class TestCrystalTargets(PretextTests):
    pretext = CrystalTargets
    arguments: ClassVar = {"view": "clean"}


class TestPropertyLabels(PretextTests):
    pretext = PropertyLabels
    arguments: ClassVar = {"columns": {"modulus": "log10"}}

    def crystals(self):
        return [dataclasses.replace(c, labels={"modulus": 10.0 + i}) for i, c in enumerate(super().crystals())]
